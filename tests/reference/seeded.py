"""Seeded network weights and images that need no file: the same bits wherever NumPy runs.

Both sides of the comparison, PyTorch (``make_vgg_fixtures.py``) and MXNet (the tests), build the
same network from this module, so no weights are stored. Only ``RandomState.random_sample`` is
used: NumPy guarantees the legacy generator's stream for ever, and uniform numbers pass through no
function of the C library whose last bit may differ between machines.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

#: One seed for all weights; each array has a stream of its own, chosen by its name.
WEIGHT_SEED = 1409_1556

#: Channels, height and width of the images. Not square, so that swapped axes show, and 48 is not
#: a multiple of 32, so that the last pooling drops a column.
IMAGE_SHAPE = (3, 64, 48)

#: Size of the last layer; ten keeps the fixtures small.
CLASSES = 10


def _uniform(seed: int, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    unit = np.random.RandomState(seed).random_sample(shape)
    unit *= high - low
    unit += low
    return unit


def parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The parameter that Gluon calls ``name`` (``features.0.weight``), float32 of ``shape``.

    Weights are uniform with He's variance 2 / fan-in. Batch norm's numbers are far from the
    identity: gammas of both signs, variances between 0.5 and 1.5, so that a mistaken statistic
    cannot go unseen. Raises ``ValueError`` for a name of no known kind.
    """
    kind = name.rsplit(".", 1)[-1]
    seed = zlib.crc32(f"{WEIGHT_SEED}/{name}/{shape}".encode())
    if kind == "weight":
        bound = math.sqrt(6.0 / math.prod(shape[1:]))
        values = _uniform(seed, shape, -bound, bound)
    elif kind in ("bias", "beta", "running_mean"):
        values = _uniform(seed, shape, -0.2, 0.2)
    elif kind == "gamma":
        values = _uniform(seed, shape, 0.6, 1.4)
        values[1::3] *= -1
    elif kind == "running_var":
        values = _uniform(seed, shape, 0.5, 1.5)
    else:
        raise ValueError(f"no rule for a parameter named {name!r}")
    return values.astype(np.float32)


def image(seed: int) -> np.ndarray:
    """An image of uniform noise in [-2, 2), float32 of ``IMAGE_SHAPE``."""
    return _uniform(seed, IMAGE_SHAPE, -2.0, 2.0).astype(np.float32)
