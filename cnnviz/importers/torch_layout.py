"""PyTorch's operators that rearrange, cut, join and copy, and those that ask for a shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.importers import tensor_shapes as shapes
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    reshape,
    transpose,
    whole_axis,
)
from cnnviz.importers.torch_table import Table, pair

LAYOUT = Table()


@LAYOUT.named(
    "alias",
    "clone",
    "contiguous",
    "detach",
    "dropout",
    "feature_dropout",
    "identity",
    "lift_fresh",
    "lift_fresh_copy",
    "alpha_dropout",
    "feature_alpha_dropout",
    "native_dropout",
    "requires_grad_",
    "positive",
    "fill_diagonal",
)
def _same(graph: TensorGraph, x: Tensor, *_how: Any, **_more: Any) -> Tensor:
    """What changes nothing when a network is used."""
    return Tensor(x.value, x.shape, x.omitted)


@LAYOUT.named("to", "_to_copy", "type_as", "float", "half", "bfloat16", "double", "_autocast")
def _cast(graph: TensorGraph, x: Tensor, *how: Any, **more: Any) -> Tensor:
    """Everything is computed in float32; what is rounded to whole numbers has no gradient."""
    for one in (*how, *more.values()):
        if "torch.int" in str(one) or "torch.uint" in str(one) or "torch.bool" in str(one):
            raise NetworkError(f"a value that depends on the images becomes {one}")
    return _same(graph, x)


@LAYOUT.named("view", "reshape", "_unsafe_view", "view_copy", "_reshape_alias", "reshape_as")
def _view(graph: TensorGraph, x: Tensor, shape: Any, *_strides: Any) -> Tensor:
    return reshape(graph, x, shape.shape if isinstance(shape, (Tensor, Constant)) else shape)


@LAYOUT.named("flatten")
def _flatten(graph: TensorGraph, x: Tensor, start: int = 0, end: int = -1, **how: int) -> Tensor:
    rank = len(x.shape)
    start = whole_axis(how.get("start_dim", start), rank)
    end = whole_axis(how.get("end_dim", end), rank)
    middle = math.prod(x.shape[start : end + 1])
    return reshape(graph, x, (*x.shape[:start], middle, *x.shape[end + 1 :]))


@LAYOUT.named("unflatten")
def _unflatten(graph: TensorGraph, x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    axis = whole_axis(dim, len(x.shape))
    sizes = list(sizes)
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.shape[axis] // -math.prod(sizes)
    return reshape(graph, x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


@LAYOUT.named("permute", "permute_copy")
def _permute(graph: TensorGraph, x: Tensor, dims: Sequence[int]) -> Tensor:
    return transpose(graph, x, dims)


@LAYOUT.named("transpose", "swapaxes", "swapdims", "transpose_copy")
def _transpose(graph: TensorGraph, x: Tensor, first: int, second: int) -> Tensor:
    order = list(range(len(x.shape)))
    order[first], order[second] = order[second], order[first]
    return transpose(graph, x, order)


@LAYOUT.named("t", "numpy_T", "mT", "adjoint")
def _t(graph: TensorGraph, x: Tensor) -> Tensor:
    return _transpose(graph, x, -2, -1) if len(x.shape) > 1 else x


@LAYOUT.named("movedim")
def _movedim(graph: TensorGraph, x: Tensor, source: Any, target: Any) -> Tensor:
    rank = len(x.shape)
    sources = [whole_axis(axis, rank) for axis in _list(source)]
    targets = [whole_axis(axis, rank) for axis in _list(target)]
    order = [axis for axis in range(rank) if axis not in sources]
    for place, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(place, axis)
    return transpose(graph, x, order)


@LAYOUT.named("squeeze", "squeeze_copy")
def _squeeze(graph: TensorGraph, x: Tensor, dim: Any = None) -> Tensor:
    axes = range(len(x.shape)) if dim is None else _list(dim)
    gone = [axis for axis in axes if x.shape[axis] == 1]
    return shapes.squeezed(graph, x, gone)


@LAYOUT.named("unsqueeze", "unsqueeze_copy")
def _unsqueeze(graph: TensorGraph, x: Tensor, dim: int) -> Tensor:
    return shapes.unsqueezed(graph, x, [dim])


@LAYOUT.named("expand", "expand_copy")
def _expand(graph: TensorGraph, x: Tensor, size: Sequence[int], **_how: bool) -> Tensor:
    return shapes.expanded(graph, x, [1 if one == -1 else one for one in size])


@LAYOUT.named("expand_as")
def _expand_as(graph: TensorGraph, x: Operand, other: Operand) -> Operand:
    if isinstance(x, Constant):
        return Constant(np.broadcast_to(x.array, other.shape), x.name)
    return shapes.expanded(graph, x, other.shape)


@LAYOUT.named("repeat", "tile")
def _repeat(graph: TensorGraph, x: Tensor, repeats: Sequence[int]) -> Tensor:
    more = max(len(repeats) - len(x.shape), 0)
    x = reshape(graph, x, (1,) * more + x.shape)
    return shapes.tiled(graph, x, [1] * (len(x.shape) - len(repeats)) + list(repeats))


@LAYOUT.named("repeat_interleave")
def _repeat_interleave(
    graph: TensorGraph, x: Tensor, repeats: int, dim: int | None = None, **_how: Any
) -> Tensor:
    if dim is None:
        x, dim = reshape(graph, x, (-1,)), 0
    places = [place for place in range(x.shape[dim]) for _ in range(repeats)]
    return shapes.taken(graph, x, dim, places)


# --- what joins and cuts -------------------------------------------------------------------------


@LAYOUT.named("cat", "concat", "concatenate")
def _cat(graph: TensorGraph, parts: Sequence[Operand], dim: int = 0) -> Tensor:
    # PyTorch takes an empty vector for nothing at all, whatever the others are.
    return shapes.concat(graph, [part for part in parts if part.shape != (0,)], dim)


@LAYOUT.named("stack")
def _stack(graph: TensorGraph, parts: Sequence[Operand], dim: int = 0) -> Tensor:
    axis = whole_axis(dim, len(parts[0].shape) + 1)
    rows = [
        Constant(np.expand_dims(part.array, axis), part.name)
        if isinstance(part, Constant)
        else shapes.unsqueezed(graph, part, [axis])
        for part in parts
    ]
    return shapes.concat(graph, rows, axis)


@LAYOUT.named("select", "select_copy")
def _select(graph: TensorGraph, x: Tensor, dim: int, index: int) -> Tensor:
    return shapes.squeezed(graph, shapes.taken(graph, x, dim, [index]), [dim])


@LAYOUT.named("slice", "slice_copy")
def _slice(
    graph: TensorGraph,
    x: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    axis = whole_axis(dim, len(x.shape))
    places = range(x.shape[axis])[slice(start, end, step)]
    return shapes.taken(graph, x, axis, list(places))


@LAYOUT.named("narrow", "narrow_copy")
def _narrow(graph: TensorGraph, x: Tensor, dim: int, start: int, length: int) -> Tensor:
    return _slice(graph, x, dim, start, start + length)


@LAYOUT.named("split", "split_with_sizes", "unsafe_split", "split_copy", "split_with_sizes_copy")
def _split(graph: TensorGraph, x: Tensor, sizes: int | Sequence[int], dim: int = 0) -> list[Tensor]:
    if isinstance(sizes, int):
        whole = x.shape[dim]
        sizes = [min(sizes, whole - begin) for begin in range(0, whole, sizes)]
    return shapes.split(graph, x, dim, sizes)


@LAYOUT.named("tensor_split")
def _tensor_split(graph: TensorGraph, x: Tensor, cuts: Any, dim: int = 0) -> list[Tensor]:
    whole = x.shape[dim]
    if isinstance(cuts, int):
        sizes = [whole // cuts + (part < whole % cuts) for part in range(cuts)]
    else:
        sizes = [end - begin for begin, end in itertools.pairwise((0, *cuts, whole))]
    return shapes.split(graph, x, dim, sizes)


@LAYOUT.named("chunk", "unsafe_chunk")
def _chunk(graph: TensorGraph, x: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    return _split(graph, x, -(-x.shape[dim] // chunks), dim)


@LAYOUT.named("unbind", "unbind_copy")
def _unbind(graph: TensorGraph, x: Tensor, dim: int = 0) -> list[Tensor]:
    parts = shapes.split(graph, x, dim, [1] * x.shape[dim])
    return [shapes.squeezed(graph, part, [dim]) for part in parts]


@LAYOUT.named("index_select")
def _index_select(graph: TensorGraph, x: Tensor, dim: int, index: Constant) -> Tensor:
    return shapes.gathered(graph, x, dim, _known(index).array)


@LAYOUT.named("index", "_unsafe_index")
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


@LAYOUT.named("roll")
def _roll(graph: TensorGraph, x: Tensor, shifts: Any, dims: Any = ()) -> Tensor:
    if not _list(dims):
        flat = shapes.rolled(graph, reshape(graph, x, (-1,)), _list(shifts), [0])
        return reshape(graph, flat, x.shape)
    return shapes.rolled(graph, x, _list(shifts), _list(dims))


@LAYOUT.named("flip")
def _flip(graph: TensorGraph, x: Tensor, dims: Sequence[int]) -> Tensor:
    for axis in dims:
        x = shapes.taken(graph, x, axis, list(reversed(range(x.shape[axis]))))
    return x


@LAYOUT.named("unfold")
def _unfold(graph: TensorGraph, x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Windows along an axis, whose places come last."""
    axis = whole_axis(dim, len(x.shape))
    begins = range(0, x.shape[axis] - size + 1, step)
    windows = np.array([[begin + place for place in range(size)] for begin in begins])
    found = shapes.gathered(graph, x, axis, windows)
    order = [one for one in range(len(found.shape)) if one != axis + 1]
    return transpose(graph, found, [*order, axis + 1])


@LAYOUT.named("im2col")
def _im2col(
    graph: TensorGraph, x: Tensor, kernel: Any, dilation: Any, padding: Any, stride: Any
) -> Tensor:
    """(1, C · kh · kw, places) of (1, C, h, w)."""
    rows, columns = pair(padding)
    x = shapes.padded(graph, x, [(0, 0), (0, 0), (rows, rows), (columns, columns)])
    for axis, size, apart, step in zip(
        (2, 4), pair(kernel), pair(dilation), pair(stride), strict=True
    ):
        begins = range(0, x.shape[axis] - apart * (size - 1), step)
        places = np.array([[begin + apart * k for begin in begins] for k in range(size)])
        x = shapes.gathered(graph, x, axis, places)
    batch, channels, height, down, width, across = x.shape
    turned = transpose(graph, x, (0, 1, 2, 4, 3, 5))
    return reshape(graph, turned, (batch, channels * height * width, down * across))


@LAYOUT.named("pixel_shuffle")
def _pixel_shuffle(graph: TensorGraph, x: Tensor, factor: int) -> Tensor:
    return shapes.depth_to_space(graph, x, factor, columns_first=True)


@LAYOUT.named("pixel_unshuffle")
def _pixel_unshuffle(graph: TensorGraph, x: Tensor, factor: int) -> Tensor:
    batch, channels, height, width = x.shape
    down, across = height // factor, width // factor
    apart = reshape(graph, x, (batch, channels, down, factor, across, factor))
    turned = transpose(graph, apart, (0, 1, 3, 5, 2, 4))
    return reshape(graph, turned, (batch, channels * factor**2, down, across))


@LAYOUT.named("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(graph: TensorGraph, x: Tensor, groups: int) -> Tensor:
    batch, channels, *rest = x.shape
    apart = reshape(graph, x, (batch, groups, channels // groups, *rest))
    order = [0, 2, 1, *range(3, len(apart.shape))]
    return reshape(graph, transpose(graph, apart, order), x.shape)


# --- padding -------------------------------------------------------------------------------------


_PADDING: dict[str, Literal["constant", "edge", "reflect", "wrap"]] = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


@LAYOUT.named("pad")
def _pad(
    graph: TensorGraph,
    x: Tensor,
    pads: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Tensor:
    """Pads are for the last axis first: (left, right, top, bottom)."""
    pairs = [(pads[place], pads[place + 1]) for place in range(0, len(pads), 2)]
    whole = [(0, 0)] * (len(x.shape) - len(pairs)) + pairs[::-1]
    return shapes.padded(graph, x, whole, _PADDING[mode], value or 0.0)


@LAYOUT.named("constant_pad_nd")
def _constant_pad(graph: TensorGraph, x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    return _pad(graph, x, pads, "constant", value)


@LAYOUT.named("reflection_pad1d", "reflection_pad2d")
def _reflection_pad(graph: TensorGraph, x: Tensor, pads: Sequence[int]) -> Tensor:
    return _pad(graph, x, pads, "reflect")


@LAYOUT.named("replication_pad1d", "replication_pad2d")
def _replication_pad(graph: TensorGraph, x: Tensor, pads: Sequence[int]) -> Tensor:
    return _pad(graph, x, pads, "replicate")


# --- parts that are written over ------------------------------------------------------------------


@LAYOUT.named("copy")
def _copy(graph: TensorGraph, x: Operand, source: Operand, *_how: bool) -> Operand:
    """All of a value is written over."""
    if isinstance(source, Constant):
        return Constant(np.broadcast_to(source.array, x.shape))
    return shapes.expanded(graph, source, x.shape)


@LAYOUT.named("slice_scatter")
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


@LAYOUT.named("select_scatter")
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


# --- shapes --------------------------------------------------------------------------------------


@LAYOUT.named("size", "sym_size")
def _size(graph: TensorGraph, x: Tensor, dim: int | None = None) -> Any:
    return list(x.shape) if dim is None else x.shape[dim]


@LAYOUT.named("zeros_like", "empty_like")
def _zeros_like(graph: TensorGraph, x: Tensor, **_how: Any) -> Constant:
    return Constant(np.zeros(x.shape, np.float32))


@LAYOUT.named("ones_like")
def _ones_like(graph: TensorGraph, x: Tensor, **_how: Any) -> Constant:
    return Constant(np.ones(x.shape, np.float32))


@LAYOUT.named("full_like")
def _full_like(graph: TensorGraph, x: Tensor, value: float, **_how: Any) -> Constant:
    return Constant(np.full(x.shape, value, np.float32))


@LAYOUT.named("new_zeros", "new_empty")
def _new_zeros(graph: TensorGraph, x: Tensor, size: Sequence[int], **_how: Any) -> Constant:
    return Constant(np.zeros(size, np.float32))


@LAYOUT.named("new_ones")
def _new_ones(graph: TensorGraph, x: Tensor, size: Sequence[int], **_how: Any) -> Constant:
    return Constant(np.ones(size, np.float32))


@LAYOUT.named("new_full")
def _new_full(
    graph: TensorGraph, x: Tensor, size: Sequence[int], value: float, **_how: Any
) -> Constant:
    return Constant(np.full(size, value, np.float32))


@LAYOUT.named("_assert_tensor_metadata")
def _checked(graph: TensorGraph, x: Tensor, *_how: Any, **_more: Any) -> None:
    """Shapes and types are checked here in any case."""


@LAYOUT.named("dim")
def _dim(graph: TensorGraph, x: Tensor) -> int:
    return len(x.shape)


@LAYOUT.named("numel", "sym_numel")
def _numel(graph: TensorGraph, x: Tensor) -> int:
    return math.prod(x.shape)


def _list(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def _known(index: Operand) -> Constant:
    if isinstance(index, Tensor):
        raise NetworkError("which values are taken depends on the images")
    return index
