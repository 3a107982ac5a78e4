"""Make the reference numbers for the eight VGGs with PyTorch, in float64.

Run by hand, in an environment that has PyTorch and no MXNet (the numbers must not come from the
code under test)::

    python -m venv torch-venv
    torch-venv/bin/pip install torch==2.13.0 "numpy<2"
    torch-venv/bin/python tests/reference/make_vgg_fixtures.py

It writes ``vgg11.npz`` to ``vgg19_bn.npz`` beside itself and prints a line for each. The networks
are written out from table 1 of Simonyan & Zisserman 2015 (arXiv:1409.1556), configurations A, B, D
and E, with the classifier sized for the small image and no adaptive pooling. Weights and images
come from ``seeded.py``.

Each file holds, for a batch of two images with two different targets:

- ``picture_seeds`` (2,) int64, ``targets`` (2,) int64, ``layer`` str (the last convolution, or its
  batch norm, before the ReLU, by Gluon's name);
- ``logits`` (2, 10);
- ``weights`` (2, 512): alpha of Grad-CAM's equation 1, ``gradcam`` (2, 4, 3): equation 2
  (Selvaraju et al. 2017);
- ``standard``, ``guided``, ``deconvnet`` (2, 3, 64, 48): the target logit's gradient at the input
  under the three ReLU rules (Springenberg et al. 2015, figure 1);
- ``float32_<name>``: the relative L2 distance of PyTorch's own float32 from the float64 numbers,
  which says what tolerance a float32 engine can be held to.

Why the images are searched for: a network of piecewise linear parts has a gradient that jumps
where a ReLU's input crosses zero or a pooling window changes its winner. One jump in the first
block moves the whole input gradient by some 1e-3, so a float32 engine may be right and still miss a
tolerance of 1e-3. The images taken are those in which every ReLU input, and every lead of a
pooling window's winner, is at least ``MARGIN`` times float32's own error there (root mean square
over the layer).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import seeded
import torch
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent
MARGIN = 8.0
SEARCH = 400

#: Table 1 of the paper: convolutions in each of the five blocks.
BLOCKS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
CHANNELS = (64, 128, 256, 512, 512)
HIDDEN = 4096
EPSILON = 1e-5


class Deconvnet(torch.autograd.Function):
    """ReLU that passes back a gradient where it is positive, whatever the input was."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(min=0)


class Guided(Deconvnet):
    """ReLU that passes back a gradient where both it and the input are positive."""

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, gradient.clamp(min=0), torch.zeros_like(gradient))


RULES = {"standard": F.relu, "guided": Guided.apply, "deconvnet": Deconvnet.apply}


class Vgg(nn.Module):
    """A VGG as a list of steps, so that the pass can be stopped, watched and given a ReLU rule."""

    def __init__(self, blocks, batch_norm):
        super().__init__()
        self.steps = nn.ModuleList()
        self.kinds = []
        index, channels = 0, seeded.IMAGE_SHAPE[0]
        for depth, (repeats, filters) in enumerate(zip(blocks, CHANNELS, strict=True)):
            for repeat in range(repeats):
                conv = nn.Conv2d(channels, filters, kernel_size=3, padding=1)
                self._fill(conv, f"features.{index}", weight="weight", bias="bias")
                self._add("conv", conv)
                index += 1
                if batch_norm:
                    norm = nn.BatchNorm2d(filters, eps=EPSILON)
                    self._fill(
                        norm,
                        f"features.{index}",
                        weight="gamma",
                        bias="beta",
                        running_mean="running_mean",
                        running_var="running_var",
                    )
                    self._add("norm", norm)
                    index += 1
                if (depth, repeat) == (len(blocks) - 1, repeats - 1):
                    self.target_step = len(self.steps)
                    self.target_layer = f"features.{index - 1}"
                self._add("relu", nn.Identity())
                index += 1
                channels = filters
            self._add("pool", nn.Identity())
            index += 1
        _, height, width = seeded.IMAGE_SHAPE
        self._add("flatten", nn.Flatten())
        features = channels * (height // 32) * (width // 32)
        for _ in range(2):
            dense = nn.Linear(features, HIDDEN)
            self._fill(dense, f"features.{index}", weight="weight", bias="bias")
            self._add("dense", dense)
            self._add("relu", nn.Identity())
            index += 2  # Gluon counts a dense layer with its ReLU as one, and the dropout after it
            features = HIDDEN
        output = nn.Linear(HIDDEN, seeded.CLASSES)
        self._fill(output, "output", weight="weight", bias="bias")
        self._add("dense", output)
        self.eval()

    def _add(self, kind, step):
        self.kinds.append(kind)
        self.steps.append(step)

    @staticmethod
    def _fill(module, prefix, **names):
        for own, gluon in names.items():
            tensor = getattr(module, own)
            array = seeded.parameter(f"{prefix}.{gluon}", tuple(tensor.shape))
            tensor.data = torch.from_numpy(array)

    def run(self, x, rule, start=0, stop=None, watch=None):
        """Steps ``start`` to ``stop``; ``watch(kind, x)`` sees what each ReLU and pool is given."""
        for kind, step in list(zip(self.kinds, self.steps, strict=True))[start:stop]:
            if watch is not None and kind in ("relu", "pool"):
                watch(kind, x)
            if kind == "relu":
                x = RULES[rule](x)
            elif kind == "pool":
                x = F.max_pool2d(x, kernel_size=2, stride=2)
            else:
                x = step(x)
        return x


def switches(network, batch):
    """How far each switch is from turning, as a tensor (N, units) for every ReLU and pool in turn.

    For a ReLU that is its input; for a pooling window whose winner is positive, the winner's lead.
    A window of zeros counts as infinitely far: whichever unit wins, its ReLU is closed. (Only
    ``deconvnet`` lets a gradient through there; both frameworks take the first unit of a tie.)
    """
    found = []

    def watch(kind, x):
        if kind == "pool":
            windows = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
            first, second = windows.topk(2, dim=-1).values.unbind(-1)
            x = torch.where(first > 0, first - second, torch.full_like(first, torch.inf))
        found.append(x.flatten(1))

    with torch.no_grad():
        network.run(batch, "standard", watch=watch)
    return found


def margins(exact, rounded):
    """For each image, the smallest distance to a switch in units of float32's error there."""
    smallest = None
    for truth, single in zip(exact, rounded, strict=True):
        finite = torch.isfinite(truth) & torch.isfinite(single)
        error = (single.double() - truth)[finite].square().mean().sqrt()
        here = (truth.abs() / error).amin(dim=1)
        smallest = here if smallest is None else torch.minimum(smallest, here)
    return smallest


def find_images(network64, network32, count):
    """Seeds of the ``count`` images of the widest margin among ``SEARCH``, and these margins."""
    found = []
    for first in range(0, SEARCH, 8):
        seeds = range(first, first + 8)
        batch = torch.from_numpy(np.stack([seeded.image(seed) for seed in seeds]))
        margin = margins(switches(network64, batch.double()), switches(network32, batch))
        found += zip(margin.tolist(), seeds, strict=True)
        good = [pair for pair in found if pair[0] >= MARGIN]
        if len(good) >= count:
            return good[:count]
    raise SystemExit(f"no {count} images with a margin of {MARGIN}: best {max(found)}")


def explain(network, batch, targets):
    """All reference numbers in the batch's own precision, as float64 arrays by name."""
    rows = torch.arange(len(targets))
    columns = torch.tensor(targets)
    with torch.no_grad():
        activations = network.run(batch, "standard", stop=network.target_step)
    activations.requires_grad_()
    logits = network.run(activations, "standard", start=network.target_step)
    (gradients,) = torch.autograd.grad(logits[rows, columns].sum(), activations)
    weights = gradients.mean(dim=(2, 3))
    cam = (weights[:, :, None, None] * activations).sum(dim=1).clamp(min=0)
    numbers = {"logits": logits, "weights": weights, "gradcam": cam}
    for rule in RULES:
        pixels = batch.clone().requires_grad_()
        score = network.run(pixels, rule)[rows, columns].sum()
        (numbers[rule],) = torch.autograd.grad(score, pixels)
    return {name: value.detach().double().numpy() for name, value in numbers.items()}


def choose_targets(network64, batch):
    """Two different classes whose Grad-CAM is neither blank nor positive everywhere."""
    positive = []
    for target in range(seeded.CLASSES):
        cam = explain(network64, batch, [target] * 2)["gradcam"]
        positive.append([float((image > 0).mean()) for image in cam])
    middling = np.abs(np.asarray(positive) - 0.5)
    first = int(middling[:, 0].argmin())
    middling[first, 1] = np.inf
    return [first, int(middling[:, 1].argmin())]


def shorten(array):
    """float32 with the last eight bits zero: an error of 1e-5 at most, and a quarter less to store.

    That is a hundredth of the tolerance of the gradients; the logits are kept whole.
    """
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + 0x80) & np.uint32(0xFFFFFF00)).view(np.float32)


def relative(value, truth):
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))


def main():
    torch.set_num_threads(2)
    for name in [f"{plain}{suffix}" for suffix in ("", "_bn") for plain in BLOCKS]:
        blocks = BLOCKS[name.replace("_bn", "")]
        network32 = Vgg(blocks, name.endswith("_bn"))
        network64 = Vgg(blocks, name.endswith("_bn")).double()
        found = find_images(network64, network32, 2)
        seeds = [seed for _, seed in found]
        batch = torch.from_numpy(np.stack([seeded.image(seed) for seed in seeds]))
        targets = choose_targets(network64, batch.double())
        exact = explain(network64, batch.double(), targets)
        single = explain(network32, batch, targets)
        distances = {key: relative(single[key], exact[key]) for key in exact}
        stored = {
            "picture_seeds": np.asarray(seeds, np.int64),
            "targets": np.asarray(targets, np.int64),
            "layer": np.asarray(network64.target_layer),
            "logits": exact["logits"].astype(np.float32),
        }
        stored.update({key: shorten(exact[key]) for key in exact if key != "logits"})
        stored.update({f"float32_{key}": np.float64(far) for key, far in distances.items()})
        np.savez_compressed(HERE / f"{name}.npz", **stored)
        print(
            f"{name:9} {network64.target_layer:12} images {seeds} targets {targets} "
            f"margins {[round(margin, 1) for margin, _ in found]}  float32 from float64: "
            + " ".join(f"{key} {far:.1e}" for key, far in distances.items())
            + f"  CAM positive {[round(float((c > 0).mean()), 2) for c in exact['gradcam']]}"
            + f"  {(HERE / f'{name}.npz').stat().st_size} bytes",
            flush=True,
        )


if __name__ == "__main__":
    main()
