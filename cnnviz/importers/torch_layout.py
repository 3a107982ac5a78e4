"""PyTorch's operators that rearrange, repeat, pad and copy, and those that ask for a shape."""

from __future__ import annotations

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
from cnnviz.importers.torch_table import Table

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
    "requires_grad_",
    "positive",
)
def _same(graph: TensorGraph, x: Tensor, *_how: Any, **_more: Any) -> Tensor:
    """What changes nothing when a network is used."""
    return Tensor(x.value, x.shape, x.omitted)


@LAYOUT.named("native_dropout")
def _dropout_and_mask(graph: TensorGraph, x: Tensor, *_how: Any) -> list[Tensor | None]:
    return [_same(graph, x), None]


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


@LAYOUT.named("pixel_shuffle")
def _pixel_shuffle(graph: TensorGraph, x: Tensor, factor: int) -> Tensor:
    return shapes.depth_to_space(graph, x, factor, columns_first=True)


@LAYOUT.named("pixel_unshuffle")
def _pixel_unshuffle(graph: TensorGraph, x: Tensor, factor: int) -> Tensor:
    return shapes.space_to_depth(graph, x, factor, columns_first=True)


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
