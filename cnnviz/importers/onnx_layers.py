"""ONNX's layers: convolutions, pooling, dense layers, normalization, and images resized."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import (
    Add,
    GlobalMaxPool2d,
    LocalResponseNorm,
    Multiply,
    Pads,
    Pair,
    Power,
)
from cnnviz.importers.onnx_step import Rule, Step
from cnnviz.importers.tensor_arithmetic import arithmetic, unary
from cnnviz.importers.tensor_functions import scaled, scaled_operand
from cnnviz.importers.tensor_layers import (
    Window,
    average_pool,
    batch_norm,
    convolution,
    fold,
    group_norm,
    instance_norm,
    layer_norm,
    max_pool,
    on_images,
    rms_norm,
    transposed_convolution,
)
from cnnviz.importers.tensor_products import linear, matmul, turned
from cnnviz.importers.tensor_shapes import depth_to_space, padded, reduced, space_to_depth
from cnnviz.importers.tensors import Constant, Operand, Tensor, omitting, whole_axis


def _window(step: Step, kernel: Sequence[int]) -> Window:
    """How a kernel goes over the images: of one dimension or two."""
    axes = len(kernel)
    if axes not in (1, 2):
        raise NetworkError(f"it works in {axes} dimensions, and cnnviz explains images of two")
    stride = step.integers("strides") or (1,) * axes
    dilation = step.integers("dilations") or (1,) * axes
    pads = step.integers("pads") or (0,) * (2 * axes)
    if len(stride) != axes or len(dilation) != axes or len(pads) != 2 * axes:
        raise NetworkError(f"its strides, pads or dilations do not fit a kernel of {kernel}")
    if min(*stride, *dilation, *kernel) < 1:
        raise NetworkError("its kernel, strides and dilations have to be 1 or more")
    auto = step.text("auto_pad", "NOTSET")
    if auto == "VALID":
        pads = (0,) * (2 * axes)
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        sizes = step.tensor().shape[2:]
        needed = [
            max((math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size, 0)
            for size, s, d, k in zip(sizes, stride, dilation, kernel, strict=True)
        ]
        less = [each // 2 for each in needed]
        more = [each - half for each, half in zip(needed, less, strict=True)]
        pads = (*less, *more) if auto == "SAME_UPPER" else (*more, *less)
    elif auto not in ("NOTSET", ""):
        raise NetworkError(f"its auto_pad is {auto!r}, which ONNX does not have")
    if min(pads) < 0:
        raise NetworkError("it pads by less than nothing")
    return Window(_pair(stride, 1), _pads(pads), _pair(dilation, 1))


def _pair(sizes: Sequence[int], idle: int) -> Pair:
    """Of two dimensions; those of one stand for an image of height 1."""
    first, second = sizes if len(sizes) == 2 else (idle, *sizes)
    return first, second


def _pads(pads: Sequence[int]) -> Pads:
    top, left, bottom, right = pads if len(pads) == 4 else (0, pads[0], 0, pads[1])
    return top, left, bottom, right


def _conv(step: Step) -> Operand:
    weight = step.operand(1)
    window = _window(step, weight.shape[2:])
    return convolution(
        step.graph,
        step.tensor(),
        weight,
        step.optional(2),
        window,
        step.integer("group", 1),
    )


def _conv_transpose(step: Step) -> Operand:
    weight = step.operand(1)
    kernel = weight.shape[2:]
    auto = step.text("auto_pad", "NOTSET")
    if step.integers("output_shape") is not None or auto.startswith("SAME"):
        raise NetworkError("it says how large its output is, not how it pads: export it with pads")
    extra = step.integers("output_padding") or (0,) * len(kernel)
    return transposed_convolution(
        step.graph,
        step.tensor(),
        weight,
        step.optional(2),
        _window(step, kernel),
        step.integer("group", 1),
        _pair(extra, 0),
    )


def _max_pool(step: Step) -> Operand:
    if step.outputs > 1:
        raise NetworkError("it gives the places of the highest values, too, which is not run")
    kernel = step.needed("kernel_shape")
    return max_pool(
        step.graph,
        step.tensor(),
        kernel,
        _window(step, kernel),
        ceil_mode=bool(step.integer("ceil_mode", 0)),
    )


def _average_pool(step: Step) -> Operand:
    kernel = step.needed("kernel_shape")
    return average_pool(
        step.graph,
        step.tensor(),
        kernel,
        _window(step, kernel),
        ceil_mode=bool(step.integer("ceil_mode", 0)),
        count_include_pad=bool(step.integer("count_include_pad", 0)),
    )


def _global_average_pool(step: Step) -> Operand:
    x = step.tensor()
    return reduced(step.graph, x, "mean", range(2, len(x.shape)), keep_axes=True)


def _global_max_pool(step: Step) -> Operand:
    x = step.tensor()
    if len(x.shape) == 4:
        return on_images(step.graph, x, GlobalMaxPool2d())
    return reduced(step.graph, x, "max", range(2, len(x.shape)), keep_axes=True)


def _gemm(step: Step) -> Operand:
    left, right = step.operand(0), step.operand(1)
    if step.integer("transA", 0):
        left = _turned(step, left)
    turned = bool(step.integer("transB", 0))
    alpha, beta = step.number("alpha", 1.0), step.number("beta", 1.0)
    bias = step.optional(2)
    if isinstance(left, Tensor) and isinstance(right, Constant):
        weight = right if turned else Constant(right.array.T, right.name)
        if alpha != 1:
            weight = Constant(weight.array * np.float32(alpha), weight.name)
        if bias is None or (isinstance(bias, Constant) and bias.shape[:-1] in ((), (1,))):
            return linear(step.graph, left, weight, _bias(bias, weight.shape[0], beta))
        product = linear(step.graph, left, weight)
        alpha = 1.0
    else:
        product = matmul(step.graph, left, _turned(step, right) if turned else right)
    product = scaled(step.graph, product, alpha)
    if bias is None:
        return product
    return arithmetic(step.graph, Add, product, scaled_operand(step.graph, bias, beta))


def _bias(bias: Constant | None, features: int, scale: float) -> Constant | None:
    """One number for each feature."""
    if bias is None:
        return None
    if bias.shape == (features,) and scale == 1:
        return bias
    return Constant(np.broadcast_to(bias.array * np.float32(scale), (1, features))[0], bias.name)


def _turned(step: Step, matrix: Operand) -> Operand:
    if len(matrix.shape) != 2:
        raise NetworkError(f"it works on matrices, and got a value of {matrix.shape}")
    return turned(step.graph, matrix)


def _matmul(step: Step) -> Operand:
    return matmul(step.graph, step.operand(0), step.operand(1))


def _batch_norm(step: Step) -> Operand:
    if step.integer("training_mode", 0) or step.outputs > 1:
        raise NetworkError(
            "it is in training mode, in which images change each other's results: export the "
            "network in inference mode (in PyTorch, model.eval() first)"
        )
    scale, shift, mean, variance = (
        step.constant(place, what)
        for place, what in enumerate(("scale", "shift", "mean", "variance"), start=1)
    )
    return batch_norm(
        step.graph, step.tensor(), scale, shift, mean, variance, step.number("epsilon", 1e-5)
    )


def _instance_norm(step: Step) -> Operand:
    scale, shift = step.constant(1, "scale"), step.constant(2, "shift")
    return instance_norm(step.graph, step.tensor(), scale, shift, step.number("epsilon", 1e-5))


def _group_norm(step: Step) -> Operand:
    x = step.tensor()
    groups = step.integer("num_groups", 1)
    scale, shift = step.constant(1, "scale"), step.constant(2, "shift")
    channels = x.shape[1]
    if scale.shape == (groups,) != (channels,) and step.opset < 21:
        # Until opset 21 there was one number for each group.
        scale, shift = (
            Constant(np.repeat(each.array, channels // groups), each.name)
            for each in (scale, shift)
        )
    return group_norm(step.graph, x, groups, scale, shift, step.number("epsilon", 1e-5))


def _layer_norm(step: Step) -> Operand:
    x = step.tensor()
    if step.outputs > 1:
        raise NetworkError("it gives its mean and deviation, too, which is not run")
    axes = len(x.shape) - whole_axis(step.integer("axis", -1), len(x.shape))
    shape = x.shape[len(x.shape) - axes :]
    scale = _whole(step.constant(1, "scale"), shape)
    shift = None if step.optional(2) is None else _whole(step.constant(2, "shift"), shape)
    return layer_norm(step.graph, x, axes, scale, shift, step.number("epsilon", 1e-5))


def _whole(constant: Constant, shape: tuple[int, ...]) -> Constant:
    """Of a shape, stretched to it."""
    if constant.shape == shape:
        return constant
    return Constant(np.broadcast_to(constant.array, shape), constant.name)


def _rms_norm(step: Step) -> Operand:
    x = step.tensor()
    axes = len(x.shape) - whole_axis(step.integer("axis", -1), len(x.shape))
    return rms_norm(step.graph, x, axes, step.operand(1), step.number("epsilon", 1e-5))


def _lp_norm(step: Step) -> Operand:
    graph, x = step.graph, step.tensor()
    if step.integer("p", 2) != 2:
        raise NetworkError("it divides by another norm than the Euclidean one")
    axes = [step.integer("axis", -1)]
    total = reduced(graph, unary(graph, Power(2.0), x), "sum", axes, keep_axes=True)
    return arithmetic(graph, Multiply, x, unary(graph, Power(-0.5), total))


def _mean_variance_norm(step: Step) -> Operand:
    axes = step.integers("axes") or (0, 2, 3)
    x = step.tensor()
    if sorted(axes) != [0, 2, 3] or len(x.shape) != 4:
        raise NetworkError("it goes over other axes than height and width")
    return instance_norm(step.graph, x, None, None, 1e-9)


def _lrn(step: Step) -> Operand:
    size = step.integer("size", 1)
    if size % 2 == 0:
        raise NetworkError(f"it goes over {size} channels, which have no middle")
    operator = LocalResponseNorm(
        size,
        step.number("alpha", 1e-4),
        step.number("beta", 0.75),
        step.number("bias", 1.0),
    )
    # Unlike others of its kind it mixes channels.
    return on_images(step.graph, omitting(step.graph, step.tensor(), 0), operator)


_PADDING: Mapping[str, Literal["constant", "edge", "reflect", "wrap"]] = {
    "constant": "constant",
    "edge": "edge",
    "reflect": "reflect",
    "wrap": "wrap",
}


def _pad(step: Step) -> Operand:
    x = step.tensor()
    pads = step.needed("pads", 1)
    value = step.bound("value", 2, 0.0)
    axes = step.integers("axes", 3) or tuple(range(len(x.shape)))
    if len(pads) != 2 * len(axes):
        raise NetworkError(f"it has {len(pads)} pads for {len(axes)} axes")
    around = [(0, 0)] * len(x.shape)
    for place, axis in enumerate(axes):
        around[axis] = (pads[place], pads[place + len(axes)])
    mode = _PADDING.get(step.text("mode", "constant"))
    if mode is None:
        raise NetworkError(f"its mode is {step.text('mode', '')!r}, which ONNX does not have")
    return padded(step.graph, x, around, mode, value)


def _fold(step: Step) -> Operand:
    size, kernel = step.needed("image_shape", 1), step.needed("block_shape", 2)
    if len(size) != 2 or len(kernel) != 2:
        raise NetworkError(f"it makes images of {len(size)} dimensions, and cnnviz of two")
    window = _window(step, kernel)
    return fold(step.graph, step.tensor(), _pair(size, 1), _pair(kernel, 1), window)


def _depth_to_space(step: Step) -> Operand:
    order = step.text("mode", "DCR")
    block = step.integer("blocksize", 1)
    return depth_to_space(step.graph, step.tensor(), block, columns_first=order == "CRD")


def _space_to_depth(step: Step) -> Operand:
    block = step.integer("blocksize", 1)
    return space_to_depth(step.graph, step.tensor(), block, columns_first=False)


RULES: Mapping[str, Rule] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Col2Im": _fold,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LpNormalization": _lp_norm,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "MeanVarianceNormalization": _mean_variance_norm,
    "Pad": _pad,
    "RMSNormalization": _rms_norm,
    "SpaceToDepth": _space_to_depth,
}
