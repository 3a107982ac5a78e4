"""What all operators have, and what enters a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from cnnviz.types import Shape

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]

#: What may be true of an operator.
#: ``convolves``: it is a convolution over height and width;
#: ``mixes_channels``: channels of its output are made of several channels, or of several inputs';
#: ``keeps_channels``: its output has the channels of its data in their order, at most scaled;
#: ``rearranges``: it brings values into another shape or order: axes change their meaning;
#: ``stretches``: its inputs are stretched to one shape, axes being counted from the last.
Trait = Literal["convolves", "mixes_channels", "keeps_channels", "rearranges", "stretches"]


class ShapeError(ValueError):
    """An operator does not take inputs of these shapes; the text says why."""


@dataclass(frozen=True)
class Operator:
    """What a node does.

    A subclass with fields of its own is a frozen dataclass. One without needs no decorator, which
    would cost time whenever cnnviz starts.

    Attributes:
        inputs: what an operator's inputs are called, the data first. The last name stands for all
            further ones where it ends in ``...``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data",)

    #: What a person calls such a layer; empty for the class's own name.
    NAME: ClassVar[str] = ""
    #: What is true of all operators of this class.
    TRAITS: ClassVar[frozenset[Trait]] = frozenset()

    @property
    def kind(self) -> str:
        """What a person calls such a layer."""
        return self.NAME or type(self).__name__

    def has(self, trait: Trait) -> bool:
        """Whether something is true of this operator; see :data:`Trait`."""
        return trait in self.TRAITS

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
        traits: what is true of it, as the importer says.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data...",)

    framework: str = ""
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[Shape, ...] = ()
    extra: Any = None
    traits: frozenset[Trait] = frozenset()

    @property
    def kind(self) -> str:
        """Its own name."""
        return self.name

    def has(self, trait: Trait) -> bool:
        """As the importer says."""
        return trait in self.traits

    def shape(self, *inputs: Shape) -> Shape:
        """That of its first output."""
        return self.outputs[0]

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """As they were found."""
        return self.outputs


def stretched_shape(*shapes: Shape) -> Shape:
    """The shape that all can be stretched to: an axis of size 1, or a missing first one, is.

    Raises:
        ShapeError: they cannot.
    """
    width = max(map(len, shapes))
    found = []
    for sizes in zip(*((1,) * (width - len(shape)) + shape for shape in shapes), strict=True):
        wide = set(sizes) - {1}
        if len(wide) > 1:
            named = " and ".join(map(str, shapes))
            raise ShapeError(f"{named} cannot be stretched to one shape")
        found.append(wide.pop() if wide else 1)
    return tuple(found)


def without_batch(
    operator: Operator, inputs: Sequence[Shape], constant: Sequence[bool]
) -> Sequence[Shape]:
    """Shapes of an operator's inputs as its rules take them.

    Constants may be stored with a first axis of size 1 where the others have the batch, if they are
    stretched.
    """
    data = [len(shape) for shape, fixed in zip(inputs, constant, strict=True) if not fixed]
    if not operator.has("stretches") or not data:
        return inputs
    return [
        shape[1:] if fixed and len(shape) == max(data) + 1 and shape[0] == 1 else shape
        for shape, fixed in zip(inputs, constant, strict=True)
    ]


def image_shape(shape: Shape) -> Shape:
    """A shape that has to be an image's, (C, h, w).

    Raises:
        ShapeError: it is not.
    """
    if len(shape) != 3:
        raise ShapeError(f"wanted is (C, h, w), and this is {shape}")
    return shape
