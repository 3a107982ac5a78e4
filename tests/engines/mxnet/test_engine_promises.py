"""What the engine promises whatever the network: nothing left behind, one answer an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnviz.engines.base import DECONVNET, GUIDED, GradientRequest
from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.engines.network import Network
from cnnviz.errors import CnnvizError, NetworkError, UsageError
from cnnviz.importers.gluon import from_gluon
from tests.support.networks import differentiate

SHAPE = (3, 16, 12)
RULES = ("standard", "guided", "deconvnet")


@pytest.fixture(scope="module")
def block() -> Any:
    """A small VGG with everything that training would change: batch norm and dropout."""
    mx = import_mxnet()
    nn = mx.gluon.nn
    block = nn.HybridSequential(prefix="")
    block.add(
        nn.Conv2D(8, 3, padding=1, in_channels=3),
        nn.BatchNorm(in_channels=8, scale=False),  # Gluon's scale=False is MXNet's fix_gamma
        nn.Activation("relu"),
        nn.MaxPool2D(2),
        nn.Conv2D(12, 3, padding=1, in_channels=8),
        nn.BatchNorm(in_channels=12),
        nn.Activation("relu"),
        nn.MaxPool2D(2),
        nn.Dense(20, activation="relu", in_units=12 * 4 * 3),
        nn.Dropout(0.5),
        nn.Dense(5, in_units=20),
    )
    block.initialize()
    stream = np.random.RandomState(5)
    for name, parameter in block._collect_params_with_prefix().items():
        values = stream.uniform(-0.5, 0.5, parameter.shape)
        # gamma of the first batch norm too, which must not be used and must not be overwritten
        parameter.set_data(mx.nd.array(values + (1.5 if name.endswith("var") else 0)))
    return block


@pytest.fixture(scope="module")
def network(block: Any) -> Network:
    return from_gluon(block, input_shape=SHAPE)


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.RandomState(6).uniform(-2, 2, (4, *SHAPE)).astype(np.float32)


def state(block: Any) -> dict[str, bytes]:
    return {
        name: parameter.data().asnumpy().tobytes()
        for name, parameter in block._collect_params_with_prefix().items()
    }


def settings(block: Any) -> list[tuple[str, str, bool]]:
    return [
        (name, parameter.grad_req, block._active)
        for name, parameter in block._collect_params_with_prefix().items()
    ]


def numbers(found: Any) -> dict[str, np.ndarray]:
    names = ("logits", "targets", "activations", "layer_gradients", "input_gradients")
    return {name: getattr(found, name) for name in names}


@pytest.mark.parametrize("rule", RULES)
def test_the_block_is_left_as_it_was(
    block: Any, network: Network, batch: np.ndarray, rule: str
) -> None:
    before, before_settings = state(block), settings(block)
    given = batch.copy()
    differentiate(network, batch, relu_rule=rule)
    assert state(block) == before
    assert settings(block) == before_settings
    np.testing.assert_array_equal(batch, given)


def raising(logits: np.ndarray) -> np.ndarray:
    raise ZeroDivisionError("inside")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"targets": raising}, ZeroDivisionError),
        ({"targets": [0, 1, 2, 5]}, UsageError),
        ({"targets": [0, 1, 2, -1]}, UsageError),
        ({"targets": [0, 1]}, UsageError),
        ({"targets": [0.0, 1.0, 2.0, 3.0]}, UsageError),
        ({"layer": "nowhere"}, UsageError),
        ({"layer": "8"}, UsageError),  # a dense layer: nowhere to look
    ],
)
def test_the_block_is_left_as_it_was_after_an_error(
    block: Any, network: Network, batch: np.ndarray, arguments: dict[str, Any], error: type
) -> None:
    mx = import_mxnet()
    before = state(block)
    expected = numbers(differentiate(network, batch))
    with pytest.raises(error):
        differentiate(network, batch, **arguments)
    assert state(block) == before
    assert not mx.autograd.is_recording()
    assert not mx.autograd.is_training()
    for name, value in numbers(differentiate(network, batch)).items():
        assert value.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(SHAPE, np.float32),
        np.zeros((1, 3, 12, 16), np.float32),
        np.zeros((1, *SHAPE), np.float64),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(network: Network, wrong: np.ndarray) -> None:
    with pytest.raises(CnnvizError):
        differentiate(network, wrong)


@pytest.mark.parametrize("rule", RULES)
def test_the_same_answer_to_the_bit(network: Network, batch: np.ndarray, rule: str) -> None:
    first = numbers(differentiate(network, batch, relu_rule=rule))
    differentiate(network, batch[::-1].copy(), relu_rule="standard")  # other work between
    for name, value in numbers(differentiate(network, batch, relu_rule=rule)).items():
        assert value.tobytes() == first[name].tobytes(), name


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_is_its_images_one_by_one(network: Network, batch: np.ndarray, rule: str) -> None:
    targets = [3, 0, 4, 0]
    together = numbers(differentiate(network, batch, targets, relu_rule=rule))
    for index, target in enumerate(targets):
        alone = numbers(differentiate(network, batch[index : index + 1], [target], relu_rule=rule))
        for name, value in alone.items():
            difference = np.linalg.norm(together[name][index] - value[0])
            assert difference <= 1e-5 * np.linalg.norm(value[0]), (name, index)


def test_images_in_a_batch_have_targets_of_their_own(network: Network, batch: np.ndarray) -> None:
    same = np.stack([batch[0]] * 4)
    found = differentiate(network, same, [0, 1, 2, 1], relu_rule="standard")
    np.testing.assert_array_equal(found.targets, [0, 1, 2, 1])
    np.testing.assert_allclose(found.input_gradients[1], found.input_gradients[3], rtol=1e-5)
    for other in (0, 2):
        assert not np.allclose(found.input_gradients[1], found.input_gradients[other], rtol=0.1)


def test_types_and_shapes(network: Network, batch: np.ndarray) -> None:
    found = differentiate(network, batch)
    assert {name: (a.dtype, a.shape) for name, a in numbers(found).items()} == {
        "logits": (np.float32, (4, 5)),
        "targets": (np.int64, (4,)),
        "activations": (np.float32, (4, 12, 8, 6)),
        "layer_gradients": (np.float32, (4, 12, 8, 6)),
        "input_gradients": (np.float32, (4, *SHAPE)),
    }
    assert found.layer.name == "5"  # the last convolution's batch norm


def test_logits_are_those_of_gluon(block: Any, network: Network, batch: np.ndarray) -> None:
    mx = import_mxnet()
    inference = block(mx.nd.array(batch)).asnumpy()
    np.testing.assert_allclose(network.logits(batch), inference, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        differentiate(network, batch).logits, inference, rtol=1e-5, atol=1e-6
    )


def test_relus_are_counted_those_in_dense_layers_too(network: Network, batch: np.ndarray) -> None:
    standard = differentiate(network, batch, relu_rule="standard")
    assert (standard.relus_changed, standard.relus_total) == (0, 3)
    for rule in ("guided", "deconvnet"):
        found = differentiate(network, batch, relu_rule=rule)
        assert (found.relus_changed, found.relus_total) == (3, 3)


def test_nothing_to_guide_is_an_error(batch: np.ndarray) -> None:
    mx = import_mxnet()
    nn = mx.gluon.nn
    block = nn.HybridSequential(prefix="")
    block.add(nn.Conv2D(2, 1, in_channels=3), nn.Activation("tanh"), nn.Dense(2, in_units=384))
    block.initialize()
    network = from_gluon(block, input_shape=SHAPE)
    with pytest.raises(NetworkError, match="0 of 0 ReLUs"):
        differentiate(network, batch, relu_rule="guided")
    assert differentiate(network, batch, relu_rule="standard").relus_total == 0


def test_the_callers_own_gradients_are_left_alone(block: Any, batch: np.ndarray) -> None:
    """Somebody who trains the network between two explanations loses nothing."""
    mx = import_mxnet()
    network = from_gluon(block, input_shape=SHAPE)
    with mx.autograd.record(train_mode=False):
        score = block[10](mx.nd.ones((1, 20))).sum()
    score.backward()
    before = block[10].weight.grad().asnumpy()
    assert (before == 1).all()
    differentiate(network, batch)
    np.testing.assert_array_equal(block[10].weight.grad().asnumpy(), before)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("final", [False, True])
def test_requests_together_find_what_each_finds_alone(
    network: Network, batch: np.ndarray, images: int, final: bool
) -> None:
    """They share dense layers and gradient arrays, and must not see one another's numbers."""
    layer, early = network.default_layer, network.layer("0")
    requests = [
        GradientRequest(GUIDED),
        GradientRequest(at=(layer.value,), to_input=False),
        GradientRequest(DECONVNET, at=(early.value,)),
        GradientRequest(at=(early.value, layer.value)),
        GradientRequest(GUIDED, at=(layer.value,), to_input=False),
    ]
    targets = np.arange(images)
    alone = [
        network.run(batch[:images], record=True).gradients(targets, [request])[0]
        for request in requests
    ]
    recorded = network.run(batch[:images], record=True)
    if not final:
        recorded.gradients(targets, requests[:2])  # leaves nothing behind
    together = recorded.gradients(targets, requests, retain_graph=not final)
    for one, other in zip(together, alone, strict=True):
        assert one.relus_changed == other.relus_changed
        assert one.at.keys() == other.at.keys()
        for value, gradients in one.at.items():
            np.testing.assert_array_equal(gradients, other.at[value])
        assert (one.input is None) == (other.input is None)
        if one.input is not None:
            np.testing.assert_array_equal(one.input, other.input)
    rules = [together[3], together[0], together[2]]  # each passes other numbers on
    assert len({result.input.tobytes() for result in rules}) == 3


def test_activations_are_kept_where_they_are_asked_for(batch: np.ndarray) -> None:
    """A ReLU takes the memory of the convolution before it, unless that is to be looked at."""
    mx = import_mxnet()
    block = mx.gluon.nn.HybridSequential()
    block.add(
        mx.gluon.nn.Conv2D(8, 3, padding=1, in_channels=3),
        mx.gluon.nn.Activation("relu"),
        mx.gluon.nn.Conv2D(4, 3, padding=1, in_channels=8),
        mx.gluon.nn.Activation("relu"),
        mx.gluon.nn.Dense(5, in_units=4 * 16 * 12),
    )
    block.initialize(mx.init.Xavier())
    network = from_gluon(block, input_shape=SHAPE)
    expected, values = [], mx.nd.array(batch)
    for child in block:  # Gluon itself, layer by layer
        values = child(values)
        expected.append(values.asnumpy())
    spatial = [layer for layer in network.layers if layer.is_spatial]
    assert (expected[0] < 0).any()
    assert len(spatial) == 4
    together = network.run(batch, spatial, record=True)
    for layer, value in zip(spatial, expected[:4], strict=True):
        for recorded in (together, network.run(batch, [layer], record=True)):
            np.testing.assert_allclose(recorded.activations(layer), value, atol=1e-6)
            np.testing.assert_allclose(recorded.logits, expected[-1], atol=1e-6)
    with pytest.raises(KeyError):
        network.run(batch, spatial[1:], record=True).activations(spatial[0])


def test_going_on_from_a_layer(block: Any, network: Network, batch: np.ndarray) -> None:
    """What the rest of the Gluon block makes of a layer's output that was changed by hand."""
    mx = import_mxnet()
    for position in (1, 2, 4, 5, 7):
        layer = network.layer(str(position))
        found = network.run(batch, [layer])
        np.testing.assert_array_equal(found.logits, network.logits(batch))
        changed = found.activations(layer)
        changed[:, 1] = 0
        changed[2] *= -1
        value = mx.nd.array(changed)
        for child in list(block)[position + 1 :]:
            value = child(value)
        given = changed.copy()
        logits = network.logits_from(layer, changed, context=batch[0])
        # Other kernels for other layouts: rounding in a few sums of up to 144 products.
        np.testing.assert_allclose(logits, value.asnumpy(), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(changed, given)
        assert np.abs(logits - found.logits).max() > 0.1


class Branches(import_mxnet().gluon.HybridBlock):
    """A residual network: the layer in its branch is not on every path."""

    def __init__(self) -> None:
        super().__init__()
        nn = import_mxnet().gluon.nn
        self.first = nn.Conv2D(4, 3, padding=1, in_channels=3)
        self.inner = nn.Conv2D(4, 3, padding=1, in_channels=4)
        self.head = nn.Dense(5, in_units=4 * 16 * 12)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        stem = self.first(x)
        return self.head(F.relu(self.inner(F.relu(stem)) + stem))


def test_going_on_from_a_layer_that_others_lead_past(batch: np.ndarray) -> None:
    mx = import_mxnet()
    block = Branches()
    block.initialize(mx.init.Xavier(magnitude=3))
    network = from_gluon(block, SHAPE)
    layer = network.layer("inner")
    values = np.random.RandomState(0).randn(3, *layer.shape).astype(np.float32)
    stem = block.first(mx.nd.array(batch[1:2]))
    expected = block.head(mx.nd.relu(mx.nd.broadcast_add(mx.nd.array(values), stem))).asnumpy()
    found = network.logits_from(layer, values, context=batch[1])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(NetworkError, match="The output of layer inner is 4×16×12"):
        network.logits_from(layer, values[:, :2], context=batch[1])


@pytest.mark.parametrize("kind", ["zeros", "ones"])
def test_constants_made_inside_a_network(kind):
    """An operator without inputs: what it makes is added to the image, the rest is as without."""
    mx = import_mxnet()

    class Adds(mx.gluon.HybridBlock):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def hybrid_forward(self, F, x):
            made = getattr(F, kind)(shape=(1, 3, 1, 1))
            return self.body(F.broadcast_add(x, made))

    body = mx.gluon.nn.HybridSequential()
    body.add(mx.gluon.nn.Conv2D(4, 3, in_channels=3), mx.gluon.nn.Activation("relu"))
    body.add(mx.gluon.nn.Flatten(), mx.gluon.nn.Dense(3, in_units=4 * 6 * 6))
    body.initialize(mx.init.Normal(0.5))
    batch = np.random.RandomState(0).randn(2, 3, 8, 8).astype(np.float32)
    network = from_gluon(Adds(body), (3, 8, 8))
    without = from_gluon(body, (3, 8, 8))
    shifted = batch + (kind == "ones")
    np.testing.assert_allclose(network.logits(batch), without.logits(shifted), rtol=1e-5, atol=1e-5)
    (found,) = network.run(batch, record=True).gradients(np.array([0, 2]), [GradientRequest()])
    (expected,) = without.run(shifted, record=True).gradients(np.array([0, 2]), [GradientRequest()])
    np.testing.assert_allclose(found.input, expected.input, rtol=1e-5, atol=1e-6)


def test_errors_of_mxnet_are_told_and_our_own_are_not():
    from cnnviz.engines.mxnet.errors import mxnet_errors

    mx = import_mxnet()
    # MXNet turns some of its errors into Python's, where it looks at the library's answer.
    scope = dict(vars(mx.base))
    exec("def answer(): raise IndexError('[10:00:00] there is no output 3')", scope)
    with pytest.raises(NetworkError, match="there is no output 3"), mxnet_errors():
        scope["answer"]()
    with pytest.raises(NetworkError, match="MXNet could not run the network"), mxnet_errors():
        mx.nd.zeros((2, 3)).reshape((7,))
    with pytest.raises(NetworkError, match="Use a smaller batch"), mxnet_errors():
        raise mx.base.MXNetError("Failed to allocate CPU Memory")
    with pytest.raises(IndexError, match="ours"), mxnet_errors():
        raise IndexError("ours")
