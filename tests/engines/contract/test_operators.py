"""Every typed operator, forward and backward, against formulas in NumPy's float64."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from cnnviz.engines.base import STANDARD, GradientRequest
from cnnviz.errors import NetworkError
from cnnviz.graph import operators as op
from cnnviz.graph.graph import Graph, Node, Value
from tests.engines.contract.cases import (
    BINARY,
    CASES,
    IMAGE,
    LACKING,
    POSITIVE,
    ROWS,
)
from tests.support import reference
from tests.support.networks import random_parameters


def called(case):
    return str(case[0] if isinstance(case, tuple) else case)


def check(build, graph, parameters, case=None, same=None):
    """Output, and the gradient of a random sum of its numbers, of two images.

    ``same`` computes the same by other operators.
    """
    lacking = LACKING[build.keywords["name"]]
    operators = [node.operator for node in graph.nodes]
    if case in lacking or any(o in lacking or type(o) in lacking for o in operators):
        with pytest.raises(NetworkError, match=r"\.$"):
            build(graph, parameters)
        return
    engine = build(graph, parameters)
    assert engine.lacks(graph) == ()
    truth = same or graph
    random = np.random.default_rng(5)
    batch = random.uniform(-2, 2, (2, *graph.input_size)).astype(np.float32)
    values = reference.forward(truth, parameters, batch)
    expected = values[truth.output]
    seed = random.uniform(-1, 1, expected.shape).astype(np.float32)
    slope = reference.gradients(truth, values, seed, STANDARD)[truth.input]

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
    check(build, graph, arrays, case)


@pytest.mark.parametrize("operator", [op.Softplus(), op.Mish()], ids=called)
def test_far_from_zero(build, operator):
    """Below zero little is left of the logarithm, and that has to be right, too; above, x is."""
    x = np.concatenate([np.linspace(-30, 30, 1197), (-100, 90, 200)]).astype(np.float32)
    graph = Graph((Node(op.Input(IMAGE), "data"), Node(operator, "it", (Value(0),))), Value(1))
    batch = x.reshape(-1, *IMAGE)
    recording = build(graph, {}).run(batch, record=True)
    wide = x.astype(np.float64)
    softplus, sigmoid = np.logaddexp(0, wide), 1 / (1 + np.exp(-wide))
    expected, slope = softplus, sigmoid
    if isinstance(operator, op.Mish):
        gate = np.tanh(softplus)
        expected, slope = wide * gate, gate + wide * (1 - gate**2) * sigmoid
    (result,) = recording.gradients(graph.output, np.ones_like(batch), [GradientRequest()])
    # A few roundings of float32, relative to the value itself. The slope of Mish is a difference.
    np.testing.assert_allclose(recording.output.ravel(), expected, rtol=2e-6, atol=1e-37)
    np.testing.assert_allclose(result.input.ravel(), slope, rtol=2e-6, atol=3e-7)


@pytest.mark.parametrize("operator", POSITIVE, ids=called)
def test_operator_of_positive_numbers(build, operator):
    nodes = (
        Node(op.Input(IMAGE), "data"),
        Node(op.Affine(shift=2.5), "shifted", (Value(0),)),
        Node(operator, "operator", (Value(1),)),
    )
    check(build, Graph(nodes, Value(2)), {})


@pytest.mark.parametrize("operator", BINARY, ids=called)
def test_operator_of_two_values(build, operator):
    nodes = (
        Node(op.Input(IMAGE), "data"),
        Node(op.Affine(2.0), "twice", (Value(0),)),
        Node(op.Affine(shift=5.0), "shifted", (Value(1),)),
        Node(operator, "operator", (Value(0), Value(2))),
    )
    check(build, Graph(nodes, Value(3)), {})


@pytest.mark.parametrize(
    ("operator", "passed"),
    [
        (op.Max((0, 2), keep_axes=True), [[[1, 0], [0, 0]], [[0, 0], [2, 0]]]),
        (op.Min((1, 2)), [[[0, 1], [0, 0]], [[0, 2], [0, 0]]]),
        (op.GlobalMaxPool2d(), [[[0, 0], [1, 0]], [[0, 0], [2, 0]]]),
    ],
    ids=called,
)
def test_of_equals_the_first_passes_the_gradient_on(build, operator, passed):
    graph = Graph(
        (Node(op.Input((2, 2, 2)), "data"), Node(operator, "operator", (Value(0),))), Value(1)
    )
    batch = np.asarray([[[[5, 1], [5, 1]], [[5, 1], [7, 7]]]], np.float32)
    if isinstance(operator, op.GlobalMaxPool2d):
        batch[0, 0] = [[1, 1], [5, 5]]
    seed = np.reshape([1, 2], (1, *graph.shape(graph.output))).astype(np.float32)
    (result,) = (
        build(graph, {}).run(batch, record=True).gradients(graph.output, seed, [GradientRequest()])
    )
    np.testing.assert_array_equal(result.input[0], passed)


@pytest.mark.parametrize("operator", [op.Maximum(), op.Minimum()], ids=called)
def test_of_two_equals_the_left_passes_the_gradient_on(build, operator):
    nodes = (
        Node(op.Input((1, 2, 2)), "data"),
        Node(op.Affine(2.0), "twice", (Value(0),)),
        Node(operator, "operator", (Value(1), Value(0))),
    )
    graph = Graph(nodes, Value(2))
    batch, seed = np.zeros((1, 1, 2, 2), np.float32), np.ones((1, 1, 2, 2), np.float32)
    (result,) = (
        build(graph, {}).run(batch, record=True).gradients(graph.output, seed, [GradientRequest()])
    )
    np.testing.assert_array_equal(result.input, np.full_like(batch, 2))


@pytest.mark.parametrize("operator", [op.Maximum(), op.Minimum()], ids=called)
def test_the_greater_and_the_lesser_of_two_values(build, operator):
    nodes = (
        Node(op.Input(IMAGE), "data"),
        Node(op.Affine(-1.0, 0.5), "mirrored", (Value(0),)),
        Node(operator, "operator", (Value(0), Value(1))),
    )
    check(build, Graph(nodes, Value(2)), {})


STRETCHED = [op.Add(), op.Subtract(), op.Multiply(), op.Divide(), op.Maximum(), op.Minimum()]


@pytest.mark.parametrize("first", [0, 1], ids=["behind", "in front"])
@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1, 1, 5), (1,)])
@pytest.mark.parametrize("operator", STRETCHED, ids=called)
def test_what_is_stretched(build, operator, shape, first):
    """A parameter of a size 1, or with fewer axes, is used at every place."""
    nodes = (
        Node(op.Input(IMAGE), "data"),
        Node(op.Affine(shift=2.5), "shifted", (Value(0),)),
        Node(op.Parameter(shape), "stored"),
        Node(operator, "operator", (Value(1 + first), Value(2 - first))),
    )
    graph = Graph(nodes, Value(3))
    arrays = {"stored": random_parameters(graph, seed=3)["stored"] + np.float32(2)}
    check(build, graph, arrays)


@pytest.mark.parametrize("shape", [IMAGE, (6, 1), (1, 4, 1, 5)])
def test_one_or_the_other(build, shape):
    nodes = (
        Node(op.Input(IMAGE), "data"),
        Node(op.Parameter(shape), "condition"),
        Node(op.Parameter((1, 5)), "stored"),
        Node(op.Where(), "chosen", (Value(1), Value(0), Value(2))),
        Node(op.Affine(-2.0), "twice", (Value(0),)),
        Node(op.Where(), "operator", (Value(1), Value(4), Value(3))),
    )
    graph = Graph(nodes, Value(5))
    arrays = random_parameters(graph, seed=3)
    arrays["condition"] = (arrays["condition"] > 0).astype(np.float32)
    assert 0 < arrays["condition"].mean() < 1
    check(build, graph, arrays)


@pytest.mark.parametrize("operator", [*STRETCHED, op.MatMul()], ids=called)
def test_values_with_unlike_axes(build, operator):
    """Axes that are missing stand behind the batch."""
    nodes = (
        Node(op.Input((5, 5)), "data"),
        Node(op.Parameter((3, 5, 5)), "stored"),
        Node(operator, "first", (Value(0), Value(1))),
        Node(op.Affine(-3.0, 8.0), "turned", (Value(0),)),
        Node(operator, "operator", (Value(2), Value(3))),
    )
    same = (
        *nodes[:2],
        Node(op.Reshape((1, 5, 5)), "longer", (Value(0),)),
        Node(operator, "first", (Value(2), Value(1))),
        Node(op.Affine(-3.0, 8.0), "turned", (Value(2),)),
        Node(operator, "operator", (Value(3), Value(4))),
    )
    graph = Graph(nodes, Value(4))
    assert graph.shape(graph.output) == (3, 5, 5)
    arrays = {"stored": random_parameters(graph, seed=3)["stored"] + np.float32(2)}
    check(build, graph, arrays, same=Graph(same, Value(5)))


@pytest.mark.parametrize("operator", [op.MatMul()], ids=called)
@pytest.mark.parametrize("constant", [(3, 6), (2, 3, 6)])
def test_a_constant_times_a_value(build, operator, constant):
    nodes = (
        Node(op.Input((2, 6, 5)), "data"),
        Node(op.Parameter(constant), "stored"),
        Node(operator, "operator", (Value(1), Value(0))),
    )
    graph = Graph(nodes, Value(2))
    check(build, graph, random_parameters(graph, seed=3))


def test_attention(build):
    """Softmax(q·kᵀ / √d)·v of two heads, in which values meet themselves."""
    nodes = (
        Node(op.Input((2, 4, 3)), "data"),
        Node(op.Transpose((0, 2, 1)), "turned", (Value(0),)),
        Node(op.MatMul(), "products", (Value(0), Value(1))),
        Node(op.Affine(3**-0.5), "scaled", (Value(2),)),
        Node(op.Softmax(), "weights", (Value(3),)),
        Node(op.MatMul(), "operator", (Value(4), Value(0))),
    )
    check(build, Graph(nodes, Value(5)), {})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("order", [1, -1])
def test_a_constant_beside_each_image(build, axis, order):
    """A class token."""
    nodes = (
        Node(op.Input(ROWS), "data"),
        Node(op.Parameter((4, 7)), "stored"),
        Node(op.Concat(axis), "operator", (Value(0), Value(1))[::order]),
    )
    graph = Graph(nodes, Value(2))
    check(build, graph, random_parameters(graph, seed=3))


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
    check(build, graph, {})


def test_all_operators_are_tried():
    concrete = {
        kind
        for _name, kind in inspect.getmembers(op, inspect.isclass)
        if issubclass(kind, op.Operator) and not inspect.isabstract(kind)
    }
    families = {kind for kind in concrete if kind.__subclasses__()}
    tried = {type(case[0]) for case in CASES} | {type(each) for each in (*BINARY, *POSITIVE)}
    tried |= {op.Split, op.Where}
    assert concrete - families - tried == {op.Input, op.Parameter, op.Opaque}
