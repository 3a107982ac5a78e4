"""Functions of numbers by themselves, or of those at the same place in several tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Value
from cnnviz.graph.operators import Add, Affine, Divide, Multiply, Operator, Subtract
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    channels_first,
    channels_last,
    formed,
    transpose,
    without,
)
from cnnviz.types import Shape

Arithmetic = type[Add] | type[Subtract] | type[Multiply] | type[Divide]


def unary(graph: TensorGraph, operator: Operator, x: Tensor) -> Tensor:
    """A function of each number by itself."""
    first = channels_first(graph, x)
    if first is not None:
        return channels_last(graph, unary(graph, operator, first))
    return Tensor(graph.add(operator, x.value), x.shape, x.omitted)


def together(graph: TensorGraph, *operands: Operand) -> tuple[list[Value], Shape, int | None]:
    """Operands as values whose shapes an element-wise operator stretches as the program means it.

    Returns:
        The values; the whole shape of the result; and which of its axes is omitted.
    """
    try:
        shape = np.broadcast_shapes(*(operand.shape for operand in operands))
    except ValueError:
        shapes = " and ".join(str(operand.shape) for operand in operands)
        raise NetworkError(f"Values of {shapes} cannot be stretched to one shape.") from None
    tensors = [operand for operand in operands if isinstance(operand, Tensor)]
    candidates = [
        tensor.omitted + len(shape) - len(tensor.shape)
        for tensor in tensors
        if tensor.omitted is not None
    ]
    omitted = next((axis for axis in candidates if shape[axis] == 1), None)
    values = []
    for operand in operands:
        whole = (1,) * (len(shape) - len(operand.shape)) + operand.shape
        if isinstance(operand, Constant):
            values.append(graph.parameter(operand, without(whole, omitted)))
        else:
            values.append(formed(graph, operand, whole, omitted).value)
    return values, shape, omitted


def _all_channels_first(graph: TensorGraph, operands: Sequence[Operand]) -> list[Operand] | None:
    """Operands of which one was made by a transpose, before that, if all others can be, too."""
    found: list[Operand] = []
    transposed = False
    for operand in operands:
        if len(operand.shape) > 4:
            return None
        whole = (1,) * (4 - len(operand.shape)) + operand.shape
        if isinstance(operand, Constant):
            array = operand.array.reshape(whole).transpose(0, 3, 1, 2)
            found.append(operand if operand.number is not None else Constant(array, operand.name))
            continue
        first = channels_first(graph, operand)
        transposed |= first is not None
        if first is None and (operand.shape != whole or whole[1:3] != (1, 1)):
            return None
        found.append(first or transpose(graph, operand, (0, 3, 1, 2)))
    return found if transposed else None


def elementwise(graph: TensorGraph, operator: Operator, *operands: Operand) -> Tensor:
    """A function of several numbers at the same place; shapes are stretched as in NumPy."""
    first = _all_channels_first(graph, operands)
    if first is not None:
        return channels_last(graph, elementwise(graph, operator, *first))
    values, shape, omitted = together(graph, *operands)
    return Tensor(graph.add(operator, *values), shape, omitted)


def arithmetic(graph: TensorGraph, kind: Arithmetic, left: Operand, right: Operand) -> Tensor:
    """A sum, difference, product or quotient; one with a number is an :class:`Affine`.

    Args:
        graph: the graph.
        kind: ``Add``, ``Subtract``, ``Multiply`` or ``Divide``.
        left: one of the operands is a tensor.
        right: likewise.
    """
    if isinstance(left, Tensor) and isinstance(right, Constant):
        number = right.number
        if number is not None and len(right.shape) <= len(left.shape):
            scale, shift = {
                Add: (1.0, number),
                Subtract: (1.0, -number),
                Multiply: (number, 0.0),
                Divide: (1 / number if number else math.inf, 0.0),
            }[kind]
            if math.isfinite(scale):
                return _affine(graph, left, scale, shift)
    if isinstance(left, Constant) and isinstance(right, Tensor) and kind is not Divide:
        number = left.number
        if number is not None and len(left.shape) <= len(right.shape):
            scale = number if kind is Multiply else -1.0 if kind is Subtract else 1.0
            return _affine(graph, right, scale, 0.0 if kind is Multiply else number)
    return elementwise(graph, kind(), left, right)


def _affine(graph: TensorGraph, x: Tensor, scale: float, shift: float) -> Tensor:
    if (scale, shift) == (1.0, 0.0):
        return x
    return unary(graph, Affine(scale, shift), x)
