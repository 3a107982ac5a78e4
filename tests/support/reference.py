"""What graphs compute, in plain NumPy and float64: what engines are compared with.

Every formula is written down from the operator's docstring, in loops where these are plainer than
tricks. Derivatives are central differences of these formulas, one operator at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from cnnviz.engines.base import ReluRule
from cnnviz.graph import operators as op
from cnnviz.graph.graph import Graph, Value

Array = np.ndarray[Any, Any]
#: The error of a central difference is about its square, and 1e-16 divided by it.
STEP = 1e-6


def forward(graph: Graph, parameters: Mapping[str, Array], batch: Array) -> dict[Value, Array]:
    """All values of a graph in float64; those of layers with the batch in front."""
    values: dict[Value, Array] = {graph.input: np.asarray(batch, np.float64)}
    for index, node in enumerate(graph.nodes):
        if isinstance(node.operator, op.Parameter):
            values[Value(index)] = np.asarray(parameters[node.name], np.float64)
        elif not isinstance(node.operator, op.Input):
            outputs = compute(node.operator, [values[value] for value in node.inputs])
            values.update((Value(index, i), output) for i, output in enumerate(outputs))
    return values


def gradients(
    graph: Graph,
    values: Mapping[Value, Array],
    seed: Array,
    rule: ReluRule,
    start: Value | None = None,
) -> dict[Value, Array]:
    """The gradient at every value that leads to ``start`` (default: the output), where ``seed`` is.

    ReLUs pass what the rule's formula says, z being what they read and R' what arrives.
    """
    start = graph.output if start is None else start
    layers = {graph.input.node, *graph.layers}
    found: dict[Value, Array] = {start: np.asarray(seed, np.float64)}
    for index in range(start.node, -1, -1):
        node = graph.nodes[index]
        arrived = {value.output: each for value, each in found.items() if value.node == index}
        if isinstance(node.operator, (op.Input, op.Parameter)) or not arrived:
            continue
        inputs = [values[value] for value in node.inputs]
        for place, value in enumerate(node.inputs):
            if value.node not in layers:
                continue
            if isinstance(node.operator, op.ReLU) and node.operator.standalone:
                passed = _through_relu(node.operator, inputs[0], arrived[0], rule)
            else:
                passed = _vjp(node.operator, inputs, place, arrived)
            found[value] = found.get(value, 0) + passed
    return found


def _through_relu(relu: op.ReLU, z: Array, arrived: Array, rule: ReluRule) -> Array:
    passed = arrived.copy()
    if rule.gate_by_input:
        passed *= (z > 0) & (z < relu.upper)
    if rule.gate_by_gradient:
        passed *= arrived > 0
    return passed


def _vjp(
    operator: op.Operator, inputs: Sequence[Array], place: int, arrived: Mapping[int, Array]
) -> Array:
    """Central differences of Σ output · arrived in each number of one input, for each image."""
    data = inputs[place]
    if isinstance(operator, op.MaxPool2d):  # the first of equal values is the highest
        data = data - 4 * STEP * np.arange(data[0].size).reshape(data[0].shape)
    passed = np.zeros_like(data)
    for index in np.ndindex(*data.shape[1:]):
        ends = []
        for sign in (1, -1):
            moved = data.copy()
            moved[(slice(None), *index)] += sign * STEP
            outputs = compute(operator, [*inputs[:place], moved, *inputs[place + 1 :]])
            products = (outputs[output] * each for output, each in arrived.items())
            ends.append(sum(each.reshape(len(data), -1).sum(axis=1) for each in products))
        passed[(slice(None), *index)] = (ends[0] - ends[1]) / (2 * STEP)
    return passed


def compute(operator: op.Operator, inputs: Sequence[Array]) -> list[Array]:
    """An operator's outputs, from its inputs with the batch in front."""
    result = _FORMULAS[type(operator)](operator, *inputs)
    return result if isinstance(result, list) else [result]


def _conv(o: op.Conv2d, x: Array, weight: Array, bias: Array | float = 0.0) -> Array:
    if x.ndim > 4:  # a stack: each part by itself
        return np.stack([_conv(o, x[:, i], weight, bias) for i in range(x.shape[1])], axis=1)
    windows = _windows(x, o.kernel, o.stride, o.padding, o.dilation)  # (N, C, h, w, kh, kw)
    per_group, made = x.shape[1] // o.groups, o.channels // o.groups
    parts = []
    for group in range(o.groups):
        own = windows[:, group * per_group : (group + 1) * per_group]
        filters = weight[group * made : (group + 1) * made]
        parts.append(np.einsum("nchwij,ocij->nohw", own, filters))
    return np.concatenate(parts, axis=1) + np.reshape(bias, (-1, 1, 1))


def _conv_transpose(
    o: op.ConvTranspose2d, x: Array, weight: Array, bias: Array | float = 0.0
) -> Array:
    """Each value adds its multiple of the kernel to the output, at its place times the stride."""
    if x.ndim > 4:  # a stack: each part by itself
        parts = [_conv_transpose(o, x[:, i], weight, bias) for i in range(x.shape[1])]
        return np.stack(parts, axis=1)
    top, left, *_ = o.padding
    height, width = o.shape(x.shape[1:], weight.shape)[1:]
    result = np.zeros((len(x), o.channels, height, width))
    per_group, made = x.shape[1] // o.groups, o.channels // o.groups
    places = itertools.product(
        range(x.shape[1]), range(made), *map(range, x.shape[2:]), *map(range, o.kernel)
    )
    for channel, output, row, column, i, j in places:
        y = row * o.stride[0] + i * o.dilation[0] - top
        across = column * o.stride[1] + j * o.dilation[1] - left
        if 0 <= y < height and 0 <= across < width:
            target = channel // per_group * made + output
            result[:, target, y, across] += (
                x[:, channel, row, column] * weight[channel, output, i, j]
            )
    return result + np.reshape(bias, (-1, 1, 1))


def _unfold(o: op.Unfold, x: Array) -> Array:
    windows = _windows(x, o.kernel, o.stride, o.padding, o.dilation)  # (N, C, h, w, kh, kw)
    places = windows.shape[2] * windows.shape[3]
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), -1, places)


def _fold(o: op.Fold, x: Array) -> Array:
    """Each number is added to the image at its place: that of the window, and that within it."""
    top, left, *_ = o.padding
    result = np.zeros((len(x), *o.shape(x.shape[1:])))
    down, across = o.places(*o.size)
    held = x.reshape(len(x), -1, *o.kernel, down, across)
    for i, j, row, column in itertools.product(*map(range, (*o.kernel, down, across))):
        y = row * o.stride[0] + i * o.dilation[0] - top
        right = column * o.stride[1] + j * o.dilation[1] - left
        if 0 <= y < o.size[0] and 0 <= right < o.size[1]:
            result[:, :, y, right] += held[:, :, i, j, row, column]
    return result


def _linear(o: op.Linear, x: Array, weight: Array, bias: Array | float = 0.0) -> Array:
    rows = x.reshape(len(x), -1) if o.flatten else x
    result: Array = rows @ weight.T + bias
    return result


def _lstm(o: op.LSTM, x: Array, weight: Array, recurrent: Array, bias: Array) -> Array:
    result = np.empty((*x.shape[:-1], o.hidden))
    hidden = cell = np.zeros((*x.shape[:-2], o.hidden))
    steps = range(x.shape[-2])
    for step in reversed(steps) if o.reverse else steps:
        total = x[..., step, :] @ weight.T + hidden @ recurrent.T + bias
        enters, kept, new, given = np.split(total, 4, axis=-1)
        enters, kept, given = (1 / (1 + np.exp(-each)) for each in (enters, kept, given))
        cell = kept * cell + enters * np.tanh(new)
        hidden = given * np.tanh(cell)
        result[..., step, :] = hidden
    return result


def _windows(
    x: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    value: float = 0.0,
    places: Sequence[int] | None = None,
) -> Array:
    """(N, C, h', w', kh, kw); ``places`` (h', w') where windows may reach beyond the padding."""
    top, left, bottom, right = padding
    if places is None:
        places = [
            (size + pads - (k - 1) * d - 1) // s + 1
            for size, pads, k, d, s in zip(
                x.shape[2:], (top + bottom, left + right), kernel, dilation, stride, strict=True
            )
        ]
    more = [(0, 0), (0, 0), (top, bottom + kernel[0]), (left, right + kernel[1])]
    padded = np.pad(x, more, constant_values=value)
    result = np.empty((*x.shape[:2], *places, *kernel))
    for i, j in np.ndindex(*kernel):
        rows = np.arange(places[0]) * stride[0] + i * dilation[0]
        columns = np.arange(places[1]) * stride[1] + j * dilation[1]
        result[..., i, j] = padded[:, :, rows[:, None], columns]
    return result


def _max_pool(o: op.MaxPool2d, x: Array) -> Array:
    places = o.shape(x.shape[1:])[1:]
    windows = _windows(x, o.kernel, o.stride, o.padding, o.dilation, -np.inf, places)
    result: Array = windows.max(axis=(4, 5))
    return result


def _avg_pool(o: op.AvgPool2d, x: Array) -> Array:
    """A window that is cut at the end counts what it has, in the padding only if that counts."""
    places = o.shape(x.shape[1:])[1:]
    top, left, bottom, right = o.padding
    counted = np.pad(
        np.ones((1, 1, *x.shape[2:])),
        [(0, 0), (0, 0), (top, bottom), (left, right)],
        constant_values=float(o.count_include_pad),
    )
    counts = _windows(counted, o.kernel, o.stride, (0, 0, 0, 0), places=places)
    windows = _windows(x, o.kernel, o.stride, o.padding, places=places)
    result: Array = windows.sum(axis=(4, 5)) / counts.sum(axis=(4, 5))
    return result


def _adaptive(o: op.AdaptiveAvgPool2d, x: Array) -> Array:
    """Window i of n goes from floor(i · size / n) to ceil((i + 1) · size / n)."""
    result = np.empty((*x.shape[:2], *o.size))
    for i, j in np.ndindex(*o.size):
        rows, columns = (
            slice(k * size // n, -(-(k + 1) * size // n))
            for k, n, size in zip((i, j), o.size, x.shape[2:], strict=True)
        )
        result[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
    return result


def _adaptive_max(o: op.AdaptiveMaxPool2d, x: Array) -> Array:
    result = np.empty((*x.shape[:2], *o.size))
    for i, j in np.ndindex(*o.size):
        rows, columns = (
            slice(k * size // n, -(-(k + 1) * size // n))
            for k, n, size in zip((i, j), o.size, x.shape[2:], strict=True)
        )
        result[:, :, i, j] = x[:, :, rows, columns].max(axis=(2, 3))
    return result


def _resize(o: op.Resize2d, x: Array) -> Array:
    """One side after the other, place by place, in fractions."""
    for axis, wanted in ((2, o.size[0]), (3, o.size[1])):
        size = x.shape[axis]
        made = [
            sum(
                weight * x.take(min(max(row, 0), size - 1), axis=axis)
                for row, weight in _taken(o, _place(o.coordinates, i, size, wanted))
            )
            for i in range(wanted)
        ]
        x = np.stack(made, axis=axis)
    return x


def _place(coordinates: str, i: int, size: int, wanted: int) -> Fraction:
    if coordinates == "half_pixel":
        return (i + Fraction(1, 2)) * Fraction(size, wanted) - Fraction(1, 2)
    if coordinates == "asymmetric":
        return Fraction(i * size, wanted)
    return Fraction(i * (size - 1), wanted - 1) if wanted > 1 else Fraction(0)


def _taken(o: op.Resize2d, place: Fraction) -> list[tuple[int, float]]:
    """The rows that make one at a place, and how much of each."""
    below = math.floor(place)
    if o.mode == "nearest":
        half = Fraction(1, 2)
        row = {
            "floor": below,
            "ceil": math.ceil(place),
            "round_prefer_floor": math.ceil(place - half),
            "round_prefer_ceil": math.floor(place + half),
        }[o.rounding]
        return [(row, 1.0)]
    if o.mode == "bilinear":
        return [(row, float(1 - abs(place - row))) for row in (below, below + 1)]
    return [(row, _keys(abs(float(place - row)), o.cubic)) for row in range(below - 1, below + 3)]


def _keys(s: float, a: float) -> float:
    """Keys (1981), equation 15 with a for -1/2."""
    if s <= 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a


def _batch_norm(
    o: op.BatchNorm, x: Array, scale: Array, shift: Array, mean: Array, variance: Array
) -> Array:
    along = [-1 if axis == o.axis + 1 else 1 for axis in range(x.ndim)]
    scale = np.ones_like(scale) if o.fixed_scale else scale
    scale, shift, mean, variance = (each.reshape(along) for each in (scale, shift, mean, variance))
    return (x - mean) / np.sqrt(variance + o.eps) * scale + shift


def _standardized(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    result: Array = (x - mean) / np.sqrt(variance + eps)
    return result


def _layer_norm(o: op.LayerNorm, x: Array, scale: Array, shift: Array) -> Array:
    axes = tuple(axis % (x.ndim - 1) + 1 for axis in o.axes)
    along = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    return _standardized(x, axes, o.eps) * scale.reshape(along) + shift.reshape(along)


def _group_norm(o: op.GroupNorm, x: Array, scale: Array, shift: Array) -> Array:
    grouped = x.reshape(len(x), o.groups, -1)
    brought = _standardized(grouped, (2,), o.eps).reshape(x.shape)
    scale, shift = (each.repeat(x.shape[1] // len(each)) for each in (scale, shift))
    along = (-1, *[1] * (x.ndim - 2))
    return brought * scale.reshape(along) + shift.reshape(along)


def _instance_norm(o: op.InstanceNorm, x: Array, scale: Array, shift: Array) -> Array:
    return _standardized(x, (2, 3), o.eps) * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)


def _lrn(o: op.LocalResponseNorm, x: Array) -> Array:
    result = np.empty_like(x)
    for channel in range(x.shape[1]):
        first = max(0, channel - o.size // 2)
        squares = (x[:, first : channel + o.size // 2 + 1] ** 2).sum(axis=1)
        result[:, channel] = x[:, channel] / (o.k + o.alpha / o.size * squares) ** o.beta
    return result


def _prelu(_o: op.PReLU, x: Array, slope: Array) -> Array:
    slopes = slope.reshape(-1, *[1] * (x.ndim - 2))
    return np.where(x > 0, x, slopes * x)


def _selu(_o: op.SELU, x: Array) -> Array:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(x > 0, x, alpha * np.expm1(x))


def _pad(o: op.Pad, x: Array) -> Array:
    around = [(0, 0), *o.pads]
    if o.mode == "constant":
        return np.pad(x, around, constant_values=o.value)
    return np.pad(x, around, mode=o.mode)


def _with_batch(data: Array, axes: int) -> Array:
    """As it is stretched to an image's axes: those that are missing stand behind the batch."""
    return data.reshape(len(data), *[1] * (axes + 1 - data.ndim), *data.shape[1:])


def _gelu(o: op.GELU, x: Array) -> Array:
    if o.approximate:
        return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    return x * (1 + _erf(x / math.sqrt(2))) / 2


_erf = np.vectorize(math.erf)


def _softmax(o: op.Softmax, x: Array) -> Array:
    axis = o.axis % (x.ndim - 1) + 1
    result: Array = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)
    return result


def _expand(o: op.Expand, x: Array) -> Array:
    return np.broadcast_to(_with_batch(x, len(o.size)), (len(x), *o.size))


def _concat(o: op.Concat, *values: Array) -> Array:
    """Constants lack the batch, and stand beside each image."""
    most = max(values, key=lambda value: value.ndim)
    whole = [np.broadcast_to(v, (len(most), *v.shape[-most.ndim + 1 :])) for v in values]
    return np.concatenate(whole, axis=o.axis + 1)


def _slice(o: op.Slice, x: Array) -> Array:
    own = (slice(b, e, s) for b, e, s in zip(o.begin, o.end, o.steps, strict=True))
    return x[(slice(None), *own)]


def _axes(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis + 1 for axis in axes)


def _stretched(function: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    return lambda _o, left, right: function(left, right)


_FORMULAS: Mapping[type[op.Operator], Callable[..., Any]] = {
    op.Abs: lambda o, x: np.abs(x),
    op.Clip: lambda o, x: np.clip(x, o.lower, o.upper),
    op.Cos: lambda o, x: np.cos(x),
    op.Erf: lambda o, x: _erf(x),
    op.Exp: lambda o, x: np.exp(x),
    op.Expand: _expand,
    op.HardSwish: lambda o, x: x * np.clip(x + 3, 0, 6) / 6,
    op.Log: lambda o, x: np.log(x),
    op.MatMul: _stretched(np.matmul),
    op.Max: lambda o, x: x.max(axis=_axes(o.axes), keepdims=o.keep_axes),
    op.Maximum: _stretched(np.maximum),
    op.Min: lambda o, x: x.min(axis=_axes(o.axes), keepdims=o.keep_axes),
    op.Minimum: _stretched(np.minimum),
    op.Mish: lambda o, x: x * np.tanh(np.log1p(np.exp(x))),
    op.Power: lambda o, x: x**o.exponent,
    op.SiLU: lambda o, x: x / (1 + np.exp(-x)),
    op.Sin: lambda o, x: np.sin(x),
    op.Softmax: _softmax,
    op.Take: lambda o, x: np.take(x, o.indices, axis=o.axis + 1),
    op.Where: lambda o, condition, left, right: np.where(condition != 0, left, right),
    op.AdaptiveAvgPool2d: _adaptive,
    op.AdaptiveMaxPool2d: _adaptive_max,
    op.Add: _stretched(np.add),
    op.Affine: lambda o, x: o.scale * x + o.shift,
    op.AvgPool2d: _avg_pool,
    op.BatchNorm: _batch_norm,
    op.Concat: _concat,
    op.Conv2d: _conv,
    op.ConvTranspose2d: _conv_transpose,
    op.Divide: _stretched(np.divide),
    op.ELU: lambda o, x: np.where(x > 0, x, o.alpha * np.expm1(x)),
    op.Flatten: lambda o, x: x.reshape(len(x), -1),
    op.Fold: _fold,
    op.GELU: _gelu,
    op.GlobalAvgPool2d: lambda o, x: x.mean(axis=(2, 3), keepdims=True),
    op.GlobalMaxPool2d: lambda o, x: x.max(axis=(2, 3), keepdims=True),
    op.GroupNorm: _group_norm,
    op.HardSigmoid: lambda o, x: np.clip(o.slope * x + o.offset, 0, 1),
    op.Identity: lambda o, x: x,
    op.InstanceNorm: _instance_norm,
    op.LSTM: _lstm,
    op.LayerNorm: _layer_norm,
    op.LeakyReLU: lambda o, x: np.where(x > 0, x, o.slope * x),
    op.Linear: _linear,
    op.LocalResponseNorm: _lrn,
    op.MaxPool2d: _max_pool,
    op.Mean: lambda o, x: x.mean(axis=_axes(o.axes), keepdims=o.keep_axes),
    op.Multiply: _stretched(np.multiply),
    op.PReLU: _prelu,
    op.Pad: _pad,
    op.ReLU: lambda o, x: np.clip(x, 0, o.upper),
    op.Reshape: lambda o, x: x.reshape(len(x), *o.size),
    op.Resize2d: _resize,
    op.SELU: _selu,
    op.Sigmoid: lambda o, x: 1 / (1 + np.exp(-x)),
    op.Slice: _slice,
    op.Softplus: lambda o, x: np.log1p(np.exp(x)),
    op.Softsign: lambda o, x: x / (1 + np.abs(x)),
    op.Split: lambda o, x: np.split(x, o.cuts, axis=o.axis + 1),
    op.Subtract: _stretched(np.subtract),
    op.Sum: lambda o, x: x.sum(axis=_axes(o.axes), keepdims=o.keep_axes),
    op.Tanh: lambda o, x: np.tanh(x),
    op.Transpose: lambda o, x: x.transpose(0, *_axes(o.axes)),
    op.Unfold: _unfold,
}
