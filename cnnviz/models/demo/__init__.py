"""The embedded network."""

from __future__ import annotations

CLASSES: tuple[str, ...] = (
    "butterfly",
    "fish",
    "mushroom",
    "sailboat",
    "snail",
    "starfish",
    "teapot",
    "umbrella",
)
