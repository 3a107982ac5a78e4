"""Blocks that people write: spare children, recurrent layers, mx.np, several outputs, doubles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnviz.errors import NetworkError, UsageError
from cnnviz.importers.gluon import architecture_of_block, from_gluon
from tests.support.gradients import differentiate
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn
SHAPE = (3, 16, 16)


def batch(count=2):
    return np.random.RandomState(0).normal(0, 1, (count, *SHAPE)).astype(np.float32)


def ready(net):
    net.initialize(mx.init.Xavier())
    net.hybridize()
    return net


def check(net, network):
    """Whether a network's logits are the block's own."""
    x = batch()
    np.testing.assert_allclose(
        network.logits(x), net(mx.nd.array(x)).asnumpy(), rtol=1e-4, atol=1e-5
    )
    assert np.abs(differentiate(network, x, [0, 1]).input_gradients).max() > 0


class Spare(mx.gluon.HybridBlock):
    """With a child that its forward does not use."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(4, 3)
        self.out = nn.Dense(3)
        self.spare = nn.Dense(2)

    def hybrid_forward(self, F, x):
        return self.out(F.mean(F.relu(self.conv(x)), axis=(2, 3)))


def test_a_child_that_is_not_used():
    net = ready(Spare())
    network = from_gluon(net, SHAPE)
    check(net, network)
    assert "spare" not in [layer.name for layer in network.layers]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("layout", ["NTC", "TNC"])
def test_recurrent_layers(kind, layout):
    class Recurrent(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2D(4, 3, 2, 1, activation="relu")
            more = {"bidirectional": True, "dropout": 0.5, "num_layers": 2}
            self.rnn = getattr(mx.gluon.rnn, kind)(5, layout=layout, **more)
            self.out = nn.Dense(3)

        def hybrid_forward(self, F, x):
            steps = F.mean(self.conv(x), axis=2)
            axes = (0, 2, 1) if layout == "NTC" else (2, 0, 1)
            states = self.rnn(F.transpose(steps, axes))
            return self.out(F.mean(states, axis=axes.index(2)))

    net = ready(Recurrent())
    network = from_gluon(net, SHAPE)
    check(net, network)
    # What is differentiated drops nothing either.
    np.testing.assert_allclose(
        network.run(batch(), record=True).logits, network.logits(batch()), rtol=1e-4, atol=1e-6
    )


def two_headed():
    class Heads(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2D(4, 3, activation="relu")
            self.main, self.other = nn.Dense(3, prefix="main_"), nn.Dense(2, prefix="other_")

        def hybrid_forward(self, F, x):
            x = self.conv(x)
            return self.main(x), [self.other(x), x]

    return ready(Heads())


@pytest.mark.parametrize(("head", "place"), [(0, 0), ("main_fwd", 0), ("other_fwd_output", 1)])
def test_a_head_is_chosen(head, place):
    net = two_headed()
    x = batch()
    main, (other, _) = net(mx.nd.array(x))
    network = from_gluon(net, SHAPE, head=head)
    np.testing.assert_allclose(
        network.logits(x), [main, other][place].asnumpy(), rtol=1e-4, atol=1e-5
    )


def test_heads_that_can_be_chosen_are_told():
    net = two_headed()
    with pytest.raises(UsageError, match=r"3 outputs.*head \(main_fwd_output, other_fwd_output; "):
        architecture_of_block(net, SHAPE)
    with pytest.raises(UsageError, match="no output 3"):
        architecture_of_block(net, SHAPE, head=3)
    with pytest.raises(UsageError, match="Did you mean main_fwd_output"):
        architecture_of_block(net, SHAPE, head="mian_fwd_output")


def test_a_detector_is_not_told_to_choose_a_head():
    class Detector(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2D(4, 3, activation="relu"), nn.Conv2D(6, 3)

        def hybrid_forward(self, F, x):
            x = self.first(x)
            return x, self.second(x)

    with pytest.raises(NetworkError, match=r"not an image classifier.* none of its 2 outputs"):
        architecture_of_block(ready(Detector()), SHAPE)


def test_doubles_inside():
    class Doubles(Spare):
        def hybrid_forward(self, F, x):
            x = F.cast(F.relu(F.cast(self.conv(x), "float64")), "float32")
            return self.out(F.mean(x, axis=(2, 3)))

    net = ready(Doubles())
    check(net, from_gluon(net, SHAPE))


@pytest.mark.parametrize("what", ["Conv2D", "MaxPool2D"])
def test_channels_last_are_refused(what):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, layout="NHWC") if what == "Conv2D" else nn.MaxPool2D(layout="NHWC"))
    net.add(nn.Conv2D(4, 3), nn.Dense(3))
    with pytest.raises(NetworkError, match=r"channels last \(layout NHWC in "):
        architecture_of_block(net, SHAPE)


@pytest.mark.parametrize("how", [{}, {"global_pool": True}, {"stride": (2, 2)}])
def test_pooling_that_mxnet_cannot_run_is_refused(how):
    class Same(Spare):
        def hybrid_forward(self, F, x):
            x = F.Pooling(x, kernel=(2, 2), pooling_convention="same", name="shrink", **how)
            return super().hybrid_forward(F, x)

    with pytest.raises(NetworkError, match="shrink is a Pooling with pooling_convention=same"):
        architecture_of_block(Same(), SHAPE)


def test_a_transposed_input_is_refused():
    class Transposed(Spare):
        def hybrid_forward(self, F, x):
            return super().hybrid_forward(F, F.transpose(x / 255, (0, 3, 1, 2)))

    with pytest.raises(NetworkError, match="takes images as height × width × channels"):
        architecture_of_block(Transposed(), SHAPE)


NUMPY = """
import numpy
from cnnviz.importers.gluon import from_gluon
from cnnviz.engines.mxnet.runtime import import_mxnet
from tests.support.gradients import differentiate
mx = import_mxnet()
from mxnet import np, npx
npx.set_np()
nn = mx.gluon.nn

class Residual(nn.HybridBlock):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2D(4, 3, padding=1), nn.BatchNorm(), nn.Dense(3)
    def hybrid_forward(self, F, x):
        y = F.np.maximum(self.norm(self.conv(x)), 0)
        return self.out(F.npx.relu(y + F.np.mean(x, axis=1, keepdims=True)))

net = Residual()
net.initialize()
net.hybridize()
x = numpy.random.RandomState(0).normal(0, 1, (2, 3, 16, 16)).astype("float32")
expected = net(np.array(x)).asnumpy()
for reset in (False, True):
    if reset:
        npx.reset_np()
    network = from_gluon(net, (3, 16, 16))
    numpy.testing.assert_allclose(network.logits(x), expected, rtol=1e-4, atol=1e-5)
    result = differentiate(network, x, [0, 1])
    assert (result.relus_changed, result.relus_total) == (2, 2), result.relus_total
    assert abs(result.input_gradients).max() > 0
"""


@pytest.mark.subprocess
def test_blocks_of_mx_np():
    # In a process of its own: set_np() is for the whole of it.
    done = subprocess.run(
        [sys.executable, "-c", NUMPY],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
