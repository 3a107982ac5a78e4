"""Modules of PyTorch as they are loaded from Python, and by the names of packages."""

from __future__ import annotations

import logging
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import cnnviz
from cnnviz.errors import DeviceError, NetworkError, UsageError, WeightsError
from cnnviz.models.config import find_config
from cnnviz.models.resolve import find_model

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.needs("torch")

from torch import nn  # noqa: E402

from tests.importers.torch_modules import SIZE, Attention, Residual, seeded  # noqa: E402

IMAGE = np.random.default_rng(2).integers(0, 256, (12, 16, 3), np.uint8)
SCALE = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def scores(module, image=IMAGE):
    """What the module itself gives for an image of its own size."""
    scaled = (image / 255 - np.array(SCALE["mean"])) / np.array(SCALE["std"])
    batch = torch.from_numpy(scaled.astype(np.float32).transpose(2, 0, 1)[None])
    with torch.no_grad():
        return module.eval()(batch).numpy()[0]


def test_a_module_is_explained():
    module = seeded(Residual).train()
    explainer = cnnviz.load(module, input_size=SIZE[1:], **SCALE)
    assert module.training
    assert explainer.name == "Residual"
    assert explainer.network.check.reference == f"PyTorch {torch.__version__}"
    assert explainer.network.check.difference < 1e-5
    (found,) = cnnviz.explain(IMAGE, explainer, method=["gradcam", "guided_gradcam"])
    np.testing.assert_allclose(found.logits, scores(module), rtol=1e-4, atol=1e-5)
    assert found.layer.name == "layer1.1.relu.1"
    assert found.maps["gradcam"].shape == (3, 4)


def test_a_module_in_one_call():
    module = seeded(Residual)
    (found,) = cnnviz.explain(IMAGE, module, input_size=SIZE[1:], **SCALE)
    np.testing.assert_allclose(found.logits, scores(module), rtol=1e-4, atol=1e-5)


def test_a_module_says_how_many_channels_it_takes():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    said = []
    explainer = cnnviz.load(module, input_size=9, notify=said.append)
    assert explainer.spec.shape == (1, 9, 9)
    assert "--mean 0 --std 1" in said[0]


def test_what_a_module_needs_is_said():
    with pytest.raises(UsageError, match="Residual does not say how large its images are"):
        cnnviz.load(seeded(Residual))
    with pytest.raises(UsageError, match="has its weights in it"):
        cnnviz.load(seeded(Residual), weights="net.pth", input_size=SIZE[1:])
    with pytest.raises(UsageError, match=r"got OrderedDict. A state dict has no network in it"):
        cnnviz.load(seeded(Residual).state_dict())
    with pytest.raises(UsageError, match=r"got type. Call it, and give what it makes"):
        cnnviz.load(Residual)
    with pytest.raises(UsageError, match="A layer is given by its name; got a Conv2d"):
        cnnviz.load(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), input_size=9, layer=nn.Conv2d(1, 1, 1)
        )


def script(module):
    return torch.jit.script(module.eval())


def trace(module):
    return torch.jit.trace(module.eval(), torch.zeros(1, *SIZE), check_trace=False)


def exported(module):
    return torch.export.export(module.eval(), (torch.zeros(1, *SIZE),))


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (nn.DataParallel, "Residual"),
        (torch.compile, "Residual"),  # which compiles when it is called, that is never here
        (lambda module: torch.compile(nn.DataParallel(module)), "Residual"),
        (script, "Residual"),
        (trace, "Residual"),
        (exported, "exported"),
        (lambda module: exported(module).module(), "GraphModule"),
    ],
)
def test_what_a_module_was_made_into_is_explained_as_the_module(wrap, name):
    module = seeded(Residual)
    explainer = cnnviz.load(wrap(module), input_size=SIZE[1:], **SCALE)
    assert explainer.name == name
    assert explainer.layers[0].name == "layer1.1.relu.1"
    assert explainer.network.check.difference < 1e-5
    (found,) = cnnviz.explain(IMAGE, explainer, method="gradcam")
    np.testing.assert_allclose(found.logits, scores(module), rtol=1e-4, atol=1e-5)


def test_pytorch_s_warnings_of_exporting_are_not_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cnnviz.load(seeded(Residual), input_size=SIZE[1:], **SCALE)


def test_threads_may_load_modules_at_once():
    before = sys.stderr
    with ThreadPoolExecutor(4) as pool:
        sizes = [SIZE[1:]] * 4
        explainers = list(
            pool.map(lambda size: cnnviz.load(seeded(Residual), input_size=size), sizes)
        )
    assert all(one.network.check.difference < 1e-5 for one in explainers)
    assert sys.stderr is before


def test_an_exported_program_knows_its_size():
    explainer = cnnviz.load(exported(seeded(Residual)), **SCALE)
    assert explainer.spec.shape == SIZE


class Around(nn.Module):
    """A function of the images before a network, and another of its scores."""

    def __init__(self, before=None, after=None):
        super().__init__()
        self.before, self.after, self.net = before, after, seeded(Residual)

    def forward(self, x):
        x = self.before(x) if self.before else x
        return self.after(self.net(x)) if self.after else self.net(x)


def normalized(x):
    """As torchvision does it, which branches on a tensor that it makes itself."""
    mean, std = torch.tensor(SCALE["mean"]), torch.tensor(SCALE["std"])
    if (std == 0).any():
        raise ValueError("a deviation of zero")
    return x.sub(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


@pytest.mark.parametrize("before", [normalized, lambda x: x.sub_(0.5).div_(0.2)])
def test_a_module_that_normalizes_its_images(before):
    module = Around(before)
    explainer = cnnviz.load(module, input_size=SIZE[1:], mean=(0, 0, 0), std=(1, 1, 1))
    assert explainer.network.check.difference < 1e-5
    (found,) = cnnviz.explain(IMAGE, explainer, method="gradcam")
    batch = torch.from_numpy((IMAGE / 255).astype(np.float32).transpose(2, 0, 1)[None])
    with torch.no_grad():
        wanted = module.eval()(batch).numpy()[0]
    np.testing.assert_allclose(found.logits, wanted, rtol=1e-4, atol=1e-5)


def test_dropout_that_is_always_on_is_left_out_and_said():
    module = Around(after=lambda scores: nn.functional.dropout(scores, 0.5))
    explainer = cnnviz.load(module, input_size=SIZE[1:], **SCALE)
    assert explainer.network.check is None
    assert any("gives other numbers each time" in note for note in explainer.notes)
    (found,) = cnnviz.explain(IMAGE, explainer, method="gradcam")
    np.testing.assert_allclose(found.logits, scores(module.net), rtol=1e-4, atol=1e-5)


def test_an_output_by_its_number():
    module = Around(after=lambda scores: (scores, 2 * scores))
    (found,) = cnnviz.explain(IMAGE, module, input_size=SIZE[1:], head=1, **SCALE)
    np.testing.assert_allclose(found.logits, 2 * scores(module.net), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "unit", [nn.functional.normalize, lambda scores: scores / scores.norm(dim=1, keepdim=True)]
)
def test_an_embedding_has_no_classes(unit):
    module = Around(after=unit)
    explainer = cnnviz.load(module, input_size=SIZE[1:], **SCALE)
    assert any("divided by their length, as embeddings are" in note for note in explainer.notes)
    (found,) = cnnviz.explain(IMAGE, explainer, method="gradcam", target=1)
    assert found.top()[0].probability is None
    wanted = scores(module.net)
    np.testing.assert_allclose(found.logits, wanted / np.sqrt((wanted**2).sum()), rtol=1e-4)


class TwoInputs(Around):
    def forward(self, x, more):
        return super().forward(x) + more


class Whole(nn.Linear):
    """Stands for PyTorch's own, whose package it names."""

    __module__ = "torch.ao.nn.quantized.modules.linear"


def hooked():
    module = seeded(Residual)
    module.layer1.register_forward_hook(lambda _module, _given, found: print(found.numpy()))
    return module


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (
            lambda: seeded(Residual).to("meta"),
            r"no values yet \(.*\.weight is on the device meta\)",
        ),
        (
            lambda: nn.Sequential(nn.LazyConv2d(4, 3)),
            r"has not seen an image yet, and so 0\.weight",
        ),
        (lambda: nn.Sequential(Whole(4, 4)), r"computes in whole numbers \(0, a Whole\)"),
        (TwoInputs, r"takes more than a batch of images \(missing a required argument: 'more'\)"),
        (
            lambda: Around(lambda x: x if x.sum() > 0 else -x),
            r"depends on the values of .*<lambda>",
        ),
        (hooked, r"It has forward hooks: remove those that only look"),
    ],
)
def test_why_a_module_cannot_be_exported(module, told, capfd):
    with pytest.raises(NetworkError, match=told):
        cnnviz.load(module(), input_size=SIZE[1:])
    assert capfd.readouterr() == ("", "")  # PyTorch prints programs, and logs stack traces


def test_a_misread_module_is_refused(monkeypatch):
    """The module itself is run beside the graph once, on a random image."""
    module = seeded(Residual)
    monkeypatch.setattr(module, "forward", _changing(module.forward))
    with pytest.raises(NetworkError, match=r"is not read as PyTorch .* runs it"):
        cnnviz.load(module, input_size=SIZE[1:], **SCALE)


def _changing(forward):
    """A function that is another one while it is exported."""
    return lambda x: forward(x) + (1 if type(x) is torch.Tensor else 0)


# --- networks of packages ------------------------------------------------------------------------


class Net(Residual):
    """A network of a package, as that builds it."""

    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(8, num_classes)


@pytest.fixture
def torchvision(monkeypatch):
    """A package that is like torchvision, with one network."""
    weights = SimpleNamespace(
        url="https://example.org/resnet18.pth",
        transforms=lambda: SimpleNamespace(
            crop_size=[16],
            resize_size=[18],
            mean=SCALE["mean"],
            std=SCALE["std"],
            interpolation=SimpleNamespace(value="bicubic"),
        ),
        meta={"categories": ["cat", "dog", "ox", "hen", "bee"]},
    )

    def get_model(name, weights, num_classes=5):
        if weights is not None:
            raise OSError("<urlopen error>") from OSError(113, "No route to host")
        return Net(num_classes)

    package, models = ModuleType("torchvision"), ModuleType("torchvision.models")
    package.models = models
    models.list_models = lambda module: ["resnet50", "resnet18", "vgg11"]
    models.get_model_weights = lambda name: SimpleNamespace(DEFAULT=weights)
    models.get_model = get_model
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


def saved(path, classes, wrap=dict):
    """A state dict in a file, and the network that it is of."""
    torch.manual_seed(1)
    module = Net(classes)
    torch.save(wrap(module.state_dict()), path)
    return module


def test_a_network_of_a_package_with_weights_of_a_file(torchvision, tmp_path):
    module = saved(tmp_path / "net.pth", 5)
    said = []
    explainer = cnnviz.load(
        "torchvision:resnet18", weights=tmp_path / "net.pth", notify=said.append
    )
    assert explainer.spec.shape == (3, 16, 16)
    assert (explainer.spec.mean, explainer.spec.std) == (SCALE["mean"], SCALE["std"])
    assert (explainer.spec.resize, explainer.spec.crop_fraction) == ("crop", 16 / 18)
    assert explainer.spec.interpolation == "bicubic"
    assert explainer.labels == ("cat", "dog", "ox", "hen", "bee")
    assert explainer.weights.path == tmp_path / "net.pth"
    assert not said
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    explainer = cnnviz.load("torchvision:resnet18", weights=tmp_path / "net.pth", resize="stretch")
    (found,) = cnnviz.explain(image, explainer)
    np.testing.assert_allclose(found.logits, scores(module, image), rtol=1e-4, atol=1e-5)


def test_a_file_with_another_number_of_classes(torchvision, tmp_path):
    saved(tmp_path / "net.pth", 7, lambda state: {"state_dict": state, "epoch": 3})
    explainer = cnnviz.load("torchvision:resnet18", weights=tmp_path / "net.pth")
    assert explainer.network.architecture.classes == 7
    assert explainer.labels == ()


def test_a_file_of_a_network_that_was_wrapped(torchvision, tmp_path):
    saved(
        tmp_path / "net.pth",
        5,
        lambda state: {f"module.{name}": value for name, value in state.items()},
    )
    explainer = cnnviz.load("torchvision:resnet18", weights=tmp_path / "net.pth")
    assert explainer.network.architecture.classes == 5


def test_a_file_of_another_network(torchvision, tmp_path):
    torch.save(seeded(Attention).state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"does not have the weights of torchvision:resnet18: "):
        cnnviz.load("torchvision:resnet18", weights=tmp_path / "other.pth")


def test_weights_that_cannot_be_downloaded(torchvision):
    said = (
        r"torchvision cannot fetch the weights of resnet18 from https://example\.org/resnet18\.pth "
        r"\(No route to host\): try again with a connection to it, or give a file of them with "
        r"weights\."
    )
    with pytest.raises(WeightsError, match=said):
        cnnviz.load("torchvision:resnet18")


def test_tries_to_download_are_not_printed_one_by_one(monkeypatch, caplog):
    def create_model(name, pretrained, num_classes):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise RuntimeError("check your connection") from OSError(-2, "Name not known")

    timm = ModuleType("timm")
    timm.is_model = lambda name: True
    timm.create_model = create_model
    timm.get_pretrained_cfg = lambda name: SimpleNamespace(hf_hub_id="timm/resnet18.a1_in1k")
    monkeypatch.setitem(sys.modules, "timm", timm)
    with pytest.raises(
        WeightsError,
        match=r"from https://huggingface\.co/timm/resnet18\.a1_in1k \(Name not known\)",
    ):
        cnnviz.load("timm:resnet18")
    assert caplog.text == ""
    logging.getLogger("huggingface_hub.utils._http").warning("later ones are")
    assert "later ones are" in caplog.text


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18", "net.pt2"])
def test_without_pytorch_it_is_named(monkeypatch, name, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("net.pt2").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DeviceError, match=r"`pip install torch` installs it") as refused:
        cnnviz.load(name)
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("model", ["torchvision:resnet18", "net.pt2", torch.nn.Identity()])
def test_a_pytorch_that_is_too_old_is_named(monkeypatch, model, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("net.pt2").write_bytes(b"")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu124")
    with pytest.raises(DeviceError, match=r"PyTorch 2\.5\.1\+cu124 is too old") as refused:
        cnnviz.load(model)
    assert refused.value.exit_code == 3


def test_layers_are_known_without_weights(torchvision):
    model = find_model(find_config("torchvision:resnet18"), needs_weights=False)
    assert model.architecture.default_layer.name == "layer1.1.relu.1"


def test_a_name_that_a_package_does_not_have(torchvision):
    with pytest.raises(UsageError, match=r"has no classifier 'resnet51'. Did you mean resnet50"):
        cnnviz.load("torchvision:resnet51")


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NetworkError, match=r"`pip install timm`") as refused:
        cnnviz.load("timm:resnet18")
    assert refused.value.exit_code == 3  # as without onnx


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "resnet18.nonsense",
            r"no weights 'nonsense' of resnet18; it has resnet18\.a1, resnet18\.a2",
        ),
        ("resnet18.", "no weights '' of resnet18; it has"),
        ("mine.nonsense", r"it has none: give timm:mine a file with weights\."),
    ],
)
def test_weights_that_a_package_does_not_have(monkeypatch, name, said):
    timm = ModuleType("timm")
    timm.is_model = lambda name: name.partition(".")[0] in ("resnet18", "mine")
    timm.list_pretrained = lambda pattern: {"resnet18.*": ["resnet18.a1", "resnet18.a2"]}.get(
        pattern, []
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    with pytest.raises(UsageError, match=said):
        cnnviz.load(f"timm:{name}")
