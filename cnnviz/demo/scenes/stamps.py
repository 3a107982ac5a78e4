"""A painted object as a finished stamp, and putting it on a scene."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from cnnviz.demo.scenes.brush import Brush, Painter, Palette
from cnnviz.demo.scenes.light import SIZE, Light, Random, crop, noise_sheet
from cnnviz.types import Float32, Float64, Mask

_FINE = 2  # objects are drawn this much larger and then reduced, for smooth edges
_MARGIN = 1.2  # half the side of an object's own canvas, in radii


@dataclass(frozen=True)
class Stamp:
    """A finished object: float32 color ``(side, side, 3)``, 0..255, and alpha ``(side, side)``."""

    color: Float32
    alpha: Float32


def make_stamp(rng: Random, painter: Painter, radius: float, light: Light, lean: float) -> Stamp:
    """Draw an object of a radius in pixels, turn it, give it relief and texture."""
    side = 2 * math.ceil(_MARGIN * radius)
    angle = float(rng.uniform(-lean, lean))
    flip = 1.0 if rng.random() < 0.5 else -1.0
    squash = float(rng.uniform(0.88, 1.0))
    spin = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = spin @ np.diag([flip * squash, 1.0]) * (radius * _FINE)
    paint = Palette.random(rng)
    brush = Brush(side * _FINE, turn, paint.main)
    painter(brush, rng, paint)

    alpha8 = cv2.resize(brush.alpha, (side, side), interpolation=cv2.INTER_AREA)
    color: Float32 = cv2.resize(brush.color, (side, side), interpolation=cv2.INTER_AREA).astype(
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
        sheet = noise_sheet(3 if kind == 1 else 5)
        stretch = float(rng.choice([1.0, 4.0]))
        shade += np.float32(rng.uniform(0.04, 0.14)) * crop(rng, sheet, 1.0, side, stretch)
    color *= np.clip(shade, 0.35, 1.6)[:, :, None]
    return Stamp(color, alpha8.astype(np.float32) / np.float32(255))


def _window(side: int, center: Float64) -> tuple[slice, slice, slice, slice]:
    """Rows and columns of the scene that a stamp covers, and those of the stamp itself."""
    left, top = (round(float(c) - side / 2) for c in center)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = max(min(left + side, SIZE), x0), max(min(top + side, SIZE), y0)
    return slice(y0, y1), slice(x0, x1), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)


def covered_by(stamp: Stamp, center: Float64) -> Mask:
    """The scene's pixels that a stamp would hide, bool ``(224, 224)``."""
    mask = np.zeros((SIZE, SIZE), np.bool_)
    rows, columns, own_rows, own_columns = _window(len(stamp.alpha), center)
    mask[rows, columns] = stamp.alpha[own_rows, own_columns] > 0.5
    return mask


def paste(canvas: Float32, stamp: Stamp, center: Float64, light: Light) -> Mask:
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
    return covered_by(stamp, center)
