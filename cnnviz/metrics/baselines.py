"""Maps that no method made, and that a method has to do better than.

They are judged exactly as the methods' maps are. A table without them says nothing: objects are
mostly in the middle, and so a map that never looked at the image does well in many metrics.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnnviz.engines.target_functions import TargetFunction
from cnnviz.metrics.base import Subject
from cnnviz.types import Float32

_SEED = 1_000_003

#: The standard deviation of the centered Gaussian, as a part of each side of the input: twice that
#: reaches from the middle to the border.
GAUSSIAN_SIGMA = 0.25

CENTERED = "gaussian"


def random_map(height: int, width: int) -> Float32:
    """Independent values from 0 to 1, (H, W): the same for every image."""
    values = np.random.default_rng(_SEED).random((height, width))
    return values.astype(np.float32)


def centered_gaussian(height: int, width: int) -> Float32:
    """A Gaussian in the middle, (H, W), 1 at the center; see :data:`GAUSSIAN_SIGMA`."""
    down, across = (
        np.exp(-0.5 * (((np.arange(side) + 0.5) / side - 0.5) / GAUSSIAN_SIGMA) ** 2)
        for side in (height, width)
    )
    return np.outer(down, across).astype(np.float32)


def all_ones(height: int, width: int) -> Float32:
    """1 everywhere, (H, W)."""
    return np.ones((height, width), np.float32)


#: By key: what it is called, and what makes it.
_MAPS: dict[str, tuple[str, Callable[[int, int], Float32]]] = {
    "random": ("random values", random_map),
    CENTERED: ("centered Gaussian", centered_gaussian),
    "ones": ("the same everywhere", all_ones),
}


def baselines(height: int, width: int) -> tuple[Subject, ...]:
    """The maps that need no network, for inputs of this size.

    The fourth baseline, the gradient's magnitude, is that of the method ``saliency`` with
    ``source=gradient``.
    """
    return tuple(_constant(key, title, make(height, width)) for key, (title, make) in _MAPS.items())


def _constant(key: str, title: str, values: Float32) -> Subject:
    """A map that is the same whatever the image and the target are."""

    def attribute(inputs: Float32, _target: TargetFunction) -> Float32:
        return np.broadcast_to(values, (len(inputs), *values.shape))

    return Subject(key, title, values, attribute, baseline=True)
