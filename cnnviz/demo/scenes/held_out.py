"""Scenes that the demo network was not trained on, to measure with."""

from __future__ import annotations

from cnnviz.demo import CLASSES
from cnnviz.demo.scenes.compose import Scene, scene

ONE_OBJECT_SEED = 2_000_000  #: first seed of the scenes with one object
TWO_OBJECT_SEED = 3_000_000  #: first seed of the scenes with two


def one_object_scenes(number: int, first_seed: int = ONE_OBJECT_SEED) -> list[Scene]:
    """Scenes with one object each, all kinds in turn."""
    return [scene(first_seed + i, [CLASSES[i % len(CLASSES)]]) for i in range(number)]


def two_object_scenes(number: int, first_seed: int = TWO_OBJECT_SEED) -> list[Scene]:
    """Scenes with two objects each, all ordered pairs of kinds in turn."""
    pairs = [(a, b) for a in CLASSES for b in CLASSES if a != b]
    # 13 and the 56 pairs have no common factor: every pair has its turn, neighbors differ.
    return [scene(first_seed + i, pairs[13 * i % len(pairs)]) for i in range(number)]
