"""ONNX's operators that reduce, cut, join and rearrange."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import Abs, Log, Operator, Power
from cnnviz.importers.onnx_step import Given, Rule, Step
from cnnviz.importers.tensor_arithmetic import unary
from cnnviz.importers.tensor_products import einsum
from cnnviz.importers.tensor_shapes import (
    concat,
    expanded,
    gathered,
    log_sum_exp,
    part_of,
    reduced,
    softmax,
    split,
    squeezed,
    taken,
    tiled,
    unsqueezed,
)
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    reshape,
    transpose,
    whole_axis,
)
from cnnviz.types import Array, Shape

#: Numbers that are put into their places one by one.
_MOST_PLACES = 2**21


def _shape(step: Step) -> Operand:
    shape = step.operand(0).shape
    end = step.attributes.get("end")
    return Constant(np.asarray(shape[step.integer("start", 0) : end], np.int64))


def _size(step: Step) -> Operand:
    return Constant(np.asarray(math.prod(step.operand(0).shape), np.int64))


def _reshape(step: Step) -> Operand:
    x = step.tensor()
    wanted = list(step.needed("shape", 1))
    if not step.integer("allowzero", 0):
        for axis, size in enumerate(wanted):
            if size == 0:
                if axis >= len(x.shape):
                    raise NetworkError(f"it keeps axis {axis} of a value of {x.shape}")
                wanted[axis] = x.shape[axis]
    return reshape(step.graph, x, _of_one_image(step, x, wanted))


def _of_one_image(step: Step, x: Tensor, shape: list[int]) -> list[int]:
    """A shape that was written for a batch, for one image.

    Images lie one behind the other, so that the first axis that is more than 1 counts them, or
    parts of each; or it is the one that is left open.
    """
    if step.batch == 1 or not any(size > 1 for size in shape):
        return shape
    place, first = next((place, size) for place, size in enumerate(shape) if size != 1)
    if x.omitted != 0 or (first != -1 and first % step.batch):
        raise NetworkError(
            f"the file was made for batches of {step.batch} images, and what it does to one cannot "
            "be told from that: export the network for one image, or any number"
        )
    if first != -1:
        shape[place] = first // step.batch
    return shape


def _flatten(step: Step) -> Operand:
    x = step.tensor()
    axis = step.integer("axis", 1)
    if axis < 0:
        axis += len(x.shape)
    return reshape(step.graph, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _transpose(step: Step) -> Operand:
    x = step.tensor()
    order = step.integers("perm") or tuple(reversed(range(len(x.shape))))
    if sorted(order) != list(range(len(x.shape))):
        raise NetworkError(f"it puts {len(x.shape)} axes into the order {order}")
    return transpose(step.graph, x, order)


def _squeeze(step: Step) -> Operand:
    return squeezed(step.graph, step.tensor(), step.integers("axes", 1))


def _unsqueeze(step: Step) -> Operand:
    return unsqueezed(step.graph, step.tensor(), step.needed("axes", 1))


def _concat(step: Step) -> Operand:
    parts = [step.operand(place) for place in range(len(step.inputs))]
    return concat(step.graph, parts, step.integer("axis", 1))


def _split(step: Step) -> Given:
    x = step.tensor()
    axis = whole_axis(step.integer("axis", 0), len(x.shape))
    size = x.shape[axis]
    sizes = step.integers("split", 1)
    if sizes is None:
        count = step.integer("num_outputs", step.outputs)
        part = -(-size // max(count, 1))
        sizes = tuple(max(0, min(part, size - place * part)) for place in range(count))
    if any(each < 1 for each in sizes):
        raise NetworkError(f"it cuts an axis of {size} into {sizes}")
    return split(step.graph, x, axis, sizes)


def _slice(step: Step) -> Operand:
    x: Operand = step.tensor()
    begins, ends = step.needed("starts", 1), step.needed("ends", 2)
    axes = step.integers("axes", 3) or tuple(range(len(begins)))
    steps = step.integers("steps", 4) or (1,) * len(begins)
    if not len(begins) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise NetworkError("its starts, ends, axes and steps do not fit together")
    for axis, begin, end, stride in zip(axes, begins, ends, steps, strict=True):
        x = part_of(step.graph, x, axis, begin, end, stride)
    return x


def _gather(step: Step) -> Operand:
    indices = step.constant(1, "indices").array
    if not isinstance(step.operand(0), Tensor):
        raise NetworkError("it looks numbers up by what is computed from the images")
    return gathered(step.graph, step.tensor(), step.integer("axis", 0), indices)


def _gather_nd(step: Step) -> Operand:
    x, indices = step.tensor(), step.constant(1, "indices").array.astype(np.int64)
    batch = step.integer("batch_dims", 0)
    if x.shape[:batch] != (1,) * batch or indices.shape[:batch] != (1,) * batch:
        raise NetworkError("it takes other places for each image of a batch")
    indices = indices.reshape(indices.shape[batch:])
    depth = indices.shape[-1]
    outer, inner = x.shape[batch : batch + depth], x.shape[batch + depth :]
    flat = reshape(step.graph, x, (math.prod(outer), *inner))
    places = _flat_places(indices, outer)
    found = taken(step.graph, flat, 0, places)
    return reshape(step.graph, found, (*(1,) * batch, *indices.shape[:-1], *inner))


def _gather_elements(step: Step) -> Operand:
    x, indices = step.tensor(), step.constant(1, "indices").array.astype(np.int64)
    places = _element_places(step, indices, x.shape)
    flat = reshape(step.graph, x, (math.prod(x.shape),))
    return reshape(step.graph, taken(step.graph, flat, 0, places), indices.shape)


def _scatter_nd(step: Step) -> Operand:
    data, updates = step.operand(0), step.operand(2)
    indices = step.constant(1, "indices").array.astype(np.int64)
    depth = indices.shape[-1]
    outer, inner = data.shape[:depth], data.shape[depth:]
    places = _flat_places(indices, outer)
    rows = (math.prod(outer), *inner)
    return _replaced(step, data, updates, places, rows)


def _scatter_elements(step: Step) -> Operand:
    data, updates = step.operand(0), step.operand(2)
    indices = step.constant(1, "indices").array.astype(np.int64)
    places = _element_places(step, indices, data.shape)
    return _replaced(step, data, updates, places, (math.prod(data.shape),))


def _replaced(
    step: Step, data: Operand, updates: Operand, places: Sequence[int], rows: Shape
) -> Operand:
    """Data as rows, some of them replaced: each is taken from the old ones or from the new."""
    if step.text("reduction", "none") != "none":
        raise NetworkError("it adds to what is there, which is not run")
    count, *inner = rows
    sources = list(range(count))
    for new, place in enumerate(places):
        sources[place] = count + new
    both = [
        _formed(step.graph, data, rows),
        _formed(step.graph, updates, (len(places), *inner)),
    ]
    joined = concat(step.graph, both, 0)
    return reshape(step.graph, taken(step.graph, joined, 0, sources), data.shape)


def _formed(graph: TensorGraph, operand: Operand, shape: Shape) -> Operand:
    if isinstance(operand, Constant):
        return Constant(operand.array.reshape(shape), operand.name)
    return reshape(graph, operand, shape)


def _flat_places(indices: Array, outer: Shape) -> list[int]:
    """Indices of several axes, (..., axes), as places in these axes laid out in a row."""
    if not 0 < indices.shape[-1] == len(outer):
        raise NetworkError(f"its indices of {indices.shape} do not fit")
    columns = [_checked(indices[..., axis], size).reshape(-1) for axis, size in enumerate(outer)]
    return [int(each) for each in np.ravel_multi_index(tuple(columns), outer)]


def _element_places(step: Step, indices: Array, shape: Shape) -> list[int]:
    """For each index along an axis the place of its number, all numbers laid out in a row."""
    if indices.ndim != len(shape) or math.prod(shape) > _MOST_PLACES:
        raise NetworkError(f"its indices of {indices.shape} for values of {shape} are not run")
    axis = whole_axis(step.integer("axis", 0), len(shape))
    columns = list(np.indices(indices.shape))
    columns[axis] = _checked(indices, shape[axis])
    return [int(each) for each in np.ravel_multi_index(tuple(columns), shape).reshape(-1)]


def _checked(indices: Array, size: int) -> Array:
    """Indices counted from the front."""
    found = np.where(indices < 0, indices + size, indices)
    if indices.size > _MOST_PLACES or ((found < 0) | (found >= size)).any():
        raise NetworkError(f"its indices go beyond an axis of {size}")
    return found


def _expand(step: Step) -> Operand:
    x, shape = step.tensor(), list(step.needed("shape", 1))
    if step.batch > 1 and len(shape) == len(x.shape) and shape[0] == step.batch and x.shape[0] == 1:
        shape[0] = 1
    return expanded(step.graph, x, shape)


def _tile(step: Step) -> Operand:
    x, repeats = step.tensor(), step.needed("repeats", 1)
    if len(repeats) != len(x.shape) or not 0 < math.prod(repeats) <= _MOST_PLACES:
        raise NetworkError(f"it repeats a value of {x.shape} as often as {repeats}")
    return tiled(step.graph, x, repeats)


def _softmax(step: Step) -> Operand:
    graph, x = step.graph, step.tensor()
    if step.opset >= 13:
        return softmax(graph, x, step.integer("axis", -1))
    # Before opset 13 all axes from this one on were one.
    axis = whole_axis(step.integer("axis", 1), len(x.shape))
    if math.prod(x.shape[axis + 1 :]) == 1:
        return softmax(graph, x, axis)
    flat = reshape(graph, x, (*x.shape[:axis], math.prod(x.shape[axis:])))
    return reshape(graph, softmax(graph, flat, -1), x.shape)


def _log_softmax(step: Step) -> Operand:
    found = _softmax(step)
    assert isinstance(found, Tensor)
    return unary(step.graph, Log(), found)


def _reduction(
    kind: str, before: Operator | None = None, after: Operator | None = None
) -> Callable[[Step], Operand]:
    """A reduction, of a function of each number, and a function of the result."""

    def rule(step: Step) -> Operand:
        x = step.tensor()
        if before is not None:
            x = unary(step.graph, before, x)
        found = reduced(step.graph, x, kind, _reduced_axes(step), keep_axes=_keeps_axes(step))
        return found if after is None else unary(step.graph, after, found)

    return rule


def _log_sum_exp(step: Step) -> Operand:
    axes = _reduced_axes(step)
    return log_sum_exp(step.graph, step.tensor(), axes, keep_axes=_keeps_axes(step))


def _reduced_axes(step: Step) -> Sequence[int]:
    axes = step.integers("axes", 1)
    if axes:
        return axes
    none = step.integer("noop_with_empty_axes", 0)
    return () if none else range(len(step.tensor().shape))


def _keeps_axes(step: Step) -> bool:
    return bool(step.integer("keepdims", 1))


def _einsum(step: Step) -> Operand:
    operands = [step.operand(place) for place in range(len(step.inputs))]
    return einsum(step.graph, step.text("equation", ""), operands)


RULES: Mapping[str, Rule] = {
    "Concat": _concat,
    "Einsum": _einsum,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "LogSoftmax": _log_softmax,
    "ReduceL1": _reduction("sum", Abs()),
    "ReduceL2": _reduction("sum", Power(2.0), Power(0.5)),
    "ReduceLogSum": _reduction("sum", None, Log()),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _reduction("max"),
    "ReduceMean": _reduction("mean"),
    "ReduceMin": _reduction("min"),
    "ReduceSum": _reduction("sum"),
    "ReduceSumSquare": _reduction("sum", Power(2.0)),
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
