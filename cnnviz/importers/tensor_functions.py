"""Functions of each number by itself, and of several at the same place, made of operators."""

from __future__ import annotations

import math

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import (
    ELU,
    Add,
    Affine,
    Clip,
    Exp,
    LeakyReLU,
    Maximum,
    Minimum,
    Multiply,
    Power,
    PReLU,
    ReLU,
)
from cnnviz.importers.tensor_arithmetic import arithmetic, elementwise, unary
from cnnviz.importers.tensors import Constant, Operand, Tensor, TensorGraph, keeping

_LARGEST = float(np.finfo(np.float32).max)


def scaled(graph: TensorGraph, x: Tensor, scale: float) -> Tensor:
    """Times a number."""
    return x if scale == 1 else unary(graph, Affine(scale, 0.0), x)


def scaled_operand(graph: TensorGraph, x: Operand, scale: float) -> Operand:
    """A tensor, or a constant, times a number."""
    if isinstance(x, Tensor):
        return scaled(graph, x, scale)
    return x if scale == 1 else Constant(x.array * np.float32(scale), x.name)


def clipped(graph: TensorGraph, x: Tensor, lower: float, upper: float) -> Tensor:
    """Between two bounds, however it is written; a ReLU where the lower is 0.

    Args:
        graph: the graph.
        x: what is bounded.
        lower: -inf for none; so is the lowest number of float32.
        upper: inf for none; likewise.
    """
    lower = -math.inf if lower <= -_LARGEST else lower
    upper = math.inf if upper >= _LARGEST else upper
    if lower > upper or math.isnan(lower) or math.isnan(upper):
        raise NetworkError(f"it keeps values between {lower} and {upper}")
    if math.isinf(lower) and math.isinf(upper):
        return x
    return unary(graph, ReLU(upper) if lower == 0 and upper > 0 else Clip(lower, upper), x)


def extreme(
    graph: TensorGraph, kind: type[Maximum] | type[Minimum], left: Operand, right: Operand
) -> Tensor:
    """The larger, or the smaller, of two; one of them a number is a bound.

    Args:
        graph: the graph.
        kind: ``Maximum`` or ``Minimum``.
        left: one of the operands is a tensor.
        right: likewise.
    """
    if isinstance(left, Constant):
        left, right = right, left
    number = right.number if isinstance(right, Constant) else None
    if isinstance(left, Tensor) and number is not None and len(right.shape) <= len(left.shape):
        bounds = (number, math.inf) if kind is Maximum else (-math.inf, number)
        return clipped(graph, left, *bounds)
    return elementwise(graph, kind(), left, right)


def prelu(graph: TensorGraph, x: Tensor, slope: Constant) -> Tensor:
    """x above 0, below it x times a stored slope, whose shape is stretched to that of x."""
    if slope.number is not None:
        return unary(graph, LeakyReLU(slope.number), x)
    whole = (1,) * (len(x.shape) - len(slope.shape)) + slope.shape
    if len(whole) > 1 and whole == (1, x.shape[1], *(1,) * (len(whole) - 2)):
        kept = keeping(graph, x, [1])
        if kept.omitted == 0:
            stored = graph.parameter(slope, (x.shape[1],))
            return Tensor(graph.add(PReLU(), kept.value, stored), x.shape, 0)
    above = unary(graph, ReLU(), x)
    below = unary(graph, Clip(-math.inf, 0.0), x)
    return arithmetic(graph, Add, above, arithmetic(graph, Multiply, below, slope))


def celu(graph: TensorGraph, x: Tensor, alpha: float) -> Tensor:
    """x above 0, below it alpha · (exp(x / alpha) - 1) (Barron 2017)."""
    if not alpha > 0:
        raise NetworkError(f"its alpha is {alpha:g}, which has to be above 0")
    return scaled(graph, unary(graph, ELU(1.0), scaled(graph, x, 1 / alpha)), alpha)


def power(graph: TensorGraph, base: Operand, exponent: Operand) -> Tensor:
    """Base to the exponent, of which one is stored: a number, or a positive base."""
    if isinstance(base, Tensor) and isinstance(exponent, Constant):
        if exponent.number is None:
            raise NetworkError("its exponent is not one number")
        return base if exponent.number == 1 else unary(graph, Power(exponent.number), base)
    if isinstance(base, Constant) and isinstance(exponent, Tensor) and (base.array > 0).all():
        logarithm = Constant(np.log(base.array.astype(np.float32)))
        return unary(graph, Exp(), arithmetic(graph, Multiply, exponent, logarithm))
    raise NetworkError("its exponent is computed from the images")
