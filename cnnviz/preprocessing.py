"""From a picture to what the network is fed, and from the network's pixels back to the picture."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputSpec:
    """What a network expects of its input: size in pixels, and the mean and standard deviation.

    ``mean`` and ``std`` belong to pixels in [0, 1]; one value a channel (three: RGB, one: grey).
    """

    height: int = 224
    width: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
