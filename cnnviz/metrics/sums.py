"""Sums of products that are the same to the last bit, whatever computes them.

BLAS divides long vectors among its threads, so that its last bits depend on how many there are: a
run on one machine and its parts on others would not write the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def inner(a: Floats, b: Floats) -> float:
    """The sum of the products of the values of two arrays of one shape."""
    return float(np.multiply(a, b).sum(dtype=np.float64))


def length(values: Floats) -> float:
    """The Euclidean norm of all values of an array."""
    return float(np.sqrt(np.square(values).sum()))
