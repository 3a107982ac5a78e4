"""What a rendered sheet is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cnnviz.rendering import grids


def handed_over(render: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Render a sheet: it, and what was handed to the grid and to the scale meanwhile."""
    seen: dict[str, Any] = {}
    grid, with_scale = grids.grid, grids.with_scale

    def note_grid(images, captions, title=""):
        seen.update(images=images, captions=captions, title=title)
        return grid(images, captions, title)

    def note_scale(image, colors, labels, title="", size=None):
        seen.update(bar=colors, labels=labels, key=title)
        return with_scale(image, colors, labels, title, size)

    monkeypatch.setattr(grids, "grid", note_grid)
    monkeypatch.setattr(grids, "with_scale", note_scale)
    seen["sheet"] = render()
    return seen
