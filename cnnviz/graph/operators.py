"""The operators that networks are made of: typed fields, and the shape of what comes out.

Names are PyTorch's. Semantics are ONNX's, which are written down: pads are (top, left, bottom,
right), and with ``ceil_mode`` a pooling window that would start in the bottom or right padding is
left out. Shapes are without the batch. Parameters are inputs like any other, so that a weight may
be computed from others; an operator's inputs are named in :attr:`Operator.inputs`.

A new operator is one class here, a line in each importer that meets it, and a line in the lowering
of each engine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

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
    """

    inputs: ClassVar[tuple[str, ...]] = ("data",)

    @property
    def kind(self) -> str:
        """What a person calls such a layer."""
        return type(self).__name__

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution over height and width."""
        return False

    @property
    def mixes_channels(self) -> bool:
        """Whether channels of its output are made of several channels, or of several inputs'."""
        return False

    @property
    def keeps_channels(self) -> bool:
        """Whether its output has the channels of its data in their order, at most scaled."""
        return False

    @property
    def rearranges(self) -> bool:
        """Whether it brings values into another shape or order: axes change their meaning."""
        return False

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
        traits: names of those properties of operators that are true of it: ``convolves``, ...
    """

    inputs: ClassVar[tuple[str, ...]] = ("data...",)

    framework: str = ""
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[Shape, ...] = ()
    extra: Any = None
    traits: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        """Its own name."""
        return self.name

    @property
    def convolves(self) -> bool:
        """As the importer says."""
        return "convolves" in self.traits

    @property
    def mixes_channels(self) -> bool:
        """As the importer says."""
        return "mixes_channels" in self.traits

    @property
    def keeps_channels(self) -> bool:
        """As the importer says."""
        return "keeps_channels" in self.traits

    @property
    def rearranges(self) -> bool:
        """As the importer says."""
        return "rearranges" in self.traits

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

    @property
    def convolves(self) -> bool:
        """It does."""
        return True

    @property
    def mixes_channels(self) -> bool:
        """It does."""
        return True

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
                strict=False,
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

    @property
    def mixes_channels(self) -> bool:
        """It does."""
        return True

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
                strict=False,
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

    features: int
    flatten: bool = True

    @property
    def kind(self) -> str:
        """``Dense``."""
        return "Dense"

    @property
    def mixes_channels(self) -> bool:
        """It does."""
        return True

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


# --- normalization -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Normalization(Operator):
    """What brings values to a common scale; it stands behind a layer, or before it."""


@dataclass(frozen=True)
class BatchNorm(Normalization):
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

    def learns(self, place: int) -> bool:
        """Whether training changes the input at this place: the scale, unless fixed, and shift."""
        return place == 2 or (place == 1 and not self.fixed_scale)

    @property
    def keeps_channels(self) -> bool:
        """It does."""
        return True


@dataclass(frozen=True)
class LocalResponseNorm(Normalization):
    """x / (k + alpha / size · Σ x²)^beta over ``size`` neighboring channels (AlexNet)."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0

    @property
    def kind(self) -> str:
        """``LRN``."""
        return "LRN"


@dataclass(frozen=True)
class InstanceNorm(Normalization):
    """Mean 0 and variance 1 over height and width, then scale and shift for each channel."""

    inputs: ClassVar[tuple[str, ...]] = ("data", "scale", "shift")

    eps: float = 1e-5


@dataclass(frozen=True)
class LayerNorm(Normalization):
    """Mean 0 and variance 1 along an axis of the shape without the batch, then scale and shift."""

    inputs: ClassVar[tuple[str, ...]] = ("data", "scale", "shift")

    axis: int = -1
    eps: float = 1e-5


@dataclass(frozen=True)
class GroupNorm(Normalization):
    """Mean 0 and variance 1 over groups of channels, then scale and shift."""

    inputs: ClassVar[tuple[str, ...]] = ("data", "scale", "shift")

    groups: int = 1
    eps: float = 1e-5


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
                data[1:], self.kernel, self.stride, self.padding[:2], self.padding[2:], strict=False
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
class AdaptiveAvgPool2d(Operator):
    """The means of as many windows as are asked for, as even as whole pixels allow."""

    size: Pair

    @property
    def kind(self) -> str:
        """``AdaptiveAvgPool``."""
        return "AdaptiveAvgPool"

    def shape(self, *inputs: Shape) -> Shape:
        """(C, *size)."""
        return (_chw(inputs[0])[0], *self.size)


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
class Activation(Operator):
    """A function of each value by itself, such as stands behind a layer."""


@dataclass(frozen=True)
class ReLU(Activation):
    """min(max(x, 0), upper); ReLU6 is the one with 6.

    Attributes:
        upper: what values are cut at.
        standalone: whether it is an activation of its own, for ReLU rules to act on, and not a part
            of another that is written down in several operators (the gate of a hard swish).
    """

    upper: float = math.inf
    standalone: bool = True

    @property
    def kind(self) -> str:
        """``ReLU``, ``ReLU6``."""
        return "ReLU" if math.isinf(self.upper) else f"ReLU{self.upper:g}"


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """x above 0, slope · x below."""

    slope: float = 0.01


@dataclass(frozen=True)
class ELU(Activation):
    """x above 0, alpha · (exp x - 1) below."""

    alpha: float = 1.0


@dataclass(frozen=True)
class SELU(Activation):
    """λ x above 0, λ α (exp x - 1) below (Klambauer et al. 2017)."""


@dataclass(frozen=True)
class GELU(Activation):
    """x · Φ(x), with the normal distribution's Φ (Hendrycks & Gimpel 2016)."""


@dataclass(frozen=True)
class PReLU(Activation):
    """x above 0, below it a learned slope times x: one for each channel, or one for all."""

    inputs: ClassVar[tuple[str, ...]] = ("data", "slope")


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp -x)."""


@dataclass(frozen=True)
class HardSigmoid(Activation):
    """min(max(slope · x + offset, 0), 1)."""

    slope: float = 0.2
    offset: float = 0.5


@dataclass(frozen=True)
class Tanh(Activation):
    """The hyperbolic tangent."""


@dataclass(frozen=True)
class Softsign(Activation):
    """x / (1 + |x|)."""


@dataclass(frozen=True)
class Softplus(Activation):
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

    @property
    def keeps_channels(self) -> bool:
        """It does."""
        return True


@dataclass(frozen=True)
class Add(_Elementwise):
    """The sum."""


@dataclass(frozen=True)
class Subtract(_Elementwise):
    """The left less the right."""


@dataclass(frozen=True)
class Multiply(_Elementwise):
    """The product."""


@dataclass(frozen=True)
class Divide(_Elementwise):
    """The left by the right."""


@dataclass(frozen=True)
class Affine(Operator):
    """scale · x + shift, with numbers that are not stored."""

    scale: float = 1.0
    shift: float = 0.0

    @property
    def keeps_channels(self) -> bool:
        """It does."""
        return True


@dataclass(frozen=True)
class Identity(Operator):
    """Nothing."""

    @property
    def keeps_channels(self) -> bool:
        """It does."""
        return True


@dataclass(frozen=True)
class Pad2d(Operator):
    """More rows and columns around: of a number, or of what stands at the edge."""

    pads: Pads
    mode: Literal["constant", "edge", "reflect"] = "constant"
    value: float = 0.0

    @property
    def keeps_channels(self) -> bool:
        """It does."""
        return True

    def shape(self, *inputs: Shape) -> Shape:
        """(C, h', w')."""
        channels, height, width = _chw(inputs[0])
        top, left, bottom, right = self.pads
        return (channels, height + top + bottom, width + left + right)


@dataclass(frozen=True)
class Mean(Operator):
    """The mean over axes of the shape without the batch."""

    axes: tuple[int, ...]
    keep_axes: bool = False

    def shape(self, *inputs: Shape) -> Shape:
        """The input's without these axes, or with 1 in their places."""
        return _reduced(inputs[0], self.axes, self.keep_axes)


@dataclass(frozen=True)
class Sum(Operator):
    """The sum over axes of the shape without the batch."""

    axes: tuple[int, ...]
    keep_axes: bool = False

    def shape(self, *inputs: Shape) -> Shape:
        """The input's without these axes, or with 1 in their places."""
        return _reduced(inputs[0], self.axes, self.keep_axes)


@dataclass(frozen=True)
class Reshape(Operator):
    """The same values in the same order, in another shape; the batch stays."""

    size: Shape

    @property
    def rearranges(self) -> bool:
        """It does."""
        return True

    def shape(self, *inputs: Shape) -> Shape:
        """As it is given."""
        if math.prod(inputs[0]) != math.prod(self.size):
            raise ShapeError(f"{inputs[0]} does not have as many values as {self.size}")
        return self.size


@dataclass(frozen=True)
class Transpose(Operator):
    """The axes of the shape without the batch in another order; the batch stays."""

    axes: tuple[int, ...]

    @property
    def rearranges(self) -> bool:
        """It does."""
        return True

    def shape(self, *inputs: Shape) -> Shape:
        """The input's, in this order."""
        return tuple(inputs[0][axis] for axis in self.axes)


@dataclass(frozen=True)
class Concat(Operator):
    """Values side by side along an axis of the shape without the batch."""

    inputs: ClassVar[tuple[str, ...]] = ("data...",)

    axis: int = 0

    @property
    def mixes_channels(self) -> bool:
        """It does."""
        return True

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
class Slice(Operator):
    """A part of each axis of the shape without the batch: from ``begin`` to before ``end``.

    ``steps`` says how far apart what is taken lies.
    """

    begin: tuple[int, ...]
    end: tuple[int, ...]
    steps: tuple[int, ...]

    def shape(self, *inputs: Shape) -> Shape:
        """What is taken of each axis."""
        found = []
        for size, begin, end, step in zip(inputs[0], self.begin, self.end, self.steps, strict=True):
            if not 0 <= begin < end <= size:
                raise ShapeError(f"{begin} to {end} is no part of an axis of {size}")
            found.append(-(-(end - begin) // step))
        return tuple(found)


@dataclass(frozen=True)
class Split(Operator):
    """An axis cut into parts, each an output of its own: before each of the places ``cuts``."""

    axis: int
    cuts: tuple[int, ...]

    def shape(self, *inputs: Shape) -> Shape:
        """That of the first part."""
        return self.shapes(*inputs)[0]

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Those of the parts, in order."""
        size = inputs[0][self.axis]
        edges = (0, *self.cuts, size)
        if list(edges) != sorted(set(edges)):
            raise ShapeError(f"an axis of {size} cannot be cut at {self.cuts}")
        before, after = inputs[0][: self.axis], inputs[0][self.axis + 1 :]
        return tuple((*before, end - begin, *after) for begin, end in itertools.pairwise(edges))


@dataclass(frozen=True)
class Flatten(Operator):
    """All values of an image in a row."""

    @property
    def rearranges(self) -> bool:
        """It does."""
        return True

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


def _reduced(shape: Shape, axes: tuple[int, ...], keep_axes: bool) -> Shape:
    if keep_axes:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


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
