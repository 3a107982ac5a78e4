"""What MXNet 1.9.1 does to those who use it the obvious way, and that the engine does not.

Each test first takes the obvious way and insists that it is wrong: should some build of MXNet
behave, the test says so, and the care taken in ``cnnviz.engines.mxnet`` can be thought over. Then
it takes ours on the same problem, with an answer worked out in NumPy.

Ways that read memory never written, and may end the process, run in a process of their own; as
MXNet is retired and does not change any more, only with CNNVIZ_SLOW=1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnviz.importers.gluon import from_gluon
from cnnviz.machine import available_cores
from tests.support.gradients import differentiate
from tests.support.mxnet import import_mxnet

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.needs("mxnet")


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter, without the settings that this process has."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS", "MXNET_MKLDNN_ENABLED")
    }
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**inherited, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sequential(*layers: Any) -> Any:
    block = import_mxnet().gluon.nn.HybridSequential(prefix="")
    block.add(*layers)
    block.initialize()
    return block


def copying_convolution(channels: int) -> Any:
    """A 1 x 1 convolution that copies its input, so that the next operator's answers show."""
    mx = import_mxnet()
    layer = mx.gluon.nn.Conv2D(channels, 1, in_channels=channels, use_bias=False)
    layer.initialize()
    layer.weight.set_data(mx.nd.array(np.eye(channels)[:, :, None, None]))
    return layer


def summing_dense(inputs: int, weight: float = 1.0) -> Any:
    """Two logits: the sum of all inputs times ``weight``, and the sum of all inputs times -1."""
    mx = import_mxnet()
    layer = mx.gluon.nn.Dense(2, in_units=inputs)
    layer.initialize()
    layer.weight.set_data(mx.nd.array(np.outer([weight, -1.0], np.ones(inputs))))
    layer.bias.set_data(mx.nd.zeros(2))
    return layer


def uniform(*shape: int) -> np.ndarray:
    return np.random.RandomState(1).uniform(-1, 1, shape).astype(np.float32)


def distinct(*shape: int) -> np.ndarray:
    """No two numbers alike, so that each pooling window has one winner."""
    size = int(np.prod(shape))
    return np.random.RandomState(1).permutation(size).reshape(shape).astype(np.float32) / size


def far(value: np.ndarray, truth: np.ndarray) -> bool:
    """Whether the relative L2 error is above a tenth, or no number at all."""
    return not np.linalg.norm(value - truth) <= 0.1 * np.linalg.norm(truth)


# -- importing ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.skipif(
    tuple(map(int, np.__version__.split(".")[:2])) < (1, 24),
    reason="NumPy still has numpy.bool",
)
def test_plain_import_fails_with_numpy_1_24() -> None:
    plain = python("import mxnet")
    assert plain.returncode == 1
    assert "module 'numpy' has no attribute 'bool'" in plain.stderr
    assert import_mxnet().__version__ == "1.9.1"


# -- threads --------------------------------------------------------------------------------------

COUNT_THREADS = """
import ctypes
import numpy
numpy.bool = bool
import mxnet
print(ctypes.CDLL(mxnet.libinfo.find_lib_path()[0]).omp_get_max_threads())
"""
COUNT_OUR_THREADS = """
import ctypes
from cnnviz.engines.mxnet.runtime import import_mxnet
print(ctypes.CDLL(import_mxnet().libinfo.find_lib_path()[0]).omp_get_max_threads())
"""


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="half of one core is one core")
def test_mxnet_takes_half_of_the_cores() -> None:
    plain = python(COUNT_THREADS)
    assert int(plain.stdout) == len(os.sched_getaffinity(0)) // 2, plain.stderr

    ours = python(COUNT_OUR_THREADS)
    assert int(ours.stdout) == available_cores(), ours.stderr


# -- gradients ------------------------------------------------------------------------------------

POOL_FOR_INFERENCE = """
import sys
sys.path.insert(0, "tests/engines/mxnet")
from test_mxnet_traps import *

mx = import_mxnet()
block = pooling_block()
if HYBRIDIZE:
    block.hybridize()
x = mx.nd.array(distinct(*POOLED))
x.attach_grad()
with mx.autograd.record(train_mode=False):
    score = block(x)[:, 0].sum()
score.backward(train_mode=False)
gradient = x.grad.asnumpy()
print("right" if (gradient == winners(distinct(*POOLED))).all() else "wrong")
"""
POOLED = (2, 16, 32, 32)


def pooling_block() -> Any:
    mx = import_mxnet()
    return sequential(
        copying_convolution(POOLED[1]),
        mx.gluon.nn.MaxPool2D(2),
        summing_dense(int(np.prod(POOLED[1:])) // 4),
    )


def winners(values: np.ndarray) -> np.ndarray:
    """1 where a value is the highest of its 2 x 2 window, 0 elsewhere."""
    count, channels, height, width = values.shape
    windows = values.reshape(count, channels, height // 2, 2, width // 2, 2)
    return (windows == windows.max(axis=(3, 5), keepdims=True)).reshape(values.shape)


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize("hybridize", [False, True])
def test_max_pooling_recorded_for_inference_gives_garbage(hybridize: bool) -> None:
    # Its backward pass reads a workspace that only training fills. Whatever lies there instead, it
    # cannot hold the winners of 8192 windows. (The process may also crash.)
    obvious = python(POOL_FOR_INFERENCE.replace("HYBRIDIZE", str(hybridize)))
    crashed = obvious.returncode < 0
    assert crashed or obvious.stdout == "wrong\n", obvious.stdout + obvious.stderr


def test_max_pooling_in_the_engine() -> None:
    batch = distinct(*POOLED)
    found = differentiate(
        from_gluon(pooling_block(), POOLED[1:]), batch, [0, 0], relu_rule="standard"
    )
    np.testing.assert_array_equal(found.input_gradients, winners(batch))


def test_recording_for_training_drops_and_learns() -> None:
    mx = import_mxnet()
    nn = mx.gluon.nn
    block = sequential(
        copying_convolution(3), nn.BatchNorm(in_channels=3), nn.Dropout(0.5), summing_dense(3 * 64)
    )
    block[1].running_mean.set_data(mx.nd.array([0.5, -1, 2]))
    block[1].running_var.set_data(mx.nd.array([1, 4, 0.25]))
    batch = uniform(2, 3, 8, 8)
    # BatchNorm's epsilon is 1e-5; gamma is 1 and beta 0.
    deviations = np.sqrt(np.asarray([1, 4, 0.25]) + 1e-5)[:, None, None]
    normal = (batch - np.asarray([0.5, -1, 2])[:, None, None]) / deviations
    logits = np.stack([normal.sum((1, 2, 3)), -normal.sum((1, 2, 3))], axis=1)
    slopes = np.broadcast_to(1 / deviations, batch.shape)
    before = block[1].running_mean.data().asnumpy()

    found = differentiate(from_gluon(block, (3, 8, 8)), batch, [0, 0], relu_rule="standard")
    np.testing.assert_allclose(found.logits, logits, rtol=1e-5)
    np.testing.assert_allclose(found.input_gradients, slopes, rtol=1e-5)
    np.testing.assert_array_equal(block[1].running_mean.data().asnumpy(), before)

    x = mx.nd.array(batch)
    x.attach_grad()
    with mx.autograd.record(train_mode=True):
        obvious = block(x)
        score = obvious[:, 0].sum()
    score.backward()
    assert far(obvious.asnumpy(), logits)
    assert far(x.grad.asnumpy(), slopes)
    assert (block[1].running_mean.data().asnumpy() != before).all()


def test_backward_defaults_to_training_even_after_inference() -> None:
    mx = import_mxnet()
    block = sequential(
        copying_convolution(3), mx.gluon.nn.BatchNorm(in_channels=3), summing_dense(3 * 64)
    )
    batch = uniform(2, 3, 8, 8)
    slopes = np.full(batch.shape, 1 / np.sqrt(1 + 1e-5))  # running variance 1

    x = mx.nd.array(batch)
    gradients = {}
    for arguments in ({}, {"train_mode": False}):
        x.attach_grad()
        with mx.autograd.record(train_mode=False):
            score = block(x)[:, 0].sum()
        score.backward(**arguments)
        gradients[bool(arguments)] = x.grad.asnumpy()
    np.testing.assert_allclose(gradients[True], slopes, rtol=1e-5)
    assert far(gradients[False], slopes)

    found = differentiate(from_gluon(block, (3, 8, 8)), batch, [0, 0], relu_rule="standard")
    np.testing.assert_allclose(found.input_gradients, slopes, rtol=1e-5)


def test_attach_grad_inside_a_network_cuts_it() -> None:
    mx = import_mxnet()
    nn = mx.gluon.nn
    block = sequential(copying_convolution(2), nn.Activation("relu"), summing_dense(2 * 16, 3))
    batch = uniform(1, 2, 4, 4)
    open_units = 3.0 * (batch > 0)

    x = mx.nd.array(batch)
    x.attach_grad()
    with mx.autograd.record():
        maps = block[0](x)
        maps.attach_grad()
        score = block[2](block[1](maps))[:, 0].sum()
    score.backward()
    np.testing.assert_array_equal(maps.grad.asnumpy(), open_units)
    assert not x.grad.asnumpy().any()  # and no error either

    found = differentiate(from_gluon(block, (2, 4, 4)), batch, [0], relu_rule="standard")
    assert found.layer.name == "0"
    np.testing.assert_array_equal(found.layer_gradients, open_units)
    np.testing.assert_array_equal(found.input_gradients, open_units)


def test_grad_req_add_forgets_what_was_there() -> None:
    # Clipping (that is, ReLU6) and means overwrite where they should add; which operators do
    # depends on the build (with oneDNN off also 1 x 1 convolutions).
    mx = import_mxnet()

    class TwoReaders(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.conv = copying_convolution(2)
                self.output = summing_dense(2 * 16)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            maps = self.conv(x)
            return self.output(F.identity(maps) * 4 + F.clip(maps, 0, 6))

    batch = 10 * uniform(1, 2, 4, 4)
    both = 4.0 + ((batch > 0) & (batch < 6))

    leaf = mx.nd.array(batch)
    leaf.attach_grad(grad_req="add")
    for read in (lambda maps: maps * 4, lambda maps: mx.nd.clip(maps, 0, 6)):
        with mx.autograd.record():
            score = read(leaf).sum()
        score.backward()
    np.testing.assert_array_equal(leaf.grad.asnumpy(), both - 4)  # the first reader's 4 is gone

    found = differentiate(
        from_gluon(TwoReaders(), (2, 4, 4)), batch, [0], layer="conv", relu_rule="standard"
    )
    np.testing.assert_array_equal(found.layer_gradients, both)
    np.testing.assert_array_equal(found.input_gradients, both)


@pytest.mark.filterwarnings("ignore:.*being hybridized while still having forward hook.*")
def test_forward_hooks_fall_silent_when_hybridized() -> None:
    mx = import_mxnet()
    block = sequential(copying_convolution(2), summing_dense(2 * 16))
    batch = uniform(1, 2, 4, 4)
    called: list[str] = []
    handle = block[0].register_forward_hook(lambda *_: called.append("hook"))
    block(mx.nd.array(batch))
    assert called == ["hook"]
    block.hybridize()
    block(mx.nd.array(batch))  # traces, which still calls the hook, with symbols
    called.clear()
    block(mx.nd.array(batch))
    assert called == []
    handle.detach()

    found = differentiate(from_gluon(block, (2, 4, 4)), batch, [0], layer="0", relu_rule="standard")
    np.testing.assert_array_equal(found.activations, batch)


def test_relus_that_no_activation_block_stands_for() -> None:
    mx = import_mxnet()
    nn = mx.gluon.nn

    class Four(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.conv = nn.Conv2D(2, 1, in_channels=2, activation="relu")
                self.again = nn.Activation("relu")
                self.hidden = nn.Dense(3, activation="relu", in_units=2 * 16)
                self.output = nn.Dense(2, in_units=3)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.output(self.hidden(F.relu(self.again(self.conv(x) - 0.1) - 0.1)))

    block = Four()
    block.initialize()
    children = list(block._children.values())
    assert sum(isinstance(child, nn.Activation) for child in children) == 1

    found = differentiate(from_gluon(block, (2, 4, 4)), uniform(1, 2, 4, 4), [0])
    assert (found.relus_changed, found.relus_total) == (4, 4)
