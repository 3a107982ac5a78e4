"""What several tests of CAM methods share."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.cam import build
from tests.support.seeded import REFERENCE


@pytest.fixture(scope="module")
def truth():
    """The CAM family's reference numbers."""
    with np.load(REFERENCE / "cam_family.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def block():
    """The network of these numbers."""
    return build()


@pytest.fixture(scope="module")
def arrays():
    """Activations behind a ReLU, and gradients; one channel is dead."""
    random = np.random.RandomState(0)
    activations = np.maximum(random.randn(2, 3, 4, 5), 0).astype(np.float32)
    activations[1, 2] = 0
    return activations, random.randn(2, 3, 4, 5).astype(np.float32)
