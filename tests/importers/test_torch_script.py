"""TorchScript archives, traced and scripted: what they compute, names, and what is refused."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

import cnnviz
from cnnviz.errors import NetworkError, UsageError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tests.importers.torch_modules import (  # noqa: E402
    SIZE,
    Attention,
    Grouped,
    ReLUs,
    Residual,
    SqueezeExcite,
    Windows,
    seeded,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
BATCH = np.random.default_rng(3).standard_normal((2, *SIZE)).astype(np.float32)


def save(path, module, how):
    if how == "traced":
        script = torch.jit.trace(module, torch.zeros(1, *SIZE), check_trace=False)
    else:
        script = torch.jit.script(module)
    torch.jit.save(script, path)
    return path


@pytest.mark.parametrize("how", ["traced", "scripted"])
@pytest.mark.parametrize("kind", [ReLUs, Residual, SqueezeExcite, Attention, Grouped])
def test_an_archive_gives_what_the_module_gives(kind, how, tmp_path):
    module = seeded(kind)
    path = save(tmp_path / "net.pt", module, how)
    explainer = cnnviz.load(path, input_size=SIZE[1:], engine="torch")
    assert explainer.spec.shape == SIZE
    assert explainer.network.check.reference == f"PyTorch {torch.__version__}"
    with torch.no_grad():
        wanted = module(torch.from_numpy(BATCH)).numpy()
    np.testing.assert_allclose(explainer.network.logits(BATCH), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_layers_are_called_after_modules(how, tmp_path):
    path = save(tmp_path / "net.torchscript", seeded(Residual), how)
    found = cnnviz.load(path, input_size=SIZE[1:]).network.architecture
    assert found.default_layer.name == "layer1.1.relu.1"
    assert found.find("layer1.1") == found.default_layer
    assert found.find("layer1.0.shortcut").kind == "BatchNorm"
    assert "layer1.0.conv2.weight" in found.parameter_shapes


def test_what_writes_into_a_part_of_a_value_is_refused(tmp_path):
    path = save(tmp_path / "net.pt", seeded(Windows), "traced")
    with pytest.raises(NetworkError, match="changes a part of a value in place"):
        cnnviz.load(path, input_size=SIZE[1:])


class Branching(nn.Module):
    """A branch and a loop that the size decides, and a branch that the image decides."""

    def __init__(self, by_image: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.by_image = by_image

    def forward(self, x):
        if x.size(3) > 10:
            x = x[:, :, ::2]
        for _ in range(x.size(2) // 3):
            x = torch.relu(self.conv(x))[:, :3]
        if self.by_image and bool(x.sum() > 0):
            x = -x
        return self.conv(x).mean(dim=[2, 3])


def test_branches_and_loops_that_the_size_decides(tmp_path):
    module = seeded(Branching)
    path = save(tmp_path / "net.pt", module, "scripted")
    explainer = cnnviz.load(path, input_size=SIZE[1:])
    with torch.no_grad():
        wanted = module(torch.from_numpy(BATCH)).numpy()
    np.testing.assert_allclose(explainer.network.logits(BATCH), wanted, rtol=1e-5, atol=1e-5)


def test_a_branch_that_the_image_decides(tmp_path):
    path = save(tmp_path / "net.pt", Branching(by_image=True).eval(), "scripted")
    with pytest.raises(NetworkError, match="gt at the top level"):
        cnnviz.load(path, input_size=SIZE[1:])


def test_what_touches_files_is_not_loaded(tmp_path):
    class Reading(nn.Module):
        def forward(self, x):
            return x + torch.from_file("weights.bin", size=3)

    path = save(tmp_path / "net.pt", Reading(), "scripted")
    with pytest.raises(NetworkError, match=r"calls torch\.from_file, which no network needs"):
        cnnviz.load(path, input_size=4)


def test_a_damaged_archive(tmp_path):
    path = save(tmp_path / "net.pt", seeded(Residual), "traced")
    cut = tmp_path / "cut.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(cut, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith("data.pkl"):
                new.writestr(entry.filename, old.read(entry))
    with pytest.raises(NetworkError, match="cannot be loaded as TorchScript"):
        cnnviz.load(cut, input_size=SIZE[1:])


def test_a_pickled_module_is_refused_with_the_lines_that_export_it(tmp_path):
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    torch.save(module, tmp_path / "net.pth")
    with pytest.raises(UsageError, match="would run whatever code stands in it") as refused:
        cnnviz.load(tmp_path / "net.pth")
    first, second = str(refused.value).split("`")[1::2]
    lines = f"{first}\n{second}".replace('"net.pt2"', repr(str(tmp_path / "net.pt2")))
    exec(lines, {"torch": torch, "model": module})
    explainer = cnnviz.load(tmp_path / "net.pt2")
    assert explainer.spec.shape == (3, 224, 224)
    assert explainer.network.architecture.classes == 5


def test_a_state_dict_alone_is_no_network(tmp_path):
    torch.save(seeded(Residual).state_dict(), tmp_path / "net.pth")
    with pytest.raises(UsageError, match="looks like a file of weights: give the network too"):
        cnnviz.load(tmp_path / "net.pth")
