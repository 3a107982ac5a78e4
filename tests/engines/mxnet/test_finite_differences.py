"""Gradients against central differences of a logit, which ask nothing but forward passes.

The first network is piecewise linear: between two kinks (a ReLU's input crossing zero, a pooling
window changing its winner) the logit is a straight line in every pixel, so the central difference
is exact but for rounding, and steps may be as long as the kinks allow. A step crosses no kink if
all ReLUs and windows are in the same state at both ends and in the middle: where the first ones
are, everything between them and the next is linear, so the next can only turn once on the way, and
so on through the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnviz.engines.base import GUIDED, GradientRequest
from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.errors import NetworkError
from cnnviz.importers.gluon import from_gluon
from tests.support.networks import differentiate

SHAPE = (3, 8, 6)
CLASSES = 4
#: Longest first. float32 knows a logit of about 1 to about 1e-7, so the shortest step still gives
#: a derivative to 1e-4 or so.
STEPS = (2.0**-3, 2.0**-5, 2.0**-7, 2.0**-9)
#: Relative L2. Seen: 3e-4 at the image, where most pixels need short steps, 9e-6 at the layer.
TOLERANCE = 1e-3


def make_branching() -> Any:
    """Convolutions, batch norm, pooling, a residual sum and a concatenation; then a classifier."""
    mx = import_mxnet()
    nn = mx.gluon.nn

    class Trunk(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.conv = nn.Conv2D(6, 3, padding=1, in_channels=3)
                self.norm = nn.BatchNorm(in_channels=6)
                self.pool = nn.MaxPool2D(2)
                self.inner = nn.Conv2D(6, 3, padding=1, in_channels=6)
                self.inner_norm = nn.BatchNorm(in_channels=6)
                self.narrow = nn.Conv2D(4, 1, in_channels=6)
                self.wide = nn.Conv2D(4, 3, padding=1, in_channels=6)
                self.overlapping = nn.MaxPool2D(3, strides=1, padding=1)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.walk(F, x)[0]

        def walk(self, F: Any, x: Any) -> tuple[Any, list[tuple[str, Any]]]:
            """The output, and what each ReLU and each pooling was given."""
            first = self.norm(self.conv(x))
            open_first = F.Activation(first, act_type="relu")
            pooled = self.pool(open_first)
            summed = pooled + self.inner_norm(self.inner(pooled))
            open_summed = F.relu(summed)
            branches = [
                self.narrow(open_summed),
                self.wide(open_summed),
                self.overlapping(open_summed),
            ]
            switches = [
                ("relu", first),
                ("pool2", open_first),
                ("relu", summed),
                ("pool3", open_summed),
            ]
            return F.concat(*branches, dim=1), switches

    class Head(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.hidden = nn.Dense(7, activation="relu", in_units=14 * 4 * 3)
                self.output = nn.Dense(CLASSES, in_units=7)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.walk(F, x)[0]

        def walk(self, F: Any, x: Any) -> tuple[Any, list[tuple[str, Any]]]:
            hidden = self.hidden(F.relu(x))
            # A unit that is shut gives zero, so its output tells the state as its input would.
            return self.output(hidden), [("relu", x), ("relu", hidden)]

    class Whole(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.trunk = Trunk()
                self.head = Head()

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.head(self.trunk(x))

        def walk(self, F: Any, x: Any) -> tuple[Any, list[tuple[str, Any]]]:
            features, before = self.trunk.walk(F, x)
            logits, after = self.head.walk(F, features)
            return logits, before + after

    return fill(Whole())


def fill(block: Any) -> Any:
    """Give a block seeded parameters, batch norm statistics far from the identity."""
    mx = import_mxnet()
    block.initialize()
    stream = np.random.RandomState(20)
    for name, parameter in block._collect_params_with_prefix().items():
        values = stream.uniform(-1, 1, parameter.shape)
        if name.endswith("weight"):
            values *= np.sqrt(6 / np.prod(parameter.shape[1:]))
        elif name.endswith("running_var"):
            values = 1 + values / 2
        elif name.endswith("gamma"):
            values = np.sign(values) * (0.5 + np.abs(values))
        else:
            values *= 0.3
        parameter.set_data(mx.nd.array(values))
    return block


def states(switches: list[tuple[str, Any]]) -> np.ndarray:
    """The state of every ReLU (open or shut) and window (its winner), as integers (N, switches)."""
    found = []
    for kind, array in switches:
        values = array.asnumpy()
        if kind == "relu":
            state = values > 0
        else:
            size = int(kind[-1])
            stride, pad = (1, 1) if size == 3 else (2, 0)
            around = ((0, 0), (0, 0), (pad, pad), (pad, pad))
            padded = np.pad(values, around, constant_values=-np.inf)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
            windows = windows[:, :, ::stride, ::stride].reshape(*windows.shape[:2], -1, size**2)
            # A window of shut units sends its gradient nowhere: its winner does not matter.
            state = np.where(windows.max(-1) > 0, windows.argmax(-1), -1)
        found.append(state.reshape(len(values), -1).astype(np.int64))
    return np.concatenate(found, axis=1)


Run = Callable[[Any, Any], "tuple[Any, list[tuple[str, Any]]]"]


def central_differences(walk: Run, at: np.ndarray, target: int) -> np.ndarray:
    """d logit[target] / d ``at``, NaN where every step crosses a kink."""
    mx = import_mxnet()

    def run(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, switches = walk(mx.nd, mx.nd.array(batch))
        return logits.asnumpy()[:, target].astype(np.float64), states(switches)

    _, middle = run(at[None])
    slopes = np.full(at.size, np.nan)
    for step in STEPS:
        places = np.flatnonzero(np.isnan(slopes))
        if not places.size:
            break
        shifts = np.zeros((places.size, at.size), np.float32)
        shifts[np.arange(places.size), places] = step
        shifts = shifts.reshape(-1, *at.shape)
        (high, state_high), (low, state_low) = run(at + shifts), run(at - shifts)
        same = (state_high == middle).all(axis=1) & (state_low == middle).all(axis=1)
        # The steps as float32 took them, not as they were meant.
        taken = ((at + shifts).astype(np.float64) - (at - shifts)).reshape(places.size, -1).sum(1)
        slopes[places[same]] = ((high - low) / taken)[same]
    return slopes.reshape(at.shape)


def relative(value: np.ndarray, truth: np.ndarray) -> float:
    known = ~np.isnan(truth)
    assert known.mean() > 0.95  # else the comparison would say little
    difference = value[known] - truth[known]
    return float(np.linalg.norm(difference) / np.linalg.norm(truth[known]))


@pytest.fixture(scope="module")
def branching() -> Any:
    return make_branching()


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.RandomState(7).uniform(-2, 2, (2, *SHAPE)).astype(np.float32)


def test_input_gradients(branching: Any, batch: np.ndarray) -> None:
    network = from_gluon(branching, SHAPE)
    for targets in ([0, 1], [2, 3]):
        found = differentiate(network, batch, targets, relu_rule="standard")
        for image, target, ours in zip(batch, targets, found.input_gradients, strict=True):
            truth = central_differences(branching.walk, image, target)
            assert relative(ours, truth) < TOLERANCE


@pytest.mark.parametrize("rule", ["standard", "guided"])
def test_layer_gradients_are_the_true_ones(branching: Any, batch: np.ndarray, rule: str) -> None:
    network = from_gluon(branching, SHAPE)
    found = differentiate(network, batch, [3, 0], layer="trunk", relu_rule=rule)
    assert found.layer.shape == (14, 4, 3)
    for features, target, ours in zip(
        found.activations, [3, 0], found.layer_gradients, strict=True
    ):
        truth = central_differences(branching.head.walk, features, target)
        assert relative(ours, truth) < TOLERANCE


def test_activations_are_what_the_head_reads(branching: Any, batch: np.ndarray) -> None:
    mx = import_mxnet()
    network = from_gluon(branching, SHAPE)
    found = differentiate(network, batch, [0, 0], layer="trunk")
    logits = branching.head(mx.nd.array(found.activations)).asnumpy()
    np.testing.assert_allclose(found.logits, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", ["trunk.conv", "trunk.norm", "trunk.inner", "trunk"])
def test_input_gradients_of_a_layers_values(branching: Any, batch: np.ndarray, layer: str) -> None:
    """One value of the layer in the first image, another channel's mean in the second."""
    mx = import_mxnet()
    network = from_gluon(branching, SHAPE)
    chosen = network.layer(layer)
    channels, height, width = chosen.shape
    seeds = np.zeros((2, *chosen.shape), np.float32)
    seeds[0, 1, height // 2, width // 2] = 1
    seeds[1, channels - 1] = 1 / (height * width)
    ours = network.run(batch, record=True).input_vjp(chosen, seeds)
    asked_before = network.run(batch, [chosen], record=True)
    asked_before.gradients(np.array([0, 1]), [GradientRequest(GUIDED)])
    np.testing.assert_array_equal(asked_before.input_vjp(chosen, seeds), ours)

    for image, seed, found in zip(batch, seeds, ours, strict=True):

        def score(_F: Any, images: Any, seed: np.ndarray = seed) -> tuple[Any, Any]:
            observed = network.run(images.asnumpy(), [chosen]).activations(chosen)
            switches = branching.trunk.walk(mx.nd, images)[1]
            return mx.nd.array((observed * seed).sum(axis=(1, 2, 3))[:, None]), switches

        assert relative(found, central_differences(score, image, 0)) < TOLERANCE


def test_gradients_at_a_layer_have_its_shape(branching: Any, batch: np.ndarray) -> None:
    network = from_gluon(branching, SHAPE)
    recorded = network.run(batch, record=True)
    layer = network.layer("trunk")
    with pytest.raises(NetworkError, match=r"shape \(2, 14, 4, 3\).*have shape \(2, 14, 4, 2\)"):
        recorded.input_vjp(layer, np.zeros((2, 14, 4, 2), np.float32))


def test_the_differences_would_notice_a_wrong_gradient(branching: Any, batch: np.ndarray) -> None:
    network = from_gluon(branching, SHAPE)
    guided = differentiate(network, batch, [0, 1], relu_rule="guided")
    truth = central_differences(branching.walk, batch[0], 0)
    assert relative(guided.input_gradients[0], truth) > 0.1


def test_values_read_more_than_once() -> None:
    """A gate, a square, a value twice in one operator: gradients of all readers must be added.

    Smooth here and there, so a central difference also errs by its step squared.
    """
    mx = import_mxnet()
    nn = mx.gluon.nn

    class Tangled(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.conv = nn.Conv2D(4, 3, padding=1, in_channels=3)
                self.gate = nn.Dense(4, in_units=4)
                self.output = nn.Dense(CLASSES, in_units=8 * 8 * 6)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            maps = self.conv(x)
            gate = F.sigmoid(self.gate(F.mean(maps, axis=(2, 3)))).reshape((0, 0, 1, 1))
            gated = F.broadcast_mul(maps, gate) + maps * maps
            return self.output(F.concat(gated, F.clip(gated - maps, -100, 100), dim=1))

    block = fill(Tangled())
    image = np.random.RandomState(3).uniform(-1, 1, (1, *SHAPE)).astype(np.float32)
    network = from_gluon(block, input_shape=SHAPE)
    found = differentiate(network, image, [1], layer="conv", relu_rule="standard")
    step = 2.0**-6
    shifts = step * np.eye(image.size, dtype=np.float32).reshape(-1, *SHAPE)
    high, low = (
        block(mx.nd.array(image + sign * shifts)).asnumpy()[:, 1].astype(np.float64)
        for sign in (1, -1)
    )
    truth = ((high - low) / (2 * step)).reshape(SHAPE)
    assert relative(found.input_gradients[0], truth) < 1e-3
