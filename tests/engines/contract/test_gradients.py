"""Gradients of whole networks under every rule, and what an engine promises of a recording.

The truth is :mod:`tests.support.reference`: float64, central differences of each operator alone.
"""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.engines.base import DECONVNET, GUIDED, RELU_RULES, STANDARD, GradientRequest
from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Value
from tests.support import reference
from tests.support.networks import branching, random_parameters, tangled

GRAPH, PATHS = branching()
PARAMETERS = random_parameters(GRAPH, seed=20)
LAYERS = {name: value for value, names in PATHS.items() for name in names}
EARLY, INNER, TRUNK = (LAYERS[f"trunk{name}"] for name in (".conv", ".inner", ""))
RULES = list(RELU_RULES.values())


@pytest.fixture(scope="module")
def engine(build):
    return build(GRAPH, PARAMETERS)


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(7).uniform(-2, 2, (3, *GRAPH.input_size)).astype(np.float32)


@pytest.fixture(scope="module")
def values(batch):
    return reference.forward(GRAPH, PARAMETERS, batch)


SEED = np.random.default_rng(1).uniform(-1, 1, (3, 4)).astype(np.float32)


def assert_close(found, truth):
    """float32: errors of some 1e-7 for each of a dozen operators with sums of up to 168 terms."""
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=2e-5 * np.abs(truth).max())


def test_every_value_forward(engine, batch, values):
    kept = [value for value in values if value.node in GRAPH.layers]
    recording = engine.run(batch, kept, record=False)
    assert_close(recording.output, values[GRAPH.output])
    for value in kept:
        assert_close(recording.activation(value), values[value])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_gradients_at_input_and_layers(engine, batch, values, rule):
    truth = reference.gradients(GRAPH, values, SEED, rule)
    at = (EARLY, INNER, TRUNK)
    request = GradientRequest(rule, at)
    (found,) = engine.run(batch, record=True).gradients(GRAPH.output, SEED, [request])
    assert_close(found.input, truth[GRAPH.input])
    assert set(found.at) == set(at)
    for value in at:
        assert_close(found.at[value], truth[value])
    assert found.relus_changed == (0 if rule == STANDARD else 6)
    assert (found.terms.shape, found.terms.dtype) == ((3,), np.float32)


def test_the_rules_differ(engine, batch):
    requests = [GradientRequest(rule) for rule in RULES]
    found = engine.run(batch, record=True).gradients(GRAPH.output, SEED, requests)
    for one in range(3):
        difference = found[one].input - found[one - 1].input
        assert np.linalg.norm(difference) > 0.1 * np.linalg.norm(found[one].input)


def test_values_read_more_than_once(build):
    graph = tangled()
    arrays = random_parameters(graph, seed=3)
    batch = np.random.default_rng(3).uniform(-1, 1, (2, *graph.input_size)).astype(np.float32)
    values = reference.forward(graph, arrays, batch)
    seed = np.random.default_rng(4).uniform(-1, 1, values[graph.output].shape).astype(np.float32)
    truth = reference.gradients(graph, values, seed, STANDARD)
    (found,) = (
        build(graph, arrays)
        .run(batch, record=True)
        .gradients(graph.output, seed, [GradientRequest()])
    )
    assert_close(found.input, truth[graph.input])


@pytest.mark.parametrize("start", [EARLY, INNER, TRUNK])
def test_gradients_start_at_any_value(engine, batch, values, start):
    """One number of one image, and the mean of a channel of another."""
    seed = np.zeros_like(values[start], np.float32)
    seed[0, 1, 1, 2] = 1
    seed[2, 3] = 1 / seed[2, 3].size
    truth = reference.gradients(GRAPH, values, seed, STANDARD, start)
    recording = engine.run(batch, record=True)
    later = GradientRequest(at=(LAYERS["output"],))
    found, none = recording.gradients(start, seed, [GradientRequest(), later])
    assert_close(found.input, truth[GRAPH.input])
    assert not found.input[1].any()
    assert not none.at[LAYERS["output"]].any()  # it does not lead there


MANY = [
    GradientRequest(GUIDED),
    GradientRequest(at=(INNER,), to_input=False),
    GradientRequest(DECONVNET, at=(EARLY,)),
    GradientRequest(at=(EARLY, INNER, TRUNK)),
    GradientRequest(GUIDED, at=(TRUNK,), to_input=False),
]


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("retain_graph", [False, True])
def test_requests_together_find_what_each_finds_alone(engine, batch, images, retain_graph):
    batch, seed = batch[:images], SEED[:images]
    alone = [
        engine.run(batch, record=True).gradients(GRAPH.output, seed, [request])[0]
        for request in MANY
    ]
    recording = engine.run(batch, record=True)
    if retain_graph:
        recording.gradients(GRAPH.output, seed, MANY[:2])  # leaves nothing behind
    together = recording.gradients(GRAPH.output, seed, MANY, retain_graph=retain_graph)
    for one, other in zip(together, alone, strict=True):
        assert one.relus_changed == other.relus_changed
        assert one.at.keys() == other.at.keys()
        for value, gradients in one.at.items():
            np.testing.assert_array_equal(gradients, other.at[value])
        assert (one.input is None) == (other.input is None)
        if one.input is not None:
            np.testing.assert_array_equal(one.input, other.input)


def test_a_recording_answers_again_if_it_is_retained(engine, batch):
    recording = engine.run(batch, [TRUNK], record=True)
    first, again = (
        recording.gradients(GRAPH.output, SEED, [GradientRequest(GUIDED)])[0] for _ in range(2)
    )
    np.testing.assert_array_equal(first.input, again.input)
    activation = recording.activation(TRUNK)
    output = recording.output.copy()
    recording.release()
    np.testing.assert_array_equal(recording.output, output)
    assert activation.any()
    with pytest.raises(NetworkError, match="given back"):
        recording.gradients(GRAPH.output, SEED, [GradientRequest()])


def test_a_request_asks_for_something():
    with pytest.raises(ValueError, match="has to ask for a gradient"):
        GradientRequest(at=(), to_input=False)


def test_only_what_is_kept_can_be_read(engine, batch):
    recording = engine.run(batch, [TRUNK], record=True)
    assert recording.activation(TRUNK).shape == (3, *GRAPH.shape(TRUNK))
    with pytest.raises(KeyError):
        recording.activation(EARLY)


def test_a_batch_gives_what_its_images_give(engine, batch):
    request = [GradientRequest(GUIDED, (INNER,))]
    together = engine.run(batch, record=True)
    (found,) = together.gradients(GRAPH.output, SEED, request)
    for place in range(len(batch)):
        own = slice(place, place + 1)
        alone = engine.run(batch[own], record=True)
        (result,) = alone.gradients(GRAPH.output, SEED[own], request)
        # Other kernels for other sizes of batch: rounding.
        for one, other in (
            (together.output[own], alone.output),
            (found.input[own], result.input),
            (found.at[INNER][own], result.at[INNER]),
            (found.terms[own], result.terms),
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


def test_nothing_is_left_behind(build, batch):
    """The same to the bit after other work; arrays of the caller are read only."""
    arrays = {name: array.copy() for name, array in PARAMETERS.items()}
    engine, given = build(GRAPH, arrays), batch.copy()

    def numbers():
        recording = engine.run(batch, [INNER], record=True)
        results = recording.gradients(GRAPH.output, SEED, MANY, retain_graph=False)
        return [recording.output, *(each.input for each in results if each.input is not None)]

    first = numbers()
    engine.run(batch[::-1].copy(), record=True).gradients(GRAPH.output, SEED, [GradientRequest()])
    engine.run_from(INNER, np.zeros((2, *GRAPH.shape(INNER)), np.float32), context=batch[0])
    for one, other in zip(first, numbers(), strict=True):
        assert one.tobytes() == other.tobytes()
    np.testing.assert_array_equal(batch, given)
    for name, array in PARAMETERS.items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("at", [EARLY, INNER, TRUNK])
def test_going_on_from_a_value(engine, batch, at):
    """Also from within the residual branch, where the other branch needs the image."""
    changed = np.random.default_rng(2).uniform(-1, 1, (5, *GRAPH.shape(at))).astype(np.float32)
    given = changed.copy()
    found = engine.run_from(at, changed, context=batch[1])
    np.testing.assert_array_equal(changed, given)
    values = reference.forward(GRAPH, PARAMETERS, np.repeat(batch[1:2], 5, axis=0))
    values[at] = changed.astype(np.float64)
    for index in range(at.node + 1, len(GRAPH.nodes)):
        node = GRAPH.nodes[index]
        if index in GRAPH.layers:
            inputs = [values[value] for value in node.inputs]
            (values[Value(index)],) = reference.compute(node.operator, inputs)
    assert_close(found, values[GRAPH.output])


def test_constants(engine):
    conv = GRAPH.nodes[EARLY.node]
    weight = engine.constant(conv.inputs[1])
    np.testing.assert_array_equal(weight, PARAMETERS[GRAPH.nodes[conv.inputs[1].node].name])
    weight[:] = 0  # a copy
    assert engine.constant(conv.inputs[1]).any()
    assert engine.constant(EARLY) is None
    assert engine.constant(GRAPH.input) is None


def test_a_missing_parameter_is_named(build):
    name = next(iter(PARAMETERS))
    lacking = {key: value for key, value in PARAMETERS.items() if key != name}
    with pytest.raises(NetworkError, match=f"parameter {name} has no value"):
        build(GRAPH, lacking)


def test_an_engine_says_what_it_is(engine):
    assert engine.graph is GRAPH
    assert str(engine.device) == "cpu"
    assert engine.version()[0].isdigit()
    assert engine.obstacle(engine.device) is None
    assert engine.lacks(engine.graph) == ()
    assert engine.free_memory(engine.device) > 0
