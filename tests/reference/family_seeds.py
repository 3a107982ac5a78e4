"""Seeded weights and images for networks beside the VGGs: the same bits wherever NumPy runs.

Both PyTorch (``make_family_fixtures.py``) and MXNet (the tests) fill their networks from here, each
under the names that the network has there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import seeded

CLASSES = seeded.CLASSES

#: The image's shape for each network. 64x48 where the network takes any size, and otherwise about
#: the smallest, not square, that leaves its last pooling one window (7x7, 13x13 and 8x8).
IMAGES = {
    "alexnet": (3, 99, 67),
    "resnet18_v1": (3, 64, 48),
    "resnet50_v1": (3, 64, 48),
    "resnet18_v2": (3, 64, 48),
    "resnet50_v2": (3, 64, 48),
    "densenet121": (3, 221, 241),
    "squeezenet1.1": (3, 215, 209),
    "inceptionv3": (3, 299, 307),
    "mobilenet0.5": (3, 64, 48),
    "mobilenetv2_0.5": (3, 64, 48),
}
#: How many numbers are kept of a gradient at the input.
SAMPLE = 3000


def torch_parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The parameter that a PyTorch module calls ``name``; a batch norm's weight is its gamma."""
    layer, _, field = name.rpartition(".")
    if field == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if field == "weight" and len(shape) == 1:
        field = "gamma"
    return seeded.parameter(f"{layer}.{field}", shape)


def torch_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """All parameters of a PyTorch module."""
    return {name: torch_parameter(name, shape) for name, shape in shapes.items()}


def gluon_parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The parameter that Gluon calls ``name``."""
    return seeded.parameter(name, shape)


def image(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    """An image of uniform noise in [-2, 2), float32."""
    unit = np.random.RandomState(seed).random_sample(shape)
    return (4.0 * unit - 2.0).astype(np.float32)


def sampled(gradient: np.ndarray) -> np.ndarray:
    """What is kept of a gradient at the input: its values at ``SAMPLE`` places of all channels."""
    places = np.random.RandomState(0).permutation(gradient.size)[:SAMPLE]
    return gradient.ravel()[np.sort(places)]


def pack(shapes: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    """Names and shapes as an array of bytes, for a compressed ``.npz``."""
    text = json.dumps({name: list(shape) for name, shape in shapes.items()})
    return np.frombuffer(text.encode(), np.uint8)


def unpack(array: np.ndarray) -> dict[str, tuple[int, ...]]:
    """What :func:`pack` was given."""
    return {name: tuple(shape) for name, shape in json.loads(array.tobytes()).items()}
