"""Every typed operator, forward and backward, against formulas in NumPy's float64."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from cnnviz.engines.base import STANDARD, GradientRequest
from cnnviz.errors import NetworkError
from cnnviz.graph import operators as op
from cnnviz.graph.graph import Graph, Node, Value
from tests.support import reference
from tests.support.networks import random_parameters

IMAGE = (4, 6, 5)
VECTOR = (6,)

#: The operator, the shape of the images, and those of its parameters.
CASES = [
    (op.AdaptiveAvgPool2d((4, 2)), IMAGE, ()),
    (op.Affine(2.5), IMAGE, ()),
    (op.Affine(1.0, -0.5), IMAGE, ()),
    (op.Affine(-1.0, 3.0), IMAGE, ()),
    (op.AvgPool2d((2, 3), (2, 1)), IMAGE, ()),
    (op.AvgPool2d((3, 3), (2, 2), (1, 1, 1, 1)), IMAGE, ()),
    (op.AvgPool2d((3, 3), (2, 2), (1, 1, 1, 1), count_include_pad=False), IMAGE, ()),
    (op.AvgPool2d((3, 3), (2, 2), ceil_mode=True), IMAGE, ()),
    (op.BatchNorm(1e-3), IMAGE, ((4,),) * 4),
    (op.BatchNorm(1e-5, fixed_scale=True), IMAGE, ((4,),) * 4),
    (op.BatchNorm(1e-5, axis=2), IMAGE, ((5,),) * 4),
    (op.Conv2d(3, (3, 2)), IMAGE, ((3, 4, 3, 2), (3,))),
    (op.Conv2d(3, (3, 3), padding=(1, 1, 1, 1)), IMAGE, ((3, 4, 3, 3),)),
    (op.Conv2d(4, (3, 3), (2, 2), (1, 2, 1, 2)), IMAGE, ((4, 4, 3, 3), (4,))),
    (op.Conv2d(2, (2, 2), dilation=(2, 3)), IMAGE, ((2, 4, 2, 2),)),
    (op.Conv2d(6, (3, 1), padding=(2, 0, 2, 0), groups=2), IMAGE, ((6, 2, 3, 1), (6,))),
    (op.Conv2d(4, (3, 3), padding=(1, 1, 1, 1), groups=4), IMAGE, ((4, 1, 3, 3),)),
    (op.ConvTranspose2d(3, (2, 3)), (4, 3, 3), ((4, 3, 2, 3), (3,))),
    (
        op.ConvTranspose2d(2, (3, 3), (2, 2), (1, 1, 1, 1), output_padding=(1, 1)),
        (4, 3, 3),
        ((4, 2, 3, 3),),
    ),
    (op.ConvTranspose2d(4, (2, 2), groups=2), (4, 3, 3), ((4, 2, 2, 2),)),
    (op.ELU(0.7), IMAGE, ()),
    (op.Flatten(), IMAGE, ()),
    (op.GELU(), IMAGE, ()),
    (op.GlobalAvgPool2d(), IMAGE, ()),
    (op.GlobalMaxPool2d(), IMAGE, ()),
    (op.GroupNorm(2, 1e-3), IMAGE, ((2,), (2,))),
    (op.GroupNorm(2, 1e-3), IMAGE, ((4,), (4,))),
    (op.GroupNorm(4, 1e-3), IMAGE, ((4,), (4,))),
    (op.HardSigmoid(0.4, 0.3), IMAGE, ()),
    (op.Identity(), IMAGE, ()),
    (op.InstanceNorm(1e-3), IMAGE, ((4,), (4,))),
    (op.LayerNorm(-1, 1e-3), IMAGE, ((5,), (5,))),
    (op.LayerNorm(0, 1e-3), VECTOR, ((6,), (6,))),
    (op.LeakyReLU(0.2), IMAGE, ()),
    (op.Linear(5), IMAGE, ((5, 120), (5,))),
    (op.Linear(3), VECTOR, ((3, 6),)),
    (op.Linear(3, flatten=False), IMAGE, ((3, 5), (3,))),
    (op.LocalResponseNorm(3, 0.5, 0.75, 1.5), IMAGE, ()),
    (op.MaxPool2d((2, 2), (2, 2)), IMAGE, ()),
    (op.MaxPool2d((3, 3), (1, 1), (1, 1, 1, 1)), IMAGE, ()),
    (op.MaxPool2d((3, 2), (2, 2), ceil_mode=True), IMAGE, ()),
    (op.Mean((1, 2)), IMAGE, ()),
    (op.Mean((0,), keep_axes=True), IMAGE, ()),
    (op.PReLU(), IMAGE, ((4,),)),
    (op.Pad2d((1, 2, 3, 0), value=0.5), IMAGE, ()),
    (op.Pad2d((1, 2, 0, 1), "edge"), IMAGE, ()),
    (op.Pad2d((1, 2, 0, 1), "reflect"), IMAGE, ()),
    (op.ReLU(), IMAGE, ()),
    (op.ReLU(0.5), IMAGE, ()),
    (op.ReLU(standalone=False), IMAGE, ()),
    (op.Reshape((2, 60)), IMAGE, ()),
    (op.SELU(), IMAGE, ()),
    (op.Sigmoid(), IMAGE, ()),
    (op.Slice((1, 0, 1), (4, 6, 5), (1, 2, 3)), IMAGE, ()),
    (op.Softplus(), IMAGE, ()),
    (op.Softsign(), IMAGE, ()),
    (op.Sum((1, 2)), IMAGE, ()),
    (op.Tanh(), IMAGE, ()),
    (op.Transpose((2, 0, 1)), IMAGE, ()),
]
#: What an engine has no operator for, and says so.
LACKING = {"mxnet": [(op.GroupNorm(2, 1e-3), IMAGE, ((4,), (4,)))]}
#: Of two values that both come from the images: the first as it is, the second twice that, plus 5.
BINARY = [op.Add(), op.Subtract(), op.Multiply(), op.Divide(), op.Concat(), op.Concat(axis=2)]


def called(case):
    return str(case[0] if isinstance(case, tuple) else case)


def check(engine, graph, parameters):
    """Output, and the gradient of a random sum of its numbers, of two images."""
    random = np.random.default_rng(5)
    batch = random.uniform(-2, 2, (2, *graph.input_size)).astype(np.float32)
    values = reference.forward(graph, parameters, batch)
    expected = values[graph.output]
    seed = random.uniform(-1, 1, expected.shape).astype(np.float32)
    slope = reference.gradients(graph, values, seed, STANDARD)[graph.input]

    recording = engine.run(batch, record=True)
    (result,) = recording.gradients(graph.output, seed, [GradientRequest()])
    for found, truth in (
        (recording.output, expected),
        (engine.run(batch, record=False).output, expected),
        (result.input, slope),
    ):
        assert (found.shape, found.dtype) == (truth.shape, np.float32)
        np.testing.assert_allclose(found, truth, rtol=1e-4, atol=2e-5 * np.abs(truth).max())
    assert result.relus_changed == 0


@pytest.mark.parametrize("case", CASES, ids=called)
def test_operator(build, case):
    operator, size, parameters = case
    stored = [Node(op.Parameter(shape), f"p{place}") for place, shape in enumerate(parameters)]
    inputs = tuple(Value(place) for place in range(len(stored) + 1))
    nodes = (Node(op.Input(size), "data"), *stored, Node(operator, "operator", inputs))
    graph = Graph(nodes, Value(len(nodes) - 1))
    arrays = random_parameters(graph, seed=3)
    if isinstance(operator, op.BatchNorm):
        arrays["p3"] = np.abs(arrays["p3"]) + np.float32(0.5)  # a variance
    if case in LACKING.get(build.keywords["name"], ()):
        with pytest.raises(NetworkError, match=r"scales 4 channels in 2 groups one by one\.$"):
            build(graph, arrays)
        return
    check(build(graph, arrays), graph, arrays)


@pytest.mark.parametrize("operator", BINARY, ids=called)
def test_operator_of_two_values(build, operator):
    nodes = (
        Node(op.Input(IMAGE), "data"),
        Node(op.Affine(2.0), "twice", (Value(0),)),
        Node(op.Affine(shift=5.0), "shifted", (Value(1),)),
        Node(operator, "operator", (Value(0), Value(2))),
    )
    graph = Graph(nodes, Value(3))
    check(build(graph, {}), graph, {})


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1, 1, 5), (1,)])
@pytest.mark.parametrize("operator", [op.Add(), op.Multiply()], ids=called)
def test_what_is_stretched(build, operator, shape):
    """A parameter of a size 1, or with fewer axes, is used at every place."""
    nodes = (
        Node(op.Input(IMAGE), "data"),
        Node(op.Parameter(shape), "stored"),
        Node(operator, "operator", (Value(0), Value(1))),
    )
    graph = Graph(nodes, Value(2))
    arrays = random_parameters(graph, seed=3)
    check(build(graph, arrays), graph, arrays)


@pytest.mark.parametrize("cuts", [(1, 3), (2,)])
def test_parts(build, cuts):
    """Of several outputs two are used: their gradients come together again."""
    nodes = (
        Node(op.Input(IMAGE), "data"),
        Node(op.Split(0, cuts), "split", (Value(0),)),
        Node(op.Affine(3.0), "thrice", (Value(1, 1),)),
        Node(op.Concat(), "joined", (Value(2), Value(1, 0))),
    )
    graph = Graph(nodes, Value(3))
    check(build(graph, {}), graph, {})


def test_all_operators_are_tried():
    concrete = {
        kind
        for _name, kind in inspect.getmembers(op, inspect.isclass)
        if issubclass(kind, op.Operator) and not inspect.isabstract(kind)
    }
    families = {kind for kind in concrete if kind.__subclasses__()}
    tried = {type(case[0]) for case in CASES} | {type(each) for each in BINARY} | {op.Split}
    assert concrete - families - tried == {op.Input, op.Parameter, op.Opaque}
