"""What MXNet's engine promises of Gluon blocks; the contract of all engines is in contract/."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnviz.engines.base import GradientRequest
from cnnviz.engines.network import Network
from cnnviz.errors import NetworkError, UsageError
from cnnviz.importers.gluon import from_gluon
from tests.support.gradients import differentiate
from tests.support.mxnet import import_mxnet

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


def test_logits_are_those_of_gluon(block: Any, network: Network, batch: np.ndarray) -> None:
    mx = import_mxnet()
    inference = block(mx.nd.array(batch)).asnumpy()
    np.testing.assert_allclose(network.logits(batch), inference, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        differentiate(network, batch).logits, inference, rtol=1e-5, atol=1e-6
    )


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


def test_other_precisions_are_refused(network):
    engine = network.engine
    with pytest.raises(UsageError, match="computes in fp32 only; got precision 'bf16'"):
        type(engine)(engine.graph, {}, engine.device, precision="bf16")
    assert engine.precision == "fp32"
