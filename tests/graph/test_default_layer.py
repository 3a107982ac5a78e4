"""The default target layer of small networks, in which everybody can see which it is."""

import numpy as np
import pytest

from cnnviz.graph.architecture import Architecture
from cnnviz.graph.operators import GELU, HardSwish, LeakyReLU, Mish, ReLU, SiLU
from cnnviz.importers import tensor_arithmetic
from cnnviz.importers import tensor_layers as layers
from cnnviz.importers import tensor_products as products
from cnnviz.importers import tensor_shapes as shapes
from cnnviz.importers.tensors import Constant, TensorGraph


def ones(*size):
    return Constant(np.ones(size, np.float32))


def convolutional(activation):
    """Convolution, batch norm, activation, twice; mean; dense layer."""
    graph = TensorGraph((3, 8, 8))
    x = graph.images
    for name in ("first", "last"):
        with graph.scope(f"{name}.conv"):
            x = layers.convolution(graph, x, ones(4, x.shape[1], 3, 3))
        with graph.scope(f"{name}.norm"):
            x = layers.batch_norm(graph, x, ones(4), ones(4), ones(4), ones(4))
        with graph.scope(f"{name}.activation"):
            x = tensor_arithmetic.unary(graph, activation, x)
    mean = shapes.reduced(graph, x, "mean", (2, 3), keep_axes=False)
    program = graph.finish(products.linear(graph, mean, ones(5, 4)))
    return Architecture(program.graph, program.paths)


@pytest.mark.parametrize("activation", [ReLU(), ReLU(6.0), LeakyReLU(0.1)])
def test_before_what_passes_on_what_is_above_zero(activation):
    assert convolutional(activation).default_layer.name == "last.norm"


@pytest.mark.parametrize("activation", [SiLU(), HardSwish(), GELU(), Mish()])
def test_behind_what_gates(activation):
    """Far below zero these give zero, so that what stands there is no evidence of anything."""
    architecture = convolutional(activation)
    assert architecture.default_layer.name == "last.activation"
    assert [layer.name for layer in architecture.stages()] == [
        "first.activation",
        "last.activation",
    ]
