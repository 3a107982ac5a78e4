"""What a network adds to its engine: classes, logits, layers by name, and their errors."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cnnviz.engines.base import GUIDED, Device, GradientRequest
from cnnviz.engines.network import Network, choose_targets
from cnnviz.engines.registry import ENGINES, build_engine, check_engine
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.builder import Builder
from cnnviz.graph.ends import Activation, End
from tests.support.gradients import differentiate
from tests.support.networks import branching, random_parameters

CPU = Device("cpu")


def network(named, end=None, *, takes_batches=True):
    """A network with random weights on the default engine."""
    architecture = Architecture(*named, end, takes_batches=takes_batches)
    return Network(architecture, build_engine(named.graph, random_parameters(named.graph), CPU))


@pytest.fixture(scope="module")
def branches():
    return network(branching())


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(7).uniform(-2, 2, (3, 3, 8, 6)).astype(np.float32)


def test_it_says_what_it_is(branches):
    said = rf"<Network of {len(branches.layers)} layers, 3×8×6 in, \w+ on cpu>"
    assert re.fullmatch(said, repr(branches))


def test_types_and_shapes(branches, batch):
    found = differentiate(branches, batch, layer="trunk.inner")
    names = ("logits", "targets", "activations", "layer_gradients", "input_gradients")
    arrays = [getattr(found, name) for name in names]
    assert [(array.dtype, array.shape) for array in arrays] == [
        (np.float32, (3, 4)),
        (np.int64, (3,)),
        (np.float32, (3, 6, 4, 3)),
        (np.float32, (3, 6, 4, 3)),
        (np.float32, (3, 3, 8, 6)),
    ]
    assert (found.relus_changed, found.relus_total) == (6, 6)
    np.testing.assert_allclose(branches.logits(batch), found.logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 8, 6), np.float32),
        np.zeros((1, 3, 6, 8), np.float32),
        np.zeros((1, 3, 8, 6), np.float64),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(branches, wrong):
    with pytest.raises(NetworkError, match=r"^The network takes (batches of shape|float32)"):
        branches.run(wrong)


def test_what_does_not_fit_a_layer_is_refused(branches, batch):
    layer = branches.layer("trunk.inner")
    recorded = branches.run(batch, record=True)
    with pytest.raises(NetworkError, match=r"shape \(3, 6, 4, 3\).*have shape \(3, 6, 4, 2\)"):
        recorded.input_vjp(layer, np.zeros((3, 6, 4, 2), np.float32))
    with pytest.raises(NetworkError, match=r"layer trunk\.inner is 6×4×3 for each image"):
        branches.logits_from(layer, np.zeros((1, 6, 4, 2), np.float32), context=batch[0])


LOGITS = np.array([[1, 5, 5], [2, 1, 0]], np.float32)


@pytest.mark.parametrize(
    ("targets", "chosen"),
    [(None, [1, 0]), ([2, 2], [2, 2]), (lambda logits: logits.argmin(axis=1), [0, 2])],
)
def test_targets(targets, chosen):
    found = choose_targets(targets, LOGITS)
    assert (found.dtype, found.tolist()) == (np.int64, chosen)


@pytest.mark.parametrize("wrong", [[0, 3], [-1, 0], [0], [0.0, 1.0], [[0], [1]]])
def test_targets_that_there_are_not(wrong):
    with pytest.raises(UsageError, match=r"There is no class|One class index an image"):
        choose_targets(wrong, LOGITS)


def test_nothing_to_guide_is_an_error():
    builder = Builder((3, 4, 4))
    data = builder.conv(builder.input, 2, 1)
    plain = network(builder.finish(builder.linear(builder.flatten(data), 2)))
    recorded = plain.run(np.ones((1, 3, 4, 4), np.float32), record=True)
    with pytest.raises(NetworkError, match=r"0 of 0 ReLUs: .* the guided rule"):
        recorded.gradients(np.array([0]), [GradientRequest(GUIDED)])
    (found,) = recorded.gradients(np.array([0]), [GradientRequest()])
    assert found.relus_changed == 0


def test_a_scale_makes_gradients_larger(branches, batch):
    targets = np.array([0, 1, 2])
    recorded = branches.run(batch, record=True)
    plain, larger = (
        recorded.gradients(targets, [GradientRequest()], scale=scale)[0].input for scale in (1, 4)
    )
    np.testing.assert_array_equal(4 * plain, larger)  # a power of two: no rounding


def test_one_image_at_a_time(branches, batch):
    """A network that takes no batches gives for several images what it gives for each."""
    one_by_one = network(branching(), takes_batches=False)
    layer = branches.layer("trunk.inner")
    requests = [
        GradientRequest(GUIDED, at=(layer.value,)),
        GradientRequest(at=(layer.value,), to_input=False),
    ]
    targets = np.array([3, 0, 2])

    def numbers(own, batch, targets):
        forward = own.run(batch, [layer], record=True)
        activations = forward.activations(layer)
        first, second = forward.gradients(targets, requests)
        assert second.input is None
        assert first.relus_changed == 6
        vjp = forward.input_vjp(layer, first.at[layer.value])
        (last,) = forward.gradients(targets, requests[:1], retain_graph=False)
        np.testing.assert_array_equal(last.input, first.input)
        again = own.logits_from(layer, 2 * activations, context=batch[0])
        return [forward.logits, activations, first.input, second.at[layer.value], vjp, again]

    together = numbers(one_by_one, batch, targets)
    for place in range(3):
        own = slice(place, place + 1)
        alone = numbers(branches, batch[own], targets[own])
        for several, one in zip(together[:-1], alone[:-1], strict=True):
            np.testing.assert_array_equal(several[own], one)
    np.testing.assert_allclose(
        together[-1], numbers(branches, batch, targets)[-1], rtol=1e-5, atol=1e-5
    )


def test_the_logit_of_a_yes_or_no(batch):
    """One output: class 0 is no, whose logit, and gradient, is minus that of yes."""
    builder = Builder((3, 8, 6))
    data = builder.relu(builder.conv(builder.input, 4, 3))
    named = builder.finish(builder.linear(builder.flatten(data), 1))
    both = network(named, End(Activation(("sigmoid",))).settled(1, None))
    logits = both.logits(batch)
    np.testing.assert_array_equal(logits[:, 0], -logits[:, 1])
    no, yes = (differentiate(both, batch, [k] * 3).input_gradients for k in (0, 1))
    assert yes.any()
    standard = [
        differentiate(both, batch, [k] * 3, relu_rule="standard").input_gradients for k in (0, 1)
    ]
    np.testing.assert_array_equal(standard[0], -standard[1])
    assert (no != -yes).any()  # the guided rule lets other numbers pass


def test_weights(branches):
    inner, output = branches.layer("trunk.inner"), branches.architecture.find("output")
    assert branches.weights(inner).shape == (6, 6, 3, 3)
    assert branches.weights(output).shape == (4, 7)
    joined = branches.layer("trunk")
    with pytest.raises(UsageError, match=r"Layer trunk \(Concat\) has no weights"):
        branches.weights(joined)


def test_engines_by_name():
    assert ENGINES[0] == "auto"
    with pytest.raises(UsageError, match="There is no engine 'mx': use auto, "):
        check_engine("mx")
