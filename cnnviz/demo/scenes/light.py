"""The light of a scene, and the noise that it and the textures are cut from."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

from cnnviz.types import Float32, RgbImage

SIZE = 224  #: height and width of a scene in pixels

Random = np.random.Generator


@dataclass(frozen=True)
class Light:
    """Where the light comes from (a unit vector in the image) and how hard it is."""

    x: float
    y: float
    relief: float
    shadow: float

    @classmethod
    def random(cls, rng: Random) -> Light:
        """Light from anywhere."""
        angle = rng.uniform(0, 2 * math.pi)
        return cls(
            math.cos(angle),
            math.sin(angle),
            float(rng.uniform(0.5, 1.1)),
            float(rng.uniform(0.2, 0.6)),
        )


def finish(rng: Random, canvas: Float32) -> RgbImage:
    """Light the whole image: a slope, a vignette, patches of shade, a cast, a little noise."""
    rows, columns = grid()
    angle = rng.uniform(0, 2 * math.pi)
    slope = rng.uniform(0.0, 0.25) * (columns * math.cos(angle) + rows * math.sin(angle))
    field = 1.0 + slope - rng.uniform(0.0, 0.2) * (rows**2 + columns**2)
    if rng.random() < 0.4:
        dapple = crop(rng, noise_sheet(5), 1.0)
        field = field - rng.uniform(0.15, 0.45) * np.clip(dapple * 2.5, 0, 1)
    cast = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.9, 1.15)
    lit = canvas * (np.clip(field, 0.3, 1.5)[:, :, None] * cast).astype(np.float32)
    grain = crop(rng, noise_sheet(0), 1.0) * np.float32(rng.uniform(0, 4))
    lit += grain[:, :, None]
    image: RgbImage = np.clip(lit + 0.5, 0, 255).astype(np.uint8)
    return image


@functools.lru_cache(maxsize=1)
def grid() -> tuple[Float32, Float32]:
    """Row and column coordinates from -1 to 1, each ``(224, 224)``."""
    axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    return rows, columns


@functools.cache
def noise_sheet(octaves: int) -> Float32:
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
    result: Float32 = np.tanh(total / np.float32(1.3 * total.std()))
    return result


def crop(
    rng: Random, sheet: Float32, zoom: float, side: int = SIZE, stretch: float = 1.0
) -> Float32:
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
    resized: Float32 = cv2.resize(np.ascontiguousarray(piece), (side, side))
    return resized
