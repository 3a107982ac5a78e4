"""What pixels a network was trained on, where it says so itself by its first operators.

Many networks bring pixels to their scale themselves: (x - 127.5) / 128, x / 255, (x - mean) / std.
Others begin with a batch norm, which has kept the mean and variance of all that it saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import (
    Add,
    Affine,
    BatchNorm,
    Divide,
    Identity,
    Multiply,
    Parameter,
    Reshape,
    Subtract,
    Transpose,
)
from cnnviz.types import Array, Float64


class Recognized(NamedTuple):
    """The pixels that a network takes, and by what they are known.

    A pixel p from 0 to 1 is fed as (p - mean) / std; an empty mean is the usual one.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    reason: str


class Line(NamedTuple):
    """scale * x + offset, for each channel or for all."""

    scale: Float64
    offset: Float64

    def equals(self, other: Line) -> bool:
        """Whether both are the same to rounding."""
        return np.allclose(self.scale, other.scale) and np.allclose(self.offset, other.offset)


_UNCHANGED = Line(np.ones(1), np.zeros(1))


def recognize_scale(graph: Graph, parameters: Mapping[str, Array]) -> Recognized | None:
    """What a network's first operators say about its pixels; None if they say nothing.

    Args:
        graph: in inference form, or only its beginning.
        parameters: by name.
    """
    channels = graph.input_size[0]
    low, high = (
        _ahead(graph, parameters, np.full(graph.input_size, level, np.float64))
        for level in (0.0, 1.0)
    )
    lines, norms = [], []
    for value in _ends(graph, low):
        line = _line(low[value], high[value], channels)
        if line is None:
            return None
        lines.append(line)
        norms += [
            graph.nodes[reader]
            for reader in graph.consumers.get(value, ())
            if isinstance(graph.nodes[reader].operator, BatchNorm)
        ]
    first = lines[0] if lines else _UNCHANGED
    if not all(first.equals(line) for line in lines):
        return None
    if not first.equals(_UNCHANGED):
        return by_line(first, channels)
    return _by_norm(graph, norms[0], parameters) if len(norms) == 1 else None


def _ahead(graph: Graph, parameters: Mapping[str, Array], images: Float64) -> dict[Value, Float64]:
    """What becomes of images by operators of which a straight line remains a straight line."""
    known: dict[Value, Float64] = {graph.input: images}
    for index, node in enumerate(graph.nodes):
        run = _STRAIGHT.get(type(node.operator))
        dependent = [value in known for value in node.inputs]
        if run is None or not any(dependent):
            continue
        arrays = [known[value] if value in known else _stored(graph, parameters, value)
                  for value in node.inputs]  # fmt: skip
        if sum(dependent) == 1 and all(array is not None for array in arrays):
            known[Value(index)] = run(node.operator, *arrays)
    return known


def _stored(graph: Graph, parameters: Mapping[str, Array], value: Value) -> Float64 | None:
    node = graph.nodes[value.node]
    if not isinstance(node.operator, Parameter):
        return None
    return np.asarray(parameters[node.name], np.float64)


_STRAIGHT: Mapping[Any, Callable[..., Float64]] = {
    Add: lambda o, left, right: left + right,
    Affine: lambda o, x: o.scale * x + o.shift,
    Divide: lambda o, left, right: left / right,
    Identity: lambda o, x: x,
    Multiply: lambda o, left, right: left * right,
    Reshape: lambda o, x: x.reshape(o.size),
    Subtract: lambda o, left, right: left - right,
    Transpose: lambda o, x: x.transpose(o.axes),
}


def _ends(graph: Graph, known: Mapping[Value, Float64]) -> list[Value]:
    """The values that something else than a straight line reads, or that leave."""
    return [
        value
        for value in known
        if value == graph.output
        or any(Value(reader) not in known for reader in graph.consumers.get(value, ()))
    ]


def _line(low: Float64, high: Float64, channels: int) -> Line | None:
    """What became of 0 and of 1, if that is the same all over each channel."""
    if low.ndim != 3 or low.shape[0] != channels or not np.isfinite([low, high]).all():
        return None
    offset, scale = low, high - low
    if any(np.ptp(each, axis=(1, 2)).max() > 1e-6 * np.abs(each).max() for each in (offset, scale)):
        return None
    return Line(scale[:, 0, 0], offset[:, 0, 0])


def _by_norm(graph: Graph, norm: Node, parameters: Mapping[str, Array]) -> Recognized | None:
    mean, variance = (_stored(graph, parameters, value) for value in norm.inputs[3:5])
    if mean is None or variance is None:
        return None
    return by_statistics(norm.name, mean, variance, graph.input_size[0])


def by_line(line: Line, channels: int) -> Recognized | None:
    """What a network that computes this of its pixels takes."""
    scale, offset = (np.broadcast_to(one, channels) for one in line)
    if (scale == 0).any():
        return None
    subtracted = -offset / scale
    said = f"it computes (x - {_text(subtracted)}) * {_text(scale)} itself"
    nothing = np.allclose(subtracted, 0)
    if _within(subtracted, 1.5, 255) or (nothing and _within(abs(scale), 0, 1 / 50)):
        return _fed(channels, 1 / 255, f"{said}, so it takes pixels from 0 to 255")
    # Less than 1 is how torchvision's Inception turns what ImageNet's mean and std made.
    centered = _within(subtracted, 0.25, 0.75) and _within(scale, 0.99, np.inf)
    if centered or (nothing and _within(scale, 50, np.inf)):
        return _fed(channels, 1, f"{said}, so it takes pixels from 0 to 1")
    return None


def by_statistics(
    name: str, mean: npt.ArrayLike, variance: npt.ArrayLike, channels: int
) -> Recognized | None:
    """What the batch norm that a network begins with saw in training."""
    mean = np.asarray(mean, np.float64).reshape(-1)
    deviation = np.sqrt(np.abs(np.asarray(variance, np.float64).reshape(-1)))
    if mean.size != channels or deviation.size != channels:
        return None
    said = (
        f"its first batch norm ({name}) has seen a mean of {_text(mean)} with a deviation of "
        f"{_text(deviation)}"
    )
    if _within(deviation, 20, 128) and _within(mean, 40, 215):
        return _fed(channels, 1 / 255, f"{said}, so it takes pixels from 0 to 255")
    if _within(deviation, 20, 128) and _within(mean, -30, 30) and channels == 3:
        less = f"{said}, so it takes pixels from 0 to 255 less their mean"
        return Recognized((), (1 / 255,) * 3, less)
    if _within(deviation, 0.1, 0.5) and _within(mean, 0.15, 0.85):
        return _fed(channels, 1, f"{said}, so it takes pixels from 0 to 1")
    return None


def _within(numbers: Float64, low: float, high: float) -> bool:
    return bool(((numbers > low) & (numbers < high)).all())


def _fed(channels: int, std: float, reason: str) -> Recognized:
    return Recognized((0.0,) * channels, (float(std),) * channels, reason)


def _text(numbers: Float64) -> str:
    """One number if all are the same, else each."""
    shown = [f"{number:.4g}" for number in np.unique(numbers)]
    return shown[0] if len(shown) == 1 else ",".join(f"{number:.4g}" for number in numbers)
