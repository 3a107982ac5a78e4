"""The small network of ``tests/reference/make_gradient_fixtures.py``, and its image."""

from __future__ import annotations

import numpy as np

from cnnviz.engines.network import Network
from cnnviz.types import Float32
from tests.support.networks import (
    Array,
    conv_relu,
    flatten,
    linear,
    linear_relu,
    max_pool,
    sequential,
)
from tests.support.seeded import REFERENCE, seeded

_CALLED = {"0": "conv1", "2": "conv2", "5": "dense1", "6": "dense2"}


def captum_network() -> tuple[Network, Float32, int]:
    """The network, its image (3, 16, 12), and the target of captum's numbers."""

    def draw(name: str, shape: tuple[int, ...]) -> Array:
        layer, kind = name.split(".")
        drawn: Array = seeded.parameter(f"{_CALLED[layer]}.{kind}", shape)
        return drawn

    network = sequential(
        (3, 16, 12),
        conv_relu(8, 3, stride=2, padding=1),
        max_pool(),
        conv_relu(12, 3, padding=1),
        max_pool(),
        flatten(),
        linear_relu(16),
        linear(5),
        draw=draw,
    ).network()
    with np.load(REFERENCE / "gradient_family.npz") as file:
        seed, target = int(file["picture_seed"]), int(file["target"])
    return network, seeded.image(seed)[:, :16, :12], target
