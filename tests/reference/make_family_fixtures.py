"""Make the reference numbers for the families beside VGG with PyTorch, in float64.

Run by hand, in an environment that has PyTorch, torchvision and timm and no MXNet (the numbers must
not come from the code under test)::

    python -m venv torch-venv
    torch-venv/bin/pip install torch==2.13.0 torchvision==0.29.2 timm==1.0.31 "numpy<2"
    torch-venv/bin/python tests/reference/make_family_fixtures.py [NAME...]

It writes, beside itself,

- ``<name>.npz`` for one or two networks of each family. AlexNet, ResNet-18 v1, DenseNet-121,
  SqueezeNet 1.1 and Inception v3 are torchvision's own, with its names, so that the tests convert
  them; the others, which torchvision builds otherwise or not at all, are written out here with
  Gluon's names from their papers and, for stride and biases, from Gluon's documentation.
- ``foreign.npz``: names and shapes of the state dicts of torchvision's and timm's networks, and the
  logits of those that are the same as Gluon's for one image of the usual size.

Weights and images come from ``seeded.py`` and ``family_seeds.py``. Each ``<name>.npz`` holds

- ``picture_seed``, ``target``, ``layer`` (Gluon's name; a fact about the network);
- ``logits`` (10,);
- ``weights`` (C,): the layer's gradient averaged over its places (Grad-CAM's equation 1);
- ``products`` (h, w): Σ_k gradient_k · activation_k at each place;
- ``standard``, ``guided``, ``deconvnet``: the target logit's gradient at the input under the three
  ReLU rules, at the places that ``family_seeds.sampled`` keeps;
- ``margin``, and ``float32_<key>``: how far PyTorch's own float32 is from the numbers called <key>
  (relative L2);
- ``parameters``: names and shapes of the weights, where they are torchvision's.

Images are searched for as ``make_vgg_fixtures.py`` explains: a gradient jumps where a ReLU's
input or a pooling window's lead is near zero, and in float32 the jump may come or not. The image
taken is the first in which all are at least ``MARGIN`` times float32's own error away. Networks
with some millions of ReLU inputs have no such image: for them it is the one of the widest margin
among ``SEARCH[name]``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import MappingProxyType

import family_seeds as seeds
import numpy as np
import timm
import torch
import torchvision.models as zoo
from torch.nn import functional as F

HERE = Path(__file__).parent
MARGIN = 8.0
SEARCH = {"densenet121": 60, "inceptionv3": 40, "squeezenet1.1": 120}
USUAL_SEARCH = 400
EPSILON = 1e-5
RULES = ("standard", "guided", "deconvnet")

max_pool2d = F.max_pool2d


# --- switches: ReLUs and max pools, whoever calls them -------------------------------------------


class Switched(torch.autograd.Function):
    """ReLU, up to 6 if it is clipped, under one of the rules (Springenberg et al. 2015, fig. 1)."""

    @staticmethod
    def forward(ctx, x, rule, top):
        ctx.rule = rule
        ctx.save_for_backward((x > 0) & (x < top))
        return x.clamp(min=0, max=top)

    @staticmethod
    def backward(ctx, gradient):
        (passes,) = ctx.saved_tensors
        if ctx.rule != "standard":
            gradient = gradient.clamp(min=0)
        if ctx.rule != "deconvnet":
            gradient = torch.where(passes, gradient, torch.zeros_like(gradient))
        return gradient, None, None


class Switches:
    """What PyTorch's ReLUs and max pools do within a ``with``: a rule, and somebody watching."""

    def __init__(self, rule="standard", watch=None):
        self.rule = rule
        self.watch = watch
        self.last_relu = None

    def relu(self, x, inplace=False, top=torch.inf):
        if self.watch is not None:
            self.watch(x if top == torch.inf else torch.minimum(x.abs(), (x - top).abs()))
        self.last_relu = Switched.apply(x, self.rule, top)
        return self.last_relu

    def relu6(self, x, inplace=False):
        return self.relu(x, top=6.0)

    def max_pool(self, x, kernel_size, stride, padding=0, dilation=1, ceil_mode=False, **_):
        if self.watch is not None:
            self.watch(lead(x, kernel_size, stride, padding, ceil_mode))
        return max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)

    def __enter__(self):
        self.saved = F.relu, F.relu6, F.max_pool2d
        F.relu, F.relu6, F.max_pool2d = self.relu, self.relu6, self.max_pool
        return self

    def __exit__(self, *_):
        F.relu, F.relu6, F.max_pool2d = self.saved


def lead(x, kernel, stride, padding, ceil_mode):
    """By how much the winner of each window leads; infinite where it is zero, a closed ReLU."""
    more = (kernel - 1 if ceil_mode else 0) + padding
    x = F.pad(x, (padding, more, padding, more), value=-torch.inf)
    windows = x.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)
    first, second = windows.topk(2, dim=-1).values.unbind(-1)
    return torch.where(first > 0, first - second, torch.full_like(first, torch.inf))


def switches(network, batch):
    found = []
    with torch.no_grad(), Switches(watch=lambda x: found.append(x.flatten(1))):
        network(batch)
    return found


def margins(exact, rounded):
    """For each image, the smallest distance to a switch in units of float32's error there."""
    smallest = None
    for truth, single in zip(exact, rounded, strict=True):
        finite = torch.isfinite(truth) & torch.isfinite(single)
        if not finite.any():
            continue
        error = (single.double() - truth)[finite].square().mean().sqrt()
        here = (truth.abs() / error).amin(dim=1)
        smallest = here if smallest is None else torch.minimum(smallest, here)
    return smallest


# --- networks written out ------------------------------------------------------------------------


class Gluon:
    """A network written as a function, with parameters by Gluon's names."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.cache = {}
        self.target = None

    def parameter(self, name, *shape):
        if name not in self.cache:
            values = torch.from_numpy(seeds.gluon_parameter(name, shape))
            self.cache[name] = values.to(self.dtype)
        return self.cache[name]

    def conv(self, x, name, outputs, kernel, stride=1, groups=1, bias=False):
        """Every convolution of these networks is padded by half its kernel."""
        shape = outputs, x.shape[1] // groups, kernel, kernel
        return F.conv2d(
            x,
            self.parameter(f"{name}.weight", *shape),
            self.parameter(f"{name}.bias", outputs) if bias else None,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
        )

    def norm(self, x, name, scaled=True):
        count = x.shape[1]
        gamma = self.parameter(f"{name}.gamma", count) if scaled else None
        beta, mean, var = (
            self.parameter(f"{name}.{field}", count)
            for field in ("beta", "running_mean", "running_var")
        )
        return F.batch_norm(x, mean, var, gamma, beta, training=False, eps=EPSILON)

    def dense(self, x, name):
        weight = self.parameter(f"{name}.weight", seeds.CLASSES, x.shape[1])
        return F.linear(x, weight, self.parameter(f"{name}.bias", seeds.CLASSES))

    def stem(self, x, first):
        """7x7 convolution, batch norm, ReLU and pooling, as layers ``first`` and on."""
        x = self.conv(x, f"features.{first}", 64, 7, stride=2)
        x = F.relu(self.norm(x, f"features.{first + 1}"))
        return F.max_pool2d(x, 3, 2, 1)


class ResNet(Gluon):
    """He et al. 2015 (arXiv:1512.03385), table 1; v2: 2016 (arXiv:1603.05027), figure 1b."""

    BLOCKS = MappingProxyType({18: (2, 2, 2, 2), 50: (3, 4, 6, 3)})

    def __init__(self, dtype, depth, version):
        super().__init__(dtype)
        self.depth = depth
        self.version = version
        self.layer = {1: f"features.7.{self.BLOCKS[depth][-1] - 1}", 2: "features.10"}[version]

    def __call__(self, x):
        first = self.version - 1
        if self.version == 2:  # on the pixels, before all else
            x = self.norm(x, "features.0", scaled=False)
        x = self.stem(x, first)
        block = self.block_v1 if self.version == 1 else self.block_v2
        for stage, repeats in enumerate(self.BLOCKS[self.depth]):
            width = 64 * 2**stage * (4 if self.depth >= 50 else 1)
            for index in range(repeats):
                stride = 2 if stage > 0 and index == 0 else 1
                x = block(x, f"features.{first + 4 + stage}.{index}", width, stride)
        if self.version == 2:
            x = F.relu(self.norm(x, "features.9"))
        self.target = x
        return self.dense(x.mean(dim=(2, 3)), "output")

    def block_v1(self, x, name, width, stride):
        """Bottleneck with the stride in its first convolution, whose 1x1 ones have biases."""
        y = self.conv(x, f"{name}.body.0", width // 4, 1, stride, bias=True)
        y = F.relu(self.norm(y, f"{name}.body.1"))
        y = self.conv(y, f"{name}.body.3", width // 4, 3)
        y = F.relu(self.norm(y, f"{name}.body.4"))
        y = self.conv(y, f"{name}.body.6", width, 1, bias=True)
        y = self.norm(y, f"{name}.body.7")
        if x.shape[1] != width:
            x = self.conv(x, f"{name}.downsample.0", width, 1, stride)
            x = self.norm(x, f"{name}.downsample.1")
        return F.relu(x + y)

    def block_v2(self, x, name, width, stride):
        """Batch norm and ReLU before each convolution; the stride in the first 3x3."""
        y = F.relu(self.norm(x, f"{name}.bn1"))
        if x.shape[1] != width:
            x = self.conv(y, f"{name}.downsample", width, 1, stride)
        if self.depth < 50:
            y = self.conv(y, f"{name}.conv1", width, 3, stride)
            y = F.relu(self.norm(y, f"{name}.bn2"))
            return x + self.conv(y, f"{name}.conv2", width, 3)
        y = self.conv(y, f"{name}.conv1", width // 4, 1)
        y = F.relu(self.norm(y, f"{name}.bn2"))
        y = self.conv(y, f"{name}.conv2", width // 4, 3, stride)
        y = F.relu(self.norm(y, f"{name}.bn3"))
        return x + self.conv(y, f"{name}.conv3", width, 1)


class MobileNet(Gluon):
    """Howard et al. 2017 (arXiv:1704.04861), table 1, with half as many channels."""

    ROWS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5)
    ROWS += ((1024, 2), (1024, 1))
    layer = "features.79"  # the batch norm after the last of 27 convolutions

    def __call__(self, x):
        x = self.unit(x, 0, 16, 3, stride=2)
        for row, (width, stride) in enumerate(self.ROWS):
            x = self.unit(x, 3 + 6 * row, x.shape[1], 3, stride, groups=x.shape[1])
            x = self.unit(x, 6 + 6 * row, width // 2, 1)
        return self.dense(x.mean(dim=(2, 3)), "output")

    def unit(self, x, index, width, kernel, stride=1, groups=1):
        x = self.conv(x, f"features.{index}", width, kernel, stride, groups)
        self.target = self.norm(x, f"features.{index + 1}")
        return F.relu(self.target)


class MobileNetV2(Gluon):
    """Sandler et al. 2018 (arXiv:1801.04381), table 2, with half as many channels but for the last.

    As in Gluon the first block has its expansion convolution too, by 1, and the classifier is a
    convolution without bias.
    """

    ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
    ROWS += ((6, 160, 3, 2), (6, 320, 1, 1))
    layer = "features.21"

    def __call__(self, x):
        x = F.relu6(self.norm(self.conv(x, "features.0", 16, 3, 2), "features.1"))
        index = 3
        for expansion, width, repeats, stride in self.ROWS:
            for repeat in range(repeats):
                x = self.block(
                    x, f"features.{index}.out", expansion, width // 2, 1 if repeat else stride
                )
                index += 1
        self.target = self.norm(self.conv(x, f"features.{index}", 1280, 1), f"features.{index + 1}")
        x = F.relu6(self.target).mean(dim=(2, 3), keepdim=True)
        return self.conv(x, "output.0", seeds.CLASSES, 1).flatten(1)

    def block(self, x, name, expansion, width, stride):
        wide = x.shape[1] * expansion
        y = F.relu6(self.norm(self.conv(x, f"{name}.0", wide, 1), f"{name}.1"))
        y = self.conv(y, f"{name}.3", wide, 3, stride, groups=wide)
        y = F.relu6(self.norm(y, f"{name}.4"))
        y = self.norm(self.conv(y, f"{name}.6", width, 1), f"{name}.7")
        return x + y if stride == 1 and x.shape[1] == width else y


# --- torchvision's -------------------------------------------------------------------------------


class Torchvision:
    """torchvision's module with seeded weights; the target layer's output is caught on the way."""

    def __init__(self, module, layer, target, dtype):
        self.module = module
        self.layer = layer
        self.target = None
        self.shapes = {name: tuple(v.shape) for name, v in module.state_dict().items()}
        state = seeds.torch_state(self.shapes)
        module.load_state_dict({name: torch.from_numpy(v) for name, v in state.items()})
        module.to(dtype).eval()
        if target is not None:
            module.get_submodule(target).register_forward_hook(self._catch)

    def _catch(self, _module, _inputs, output):
        self.target = output

    def __call__(self, x):
        return self.module(x)


def small_alexnet(classes):
    """AlexNet without the adaptive pooling, for an image that leaves a 2x1 grid."""
    module = zoo.alexnet(num_classes=classes)
    module.avgpool = torch.nn.Identity()
    module.classifier[1] = torch.nn.Linear(256 * 2 * 1, 4096)
    return module


def inception(classes, transform_input=False):
    return zoo.inception_v3(
        num_classes=classes, transform_input=transform_input, init_weights=False
    )


#: Gluon's layer and torchvision's module. DenseNet's ReLU is a call, the last in the network.
TORCHVISION = {
    "alexnet": (small_alexnet, "features.6", "features.10"),
    "resnet18_v1": (lambda n: zoo.resnet18(num_classes=n), "features.7.1", "layer4.1"),
    "densenet121": (lambda n: zoo.densenet121(num_classes=n), "features.12", None),
    "squeezenet1.1": (lambda n: zoo.squeezenet1_1(num_classes=n), "features.12.1", "features.12"),
    "inceptionv3": (inception, "features.17", "Mixed_7c"),
}
WRITTEN_OUT = {
    "resnet50_v1": lambda dtype: ResNet(dtype, 50, 1),
    "resnet18_v2": lambda dtype: ResNet(dtype, 18, 2),
    "resnet50_v2": lambda dtype: ResNet(dtype, 50, 2),
    "mobilenet0.5": MobileNet,
    "mobilenetv2_0.5": MobileNetV2,
}


def build(name, dtype):
    if name in WRITTEN_OUT:
        return WRITTEN_OUT[name](dtype)
    make, layer, target = TORCHVISION[name]
    return Torchvision(make(seeds.CLASSES), layer, target, dtype)


# --- numbers -------------------------------------------------------------------------------------


def find_image(name, network64, network32):
    """(margin, seed) of the first image of a margin of ``MARGIN``, or of the widest."""
    found = []
    for seed in range(SEARCH.get(name, USUAL_SEARCH)):
        batch = torch.from_numpy(seeds.image(seed, seeds.IMAGES[name]))[None]
        (margin,) = margins(switches(network64, batch.double()), switches(network32, batch))
        found.append((float(margin), seed))
        if margin >= MARGIN:
            return found[-1]
    if name not in SEARCH:
        raise SystemExit(f"no image for {name} with a margin of {MARGIN}: best {max(found)}")
    return max(found)


def explain(network, batch, target):
    """All reference numbers in the batch's own precision, as float64 arrays by name."""
    numbers = {}
    for rule in RULES:
        pixels = batch.clone().requires_grad_()
        with Switches(rule) as active:
            logits = network(pixels)
            if rule == "standard":
                layer = network.target if network.target is not None else active.last_relu
                (gradient,) = torch.autograd.grad(logits[0, target], layer, retain_graph=True)
                numbers["logits"] = logits[0]
                numbers["weights"] = gradient[0].mean(dim=(1, 2))
                numbers["products"] = (gradient[0] * layer[0]).sum(dim=0)
            (gradient,) = torch.autograd.grad(logits[0, target], pixels)
        numbers[rule] = torch.from_numpy(seeds.sampled(gradient[0].numpy()))
    return {name: value.detach().double().numpy() for name, value in numbers.items()}


def choose_target(network64, batch):
    """The class whose map is most evenly positive and negative."""
    positive = [
        float((explain(network64, batch, target)["products"] > 0).mean())
        for target in range(seeds.CLASSES if batch.shape[-1] < 100 else 3)
    ]
    return int(np.abs(np.asarray(positive) - 0.5).argmin())


def shorten(array):
    """float32 with the last eight bits zero, an error of 1e-5 at most: a quarter less to store."""
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + 0x80) & np.uint32(0xFFFFFF00)).view(np.float32)


def relative(value, truth):
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))


def make(name):
    network32, network64 = build(name, torch.float32), build(name, torch.float64)
    margin, seed = find_image(name, network64, network32)
    batch = torch.from_numpy(seeds.image(seed, seeds.IMAGES[name]))[None]
    target = choose_target(network64, batch.double())
    exact = explain(network64, batch.double(), target)
    single = explain(network32, batch, target)
    distances = {key: relative(single[key], exact[key]) for key in exact}
    stored = {
        "picture_seed": np.int64(seed),
        "target": np.int64(target),
        "layer": np.asarray(network64.layer),
        "margin": np.float64(margin),
        "logits": exact["logits"].astype(np.float32),
        **{key: shorten(exact[key]) for key in exact if key != "logits"},
        **{f"float32_{key}": np.float64(far) for key, far in distances.items()},
    }
    if name in TORCHVISION:
        stored["parameters"] = seeds.pack(network64.shapes)
    np.savez_compressed(HERE / f"{name}.npz", **stored)
    print(
        f"{name:15} {network64.layer:13} {exact['products'].shape} image {seed} target {target} "
        f"margin {margin:.1f}  float32 from float64: "
        + " ".join(f"{key} {far:.1e}" for key, far in distances.items())
        + f"  positive {float((exact['products'] > 0).mean()):.2f}"
        + f"  logits {np.abs(exact['logits']).max():.1e}"
        + f"  {(HERE / f'{name}.npz').stat().st_size} bytes",
        flush=True,
    )


#: torchvision's networks that are Gluon's, by Gluon's name, for an image of the usual size.
SAME = {
    "alexnet": lambda n: zoo.alexnet(num_classes=n),
    "resnet18_v1": lambda n: zoo.resnet18(num_classes=n),
    "resnet34_v1": lambda n: zoo.resnet34(num_classes=n),
    "densenet121": lambda n: zoo.densenet121(num_classes=n),
    "squeezenet1.0": lambda n: zoo.squeezenet1_0(num_classes=n),
    "squeezenet1.1": lambda n: zoo.squeezenet1_1(num_classes=n),
    "inceptionv3": inception,
    "inceptionv3 transform_input": lambda n: inception(n, transform_input=True),
}
#: Others, of which names and shapes alone are kept: of the same networks, and of other ones.
NAMES = {
    **{f"timm {name}": name for name in ("resnet18", "resnet34", "inception_v3")},
    **{f"timm densenet{depth}": f"densenet{depth}" for depth in (121, 161, 169, 201)},
    **{f"timm {name}": name for name in ("resnet50", "resnetv2_18", "resnetv2_50")},
    **{f"timm {name}": name for name in ("mobilenetv1_100", "mobilenetv2_100", "mobilenetv2_050")},
}
STRANGERS = ("resnet50", "resnet101", "resnet152", "mobilenet_v2")


def make_foreign():
    stored = {}
    for name, module in SAME.items():
        size = 299 if name.startswith("inception") else 224
        network = Torchvision(module(seeds.CLASSES), "", None, torch.float64)
        batch = torch.from_numpy(seeds.image(0, (3, size, size)))[None].double()
        with torch.no_grad():
            stored[f"logits {name}"] = network(batch)[0].numpy()
        stored[f"torchvision {name}"] = seeds.pack(network.shapes)
    for key, name in NAMES.items():
        state = timm.create_model(name, num_classes=seeds.CLASSES).state_dict()
        stored[key] = seeds.pack({key: tuple(value.shape) for key, value in state.items()})
    for name in STRANGERS:
        state = getattr(zoo, name)(num_classes=seeds.CLASSES).state_dict()
        stored[f"torchvision {name}"] = seeds.pack(
            {key: tuple(value.shape) for key, value in state.items()}
        )
    np.savez_compressed(HERE / "foreign.npz", **stored)
    print(f"foreign.npz {(HERE / 'foreign.npz').stat().st_size} bytes")
    for key, value in stored.items():
        if key.startswith("logits"):
            print(f"  {key} {np.round(value, 3)}")


def main(names):
    torch.set_num_threads(2)
    for name in names or [*TORCHVISION, *WRITTEN_OUT, "foreign"]:
        if name == "foreign":
            make_foreign()
        else:
            make(name)


if __name__ == "__main__":
    main(sys.argv[1:])
