"""Layers of a program of tensors: convolutions, dense layers, products, pooling, normalization."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Value
from cnnviz.graph.operators import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    GlobalAvgPool2d,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
    MatMul,
    MaxPool2d,
    Operator,
    Pads,
    Pair,
)
from cnnviz.importers.tensor_shapes import concat, split
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    formed,
    keeping,
    omitting,
)
from cnnviz.types import Shape

#: Into how many parts an image may be cut that a layer then sees as a batch: windows.
_MOST_PARTS = 64


@dataclass(frozen=True)
class Window:
    """How a kernel goes over an image: each (vertical, horizontal); pads all around."""

    stride: Pair = (1, 1)
    padding: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)


def convolution(
    graph: TensorGraph,
    x: Tensor,
    weight: Operand,
    bias: Operand | None = None,
    window: Window = Window(),
    groups: int = 1,
) -> Tensor:
    """A convolution of (1, C, h, w), or of (1, C, l) as one of height 1.

    Args:
        graph: the graph.
        x: the images.
        weight: (O, C / groups, kh, kw), or (O, C / groups, k).
        bias: (O,), or None.
        window: its stride, padding and dilation; of a one-dimensional one the vertical are idle.
        groups: into how many groups the channels are divided.
    """
    if len(weight.shape) != len(x.shape) or len(x.shape) not in (3, 4):
        raise NetworkError(
            f"A convolution with a kernel of {weight.shape[2:]} is not run: cnnviz has those of "
            "two dimensions, and of one."
        )

    def run(data: Value, kernel: Shape) -> Value:
        operator = Conv2d(
            weight.shape[0], _pair(kernel), window.stride, window.padding, window.dilation, groups
        )
        whole = (*weight.shape[:2], *kernel)
        return graph.add(operator, data, _stored(graph, weight, whole), *_biases(graph, bias))

    return _on_images(graph, x, weight.shape[2:], run)


def transposed_convolution(
    graph: TensorGraph,
    x: Tensor,
    weight: Operand,
    bias: Operand | None = None,
    window: Window = Window(),
    groups: int = 1,
    output_padding: Pair = (0, 0),
) -> Tensor:
    """A transposed convolution of (1, C, h, w); its weight is (C, O / groups, kh, kw)."""
    if len(weight.shape) != 4 or len(x.shape) != 4:
        raise NetworkError("Transposed convolutions are run in two dimensions only.")

    def run(data: Value, kernel: Shape) -> Value:
        operator = ConvTranspose2d(
            weight.shape[1] * groups,
            _pair(kernel),
            window.stride,
            window.padding,
            window.dilation,
            groups,
            output_padding,
        )
        return graph.add(
            operator, data, _stored(graph, weight, weight.shape), *_biases(graph, bias)
        )

    return _on_images(graph, x, weight.shape[2:], run)


def on_images(graph: TensorGraph, x: Tensor, operator: Operator) -> Tensor:
    """An operator without weights on (1, C, h, w): pooling, padding, resizing."""
    return _on_images(graph, x, (1, 1), lambda data, _: graph.add(operator, data))


def max_pool(
    graph: TensorGraph,
    x: Tensor,
    kernel: Sequence[int],
    window: Window = Window(),
    *,
    ceil_mode: bool = False,
) -> Tensor:
    """The highest value of each window of (1, C, h, w), or of (1, C, l)."""

    def run(data: Value, size: Shape) -> Value:
        return graph.add(
            MaxPool2d(_pair(size), window.stride, window.padding, ceil_mode, window.dilation), data
        )

    return _on_images(graph, x, tuple(kernel), run)


def average_pool(
    graph: TensorGraph,
    x: Tensor,
    kernel: Sequence[int],
    window: Window = Window(),
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of (1, C, h, w), or of (1, C, l)."""
    if window.dilation != (1, 1):
        raise NetworkError("Average pooling with dilation is not run.")

    def run(data: Value, size: Shape) -> Value:
        return graph.add(
            AvgPool2d(_pair(size), window.stride, window.padding, ceil_mode, count_include_pad),
            data,
        )

    return _on_images(graph, x, tuple(kernel), run)


def adaptive_average_pool(graph: TensorGraph, x: Tensor, size: Sequence[int]) -> Tensor:
    """The means of as many windows as are asked for, of (1, C, h, w) or (1, C, l)."""
    whole = _pair(size if len(size) == 2 else (1, *size))
    mean = GlobalAvgPool2d() if whole == (1, 1) else AdaptiveAvgPool2d(whole)
    return on_images(graph, x, mean)


def linear(graph: TensorGraph, x: Tensor, weight: Operand, bias: Operand | None = None) -> Tensor:
    """A dense layer over the last axis: x · weightᵀ + bias, of weight (O, I) and bias (O,)."""
    x = keeping(graph, x, [-1])
    features = weight.shape[0]
    shape = (*x.shape[:-1], features)
    flatten = len(graph.shape_of(x.value)) == 1
    operator = Linear(features, flatten)
    weights = [_stored(graph, weight, weight.shape), *_biases(graph, bias)]
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


def batch_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant,
    shift: Constant,
    mean: Constant,
    variance: Constant,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm by stored statistics, of channels at axis 1; all four are (C,)."""
    x = keeping(graph, x, [1])
    operator = BatchNorm(eps, axis=x.axis(1))
    stored = [graph.parameter(each) for each in (scale, shift, mean, variance)]
    return Tensor(graph.add(operator, x.value, *stored), x.shape, x.omitted)


def layer_norm(
    graph: TensorGraph,
    x: Tensor,
    axes: int,
    scale: Constant | None,
    shift: Constant | None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over the last ``axes`` axes together, then scale and shift of their
    shape."""
    normalized = x.shape[-axes:]
    x = keeping(graph, x, range(-axes, 0))
    stored = [
        graph.parameter(given or Constant(np.full(normalized, fill, np.float32)), normalized)
        for given, fill in ((scale, 1.0), (shift, 0.0))
    ]
    operator = LayerNorm(tuple(range(-axes, 0)), eps)
    return Tensor(graph.add(operator, x.value, *stored), x.shape, x.omitted)


def group_norm(
    graph: TensorGraph,
    x: Tensor,
    groups: int,
    scale: Constant | None,
    shift: Constant | None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over groups of channels of (1, C, ...), then scale and shift (C,)."""
    return _channel_norm(graph, x, GroupNorm(groups, eps), scale, shift)


def instance_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant | None,
    shift: Constant | None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over each channel of (1, C, ...), then scale and shift (C,)."""
    return _channel_norm(graph, x, InstanceNorm(eps), scale, shift)


def _channel_norm(
    graph: TensorGraph,
    x: Tensor,
    operator: Operator,
    scale: Constant | None,
    shift: Constant | None,
) -> Tensor:
    channels = x.shape[1]
    stored = [
        graph.parameter(given or Constant(np.full(channels, fill, np.float32)), (channels,))
        for given, fill in ((scale, 1.0), (shift, 0.0))
    ]
    whole = x.shape if len(x.shape) == 4 else (x.shape[0], channels, 1, math.prod(x.shape[2:]))
    image = omitting(graph, formed(graph, x, whole, None), 0)
    found = Tensor(graph.add(operator, image.value, *stored), whole, 0)
    return formed(graph, found, x.shape, 0)


def _on_images(
    graph: TensorGraph, x: Tensor, kernel: Shape, run: Callable[[Value, Shape], Value]
) -> Tensor:
    """Run what takes (C, h, w), on (1, C, h, w) or on (1, C, l) as of height 1."""
    if len(x.shape) == 3:
        image = formed(graph, x, (x.shape[0], x.shape[1], 1, x.shape[2]), None)
        found = _on_images(graph, image, (1, *kernel)[-2:], run)
        return formed(graph, found, (*found.shape[:2], found.shape[3]), 0)
    if len(x.shape) != 4:
        raise NetworkError(f"A layer works on {x.shape}; cnnviz runs those on images.")
    if 1 < x.shape[0] <= _MOST_PARTS:
        parts = split(graph, x, 0, [1] * x.shape[0])
        return concat(graph, [_on_images(graph, part, kernel, run) for part in parts], 0)
    image = omitting(graph, x, 0)
    value = run(image.value, kernel)
    return Tensor(value, (1, *graph.shape_of(value)), 0)


def _stored(graph: TensorGraph, weight: Operand, shape: Shape) -> Value:
    """A weight as a value of the graph, whose shape has no batch."""
    if isinstance(weight, Constant):
        return graph.parameter(weight, shape)
    raise NetworkError(
        "The network computes the weights of a layer from the images, which cnnviz does not follow."
    )


def _biases(graph: TensorGraph, bias: Operand | None) -> list[Value]:
    return [] if bias is None else [_stored(graph, bias, (math.prod(bias.shape),))]


def _pair(sizes: Sequence[int]) -> Pair:
    height, width = sizes
    return height, width
