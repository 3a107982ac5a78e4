"""The eight kinds of object that the demo network knows, and how each is painted."""

from __future__ import annotations

import itertools
import math

import numpy as np

from cnnviz.demo.scenes.brush import Brush, Painter, Palette, ellipse, mirror, polyline, smooth
from cnnviz.demo.scenes.light import Random


def _butterfly(brush: Brush, rng: Random, paint: Palette) -> None:
    top = smooth((0, 0), (0.25, -0.75), (0.85, -0.95), (1.05, -0.6), (0.85, -0.1), (0.3, 0.1))
    low = smooth((0, 0.0), (0.55, -0.05), (0.85, 0.3), (0.7, 0.85), (0.35, 0.85), (0.05, 0.4))
    spread, ring = rng.uniform(0.85, 1.0), rng.uniform(0.72, 0.85)
    spots = int(rng.integers(1, 4))
    for wing, color in ((low, paint.second), (top, paint.main)):
        middle = wing.mean(axis=0)
        for side in (wing, mirror(wing)):
            side = side * np.array([spread, 1.0])
            center = middle * np.sign([side[:, 0].mean(), 1.0]) * np.array([spread, 1.0])
            brush.fill(side, paint.dark)
            brush.fill(center + (side - center) * ring, color)
            for number in range(spots):
                out = center * (1.25 - 0.45 * number)
                size = 0.15 - 0.03 * number
                brush.fill(ellipse(out[0], out[1], size, size), paint.light, within=side)
    for way in (-1, 1):
        feeler = polyline((0, -0.3), (0.1 * way, -0.65), (0.28 * way, -0.92))
        brush.line(feeler, paint.dark, 0.05)
        brush.fill(ellipse(0.28 * way, -0.92, 0.05, 0.05), paint.dark)
    brush.fill(ellipse(0, 0.08, 0.11, 0.52), paint.dark)
    brush.fill(ellipse(0, -0.42, 0.12, 0.12), paint.dark)


def _fish(brush: Brush, rng: Random, paint: Palette) -> None:
    deep = rng.uniform(0.42, 0.6)
    body = smooth(
        (-0.95, 0.02), (-0.5, -deep * 1.3), (0.3, -deep), (0.72, 0), (0.3, deep), (-0.5, deep * 1.3)
    )
    fork = rng.uniform(0.55, 0.8)
    tail = smooth(
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
        smooth((-0.45, -deep * 0.7), (-0.2, -deep - 0.38), (0.45, -deep - 0.2), (0.5, -0.1)),
        paint.second,
    )
    brush.fill(
        smooth((-0.2, deep * 0.7), (0.05, deep + 0.32), (0.4, deep + 0.15), (0.3, 0.1)),
        paint.second,
    )
    brush.fill(body, paint.main)
    pattern = int(rng.integers(3))
    if pattern == 0:
        for x in np.arange(-0.25, 0.7, rng.uniform(0.22, 0.34)):
            band = smooth(
                (x, -1), (x + 0.13, -1), (x + 0.2, 0), (x + 0.13, 1), (x, 1), (x + 0.07, 0)
            )
            brush.fill(band, paint.light, within=body)
    elif pattern == 1:
        for row, y in enumerate(np.arange(-0.5, 0.6, 0.17)):
            for x in np.arange(-0.3 + 0.08 * (row % 2), 0.6, 0.17):
                scale = ellipse(x, y, 0.09, 0.09, -math.pi / 2, math.pi / 2)
                brush.line(scale, paint.dark, 0.02, within=body)
    else:
        brush.fill(
            smooth((-1, 0.1), (0, 0.22), (0.8, 0.05), (0.8, 1), (-1, 1)), paint.light, within=body
        )
    brush.line(ellipse(-0.62, 0, 0.25, 0.45, -1.1, 1.1), paint.dark, 0.04, within=body)
    brush.fill(smooth((-0.2, 0.02), (0.2, 0.05), (0.3, 0.32), (0.0, 0.25)), paint.second)
    brush.fill(ellipse(-0.63, -0.12, 0.13, 0.13), (250, 250, 245))
    brush.fill(ellipse(-0.65, -0.12, 0.07, 0.07), (20, 20, 25))


def _mushroom(brush: Brush, rng: Random, paint: Palette) -> None:
    wide, foot = rng.uniform(0.2, 0.3), rng.uniform(0.28, 0.42)
    stem = smooth(
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
        smooth((-wide, 0.2), (wide, 0.2), (wide + 0.12, 0.42), (0, 0.34), (-wide - 0.12, 0.42)),
        paint.light,
    )
    high = rng.uniform(0.85, 1.0)
    cap = smooth(
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
    brush.fill(ellipse(0, 0.06, 0.82, 0.2), paint.second)
    for x in np.linspace(-0.7, 0.7, 11):
        brush.line(polyline((0.4 * x, -0.1), (x, 0.2)), paint.dark, 0.02)
    brush.fill(np.minimum(cap, [9.0, 0.1]), paint.main)
    shown = ellipse(0, 0.06, 0.8, 0.12)
    brush.fill(shown, paint.second, within=shown)
    for x in np.linspace(-0.68, 0.68, 12):
        brush.line(polyline((0.5 * x, -0.05), (x, 0.16)), paint.dark, 0.02, within=shown)
    for _ in range(int(rng.integers(5, 10))):
        x, y, r = rng.uniform(-0.8, 0.8), rng.uniform(-0.85, -0.15), rng.uniform(0.07, 0.17)
        brush.fill(ellipse(x, y, r, 0.85 * r), paint.light, within=np.minimum(cap, [9.0, -0.03]))


def _sailboat(brush: Brush, rng: Random, paint: Palette) -> None:
    lean = rng.uniform(-0.05, 0.1)
    brush.fill(polyline((-0.04, -1.0), (0.04, -1.0), (0.04, 0.5), (-0.04, 0.5)), paint.dark)
    main = np.concatenate(
        [
            polyline((0.08, -0.92), (0.08, 0.32)),
            ellipse(0.08, 0.32, 0.78 + lean, 1.24, 0, -math.pi / 2) * [1.0, 1.0],
        ]
    )
    jib = np.concatenate(
        [
            polyline((-0.08, -0.8), (-0.08, 0.32)),
            ellipse(-0.08, 0.32, -0.62 + lean, 1.12, 0, -math.pi / 2),
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
                polyline((-1, y), (1, y + 0.06), (1, y + 0.17), (-1, y + 0.1)),
                paint.second,
                within=main,
            )
    else:
        brush.fill(ellipse(0.32, 0.0, 0.14, 0.14), paint.main, within=main)
    hull = smooth(
        (-0.95, 0.4), (-0.98, 0.42), (-0.7, 0.92), (0.6, 0.92), (0.98, 0.38), (0.95, 0.36), (0, 0.5)
    )
    brush.fill(hull, paint.main)
    brush.line(polyline((-1, 0.56), (0, 0.64), (1, 0.54)), paint.light, 0.08, within=hull)
    for x in (-0.4, -0.05, 0.3):
        brush.fill(ellipse(x, 0.75, 0.06, 0.06), paint.dark, within=hull)
    brush.fill(polyline((0, -1.08), (0.3, -1.0), (0, -0.9)), paint.main)


def _snail(brush: Brush, rng: Random, paint: Palette) -> None:
    body = smooth(
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
        brush.line(polyline((x * 0.95, 0.1), (x - 0.03, -0.42)), paint.second, 0.07)
        brush.fill(ellipse(x - 0.03, -0.45, 0.08, 0.08), paint.second)
    brush.fill(body, paint.second)
    brush.line(ellipse(-0.85, 0.2, 0.14, 0.12, 0.5, 1.9), paint.dark, 0.04, within=body)
    shell = ellipse(0.18, 0.02, 0.74, 0.74)
    brush.fill(shell, paint.main)
    turns = rng.uniform(2.0, 2.7)
    t = np.linspace(0, 1, 60)
    angle = 2 * math.pi * turns * t + rng.uniform(0.2, 1.2)
    curl = np.stack([0.18 + 0.74 * t * np.cos(angle), 0.02 + 0.74 * t * np.sin(angle)], axis=1)
    brush.line(curl, paint.dark, 0.085, within=shell)
    if rng.random() < 0.5:
        for a in np.arange(0, 2 * math.pi, 0.42):
            rib = polyline(
                (0.18 + 0.6 * math.cos(a), 0.02 + 0.6 * math.sin(a)),
                (0.18 + math.cos(a + 0.1), 0.02 + math.sin(a + 0.1)),
            )
            brush.line(rib, paint.light, 0.05, within=shell)


def _starfish(brush: Brush, rng: Random, paint: Palette) -> None:
    waist, tip = rng.uniform(0.34, 0.46), rng.uniform(0.1, 0.16)
    corners: list[tuple[float, float]] = []
    tips = []
    for arm in range(5):
        a = 2 * math.pi * arm / 5 - math.pi / 2 + rng.uniform(-0.1, 0.1)
        reach = rng.uniform(0.98, 1.1)
        tips.append((a, reach))
        for turn, far in ((-tip, reach), (tip, reach), (0.52, waist * 1.12), (0.72, waist * 1.12)):
            corners.append((far * math.cos(a + turn), far * math.sin(a + turn)))
    star = smooth(*corners)
    brush.fill(star, paint.main)
    for a, reach in tips:
        c, s = math.cos(a), math.sin(a)
        for number in range(7):
            d = 0.1 + 0.125 * number
            if d < reach - 0.1:
                brush.fill(ellipse(d * c, d * s, 0.055, 0.055), paint.light, within=star)
                for way in (-1, 1):
                    off = way * (0.17 - 0.13 * d)
                    dot = ellipse((d + 0.06) * c - off * s, (d + 0.06) * s + off * c, 0.03, 0.03)
                    brush.fill(dot, paint.second)


def _teapot(brush: Brush, rng: Random, paint: Palette) -> None:
    handle = smooth((0.5, -0.3), (1.0, -0.45), (1.18, 0.0), (1.0, 0.42), (0.5, 0.5))
    brush.line(np.concatenate([handle, handle[:1]]), paint.second, 0.14)
    brush.fill(
        smooth(
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
    body = smooth(
        (-0.68, -0.3),
        (-0.35, -0.52),
        (0.35, -0.52),
        (0.68, -0.3),
        (0.85, 0.25),
        (0.5, 0.8),
        (-0.5, 0.8),
        (-0.85, 0.25),
    )
    brush.fill(polyline((-0.42, 0.66), (0.42, 0.66), (0.46, 0.86), (-0.46, 0.86)), paint.dark)
    brush.fill(body, paint.main)
    brush.fill(ellipse(0, -0.72, 0.12, 0.12), paint.second)
    brush.fill(ellipse(0, -0.44, 0.46, 0.2, math.pi, 2 * math.pi), paint.second)
    brush.line(polyline((-0.5, -0.43), (0.5, -0.43)), paint.dark, 0.05)
    if rng.random() < 0.5:
        band = rng.uniform(0.0, 0.3)
        brush.fill(
            polyline((-1, band), (1, band), (1, band + 0.2), (-1, band + 0.2)),
            paint.light,
            within=body,
        )
    else:
        for a in np.arange(0, 2 * math.pi, 2 * math.pi / 5):
            petal = ellipse(0.19 * math.cos(a), 0.14 + 0.19 * math.sin(a), 0.12, 0.12)
            brush.fill(petal, paint.light, within=body)
        brush.fill(ellipse(0, 0.14, 0.1, 0.1), paint.dark)


def _umbrella(brush: Brush, rng: Random, paint: Palette) -> None:
    long = rng.uniform(0.85, 1.0)
    brush.line(polyline((0, -0.2), (0, long - 0.12)), paint.dark, 0.07)
    brush.line(ellipse(0.15, long - 0.14, 0.15, 0.16, math.pi, 0.1), paint.dark, 0.09)
    brush.line(polyline((0, -1.05), (0, -0.7)), paint.dark, 0.07)
    high, panels = rng.uniform(0.85, 1.05), int(rng.integers(4, 7))
    dome = ellipse(0, 0.05, 1.05, high, -math.pi, 0)
    edges = 1.05 * np.sin(np.linspace(-math.pi / 2, math.pi / 2, panels + 1))
    rim = [
        ellipse((a + b) / 2, 0.05, (b - a) / 2, 0.1, 0, -math.pi)[1:]
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


#: The painter of each kind, and how far it may lean from upright, in radians.
OBJECTS: dict[str, tuple[Painter, float]] = {
    "butterfly": (_butterfly, math.pi),
    "fish": (_fish, 0.9),
    "mushroom": (_mushroom, 0.6),
    "sailboat": (_sailboat, 0.45),
    "snail": (_snail, 0.45),
    "starfish": (_starfish, math.pi),
    "teapot": (_teapot, 0.5),
    "umbrella": (_umbrella, 0.9),
}
