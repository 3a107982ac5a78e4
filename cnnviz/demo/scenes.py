"""Images with known truth: little illustrated scenes, and a mask for every object in them.

:func:`scene` turns a seed into an image of one or two objects of eight kinds on a cluttered
background, and says for every object which pixels of it can be seen. The same seed gives the same
image. Colors are drawn from one palette for all kinds, so that only shape and inner structure
tell the kinds apart; size, rotation, light, background and what lies in front vary freely.

From the command line::

    python -m cnnviz.demo.scenes FOLDER --count 8
    python -m cnnviz.demo.scenes FOLDER --kinds umbrella fish --seed 3
"""

from __future__ import annotations

import argparse
import colorsys
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.demo import CLASSES
from cnnviz.errors import UsageError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Color = tuple[int, int, int]
Random = np.random.Generator

SIZE = 224  #: height and width of a scene in pixels
_FINE = 2  # objects are drawn this much larger and then reduced, for smooth edges
_SHIFT = 4  # fractional bits of the coordinates handed to OpenCV
_MARGIN = 1.2  # half the side of an object's own canvas, in radii
_LEAST_VISIBLE = 0.6  # share of an object that must stay in sight
_LEAST_AREA = 900  # and the pixels that this must be


@dataclass(frozen=True)
class Object:
    """One object of a scene.

    ``kind`` is its name, ``index`` that name's place in :data:`cnnviz.demo.CLASSES`, and
    ``mask`` bool ``(224, 224)``: the pixels in which the object itself can be seen.
    """

    kind: str
    index: int
    mask: Mask


@dataclass(frozen=True)
class Scene:
    """An image, uint8 ``(224, 224, 3)`` RGB, and the objects in it, farthest first."""

    image: Bytes
    objects: tuple[Object, ...]


def scene(seed: int, kinds: Sequence[str] | None = None) -> Scene:
    """The scene of a seed.

    ``seed`` is any integer from 0 on. ``kinds`` names the one or two objects wanted, two different
    ones; without it the seed decides on both number (one or two, equally often) and kinds.
    Raises :class:`cnnviz.errors.UsageError` for a negative seed and for kinds that cannot be drawn.
    """
    if seed < 0:
        raise UsageError(f"A scene's seed is 0 or more, not {seed}.")
    if kinds is not None:
        _check_kinds(kinds)
    rng = np.random.default_rng([seed, 0xCA7])
    if kinds is None:
        number = int(rng.integers(1, 3))
        chosen = [CLASSES[i] for i in rng.permutation(len(CLASSES))[:number]]
    else:
        chosen = list(kinds)

    light = _Light.draw(rng)
    canvas = _background(rng)
    for _ in range(int(rng.integers(4, 13))):
        radius = float(rng.uniform(7, 24))
        stamp = _stamp(rng, _CLUTTER[int(rng.integers(len(_CLUTTER)))], radius, light, math.pi)
        _paste(canvas, stamp, rng.uniform(0, SIZE, 2), light)

    masks: list[Mask] = []
    places = _places(rng, len(chosen))
    for kind, (x, y, radius) in zip(chosen, places, strict=True):
        painter, lean = _PAINTERS[kind]
        stamp = _stamp(rng, painter, radius, light, lean)
        covered = _paste(canvas, stamp, np.array([x, y]), light)
        masks = [mask & ~covered for mask in masks]
        masks.append(covered)

    whole = [int(mask.sum()) for mask in masks]
    for _ in range(int(rng.integers(0, 2 + len(chosen)))):
        x, y, radius = places[int(rng.integers(len(places)))]
        angle, distance = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.35, 1.0)
        spot = np.array([x + distance * math.cos(angle), y + distance * math.sin(angle)])
        painter = _COVERS[int(rng.integers(len(_COVERS)))]
        stamp = _stamp(rng, painter, float(rng.uniform(0.3, 0.6) * radius), light, math.pi)
        covered = _covered(stamp, spot)
        left = [int((mask & ~covered).sum()) for mask in masks]
        if all(n >= max(_LEAST_VISIBLE * w, _LEAST_AREA) for n, w in zip(left, whole, strict=True)):
            _paste(canvas, stamp, spot, light)
            masks = [mask & ~covered for mask in masks]

    image = _finish(rng, canvas)
    objects = tuple(
        Object(kind, CLASSES.index(kind), mask) for kind, mask in zip(chosen, masks, strict=True)
    )
    return Scene(image, objects)


def _check_kinds(kinds: Sequence[str]) -> None:
    known = ", ".join(CLASSES)
    if isinstance(kinds, str) or not 1 <= len(kinds) <= 2 or len(set(kinds)) != len(kinds):
        raise UsageError(f"A scene shows one or two different kinds, not {kinds!r}; of: {known}.")
    for kind in kinds:
        if kind not in CLASSES:
            raise UsageError(f"There is no kind of object called {kind!r}; there are: {known}.")


def _places(rng: Random, number: int) -> list[tuple[float, float, float]]:
    """Center x, center y and radius in pixels: well inside the image, two hardly overlapping."""
    if number == 1:
        radius = float(rng.uniform(38, 78))
        x, y = rng.uniform(0.85 * radius, SIZE - 0.85 * radius, 2)
        return [(float(x), float(y), radius)]
    while True:
        radii = rng.uniform(36, 56, 2)
        centers = rng.uniform(0, SIZE, (2, 2))
        inside = (centers > 0.85 * radii[:, None]) & (centers < SIZE - 0.85 * radii[:, None])
        if inside.all() and np.hypot(*(centers[0] - centers[1])) > 0.9 * radii.sum():
            return [
                (float(x), float(y), float(r)) for (x, y), r in zip(centers, radii, strict=True)
            ]


# --- light ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Light:
    """Where the light comes from (a unit vector in the image) and how hard it is."""

    x: float
    y: float
    relief: float
    shadow: float

    @classmethod
    def draw(cls, rng: Random) -> _Light:
        angle = rng.uniform(0, 2 * math.pi)
        return cls(
            math.cos(angle),
            math.sin(angle),
            float(rng.uniform(0.5, 1.1)),
            float(rng.uniform(0.2, 0.6)),
        )


def _finish(rng: Random, canvas: Floats) -> Bytes:
    """Light the whole image: a slope, a vignette, patches of shade, a cast, a little noise."""
    rows, columns = _grid()
    angle = rng.uniform(0, 2 * math.pi)
    slope = rng.uniform(0.0, 0.25) * (columns * math.cos(angle) + rows * math.sin(angle))
    field = 1.0 + slope - rng.uniform(0.0, 0.2) * (rows**2 + columns**2)
    if rng.random() < 0.4:
        dapple = _crop(rng, _noise(5), 1.0)
        field = field - rng.uniform(0.15, 0.45) * np.clip(dapple * 2.5, 0, 1)
    cast = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.9, 1.15)
    lit = canvas * (np.clip(field, 0.3, 1.5)[:, :, None] * cast).astype(np.float32)
    grain = _crop(rng, _noise(0), 1.0) * np.float32(rng.uniform(0, 4))
    lit += grain[:, :, None]
    image: Bytes = np.clip(lit + 0.5, 0, 255).astype(np.uint8)
    return image


@functools.lru_cache(maxsize=1)
def _grid() -> tuple[Floats, Floats]:
    """Row and column coordinates from -1 to 1, each ``(224, 224)``."""
    axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    return rows, columns


@functools.cache
def _noise(octaves: int) -> Floats:
    """A fixed sheet of noise, float32 ``(512, 512)`` about -1..1, rougher for few octaves.

    Scenes cut random pieces out of it, which is far cheaper than new noise for each.
    """
    rng = np.random.default_rng([octaves, 0x5EE])
    sheet = rng.standard_normal((512, 512)).astype(np.float32)
    if octaves == 0:
        return sheet
    total = np.zeros((512, 512), np.float32)
    for octave in range(octaves):
        side = 4 * 2**octave * (8 if octaves < 4 else 1)
        coarse = rng.standard_normal((side, side)).astype(np.float32)
        total += cv2.resize(coarse, (512, 512), interpolation=cv2.INTER_CUBIC) / 1.8**octave
    result: Floats = np.tanh(total / np.float32(1.3 * total.std()))
    return result


def _crop(
    rng: Random, sheet: Floats, zoom: float, side: int = SIZE, stretch: float = 1.0
) -> Floats:
    """A random piece of a noise sheet, ``(side, side)``, enlarged by ``zoom`` (and stretched)."""
    height = min(512, max(2, int(side / zoom)))
    width = min(512, max(2, int(side / zoom / stretch)))
    top, left = int(rng.integers(0, 513 - height)), int(rng.integers(0, 513 - width))
    piece = sheet[top : top + height, left : left + width]
    if rng.random() < 0.5:
        piece = piece[::-1]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    if piece.shape == (side, side):
        return np.ascontiguousarray(piece)
    resized: Floats = cv2.resize(np.ascontiguousarray(piece), (side, side))
    return resized


# --- color --------------------------------------------------------------------------------------


def _hsv(hue: float, saturation: float, value: float) -> Color:
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return round(255 * r), round(255 * g), round(255 * b)


@dataclass(frozen=True)
class _Palette:
    """The colors of one object: main, a second one, a light one and a dark one."""

    main: Color
    second: Color
    light: Color
    dark: Color

    @classmethod
    def draw(cls, rng: Random) -> _Palette:
        hue, saturation = float(rng.random()), float(rng.uniform(0.25, 0.8))
        value = float(rng.uniform(0.6, 1.0))
        turn = float(rng.choice([0.04, 0.08, 0.33, 0.5, 0.66, 0.92]))
        return cls(
            _hsv(hue, saturation, value),
            _hsv(hue + turn, rng.uniform(0.2, 0.75), rng.uniform(0.55, 1.0)),
            _hsv(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.03, 0.25), rng.uniform(0.85, 1.0)),
            _hsv(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.4)),
        )


# --- drawing one object on its own small canvas --------------------------------------------------


class _Brush:
    """Paints in an object's own coordinates: radius about 1, x to the right, y downwards.

    ``color`` uint8 ``(side, side, 3)`` and ``alpha`` uint8 ``(side, side)`` are the canvas.
    """

    def __init__(self, side: int, turn: npt.NDArray[np.float64], base: Color) -> None:
        self.side = side
        self.turn = turn
        self.color: Bytes = np.full((side, side, 3), base, np.uint8)
        self.alpha: Bytes = np.zeros((side, side), np.uint8)
        self.unit = float(math.sqrt(abs(np.linalg.det(turn))))

    def _pixels(self, points: Points) -> npt.NDArray[np.int32]:
        placed = points @ self.turn.T + self.side / 2
        fixed: npt.NDArray[np.int32] = np.round(placed * 2**_SHIFT).astype(np.int32)
        return fixed

    def fill(self, points: Points, color: Color, within: Points | None = None) -> None:
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
        self, points: Points, color: Color, width: float, within: Points | None = None
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

    def _keep(self, drawn: Bytes, within: Points) -> None:
        stencil = np.zeros((self.side, self.side), np.uint8)
        cv2.fillPoly(stencil, [self._pixels(within)], 1, cv2.LINE_8, _SHIFT)
        cv2.copyTo(drawn, stencil, self.color)


def _ellipse(
    x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 2 * math.pi
) -> Points:
    """Points on an ellipse, clockwise on the screen from ``start`` to ``end`` radians."""
    t = np.linspace(start, end, 28)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


def _smooth(*corners: tuple[float, float]) -> Points:
    """A closed curve that rounds off the corners given (Chaikin's corner cutting, three times)."""
    points = np.array(corners, np.float64)
    for _ in range(3):
        after = np.roll(points, -1, axis=0)
        cut = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=1)
        points = cut.reshape(-1, 2)
    return points


def _shape(*corners: tuple[float, float]) -> Points:
    return np.array(corners, np.float64)


def _mirror(points: Points) -> Points:
    mirrored: Points = points * np.array([-1.0, 1.0])
    return mirrored


Painter = Callable[[_Brush, Random, _Palette], None]


def _butterfly(brush: _Brush, rng: Random, paint: _Palette) -> None:
    top = _smooth((0, 0), (0.25, -0.75), (0.85, -0.95), (1.05, -0.6), (0.85, -0.1), (0.3, 0.1))
    low = _smooth((0, 0.0), (0.55, -0.05), (0.85, 0.3), (0.7, 0.85), (0.35, 0.85), (0.05, 0.4))
    spread, ring = rng.uniform(0.85, 1.0), rng.uniform(0.72, 0.85)
    spots = int(rng.integers(1, 4))
    for wing, color in ((low, paint.second), (top, paint.main)):
        middle = wing.mean(axis=0)
        for side in (wing, _mirror(wing)):
            side = side * np.array([spread, 1.0])
            center = middle * np.sign([side[:, 0].mean(), 1.0]) * np.array([spread, 1.0])
            brush.fill(side, paint.dark)
            brush.fill(center + (side - center) * ring, color)
            for number in range(spots):
                out = center * (1.25 - 0.45 * number)
                size = 0.15 - 0.03 * number
                brush.fill(_ellipse(out[0], out[1], size, size), paint.light, within=side)
    for way in (-1, 1):
        feeler = _shape((0, -0.3), (0.1 * way, -0.65), (0.28 * way, -0.92))
        brush.line(feeler, paint.dark, 0.05)
        brush.fill(_ellipse(0.28 * way, -0.92, 0.05, 0.05), paint.dark)
    brush.fill(_ellipse(0, 0.08, 0.11, 0.52), paint.dark)
    brush.fill(_ellipse(0, -0.42, 0.12, 0.12), paint.dark)


def _fish(brush: _Brush, rng: Random, paint: _Palette) -> None:
    deep = rng.uniform(0.42, 0.6)
    body = _smooth(
        (-0.95, 0.02), (-0.5, -deep * 1.3), (0.3, -deep), (0.72, 0), (0.3, deep), (-0.5, deep * 1.3)
    )
    fork = rng.uniform(0.55, 0.8)
    tail = _smooth(
        (0.45, 0),
        (0.75, -0.2),
        (1.05, -fork),
        (1.12, -fork * 0.8),
        (0.88, 0),
        (1.12, fork * 0.8),
        (1.05, fork),
        (0.75, 0.2),
    )
    brush.fill(tail, paint.second)
    brush.fill(
        _smooth((-0.45, -deep * 0.7), (-0.2, -deep - 0.38), (0.45, -deep - 0.2), (0.5, -0.1)),
        paint.second,
    )
    brush.fill(
        _smooth((-0.2, deep * 0.7), (0.05, deep + 0.32), (0.4, deep + 0.15), (0.3, 0.1)),
        paint.second,
    )
    brush.fill(body, paint.main)
    pattern = int(rng.integers(3))
    if pattern == 0:
        for x in np.arange(-0.25, 0.7, rng.uniform(0.22, 0.34)):
            band = _smooth(
                (x, -1), (x + 0.13, -1), (x + 0.2, 0), (x + 0.13, 1), (x, 1), (x + 0.07, 0)
            )
            brush.fill(band, paint.light, within=body)
    elif pattern == 1:
        for row, y in enumerate(np.arange(-0.5, 0.6, 0.17)):
            for x in np.arange(-0.3 + 0.08 * (row % 2), 0.6, 0.17):
                scale = _ellipse(x, y, 0.09, 0.09, -math.pi / 2, math.pi / 2)
                brush.line(scale, paint.dark, 0.02, within=body)
    else:
        brush.fill(
            _smooth((-1, 0.1), (0, 0.22), (0.8, 0.05), (0.8, 1), (-1, 1)), paint.light, within=body
        )
    brush.line(_ellipse(-0.62, 0, 0.25, 0.45, -1.1, 1.1), paint.dark, 0.04, within=body)
    brush.fill(_smooth((-0.2, 0.02), (0.2, 0.05), (0.3, 0.32), (0.0, 0.25)), paint.second)
    brush.fill(_ellipse(-0.63, -0.12, 0.13, 0.13), (250, 250, 245))
    brush.fill(_ellipse(-0.65, -0.12, 0.07, 0.07), (20, 20, 25))


def _mushroom(brush: _Brush, rng: Random, paint: _Palette) -> None:
    wide, foot = rng.uniform(0.2, 0.3), rng.uniform(0.28, 0.42)
    stem = _smooth(
        (-wide, -0.1),
        (wide, -0.1),
        (wide, 0.5),
        (foot, 0.98),
        (0, 1.05),
        (-foot, 0.98),
        (-wide, 0.5),
    )
    brush.fill(stem, paint.light)
    brush.fill(
        _smooth((-wide, 0.2), (wide, 0.2), (wide + 0.12, 0.42), (0, 0.34), (-wide - 0.12, 0.42)),
        paint.light,
    )
    high = rng.uniform(0.85, 1.0)
    cap = _smooth(
        (-1.0, 0.12),
        (-1.0, -0.35),
        (-0.6, -high),
        (0.0, -high * 1.12),
        (0.6, -high),
        (1.0, -0.35),
        (1.0, 0.12),
        (0.5, 0.18),
        (0, 0.2),
        (-0.5, 0.18),
    )
    brush.fill(_ellipse(0, 0.06, 0.82, 0.2), paint.second)
    for x in np.linspace(-0.7, 0.7, 11):
        brush.line(_shape((0.4 * x, -0.1), (x, 0.2)), paint.dark, 0.02)
    brush.fill(np.minimum(cap, [9.0, 0.1]), paint.main)
    shown = _ellipse(0, 0.06, 0.8, 0.12)
    brush.fill(shown, paint.second, within=shown)
    for x in np.linspace(-0.68, 0.68, 12):
        brush.line(_shape((0.5 * x, -0.05), (x, 0.16)), paint.dark, 0.02, within=shown)
    for _ in range(int(rng.integers(5, 10))):
        x, y, r = rng.uniform(-0.8, 0.8), rng.uniform(-0.85, -0.15), rng.uniform(0.07, 0.17)
        brush.fill(_ellipse(x, y, r, 0.85 * r), paint.light, within=np.minimum(cap, [9.0, -0.03]))


def _sailboat(brush: _Brush, rng: Random, paint: _Palette) -> None:
    lean = rng.uniform(-0.05, 0.1)
    brush.fill(_shape((-0.04, -1.0), (0.04, -1.0), (0.04, 0.5), (-0.04, 0.5)), paint.dark)
    main = np.concatenate(
        [
            _shape((0.08, -0.92), (0.08, 0.32)),
            _ellipse(0.08, 0.32, 0.78 + lean, 1.24, 0, -math.pi / 2) * [1.0, 1.0],
        ]
    )
    jib = np.concatenate(
        [
            _shape((-0.08, -0.8), (-0.08, 0.32)),
            _ellipse(-0.08, 0.32, -0.62 + lean, 1.12, 0, -math.pi / 2),
        ]
    )
    main[2:] = main[2:] * 0.55 + 0.45 * (
        main[2:3] + (main[-1:] - main[2:3]) * np.linspace(0, 1, len(main) - 2)[:, None]
    )
    jib[2:] = jib[2:] * 0.45 + 0.55 * (
        jib[2:3] + (jib[-1:] - jib[2:3]) * np.linspace(0, 1, len(jib) - 2)[:, None]
    )
    brush.fill(main, paint.light)
    brush.fill(jib, paint.second)
    if rng.random() < 0.6:
        for y in np.arange(-0.5, 0.3, rng.uniform(0.26, 0.4)):
            brush.fill(
                _shape((-1, y), (1, y + 0.06), (1, y + 0.17), (-1, y + 0.1)),
                paint.second,
                within=main,
            )
    else:
        brush.fill(_ellipse(0.32, 0.0, 0.14, 0.14), paint.main, within=main)
    hull = _smooth(
        (-0.95, 0.4), (-0.98, 0.42), (-0.7, 0.92), (0.6, 0.92), (0.98, 0.38), (0.95, 0.36), (0, 0.5)
    )
    brush.fill(hull, paint.main)
    brush.line(_shape((-1, 0.56), (0, 0.64), (1, 0.54)), paint.light, 0.08, within=hull)
    for x in (-0.4, -0.05, 0.3):
        brush.fill(_ellipse(x, 0.75, 0.06, 0.06), paint.dark, within=hull)
    brush.fill(_shape((0, -1.08), (0.3, -1.0), (0, -0.9)), paint.main)


def _snail(brush: _Brush, rng: Random, paint: _Palette) -> None:
    body = _smooth(
        (-1.0, 0.1),
        (-0.78, -0.22),
        (-0.6, 0.1),
        (-0.45, 0.5),
        (0.3, 0.55),
        (1.1, 0.82),
        (1.05, 0.92),
        (-0.4, 0.92),
        (-0.85, 0.7),
    )
    for x in (-0.98, -0.72):
        brush.line(_shape((x * 0.95, 0.1), (x - 0.03, -0.42)), paint.second, 0.07)
        brush.fill(_ellipse(x - 0.03, -0.45, 0.08, 0.08), paint.second)
    brush.fill(body, paint.second)
    brush.line(_ellipse(-0.85, 0.2, 0.14, 0.12, 0.5, 1.9), paint.dark, 0.04, within=body)
    shell = _ellipse(0.18, 0.02, 0.74, 0.74)
    brush.fill(shell, paint.main)
    turns = rng.uniform(2.0, 2.7)
    t = np.linspace(0, 1, 60)
    angle = 2 * math.pi * turns * t + rng.uniform(0.2, 1.2)
    curl = np.stack([0.18 + 0.74 * t * np.cos(angle), 0.02 + 0.74 * t * np.sin(angle)], axis=1)
    brush.line(curl, paint.dark, 0.085, within=shell)
    if rng.random() < 0.5:
        for a in np.arange(0, 2 * math.pi, 0.42):
            rib = _shape(
                (0.18 + 0.6 * math.cos(a), 0.02 + 0.6 * math.sin(a)),
                (0.18 + math.cos(a + 0.1), 0.02 + math.sin(a + 0.1)),
            )
            brush.line(rib, paint.light, 0.05, within=shell)


def _starfish(brush: _Brush, rng: Random, paint: _Palette) -> None:
    waist, tip = rng.uniform(0.34, 0.46), rng.uniform(0.1, 0.16)
    corners: list[tuple[float, float]] = []
    tips = []
    for arm in range(5):
        a = 2 * math.pi * arm / 5 - math.pi / 2 + rng.uniform(-0.1, 0.1)
        reach = rng.uniform(0.98, 1.1)
        tips.append((a, reach))
        for turn, far in ((-tip, reach), (tip, reach), (0.52, waist * 1.12), (0.72, waist * 1.12)):
            corners.append((far * math.cos(a + turn), far * math.sin(a + turn)))
    star = _smooth(*corners)
    brush.fill(star, paint.main)
    for a, reach in tips:
        c, s = math.cos(a), math.sin(a)
        for number in range(7):
            d = 0.1 + 0.125 * number
            if d < reach - 0.1:
                brush.fill(_ellipse(d * c, d * s, 0.055, 0.055), paint.light, within=star)
                for way in (-1, 1):
                    off = way * (0.17 - 0.13 * d)
                    dot = _ellipse((d + 0.06) * c - off * s, (d + 0.06) * s + off * c, 0.03, 0.03)
                    brush.fill(dot, paint.second)


def _teapot(brush: _Brush, rng: Random, paint: _Palette) -> None:
    handle = _smooth((0.5, -0.3), (1.0, -0.45), (1.18, 0.0), (1.0, 0.42), (0.5, 0.5))
    brush.line(np.concatenate([handle, handle[:1]]), paint.second, 0.14)
    brush.fill(
        _smooth(
            (-0.45, 0.45),
            (-0.85, 0.2),
            (-0.95, -0.3),
            (-1.2, -0.42),
            (-0.88, -0.5),
            (-0.7, -0.15),
            (-0.5, -0.05),
        ),
        paint.second,
    )
    body = _smooth(
        (-0.68, -0.3),
        (-0.35, -0.52),
        (0.35, -0.52),
        (0.68, -0.3),
        (0.85, 0.25),
        (0.5, 0.8),
        (-0.5, 0.8),
        (-0.85, 0.25),
    )
    brush.fill(_shape((-0.42, 0.66), (0.42, 0.66), (0.46, 0.86), (-0.46, 0.86)), paint.dark)
    brush.fill(body, paint.main)
    brush.fill(_ellipse(0, -0.72, 0.12, 0.12), paint.second)
    brush.fill(_ellipse(0, -0.44, 0.46, 0.2, math.pi, 2 * math.pi), paint.second)
    brush.line(_shape((-0.5, -0.43), (0.5, -0.43)), paint.dark, 0.05)
    if rng.random() < 0.5:
        band = rng.uniform(0.0, 0.3)
        brush.fill(
            _shape((-1, band), (1, band), (1, band + 0.2), (-1, band + 0.2)),
            paint.light,
            within=body,
        )
    else:
        for a in np.arange(0, 2 * math.pi, 2 * math.pi / 5):
            petal = _ellipse(0.19 * math.cos(a), 0.14 + 0.19 * math.sin(a), 0.12, 0.12)
            brush.fill(petal, paint.light, within=body)
        brush.fill(_ellipse(0, 0.14, 0.1, 0.1), paint.dark)


def _umbrella(brush: _Brush, rng: Random, paint: _Palette) -> None:
    long = rng.uniform(0.85, 1.0)
    brush.line(_shape((0, -0.2), (0, long - 0.12)), paint.dark, 0.07)
    brush.line(_ellipse(0.15, long - 0.14, 0.15, 0.16, math.pi, 0.1), paint.dark, 0.09)
    brush.line(_shape((0, -1.05), (0, -0.7)), paint.dark, 0.07)
    high, panels = rng.uniform(0.85, 1.05), int(rng.integers(4, 7))
    dome = _ellipse(0, 0.05, 1.05, high, -math.pi, 0)
    edges = 1.05 * np.sin(np.linspace(-math.pi / 2, math.pi / 2, panels + 1))
    rim = [
        _ellipse((a + b) / 2, 0.05, (b - a) / 2, 0.1, 0, -math.pi)[1:]
        for a, b in reversed(list(itertools.pairwise(edges)))
    ]
    canopy = np.concatenate([dome, *rim])
    brush.fill(canopy, paint.main)
    t = np.linspace(0, math.pi / 2, 14)
    for number, (a, b) in enumerate(itertools.pairwise(edges)):
        left = np.stack([a * np.sin(t), 0.05 - high * np.cos(t)], axis=1)
        right = np.stack([b * np.sin(t), 0.05 - high * np.cos(t)], axis=1)[::-1]
        if number % 2:
            brush.fill(np.concatenate([left, right]), paint.second, within=canopy)
        if number:
            brush.line(left, paint.dark, 0.025, within=canopy)


def _pebble(brush: _Brush, rng: Random, paint: _Palette) -> None:
    n = int(rng.integers(6, 10))
    a = np.arange(n) * 2 * math.pi / n
    r = rng.uniform(0.65, 1.0, n)
    brush.fill(
        _smooth(*zip((r * np.cos(a)).tolist(), (0.8 * r * np.sin(a)).tolist(), strict=True)),
        paint.main,
    )


def _leaf(brush: _Brush, rng: Random, paint: _Palette) -> None:
    wide = rng.uniform(0.35, 0.6)
    blade = _smooth((-1.05, 0), (-0.5, -wide), (0.2, -wide), (1.1, 0), (0.2, wide), (-0.5, wide))
    brush.fill(blade, paint.main)
    brush.line(_shape((-1.1, 0), (0.9, 0)), paint.dark, 0.05, within=blade)
    for x in np.arange(-0.6, 0.6, 0.28):
        for way in (-1, 1):
            brush.line(_shape((x, 0), (x + 0.35, way * wide)), paint.dark, 0.025, within=blade)


def _stick(brush: _Brush, rng: Random, paint: _Palette) -> None:
    wide, bend = rng.uniform(0.08, 0.16), rng.uniform(-0.2, 0.2)
    brush.line(_shape((-1.1, 0), (-0.2, bend), (1.1, 0)), paint.main, 2 * wide)
    brush.line(_shape((0.1, bend), (0.55, bend - 0.45)), paint.main, wide)


def _grass(brush: _Brush, rng: Random, paint: _Palette) -> None:
    for _ in range(int(rng.integers(2, 5))):
        x, lean = rng.uniform(-0.4, 0.4), rng.uniform(-0.7, 0.7)
        blade = _smooth((x - 0.09, 1.1), (x + 0.09, 1.1), (x + 0.5 * lean, 0.0), (x + lean, -1.05))
        brush.fill(blade, paint.main if rng.random() < 0.5 else paint.second)


def _ring(brush: _Brush, rng: Random, paint: _Palette) -> None:
    radius = rng.uniform(0.6, 0.9)
    brush.line(
        _ellipse(0, 0, radius, radius * rng.uniform(0.6, 1)), paint.main, rng.uniform(0.1, 0.25)
    )


def _block(brush: _Brush, rng: Random, paint: _Palette) -> None:
    n = int(rng.integers(3, 6))
    a = np.arange(n) * 2 * math.pi / n + rng.uniform(-0.25, 0.25, n)
    shape = np.stack([np.cos(a), np.sin(a)], axis=1) * 0.95
    brush.fill(shape, paint.main)
    if rng.random() < 0.5:
        brush.fill(shape * 0.55, paint.second)


def _petals(brush: _Brush, rng: Random, paint: _Palette) -> None:
    n = int(rng.integers(6, 10))
    for a in np.arange(n) * 2 * math.pi / n:
        c, s = math.cos(a), math.sin(a)
        petal = _smooth(
            (0, 0),
            (0.5 * c + 0.3 * s, 0.5 * s - 0.3 * c),
            (c, s),
            (0.5 * c - 0.3 * s, 0.5 * s + 0.3 * c),
        )
        brush.fill(petal, paint.light)
    brush.fill(_ellipse(0, 0, 0.25, 0.25), paint.second)


# Each kind's painter, and how far it may lean from upright, in radians.
_PAINTERS: dict[str, tuple[Painter, float]] = {
    "butterfly": (_butterfly, math.pi),
    "fish": (_fish, 0.9),
    "mushroom": (_mushroom, 0.6),
    "sailboat": (_sailboat, 0.45),
    "snail": (_snail, 0.45),
    "starfish": (_starfish, math.pi),
    "teapot": (_teapot, 0.5),
    "umbrella": (_umbrella, 0.9),
}
_COVERS: tuple[Painter, ...] = (_leaf, _stick, _grass, _pebble)
_CLUTTER: tuple[Painter, ...] = (*_COVERS, _ring, _block, _petals)


@dataclass(frozen=True)
class _Stamp:
    """A finished object: float32 color ``(side, side, 3)``, 0..255, and alpha ``(side, side)``."""

    color: Floats
    alpha: Floats


def _stamp(rng: Random, painter: Painter, radius: float, light: _Light, lean: float) -> _Stamp:
    """Draw an object of a radius in pixels, turn it, give it relief and texture."""
    side = 2 * math.ceil(_MARGIN * radius)
    angle = float(rng.uniform(-lean, lean))
    flip = 1.0 if rng.random() < 0.5 else -1.0
    squash = float(rng.uniform(0.88, 1.0))
    spin = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = spin @ np.diag([flip * squash, 1.0]) * (radius * _FINE)
    paint = _Palette.draw(rng)
    brush = _Brush(side * _FINE, turn, paint.main)
    painter(brush, rng, paint)

    alpha8 = cv2.resize(brush.alpha, (side, side), interpolation=cv2.INTER_AREA)
    color: Floats = cv2.resize(brush.color, (side, side), interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    # A rounded body: height grows with the distance from the edge, and the slope meets the light.
    solid = (alpha8 > 127).astype(np.uint8)
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, 3)
    height = np.sqrt(np.minimum(depth, 0.35 * radius))
    height = cv2.GaussianBlur(height, (0, 0), 0.5 + 0.03 * radius)
    slope = cv2.Sobel(height, cv2.CV_32F, 1, 0) * light.x
    slope += cv2.Sobel(height, cv2.CV_32F, 0, 1) * light.y
    shade = 1.0 - np.float32(0.16 * light.relief) * slope
    kind = int(rng.integers(3))
    if kind:
        sheet = _noise(3 if kind == 1 else 5)
        stretch = float(rng.choice([1.0, 4.0]))
        shade += np.float32(rng.uniform(0.04, 0.14)) * _crop(rng, sheet, 1.0, side, stretch)
    color *= np.clip(shade, 0.35, 1.6)[:, :, None]
    return _Stamp(color, alpha8.astype(np.float32) / np.float32(255))


def _window(side: int, center: Points) -> tuple[slice, slice, slice, slice]:
    """Rows and columns of the scene that a stamp covers, and those of the stamp itself."""
    left, top = (round(float(c) - side / 2) for c in center)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = max(min(left + side, SIZE), x0), max(min(top + side, SIZE), y0)
    return slice(y0, y1), slice(x0, x1), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)


def _covered(stamp: _Stamp, center: Points) -> Mask:
    """The scene's pixels that a stamp would hide, bool ``(224, 224)``."""
    mask = np.zeros((SIZE, SIZE), np.bool_)
    rows, columns, own_rows, own_columns = _window(len(stamp.alpha), center)
    mask[rows, columns] = stamp.alpha[own_rows, own_columns] > 0.5
    return mask


def _paste(canvas: Floats, stamp: _Stamp, center: Points, light: _Light) -> Mask:
    """Put a stamp with its shadow on the canvas; the pixels that it covers, bool ``(224, 224)``."""
    side = len(stamp.alpha)
    reach = 0.05 * side
    soft = cv2.GaussianBlur(stamp.alpha, (0, 0), 0.5 + 0.02 * side)
    rows, columns, own_rows, own_columns = _window(
        side, center - reach * np.array([-light.x, -light.y])
    )
    canvas[rows, columns] *= 1 - np.float32(light.shadow) * soft[own_rows, own_columns, None]
    rows, columns, own_rows, own_columns = _window(side, center)
    alpha = stamp.alpha[own_rows, own_columns, None]
    under = canvas[rows, columns]
    canvas[rows, columns] = under + alpha * (stamp.color[own_rows, own_columns] - under)
    return _covered(stamp, center)


# --- backgrounds ---------------------------------------------------------------------------------


def _blend(weight: Floats, low: Color, high: Color) -> Floats:
    """Colors between two by a weight ``(224, 224)``, clipped to 0..1: ``(224, 224, 3)``."""
    start, end = np.array(low, np.float32), np.array(high, np.float32)
    mixed: Floats = start + np.clip(weight, 0, 1)[:, :, None] * (end - start)
    return mixed


def _two_tones(rng: Random) -> tuple[Color, Color]:
    hue, saturation = float(rng.random()), float(rng.uniform(0.1, 0.6))
    value = float(rng.uniform(0.4, 0.95))
    return (
        _hsv(hue, saturation, value),
        _hsv(
            hue + rng.uniform(-0.12, 0.12),
            saturation * rng.uniform(0.5, 1.2),
            value * rng.uniform(0.55, 0.9),
        ),
    )


def _ground(rng: Random) -> Floats:
    """Sand, earth or felt: noise of two sizes."""
    coarse = _crop(rng, _noise(5), float(rng.uniform(0.6, 1.6)))
    fine = _crop(rng, _noise(3), float(rng.uniform(0.5, 1.0)))
    return _blend(0.5 + 0.35 * coarse + 0.2 * fine, *_two_tones(rng))


def _planks(rng: Random) -> Floats:
    """Boards with grain."""
    grain = _crop(rng, _noise(3), 1.0, stretch=7.0)
    canvas = _blend(0.5 + 0.5 * grain, *_two_tones(rng))
    at = int(rng.integers(0, 30))
    while at < SIZE:
        step = int(rng.integers(28, 60))
        canvas[at : at + step] *= np.float32(rng.uniform(0.8, 1.1))
        canvas[at : at + 2] *= np.float32(0.55)
        at += step
    return canvas if rng.random() < 0.5 else np.ascontiguousarray(canvas.transpose(1, 0, 2))


def _waves(rng: Random) -> Floats:
    """Water: long ripples, lighter toward one side."""
    ripple = _crop(rng, _noise(3), 1.0, stretch=float(rng.uniform(3, 6)))
    rows, _ = _grid()
    return _blend(0.5 + 0.3 * ripple + rng.uniform(-0.5, 0.5) * rows, *_two_tones(rng))


def _meadow(rng: Random) -> Floats:
    """Strokes in all tones, like grass or hay."""
    low, high = _two_tones(rng)
    canvas = _ground(rng).astype(np.uint8)
    lean = rng.uniform(-0.6, 0.6)
    number = 220
    starts = rng.uniform(-10, SIZE + 10, (number, 2))
    lengths, sways = rng.uniform(12, 34, number), rng.uniform(-0.35, 0.35, number) + lean
    mix = rng.uniform(0, 1, number)
    for start, length, sway, m in zip(starts, lengths, sways, mix, strict=True):
        end = start + length * np.array([math.sin(sway), -math.cos(sway)])
        color = tuple(float(a + m * (b - a)) for a, b in zip(low, high, strict=True))
        cv2.line(
            canvas,
            start.astype(int).tolist(),
            end.astype(int).tolist(),
            color,
            1 + int(m > 0.6),
            cv2.LINE_AA,
        )
    return canvas.astype(np.float32)


def _cloth(rng: Random) -> Floats:
    """Woven stripes, plaid or checks."""
    low, high = _two_tones(rng)
    rows, columns = _grid()
    turn, pitch = rng.uniform(0, math.pi), rng.uniform(8, 30)
    u = columns * math.cos(turn) + rows * math.sin(turn)
    v = rows * math.cos(turn) - columns * math.sin(turn)
    hard = rng.uniform(1, 6)
    stripes = np.clip(0.5 + hard * np.sin(pitch * u), 0, 1)
    if rng.random() < 0.6:
        stripes = 0.5 * stripes + 0.5 * np.clip(0.5 + hard * np.sin(pitch * v), 0, 1)
    return _blend(stripes + 0.15 * _crop(rng, _noise(0), 1.0), low, high)


def _bokeh(rng: Random) -> Floats:
    """Soft discs of light out of focus."""
    low, high = _two_tones(rng)
    rows, _ = _grid()
    canvas = _blend(0.5 + 0.5 * rows, low, high)
    for _ in range(int(rng.integers(8, 22))):
        center, radius = rng.uniform(0, SIZE, 2), float(rng.uniform(6, 34))
        disc = np.zeros((SIZE, SIZE), np.uint8)
        cv2.circle(disc, center.astype(int).tolist(), int(radius), 255, -1, cv2.LINE_AA)
        color = np.array(_hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.6, 1)), np.float32)
        box = cv2.boundingRect(disc)
        x, y, w, h = box
        weight = disc[y : y + h, x : x + w, None].astype(np.float32) / 255 * rng.uniform(0.15, 0.5)
        part = canvas[y : y + h, x : x + w]
        part += weight.astype(np.float32) * (color - part)
    blurred: Floats = cv2.GaussianBlur(canvas, (0, 0), 1.5)
    return blurred


def _clouds(rng: Random) -> Floats:
    """A sky: soft clouds over a slope of color."""
    rows, _ = _grid()
    low, high = _two_tones(rng)
    sky = _blend(0.5 + 0.5 * rows, low, high)
    cover = np.clip(_crop(rng, _noise(5), float(rng.uniform(0.8, 1.8)), stretch=1.6) * 1.3, 0, 1)
    white = np.array(_hsv(rng.random(), 0.08, rng.uniform(0.8, 1)), np.float32)
    sky += 0.8 * cover[:, :, None] * (white - sky)
    return sky


_BACKGROUNDS: tuple[Callable[[Random], Floats], ...] = (
    _ground,
    _planks,
    _waves,
    _meadow,
    _cloth,
    _bokeh,
    _clouds,
)


def _background(rng: Random) -> Floats:
    canvas = _BACKGROUNDS[int(rng.integers(len(_BACKGROUNDS)))](rng)
    return np.ascontiguousarray(canvas, np.float32)


# --- command line --------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Write scenes as PNG files: ``python -m cnnviz.demo.scenes --help``."""
    parser = argparse.ArgumentParser(
        prog="python -m cnnviz.demo.scenes",
        description="Write generated scenes to a folder, named after what is in them.",
    )
    parser.add_argument("folder", type=Path, help="where the PNG files go; made if missing")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first scene (default 0)")
    parser.add_argument("--count", type=int, default=1, help="how many, seeds counting up")
    parser.add_argument(
        "--kinds", nargs="+", metavar="KIND", help="one or two of: " + ", ".join(CLASSES)
    )
    options = parser.parse_args(arguments)
    try:
        for seed in range(options.seed, options.seed + options.count):
            drawn = scene(seed, options.kinds)
            name = "_and_".join(thing.kind for thing in drawn.objects)
            if options.count > 1:
                name += f"_{seed}"
            options.folder.mkdir(parents=True, exist_ok=True)
            file = options.folder / f"{name}.png"
            done, data = cv2.imencode(".png", drawn.image[:, :, ::-1])
            if not done:
                raise UsageError(f"OpenCV cannot write PNG files here, so {file} was not made.")
            file.write_bytes(data.tobytes())
            print(file)
    except (UsageError, OSError) as problem:
        parser.error(str(problem))


if __name__ == "__main__":
    main()
