"""What joins, cuts and rearranges values without changing them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from cnnviz.graph.operators.base import Operator, Pair, ShapeError, Trait, stretched_shape
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
class Take(Operator):
    """What stands at some indices, from 0, of an axis of the shape without the batch, in order."""

    axis: int
    indices: tuple[int, ...]

    def shape(self, *inputs: Shape) -> Shape:
        """The input's, with as many along the axis as there are indices."""
        found = list(inputs[0])
        if not all(0 <= index < found[self.axis] for index in self.indices):
            raise ShapeError(f"an axis of {found[self.axis]} has no places {self.indices}")
        found[self.axis] = len(self.indices)
        return tuple(found)


@dataclass(frozen=True)
class Expand(Operator):
    """Values repeated along axes of size 1, and along further ones in front of these."""

    size: Shape

    def shape(self, *inputs: Shape) -> Shape:
        """As it is given."""
        if stretched_shape(inputs[0], self.size) != self.size:
            raise ShapeError(f"{inputs[0]} cannot be stretched to {self.size}")
        return self.size


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
class Pad(Operator):
    """More before and behind, along each axis of the shape without the batch.

    Attributes:
        pads: for each axis how many before and how many behind; none is below 0.
        mode: of what: a number, what stands at the edge, what lies as far inside of the edge
            (``reflect``), or what stands at the other end (``wrap``).
        value: the number.
    """

    pads: tuple[Pair, ...]
    mode: Literal["constant", "edge", "reflect", "wrap"] = "constant"
    value: float = 0.0

    def has(self, trait: Trait) -> bool:
        """Channels stay where none are added."""
        return trait == "keeps_channels" and self.pads[0] == (0, 0)

    def shape(self, *inputs: Shape) -> Shape:
        """Longer by these."""
        (data,) = inputs
        if len(self.pads) != len(data) or min(map(min, self.pads), default=0) < 0:
            raise ShapeError(f"pads {self.pads} do not fit {data}")
        for size, around in zip(data, self.pads, strict=True):
            room = {"reflect": size - 1, "wrap": size}.get(self.mode, max(around))
            if max(around) > room:
                raise ShapeError(f"an axis of {size} has not {max(around)} values to {self.mode}")
        return tuple(before + n + after for n, (before, after) in zip(data, self.pads, strict=True))


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
