"""Inputs of one color: baselines, and what covers parts of an image."""

from __future__ import annotations

import numpy as np

from cnnviz.images.input_spec import InputSpec
from cnnviz.types import Float64

#: Pixel values in [0, 1]; None is the mean that normalization subtracts.
_PIXELS: dict[str, float | None] = {"black": 0.0, "gray": 0.5, "mean": None, "white": 1.0}


def plain_input(color: str, spec: InputSpec) -> Float64:
    """What a network is fed for pixels of one color, (C, 1, 1).

    Args:
        color: ``black``, ``gray`` (0.5), ``mean`` or ``white``.
        spec: how the network's input is normalized.
    """
    mean, std = np.array(spec.mean), np.array(spec.std)
    value = _PIXELS[color]
    fed: Float64 = np.zeros_like(mean) if value is None else (value - mean) / std
    return fed[:, None, None]
