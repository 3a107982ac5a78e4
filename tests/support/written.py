"""Networks written down layer by layer, for tests of something else than a framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnnviz.engines.base import parse_device
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value
from cnnviz.types import Shape
from tests.support.networks import random_parameters

Array = np.ndarray[Any, Any]
Layer = Callable[[Builder, Value], Value]
Draw = Callable[[str, Shape], Array]


@dataclass
class Written:
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


def written(
    size: Shape,
    *layers: Layer,
    values: Mapping[str, Any] | None = None,
    draw: Draw | None = None,
    seed: int = 0,
) -> Written:
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
    return Written(Architecture(graph, paths), parameters)


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
