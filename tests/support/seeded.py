"""Weights and images of the reference numbers: from the files that their scripts read, too."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

REFERENCE = Path(__file__).parent.parent / "reference"


def _load(name: str) -> ModuleType:
    sys.path.insert(0, str(REFERENCE))  # they import each other as scripts do
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(REFERENCE))


seeded = _load("seeded")
family_seeds = _load("family_seeds")


def relative_error(value: np.ndarray, truth: np.ndarray) -> float:
    """The relative L2 distance to the reference, in float64."""
    assert value.shape == truth.shape
    return float(np.linalg.norm(value.astype(np.float64) - truth) / np.linalg.norm(truth))
