"""Charts as the page draws them: numbers placed in an SVG, without any style in elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

WIDTH, HEIGHT = 340, 250
"""The size of a chart in its own units."""

LEFT, RIGHT, TOP, BOTTOM = 44, 330, 10, 206
"""Where its axes are."""

COLORS = 8
"""How many colors the page has for lines; further lines are dashed."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        title: what it shows.
        style: its classes in the page.
        points: from left to right.
    """

    title: str
    style: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Bar:
    """A bar of a chart, from the bottom up to a height."""

    title: str
    left: float
    right: float
    height: float


@dataclass(frozen=True)
class Chart:
    """Lines and bars over two axes.

    Attributes:
        title: above it.
        about: what is seen in it, for those who cannot see it.
        x_title: below the horizontal axis.
        y_title: beside the vertical one.
        x: where the horizontal axis begins and ends.
        y: where the vertical one does.
        percents: whether the vertical axis is in percent.
    """

    title: str
    about: str
    x_title: str
    y_title: str
    lines: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    percents: bool = False

    def x_of(self, value: float) -> str:
        """A place on the horizontal axis, in the chart's units."""
        return _placed(value, self.x, LEFT, RIGHT)

    def y_of(self, value: float) -> str:
        """A place on the vertical axis, in the chart's units."""
        return _placed(value, self.y, BOTTOM, TOP)

    def points(self, line: Line) -> str:
        """A line as the ``points`` of a polyline."""
        return " ".join(f"{self.x_of(x)},{self.y_of(y)}" for x, y in line.points)

    @property
    def x_ticks(self) -> list[tuple[str, str]]:
        """(place, text) along the horizontal axis."""
        return [(self.x_of(value), f"{value:.3g}") for value in _ticks(self.x)]

    @property
    def y_ticks(self) -> list[tuple[str, str]]:
        """(place, text) along the vertical axis."""
        return [
            (self.y_of(value), f"{value:.0%}" if self.percents else f"{value:.3g}")
            for value in _ticks(self.y)
        ]


def line_style(number: int) -> str:
    """The classes of a chart's line of a number: colors first, then the same dashed."""
    return f"c{number % COLORS} d{number // COLORS % 3}"


def bounds(lines: Sequence[Line]) -> tuple[float, float]:
    """A vertical axis that holds lines: 0 to 1 if they lie there and are not far smaller."""
    values = [y for _, y in chain.from_iterable(line.points for line in lines)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low >= 0 and 0.3 < high <= 1:
        return 0.0, 1.0
    low = min(low, 0.0)
    return low, high if high > low else low + 1


def _placed(value: float, axis: tuple[float, float], first: float, last: float) -> str:
    low, high = axis
    return f"{first + (value - low) / (high - low) * (last - first):.1f}"


def _ticks(axis: tuple[float, float]) -> list[float]:
    low, high = axis
    return [low + (high - low) * step / 4 for step in range(5)]
