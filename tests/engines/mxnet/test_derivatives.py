"""Derivatives that the engine does not take from MXNet, and all the others, against differences."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnviz.engines.mxnet.backward import CANCELING
from cnnviz.engines.mxnet.derivatives import (
    DERIVATIVES,
    PASSED_ONCE,
    PLAIN_ORDER,
    WRITTEN_WHOLE,
    own_derivative,
)
from cnnviz.engines.mxnet.symbol import Entry, Node
from cnnviz.importers.gluon import from_gluon
from tests.support.gradients import differentiate
from tests.support.mxnet import import_mxnet

sys.path.insert(0, str(Path(__file__).parent))
import operators


def wrong(trials: Any) -> list[str]:
    """The trials whose gradient is off, or that fail, and how."""
    found = map(operators.outcome, trials)
    return [str(outcome) for outcome in found if not outcome.is_right]


def test_a_sample_of_operators() -> None:
    assert wrong(operators.sample()) == []


@pytest.mark.slow  # an hour
def test_every_operator_everywhere() -> None:
    every = [trial for case in operators.all_cases() for trial in operators.trials(case)]
    assert [str(outcome) for outcome in operators.outcomes(every) if not outcome.is_right] == []


def test_no_operator_is_forgotten() -> None:
    assert operators.not_accounted_for() == []


# -- at their worst -------------------------------------------------------------------------------


def lrn_gradient(x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """AlexNet's response normalization, each derivative written out: dy_i / dx_j."""
    size, alpha, beta = 5, 1e-4, 0.75
    channels = x.shape[1]
    near = np.abs(np.subtract.outer(range(channels), range(channels))) <= size // 2
    norm = 1 + alpha / size * np.einsum("ij,njhw->nihw", near, x**2)
    passed = gradient * norm**-beta
    for i in range(channels):
        for j in np.flatnonzero(near[i]):
            slope = -2 * alpha * beta / size * x[:, i] * x[:, j] * norm[:, i] ** (-beta - 1)
            passed[:, j] += gradient[:, i] * slope
    return passed


@pytest.mark.parametrize("channels", [3, 8, 20, 32])
def test_lrn_between_convolutions_at_pixels_of_0_to_255(channels: int) -> None:
    """Copying convolutions around it, so that nothing but its own derivative shows."""
    mx = import_mxnet()
    nn = mx.gluon.nn

    class LRN(mx.gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.LRN(x, nsize=5, alpha=1e-4, beta=0.75, knorm=1)

    def copying() -> Any:
        layer = nn.Conv2D(channels, 1, in_channels=channels, use_bias=False)
        layer.initialize()
        layer.weight.set_data(mx.nd.array(np.eye(channels)[:, :, None, None]))
        return layer

    block = nn.HybridSequential()
    block.add(copying(), LRN(), copying(), nn.Dense(2, in_units=channels * 30))
    block.initialize(mx.init.Normal(1))
    weights = block[3].weight.data().asnumpy().astype(np.float64)[1].reshape(1, channels, 6, 5)
    image = np.random.RandomState(0).uniform(0, 255, (1, channels, 6, 5)).astype(np.float32)
    network = from_gluon(block, (channels, 6, 5))
    found = differentiate(network, image, [1], layer="0", relu_rule="standard")
    truth = lrn_gradient(image.astype(np.float64), weights)
    # float32: 1e-7 for each of a dozen operations.
    np.testing.assert_allclose(found.input_gradients, truth, atol=1e-5 * np.abs(truth).max())


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize(("size", "kernel", "pad"), [(15, 2, 0), (14, 3, 0), (10, 3, 1), (7, 5, 2)])
def test_averages_of_cut_windows(
    size: int, kernel: int, pad: int, stride: int, count_include_pad: bool
) -> None:
    """Against a loop over the windows, each of which shares its gradient out among its pixels."""
    attrs = {
        "kernel": f"({kernel}, {kernel})",
        "stride": f"({stride}, {stride})",
        "pad": f"({pad}, {pad})",
        "pool_type": "avg",
        "pooling_convention": "full",
        "count_include_pad": str(count_include_pad),
    }
    x = np.zeros((1, 1, size, size), np.float32)
    vjp = own_derivative(Node("Pooling", "pool", attrs, (Entry(0),)), [x])
    windows = 1 + -(-(size + 2 * pad - kernel) // stride)
    if (size + 2 * pad - kernel) % stride == 0:
        assert vjp is None
        return
    assert vjp is not None
    gradient = np.random.RandomState(1).normal(size=(1, 1, windows, windows)).astype(np.float32)
    truth = np.zeros((size, size))
    for row, column in np.ndindex(windows, windows):
        top, left = row * stride - pad, column * stride - pad
        bottom, right = min(top + kernel, size + pad), min(left + kernel, size + pad)
        inside = np.s_[max(top, 0) : min(bottom, size), max(left, 0) : min(right, size)]
        held = truth[inside].size
        share = (bottom - top) * (right - left) if count_include_pad else held
        if held:
            truth[inside] += gradient[0, 0, row, column] / share
    np.testing.assert_allclose(vjp([x], [gradient], [gradient])[0][0, 0], truth, atol=1e-6)


@pytest.mark.parametrize("target", [(14, 12), (15, 13), (13, 12), (16, 14)])
def test_deconvolution_to_a_size(target: tuple[int, int]) -> None:
    """MXNet on oneDNN cannot run most of these; in float64, without it, it can."""
    mx = import_mxnet()
    random = np.random.RandomState(0)
    weights = random.normal(size=(3, 6, 4, 4))
    image = random.normal(size=(2, 3, 7, 6)).astype(np.float32)
    how = {"kernel": (4, 4), "stride": (2, 2), "num_filter": 6, "target_shape": target}

    class Enlarged(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.weight = self.params.get("weight", shape=weights.shape)

        def hybrid_forward(self, F: Any, x: Any, weight: Any) -> Any:
            return F.sum(F.Deconvolution(x, weight, **how) ** 2, axis=(2, 3))

    block = Enlarged()
    block.initialize()
    block.weight.set_data(mx.nd.array(weights))
    found = from_gluon(block, (3, 7, 6)).logits(image)
    wide = [mx.nd.array(array, dtype="float64") for array in (image, weights.astype(np.float32))]
    truth = (mx.nd.Deconvolution(*wide, **how) ** 2).sum(axis=(2, 3)).asnumpy()
    np.testing.assert_allclose(found, truth, rtol=1e-5)


def test_gradients_that_an_operator_does_not_write_are_zero() -> None:
    """Resizing "like" something of the same size says nothing of what it is like."""
    case = operators.Case("_contrib_BilinearResize2D", {"mode": "like"}, ("x", "y"))
    for channels in (8, 16):
        trial = operators.Trial(case, channels, 2, ("conv", "conv"))
        assert wrong([trial]) == []


def test_channels_counted_from_the_end() -> None:
    """To MXNet axis -3 of four is another one than 1: oneDNN does not run it."""
    four = ("x", *[operators.PER_CHANNEL] * 3, operators.POSITIVE)
    batch_norm = operators.Case("BatchNorm", {"axis": -3, "fix_gamma": False}, four)
    joined = operators.Case("Concat", {"dim": -3, "num_args": 2}, ("x", "y"))
    around = ("conv", "conv")
    assert wrong(operators.Trial(case, 32, 2, around) for case in (batch_norm, joined)) == []


@pytest.mark.parametrize(
    "names", [DERIVATIVES, PASSED_ONCE, PLAIN_ORDER, WRITTEN_WHOLE, CANCELING], ids=len
)
def test_operators_go_by_the_names_that_symbols_give_them(names):
    """MXNet knows many operators by several names, and writes only one of them."""
    call, found = import_mxnet().base.check_call, {}
    for name in names:
        handle, written = ctypes.c_void_p(), ctypes.c_char_p()
        call(import_mxnet().base._LIB.NNGetOpHandle(name.encode(), ctypes.byref(handle)))
        call(import_mxnet().base._LIB.MXSymbolGetAtomicSymbolName(handle, ctypes.byref(written)))
        found[name] = written.value.decode()
    assert found == {name: name for name in names}
