"""Resizing as products with a matrix for each side.

PyTorch's own has some of the conventions, in float32, and on a GPU does not go back the same way
every time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnnviz.engines.torch.runtime import import_torch
from cnnviz.graph.operators import Resize2d


def resizing(o: Resize2d) -> Callable[[Any], Any]:
    """A function of a tensor (N, C, h, w) that gives it (N, C, h', w')."""

    def run(data: Any) -> Any:
        down, across = (_interpolation(o, data, axis) for axis in (0, 1))
        return down @ data @ across.T

    return run


def _interpolation(o: Resize2d, data: Any, axis: int) -> Any:
    """What each row (axis 0) or column (axis 1) of a resized image takes from those of the image.

    Everything is made on the device, so that a pass can be captured.
    """
    torch = import_torch()
    size = data.shape[axis + 2]
    step, start, whole = o.place(size, axis)
    places = torch.arange(o.size[axis], device=data.device) * step + start
    first = torch.div(places, whole, rounding_mode="floor")
    over = places - first * whole  # of ``whole``
    if o.mode == "nearest":
        up = {
            "floor": over < 0,
            "ceil": over > 0,
            "round_prefer_floor": 2 * over > whole,
            "round_prefer_ceil": 2 * over >= whole,
        }[o.rounding]
        taken = {0: 1 - up.float(), 1: up.float()}
    else:
        share = over.float() / whole
        if o.mode == "bilinear":
            taken = {0: 1 - share, 1: share}
        else:
            distances = {-1: 1 + share, 0: share, 1: 1 - share, 2: 2 - share}
            taken = {n: _keys(distance, o.cubic) for n, distance in distances.items()}
    rows = torch.arange(size, device=data.device)
    parts = [
        (torch.clamp(first + n, 0, size - 1)[:, None] == rows) * weight[:, None]
        for n, weight in taken.items()
    ]
    return sum(parts[1:], parts[0])


def _keys(distance: Any, a: float) -> Any:
    """The weight of a value at a distance from 0 to 2 (Keys 1981)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return import_torch().where(distance <= 1, near, far)
