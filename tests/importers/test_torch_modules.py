"""PyTorch modules through ``torch.export``: values and gradients against the modules' own."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from cnnviz.engines.base import GUIDED, Device, GradientRequest
from cnnviz.engines.registry import build_engine, lack
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.operators import (
    GELU,
    Divide,
    Erf,
    GlobalAvgPool2d,
    LayerNorm,
    Power,
    ReLU,
    Sigmoid,
    SiLU,
    Subtract,
)
from tests.engines.contract.conftest import ENGINES

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.needs("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from cnnviz.importers.torch_export import program_of_module  # noqa: E402
from tests.importers import torch_modules  # noqa: E402
from tests.importers.torch_modules import CLASSES, MODULES, SIZE, seeded  # noqa: E402

BATCH = np.random.default_rng(3).standard_normal((3, *SIZE)).astype(np.float32)


@cache
def read(kind):
    module = seeded(kind)
    return module, program_of_module(module, SIZE)


def architecture(module, size=SIZE):
    program = program_of_module(module, size)
    return Architecture(program.graph, program.paths)


def run(kind, engine, request=None):
    """Class scores of three images, and gradients of their class 1 at them."""
    request = request or GradientRequest()
    _, program = read(kind)
    if lack(engine, program.graph):
        pytest.skip(f"{engine} lacks {lack(engine, program.graph)}")
    built = build_engine(program.graph, program.parameters, Device("cpu"), engine)
    recording = built.run(BATCH, record=True)
    scores = recording.output.reshape(len(BATCH), -1).copy()
    seed = np.zeros_like(recording.output)
    seed.reshape(len(BATCH), -1)[:, 1] = 1
    (found,) = recording.gradients(program.graph.output, seed, [request])
    return scores, found.input


def truth(forward):
    images = torch.from_numpy(BATCH).requires_grad_()
    scores = forward(images)
    (gradients,) = torch.autograd.grad(scores[:, 1].sum(), images)
    return scores.detach().numpy(), gradients.numpy()


def assert_close(found, wanted, tolerance):
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_scores_and_gradients_are_the_module_s(kind, engine):
    """In float32 both sum in another order: some 1e-7 for each of the dozen layers."""
    scores, gradients = run(kind, engine)
    wanted, wanted_gradients = truth(read(kind)[0])
    assert_close(scores, wanted, 1e-5)
    assert_close(gradients, wanted_gradients, 1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_relu_is_guided_however_it_is_written(engine):
    module, _ = read(torch_modules.ReLUs)
    _, gradients = run(torch_modules.ReLUs, engine, GradientRequest(GUIDED))
    scores, wanted = truth(module.rewritten)
    np.testing.assert_allclose(scores, truth(module)[0], rtol=1e-5, atol=1e-6)  # the same network
    assert not np.allclose(wanted, truth(module)[1], rtol=0.1)  # and another gradient
    assert_close(gradients, wanted, 1e-4)


def test_relus_are_typed():
    _, program = read(torch_modules.ReLUs)
    found = [node.operator.upper for node in program.graph.nodes if isinstance(node.operator, ReLU)]
    assert sorted(found) == [6.0] + [float("inf")] * 7


def test_layers_are_called_after_modules():
    _, program = read(torch_modules.Residual)
    found = Architecture(program.graph, program.paths)
    block = "layer1.1"
    assert [layer.name for layer in found.layers if layer.name.startswith(block)] == [
        f"{block}.conv1",
        f"{block}.bn1",
        f"{block}.relu",
        f"{block}.conv2",
        f"{block}.bn2",
        f"{block}.shortcut.0",
        f"{block}.shortcut.1",
        f"{block}.add",
        f"{block}.relu.1",
    ]
    last = found.find(f"{block}.relu.1")
    assert found.find(block) == found.find("layer1") == last
    assert found.find("layer1.0.shortcut") == found.find("layer1.0.shortcut.1")
    assert found.default_layer == last
    assert found.find("mean").kind == GlobalAvgPool2d().kind


class SpelledOut(nn.Module):
    """Layers whose formulas a module has in its own code."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.scale, self.shift = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2)
        x = 0.5 * x * (1 + torch.erf(x / 2**0.5))
        centered = x - x.mean(-1, keepdim=True)
        deviation = torch.sqrt((centered * centered).mean(-1, keepdim=True) + 1e-5)
        x = centered / deviation * self.scale + self.shift
        return self.head((x * torch.sigmoid(x)).mean(1))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_module_spells_out_is_the_layer_that_is_meant(engine):
    """As of ONNX files (``test_fusing.py``)."""
    kinds = {type(node.operator) for node in read(SpelledOut)[1].graph.nodes}
    assert kinds >= {GELU, LayerNorm, SiLU}
    assert not kinds & {Erf, Power, Divide, Sigmoid, Subtract}
    scores, gradients = run(SpelledOut, engine)
    wanted, wanted_gradients = truth(read(SpelledOut)[0])
    assert_close(scores, wanted, 1e-5)
    assert_close(gradients, wanted_gradients, 1e-4)


def test_functions_are_called_after_the_module_they_stand_in():
    _, program = read(torch_modules.ReLUs)
    names = [layer.name for layer in Architecture(program.graph, program.paths).layers]
    assert [name for name in names if "relu" in name] == [
        "relu",
        "relu.1",
        "relu.2",
        "relu.3",
        "relu.4",
        "relu6",
    ]


def test_parameters_are_called_as_the_module_calls_them():
    module, program = read(torch_modules.SqueezeExcite)
    state = module.state_dict()
    for name, array in program.parameters.items():
        np.testing.assert_array_equal(array, state[name].numpy())


def test_a_module_is_left_as_it_was():
    module = seeded(torch_modules.Residual).train()
    module.layer1[0].eval()
    module.fc.weight.grad = torch.ones_like(module.fc.weight)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [each.training for each in module.modules()]
    program = program_of_module(module, SIZE)
    assert [each.training for each in module.modules()] == modes
    assert (module.fc.weight.grad == 1).all()
    assert all(parameter.requires_grad for parameter in module.parameters())
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        module.fc.weight.zero_()
    assert program.parameters["fc.weight"].any()  # a copy, which training does not change


def test_a_module_in_half_precision():
    module = seeded(torch_modules.SqueezeExcite).to(torch.bfloat16)
    program = program_of_module(module, SIZE)
    assert {array.dtype for array in program.parameters.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(
        program.parameters["head.bias"], module.head.bias.detach().float().numpy()
    )


class Outputs(nn.Module):
    def __init__(self, names):
        super().__init__()
        self.names = names
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        features = self.conv(x)
        both = features, features.mean((2, 3))
        return dict(zip(self.names, both, strict=True)) if self.names else both


def test_one_of_several_outputs():
    named = Outputs(["features", "logits"])
    assert architecture(named).outputs == 4
    assert program_of_module(named, SIZE, "features").graph.shapes[-1] == ((4, 10, 14),)
    assert program_of_module(Outputs(None), SIZE, "1").graph.shapes[-1] == ((4,),)
    with pytest.raises(
        UsageError, match=r"2 outputs, 0 \(4×10×14\) and 1 \(4\): choose one with --h"
    ):
        program_of_module(Outputs(None), SIZE)
    with pytest.raises(UsageError, match=r"no output 'logit'.*logits"):
        program_of_module(named, SIZE, "logit")


class Between(nn.Module):
    """A function of (1, 4, 6, 8) between a convolution and the scores."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 4, 7)
        self.head = nn.LazyLinear(5)

    def forward(self, x):
        return self.head(self.function(3 * self.conv(x)).flatten(1))


def tokens(x):
    return x.flatten(2).transpose(1, 2)


FUNCTIONS = {
    "celu": lambda x: F.celu(x, 0.3),
    "clamp with bounds that cross": lambda x: x.clamp(0.5, 0.2) + x,
    "clamp without bounds": lambda x: x.clamp(-float("inf"), float("inf")) * 2,
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "hard tanh": F.hardtanh,
    "logarithm of a sum of large powers": lambda x: torch.logsumexp(100 * x, 1),
    "softplus": lambda x: F.softplus(x, 3),
    "a number to the power": lambda x: 2**x,
    "one number as a slope": nn.PReLU(),
    "attention to what came before": lambda x: F.scaled_dot_product_attention(
        tokens(x), tokens(2 * x), tokens(x), is_causal=True
    ),
    "attention with a scale below 0": lambda x: F.scaled_dot_product_attention(
        tokens(x), tokens(x), tokens(x), scale=-0.3
    ),
    "einsum of one": lambda x: torch.einsum("bchw->bwh", x),
    "einsum with a sum over one": lambda x: torch.einsum("bchw,bdhv->bcd", x, x),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "RMS norm": lambda x: F.rms_norm(x, (10,)),
}


@cache
def between(name):
    torch.manual_seed(2)
    module = Between(FUNCTIONS[name]).eval()
    wanted = module(torch.from_numpy(BATCH[:1])).detach().numpy()
    return wanted, program_of_module(module, SIZE)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_pytorch_s(name, engine):
    """Sums of at most some hundred products in float32."""
    wanted, program = between(name)
    if lack(engine, program.graph):
        pytest.skip(f"{engine} lacks {lack(engine, program.graph)}")
    built = build_engine(program.graph, program.parameters, Device("cpu"), engine)
    assert_close(built.run(BATCH[:1], record=False).output, wanted, 1e-5)


class Refused(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.inner = nn.Module()
        self.inner.forward = function
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.inner(self.conv(x)).mean((2, 3))


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda x: torch.fft.rfft2(x).abs(), r"fft_\w+"),
        (lambda x: x * x.cumsum(2), "cumsum in inner"),
        (lambda x: x if x.sum() > 0 else -x, "PyTorch cannot export Refused for images of 3×12×16"),
        (lambda x: x * (x > 0), "gt in inner"),
        (lambda x: torch.where(x > 1, x, 0), "gt in inner"),
        (lambda x: F.batch_norm(x, None, None, training=True), "from the batch"),
        (lambda x: F.softplus(x, threshold=2), "cut off above 2"),
    ],
    ids=["fft", "cumsum", "branch", "comparison", "where", "batch statistics", "softplus"],
)
def test_what_is_not_run_is_refused_by_name(function, told):
    with pytest.raises(NetworkError, match=told):
        program_of_module(Refused(function), SIZE)


def test_a_constant_network_is_refused():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(1, 5)

    with pytest.raises(NetworkError, match="does not depend on the images"):
        program_of_module(Constant(), SIZE)
