"""The windows of an image as the columns of a matrix, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from cnnviz.graph.operators.base import Operator, Pads, Pair, ShapeError, Trait, image_shape
from cnnviz.graph.operators.linear import window_places
from cnnviz.types import Shape


@dataclass(frozen=True)
class _Columns(Operator):
    """Windows of an image: a column has what one window holds, channel by channel, row by row.

    Attributes:
        kernel: of a window, (height, width).
        stride: likewise.
        padding: of the image, with 0, (top, left, bottom, right).
        dilation: (vertical, horizontal).
    """

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"rearranges"})

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    def places(self, height: int, width: int) -> Pair:
        """How many windows an image has, (down, across)."""
        down, across = (
            window_places(
                size,
                self.kernel[axis],
                self.stride[axis],
                self.padding[axis] + self.padding[axis + 2],
                self.dilation[axis],
            )
            for axis, size in enumerate((height, width))
        )
        return down, across


@dataclass(frozen=True)
class Unfold(_Columns):
    """The windows of an image, those of a row of windows side by side, row after row."""

    def shape(self, *inputs: Shape) -> Shape:
        """(C · kh · kw, windows), of (C, h, w)."""
        channels, height, width = image_shape(inputs[0])
        return (channels * math.prod(self.kernel), math.prod(self.places(height, width)))


@dataclass(frozen=True)
class Fold(_Columns):
    """The image that windows are laid on; where they lie on each other, their sum.

    It is the adjoint of :class:`Unfold`.

    Attributes:
        size: of the image, (height, width).
    """

    size: Pair = (1, 1)

    def shape(self, *inputs: Shape) -> Shape:
        """(C, *size), of (C · kh · kw, windows)."""
        (data,) = inputs
        held, windows = math.prod(self.kernel), math.prod(self.places(*self.size))
        if len(data) != 2 or data[0] % held or data[1] != windows:
            raise ShapeError(
                f"{windows} windows of {held} numbers a channel are wanted, and this is {data}"
            )
        return (data[0] // held, *self.size)
