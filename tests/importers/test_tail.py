"""What typed graphs end with."""

from dataclasses import replace

import numpy as np
import pytest

from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import (
    Affine,
    Clip,
    Divide,
    Expand,
    Flatten,
    GlobalAvgPool2d,
    Input,
    Log,
    Power,
    ReLU,
    Reshape,
    Sigmoid,
    Softmax,
    Sum,
)
from cnnviz.importers.tail import read_tail


def ending(*operators, classes=3):
    """A network whose logits are the means of its channels, and what stands behind them."""
    nodes = [Node(Input((classes, 4, 4)), "data")]
    for place, operator in enumerate((GlobalAvgPool2d(), Flatten(), *operators)):
        nodes.append(Node(operator, f"step{place}", (Value(place),)))
    return Graph(tuple(nodes), Value(len(nodes) - 1))


@pytest.mark.parametrize(
    ("operators", "steps", "kept"),
    [
        ((), (), 3),
        ((Softmax(0),), ("softmax",), 3),
        ((Softmax(0), Log()), ("softmax",), 3),
        ((Softmax(0), Clip(1e-7, 1 - 1e-7)), ("softmax",), 3),
        ((Softmax(0), Affine(100.0)), ("softmax",), 3),
        ((Sigmoid(),), ("sigmoid",), 3),
        ((Softmax(0), Softmax(0)), ("softmax", "softmax"), 3),
        ((Reshape((1, 3)), Softmax(1), Flatten()), ("softmax",), 4),
        # A softmax over an axis of 1 is no distribution over the classes.
        ((Reshape((3, 1)), Softmax(1)), (), 5),
        ((Affine(0.5), Softmax(0)), ("softmax",), 4),
    ],
)
def test_the_logits_stand_before_what_makes_probabilities(operators, steps, kept):
    headed = read_tail(ending(*operators))
    assert headed.squashed.steps == steps
    assert headed.end.activation.steps == (steps or ("softmax",))
    assert len(headed.graph.nodes) == kept


def test_names_follow_their_values():
    headed = read_tail(ending(Softmax(0)))
    assert headed.paths({Value(2): ("fc",), Value(3): ("prob",)}) == {Value(2): ("fc",)}


def test_one_output_is_a_yes_or_no():
    squashed = read_tail(ending(Sigmoid(), classes=1)).end
    assert squashed.binary
    assert squashed.factors == (-1.0, 1.0)
    bare = read_tail(ending(classes=1)).end
    assert bare.binary
    assert "one output" in bare.remark
    number = read_tail(ending(ReLU(), classes=1)).end
    assert not number.binary
    assert number.activation.steps == ()


@pytest.mark.parametrize("between", [(), (Clip(1e-12, np.inf), Expand((3,)))])
def test_outputs_of_length_one_are_an_embedding(between):
    whole = ending(Power(2.0), Sum((0,), True), Power(0.5), *between)
    vector = Value(2)
    divided = Node(Divide(), "unit", (vector, whole.output))
    graph = Graph((*whole.nodes, divided), Value(len(whole.nodes)))
    assert not read_tail(graph).end.activation.is_probability
    assert "similarity:OTHER.jpg" in read_tail(graph).end.remark
    assert read_tail(graph, "softmax").end.activation.steps == ("softmax",)
    # By the length of something else it is none, nor by the sum of the squares.
    other = replace(divided, inputs=(Value(1), whole.output))
    graph = Graph(
        (*whole.nodes, other, Node(Flatten(), "end", (Value(len(whole.nodes)),))),
        Value(len(whole.nodes) + 1),
    )
    assert read_tail(graph).end.activation.is_probability
    whole = ending(Power(2.0), Sum((0,), True))
    divided = Node(Divide(), "unit", (vector, whole.output))
    graph = Graph((*whole.nodes, divided), Value(len(whole.nodes)))
    assert read_tail(graph).end.activation.is_probability


def test_what_the_user_says_holds():
    assert read_tail(ending(), "sigmoid").end.activation.steps == ("sigmoid",)
    assert read_tail(ending(Softmax(0)), "sigmoid").end.activation.steps == ("sigmoid",)
    with pytest.raises(UsageError, match="one output"):
        read_tail(ending(classes=1), "softmax")


def test_maps_are_no_classes():
    nodes = (Node(Input((3, 4, 4)), "data"), Node(ReLU(), "relu", (Value(0),)))
    with pytest.raises(NetworkError, match="3×4×4 for an image, not one number a class") as alone:
        read_tail(Graph(nodes, Value(1)))
    assert "--head" not in str(alone.value)
    with pytest.raises(NetworkError, match="--head chooses another of its outputs"):
        read_tail(Graph(nodes, Value(1)), outputs=2)


@pytest.mark.parametrize(
    ("operators", "output"),
    [
        ((), lambda rows: rows),
        ((Softmax(0),), lambda rows: np.exp(rows) / np.exp(rows).sum()),
        ((Softmax(0), Log()), lambda rows: rows - np.log(np.exp(rows).sum())),
        ((Sigmoid(),), lambda rows: 1 / (1 + np.exp(-rows))),
    ],
)
def test_outputs_compare_as_logits_do(operators, output):
    headed = read_tail(ending(*operators))
    logits = np.array([[1.5, -2.0, 0.25]], np.float32)
    ours = headed.compared(logits)
    # What remains of float64 in exp, log and a division: a few units in the last place.
    np.testing.assert_allclose(
        headed.compared_output(output(logits.astype(np.float64))), ours, atol=1e-12
    )
    theirs = headed.compared_output(output(logits.astype(np.float64)), rounded=True)
    np.testing.assert_allclose(theirs, headed.compared(logits, rounded=True), atol=1e-12)
    other = output(logits.astype(np.float64) * [1, 1, 1.01])
    assert np.abs(headed.compared_output(other) - ours).max() > 1e-3


@pytest.mark.parametrize("ends", [(Softmax(0),), (Sigmoid(),)])
def test_probabilities_that_are_0_in_half_precision_are_no_difference(ends):
    """The smallest number of half precision is 6e-8, and exp(-30) is 1e-13."""
    headed = read_tail(ending(*ends))
    logits = np.array([[15.0, -15.0, 14.0]], np.float32)
    exact = headed.compared(logits, rounded=True)
    theirs = headed.compared_output(exact.astype(np.float16), rounded=True)
    np.testing.assert_allclose(theirs, exact, atol=5e-4)
