"""Sums, products, means, and functions of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from cnnviz.graph.operators.base import Operator, ShapeError, Trait, stretched_shape
from cnnviz.types import Shape


class _Elementwise(Operator):
    """Two values, element by element; a size of 1, or a missing axis, is stretched."""

    inputs: ClassVar[tuple[str, ...]] = ("left", "right")
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels", "stretches"})

    def shape(self, *inputs: Shape) -> Shape:
        """That of both, stretched."""
        return stretched_shape(*inputs)


class Add(_Elementwise):
    """The sum."""


class Subtract(_Elementwise):
    """The left less the right."""


class Multiply(_Elementwise):
    """The product."""


class Divide(_Elementwise):
    """The left by the right."""


class Maximum(_Elementwise):
    """The greater of the two. Of equals the left passes the gradient on."""


class Minimum(_Elementwise):
    """The lesser of the two. Of equals the left passes the gradient on."""


class Where(Operator):
    """The left where the condition is not 0, the right elsewhere; all three are stretched.

    The condition is a constant, of 0 and 1.
    """

    inputs: ClassVar[tuple[str, ...]] = ("condition", "left", "right")
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels", "stretches"})

    def shape(self, *inputs: Shape) -> Shape:
        """That of all, stretched."""
        return stretched_shape(*inputs)


class MatMul(Operator):
    """The matrix product (..., n, k) · (..., k, m); further axes are stretched."""

    inputs: ClassVar[tuple[str, ...]] = ("left", "right")
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"mixes_channels", "stretches"})

    def shape(self, *inputs: Shape) -> Shape:
        """(..., n, m)."""
        left, right = inputs
        if min(len(left), len(right)) < 2 or left[-1] != right[-2]:
            raise ShapeError(f"{left} and {right} are no matrices that can be multiplied")
        return (*stretched_shape(left[:-2], right[:-2]), left[-2], right[-1])

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        """As many as k for each number of the product."""
        return math.prod(output) * inputs[0][-1]


@dataclass(frozen=True)
class Affine(Operator):
    """scale · x + shift, with numbers that are not stored."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels"})

    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Power(Operator):
    """x to a power that is the same for all."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels"})

    exponent: float


class _Function(Operator):
    """A function of each value by itself that nobody takes for an activation."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels"})


class Abs(_Function):
    """|x|."""


class Exp(_Function):
    """The exponential."""


class Log(_Function):
    """The natural logarithm."""


class Erf(_Function):
    """The error function, 2/√π ∫ exp -t² from 0 to x."""


class Sin(_Function):
    """The sine."""


class Cos(_Function):
    """The cosine."""


@dataclass(frozen=True)
class Softmax(Operator):
    """exp x / Σ exp x along an axis of the shape without the batch."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"mixes_channels"})

    axis: int = -1


@dataclass(frozen=True)
class _Reduction(Operator):
    """One value of all along some axes.

    Attributes:
        axes: of the shape without the batch.
        keep_axes: whether they stay, with the size 1.
    """

    axes: tuple[int, ...]
    keep_axes: bool = False

    def shape(self, *inputs: Shape) -> Shape:
        """The input's without these axes, or with 1 in their places."""
        if self.keep_axes:
            return tuple(1 if axis in self.axes else s for axis, s in enumerate(inputs[0]))
        return tuple(s for axis, s in enumerate(inputs[0]) if axis not in self.axes)


class Mean(_Reduction):
    """The mean over the axes."""


class Sum(_Reduction):
    """The sum over the axes."""


class Max(_Reduction):
    """The highest value over the axes; of equals the first passes the gradient on."""


class Min(_Reduction):
    """The lowest value over the axes; of equals the first passes the gradient on."""
