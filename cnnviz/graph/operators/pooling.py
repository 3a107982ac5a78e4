"""What makes one value of many places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnnviz.graph.operators.base import Operator, Pads, Pair, image_shape
from cnnviz.graph.operators.linear import window_places
from cnnviz.types import Shape


@dataclass(frozen=True)
class _Pool2d(Operator):
    """What goes over an image with a window."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pads = (0, 0, 0, 0)
    ceil_mode: bool = False

    def shape(self, *inputs: Shape) -> Shape:
        """(C, h', w')."""
        data = image_shape(inputs[0])
        return (data[0], *(self._length(size, axis) for axis, size in enumerate(data[1:])))

    def _length(self, size: int, axis: int) -> int:
        """How many rows (axis 0) or columns (axis 1) there are behind ``size`` of them."""
        kernel, stride = self._window(axis), self.stride[axis]
        before, after = self.padding[axis], self.padding[axis + 2]
        places = window_places(size, kernel, stride, before + after)
        if self.ceil_mode:
            rest = (size + before + after - kernel) % stride
            # A further window, cut at the end, if it starts before the padding does.
            if rest and places * stride < size + before:
                places += 1
        return places

    def _window(self, axis: int) -> int:
        """From a window's first row (axis 0) or column (axis 1) to its last."""
        return self.kernel[axis]


@dataclass(frozen=True)
class MaxPool2d(_Pool2d):
    """The highest value of each window."""

    NAME: ClassVar[str] = "MaxPool"

    dilation: Pair = (1, 1)

    def _window(self, axis: int) -> int:
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1


@dataclass(frozen=True)
class AvgPool2d(_Pool2d):
    """The mean of each window; whether padding counts as values that are 0."""

    NAME: ClassVar[str] = "AvgPool"

    count_include_pad: bool = True


class GlobalAvgPool2d(Operator):
    """The mean over height and width, which stay as 1."""

    NAME: ClassVar[str] = "GlobalAvgPool"

    def shape(self, *inputs: Shape) -> Shape:
        """(C, 1, 1)."""
        return (image_shape(inputs[0])[0], 1, 1)


class GlobalMaxPool2d(Operator):
    """The highest value over height and width, which stay as 1."""

    NAME: ClassVar[str] = "GlobalMaxPool"

    def shape(self, *inputs: Shape) -> Shape:
        """(C, 1, 1)."""
        return (image_shape(inputs[0])[0], 1, 1)


@dataclass(frozen=True)
class _AdaptivePool2d(Operator):
    """Of as many windows as are asked for, as even as whole pixels allow."""

    size: Pair

    def shape(self, *inputs: Shape) -> Shape:
        """(C, *size)."""
        return (image_shape(inputs[0])[0], *self.size)


class AdaptiveAvgPool2d(_AdaptivePool2d):
    """The means of as many windows as are asked for, as even as whole pixels allow."""

    NAME: ClassVar[str] = "AdaptiveAvgPool"


class AdaptiveMaxPool2d(_AdaptivePool2d):
    """The highest values of such windows."""

    NAME: ClassVar[str] = "AdaptiveMaxPool"
