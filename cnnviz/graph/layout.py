"""How a value holds maps of the image: channels first, channels last, or as tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cnnviz.graph.axes import Axes, Axis
from cnnviz.graph.graph import Graph, Value, is_spatial
from cnnviz.types import Shape


@dataclass(frozen=True)
class Layout:
    """Where maps (C, h, w) are in the shape of a value, without the batch.

    It is (C, h, w) itself, (h, w, C), or one axis of tokens with one of channels before or behind
    it. Tokens are h·w places, row by row, perhaps with others before or behind them: a class token,
    a distillation token, registers.

    Attributes:
        channels: how many there are.
        height: of a map.
        width: of a map.
        channel_axis: the axis of the channels.
        as_tokens: whether height and width share an axis.
        before: how many tokens that are no places stand before these.
        after: how many stand behind them.
        known: whether it follows from what the operators do, or may just be read from the shape.
    """

    channels: int
    height: int
    width: int
    channel_axis: int = 0
    as_tokens: bool = False
    before: int = 0
    after: int = 0
    known: bool = True

    @property
    def map_shape(self) -> Shape:
        """(C, h, w)."""
        return (self.channels, self.height, self.width)

    @property
    def is_maps(self) -> bool:
        """Whether the value's own shape is (C, h, w)."""
        return self.channel_axis == 0 and not self.as_tokens

    @property
    def places(self) -> slice:
        """Which tokens are places in the image."""
        return slice(self.before, self.before + self.height * self.width)

    @property
    def has_other_tokens(self) -> bool:
        """Whether there are tokens that are no places in the image."""
        return self.before + self.after > 0

    @property
    def side_axes(self) -> tuple[int, int] | None:
        """The axes of height and width; None where they share one."""
        if self.as_tokens:
            return None
        return (1, 2) if self.channel_axis == 0 else (0, 1)


def find_layouts(graph: Graph, axes: Mapping[Value, Axes]) -> dict[Value, Layout]:
    """For each value that holds maps of the image how it does, from what its axes stand for.

    Args:
        graph: the network.
        axes: what :func:`cnnviz.graph.axes.find_axes` returned.
    """
    found = {}
    for value, whole in axes.items():
        layout = _layout(whole, graph.shape(value))
        if layout is not None:
            found[value] = layout
    return found


@lru_cache(maxsize=256)
def _layout(axes: Axes, shape: Shape) -> Layout | None:
    if len(axes) == 2:
        return _of_tokens(axes)
    if not is_spatial(shape) and not is_spatial(shape[-1:] + shape[:-1]):
        return None
    for channel_axis in (0, 2):
        height, width = (axes[place] for place in range(3) if place != channel_axis)
        if _are_sides(height, width) and _is_channels(axes[channel_axis], height, width):
            return Layout(shape[channel_axis], height.size, width.size, channel_axis)
    if is_spatial(shape) and all(one.is_unknown or one.size == 1 for one in axes[1:]):
        channels, rows, columns = shape
        return Layout(channels, rows, columns, known=False)
    return None


def _of_tokens(axes: Axes) -> Layout | None:
    for place, tokens in enumerate(axes):
        sides = [Axis((factor,)) for factor in tokens.factors]
        channels = axes[1 - place]
        if len(sides) == 2 and _are_sides(*sides) and _is_channels(channels, *sides):
            height, width = (side.size for side in sides)
            extra = (tokens.before, tokens.after)
            return Layout(channels.size, height, width, 1 - place, True, *extra)
    return None


def _are_sides(height: Axis, width: Axis) -> bool:
    """Whether these are rows and columns, of which one may be a single one."""
    if height.size * width.size == 1:
        return False
    return all(
        side.size == 1 or (side.is_line and side.factors[0].kind == kind)
        for side, kind in ((height, "row"), (width, "column"))
    )


def _is_channels(whole: Axis, *sides: Axis) -> bool:
    """Whether an axis is of channels, which may also tell apart what lies within a place."""
    if whole.has_extra:
        return False
    steps = {factor.kind: factor.step for side in sides for factor in side.factors}
    return not any(
        factor.is_place and factor.step * factor.size > steps.get(factor.kind, 0)
        for factor in whole.factors
    )
