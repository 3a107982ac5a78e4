"""Batch norms folded into convolutions: nobody can tell but by the last digits."""

import numpy as np
import pytest

from cnnviz.engines.base import GUIDED, Device, GradientRequest
from cnnviz.engines.torch.engine import TorchEngine
from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value
from tests.support import reference
from tests.support.networks import random_parameters

pytestmark = pytest.mark.needs("torch")
SEED = np.random.default_rng(3).uniform(-1, 1, (2, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    """Two convolutions with batch norms, one with a bias, one whose scale is fixed; its values."""
    builder = Builder((3, 9, 8))
    first = builder.conv(builder.input, 4, 3, padding=1, bias=True)
    data = builder.relu(builder.batch_norm(first))
    second = builder.conv(data, 6, 3, stride=2, groups=2)
    normed = builder.batch_norm(second, affine=False, eps=1e-3)
    data = builder.relu(builder.add(normed, builder.conv(data, 6, 3, stride=2)))
    graph = builder.finish(builder.linear(builder.flatten(data), 3)).graph
    convolutions = [
        Value(index) for index in graph.layers if graph.nodes[index].operator.kind == "Convolution"
    ]
    parameters = random_parameters(graph, seed=5)
    batch = np.random.default_rng(2).uniform(-1, 1, (2, 3, 9, 8)).astype(np.float32)
    values = reference.forward(graph, parameters, batch)
    return graph, parameters, convolutions, batch, values


@pytest.fixture
def engine(network):
    graph, parameters, *_ = network
    return TorchEngine(graph, parameters, Device("cpu"))


def close(found, truth):
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=2e-6 * np.abs(truth).max())


def hidden(engine, wanted=()):
    return engine._programs.with_values(wanted).hidden


def test_what_only_a_batch_norm_reads_is_hidden(engine, network):
    _, _, (first, second, beside), *_ = network
    assert hidden(engine) == {first, second}
    assert hidden(engine, [first, beside]) == {second}
    assert hidden(engine, [first, second]) == frozenset()
    assert engine._programs.with_values([first, second]) is engine._programs.whole
    assert engine._programs.with_values([]) is engine._programs.with_values([beside])


@pytest.mark.parametrize("place", [None, 0, 1, 2])
def test_every_value_that_is_kept_is_there(engine, network, place):
    graph, _, convolutions, batch, values = network
    keep = [] if place is None else [convolutions[place]]
    recording = engine.run(batch, keep, record=False)
    close(recording.output, values[graph.output])
    for value in keep:
        close(recording.activation(value), values[value])


@pytest.mark.parametrize("rule", [GUIDED, GradientRequest().rule], ids=lambda rule: rule.name)
@pytest.mark.parametrize("retain_graph", [False, True])
def test_gradients_at_hidden_values_are_found_later(engine, network, rule, retain_graph):
    graph, _, convolutions, batch, values = network
    truth = reference.gradients(graph, values, SEED, rule)
    recording = engine.run(batch, record=True)
    requests = [
        GradientRequest(rule, at=tuple(convolutions), to_input=False),
        GradientRequest(rule),
        GradientRequest(rule, at=(convolutions[1],)),
    ]
    for _ in range(1 + retain_graph):
        found = recording.gradients(graph.output, SEED, requests, retain_graph=retain_graph)
        for result in found:
            for value, gradient in result.at.items():
                close(gradient, truth[value])
        close(found[1].input, truth[graph.input])
        close(found[2].input, truth[graph.input])


def test_ways_back_and_onward_begin_at_hidden_values(engine, network):
    graph, _, convolutions, batch, values = network
    for value in convolutions[:2]:
        seed = np.zeros_like(values[value], np.float32)
        seed[:, 1] = 1
        truth = reference.gradients(graph, values, seed, GradientRequest().rule, value)
        recording = engine.run(batch, record=True)
        (found,) = recording.gradients(value, seed, [GradientRequest()])
        close(found.input, truth[graph.input])
        onward = engine.run_from(value, values[value][:1].astype(np.float32), context=batch[0])
        close(onward, values[graph.output][:1])


def test_parameters_are_what_they_were(engine, network):
    graph, parameters, _, batch, _ = network
    _ = engine.run(batch, record=False).output
    for index, node in enumerate(graph.nodes):
        if node.name in parameters:
            np.testing.assert_array_equal(engine.constant(Value(index)), parameters[node.name])


def test_programs_share_weights_and_are_few(engine, network):
    _, _, (first, second, _), *_ = network
    both, one = (engine._programs.with_values(wanted) for wanted in ([], [first]))
    node = both.graph.nodes[engine._programs._norms[second]]
    weight = node.inputs[1]
    assert both.constants[weight].data_ptr() == one.constants[weight].data_ptr()
