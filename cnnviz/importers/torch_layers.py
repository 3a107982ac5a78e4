"""PyTorch's convolutions, dense layers, matrix products, attention, pooling and normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import (
    AdaptiveMaxPool2d,
    Add,
    Divide,
    GlobalMaxPool2d,
    Multiply,
    Pair,
    Power,
    Resize2d,
)
from cnnviz.importers import tensor_layers as layers
from cnnviz.importers import tensor_shapes as shapes
from cnnviz.importers.tensor_layers import Window
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    arithmetic,
    reshape,
    transpose,
    unary,
)
from cnnviz.importers.torch_table import Function, Table, pair, single

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
    return layers.convolution(graph, _images(x), weight, bias, placed, groups)


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
        graph, _images(x), weight, bias, placed, groups, pair(output_padding)
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


def _images(x: Operand) -> Tensor:
    if isinstance(x, Constant):
        raise NetworkError("a layer works on a stored value with weights that depend on the images")
    return x


# --- products ------------------------------------------------------------------------------------


@LAYERS.named("linear")
def _linear(graph: TensorGraph, x: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    if isinstance(weight, Constant) and (bias is None or isinstance(bias, Constant)):
        return layers.linear(graph, _images(x), weight, bias)
    product = layers.matmul(graph, x, _turned(graph, weight))
    return product if bias is None else arithmetic(graph, Add, product, bias)


@LAYERS.named("matmul", "mm", "bmm", "mv", "dot")
def _matmul(graph: TensorGraph, left: Operand, right: Operand) -> Tensor:
    return layers.matmul(graph, left, right)


@LAYERS.named("addmm", "baddbmm")
def _addmm(
    graph: TensorGraph,
    bias: Operand,
    left: Operand,
    right: Operand,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> Tensor:
    product = layers.matmul(graph, left, right)
    if alpha != 1:
        product = arithmetic(graph, Multiply, product, _number(alpha))
    if beta != 1:
        raise NetworkError("a product is added to a part of another value")
    return arithmetic(graph, Add, product, bias)


@LAYERS.named("scaled_dot_product_attention")
def _attention(
    graph: TensorGraph,
    query: Operand,
    key: Operand,
    value: Operand,
    mask: Operand | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Operand | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    **_dropout: float,
) -> Tensor:
    """softmax(scale · Q Kᵀ + mask) V, see Vaswani et al. 2017, equation 1."""
    mask = attn_mask if mask is None else mask
    if is_causal or enable_gqa:
        raise NetworkError("attention is causal, or shares keys between heads")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if isinstance(query, Tensor):
        query = arithmetic(graph, Multiply, query, _number(scale))
        scores = layers.matmul(graph, query, _turned(graph, key))
    else:
        scores = layers.matmul(graph, query, _turned(graph, key))
        scores = arithmetic(graph, Multiply, scores, _number(scale))
    if mask is not None:
        if isinstance(mask, Constant) and mask.array.dtype == bool:
            mask = Constant(np.where(mask.array, 0, -1e30).astype(np.float32), mask.name)
        scores = arithmetic(graph, Add, scores, mask)
    return layers.matmul(graph, shapes.softmax(graph, scores, -1), value)


def _turned(graph: TensorGraph, matrix: Operand) -> Operand:
    """With the last two axes changed."""
    if isinstance(matrix, Constant):
        return Constant(np.swapaxes(matrix.array, -1, -2), matrix.name)
    order = list(range(len(matrix.shape)))
    order[-2:] = reversed(order[-2:])
    return transpose(graph, matrix, order)


@LAYERS.named("einsum")
def _einsum(
    graph: TensorGraph, equation: str, operands: Sequence[Operand], path: object = None
) -> Tensor:
    """Of two operands, as a matrix product of what is left of them."""
    inputs, _, output = equation.replace(" ", "").partition("->")
    names = inputs.split(",")
    if len(names) != 2 or "." in equation or any(len(set(one)) < len(one) for one in names):
        raise NetworkError(f"the sum {equation!r} is not one over products of two values")
    left, right = names
    batch = [one for one in output if one in left and one in right]
    rows = [one for one in output if one in left and one not in right]
    columns = [one for one in output if one in right and one not in left]
    inner = [one for one in left if one in right and one not in output]
    if set(left) - set(batch + rows + inner) or set(right) - set(batch + columns + inner):
        raise NetworkError(f"the sum {equation!r} is not one over products of two values")
    size = dict(zip(left + right, operands[0].shape + operands[1].shape, strict=True))

    def count(group: Sequence[str]) -> int:
        return math.prod(size[one] for one in group)

    def matrices(one: Operand, given: str, wanted: list[str], sides: tuple[int, int]) -> Operand:
        order = [given.index(name) for name in wanted]
        shape = (*(size[name] for name in batch), *sides)
        if isinstance(one, Constant):
            return Constant(one.array.transpose(order).reshape(shape), one.name)
        return reshape(graph, transpose(graph, one, order), shape)

    product = layers.matmul(
        graph,
        matrices(operands[0], left, batch + rows + inner, (count(rows), count(inner))),
        matrices(operands[1], right, batch + inner + columns, (count(inner), count(columns))),
    )
    found = batch + rows + columns
    whole = reshape(graph, product, [size[one] for one in found])
    return transpose(graph, whole, [found.index(one) for one in output])


def _number(value: float) -> Constant:
    return Constant(np.asarray(value, np.float32))


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
    return arithmetic(graph, Multiply, pooled, _number(math.prod(size) / divisor_override))


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


# --- normalization -------------------------------------------------------------------------------


@LAYERS.named("batch_norm", "cudnn_batch_norm")
def _batch_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant | None,
    shift: Constant | None,
    mean: Constant | None,
    variance: Constant | None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_how: bool,
) -> Tensor:
    if training or mean is None or variance is None:
        raise NetworkError(
            "a batch norm takes its statistics from the batch, so that what it says of one image "
            "depends on the others; call module.eval() before it is exported"
        )
    channels = mean.shape
    return layers.batch_norm(
        graph, x, scale or _full(channels, 1), shift or _full(channels, 0), mean, variance, eps
    )


@LAYERS.named("_native_batch_norm_legit_no_training", "_batch_norm_no_update")
def _native_batch_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant | None,
    shift: Constant | None,
    mean: Constant,
    variance: Constant,
    momentum: float,
    eps: float,
) -> list[Tensor | None]:
    return [
        _batch_norm(graph, x, scale, shift, mean, variance, False, momentum, eps),
        None,
        None,
    ]


@LAYERS.named("native_batch_norm", "_native_batch_norm_legit")
def _whole_batch_norm(graph: TensorGraph, x: Tensor, *args: Constant) -> list[Tensor | None]:
    return [LAYERS["batch_norm"](graph, x, *args), None, None]


def _full(shape: Sequence[int], value: float) -> Constant:
    return Constant(np.full(shape, value, np.float32))


@LAYERS.named("layer_norm")
def _layer_norm(
    graph: TensorGraph,
    x: Tensor,
    normalized: Sequence[int],
    scale: Constant | None = None,
    shift: Constant | None = None,
    eps: float = 1e-5,
    *_how: bool,
) -> Tensor:
    return layers.layer_norm(graph, x, len(normalized), scale, shift, eps)


@LAYERS.named("native_layer_norm")
def _native_layer_norm(
    graph: TensorGraph,
    x: Tensor,
    normalized: Sequence[int],
    scale: Constant | None,
    shift: Constant | None,
    eps: float,
) -> list[Tensor | None]:
    return [layers.layer_norm(graph, x, len(normalized), scale, shift, eps), None, None]


@LAYERS.named("rms_norm")
def _rms_norm(
    graph: TensorGraph,
    x: Tensor,
    normalized: Sequence[int],
    weight: Constant | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / sqrt(mean x² + eps) · weight."""
    eps = float(np.finfo(np.float32).eps) if eps is None else eps
    axes = range(-len(normalized), 0)
    square = unary(graph, Power(2.0), x)
    mean = shapes.reduced(graph, square, "mean", list(axes), keep_axes=True)
    root = unary(graph, Power(0.5), arithmetic(graph, Add, mean, _number(eps)))
    found = arithmetic(graph, Divide, x, root)
    return found if weight is None else arithmetic(graph, Multiply, found, weight)


@LAYERS.named("group_norm")
def _group_norm(
    graph: TensorGraph,
    x: Tensor,
    groups: int,
    scale: Constant | None = None,
    shift: Constant | None = None,
    eps: float = 1e-5,
    *_how: bool,
) -> Tensor:
    return layers.group_norm(graph, x, groups, scale, shift, eps)


@LAYERS.named("native_group_norm")
def _native_group_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant | None,
    shift: Constant | None,
    images: int,
    channels: int,
    pixels: int,
    groups: int,
    eps: float,
) -> list[Tensor | None]:
    return [layers.group_norm(graph, x, groups, scale, shift, eps), None, None]


@LAYERS.named("instance_norm")
def _instance_norm(
    graph: TensorGraph,
    x: Tensor,
    scale: Constant | None,
    shift: Constant | None,
    mean: Constant | None,
    variance: Constant | None,
    from_input: bool,
    momentum: float,
    eps: float,
    *_how: bool,
) -> Tensor:
    if not from_input:
        return _batch_norm(graph, x, scale, shift, mean, variance, False, momentum, eps)
    return layers.instance_norm(graph, x, scale, shift, eps)
