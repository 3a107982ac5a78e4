"""What a layer gives as maps (N, C, h, w), and maps in a layer's own shape.

Methods see maps alone, whether a network holds them channels first, channels last or as tokens.
"""

from __future__ import annotations

import numpy as np

from cnnviz.graph.layout import Layout
from cnnviz.types import Float32


def to_maps(values: Float32, layout: Layout) -> Float32:
    """Values in a layer's own shape, (N, \\*shape), as maps (N, C, h, w), without other tokens.

    Where the layer's shape is (C, h, w) these are the values themselves, not a copy.
    """
    if layout.is_maps:
        return values
    maps = np.moveaxis(values, 1 + layout.channel_axis, 1)
    if layout.as_tokens:
        maps = maps[:, :, layout.places].reshape(len(values), *layout.map_shape)
    return np.ascontiguousarray(maps)


def from_maps(maps: Float32, layout: Layout, others: Float32 | None = None) -> Float32:
    """Maps (N, C, h, w) in a layer's own shape, (N, \\*shape).

    Args:
        maps: float32.
        layout: how the layer holds them.
        others: (1, \\*shape) float32, from which other tokens are taken, the same for all; without
            it they are 0, as they are in a gradient that starts at the maps.
    """
    if layout.is_maps:
        return maps
    values = maps
    if layout.as_tokens:
        values = values.reshape(len(maps), layout.channels, -1)
        if layout.has_other_tokens:
            size = layout.before + values.shape[2] + layout.after
            whole = np.zeros((len(maps), layout.channels, size), np.float32)
            if others is not None:
                whole[:] = np.moveaxis(others, 1 + layout.channel_axis, 1)
            whole[:, :, layout.places] = values
            values = whole
    return np.ascontiguousarray(np.moveaxis(values, 1, 1 + layout.channel_axis))
