"""A small network, an image of it and a map, for metrics."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.judged import SHAPE
from tests.support.networks import conv_relu, flatten, linear, max_pool, sequential


@pytest.fixture(scope="module")
def network():
    layers = (conv_relu(4, 3), max_pool(), flatten(), linear(5))
    return sequential(SHAPE, *layers, seed=1).network()


@pytest.fixture(scope="module")
def image():
    return np.random.RandomState(2).randn(*SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def heat():
    return np.random.RandomState(3).randn(*SHAPE[1:]).astype(np.float32)
