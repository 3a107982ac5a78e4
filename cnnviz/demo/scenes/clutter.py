"""What lies about in a scene and in front of its objects, and is none of the eight kinds."""

from __future__ import annotations

import math

import numpy as np

from cnnviz.demo.scenes.brush import Brush, Painter, Palette, ellipse, polyline, smooth
from cnnviz.demo.scenes.light import Random


def _pebble(brush: Brush, rng: Random, paint: Palette) -> None:
    n = int(rng.integers(6, 10))
    a = np.arange(n) * 2 * math.pi / n
    r = rng.uniform(0.65, 1.0, n)
    brush.fill(
        smooth(*zip((r * np.cos(a)).tolist(), (0.8 * r * np.sin(a)).tolist(), strict=True)),
        paint.main,
    )


def _leaf(brush: Brush, rng: Random, paint: Palette) -> None:
    wide = rng.uniform(0.35, 0.6)
    blade = smooth((-1.05, 0), (-0.5, -wide), (0.2, -wide), (1.1, 0), (0.2, wide), (-0.5, wide))
    brush.fill(blade, paint.main)
    brush.line(polyline((-1.1, 0), (0.9, 0)), paint.dark, 0.05, within=blade)
    for x in np.arange(-0.6, 0.6, 0.28):
        for way in (-1, 1):
            brush.line(polyline((x, 0), (x + 0.35, way * wide)), paint.dark, 0.025, within=blade)


def _stick(brush: Brush, rng: Random, paint: Palette) -> None:
    wide, bend = rng.uniform(0.08, 0.16), rng.uniform(-0.2, 0.2)
    brush.line(polyline((-1.1, 0), (-0.2, bend), (1.1, 0)), paint.main, 2 * wide)
    brush.line(polyline((0.1, bend), (0.55, bend - 0.45)), paint.main, wide)


def _grass(brush: Brush, rng: Random, paint: Palette) -> None:
    for _ in range(int(rng.integers(2, 5))):
        x, lean = rng.uniform(-0.4, 0.4), rng.uniform(-0.7, 0.7)
        blade = smooth((x - 0.09, 1.1), (x + 0.09, 1.1), (x + 0.5 * lean, 0.0), (x + lean, -1.05))
        brush.fill(blade, paint.main if rng.random() < 0.5 else paint.second)


def _ring(brush: Brush, rng: Random, paint: Palette) -> None:
    radius = rng.uniform(0.6, 0.9)
    brush.line(
        ellipse(0, 0, radius, radius * rng.uniform(0.6, 1)), paint.main, rng.uniform(0.1, 0.25)
    )


def _block(brush: Brush, rng: Random, paint: Palette) -> None:
    n = int(rng.integers(3, 6))
    a = np.arange(n) * 2 * math.pi / n + rng.uniform(-0.25, 0.25, n)
    shape = np.stack([np.cos(a), np.sin(a)], axis=1) * 0.95
    brush.fill(shape, paint.main)
    if rng.random() < 0.5:
        brush.fill(shape * 0.55, paint.second)


def _petals(brush: Brush, rng: Random, paint: Palette) -> None:
    n = int(rng.integers(6, 10))
    for a in np.arange(n) * 2 * math.pi / n:
        c, s = math.cos(a), math.sin(a)
        petal = smooth(
            (0, 0),
            (0.5 * c + 0.3 * s, 0.5 * s - 0.3 * c),
            (c, s),
            (0.5 * c - 0.3 * s, 0.5 * s + 0.3 * c),
        )
        brush.fill(petal, paint.light)
    brush.fill(ellipse(0, 0, 0.25, 0.25), paint.second)


COVERS: tuple[Painter, ...] = (_leaf, _stick, _grass, _pebble)
CLUTTER: tuple[Painter, ...] = (*COVERS, _ring, _block, _petals)
