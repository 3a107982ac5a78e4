"""Products of matrices: dense layers, attention, sums of products by their letters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import Add, Linear, MatMul
from cnnviz.importers.tensor_arithmetic import arithmetic
from cnnviz.importers.tensor_functions import scaled
from cnnviz.importers.tensor_layers import biases, stored
from cnnviz.importers.tensor_shapes import reduced, softmax
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    formed,
    keeping,
    reshape,
    transpose,
)
from cnnviz.types import Shape


def linear(graph: TensorGraph, x: Tensor, weight: Operand, bias: Operand | None = None) -> Tensor:
    """A dense layer over the last axis: x · weightᵀ + bias, of weight (O, I) and bias (O,)."""
    x = keeping(graph, x, [-1])
    features = weight.shape[0]
    shape = (*x.shape[:-1], features)
    flatten = len(graph.shape_of(x.value)) == 1
    operator = Linear(features, flatten)
    weights = [stored(graph, weight, weight.shape), *biases(graph, bias)]
    return Tensor(graph.add(operator, x.value, *weights), shape, x.omitted)


def matmul(graph: TensorGraph, left: Operand, right: Operand) -> Tensor:
    """A matrix product as NumPy's ``matmul``; one with a stored matrix is a dense layer."""
    if isinstance(left, Tensor) and isinstance(right, Constant) and len(right.shape) == 2:
        return linear(graph, left, Constant(right.array.T, right.name))
    if len(left.shape) == 1 or len(right.shape) == 1:
        return _vector_product(graph, left, right)
    rank = max(len(left.shape), len(right.shape))
    rows, columns = left.shape[-2], right.shape[-1]
    if left.shape[-1] != right.shape[-2]:
        raise NetworkError(f"Matrices of {left.shape} and {right.shape} have no product.")
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    omitted = next(
        (
            operand.omitted + rank - len(operand.shape)
            for operand in (left, right)
            if isinstance(operand, Tensor)
            and operand.omitted is not None
            and operand.omitted < len(operand.shape) - 2
        ),
        None,
    )
    if omitted is None or batch[omitted] != 1:
        omitted = next((axis for axis, size in enumerate(batch) if size == 1), None)
    values = []
    for operand in (left, right):
        whole = (1,) * (rank - len(operand.shape)) + operand.shape
        kept = whole if omitted is None else (*whole[:omitted], *whole[omitted + 1 :])
        if isinstance(operand, Constant):
            values.append(graph.parameter(operand, kept))
        else:
            values.append(formed(graph, operand, whole, omitted).value)
    return Tensor(graph.add(MatMul(), *values), (*batch, rows, columns), omitted)


def _vector_product(graph: TensorGraph, left: Operand, right: Operand) -> Tensor:
    """A product in which one is a vector: it stands for a row, or a column."""
    row, column = len(left.shape) == 1, len(right.shape) == 1
    product = matmul(
        graph,
        _reformed(graph, left, (1, *left.shape)) if row else left,
        _reformed(graph, right, (*right.shape, 1)) if column else right,
    )
    shape = list(product.shape)
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return formed(graph, product, tuple(shape), None)


def _reformed(graph: TensorGraph, operand: Operand, shape: Shape) -> Operand:
    if isinstance(operand, Constant):
        return Constant(operand.array.reshape(shape), operand.name)
    return formed(graph, operand, shape, None)


def attention(
    graph: TensorGraph,
    query: Operand,
    key: Operand,
    value: Operand,
    mask: Operand | None = None,
    *,
    scale: float | None = None,
    causal: bool = False,
) -> Tensor:
    """softmax(scale · Q Kᵀ + mask) V (Vaswani et al. 2017, equation 1), of (..., tokens, width).

    Args:
        graph: the graph.
        query: one of the three, at least, is a tensor.
        key: of as many heads as the query.
        value: likewise.
        mask: what is added to the scores; of truth values, where these count.
        scale: of the scores; None for 1 / √width.
        causal: whether a token looks only at itself and those before it.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if isinstance(query, Tensor):  # which is smaller than the scores
        scores = matmul(graph, scaled(graph, query, scale), turned(graph, key))
    else:
        scores = scaled(graph, matmul(graph, query, turned(graph, key)), scale)
    for added in (_added(mask), _ahead(scores.shape) if causal else None):
        if added is not None:
            scores = arithmetic(graph, Add, scores, added)
    return matmul(graph, softmax(graph, scores, -1), value)


def _added(mask: Operand | None) -> Operand | None:
    if isinstance(mask, Constant) and mask.array.dtype == np.bool_:
        return Constant(np.where(mask.array, 0, -np.inf).astype(np.float32), mask.name)
    return mask


def _ahead(shape: Shape) -> Constant:
    """Keeps each row of scores from what comes after its own place."""
    return Constant(np.triu(np.full(shape[-2:], -np.inf, np.float32), 1))


def turned(graph: TensorGraph, matrix: Operand) -> Operand:
    """With the last two axes exchanged."""
    if isinstance(matrix, Constant):
        return Constant(np.swapaxes(matrix.array, -1, -2), matrix.name)
    *rest, rows, columns = range(len(matrix.shape))
    return transpose(graph, matrix, [*rest, columns, rows])


def einsum(graph: TensorGraph, equation: str, operands: Sequence[Operand]) -> Tensor:
    """A sum of products of two operands, or of one's own numbers, as ``numpy.einsum``."""
    equation = equation.replace(" ", "")
    terms, arrow, result = equation.partition("->")
    names = terms.split(",")
    if not arrow:
        letters = "".join(names)
        result = "".join(sorted(one for one in set(letters) if letters.count(one) == 1))
    repeated = any(len(set(name)) != len(name) for name in (*names, result))
    unknown = set(result) - set("".join(names))
    if "." in equation or repeated or unknown or len(names) != len(operands) or len(operands) > 2:
        raise NetworkError(f"its equation {equation!r} is none that cnnviz reads")
    for name, operand in zip(names, operands, strict=True):
        if len(name) != len(operand.shape):
            raise NetworkError(f"its equation {equation!r} does not fit values of {operand.shape}")
    sizes: dict[str, int] = {}
    for name, operand in zip(names, operands, strict=True):
        sizes.update(zip(name, operand.shape, strict=True))
    operands = list(operands)
    for place, name in enumerate(names):  # what only one of them has is summed first
        others = {*result, *(names[1 - place] if len(names) == 2 else "")}
        gone = [axis for axis, letter in enumerate(name) if letter not in others]
        if gone:
            operands[place] = _summed(graph, operands[place], gone)
            names[place] = "".join(letter for letter in name if letter in others)
    if len(operands) == 1:
        (operand,) = operands
        assert isinstance(operand, Tensor)
        return transpose(graph, operand, [names[0].index(letter) for letter in result])
    left, right = names
    batch = [one for one in left if one in right and one in result]
    inner = [one for one in left if one in right and one not in result]
    rows = [one for one in left if one not in right]
    columns = [one for one in right if one not in left]
    lengths = [tuple(sizes[one] for one in part) for part in (batch, rows, inner, columns)]
    stacks, height, depth, width = lengths
    product = matmul(
        graph,
        _laid(graph, operands[0], left, [*batch, *rows, *inner], (*stacks, height, depth)),
        _laid(graph, operands[1], right, [*batch, *inner, *columns], (*stacks, depth, width)),
    )
    apart = reshape(graph, product, (*stacks, *height, *width))
    order = [*batch, *rows, *columns]
    return transpose(graph, apart, [order.index(letter) for letter in result])


def _summed(graph: TensorGraph, operand: Operand, axes: Sequence[int]) -> Operand:
    if isinstance(operand, Constant):
        return Constant(operand.array.sum(axis=tuple(axes)))
    return reduced(graph, operand, "sum", axes, keep_axes=False)


def _laid(
    graph: TensorGraph,
    operand: Operand,
    name: str,
    order: Sequence[str],
    shape: Sequence[int | tuple[int, ...]],
) -> Operand:
    """The axes in another order, then those of a group as one."""
    whole = tuple(math.prod(size) if isinstance(size, tuple) else size for size in shape)
    axes = [name.index(letter) for letter in order]
    if isinstance(operand, Constant):
        return Constant(operand.array.transpose(axes).reshape(whole), operand.name)
    return reshape(graph, transpose(graph, operand, axes), whole)
