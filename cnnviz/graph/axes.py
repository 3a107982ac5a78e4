"""What the axes of a network's values stand for: the image's rows and columns, tokens, channels.

The number of a value's axes does not say what they are: (14, 14, 384) may be channels last, 196 may
be 14 · 14 places or channels. So each axis is written as the factors of which its index is made,
slowest first, and these are followed from the image through every operator. Behind a patch
embedding and a Reshape, an axis of 196 is (14 rows) · (14 columns); a class token put before them
is counted apart. A window partition takes rows apart into (8 windows, 7 apart) and (7 rows, 1
apart), and when these meet again they are rows again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import (
    Concat,
    Flatten,
    Fold,
    Linear,
    MatMul,
    Max,
    Mean,
    Min,
    Opaque,
    Reshape,
    Slice,
    Split,
    Sum,
    Take,
    Transpose,
    Unfold,
)
from cnnviz.types import Shape

#: How far the sides of what may be a map differ from the image's in their ratio, where nothing else
#: is known of them.
_LIKE_THE_IMAGE = 1.5
#: What makes one value of all along some axes.
REDUCTIONS = (Mean, Sum, Max, Min)


class Factor(NamedTuple):
    """A part of an axis's index.

    Attributes:
        kind: what it counts; of ``unknown`` nothing is known, and it may be any of the others.
        size: how many there are.
        step: how many rows or columns of the map that it comes from lie between one and the next.
    """

    kind: Literal["row", "column", "channel", "unknown"]
    size: int
    step: int = 1

    @property
    def is_place(self) -> bool:
        """Whether it says where in the image something lies."""
        return self.kind in ("row", "column")


@dataclass(frozen=True)
class Axis:
    """An axis: its factors, slowest first, without those of size 1.

    Attributes:
        factors: what its index is made of.
        before: how many entries stand before these and are no places: class token, registers.
        after: how many stand behind them.
    """

    factors: tuple[Factor, ...] = ()
    before: int = 0
    after: int = 0

    @cached_property
    def places(self) -> int:
        """How many entries there are without those before and behind."""
        return math.prod(factor.size for factor in self.factors)

    @cached_property
    def size(self) -> int:
        """How many entries there are."""
        return self.before + self.places + self.after

    @property
    def has_extra(self) -> bool:
        """Whether entries stand before or behind those of the image's places."""
        return self.before + self.after > 0

    @cached_property
    def is_placed(self) -> bool:
        """Whether its index says something about a place in the image."""
        return any(factor.is_place for factor in self.factors)

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of it."""
        return any(factor.kind == "unknown" for factor in self.factors) and not self.is_placed

    @property
    def is_line(self) -> bool:
        """Whether it is rows alone, or columns alone."""
        return not self.has_extra and len(self.factors) == 1 and self.factors[0].is_place

    def resized(self, size: int) -> Axis:
        """An axis of another size that takes its place, behind a convolution, say.

        Rows that are fewer lie as much further apart.
        """
        if size == self.size:
            return self
        if self.is_line:
            (line,) = self.factors
            apart, rest = divmod(line.step * line.size, size)
            return axis(line._replace(size=size, step=line.step if rest or not apart else apart))
        return axis(Factor("unknown" if self.is_unknown or self.size == 1 else "channel", size))


Axes = tuple[Axis, ...]


@lru_cache(maxsize=1024)
def axis(*factors: Factor) -> Axis:
    """An axis made of factors, in which rows that were taken apart are put together."""
    found: list[Factor] = []
    for factor in factors:
        if factor.size == 1:
            continue
        last = found[-1] if found else None
        if last is None or last.kind != factor.kind:
            found.append(factor)
        elif not factor.is_place:
            found[-1] = last._replace(size=last.size * factor.size)
        elif last.step == factor.size * factor.step:
            found[-1] = factor._replace(size=last.size * factor.size)
        else:
            found.append(factor)
    return Axis(tuple(found))


def find_axes(graph: Graph) -> dict[Value, Axes]:
    """What the axes of each value that depends on the input stand for."""
    channels, height, width = graph.input_size
    found = {graph.input: image_axes(channels, height, width)}
    for index in graph.layers:
        node, shapes = graph.nodes[index], graph.shapes[index]
        for output, shape in enumerate(shapes):
            axes = _behind(graph, node, output, shape, found)
            found[Value(index, output)] = _guessed(axes, shape, graph)
    return found


def image_axes(channels: int, height: int, width: int) -> Axes:
    """Those of maps, (C, h, w)."""
    sides = (Factor("channel", channels), Factor("row", height), Factor("column", width))
    return tuple(axis(side) for side in sides)


def _behind(
    graph: Graph, node: Node, output: int, shape: Shape, found: Mapping[Value, Axes]
) -> Axes:
    """The axes of one output of a node, from those of what it reads."""
    operator = node.operator
    inputs = [found.get(value) for value in node.inputs]
    data = next(axes for axes in inputs if axes is not None)
    if isinstance(operator, (Reshape, Flatten)):
        return _regrouped(data, shape)
    if isinstance(operator, Transpose):
        return tuple(data[place] for place in operator.axes)
    if isinstance(operator, Concat):
        sizes = [graph.shape(value)[operator.axis] for value in node.inputs]
        return _beside(inputs, sizes, operator.axis, shape)
    if isinstance(operator, (Slice, Split, Take)):
        parts = entries_taken(operator, output, data)
        return tuple(_taken(whole, part) for whole, part in zip(data, parts, strict=True))
    if isinstance(operator, REDUCTIONS):
        kept = [
            Axis() if place in operator.axes else whole
            for place, whole in enumerate(data)
            if operator.keep_axes or place not in operator.axes
        ]
        return tuple(kept)
    if isinstance(operator, MatMul):
        return _product(inputs, shape)
    if isinstance(operator, Unfold):
        return _unfolded(operator, graph.shape(node.inputs[0]), data)
    if isinstance(operator, Fold):
        return image_axes(*shape)
    if isinstance(operator, Linear):
        if operator.flatten:
            return (axis(Factor("unknown", operator.features)),)
        return (*data[:-1], axis(Factor("channel", operator.features)))
    if isinstance(operator, Opaque) and operator.has("rearranges"):
        return _rearranged(data, shape)
    return _element_wise(inputs, shape)


def entries_taken(
    operator: Slice | Split | Take, output: int, data: Axes
) -> tuple[Sequence[int], ...]:
    """The indices of the entries of each axis that an output takes."""
    if isinstance(operator, Slice):
        return tuple(map(range, operator.begin, operator.end, operator.steps))
    found: list[Sequence[int]] = [range(whole.size) for whole in data]
    if isinstance(operator, Split):
        edges = (0, *operator.cuts, data[operator.axis].size)
        found[operator.axis] = range(edges[output], edges[output + 1])
    else:
        first, last = operator.indices[0], operator.indices[-1]
        in_order = range(first, last + 1)
        is_run = operator.indices == tuple(in_order)
        found[operator.axis] = in_order if is_run else operator.indices
    return tuple(found)


def only_extra(whole: Axis, entries: Sequence[int]) -> bool:
    """Whether what is taken of an axis is none of the image's places: the class token, say."""
    places = range(whole.before, whole.before + whole.places)
    return whole.has_extra and not any(entry in places for entry in entries)


def _taken(whole: Axis, entries: Sequence[int]) -> Axis:
    """What is left of an axis."""
    size = len(entries)
    if isinstance(entries, range):
        begin, end = entries.start, entries.stop
        if size == whole.size:
            return whole
        last = whole.before + whole.places
        if whole.has_extra and begin <= whole.before and end >= last and entries.step == 1:
            return Axis(whole.factors, whole.before - begin, end - last)
        if whole.is_line:
            (line,) = whole.factors
            return axis(line._replace(size=size, step=line.step * entries.step))
    return axis(Factor("unknown" if whole.is_unknown else "channel", size))


def _unfolded(operator: Unfold, shape: Shape, data: Axes) -> Axes:
    """The axes of windows: what one holds, and their places."""
    if not (data[1].is_line and data[2].is_line):
        return tuple(axis(Factor("unknown", size)) for size in operator.shape(shape))
    places = operator.places(*shape[1:])
    lines = [line.factors[0] for line in data[1:]]
    down, across = (
        line._replace(size=size, step=line.step * step)
        for line, size, step in zip(lines, places, operator.stride, strict=True)
    )
    held = [*data[0].factors, Factor("channel", math.prod(operator.kernel))]
    if operator.kernel == operator.stride and operator.dilation == (1, 1):
        inner = (one._replace(size=k) for one, k in zip(lines, operator.kernel, strict=True))
        held = [*data[0].factors, *inner]
    return axis(*held), axis(down, across)


def _product(inputs: Sequence[Axes | None], shape: Shape) -> Axes:
    """The axes of a matrix product: the left one's rows, the right one's columns."""
    further = [None if axes is None else axes[:-2] for axes in inputs]
    left, right = inputs
    return (
        *_element_wise(further, shape[:-2]),
        axis(Factor("channel", shape[-2])) if left is None else left[-2],
        axis(Factor("channel", shape[-1])) if right is None else right[-1],
    )


def _beside(inputs: Sequence[Axes | None], sizes: Sequence[int], along: int, shape: Shape) -> Axes:
    """The axes of values side by side, of which some may be constant."""
    known = [axes for axes in inputs if axes is not None]
    together = list(_element_wise(known, shape))
    parts = [None if axes is None else axes[along] for axes in inputs]
    placed = [place for place, part in enumerate(parts) if part is not None and part.is_placed]
    total = sum(sizes)
    together[along] = axis(Factor("channel", total))
    lines = [part for part in parts if part is not None and part.is_line]
    if placed and len(lines) == len(placed):
        if len({line.factors[0].kind for line in lines}) == 1:
            together[along] = lines[0].resized(total)
    elif len(placed) == 1:
        only = parts[placed[0]]
        assert only is not None  # it is placed
        before, after = sum(sizes[: placed[0]]), sum(sizes[placed[0] + 1 :])
        together[along] = Axis(only.factors, before + only.before, only.after + after)
    elif not placed and any(part is not None and part.is_unknown for part in parts):
        together[along] = axis(Factor("unknown", total))
    return tuple(together)


def _element_wise(inputs: Sequence[Axes | None], shape: Shape) -> Axes:
    """The axes of what stands behind several values of one shape, or stretched to it."""
    known = [axes for axes in inputs if axes is not None]
    if len(known) == 1 and [one.size for one in known[0]] == list(shape):
        return known[0]
    found = []
    for place, size in enumerate(shape):
        from_end = place - len(shape)
        there = [axes[from_end] for axes in known if -from_end <= len(axes)]
        there = [one for one in there if one.size > 1] or there
        found.append(_joined([one.resized(size) for one in there], size))
    return tuple(found)


def _joined(several: Sequence[Axis], size: int) -> Axis:
    """What an axis is that belongs to several values: what the ones say of which most is known."""
    placed = list(dict.fromkeys(one for one in several if one.is_placed))
    if len(placed) == 1:
        return placed[0]
    # Whole rows are whole rows, however far apart they lie, and whatever rows are added to them:
    # in windows that look at a coarser map of the whole image, say, that map's.
    kinds = {factor.kind for one in placed for factor in one.factors}
    line = next((one for one in placed if one.is_line), None)
    if line is not None and len(kinds) == 1 and not any(one.has_extra for one in placed):
        return line
    unknown = not placed and any(one.is_unknown for one in several)
    return axis(Factor("unknown" if unknown else "channel", size))


def _regrouped(data: Axes, shape: Shape) -> Axes:
    """The axes of a shape in which the same values stand in the same order."""
    waiting = _in_a_row(data)
    found = []
    for size in shape:
        taken: list[Factor | Axis] = []
        left = size
        while left > 1:
            one = waiting.pop()
            if left % one.size == 0:
                taken.append(one)
                left //= one.size
            elif isinstance(one, Factor) and one.size % left == 0:
                inner = one.size // left
                taken.append(
                    one._replace(size=left, step=one.step * (inner if one.is_place else 1))
                )
                waiting.append(one._replace(size=inner))
                left = 1
            else:  # it is cut across what it was made of
                return tuple(axis(Factor("unknown", length)) for length in shape)
        found.append(_put_together(taken, size))
    return tuple(found)


def _in_a_row(data: Axes) -> list[Factor | Axis]:
    """What all axes are made of, the fastest first; an axis with other tokens stays whole."""
    found: list[Factor | Axis] = []
    for has_extra, axes in itertools.groupby(data, lambda whole: whole.has_extra):
        if has_extra:
            found.extend(axes)
        else:
            found.extend(axis(*(factor for whole in axes for factor in whole.factors)).factors)
    return found[::-1]


def _put_together(taken: Sequence[Factor | Axis], size: int) -> Axis:
    factors = [one for one in taken if isinstance(one, Factor)]
    if len(factors) == len(taken):
        return axis(*factors)
    (one, *others) = taken
    if isinstance(one, Axis) and not others:
        return one
    return axis(Factor("channel", size))


def _rearranged(data: Axes, shape: Shape) -> Axes:
    """The axes behind an operator of which only the shape is known."""
    found = [axis(Factor("unknown", size)) for size in shape]
    if len(shape) > 1 and [one.size for one in data[-2:]] == list(shape[-2:]):
        found[-2:] = data[-2:]
    return tuple(found)


def _guessed(axes: Axes, shape: Shape, graph: Graph) -> Axes:
    """The last two axes taken for height and width if nothing is known of them that speaks against.

    Behind a reshape where a capsule's numbers would look like a map of its own, they have to be as
    long as the image's.
    """
    if len(shape) < 2 or not all(one.is_unknown or one.size == 1 for one in axes[-2:]):
        return axes
    if not any(one.is_unknown for one in axes[-2:]):
        return axes
    height, width = graph.input_size[1:]
    ratio = shape[-2] * width / (shape[-1] * height)
    if not 1 / _LIKE_THE_IMAGE < ratio < _LIKE_THE_IMAGE:
        return axes
    sides = axis(Factor("row", shape[-2])), axis(Factor("column", shape[-1]))
    return (*axes[:-2], *sides)
