"""Painting one object on a small canvas of its own: colors, outlines, brush."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.demo.scenes.light import Random
from cnnviz.types import Color, Float64, RgbImage

_SHIFT = 4  # fractional bits of the coordinates handed to OpenCV


def hsv(hue: float, saturation: float, value: float) -> Color:
    """RGB, 0..255, of a hue in turns and of saturation and value, which are clipped to 0..1."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return round(255 * r), round(255 * g), round(255 * b)


@dataclass(frozen=True)
class Palette:
    """The colors of one object: main, a second one, a light one and a dark one."""

    main: Color
    second: Color
    light: Color
    dark: Color

    @classmethod
    def random(cls, rng: Random) -> Palette:
        """Any main color, and three that go with it."""
        hue, saturation = float(rng.random()), float(rng.uniform(0.25, 0.8))
        value = float(rng.uniform(0.6, 1.0))
        turn = float(rng.choice([0.04, 0.08, 0.33, 0.5, 0.66, 0.92]))
        return cls(
            hsv(hue, saturation, value),
            hsv(hue + turn, rng.uniform(0.2, 0.75), rng.uniform(0.55, 1.0)),
            hsv(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.03, 0.25), rng.uniform(0.85, 1.0)),
            hsv(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.4)),
        )


class Brush:
    """Paints in an object's own coordinates: radius about 1, x to the right, y downwards.

    ``color`` uint8 ``(side, side, 3)`` and ``alpha`` uint8 ``(side, side)`` are the canvas.
    """

    def __init__(self, side: int, turn: npt.NDArray[np.float64], base: Color) -> None:
        self.side = side
        self.turn = turn
        self.color: RgbImage = np.full((side, side, 3), base, np.uint8)
        self.alpha: RgbImage = np.zeros((side, side), np.uint8)
        self.unit = float(math.sqrt(abs(np.linalg.det(turn))))

    def _pixels(self, points: Float64) -> npt.NDArray[np.int32]:
        placed = points @ self.turn.T + self.side / 2
        fixed: npt.NDArray[np.int32] = np.round(placed * 2**_SHIFT).astype(np.int32)
        return fixed

    def fill(self, points: Float64, color: Color, within: Float64 | None = None) -> None:
        """A filled shape; with ``within``, only the part of it inside that shape."""
        pixels = [self._pixels(points)]
        if within is None:
            cv2.fillPoly(self.color, pixels, color, cv2.LINE_AA, _SHIFT)
            cv2.fillPoly(self.alpha, pixels, 255, cv2.LINE_AA, _SHIFT)
            return
        drawn = self.color.copy()
        cv2.fillPoly(drawn, pixels, color, cv2.LINE_AA, _SHIFT)
        self._keep(drawn, within)

    def line(
        self, points: Float64, color: Color, width: float, within: Float64 | None = None
    ) -> None:
        """An open line of a width in radii."""
        pixels, thick = [self._pixels(points)], max(1, round(width * self.unit))
        if within is None:
            cv2.polylines(self.color, pixels, False, color, thick, cv2.LINE_AA, _SHIFT)
            cv2.polylines(self.alpha, pixels, False, 255, thick, cv2.LINE_AA, _SHIFT)
            return
        drawn = self.color.copy()
        cv2.polylines(drawn, pixels, False, color, thick, cv2.LINE_AA, _SHIFT)
        self._keep(drawn, within)

    def _keep(self, drawn: RgbImage, within: Float64) -> None:
        stencil = np.zeros((self.side, self.side), np.uint8)
        cv2.fillPoly(stencil, [self._pixels(within)], 1, cv2.LINE_8, _SHIFT)
        cv2.copyTo(drawn, stencil, self.color)


def ellipse(
    x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 2 * math.pi
) -> Float64:
    """Float64 on an ellipse, clockwise on the screen from ``start`` to ``end`` radians."""
    t = np.linspace(start, end, 28)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


def smooth(*corners: tuple[float, float]) -> Float64:
    """A closed curve that rounds off the corners given (Chaikin's corner cutting, three times)."""
    points = np.array(corners, np.float64)
    for _ in range(3):
        after = np.roll(points, -1, axis=0)
        cut = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=1)
        points = cut.reshape(-1, 2)
    return points


def polyline(*corners: tuple[float, float]) -> Float64:
    """The points given, float64 ``(n, 2)``."""
    return np.array(corners, np.float64)


def mirror(points: Float64) -> Float64:
    """Points with left and right exchanged."""
    mirrored: Float64 = points * np.array([-1.0, 1.0])
    return mirrored


#: Paints an object with the colors of its palette.
Painter = Callable[[Brush, Random, Palette], None]
