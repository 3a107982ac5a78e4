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
        draw: makes the others from name and shape; by default they come from a generator.
        seed: of that generator.
    """
    builder = Builder(size)
    value = builder.input
    for layer in layers:
        value = layer(builder, value)
    graph, paths = builder.finish(value)
    shapes = graph.parameters
    draw = draw or random_values(seed)
    given = dict(values or {})
    parameters = {
        name: np.reshape(np.asarray(given.pop(name), np.float32), shape)
        if name in given
        else draw(name, shape)
        for name, shape in shapes.items()
    }
    assert not given, f"there are no parameters {', '.join(given)}"
    return Written(Architecture(graph, paths), parameters)


def random_values(seed: int = 0) -> Draw:
    """Normal values, weights scaled by what they sum over (He et al. 2015), and small biases."""
    random = np.random.default_rng(seed)

    def draw(name: str, shape: Shape) -> Array:
        if name.endswith(("gamma", "running_var")):
            return random.uniform(0.5, 1.5, shape).astype(np.float32)
        spread = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        return (spread * random.standard_normal(shape)).astype(np.float32)

    return draw


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
