"""PyTorch's operators that join values, take parts of them, and write parts over."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.importers import tensor_shapes as shapes
from cnnviz.importers.tensors import Constant, Operand, Tensor, TensorGraph, reshape, whole_axis
from cnnviz.importers.torch_table import Table

PARTS = Table()


@PARTS.named("cat", "concat", "concatenate")
def _cat(graph: TensorGraph, parts: Sequence[Operand], dim: int = 0) -> Tensor:
    # PyTorch takes an empty vector for nothing at all, whatever the others are.
    return shapes.concat(graph, [part for part in parts if part.shape != (0,)], dim)


@PARTS.named("stack")
def _stack(graph: TensorGraph, parts: Sequence[Operand], dim: int = 0) -> Tensor:
    axis = whole_axis(dim, len(parts[0].shape) + 1)
    rows = [
        Constant(np.expand_dims(part.array, axis), part.name)
        if isinstance(part, Constant)
        else shapes.unsqueezed(graph, part, [axis])
        for part in parts
    ]
    return shapes.concat(graph, rows, axis)


@PARTS.named("select", "select_copy")
def _select(graph: TensorGraph, x: Tensor, dim: int, index: int) -> Tensor:
    return shapes.squeezed(graph, shapes.taken(graph, x, dim, [index]), [dim])


@PARTS.named("slice", "slice_copy")
def _slice(
    graph: TensorGraph,
    x: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Operand:
    return shapes.part_of(graph, x, dim, start, end, step)


@PARTS.named("narrow", "narrow_copy")
def _narrow(graph: TensorGraph, x: Tensor, dim: int, start: int, length: int) -> Operand:
    return _slice(graph, x, dim, start, start + length)


@PARTS.named("split", "split_with_sizes", "unsafe_split", "split_copy", "split_with_sizes_copy")
def _split(graph: TensorGraph, x: Tensor, sizes: int | Sequence[int], dim: int = 0) -> list[Tensor]:
    if isinstance(sizes, int):
        whole = x.shape[dim]
        sizes = [min(sizes, whole - begin) for begin in range(0, whole, sizes)]
    return shapes.split(graph, x, dim, sizes)


@PARTS.named("tensor_split")
def _tensor_split(graph: TensorGraph, x: Tensor, cuts: Any, dim: int = 0) -> list[Tensor]:
    whole = x.shape[dim]
    if isinstance(cuts, int):
        sizes = [whole // cuts + (part < whole % cuts) for part in range(cuts)]
    else:
        sizes = [end - begin for begin, end in itertools.pairwise((0, *cuts, whole))]
    return shapes.split(graph, x, dim, sizes)


@PARTS.named("chunk", "unsafe_chunk")
def _chunk(graph: TensorGraph, x: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    return _split(graph, x, -(-x.shape[dim] // chunks), dim)


@PARTS.named("unbind", "unbind_copy")
def _unbind(graph: TensorGraph, x: Tensor, dim: int = 0) -> list[Tensor]:
    parts = shapes.split(graph, x, dim, [1] * x.shape[dim])
    return [shapes.squeezed(graph, part, [dim]) for part in parts]


@PARTS.named("index_select")
def _index_select(graph: TensorGraph, x: Tensor, dim: int, index: Constant) -> Tensor:
    return shapes.gathered(graph, x, dim, _known(index).array)


@PARTS.named("index", "_unsafe_index")
def _index(graph: TensorGraph, x: Operand, indices: Sequence[Operand | None]) -> Tensor:
    """As NumPy's ``x[indices]`` with arrays, and None for ``:``."""
    if isinstance(x, Constant):
        raise NetworkError("which stored values are taken depends on the images")
    arrays: list[tuple[int, Any]] = []
    axis = 0
    for one in indices:
        if one is None:
            axis += 1
        elif (known := _known(one).array).dtype == bool:
            arrays.extend((axis + more, places) for more, places in enumerate(known.nonzero()))
            axis += known.ndim
        else:
            arrays.append((axis, known))
            axis += 1
    axes = [axis for axis, _ in arrays]
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise NetworkError("axes that do not stand side by side are indexed together")
    sizes = [x.shape[axis] for axis in axes]
    positive = [np.where(a < 0, a + x.shape[axis], a) for axis, a in arrays]
    places = np.broadcast_arrays(*positive)
    flat = np.ravel_multi_index(tuple(places), sizes)
    first = axes[0]
    rows = reshape(graph, x, (*x.shape[:first], math.prod(sizes), *x.shape[axes[-1] + 1 :]))
    return shapes.gathered(graph, rows, first, flat)


# --- parts that are written over ------------------------------------------------------------------


@PARTS.named("copy")
def _copy(graph: TensorGraph, x: Operand, source: Operand, *_how: bool) -> Operand:
    """All of a value is written over."""
    if isinstance(source, Constant):
        return Constant(np.broadcast_to(source.array, x.shape))
    return shapes.expanded(graph, source, x.shape)


@PARTS.named("slice_scatter")
def _slice_scatter(
    graph: TensorGraph,
    x: Operand,
    source: Operand,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Operand:
    axis = whole_axis(dim, len(x.shape))
    places = list(range(x.shape[axis])[slice(start, end, step)])
    return _written(graph, x, source, axis, places)


@PARTS.named("select_scatter")
def _select_scatter(
    graph: TensorGraph, x: Operand, source: Operand, dim: int, index: int
) -> Operand:
    axis = whole_axis(dim, len(x.shape))
    row = (
        Constant(np.expand_dims(source.array, axis))
        if isinstance(source, Constant)
        else shapes.unsqueezed(graph, source, [axis])
    )
    return _written(graph, x, row, axis, [index % x.shape[axis]])


def _written(
    graph: TensorGraph, x: Operand, source: Operand, axis: int, places: Sequence[int]
) -> Operand:
    """Some places of an axis written over: all others, and these, in the order of the whole."""
    size = x.shape[axis]
    if list(places) == list(range(size)):
        return source
    others = [place for place in range(size) if place not in set(places)]
    kept: Operand = (
        Constant(x.array.take(others, axis))
        if isinstance(x, Constant)
        else shapes.taken(graph, x, axis, others)
    )
    joined = shapes.concat(graph, [kept, source], axis)
    now = [*others, *places]
    return shapes.taken(graph, joined, axis, [now.index(place) for place in range(size)])


def _known(index: Operand) -> Constant:
    if isinstance(index, Tensor):
        raise NetworkError("which values are taken depends on the images")
    return index
