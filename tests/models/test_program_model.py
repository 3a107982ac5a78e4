"""Networks that are read as programs, whatever their format: one made by hand stands for all."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from cnnviz.engines.base import Device
from cnnviz.engines.registry import choose_engine
from cnnviz.errors import NetworkError, UsageError, WeightsError
from cnnviz.explainer import Explainer
from cnnviz.graph.operators import ReLU
from cnnviz.images.input_spec import InputSpec
from cnnviz.importers import tensor_arithmetic
from cnnviz.importers import tensor_layers as layers
from cnnviz.importers import tensor_products as products
from cnnviz.importers import tensor_shapes as shapes
from cnnviz.importers.program_source import (
    MOST_APART,
    MOST_APART_HALF,
    MOST_APART_QUANTIZED,
    InputHint,
)
from cnnviz.importers.tensors import Constant, TensorGraph
from cnnviz.models.config import ModelConfig
from cnnviz.models.program_files import open_program
from cnnviz.models.program_model import ProgramModel

SIZED = InputHint(3, (8, 8))
RNG = np.random.default_rng(3)
KERNEL = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
DENSE = RNG.standard_normal((5, 4)).astype(np.float32)


def softmax_of(image):
    """The network below in plain NumPy, for one image (1, 3, H, W)."""
    windows = np.lib.stride_tricks.sliding_window_view(image[0], (3, 3), axis=(1, 2))
    maps = np.einsum("chwij,ocij->ohw", windows, KERNEL)
    powers = np.exp(DENSE @ np.maximum(maps, 0).mean((1, 2)))
    return (powers / powers.sum())[None]


class Made:
    """A convolution, a ReLU, a mean, a dense layer and a softmax."""

    name = "made"
    origin = "the network's own file"
    remarks = ("Something was assumed.",)
    reference = "NumPy"
    most_apart = MOST_APART
    takes_bytes = False
    unchecked = ""

    def __init__(self, file, hint=SIZED, factor=1.0, beside=()):
        self.file, self.hint, self.factor, self.beside = file, hint, factor, beside

    @property
    def files(self):
        return (self.file, *self.beside)

    def program(self, size, head):
        graph = TensorGraph(size)
        with graph.scope("conv"):
            maps = layers.convolution(graph, graph.images, Constant(KERNEL, "conv.weight"))
        graph.call(maps, "features.conv")
        mean = shapes.reduced(
            graph, tensor_arithmetic.unary(graph, ReLU(), maps), "mean", (2, 3), keep_axes=False
        )
        logits = products.linear(graph, mean, Constant(DENSE, "fc.weight"))
        return graph.finish(shapes.softmax(graph, logits, 1))

    def reference_output(self, images, head):
        return softmax_of(images) ** self.factor


class Half(Made):
    """It is compared with what rounds to half precision."""

    most_apart = MOST_APART_HALF


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "made.onnx"
    path.write_bytes(b"weights")
    return path


def load(model):
    return model.load(choose_engine(Device("cpu"), model.architecture.graph))


def test_it_is_read_compared_and_run(file):
    said = []
    model = ProgramModel(ModelConfig(str(file)), Made(file), notify=said.append)
    assert model.spec.shape == (3, 8, 8)
    assert model.classes == 5
    assert model.architecture.default_layer.name == "features.conv"
    network, weights = load(model)
    assert weights.path == file
    assert network.check.reference == "NumPy"
    assert network.check.difference < 1e-5  # float32 sums of 27 numbers
    image = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    found = network.architecture.activation.outputs(network.logits(image))
    np.testing.assert_allclose(found, softmax_of(image), rtol=1e-5)
    assert said == [
        "No mean and std were given for made; ImageNet's are assumed: --mean 0.485,0.456,0.406 "
        "--std 0.229,0.224,0.225.",
        "Something was assumed.",
    ]


def test_the_digest_covers_what_lies_beside_the_file(file):
    """As ``sha256sum net.onnx net.onnx.data | cut -c1-64 | sha256sum`` prints it."""

    def digest(data):
        beside.write_bytes(data)
        model = ProgramModel(ModelConfig(str(file)), Made(file, beside=(beside,)))
        model.digest_ahead()
        return load(model)[1].sha256

    beside = file.with_name("made.onnx.data")
    each = [hashlib.sha256(data).hexdigest() for data in (b"weights", b"more")]
    whole = hashlib.sha256("".join(f"{one}\n" for one in each).encode()).hexdigest()
    assert digest(b"more") == whole
    assert digest(b"less") != whole


def test_half_precision_is_compared_less_strictly(file):
    network, _ = load(ProgramModel(ModelConfig(str(file)), Half(file, factor=1.2)))
    assert MOST_APART < network.check.difference < MOST_APART_HALF
    with pytest.raises(NetworkError, match="is not read as NumPy runs it"):
        load(ProgramModel(ModelConfig(str(file)), Half(file, factor=0.0)))


def test_what_overflows_in_half_precision_is_not_compared(file):
    network, _ = load(ProgramModel(ModelConfig(str(file)), Half(file, factor=np.nan)))
    assert network.check is None
    assert "overflows in half precision as NumPy runs it" in network.unchecked
    assert network.unchecked in Explainer(network, InputSpec(8, 8)).notes


def test_what_half_precision_cannot_hold_is_not_compared(file, monkeypatch):
    """As an untrained network's scores, of 1e-8, which come out as 0."""
    monkeypatch.setattr(Half, "reference_output", lambda self, images, head: np.zeros((1, 5)))
    network, _ = load(ProgramModel(ModelConfig(str(file)), Half(file)))
    assert network.check is None
    assert "loses its small scores in half precision as NumPy runs it" in network.unchecked


def test_what_comes_out_otherwise_elsewhere_is_refused(file):
    model = ProgramModel(ModelConfig(str(file)), Made(file, factor=1.01))
    with pytest.raises(NetworkError, match=r"made.onnx is not read as NumPy runs it: .* here and"):
        load(model)


class Noisy(Made):
    """It has noise of its own wherever it is run."""

    def reference_output(self, images, head):
        return softmax_of(images) * (1 + RNG.random((1, 5)))


def test_what_is_never_the_same_is_not_compared(file):
    network, _ = load(ProgramModel(ModelConfig(str(file)), Noisy(file)))
    assert network.check is None
    assert "made.onnx gives other numbers each time that NumPy runs it" in network.unchecked


def test_what_is_not_finite_elsewhere_is_not_compared(file):
    network, _ = load(ProgramModel(ModelConfig(str(file)), Made(file, factor=np.nan)))
    assert network.check is None
    assert "made.onnx gives NaN or infinity for a random image in NumPy" in network.unchecked


def test_weights_that_are_nan_are_refused_by_name(file, monkeypatch):
    damaged = DENSE.copy()
    damaged[1, 2:] = np.nan
    monkeypatch.setattr(f"{__name__}.DENSE", damaged)
    with pytest.raises(WeightsError, match=r"made.onnx: fc.weight holds 2 of 20 numbers that are"):
        load(ProgramModel(ModelConfig(str(file)), Made(file)))


class Quantized(Made):
    """What else runs it rounds coarsely."""

    most_apart = MOST_APART_QUANTIZED


def test_how_far_a_quantized_network_is_off_is_told(file):
    network, _ = load(ProgramModel(ModelConfig(str(file)), Quantized(file, factor=0.0)))
    assert network.check.difference > MOST_APART_HALF  # it would be refused otherwise
    told = f"in NumPy differs by {network.check.difference:.1%} of the largest"
    assert told in network.unchecked


class Bytes(Made):
    """It takes whole numbers."""

    takes_bytes = True

    def reference_output(self, images, head):
        assert set(np.unique(images)) <= set(range(128))
        return softmax_of(images)


def test_a_network_of_bytes_is_compared_on_bytes(file, monkeypatch):
    monkeypatch.setattr(f"{__name__}.DENSE", DENSE / 128)  # or powers of e would overflow
    network, _ = load(ProgramModel(ModelConfig(str(file)), Bytes(file)))
    assert network.check.difference < 1e-5


def test_the_size_has_to_be_known(file):
    with pytest.raises(UsageError, match="does not say how large its images are: give --input-si"):
        _ = ProgramModel(ModelConfig(str(file)), Made(file, InputHint())).spec
    model = ProgramModel(ModelConfig(str(file), input_size=(6, 10)), Made(file, InputHint()))
    assert model.architecture.input_shape == (3, 6, 10)


def test_what_the_file_says_of_pixels(file):
    said = []
    hint = InputHint(3, (8, 8), (0.0,) * 3, (1.0,) * 3, "the file normalizes pixels itself")
    model = ProgramModel(ModelConfig(str(file)), Made(file, hint), notify=said.append)
    assert model.spec.mean == (0, 0, 0)
    assert "the file normalizes pixels itself" in said[0]
    told = ModelConfig(str(file), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert ProgramModel(told, Made(file, hint)).spec.mean == (0.5, 0.5, 0.5)
    for wrong, reason in (
        ({"mean": (0.5,)}, "no std was given"),
        ({"mean": (0.5,), "std": (0.5,) * 3}, "as many for each"),
        ({"mean": (0.5,), "std": (0.5,)}, "takes color"),
        ({"mean": (120.0,) * 3, "std": (60.0,) * 3}, "belongs to pixels from 0 to 255"),
    ):
        with pytest.raises(UsageError, match=reason):
            _ = ProgramModel(ModelConfig(str(file), **wrong), Made(file, hint)).spec


def test_the_classes_names(file):
    names = ("a", "b", "c", "d", "e")
    own = Made(file, InputHint(3, (8, 8), labels=names))
    assert ProgramModel(ModelConfig(str(file)), own).labels == names
    given = ModelConfig(str(file), labels=names[::-1])
    assert ProgramModel(given, own).labels == names[::-1]
    with pytest.raises(UsageError, match="2 class names were given, but made has 5 classes"):
        _ = ProgramModel(ModelConfig(str(file), labels=("a", "b")), own).labels


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2"])
def test_a_file_with_weights_takes_no_others(tmp_path, name):
    # Said before the file is read, whatever is installed.
    with pytest.raises(UsageError, match=rf"{name} has its weights in it: leave out --weights w"):
        open_program(str(tmp_path / name), Path("w.pth"))
