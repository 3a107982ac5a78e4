"""What pixels a network was trained on, where it says so itself by its first operators.

Many networks bring pixels to their scale themselves: (x - 127.5) / 128, x / 255, (x - mean) / std.
Others begin with a batch norm, which has kept the mean and variance of all that it saw.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cnnviz.engines.mxnet.symbol import Entry, Graph, Node
from cnnviz.importers.mxnet_element_wise import Lookup, element_wise

_Vector = npt.NDArray[np.float64]

#: Of these operators a straight line remains a straight line.
_STRAIGHT = {
    *("broadcast_add", "broadcast_sub", "broadcast_mul", "broadcast_div"),
    *("elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div"),
    *("_npi_add", "_npi_subtract", "_npi_multiply", "_npi_true_divide"),
    *("_plus_scalar", "_minus_scalar", "_rminus_scalar", "_mul_scalar", "_div_scalar"),
    *("_npi_add_scalar", "_npi_subtract_scalar", "_npi_rsubtract_scalar"),
    *("_npi_multiply_scalar", "_npi_true_divide_scalar", "negative", "_npi_negative"),
}
#: These change no number.
_SAME = {"BlockGrad", "Cast", "Crop", "_copy", "amp_cast", "slice", "slice_axis"}
_NORMALIZE = {"_image_normalize", "_npx__image_normalize"}


class Recognized(NamedTuple):
    """The pixels that a network takes, and by what they are known.

    A pixel p from 0 to 1 is fed as (p - mean) / std; an empty mean is the usual one.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    reason: str


class _Line(NamedTuple):
    """scale * x + offset, for each channel or for all."""

    scale: _Vector
    offset: _Vector


def recognize_scale(graph: Graph, data: str, channels: int, values: Lookup) -> Recognized | None:
    """What a network's first operators say about its pixels; None if they say nothing.

    Args:
        graph: in inference form.
        data: the name of its input.
        channels: of the image.
        values: of the graph's variables, where they are known.
    """
    entry = next(Entry(i) for i, node in enumerate(graph.nodes) if node.name == data)
    start = _Line(np.ones(1), np.zeros(1))
    ends = list(_ends(graph, graph.consumers(), entry, start, values, channels))
    (line, _), *others = ends or [(start, graph.nodes[0])]
    if any(not _equal(line, other) for other, _ in others):
        return None
    if _equal(line, start):
        norms = [node for _, node in ends if node.op.startswith("BatchNorm")]
        return _by_statistics(graph, norms[0], channels, values) if len(norms) == 1 else None
    return _by_line(line, channels)


def _ends(
    graph: Graph,
    readers: Mapping[Entry, tuple[int, ...]],
    entry: Entry,
    line: _Line,
    values: Lookup,
    channels: int,
) -> Iterator[tuple[_Line, Node]]:
    """What has become of the pixels where the network begins in earnest, and the node there."""
    for index in readers.get(entry, ()):
        node = graph.nodes[index]
        after = line if node.op in _SAME else _after(graph, node, entry, line, values, channels)
        if after is None:
            yield line, node
        else:
            yield from _ends(graph, readers, Entry(index), after, values, channels)


def _after(
    graph: Graph, node: Node, entry: Entry, line: _Line, values: Lookup, channels: int
) -> _Line | None:
    if node.op in _NORMALIZE:
        mean, std = (
            _numbers(node.attrs.get(key, usual)) for key, usual in (("mean", "0"), ("std", "1"))
        )
        return _Line(line.scale / std, (line.offset - mean) / std)
    operator = element_wise(node) if node.op in _STRAIGHT else None
    if operator is None:
        return None
    others: list[_Vector] = []
    for source in node.inputs:
        if source == entry:
            continue
        variable = graph.nodes[source.node]
        array = values(variable.name) if variable.is_variable else None
        if array is None or array.size not in (1, channels):
            return None
        others.append(np.asarray(array, np.float64).reshape(-1))

    def at(x: _Vector) -> _Vector:
        rest = iter(others)
        return np.asarray(operator(*(x if e == entry else next(rest) for e in node.inputs)))

    zero = at(line.offset)
    one = at(line.offset + line.scale)
    return _Line(one - zero, zero)


def _by_line(line: _Line, channels: int) -> Recognized | None:
    scale, offset = (np.broadcast_to(one, channels) for one in line)
    if (scale == 0).any():
        return None
    subtracted = -offset / scale
    said = f"it computes (x - {_text(subtracted)}) * {_text(scale)} itself"
    nothing = np.allclose(subtracted, 0)
    if _within(subtracted, 1.5, 255) or (nothing and _within(abs(scale), 0, 1 / 50)):
        return _fed(channels, 1 / 255, f"{said}, so it takes pixels from 0 to 255")
    # Less than 1 is how torchvision's Inception turns what ImageNet's mean and std made.
    centerd = _within(subtracted, 0.25, 0.75) and _within(scale, 0.99, np.inf)
    if centerd or (nothing and _within(scale, 50, np.inf)):
        return _fed(channels, 1, f"{said}, so it takes pixels from 0 to 1")
    return None


def _by_statistics(graph: Graph, norm: Node, channels: int, values: Lookup) -> Recognized | None:
    """What the batch norm that a network begins with saw in training."""
    kept = [values(graph.nodes[entry.node].name) for entry in norm.inputs[3:5]]
    if len(kept) != 2 or any(array is None or array.size != channels for array in kept):
        return None
    mean = np.asarray(kept[0], np.float64).reshape(-1)
    deviation = np.sqrt(np.abs(np.asarray(kept[1], np.float64).reshape(-1)))
    said = (
        f"its first batch norm ({norm.name}) has seen a mean of {_text(mean)} with a deviation of "
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


def _within(numbers: _Vector, low: float, high: float) -> bool:
    return bool(((numbers > low) & (numbers < high)).all())


def _fed(channels: int, std: float, reason: str) -> Recognized:
    return Recognized((0.0,) * channels, (float(std),) * channels, reason)


def _equal(one: _Line, other: _Line) -> bool:
    return np.allclose(one.scale, other.scale) and np.allclose(one.offset, other.offset)


def _numbers(text: str) -> Any:
    try:
        return np.asarray(ast.literal_eval(text), np.float64)
    except (ValueError, SyntaxError):
        return np.float64("nan")


def _text(numbers: _Vector) -> str:
    """One number if all are the same, else each."""
    shown = [f"{number:.4g}" for number in np.unique(numbers)]
    return shown[0] if len(shown) == 1 else ",".join(f"{number:.4g}" for number in numbers)
