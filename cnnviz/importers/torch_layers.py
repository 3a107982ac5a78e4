"""PyTorch's convolutions, pooling, and images brought to another size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import (
    AdaptiveMaxPool2d,
    GlobalMaxPool2d,
    Multiply,
    Pair,
    Resize2d,
)
from cnnviz.importers import tensor_layers as layers
from cnnviz.importers.tensor_arithmetic import arithmetic
from cnnviz.importers.tensor_layers import Window
from cnnviz.importers.tensors import Operand, Tensor, TensorGraph, number
from cnnviz.importers.torch_table import Function, Table, images, pair, single

LAYERS = Table()

Sizes = int | Sequence[int]


def window(
    x: Operand,
    kernel: Sequence[int],
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes = 1,
) -> Window:
    """A window of PyTorch's; of one dimension where the images have no height."""
    flat = len(x.shape) == 3
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(_each(dilation, kernel), kernel, strict=True)]
        before = [0 if padding == "valid" else size // 2 for size in reach]
        after = [0 if padding == "valid" else size - size // 2 for size in reach]
    else:
        before = after = _each(padding, kernel)
    if flat:
        return Window((1, single(stride)), (0, before[0], 0, after[0]), (1, single(dilation)))
    return Window(pair(stride), (*pair(before), *pair(after)), pair(dilation))


def _each(sizes: Sizes, kernel: Sequence[int]) -> list[int]:
    given = [sizes] if isinstance(sizes, int) else list(sizes)
    return given * len(kernel) if len(given) == 1 else given


@LAYERS.named("conv1d", "conv2d", "conv3d")
def _convolution(
    graph: TensorGraph,
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    if len(weight.shape) not in (3, 4):
        raise NetworkError("cnnviz runs convolutions of two dimensions, and of one")
    placed = window(x, weight.shape[2:], stride, padding, dilation)
    return layers.convolution(graph, images(x), weight, bias, placed, groups)


@LAYERS.named("conv_transpose2d")
def _transposed(
    graph: TensorGraph,
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    placed = window(x, weight.shape[2:], stride, padding, dilation)
    return layers.transposed_convolution(
        graph, images(x), weight, bias, placed, groups, pair(output_padding)
    )


@LAYERS.named("_convolution_mode")
def _convolution_mode(
    graph: TensorGraph,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sizes,
    padding: str,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    return _convolution(graph, x, weight, bias, stride, padding, dilation, groups)


@LAYERS.named("convolution", "_convolution")
def _any_convolution(
    graph: TensorGraph,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
    *_how: bool,
) -> Tensor:
    if transposed:
        return _transposed(
            graph, x, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return _convolution(graph, x, weight, bias, stride, padding, dilation, groups)


# --- pooling -------------------------------------------------------------------------------------


@LAYERS.named("max_pool1d", "max_pool2d")
def _max_pool(
    graph: TensorGraph,
    x: Tensor,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Tensor:
    size, placed = _pool(x, kernel, stride, padding, dilation)
    return layers.max_pool(graph, x, size, placed, ceil_mode=ceil_mode)


@LAYERS.named("max_pool2d_with_indices", "max_pool1d_with_indices")
def _max_pool_with_indices(
    graph: TensorGraph, x: Tensor, *args: Sizes, **kwargs: Sizes
) -> list[Tensor | None]:
    return [LAYERS["max_pool2d"](graph, x, *args, **kwargs), None]


@LAYERS.named("avg_pool1d", "avg_pool2d")
def _average_pool(
    graph: TensorGraph,
    x: Tensor,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    size, placed = _pool(x, kernel, stride, padding, 1)
    pooled = layers.average_pool(
        graph, x, size, placed, ceil_mode=ceil_mode, count_include_pad=count_include_pad
    )
    if divisor_override is None:
        return pooled
    if ceil_mode or (any(placed.padding) and not count_include_pad):
        raise NetworkError("the windows of a mean are cut off, and divided by a number of its own")
    return arithmetic(graph, Multiply, pooled, number(math.prod(size) / divisor_override))


def _pool(
    x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> tuple[Sequence[int], Window]:
    size = [single(kernel)] if len(x.shape) == 3 else pair(kernel)
    stride = size if stride is None or stride == [] or stride == () else stride
    return size, window(x, size, stride, padding, dilation)


@LAYERS.named("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def _adaptive_average_pool(graph: TensorGraph, x: Tensor, size: Sizes) -> Tensor:
    if len(x.shape) == 3:
        return layers.adaptive_average_pool(graph, x, [single(size)])
    return layers.adaptive_average_pool(graph, x, pair(size))


@LAYERS.named("adaptive_max_pool2d")
def _adaptive_max_pool(graph: TensorGraph, x: Tensor, size: Sizes) -> list[Tensor | None]:
    pooled = GlobalMaxPool2d() if pair(size) == (1, 1) else AdaptiveMaxPool2d(pair(size))
    return [layers.on_images(graph, x, pooled), None]


@LAYERS.named("im2col")
def _unfold(
    graph: TensorGraph, x: Operand, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> Tensor:
    size = pair(kernel)
    return layers.unfold(graph, images(x), size, window(x, size, stride, padding, dilation))


@LAYERS.named("col2im")
def _fold(
    graph: TensorGraph,
    x: Tensor,
    output: Sizes,
    kernel: Sizes,
    dilation: Sizes,
    padding: Sizes,
    stride: Sizes,
) -> Tensor:
    before = pair(padding)
    placed = Window(pair(stride), (*before, *before), pair(dilation))
    return layers.fold(graph, x, pair(output), pair(kernel), placed)


@LAYERS.named("upsample_nearest2d")
def _nearest(graph: TensorGraph, x: Tensor, size: Any = None, *scales: Any) -> Tensor:
    resize = Resize2d(_resized(x, size, scales), coordinates="asymmetric")
    return layers.on_images(graph, x, resize)


@LAYERS.named("_upsample_nearest_exact2d")
def _nearest_exact(graph: TensorGraph, x: Tensor, size: Any = None, *scales: Any) -> Tensor:
    resize = Resize2d(_resized(x, size, scales), rounding="round_prefer_ceil")
    return layers.on_images(graph, x, resize)


def _interpolation(mode: Literal["bilinear", "bicubic"]) -> Function:
    def read(graph: TensorGraph, x: Tensor, size: Any, align_corners: bool, *scales: Any) -> Tensor:
        coordinates: Literal["align_corners", "half_pixel"]
        coordinates = "align_corners" if align_corners else "half_pixel"
        return layers.on_images(
            graph, x, Resize2d(_resized(x, size, scales), mode, coordinates=coordinates)
        )

    return read


LAYERS.named("upsample_bilinear2d")(_interpolation("bilinear"))
LAYERS.named("upsample_bicubic2d")(_interpolation("bicubic"))


def _resized(x: Tensor, size: Any, scales: Sequence[Any]) -> Pair:
    """The size that is asked for, as such or by factors, (vertical, horizontal) or both in one."""
    factors = scales[0] if len(scales) == 1 else None if None in scales else scales
    if not factors:
        return pair(size)
    places = [length * factor for length, factor in zip(x.shape[2:], factors, strict=True)]
    if any(place != int(place) for place in places):
        # PyTorch then keeps the factor, not the ratio of the sizes, which Resize2d goes by.
        raise NetworkError(f"an image is resized to {places[0]:g} by {places[1]:g} pixels")
    return pair([int(place) for place in places])
