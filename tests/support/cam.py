"""The network of the CAM family's reference numbers, and ones with known maps."""

from __future__ import annotations

from cnnviz.attribution import choose_methods
from tests.support.attribution import collect_one
from tests.support.networks import conv, flatten, linear, max_pool, relu, sequential
from tests.support.seeded import seeded

SHAPE = (3, 8, 10)


def build():
    """The network of ``tests/reference/make_cam_fixtures.py``."""
    return sequential(
        SHAPE,
        conv(6, 3, padding=1),
        relu(),
        max_pool(),
        conv(8, 3, padding=1),
        relu(),
        flatten(),
        linear(12),
        relu(),
        linear(4),
        draw=seeded.parameter,
    )


def linear_head(weights, bias, kernels=3):
    """A convolution with its ReLU, then one dense layer that sees every place."""
    return sequential(
        SHAPE,
        conv(kernels, 3, padding=1),
        relu(),
        flatten(),
        linear(len(bias)),
        values={"3.weight": weights, "3.bias": bias},
        draw=seeded.parameter,
    )


def asked(name, network, batch, targets, layer=None, **options):
    """A method's map, and the context that it was given."""
    (method,) = choose_methods([name], options)
    context = collect_one(network, batch, targets, network.layer(layer), [method])
    return method.attribute(context), context
