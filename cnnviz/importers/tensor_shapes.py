"""What a program of tensors reduces, cuts, joins and rearranges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Value
from cnnviz.graph.operators import (
    Add,
    Concat,
    Exp,
    Expand,
    GlobalAvgPool2d,
    Log,
    Max,
    Mean,
    Min,
    Operator,
    Pad,
    Slice,
    Softmax,
    Split,
    Subtract,
    Sum,
    Take,
    Where,
)
from cnnviz.importers.tensor_arithmetic import arithmetic, elementwise, unary
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    channels_first,
    channels_last,
    formed,
    keeping,
    omitting,
    reshape,
    transpose,
    whole_axis,
    without,
)

#: Where the axes of (1, h, w, C) are in (1, C, h, w).
_FIRST = (0, 2, 3, 1)
_REDUCTIONS: dict[str, Any] = {"mean": Mean, "sum": Sum, "max": Max, "min": Min}


def reduced(
    graph: TensorGraph, x: Tensor, kind: str, axes: Sequence[int], *, keep_axes: bool
) -> Tensor:
    """One number of all along some axes.

    Args:
        graph: the graph.
        x: what is reduced.
        kind: ``mean``, ``sum``, ``max`` or ``min``.
        axes: of the whole shape.
        keep_axes: whether they stay, with the size 1.
    """
    wanted = {whole_axis(axis, len(x.shape)) for axis in axes}
    first = channels_first(graph, x)
    if first is not None:
        moved = [_FIRST[axis] for axis in wanted]
        found = channels_last(graph, reduced(graph, first, kind, moved, keep_axes=True))
        return found if keep_axes else squeezed(graph, found, sorted(wanted))
    kept = tuple(1 if axis in wanted else size for axis, size in enumerate(x.shape))
    inner = tuple(sorted(x.axis(axis) for axis in wanted if axis != x.omitted))
    found = Tensor(_reduction(graph, x, kind, inner), kept, x.omitted) if inner else x
    if keep_axes:
        return found
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in wanted)
    omitted = x.omitted
    if omitted is not None:
        omitted = None if omitted in wanted else omitted - sum(axis < omitted for axis in wanted)
    return formed(graph, found, shape, omitted)


def _reduction(graph: TensorGraph, x: Tensor, kind: str, axes: tuple[int, ...]) -> Value:
    shape = graph.shape_of(x.value)
    operator: Operator = _REDUCTIONS[kind](axes, keep_axes=True)
    if kind == "mean" and len(shape) == 3 and axes == (1, 2):
        operator = GlobalAvgPool2d()
    return graph.add(operator, x.value)


def log_sum_exp(graph: TensorGraph, x: Tensor, axes: Sequence[int], *, keep_axes: bool) -> Tensor:
    """log Σ exp x along axes, of what is above the highest, so that nothing overflows."""
    highest = reduced(graph, x, "max", axes, keep_axes=True)
    above = unary(graph, Exp(), arithmetic(graph, Subtract, x, highest))
    total = unary(graph, Log(), reduced(graph, above, "sum", axes, keep_axes=True))
    found = arithmetic(graph, Add, total, highest)
    return found if keep_axes else squeezed(graph, found, axes)


def softmax(graph: TensorGraph, x: Tensor, axis: int) -> Tensor:
    """Along an axis."""
    x = keeping(graph, x, [axis])
    return Tensor(graph.add(Softmax(x.axis(axis)), x.value), x.shape, x.omitted)


def concat(graph: TensorGraph, parts: Sequence[Operand], axis: int) -> Tensor:
    """Side by side along an axis; at least one part depends on the images, others may be empty."""
    first = next(part for part in parts if isinstance(part, Tensor))
    axis = whole_axis(axis, len(first.shape))
    parts = [part for part in parts if part.shape[axis]]
    if len(parts) == 1:
        return first
    turned = [channels_first(graph, part) for part in parts if isinstance(part, Tensor)]
    before = [part for part in turned if part is not None]
    if len(before) == len(parts):
        return channels_last(graph, concat(graph, before, _FIRST[axis]))
    first = keeping(graph, first, [axis])
    omitted = first.omitted
    values = []
    for part in parts:
        if isinstance(part, Tensor):
            values.append(omitting(graph, part, omitted).value)
        else:
            values.append(graph.parameter(part, without(part.shape, omitted)))
    size = sum(part.shape[axis] for part in parts)
    shape = (*first.shape[:axis], size, *first.shape[axis + 1 :])
    joined = Concat(axis if omitted is None or axis < omitted else axis - 1)
    return Tensor(graph.add(joined, *values), shape, omitted)


def part_of(
    graph: TensorGraph, x: Operand, axis: int, begin: int | None, end: int | None, step: int = 1
) -> Operand:
    """A part of an axis, as ``x[begin:end:step]``; an array without numbers if that is nothing."""
    axis = whole_axis(axis, len(x.shape))
    places = range(x.shape[axis])[begin:end:step]
    if isinstance(x, Constant):
        return Constant(np.take(x.array, list(places), axis))
    if not places:
        return Constant(np.zeros((*x.shape[:axis], 0, *x.shape[axis + 1 :]), np.float32))
    return taken(graph, x, axis, list(places))


def sliced(graph: TensorGraph, x: Tensor, axis: int, begin: int, end: int, step: int = 1) -> Tensor:
    """A part of an axis, as ``x[begin:end:step]``; negative places count from behind."""
    axis = whole_axis(axis, len(x.shape))
    places = range(x.shape[axis])[begin:end:step]
    return taken(graph, x, axis, list(places))


def taken(graph: TensorGraph, x: Tensor, axis: int, places: Sequence[int]) -> Tensor:
    """Some places of an axis, in this order, as ``numpy.take`` with a list."""
    axis = whole_axis(axis, len(x.shape))
    size = x.shape[axis]
    places = [place + size if place < 0 else place for place in places]
    if not places or not all(0 <= place < size for place in places):
        raise NetworkError(f"An axis of {size} has no places {list(places)[:5]}.")
    if list(places) == list(range(size)):
        return x
    x = keeping(graph, x, [axis])
    inner = x.axis(axis)
    step = places[1] - places[0] if len(places) > 1 else 1
    operator: Operator = Take(inner, tuple(places))
    if step > 0 and list(places) == list(range(places[0], places[-1] + 1, step)):
        sizes = graph.shape_of(x.value)
        begin, end, steps = [0] * len(sizes), list(sizes), [1] * len(sizes)
        begin[inner], end[inner], steps[inner] = places[0], places[-1] + 1, step
        operator = Slice(tuple(begin), tuple(end), tuple(steps))
    shape = (*x.shape[:axis], len(places), *x.shape[axis + 1 :])
    return Tensor(graph.add(operator, x.value), shape, x.omitted)


def gathered(
    graph: TensorGraph, x: Tensor, axis: int, indices: npt.NDArray[np.integer[Any]]
) -> Tensor:
    """As ``numpy.take`` with an array of indices, whose axes come in the place of the axis."""
    axis = whole_axis(axis, len(x.shape))
    if indices.ndim == 2 and np.array_equal(indices.T.ravel(), np.arange(x.shape[axis])):
        # Windows side by side, all first values first: nothing is picked.
        apart = (*x.shape[:axis], *indices.T.shape, *x.shape[axis + 1 :])
        order = [*range(axis), axis + 1, axis, *range(axis + 2, len(apart))]
        return transpose(graph, reshape(graph, x, apart), order)
    found = taken(graph, x, axis, [int(index) for index in indices.reshape(-1)])
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return reshape(graph, found, shape)


def split(graph: TensorGraph, x: Tensor, axis: int, sizes: Sequence[int]) -> list[Tensor]:
    """An axis cut into parts of these sizes."""
    axis = whole_axis(axis, len(x.shape))
    if sum(sizes) != x.shape[axis]:
        raise NetworkError(f"An axis of {x.shape[axis]} cannot be cut into {list(sizes)}.")
    if len(sizes) == 1:
        return [x]
    x = keeping(graph, x, [axis])
    cuts = tuple(itertools.accumulate(sizes[:-1]))
    value = graph.add(Split(x.axis(axis), cuts), x.value)
    return [
        Tensor(Value(value.node, place), (*x.shape[:axis], size, *x.shape[axis + 1 :]), x.omitted)
        for place, size in enumerate(sizes)
    ]


def padded(
    graph: TensorGraph,
    x: Tensor,
    pads: Sequence[tuple[int, int]],
    mode: Literal["constant", "edge", "reflect", "wrap"] = "constant",
    value: float = 0.0,
) -> Tensor:
    """More places before and after each axis; negative ones cut off."""
    for axis, (before, after) in enumerate(pads):
        if before < 0 or after < 0:
            x = sliced(graph, x, axis, max(-before, 0), x.shape[axis] + min(after, 0))
    wanted = [(max(before, 0), max(after, 0)) for before, after in pads]
    if not any(map(any, wanted)):
        return x
    first = channels_first(graph, x)
    if first is not None:
        around = [wanted[axis] for axis in (0, 3, 1, 2)]
        return channels_last(graph, padded(graph, first, around, mode, value))
    x = keeping(graph, x, [axis for axis, pair in enumerate(wanted) if any(pair)])
    inner = tuple(pair for axis, pair in enumerate(wanted) if axis != x.omitted)
    shape = tuple(size + sum(pair) for size, pair in zip(x.shape, wanted, strict=True))
    return Tensor(graph.add(Pad(inner, mode, value), x.value), shape, x.omitted)


def expanded(graph: TensorGraph, x: Tensor, shape: Sequence[int]) -> Tensor:
    """Stretched as by ``numpy.broadcast_to``, or by less: a size of 1 leaves an axis as it is."""
    whole = np.broadcast_shapes(x.shape, tuple(shape))
    if len(whole) > len(x.shape):
        x = formed(graph, x, (1,) * (len(whole) - len(x.shape)) + x.shape, None)
    if x.shape == whole:
        return x
    grown = [axis for axis, size in enumerate(whole) if x.shape[axis] != size]
    x = keeping(graph, x, grown)
    return Tensor(graph.add(Expand(without(whole, x.omitted)), x.value), whole, x.omitted)


def tiled(graph: TensorGraph, x: Tensor, repeats: Sequence[int]) -> Tensor:
    """The whole repeated along each axis, as ``numpy.tile`` with as many numbers as axes."""
    for axis, count in enumerate(repeats):
        if count != 1:
            x = concat(graph, [x] * count, axis)
    return x


def where(graph: TensorGraph, condition: Constant, left: Operand, right: Operand) -> Tensor:
    """The left where a stored condition holds, else the right."""
    mask = Constant(condition.array != 0, condition.name)
    return elementwise(graph, Where(), mask, left, right)


def rolled(graph: TensorGraph, x: Tensor, shifts: Sequence[int], axes: Sequence[int]) -> Tensor:
    """Shifted around each axis, as ``numpy.roll``."""
    for shift, axis in zip(shifts, axes, strict=True):
        size = x.shape[axis]
        if shift % size:
            cut = size - shift % size
            parts = [sliced(graph, x, axis, cut, size), sliced(graph, x, axis, 0, cut)]
            x = concat(graph, parts, axis)
    return x


def depth_to_space(graph: TensorGraph, x: Tensor, block: int, *, columns_first: bool) -> Tensor:
    """Channels laid out as blocks of pixels; ``columns_first`` as ONNX's CRD and PyTorch."""
    batch, channels, height, width = x.shape
    depth = channels // block**2
    if columns_first:
        apart = reshape(graph, x, (batch, depth, block, block, height, width))
        order = (0, 1, 4, 2, 5, 3)
    else:
        apart = reshape(graph, x, (batch, block, block, depth, height, width))
        order = (0, 3, 4, 1, 5, 2)
    laid = transpose(graph, apart, order)
    return reshape(graph, laid, (batch, depth, height * block, width * block))


def space_to_depth(graph: TensorGraph, x: Tensor, block: int, *, columns_first: bool) -> Tensor:
    """Blocks of pixels as channels; ``columns_first`` as PyTorch, undoing CRD, else as ONNX."""
    batch, channels, height, width = x.shape
    down, across = height // block, width // block
    apart = reshape(graph, x, (batch, channels, down, block, across, block))
    order = (0, 1, 3, 5, 2, 4) if columns_first else (0, 3, 5, 1, 2, 4)
    laid = transpose(graph, apart, order)
    return reshape(graph, laid, (batch, channels * block**2, down, across))


def squeezed(graph: TensorGraph, x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Without some axes of size 1; None for all of them."""
    rank = len(x.shape)
    gone = (
        {axis for axis, size in enumerate(x.shape) if size == 1}
        if axes is None
        else {whole_axis(axis, rank) for axis in axes}
    )
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in gone)
    if math.prod(shape) != math.prod(x.shape):
        raise NetworkError(f"A value of {x.shape} has no axes of size 1 at {sorted(gone)}.")
    omitted = x.omitted
    if omitted is not None:
        omitted = None if omitted in gone else omitted - sum(axis < omitted for axis in gone)
    return formed(graph, x, shape, omitted)


def unsqueezed(graph: TensorGraph, x: Tensor, axes: Sequence[int]) -> Tensor:
    """With more axes of size 1, at these places of the result."""
    rank = len(x.shape) + len(axes)
    new = {whole_axis(axis, rank) for axis in axes}
    sizes = iter(enumerate(x.shape))
    shape, omitted = [], None
    for axis in range(rank):
        if axis in new:
            shape.append(1)
            continue
        before, size = next(sizes)
        if before == x.omitted:
            omitted = axis
        shape.append(size)
    return formed(graph, x, tuple(shape), omitted)
