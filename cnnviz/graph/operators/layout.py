"""What joins, cuts and rearranges values without changing them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from cnnviz.graph.operators.base import Operator, Pads, ShapeError, Trait, image_shape
from cnnviz.types import Shape


class Identity(Operator):
    """Nothing."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels"})


@dataclass(frozen=True)
class Concat(Operator):
    """Values side by side along an axis of the shape without the batch."""

    inputs: ClassVar[tuple[str, ...]] = ("data...",)
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"mixes_channels"})

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
class Pad2d(Operator):
    """More rows and columns around: of a number, or of what stands at the edge."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels"})

    pads: Pads
    mode: Literal["constant", "edge", "reflect"] = "constant"
    value: float = 0.0

    def shape(self, *inputs: Shape) -> Shape:
        """(C, h', w')."""
        channels, height, width = image_shape(inputs[0])
        top, left, bottom, right = self.pads
        return (channels, height + top + bottom, width + left + right)


class Flatten(Operator):
    """All values of an image in a row."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"rearranges"})

    def shape(self, *inputs: Shape) -> Shape:
        """(values,)."""
        return (math.prod(inputs[0]),)


@dataclass(frozen=True)
class Reshape(Operator):
    """The same values in the same order, in another shape; the batch stays."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"rearranges"})

    size: Shape

    def shape(self, *inputs: Shape) -> Shape:
        """As it is given."""
        if math.prod(inputs[0]) != math.prod(self.size):
            raise ShapeError(f"{inputs[0]} does not have as many values as {self.size}")
        return self.size


@dataclass(frozen=True)
class Transpose(Operator):
    """The axes of the shape without the batch in another order; the batch stays."""

    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"rearranges"})

    axes: tuple[int, ...]

    def shape(self, *inputs: Shape) -> Shape:
        """The input's, in this order."""
        return tuple(inputs[0][axis] for axis in self.axes)
