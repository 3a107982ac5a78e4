"""A scene made of background, clutter, objects and what lies in front of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnnviz.demo import CLASSES
from cnnviz.demo.scenes.backgrounds import background
from cnnviz.demo.scenes.clutter import CLUTTER, COVERS
from cnnviz.demo.scenes.light import SIZE, Light, Random, finish
from cnnviz.demo.scenes.objects import OBJECTS
from cnnviz.demo.scenes.stamps import covered_by, make_stamp, paste
from cnnviz.errors import UsageError
from cnnviz.types import Float32, Mask, RgbImage

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

    image: RgbImage
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

    light = Light.random(rng)
    canvas = background(rng)
    _scatter_clutter(rng, canvas, light)

    masks: list[Mask] = []
    places = _places(rng, len(chosen))
    for kind, (x, y, radius) in zip(chosen, places, strict=True):
        painter, lean = OBJECTS[kind]
        stamp = make_stamp(rng, painter, radius, light, lean)
        covered = paste(canvas, stamp, np.array([x, y]), light)
        masks = [mask & ~covered for mask in masks]
        masks.append(covered)
    masks = _cover_partly(rng, canvas, light, places, masks)

    image = finish(rng, canvas)
    objects = tuple(
        Object(kind, CLASSES.index(kind), mask) for kind, mask in zip(chosen, masks, strict=True)
    )
    return Scene(image, objects)


def _scatter_clutter(rng: Random, canvas: Float32, light: Light) -> None:
    for _ in range(int(rng.integers(4, 13))):
        radius = float(rng.uniform(7, 24))
        stamp = make_stamp(rng, CLUTTER[int(rng.integers(len(CLUTTER)))], radius, light, math.pi)
        paste(canvas, stamp, rng.uniform(0, SIZE, 2), light)


def _cover_partly(
    rng: Random,
    canvas: Float32,
    light: Light,
    places: Sequence[tuple[float, float, float]],
    masks: list[Mask],
) -> list[Mask]:
    """Put things in front of the objects where enough of each stays in sight; the masks left."""
    whole = [int(mask.sum()) for mask in masks]
    for _ in range(int(rng.integers(0, 2 + len(masks)))):
        x, y, radius = places[int(rng.integers(len(places)))]
        angle, distance = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.35, 1.0)
        spot = np.array([x + distance * math.cos(angle), y + distance * math.sin(angle)])
        painter = COVERS[int(rng.integers(len(COVERS)))]
        stamp = make_stamp(rng, painter, float(rng.uniform(0.3, 0.6) * radius), light, math.pi)
        covered = covered_by(stamp, spot)
        left = [int((mask & ~covered).sum()) for mask in masks]
        if all(n >= max(_LEAST_VISIBLE * w, _LEAST_AREA) for n, w in zip(left, whole, strict=True)):
            paste(canvas, stamp, spot, light)
            masks = [mask & ~covered for mask in masks]
    return masks


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
