"""Layers of a program of tensors: convolutions, pooling, normalization."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Value
from cnnviz.graph.operators import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Fold,
    GlobalAvgPool2d,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MaxPool2d,
    Multiply,
    Operator,
    Pads,
    Pair,
    Power,
    Unfold,
)
from cnnviz.importers.tensor_arithmetic import arithmetic, unary
from cnnviz.importers.tensor_shapes import reduced
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    formed,
    keeping,
    number,
    omitting,
    reshape,
)
from cnnviz.types import Shape


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
        return graph.add(operator, data, stored(graph, weight, whole), *biases(graph, bias))

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
        return graph.add(operator, data, stored(graph, weight, weight.shape), *biases(graph, bias))

    return _on_images(graph, x, weight.shape[2:], run)


def on_images(graph: TensorGraph, x: Tensor, operator: Operator) -> Tensor:
    """An operator that works on each channel by itself: pooling, resizing."""
    return _on_channels(graph, x, (1, 1), lambda data, _: graph.add(operator, data))


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

    return _on_channels(graph, x, tuple(kernel), run)


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

    return _on_channels(graph, x, tuple(kernel), run)


def adaptive_average_pool(graph: TensorGraph, x: Tensor, size: Sequence[int]) -> Tensor:
    """The means of as many windows as are asked for, of (1, C, h, w) or (1, C, l)."""
    whole = _pair(size if len(size) == 2 else (1, *size))
    mean = GlobalAvgPool2d() if whole == (1, 1) else AdaptiveAvgPool2d(whole)
    return on_images(graph, x, mean)


def unfold(graph: TensorGraph, x: Tensor, kernel: Pair, window: Window) -> Tensor:
    """The windows of (1, C, h, w) as columns, (1, C · kh · kw, windows)."""
    if len(x.shape) != 4:
        raise NetworkError(f"Windows are taken of {x.shape}; cnnviz takes them of images.")
    parts, channels, *sides = x.shape
    image = formed(graph, x, (1, parts * channels, *sides), 0)
    operator = Unfold(kernel, window.stride, window.padding, window.dilation)
    value = graph.add(operator, image.value)
    held, windows = graph.shape_of(value)
    return reshape(graph, Tensor(value, (1, held, windows), 0), (parts, held // parts, windows))


def fold(graph: TensorGraph, x: Tensor, size: Pair, kernel: Pair, window: Window) -> Tensor:
    """The image (1, C, *size) that windows, (1, C · kh · kw, windows), are added up to."""
    if len(x.shape) != 3:
        raise NetworkError(f"Windows are laid together of a value of {x.shape}, not of columns.")
    parts, held, windows = x.shape
    columns = formed(graph, x, (1, parts * held, windows), 0)
    operator = Fold(kernel, window.stride, window.padding, window.dilation, size)
    value = graph.add(operator, columns.value)
    channels = graph.shape_of(value)[0] // parts
    return reshape(graph, Tensor(value, (1, *graph.shape_of(value)), 0), (parts, channels, *size))


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
    kept = [graph.parameter(each) for each in (scale, shift, mean, variance)]
    return Tensor(graph.add(operator, x.value, *kept), x.shape, x.omitted)


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
    operator = LayerNorm(tuple(range(-axes, 0)), eps)
    learned = _scale_and_shift(graph, scale, shift, normalized)
    return Tensor(graph.add(operator, x.value, *learned), x.shape, x.omitted)


def group_norm(
    graph: TensorGraph,
    x: Tensor,
    groups: int,
    scale: Constant | None,
    shift: Constant | None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over groups of channels of (1, C, ...), then scale and shift (C,)."""
    return _channel_norm(graph, x, GroupNorm(groups * x.shape[0], eps), scale, shift)


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
    """Of parts that the program brought into the batch, the channels are one image's."""
    parts, channels, *sides = x.shape
    if parts > 1:
        scale, shift = (
            each and Constant(np.tile(each.array.reshape(-1), parts)) for each in (scale, shift)
        )
    learned = _scale_and_shift(graph, scale, shift, (parts * channels,))
    whole = (1, parts * channels, *(sides if len(sides) == 2 else (1, math.prod(sides))))
    image = omitting(graph, formed(graph, x, whole, None), 0)
    found = Tensor(graph.add(operator, image.value, *learned), whole, 0)
    return formed(graph, found, x.shape, 0 if parts == 1 else None)


def _scale_and_shift(
    graph: TensorGraph, scale: Constant | None, shift: Constant | None, shape: Shape
) -> list[Value]:
    """Both as values of a shape; what is None is 1, or 0."""
    return [
        graph.parameter(given or Constant(np.full(shape, fill, np.float32)), shape)
        for given, fill in ((scale, 1.0), (shift, 0.0))
    ]


def rms_norm(
    graph: TensorGraph, x: Tensor, axes: int, scale: Operand | None, eps: float = 1e-5
) -> Tensor:
    """x / √(mean x² + eps) over the last ``axes`` axes, times a scale (Zhang and Sennrich 2019)."""
    square = unary(graph, Power(2.0), x)
    mean = reduced(graph, square, "mean", range(-axes, 0), keep_axes=True)
    root = unary(graph, Power(-0.5), arithmetic(graph, Add, mean, number(eps)))
    found = arithmetic(graph, Multiply, x, root)
    return found if scale is None else arithmetic(graph, Multiply, found, scale)


def _on_images(
    graph: TensorGraph, x: Tensor, kernel: Shape, run: Callable[[Value, Shape], Value]
) -> Tensor:
    """Run what takes (C, h, w) or a stack of such, on (N, C, h, w), or on (N, C, l) as of height 1.

    The first axis is the batch, or parts of the image that the program brought into it.
    """
    if len(x.shape) == 3:
        image = formed(graph, x, (x.shape[0], x.shape[1], 1, x.shape[2]), None)
        found = _on_images(graph, image, (1, *kernel)[-2:], run)
        return formed(graph, found, (*found.shape[:2], found.shape[3]), found.omitted)
    if len(x.shape) != 4:
        raise NetworkError(f"A layer works on {x.shape}; cnnviz runs those on images.")
    omitted = 0 if x.shape[0] == 1 else None
    value = run(omitting(graph, x, omitted).value, kernel)
    shape = graph.shape_of(value)
    return Tensor(value, shape if omitted is None else (1, *shape), omitted)


def _on_channels(
    graph: TensorGraph, x: Tensor, kernel: Shape, run: Callable[[Value, Shape], Value]
) -> Tensor:
    """Likewise, for what works on each channel by itself: those of all parts are one image's."""
    if len(x.shape) < 3 or x.shape[0] == 1:
        return _on_images(graph, x, kernel, run)
    parts, channels, *sides = x.shape
    image = formed(graph, x, (1, parts * channels, *sides), 0)
    found = _on_images(graph, image, kernel, run)
    return formed(graph, found, (parts, channels, *found.shape[2:]), None)


def stored(graph: TensorGraph, weight: Operand, shape: Shape) -> Value:
    """A weight as a value of the graph, whose shape has no batch.

    Raises:
        NetworkError: it depends on the images.
    """
    if isinstance(weight, Constant):
        return graph.parameter(weight, shape)
    raise NetworkError(
        "The network computes the weights of a layer from the images, which cnnviz does not follow."
    )


def biases(graph: TensorGraph, bias: Operand | None) -> list[Value]:
    """The bias, (O,), as what an operator reads behind its weight; nothing without one."""
    return [] if bias is None else [stored(graph, bias, (math.prod(bias.shape),))]


def _pair(sizes: Sequence[int]) -> Pair:
    height, width = sizes
    return height, width
