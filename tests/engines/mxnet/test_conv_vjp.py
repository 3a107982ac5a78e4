"""The convolution that leads back through a convolution: what it makes of a gradient."""

from __future__ import annotations

import ast
from itertools import product

import numpy as np
import pytest

from cnnviz.engines.mxnet.conv_vjp import conv_input_vjp
from cnnviz.engines.mxnet.symbol import Entry, Node
from cnnviz.importers.gluon import from_gluon
from tests.support.gradients import differentiate
from tests.support.mxnet import import_mxnet


def convolution(**attrs):
    written = {key: str(value) for key, value in attrs.items()}
    return Node("Convolution", "conv", written, (Entry(0), Entry(1), Entry(2)))


def scattered(gradient, weights, size, pad, dilate, groups):
    """The derivative by hand: every output hands its gradient to the inputs that it was made of."""
    images, outputs, rows, columns = gradient.shape
    per_group, *kernel = weights.shape[1:]
    padded = np.zeros((images, per_group * groups, size[0] + 2 * pad[0], size[1] + 2 * pad[1]))
    for output in range(outputs):
        first = output // (outputs // groups) * per_group
        for channel, i, j in product(range(per_group), range(kernel[0]), range(kernel[1])):
            top, left = i * dilate[0], j * dilate[1]
            padded[:, first + channel, top : top + rows, left : left + columns] += (
                gradient[:, output].astype(float) * weights[output, channel, i, j]
            )
    return padded[:, :, pad[0] : pad[0] + size[0], pad[1] : pad[1] + size[1]]


@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "pad", "dilate", "groups"),
    [
        (16, 24, (3, 3), (1, 1), (1, 1), 1),
        (3, 16, (3, 3), (1, 1), (1, 1), 1),  # fewer channels than oneDNN likes to make
        (32, 5, (1, 1), (0, 0), (1, 1), 1),
        (17, 6, (5, 3), (0, 2), (1, 1), 1),
        (16, 8, (3, 3), (2, 2), (2, 2), 1),
        (16, 8, (3, 2), (1, 0), (3, 1), 1),
        (12, 8, (3, 3), (1, 1), (1, 1), 4),
        (32, 32, (3, 3), (1, 1), (1, 1), 32),  # depthwise
    ],
)
def test_it_is_the_derivative(channels, outputs, kernel, pad, dilate, groups):
    mx = import_mxnet()
    random = np.random.default_rng(0)
    weights = random.normal(size=(outputs, channels // groups, *kernel)).astype(np.float32)
    size = (11, 9)
    made = tuple(
        n + 2 * p - d * (k - 1) for n, p, d, k in zip(size, pad, dilate, kernel, strict=True)
    )
    gradient = random.normal(size=(2, outputs, *made)).astype(np.float32)
    vjp = conv_input_vjp(
        convolution(kernel=kernel, pad=pad, dilate=dilate, num_filter=outputs, num_group=groups),
        weights.shape,
    )
    attrs = {key: ast.literal_eval(value) for key, value in vjp.node.attrs.items()}
    passed = mx.nd.Convolution(
        mx.nd.array(gradient), mx.nd.array(vjp.flipped(weights)), **attrs
    ).asnumpy()
    expected = scattered(gradient, weights, size, pad, dilate, groups)
    # A few hundred float32 products of order 1 add up in each number: 1e-5 of the largest.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(passed[:, :channels], expected, rtol=0, atol=1e-5 * scale)
    assert not passed[:, channels:].any()


@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel": (3, 3), "stride": (2, 2)},
        {"kernel": (3, 3), "stride": (1, 2)},
        {"kernel": (1, 1), "pad": (1, 1)},  # the padding itself is seen by outputs of its own
        {"kernel": (3,)},
        {"kernel": (3, 3), "layout": "NHWC"},
    ],
)
def test_what_is_no_such_convolution_is_recorded(attrs):
    assert conv_input_vjp(convolution(num_filter=16, **attrs), (16, 16, 3, 3)) is None


def test_other_operators_are_recorded():
    node = Node("Deconvolution", "up", {"kernel": "(3, 3)", "num_filter": "4"}, (Entry(0),))
    assert conv_input_vjp(node, (4, 4, 3, 3)) is None


def test_a_networks_weights_are_left_as_they_were():
    """Inference lets oneDNN reorder the weights' memory: what is read from it must not change."""
    mx = import_mxnet()
    block = mx.gluon.nn.HybridSequential()
    block.add(
        mx.gluon.nn.Conv2D(32, 3, padding=1, activation="relu", in_channels=16),
        mx.gluon.nn.Conv2D(32, 3, padding=1, activation="relu", in_channels=32),
        mx.gluon.nn.Dense(4, in_units=32 * 8 * 8),
    )
    block.initialize(mx.init.Xavier())
    before = {name: p.data().asnumpy() for name, p in block.collect_params().items()}
    network = from_gluon(block, (16, 8, 8))
    batch = np.random.default_rng(0).normal(size=(1, 16, 8, 8)).astype(np.float32)
    first = differentiate(network, batch)
    second = differentiate(network, batch)
    for name, parameter in block.collect_params().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), before[name])
    np.testing.assert_array_equal(first.input_gradients, second.input_gradients)
