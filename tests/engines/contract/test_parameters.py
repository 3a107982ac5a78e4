"""A network's parameters can be read from its engine, and changed in another one."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.engines.base import GradientRequest
from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import Linear, Multiply, Parameter
from tests.support.networks import branching, random_parameters
from tests.support.transformers import Writer, vision_transformer


def behind_constants() -> Graph:
    """A dense layer whose weight is the product of two parameters, which nothing else reads."""
    w = Writer((3, 4, 5))
    weight = w.add(Multiply(), w.parameter("weight", 7, 60), w.parameter("scale", 7, 1))
    data = w.add(Linear(7), w.input, weight, w.parameter("bias", 7))
    return w.finish(data)


GRAPHS = {
    "branching": branching().graph,
    "transformer": vision_transformer(),
    "behind constants": behind_constants(),
}


@pytest.fixture(params=GRAPHS)
def graph(request):
    return GRAPHS[request.param]


def images(graph: Graph) -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((2, *graph.input_size))
    return values.astype(np.float32)


def numbers(engine) -> list[np.ndarray]:
    """The logits and the gradient at the input."""
    recording = engine.run(images(engine.graph), record=True)
    seed = np.ones_like(recording.output)
    (found,) = recording.gradients(engine.graph.output, seed, [GradientRequest()])
    return [recording.output, found.input]


def test_every_parameter_can_be_read(build, graph):
    arrays = random_parameters(graph)
    engine = build(graph, arrays)
    read = {
        node.name: engine.constant(Value(index))
        for index, node in enumerate(graph.nodes)
        if isinstance(node.operator, Parameter)
    }
    assert read.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(read[name], values, err_msg=name)


def test_changed_parameters_are_those_of_another_engine(build, graph):
    arrays, others = random_parameters(graph, 0), random_parameters(graph, 1)
    engine = build(graph, arrays)
    before = numbers(engine)
    names = list(arrays)
    for chosen in (names[:1], names[-2:], names):
        changed = {name: others[name] for name in chosen}
        found = numbers(engine.with_parameters(changed))
        expected = numbers(build(graph, {**arrays, **changed}))
        for own, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(own, wanted)
    for own, wanted in zip(numbers(engine), before, strict=True):
        np.testing.assert_array_equal(own, wanted)  # it stays as it was


def test_changes_add_up(build, graph):
    arrays, others = random_parameters(graph, 0), random_parameters(graph, 1)
    engine = build(graph, arrays)
    for name in arrays:
        engine = engine.with_parameters({name: others[name]})
    for own, wanted in zip(numbers(engine), numbers(build(graph, others)), strict=True):
        np.testing.assert_array_equal(own, wanted)


def test_the_new_engine_is_of_the_same_kind(build, graph):
    engine = build(graph, random_parameters(graph))
    other = engine.with_parameters({})
    assert (type(other), other.device, other.precision) == (
        type(engine),
        engine.device,
        engine.precision,
    )


def test_unknown_and_misshapen_parameters_are_refused(build, graph):
    engine = build(graph, random_parameters(graph))
    name, shape = next(iter(graph.parameters.items()))
    with pytest.raises(NetworkError, match="no parameter nowhere"):
        engine.with_parameters({"nowhere": np.zeros(3, np.float32)})
    with pytest.raises(NetworkError, match=f"{name} has shape"):
        engine.with_parameters({name: np.zeros((*shape, 2), np.float32)})
