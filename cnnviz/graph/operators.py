"""The operators that networks are made of: typed fields, and the shape of what comes out.

Names are PyTorch's. Semantics are ONNX's, which are written down: pads are (top, left, bottom,
right), and with ``ceil_mode`` a pooling window that would start in the bottom or right padding is
left out. Shapes are without the batch. Parameters are inputs like any other, so that a weight may
be computed from others; an operator's inputs are named in :attr:`Operator.inputs`.

A new operator is one class here, a line in each importer that meets it, and a line in the lowering
of each engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cnnviz.types import Shape

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


class ShapeError(ValueError):
    """An operator does not take inputs of these shapes; the text says why."""


@dataclass(frozen=True)
class Operator:
    """What a node does.

    Attributes:
        inputs: what an operator's inputs are called, the data first. The last name stands for all
            further ones where it ends in ``...``.
        learned: which of the inputs training changes.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data",)
    learned: ClassVar[frozenset[str]] = frozenset()

    @property
    def kind(self) -> str:
        """What a person calls such a layer."""
        return type(self).__name__

    def shape(self, *inputs: Shape) -> Shape:
        """The shape of the output, from those of the inputs.

        Raises:
            ShapeError: the inputs do not fit.
        """
        return inputs[0]

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """The shapes of all outputs; nearly all operators have one."""
        return (self.shape(*inputs),)

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        """How many multiply-adds one image takes; 0 for what is not counted."""
        return 0


# --- what enters a graph -------------------------------------------------------------------------


@dataclass(frozen=True)
class Input(Operator):
    """The images: (C, H, W)."""

    inputs: ClassVar[tuple[str, ...]] = ()

    size: Shape = ()

    def shape(self, *inputs: Shape) -> Shape:
        """As it is given."""
        return self.size


@dataclass(frozen=True)
class Parameter(Operator):
    """An array stored with the network, which its node is called after; its shape is whole."""

    inputs: ClassVar[tuple[str, ...]] = ()

    size: Shape = ()

    def shape(self, *inputs: Shape) -> Shape:
        """As it is stored."""
        return self.size


@dataclass(frozen=True)
class Opaque(Operator):
    """An operator of a framework that has no typed form: only that framework's engine runs it.

    Attributes:
        framework: whose it is, ``mxnet`` say.
        name: what it is called there.
        attributes: as they are written there.
        outputs: the shapes of its outputs, as the importer found them.
        extra: what else belongs to it, in the framework's own form.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data...",)

    framework: str = ""
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[Shape, ...] = ()
    extra: Any = None

    @property
    def kind(self) -> str:
        """Its own name."""
        return self.name

    def shape(self, *inputs: Shape) -> Shape:
        """That of its first output."""
        return self.outputs[0]

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """As they were found."""
        return self.outputs


# --- layers with weights -------------------------------------------------------------------------


@dataclass(frozen=True)
class Conv2d(Operator):
    """A convolution: weight (channels, C / groups, kh, kw), perhaps a bias (channels,)."""

    inputs: ClassVar[tuple[str, ...]] = ("data", "weight", "bias")
    learned: ClassVar[frozenset[str]] = frozenset({"weight", "bias"})

    channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def kind(self) -> str:
        """``Convolution``."""
        return "Convolution"

    def weight_shape(self, data: Shape) -> Shape:
        """(channels, C / groups, kh, kw)."""
        return (self.channels, _chw(data)[0] // self.groups, *self.kernel)

    def shape(self, *inputs: Shape) -> Shape:
        """(channels, h', w')."""
        data = _chw(inputs[0])
        if data[0] % self.groups or self.channels % self.groups:
            raise ShapeError(f"{data[0]} channels do not divide into {self.groups} groups")
        _check_weight(inputs, self.weight_shape(data))
        places = tuple(
            _places(size, kernel, stride, before + after, dilation)
            for size, kernel, stride, before, after, dilation in zip(
                data[1:],
                self.kernel,
                self.stride,
                self.padding[:2],
                self.padding[2:],
                self.dilation,
            )
        )
        return (self.channels, *places)

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        """h' · w' · channels · (C / groups) · kh · kw."""
        return math.prod(output) * inputs[0][0] // self.groups * math.prod(self.kernel)


@dataclass(frozen=True)
class ConvTranspose2d(Operator):
    """A transposed convolution: weight (C, channels / groups, kh, kw), perhaps a bias."""

    inputs: ClassVar[tuple[str, ...]] = ("data", "weight", "bias")
    learned: ClassVar[frozenset[str]] = frozenset({"weight", "bias"})

    channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pads = (0, 0, 0, 0)
    output_padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def kind(self) -> str:
        """``Deconvolution``."""
        return "Deconvolution"

    def weight_shape(self, data: Shape) -> Shape:
        """(C, channels / groups, kh, kw)."""
        return (_chw(data)[0], self.channels // self.groups, *self.kernel)

    def shape(self, *inputs: Shape) -> Shape:
        """(channels, h', w')."""
        data = _chw(inputs[0])
        _check_weight(inputs, self.weight_shape(data))
        places = tuple(
            (size - 1) * stride - before - after + dilation * (kernel - 1) + 1 + further
            for size, kernel, stride, before, after, dilation, further in zip(
                data[1:],
                self.kernel,
                self.stride,
                self.padding[:2],
                self.padding[2:],
                self.dilation,
                self.output_padding,
            )
        )
        return (self.channels, *places)

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
    learned: ClassVar[frozenset[str]] = frozenset({"weight", "bias"})

    features: int
    flatten: bool = True

    @property
    def kind(self) -> str:
        """``Dense``."""
        return "Dense"

    def weight_shape(self, data: Shape) -> Shape:
        """(features, values)."""
        return (self.features, math.prod(data) if self.flatten else data[-1])

    def shape(self, *inputs: Shape) -> Shape:
        """(features,), or the input's with features as the last."""
        _check_weight(inputs, self.weight_shape(inputs[0]))
        return (self.features,) if self.flatten else (*inputs[0][:-1], self.features)

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        """Values in, for each value out."""
        values = math.prod(inputs[0]) if self.flatten else inputs[0][-1]
        return math.prod(output) * values


# --- normalisation -------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchNorm(Operator):
    """Batch norm by the stored statistics: (x - mean) / sqrt(var + eps) · scale + shift.

    Attributes:
        eps: keeps the root from 0.
        axis: of the channels, in the shape without the batch.
        fixed_scale: whether the scale is taken for 1, whatever is stored.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data", "scale", "shift", "mean", "variance")

    eps: float = 1e-5
    axis: int = 0
    fixed_scale: bool = False


@dataclass(frozen=True)
class LocalResponseNorm(Operator):
    """x / (k + alpha / size · Σ x²)^beta over ``size`` neighbouring channels (AlexNet)."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0

    @property
    def kind(self) -> str:
        """``LRN``."""
        return "LRN"


# --- pooling -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pool2d(Operator):
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pads = (0, 0, 0, 0)
    ceil_mode: bool = False

    def shape(self, *inputs: Shape) -> Shape:
        """(C, h', w')."""
        data = _chw(inputs[0])
        places = tuple(
            _pooled(size, kernel, stride, before, after, self.ceil_mode)
            for size, kernel, stride, before, after in zip(
                data[1:], self.kernel, self.stride, self.padding[:2], self.padding[2:]
            )
        )
        return (data[0], *places)


@dataclass(frozen=True)
class MaxPool2d(_Pool2d):
    """The highest value of each window."""

    @property
    def kind(self) -> str:
        """``MaxPool``."""
        return "MaxPool"


@dataclass(frozen=True)
class AvgPool2d(_Pool2d):
    """The mean of each window; whether padding counts as values that are 0."""

    count_include_pad: bool = True

    @property
    def kind(self) -> str:
        """``AvgPool``."""
        return "AvgPool"


@dataclass(frozen=True)
class GlobalAvgPool2d(Operator):
    """The mean over height and width, which stay as 1."""

    @property
    def kind(self) -> str:
        """``GlobalAvgPool``."""
        return "GlobalAvgPool"

    def shape(self, *inputs: Shape) -> Shape:
        """(C, 1, 1)."""
        return (_chw(inputs[0])[0], 1, 1)


@dataclass(frozen=True)
class GlobalMaxPool2d(Operator):
    """The highest value over height and width, which stay as 1."""

    @property
    def kind(self) -> str:
        """``GlobalMaxPool``."""
        return "GlobalMaxPool"

    def shape(self, *inputs: Shape) -> Shape:
        """(C, 1, 1)."""
        return (_chw(inputs[0])[0], 1, 1)


# --- activations ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReLU(Operator):
    """min(max(x, 0), upper); ReLU6 is the one with 6."""

    upper: float = math.inf

    @property
    def kind(self) -> str:
        """``ReLU``, ``ReLU6``."""
        return "ReLU" if math.isinf(self.upper) else f"ReLU{self.upper:g}"


@dataclass(frozen=True)
class LeakyReLU(Operator):
    """x above 0, slope · x below."""

    slope: float = 0.01


@dataclass(frozen=True)
class ELU(Operator):
    """x above 0, alpha · (exp x - 1) below."""

    alpha: float = 1.0


@dataclass(frozen=True)
class PReLU(Operator):
    """x above 0, a learned slope a channel below."""

    inputs: ClassVar[tuple[str, ...]] = ("data", "slope")
    learned: ClassVar[frozenset[str]] = frozenset({"slope"})


@dataclass(frozen=True)
class Sigmoid(Operator):
    """1 / (1 + exp -x)."""


@dataclass(frozen=True)
class Tanh(Operator):
    """The hyperbolic tangent."""


@dataclass(frozen=True)
class Softplus(Operator):
    """log(1 + exp x)."""

    @property
    def kind(self) -> str:
        """``Softrelu``, as it has been listed."""
        return "Softrelu"


# --- joins and layouts ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Elementwise(Operator):
    """Two values, element by element; a size of 1, or a missing axis, is stretched."""

    inputs: ClassVar[tuple[str, ...]] = ("left", "right")

    def shape(self, *inputs: Shape) -> Shape:
        """That of both, stretched."""
        return _broadcast(*inputs)


@dataclass(frozen=True)
class Add(_Elementwise):
    """The sum."""


@dataclass(frozen=True)
class Multiply(_Elementwise):
    """The product."""


@dataclass(frozen=True)
class Concat(Operator):
    """Values side by side along an axis of the shape without the batch."""

    inputs: ClassVar[tuple[str, ...]] = ("data...",)

    axis: int = 0

    def shape(self, *inputs: Shape) -> Shape:
        """That of the inputs, with the sum of their sizes at the axis."""
        first, *others = (list(shape) for shape in inputs)
        total = sum(shape[self.axis] for shape in inputs)
        first[self.axis] = total
        for other in others:
            other[self.axis] = total
            if other != first:
                raise ShapeError("what is put side by side differs in another axis, too")
        return tuple(first)


@dataclass(frozen=True)
class Flatten(Operator):
    """All values of an image in a row."""

    def shape(self, *inputs: Shape) -> Shape:
        """(values,)."""
        return (math.prod(inputs[0]),)


# --- arithmetic of shapes ------------------------------------------------------------------------


def _chw(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ShapeError(f"wanted is (C, h, w), and this is {shape}")
    return shape


def _check_weight(inputs: tuple[Shape, ...], wanted: Shape) -> None:
    if len(inputs) > 1 and inputs[1] != wanted:
        raise ShapeError(f"the weight would have to be {wanted}, and is {inputs[1]}")


def _places(size: int, kernel: int, stride: int, pads: int, dilation: int = 1) -> int:
    """How many places a window has that stays inside."""
    room = size + pads - dilation * (kernel - 1) - 1
    if room < 0:
        raise ShapeError(f"a window of {kernel} does not fit into {size + pads}")
    return room // stride + 1


def _pooled(size: int, kernel: int, stride: int, before: int, after: int, ceil_mode: bool) -> int:
    places = _places(size, kernel, stride, before + after)
    if ceil_mode:
        rest = (size + before + after - kernel) % stride
        # A further window, cut at the end, if it starts before the padding does.
        if rest and places * stride < size + before:
            places += 1
    return places


def _broadcast(left: Shape, right: Shape) -> Shape:
    if len(left) == len(right) + 1 and left[0] == 1:
        left = left[1:]  # a parameter, whose shape has a place for the batch
    elif len(right) == len(left) + 1 and right[0] == 1:
        right = right[1:]
    width = max(len(left), len(right))
    pairs = zip((1,) * (width - len(left)) + left, (1,) * (width - len(right)) + right)
    found = []
    for a, b in pairs:
        if a != b and 1 not in (a, b):
            raise ShapeError(f"{left} and {right} cannot be stretched to one shape")
        found.append(b if a == 1 else a)
    return tuple(found)
