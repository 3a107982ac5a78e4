"""Names for the types that pass between the rooms."""

from __future__ import annotations

#: Of an array. A network's shapes are without the batch: ``(C, h, w)``.
Shape = tuple[int, ...]
