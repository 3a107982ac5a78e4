"""Sums, products and means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnnviz.graph.operators.base import Operator, ShapeError, Trait
from cnnviz.types import Shape


class _Elementwise(Operator):
    """Two values, element by element; a size of 1, or a missing axis, is stretched."""

    inputs: ClassVar[tuple[str, ...]] = ("left", "right")
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels"})

    def shape(self, *inputs: Shape) -> Shape:
        """That of both, stretched."""
        return _broadcast(*inputs)


class Add(_Elementwise):
    """The sum."""


class Subtract(_Elementwise):
    """The left less the right."""


class Multiply(_Elementwise):
    """The product."""


class Divide(_Elementwise):
    """The left by the right."""


@dataclass(frozen=True)
class Affine(Operator):
    """scale · x + shift, with numbers that are not stored."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels"})

    scale: float = 1.0
    shift: float = 0.0


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


def _broadcast(left: Shape, right: Shape) -> Shape:
    if len(left) == len(right) + 1 and left[0] == 1:
        left = left[1:]  # a parameter, whose shape has a place for the batch
    elif len(right) == len(left) + 1 and right[0] == 1:
        right = right[1:]
    width = max(len(left), len(right))
    pairs = zip((1,) * (width - len(left)) + left, (1,) * (width - len(right)) + right, strict=True)
    found = []
    for a, b in pairs:
        if a != b and 1 not in (a, b):
            raise ShapeError(f"{left} and {right} cannot be stretched to one shape")
        found.append(b if a == 1 else a)
    return tuple(found)
