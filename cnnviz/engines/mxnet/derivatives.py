"""Derivatives that MXNet 1.9.1 computes wrongly, or gives for training's sake, computed here.

MXNet's forward values are kept; only the way back is ours. It is wrong, on a CPU or everywhere, in

- LRN, average pooling whose last window is cut, and the concatenation of channels that oneDNN
  cannot cut at their borders: these read a gradient as if it lay in another order than it does,
  or cannot read it at all;
- max pooling with windows that hold nothing but padding, SELU, the softmax over a whole image, and
  the maximum over axes where several values are equal, each of which gets all of the gradient:
  these are other functions than the derivative.

Others give on purpose what is not the derivative of what they compute: losses, which put their own
gradient in the place of whatever arrives, and operators that block, scale or add to it. Inside a
network they are what they compute: a softmax, a logistic function or nothing at all.

Everything is NumPy in, NumPy out, float32. ``tests/engines/mxnet/operators.py`` tries every MXNet
operator against differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cnnviz.engines.mxnet.pooling_vjp import pooling_vjp
from cnnviz.engines.mxnet.symbol import Node, is_true, numbers
from cnnviz.engines.mxnet.vjp import Vjp
from cnnviz.types import Float32

#: Everyday operators that write every number of their gradients: none has to be zero before.
WRITTEN_WHOLE = frozenset(
    {
        *("Activation", "BatchNorm", "Concat", "Convolution", "Flatten", "FullyConnected"),
        *("LeakyReLU", "Pooling", "clip", "elemwise_add"),
    }
)
#: Going back spoils what they keep from the forward pass, so that only the first time is right.
PASSED_ONCE = frozenset({"SpatialTransformer", "_linalg_det", "_linalg_slogdet"})
#: What fails where it reads oneDNN's own order: slices, and softmaxes, which over another axis than
#: the channels write beyond their memory.
PLAIN_ORDER = frozenset(
    {
        *("slice", "softmax", "log_softmax", "softmin"),
        *("SoftmaxOutput", "SoftmaxActivation"),
    }
)
#: The widest block of channels that oneDNN orders memory by; only at its borders can it cut.
_BLOCK = 16
_SELU_ALPHA, _SELU_LAMBDA = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def own_derivative(node: Node, inputs: Sequence[Any]) -> Vjp | None:
    """Our derivative of an operator, or None where MXNet's own is right.

    Args:
        node: any operator.
        inputs: its inputs, batch and all, as arrays of any kind: only their shapes are read.

    Returns:
        A function of all inputs, all outputs and the gradients at all outputs; it gives the
        gradients at the first inputs. Further ones (labels) have none: what is computed does not
        depend on them.
    """
    choose = DERIVATIVES.get(node.op)
    return choose(node, [array.shape for array in inputs]) if choose is not None else None


def needs_plain_order(node: Node) -> bool:
    """Whether an operator fails where what it reads lies in oneDNN's own order."""
    if node.op == "BatchNorm":
        return int(node.attrs.get("axis", 1)) != 1
    return node.op in PLAIN_ORDER


def _lrn(node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp:
    """y = x · n^-β with n = k + α/size · Σ x² over the channels around (Krizhevsky et al. 2012)."""
    size = int(node.attrs["nsize"])
    alpha = float(node.attrs.get("alpha", 1e-4)) / size
    beta = float(node.attrs.get("beta", 0.75))
    knorm = float(node.attrs.get("knorm", 2))

    def around(values: Float32) -> Float32:
        """The sum over the channels around each channel."""
        padding = [(0, 0)] * values.ndim
        padding[1] = (size // 2, size // 2)
        padded = np.pad(values, padding)
        channels = values.shape[1]
        return sum(
            (padded[:, first : first + channels] for first in range(1, size)), padded[:, :channels]
        )

    def vjp(
        inputs: Sequence[Float32], outputs: Sequence[Float32], gradients: Sequence[Float32]
    ) -> list[Float32]:
        x, y, gradient = inputs[0], outputs[0], gradients[0]
        norm = np.float32(knorm) + np.float32(alpha) * around(x * x)
        own = gradient * norm ** np.float32(-beta)
        others = np.float32(2 * alpha * beta) * x * around(gradient * y / norm)
        return [own - others]

    return vjp


def _batch_norm(node: Node, shapes: Sequence[Sequence[int]]) -> Vjp | None:
    """With running statistics, along another axis than the channels': a factor for each place.

    MXNet's own is right along axis 1 alone: that written as -3 is another one to it.
    """
    axis = int(node.attrs.get("axis", 1))
    if axis == 1:
        return None
    axis %= len(shapes[0])
    epsilon = float(node.attrs.get("eps", 1e-3))
    along = [-1 if place == axis else 1 for place in range(len(shapes[0]))]

    def vjp(
        inputs: Sequence[Float32], _outputs: Sequence[Float32], gradients: Sequence[Float32]
    ) -> list[Float32]:
        gamma, variance = inputs[1], inputs[4]
        factor = (gamma / np.sqrt(variance + np.float32(epsilon))).reshape(along)
        return [gradients[0] * factor]

    return vjp


def _concat(node: Node, shapes: Sequence[Sequence[int]]) -> Vjp | None:
    axis = int(node.attrs.get("dim", 1))
    sizes = [shape[axis] for shape in shapes]
    if all(size % _BLOCK == 0 for size in sizes):
        return None
    borders = np.cumsum(sizes)[:-1]
    return lambda _inputs, _outputs, gradients: np.split(gradients[0], borders, axis)


def _leaky_relu(node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp | None:
    if node.attrs.get("act_type", "leaky") != "selu":
        return None
    slope, shift = np.float32(_SELU_LAMBDA), np.float32(_SELU_LAMBDA * _SELU_ALPHA)
    return lambda inputs, outputs, gradients: [
        gradients[0] * np.where(inputs[0] > 0, slope, outputs[0] + shift)
    ]


def _softmax(axes: Callable[[Float32], tuple[int, ...]]) -> Vjp:
    """Softmax over the axes that a function of the output returns."""

    def vjp(
        _inputs: Sequence[Float32], outputs: Sequence[Float32], gradients: Sequence[Float32]
    ) -> list[Float32]:
        y = outputs[0]
        weighted = y * gradients[0]
        return [weighted - y * weighted.sum(axis=axes(y), keepdims=True)]

    return vjp


def _over_image(y: Float32) -> tuple[int, ...]:
    return tuple(range(1, y.ndim))


def _over_image_or_row(y: Float32) -> tuple[int, ...]:
    """oneDNN takes the last axis where MXNet itself takes all: what adds up to 1 tells."""
    return _over_image(y) if abs(float(y.sum()) / len(y) - 1) < 0.5 else (-1,)


def _softmax_activation(node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp | None:
    return None if node.attrs.get("mode") == "channel" else _softmax(_over_image_or_row)


def _softmax_output(node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp:
    if is_true(node.attrs, "multi_output"):
        return _softmax(lambda _: (1,))
    if is_true(node.attrs, "preserve_shape"):
        return _softmax(lambda _: (-1,))
    return _softmax(_over_image_or_row)


def _logistic(_node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp:
    return lambda _inputs, outputs, gradients: [gradients[0] * outputs[0] * (1 - outputs[0])]


def _identity(_node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp:
    return lambda _inputs, _outputs, gradients: [gradients[0]]


def _variance(node: Node, shapes: Sequence[Sequence[int]]) -> Vjp:
    """Variance or standard deviation."""
    axes = tuple(axis % len(shapes[0]) for axis in numbers(node.attrs, "axis")) or tuple(
        range(len(shapes[0]))
    )
    count = math.prod(shapes[0][axis] for axis in axes) - int(node.attrs.get("ddof", 0))
    root = node.op == "_npi_std"

    def vjp(
        inputs: Sequence[Float32], outputs: Sequence[Float32], gradients: Sequence[Float32]
    ) -> list[Float32]:
        x = inputs[0]
        slope = gradients[0] / outputs[0] if root else 2 * gradients[0]
        kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        return [slope.reshape(kept) * (x - x.mean(axis=axes, keepdims=True)) / np.float32(count)]

    return vjp


def _highest(node: Node, shapes: Sequence[Sequence[int]]) -> Vjp:
    """The highest value over axes, or the lowest: of equals the first passes the gradient on."""
    rank = len(shapes[0])
    named = {axis % rank for axis in numbers(node.attrs, "axis")} or set(range(rank))
    if is_true(node.attrs, "exclude"):
        named = set(range(rank)) - named
    axes = sorted(named)
    order = [*(axis for axis in range(rank) if axis not in named), *axes]
    find = np.argmax if node.op in ("max", "_np_max") else np.argmin

    def vjp(
        inputs: Sequence[Float32], _outputs: Sequence[Float32], gradients: Sequence[Float32]
    ) -> list[Float32]:
        turned = inputs[0].transpose(order)
        rows = turned.reshape(-1, math.prod(shapes[0][axis] for axis in axes))
        passed = np.zeros_like(rows)
        passed[np.arange(len(rows)), find(rows, axis=1)] = gradients[0].reshape(-1)
        return [np.ascontiguousarray(passed.reshape(turned.shape).transpose(np.argsort(order)))]

    return vjp


def _sequence_last(node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp:
    """The last of (T, N, ...) or, along axis 1, (N, T, ...), each with a length of its own."""
    along = int(node.attrs.get("axis", 0))
    measured = is_true(node.attrs, "use_sequence_length")

    def vjp(
        inputs: Sequence[Float32], _outputs: Sequence[Float32], gradients: Sequence[Float32]
    ) -> list[Float32]:
        passed = np.zeros_like(inputs[0])
        steps = passed.swapaxes(0, along)
        last = inputs[1].astype(np.int64) - 1 if measured else len(steps) - 1
        steps[last, np.arange(steps.shape[1])] = gradients[0]
        return [passed]

    return vjp


def _reshaped(_node: Node, shapes: Sequence[Sequence[int]]) -> Vjp:
    return lambda _inputs, _outputs, gradients: [gradients[0].reshape(shapes[0])]


def _rot90(node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp:
    first, second = numbers(node.attrs, "axes") or (0, 1)
    times = int(node.attrs.get("k", 1))
    return lambda _inputs, _outputs, gradients: [
        np.ascontiguousarray(np.rot90(gradients[0], -times, (first, second)))
    ]


def _angle_to_number(node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp:
    """arctan2(number, x)."""
    number = np.float32(node.attrs["scalar"])
    return lambda inputs, _outputs, gradients: [
        -number * gradients[0] / (number**2 + inputs[0] ** 2)
    ]


def _copysign(_node: Node, shapes: Sequence[Sequence[int]]) -> Vjp:
    """|x| with another's sign, which no small change of that other changes."""
    return lambda inputs, _outputs, gradients: [
        _summed_to(gradients[0] * np.sign(inputs[0]) * np.copysign(1, inputs[1]), s)
        if place == 0
        else np.zeros(s, np.float32)
        for place, s in enumerate(shapes)
    ]


def _number_where(there: bool) -> Callable[[Node, Sequence[Sequence[int]]], Vjp]:
    """``where`` of a condition, with a number where that is true (or where it is not)."""

    def choose(_node: Node, _shapes: Sequence[Sequence[int]]) -> Vjp:
        def vjp(
            inputs: Sequence[Float32], _outputs: Sequence[Float32], gradients: Sequence[Float32]
        ) -> list[Float32]:
            condition, x = inputs[0], inputs[1]
            passed = np.where((condition != 0) == there, 0, gradients[0])
            return [np.zeros_like(condition), _summed_to(passed, x.shape)]

        return vjp

    return choose


def _summed_to(gradient: Float32, shape: Sequence[int]) -> Float32:
    """The gradient at what was broadcast from a shape."""
    padded = (1,) * (gradient.ndim - len(shape)) + tuple(shape)
    wide = tuple(axis for axis, size in enumerate(padded) if size != gradient.shape[axis])
    summed: Float32 = gradient.sum(axis=wide).reshape(shape)
    return summed


DERIVATIVES: Mapping[str, Callable[[Node, Sequence[Sequence[int]]], Vjp | None]] = {
    "BatchNorm": _batch_norm,
    "LRN": _lrn,
    "Pooling": pooling_vjp,
    "Concat": _concat,
    "LeakyReLU": _leaky_relu,
    "SoftmaxActivation": _softmax_activation,
    "SoftmaxOutput": _softmax_output,
    "LogisticRegressionOutput": _logistic,
    "SequenceLast": _sequence_last,
    "max": _highest,
    "min": _highest,
    "_np_max": _highest,
    "_np_min": _highest,
    "_np_atleast_1d": _reshaped,
    "_np_atleast_2d": _reshaped,
    "_np_atleast_3d": _reshaped,
    "_npi_copysign": _copysign,
    "_npi_rarctan2_scalar": _angle_to_number,
    "_npi_rot90": _rot90,
    "_npi_std": _variance,
    "_npi_var": _variance,
    "_npi_where_lscalar": _number_where(True),
    "_npi_where_rscalar": _number_where(False),
    **dict.fromkeys(
        (
            "BlockGrad",
            "IdentityAttachKLSparseReg",
            "LinearRegressionOutput",
            "MAERegressionOutput",
            "MakeLoss",
            "SVMOutput",
            "_contrib_gradientmultiplier",
            "make_loss",
        ),
        _identity,
    ),
}
