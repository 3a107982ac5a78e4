"""Layers with weights: convolutions and dense layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from cnnviz.graph.operators.base import Operator, Pads, Pair, ShapeError, Trait, image_shape
from cnnviz.types import Shape


@dataclass(frozen=True)
class _Convolution(Operator):
    """What convolutions and transposed ones have in common.

    Maps may lie in a stack, (..., C, h, w): windows of an image, each of which is convolved by
    itself.

    Attributes:
        channels: of the output.
        kernel: (height, width).
        stride: likewise.
        padding: (top, left, bottom, right).
        dilation: (vertical, horizontal).
        groups: into how many groups the channels are divided.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data", "weight", "bias")

    channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def weight_shape(self, data: Shape) -> Shape:
        """The shape of the weight, for data of a shape (C, h, w)."""
        raise NotImplementedError

    def _length(self, size: int, axis: int) -> int:
        """How many rows (axis 0) or columns (axis 1) there are behind ``size`` of them."""
        raise NotImplementedError

    def shape(self, *inputs: Shape) -> Shape:
        """(..., channels, h', w')."""
        stack, data = inputs[0][:-3], image_shape(inputs[0][-3:])
        if data[0] % self.groups or self.channels % self.groups:
            raise ShapeError(f"{data[0]} channels do not divide into {self.groups} groups")
        check_weight(inputs, self.weight_shape(data))
        lengths = (self._length(size, axis) for axis, size in enumerate(data[1:]))
        return (*stack, self.channels, *lengths)


class Conv2d(_Convolution):
    """A convolution: weight (channels, C / groups, kh, kw), perhaps a bias (channels,)."""

    NAME: ClassVar[str] = "Convolution"
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"convolves", "mixes_channels"})

    def weight_shape(self, data: Shape) -> Shape:
        """(channels, C / groups, kh, kw)."""
        return (self.channels, data[0] // self.groups, *self.kernel)

    def _length(self, size: int, axis: int) -> int:
        pads = self.padding[axis] + self.padding[axis + 2]
        return window_places(size, self.kernel[axis], self.stride[axis], pads, self.dilation[axis])

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        """h' · w' · channels · (C / groups) · kh · kw."""
        return math.prod(output) * inputs[0][-3] // self.groups * math.prod(self.kernel)


@dataclass(frozen=True)
class ConvTranspose2d(_Convolution):
    """A transposed convolution: weight (C, channels / groups, kh, kw), perhaps a bias.

    Attributes:
        output_padding: how many rows and columns more there are at the bottom and right.
    """

    NAME: ClassVar[str] = "Deconvolution"
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"mixes_channels"})

    output_padding: Pair = (0, 0)

    def weight_shape(self, data: Shape) -> Shape:
        """(C, channels / groups, kh, kw)."""
        return (data[0], self.channels // self.groups, *self.kernel)

    def _length(self, size: int, axis: int) -> int:
        pads = self.padding[axis] + self.padding[axis + 2]
        window = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        return (size - 1) * self.stride[axis] - pads + window + self.output_padding[axis]

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        """C · h · w · (channels / groups) · kh · kw."""
        return math.prod(inputs[0]) * self.channels // self.groups * math.prod(self.kernel)


@dataclass(frozen=True)
class Linear(Operator):
    """A dense layer: weight (features, values), and bias (features,) if there is one.

    Attributes:
        features: how many values come out.
        flatten: whether it takes an image's values all together; else it goes over the last axis.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data", "weight", "bias")
    NAME: ClassVar[str] = "Dense"
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"mixes_channels"})

    features: int
    flatten: bool = True

    def weight_shape(self, data: Shape) -> Shape:
        """(features, values)."""
        return (self.features, math.prod(data) if self.flatten else data[-1])

    def shape(self, *inputs: Shape) -> Shape:
        """(features,), or the input's with features as the last."""
        check_weight(inputs, self.weight_shape(inputs[0]))
        return (self.features,) if self.flatten else (*inputs[0][:-1], self.features)

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        """Values in, for each value out."""
        values = math.prod(inputs[0]) if self.flatten else inputs[0][-1]
        return math.prod(output) * values


def check_weight(inputs: tuple[Shape, ...], wanted: Shape) -> None:
    """Refuse a weight, the second input, of another shape than the wanted one."""
    if len(inputs) > 1 and inputs[1] != wanted:
        raise ShapeError(f"the weight would have to be {wanted}, and is {inputs[1]}")


def window_places(size: int, kernel: int, stride: int, pads: int, dilation: int = 1) -> int:
    """How many places a window has that stays inside."""
    room = size + pads - dilation * (kernel - 1) - 1
    if room < 0:
        raise ShapeError(f"a window of {kernel} does not fit into {size + pads}")
    return room // stride + 1
