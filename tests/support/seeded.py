"""Weights and images of the reference numbers: the file that their scripts read, too."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

REFERENCE = Path(__file__).parent.parent / "reference"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seeded", REFERENCE / "seeded.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


seeded = _load()
