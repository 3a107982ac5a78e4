"""The seven kinds of background of a scene."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from cnnviz.demo.scenes.brush import hsv
from cnnviz.demo.scenes.light import SIZE, Random, crop, grid, noise_sheet
from cnnviz.types import Color, Float32


def _blend(weight: Float32, low: Color, high: Color) -> Float32:
    """Colors between two by a weight ``(224, 224)``, clipped to 0..1: ``(224, 224, 3)``."""
    start, end = np.array(low, np.float32), np.array(high, np.float32)
    mixed: Float32 = start + np.clip(weight, 0, 1)[:, :, None] * (end - start)
    return mixed


def _two_tones(rng: Random) -> tuple[Color, Color]:
    hue, saturation = float(rng.random()), float(rng.uniform(0.1, 0.6))
    value = float(rng.uniform(0.4, 0.95))
    return (
        hsv(hue, saturation, value),
        hsv(
            hue + rng.uniform(-0.12, 0.12),
            saturation * rng.uniform(0.5, 1.2),
            value * rng.uniform(0.55, 0.9),
        ),
    )


def _ground(rng: Random) -> Float32:
    """Sand, earth or felt: noise of two sizes."""
    coarse = crop(rng, noise_sheet(5), float(rng.uniform(0.6, 1.6)))
    fine = crop(rng, noise_sheet(3), float(rng.uniform(0.5, 1.0)))
    return _blend(0.5 + 0.35 * coarse + 0.2 * fine, *_two_tones(rng))


def _planks(rng: Random) -> Float32:
    """Boards with grain."""
    grain = crop(rng, noise_sheet(3), 1.0, stretch=7.0)
    canvas = _blend(0.5 + 0.5 * grain, *_two_tones(rng))
    at = int(rng.integers(0, 30))
    while at < SIZE:
        step = int(rng.integers(28, 60))
        canvas[at : at + step] *= np.float32(rng.uniform(0.8, 1.1))
        canvas[at : at + 2] *= np.float32(0.55)
        at += step
    return canvas if rng.random() < 0.5 else np.ascontiguousarray(canvas.transpose(1, 0, 2))


def _waves(rng: Random) -> Float32:
    """Water: long ripples, lighter toward one side."""
    ripple = crop(rng, noise_sheet(3), 1.0, stretch=float(rng.uniform(3, 6)))
    rows, _ = grid()
    return _blend(0.5 + 0.3 * ripple + rng.uniform(-0.5, 0.5) * rows, *_two_tones(rng))


def _meadow(rng: Random) -> Float32:
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


def _cloth(rng: Random) -> Float32:
    """Woven stripes, plaid or checks."""
    low, high = _two_tones(rng)
    rows, columns = grid()
    turn, pitch = rng.uniform(0, math.pi), rng.uniform(8, 30)
    u = columns * math.cos(turn) + rows * math.sin(turn)
    v = rows * math.cos(turn) - columns * math.sin(turn)
    hard = rng.uniform(1, 6)
    stripes = np.clip(0.5 + hard * np.sin(pitch * u), 0, 1)
    if rng.random() < 0.6:
        stripes = 0.5 * stripes + 0.5 * np.clip(0.5 + hard * np.sin(pitch * v), 0, 1)
    return _blend(stripes + 0.15 * crop(rng, noise_sheet(0), 1.0), low, high)


def _bokeh(rng: Random) -> Float32:
    """Soft discs of light out of focus."""
    low, high = _two_tones(rng)
    rows, _ = grid()
    canvas = _blend(0.5 + 0.5 * rows, low, high)
    for _ in range(int(rng.integers(8, 22))):
        center, radius = rng.uniform(0, SIZE, 2), float(rng.uniform(6, 34))
        disc = np.zeros((SIZE, SIZE), np.uint8)
        cv2.circle(disc, center.astype(int).tolist(), int(radius), 255, -1, cv2.LINE_AA)
        color = np.array(hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.6, 1)), np.float32)
        box = cv2.boundingRect(disc)
        x, y, w, h = box
        weight = disc[y : y + h, x : x + w, None].astype(np.float32) / 255 * rng.uniform(0.15, 0.5)
        part = canvas[y : y + h, x : x + w]
        part += weight.astype(np.float32) * (color - part)
    blurred: Float32 = cv2.GaussianBlur(canvas, (0, 0), 1.5)
    return blurred


def _clouds(rng: Random) -> Float32:
    """A sky: soft clouds over a slope of color."""
    rows, _ = grid()
    low, high = _two_tones(rng)
    sky = _blend(0.5 + 0.5 * rows, low, high)
    cover = np.clip(
        crop(rng, noise_sheet(5), float(rng.uniform(0.8, 1.8)), stretch=1.6) * 1.3, 0, 1
    )
    white = np.array(hsv(rng.random(), 0.08, rng.uniform(0.8, 1)), np.float32)
    sky += 0.8 * cover[:, :, None] * (white - sky)
    return sky


_BACKGROUNDS: tuple[Callable[[Random], Float32], ...] = (
    _ground,
    _planks,
    _waves,
    _meadow,
    _cloth,
    _bokeh,
    _clouds,
)


def background(rng: Random) -> Float32:
    """A random background, float32 ``(224, 224, 3)``, RGB from 0 to about 255."""
    canvas = _BACKGROUNDS[int(rng.integers(len(_BACKGROUNDS)))](rng)
    return np.ascontiguousarray(canvas, np.float32)
