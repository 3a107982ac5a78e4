"""Small networks, none of a framework: sequences of layers, some with branches, and the demo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnnviz.engines.base import parse_device
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.builder import Builder, NamedGraph
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import Add, Concat, Flatten, Mean, Multiply, Operator, Sigmoid, Subtract
from cnnviz.models.config import ModelConfig
from cnnviz.models.resolve import find_model
from cnnviz.types import Shape
from tests.support.engines import ON_CPU

Array = np.ndarray[Any, Any]
Layer = Callable[[Builder, Value], Value]
Draw = Callable[[str, Shape], Array]


def random_parameters(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Values that keep numbers near 1 through a network, whatever its depth.

    Weights are scaled by what they sum over; variances lie around 1, scales away from 0.
    """
    random = np.random.default_rng(seed)
    arrays = {}
    for name, shape in graph.parameters.items():
        values = random.uniform(-1, 1, shape)
        if len(shape) > 1:
            values *= np.sqrt(6 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            values = 1 + values / 2
        elif name.endswith("gamma"):
            values = np.sign(values) * (0.5 + np.abs(values))
        else:
            values *= 0.5
        arrays[name] = values.astype(np.float32)
    return arrays


def branching() -> NamedGraph:
    """Convolutions, batch norm, pooling, a residual sum and branches side by side; (3, 8, 6) in.

    Four logits behind seven ReLUs, some of which are bare and one clipped.
    """
    b = Builder((3, 8, 6))
    with b.block("trunk"):
        data = b.relu(b.batch_norm(b.conv(b.input, 6, 3, padding=1, bias=True, name="conv")))
        data = b.max_pool(data, 2, 2)
        inner = b.batch_norm(b.conv(data, 6, 3, padding=1, name="inner"))
        data = b.bare_relu(b.add(data, inner))
        branches = (
            b.relu(b.conv(data, 4, 1)),
            b.relu(b.conv(data, 4, 3, padding=1), upper=0.7),
            b.max_pool(data, 3, 1, 1),
        )
        data = b.ends(b.concat(*branches))
    data = b.relu(b.linear(b.flatten(b.relu(data)), 7))
    return b.finish(b.linear(data, 4, name="output"))


def tangled() -> Graph:
    """Values that several operators read, or one twice: a gate, a square, a difference."""
    builder = Builder((3, 6, 5))
    maps = builder.conv(builder.input, 4, 3, padding=1, bias=True)
    graph = builder.finish(maps).graph
    nodes, maps = list(graph.nodes), graph.output

    def add(operator: Operator, *inputs: Value) -> Value:
        nodes.append(Node(operator, f"node{len(nodes)}", inputs))
        return Value(len(nodes) - 1)

    gate = add(Sigmoid(), add(Mean((1, 2), keep_axes=True), maps))
    gated = add(Add(), add(Multiply(), maps, gate), add(Multiply(), maps, maps))
    joined = add(Concat(), gated, add(Subtract(), gated, maps))
    output = add(Flatten(), joined)
    return Graph(tuple(nodes), output)


def hand_worked() -> tuple[Architecture, dict[str, Array]]:
    """A 3×3 convolution with two filters, a ReLU, a dense layer: (1, 4, 4) in, two logits.

    Its numbers are worked out in ``tests/engines/contract/test_hand_worked.py``.
    """
    b = Builder((1, 4, 4))
    named = b.finish(b.linear(b.flatten(b.relu(b.conv(b.input, 2, 3, bias=True))), 2))
    filters = [[[[0, 0, 0], [0, 1, 0], [0, 0, 1]]], [[[1, 0, 0], [0, 0, 0], [0, -1, 0]]]]
    output = [[1, 2, 0, -1, 1, 1, -1, 2], [1, -1, -1, 0, 3, 1, 2, 8]]
    values = (filters, [0, -0.5], output, [0.25, -0.5])
    arrays = {
        name: np.array(value, np.float32)
        for name, value in zip(named.graph.parameters, values, strict=True)
    }
    return Architecture(*named), arrays


# --- sequences -----------------------------------------------------------------------------------


@dataclass
class SequentialNetwork:
    """A network and its parameters, which may be changed before it is run."""

    architecture: Architecture
    parameters: dict[str, Array] = field(default_factory=dict)

    def network(self) -> Network:
        """It with the parameters as they are now, ready to run."""
        arrays = {name: np.asarray(values, np.float32) for name, values in self.parameters.items()}
        engine = build_engine(self.architecture.graph, arrays, parse_device("cpu"))
        return Network(self.architecture, engine)

    def logits(self, batch: Array) -> Array:
        """Of a batch (N, C, H, W), in float64."""
        return self.network().logits(np.asarray(batch, np.float32)).astype(np.float64)


def sequential(
    size: Shape,
    *layers: Layer,
    values: Mapping[str, Any] | None = None,
    draw: Draw | None = None,
    seed: int = 0,
) -> SequentialNetwork:
    """A sequence of layers, called 0, 1, 2, ...

    Args:
        size: of its input, (C, H, W).
        layers: functions of a builder and a value.
        values: of some parameters by name (``0.weight``), in any shape of as many numbers.
        draw: makes the others from name and shape; by default :func:`random_parameters` does.
        seed: of these.
    """
    builder = Builder(size)
    value = builder.input
    for layer in layers:
        value = layer(builder, value)
    graph, paths = builder.finish(value)
    if draw is None:
        parameters = random_parameters(graph, seed)
    else:
        parameters = {name: draw(name, shape) for name, shape in graph.parameters.items()}
    for name, given in (values or {}).items():
        parameters[name] = np.reshape(np.asarray(given, np.float32), graph.parameters[name])
    return SequentialNetwork(Architecture(graph, paths), parameters)


def zeros(name: str, shape: Shape) -> Array:
    """Every parameter zero."""
    return np.zeros(shape, np.float32)


def ones(name: str, shape: Shape) -> Array:
    """Every parameter one."""
    return np.ones(shape, np.float32)


def conv(channels: int, kernel: int = 1, *, bias: bool = True, **options: Any) -> Layer:
    """A convolution; ``options`` are those of :meth:`Builder.conv`."""
    return lambda b, x: b.conv(x, channels, kernel, bias=bias, **options)


def conv_relu(channels: int, kernel: int = 1, **options: Any) -> Layer:
    """A convolution with a ReLU of its own, which is no layer of the sequence."""
    return lambda b, x: b.own_relu(b.conv(x, channels, kernel, bias=True, **options))


def batch_norm() -> Layer:
    """A batch norm."""
    return lambda b, x: b.batch_norm(x)


def relu() -> Layer:
    """A ReLU."""
    return lambda b, x: b.relu(x)


def max_pool(size: int = 2) -> Layer:
    """A max pooling of windows that do not overlap."""
    return lambda b, x: b.max_pool(x, size, size)


def global_avg_pool() -> Layer:
    """The mean over height and width."""
    return lambda b, x: b.global_avg_pool(x)


def flatten() -> Layer:
    """All values in a row."""
    return lambda b, x: b.flatten(x)


def linear(features: int) -> Layer:
    """A dense layer with a bias."""
    return lambda b, x: b.linear(x, features)


def linear_relu(features: int) -> Layer:
    """A dense layer with a ReLU of its own."""
    return lambda b, x: b.own_relu(b.linear(x, features))


# --- the embedded network ------------------------------------------------------------------------


def demo_network() -> Network:
    """The demo network with the weights that ship, on the CPU."""
    network, _ = find_model(ModelConfig("demo")).load(ON_CPU)
    return network
