"""Files of ``torch.export.save``: what they compute, and that nothing in them is run."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

import cnnviz
from cnnviz.errors import CnnvizError, NetworkError, UsageError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.needs("torch")

from cnnviz.importers.torch_pt2 import open_pt2  # noqa: E402
from tests.importers.torch_modules import (  # noqa: E402
    SIZE,
    Attention,
    Residual,
    SqueezeExcite,
    seeded,
)

BATCH = np.random.default_rng(3).standard_normal((2, *SIZE)).astype(np.float32)


def save(path, module, sample=None, **further):
    sample = torch.zeros(1, *SIZE) if sample is None else sample
    exported = torch.export.export(module, (sample,), strict=False, **further)
    torch.export.save(exported, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A network with in-place operators, for any number of images."""
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    shapes = {"dynamic_shapes": ({0: torch.export.Dim("images")},)}
    return save(path, seeded(Residual), torch.zeros(2, *SIZE), **shapes)


def rewritten(file, path, change):
    """The same archive with another program."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            # PyTorch before 2.8 has it at the top.
            if "/models/" in entry.filename or "serialized_exported_program" in entry.filename:
                content = json.loads(data)
                change(content)
                data = json.dumps(content).encode()
            new.writestr(entry, data)
    return path


@pytest.mark.parametrize("kind", [Attention, SqueezeExcite], ids=lambda kind: kind.__name__)
def test_a_file_gives_what_the_module_gives(kind, tmp_path):
    module = seeded(kind)
    path = save(tmp_path / "net.pt2", module)
    explainer = cnnviz.load(path)
    assert explainer.spec.shape == SIZE  # which the file says
    with torch.no_grad():
        wanted = module(torch.from_numpy(BATCH)).numpy()
    np.testing.assert_allclose(explainer.network.logits(BATCH), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_file_in_another_precision_is_computed_in_float32(dtype, tmp_path):
    module = seeded(SqueezeExcite).to(getattr(torch, dtype))
    path = save(tmp_path / "net.pt2", module, torch.zeros(1, *SIZE, dtype=getattr(torch, dtype)))
    said = []
    explainer = cnnviz.load(path, notify=said.append)
    with torch.no_grad():
        wanted = module.float()(torch.from_numpy(BATCH)).numpy()
    np.testing.assert_allclose(explainer.network.logits(BATCH), wanted, rtol=1e-5, atol=1e-5)
    told = f"{path} computes in less than float32, cnnviz in float32." in said
    assert told is (dtype != "float64")


def test_a_file_for_any_number_of_images(file):
    with torch.no_grad():
        wanted = seeded(Residual)(torch.from_numpy(BATCH)).numpy()
    explainer = cnnviz.load(file)
    np.testing.assert_allclose(explainer.network.logits(BATCH), wanted, rtol=1e-5, atol=1e-5)
    assert explainer.network.architecture.default_layer.name == "layer1.1.relu.1"
    assert explainer.network.architecture.find("layer1.0.shortcut").kind == "BatchNorm"


def test_code_in_a_file_is_not_run(file, tmp_path):
    """torch.export.load would evaluate the text that says how large an axis is."""
    trap = tmp_path / "trap"
    formula = f"__import__('pathlib').Path({str(trap)!r}).touch() or 3"

    def plant(content):
        for meta in content["graph_module"]["graph"]["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = formula
        content["guards_code"] = [formula]

    path = rewritten(file, tmp_path / "net.pt2", plant)
    cnnviz.load(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "target",
    ["os.system", "torch.ops.aten.from_file.default", "torch.ops.mine.op.default", "torch.load"],
)
def test_only_operators_of_pytorch_are_run(file, tmp_path, target):
    def plant(content):
        content["graph_module"]["graph"]["nodes"][1]["target"] = target

    path = rewritten(file, tmp_path / "net.pt2", plant)
    with pytest.raises(NetworkError, match=f"it uses {target}"):
        cnnviz.load(path)


def test_a_file_for_a_fixed_number_of_images(tmp_path):
    path = save(tmp_path / "net.pt2", seeded(Residual), torch.zeros(4, *SIZE))
    with pytest.raises(NetworkError, match=r"batches of 4.*torch.zeros\(1, 3, 12, 16\)"):
        cnnviz.load(path)


def test_a_file_for_another_size(file):
    with pytest.raises(
        UsageError, match="takes images of 3×12×16; 3×12×12 was asked for: leave out"
    ):
        cnnviz.load(file, input_size=12)


class Named(torch.nn.Module):
    """Outputs within each other, one of them called as logits are."""

    def __init__(self):
        super().__init__()
        self.net = seeded(Residual)

    def forward(self, x):
        scores = self.net(x)
        return {"more": (2 * scores, 3 * scores), "logits": scores}


def test_outputs_are_called_as_the_module_calls_them(file, tmp_path):
    path = save(tmp_path / "net.pt2", Named())
    with torch.no_grad():
        wanted = seeded(Residual)(torch.from_numpy(BATCH)).numpy()
    for head, factor in ((None, 1), ("more.1", 3)):
        found = cnnviz.load(path, head=head).network.logits(BATCH)
        np.testing.assert_allclose(found, factor * wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="no output 'more'"):
        cnnviz.load(path, head="more")

    def undescribed(content):
        content["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = "[1"

    other = rewritten(path, tmp_path / "other.pt2", undescribed)
    with pytest.raises(UsageError, match=r"3 outputs, 0 \(5\), 1 \(5\) and 2 \(5\): choose one"):
        cnnviz.load(other)


def test_damaged_files(file, tmp_path):
    data = file.read_bytes()
    path = tmp_path / "net.pt2"
    random = np.random.default_rng(0)
    refused = 0
    for cut in (0, 10, len(data) // 2, len(data) - 30):
        path.write_bytes(data[:cut])
        with pytest.raises(NetworkError, match=r"net\.pt2"):
            open_pt2(path)
    for _ in range(40):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 20):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            cnnviz.load(path)
        except CnnvizError:
            refused += 1
    assert refused


def test_missing_parts(file, tmp_path):
    def lose(content):
        content["graph_module"]["signature"]["input_specs"][0]["parameter"]["parameter_name"] = "x"

    with pytest.raises(NetworkError, match="it has no parameter x"):
        cnnviz.load(rewritten(file, tmp_path / "net.pt2", lose))
    with pytest.raises(NetworkError, match="cannot be read"):
        cnnviz.load(rewritten(file, tmp_path / "net.pt2", lambda content: content.clear()))
