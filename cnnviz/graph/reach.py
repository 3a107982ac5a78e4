"""Which values the logits are read from at the image's places, and not at a class token alone.

Behind the last attention of a vision transformer only the class token's row leads on: the other
tokens are still there, but what they hold changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from cnnviz.graph.axes import REDUCTIONS, Axes, entries_taken, only_extra
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import (
    LSTM,
    Concat,
    Flatten,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
    MatMul,
    Opaque,
    Operator,
    Reshape,
    Slice,
    Softmax,
    Split,
    Take,
    Transpose,
)
from cnnviz.types import Shape

#: Of a value all is read; or, as a number, along this axis only what is no place in the image.
_ALL = -1


def unread_places(graph: Graph, axes: Mapping[Value, Axes]) -> frozenset[int]:
    """Nodes of which nothing at the image's places reaches the output.

    Args:
        graph: in inference form.
        axes: what :func:`cnnviz.graph.axes.find_axes` returned.
    """
    if not any(axis.has_extra for several in axes.values() for axis in several):
        return frozenset()
    read: dict[Value, int] = {graph.output: _ALL}
    for index in reversed(graph.layers):
        node = graph.nodes[index]
        for output in range(len(graph.shapes[index])):
            at = Value(index, output)
            if at not in read:
                continue
            for number, value in enumerate(node.inputs):
                if value in axes:
                    needed = _read_of(graph, axes, node, number, at, read[at])
                    if needed is not None:
                        before = read.get(value, needed)
                        read[value] = needed if needed == before else _ALL
    return frozenset(index for index in graph.layers if read.get(Value(index)) != _ALL)


def _read_of(
    graph: Graph, axes: Mapping[Value, Axes], node: Node, number: int, at: Value, needed: int
) -> int | None:
    """What is read of an input if this is read of an output; None if nothing is."""
    operator, data, behind = node.operator, axes[node.inputs[number]], axes[at]
    if isinstance(operator, (Slice, Split, Take)):
        parts = entries_taken(operator, at.output, data)
        for place, (whole, entries) in enumerate(zip(data, parts, strict=True)):
            if only_extra(whole, entries):
                return place
        return needed if needed == _ALL or data[needed].has_extra else _ALL
    if needed == _ALL:
        return _ALL
    if isinstance(operator, Concat) and operator.axis == needed:
        if not data[needed].is_placed:
            return _ALL
        return needed if data[needed].has_extra else None
    source = _axis_before(
        operator, number, needed, graph.shape(node.inputs[number]), graph.shape(at)
    )
    return _ALL if source is None or data[source] != behind[needed] else source


def _axis_before(
    operator: Operator, number: int, place: int, data: Shape, behind: Shape
) -> int | None:
    """The axis of an input along which an axis of the output goes, entry by entry; None if none."""
    if isinstance(operator, Transpose):
        return operator.axes[place]
    if isinstance(operator, (Reshape, Flatten)):
        faster = math.prod(behind[place + 1 :])
        same = (i for i in range(len(data)) if math.prod(data[i + 1 :]) == faster)
        return next((i for i in same if data[i] == behind[place]), None)
    if isinstance(operator, REDUCTIONS):
        kept = [i for i in range(len(data)) if operator.keep_axes or i not in operator.axes]
        return kept[place]
    mixed = _mixed_axes(operator, number, len(behind))
    source = place + len(data) - len(behind)
    if mixed is None or place in mixed or source < 0 or data[source] != behind[place]:
        return None
    return source


def _mixed_axes(operator: Operator, number: int, rank: int) -> frozenset[int] | None:
    """The axes of which an output's entries are made of several; None if that may be all."""
    if isinstance(operator, (InstanceNorm, GroupNorm, Opaque)):
        return None
    if operator.has("convolves") or operator.has("rearranges"):
        return None
    mixed: tuple[int, ...] = ()
    if isinstance(operator, Linear):
        mixed = tuple(range(rank)) if operator.flatten else (-1,)
    elif isinstance(operator, MatMul):
        mixed = (-2,) if number else (-1,)
    elif isinstance(operator, LSTM):
        mixed = (-2, -1)
    elif isinstance(operator, Softmax):
        mixed = (operator.axis,)
    elif isinstance(operator, LayerNorm):
        mixed = operator.axes
    return frozenset(axis % rank for axis in mixed)
