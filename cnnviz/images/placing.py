"""How an image comes to a network's size, and which part of it the network sees.

Pixel coordinates are continuous here: pixel *i* covers [i, i + 1) and its center lies at i + 0.5.
Sizes are (height, width).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cnnviz.errors import ImageError
from cnnviz.images.input_spec import AREA, InputSpec
from cnnviz.images.resizing import resize_image

_MOST_SCALED = 1 << 27
"""Pixels that an image may be scaled to: a side 2,000 times the other takes gigabytes."""

#: Far below what a pixel is, and above how a quotient is rounded: 224 / (224 / 232) is 232.
_ROUNDING = 1e-9

NumberT = TypeVar("NumberT", bound=np.generic)


@dataclass(frozen=True)
class Geometry:
    """Where in an image the network's input lies.

    Attributes:
        source: (H, W) of the image.
        box: (y0, x0, y1, x1), the part of the image that the network saw, as edges in continuous
            image coordinates; need not fall on whole pixels.
        network: (h, w) of the network's input.
    """

    source: tuple[int, int]
    box: tuple[float, float, float, float]
    network: tuple[int, int]


def seen_part(source: tuple[int, int], spec: InputSpec) -> Geometry:
    """Which part of an image of (H, W) pixels a network sees.

    Raises:
        ImageError: the image would have to be scaled to too many pixels.
    """
    return Placing.of(source, spec).geometry


@dataclass(frozen=True)
class Placing:
    """How an image comes to a network's size: it is resized, and its center is cut out.

    Attributes:
        geometry: which part of the image the network sees.
        scaled: (h, w) that the image is resized to.
        corner: (top, left) of what is cut out of that.
        interpolation: how pixels are computed.
    """

    geometry: Geometry
    scaled: tuple[int, int]
    corner: tuple[int, int]
    interpolation: str

    @classmethod
    def of(cls, source: tuple[int, int], spec: InputSpec) -> Placing:
        """For an image of (H, W) pixels.

        With an interpolation of Pillow's, sizes and corners are rounded as torchvision's and timm's
        transforms do, so that a network sees the very pixels that it was evaluated on.

        Raises:
            ImageError: it would have to be scaled to too many pixels.
        """
        net = (spec.height, spec.width)
        scaled = scaled_size(source, spec)
        _check_scaled(source, spec, scaled)
        margins = [whole - part for whole, part in zip(scaled, net, strict=True)]
        if spec.interpolation == AREA:
            top, left = (margin // 2 for margin in margins)
        else:
            top, left = (round(margin / 2) for margin in margins)  # of halves to the even one
        y0, y1 = _edges(source[0], scaled[0], top, net[0])
        x0, x1 = _edges(source[1], scaled[1], left, net[1])
        geometry = Geometry(source, (y0, x0, y1, x1), net)
        return cls(geometry, scaled, (top, left), spec.interpolation)

    def place(self, values: npt.NDArray[NumberT]) -> npt.NDArray[NumberT]:
        """What the network sees of an array (H, W) or (H, W, C) of the whole image."""
        (top, left), (height, width) = self.corner, self.geometry.network
        resized = resize_image(values, self.scaled, self.interpolation)
        if self.scaled == self.geometry.network:
            return resized
        return np.ascontiguousarray(resized[top : top + height, left : left + width])


def scaled_size(source: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """The (h, w) that an image of (H, W) pixels is resized to before its center is cut out."""
    net, kept = (spec.height, spec.width), spec.kept
    if spec.resize == "crop" and spec.interpolation == AREA:
        scale = min(max(net[0] / source[0], net[1] / source[1]) / kept, _MOST_SCALED)
        # Never smaller than the crop, whatever the rounding of an extreme aspect does.
        return max(net[0], round(source[0] * scale)), max(net[1], round(source[1] * scale))
    height, width = (math.floor(min(side / kept, _MOST_SCALED) + _ROUNDING) for side in net)
    if spec.resize == "stretch":
        return height, width
    if height == width:
        short = min(source)
        down, across = (int(height * side / short) for side in source)
        return down, across
    ratio = min(source[0] / height, source[1] / width)
    return round(source[0] / ratio), round(source[1] / ratio)


def _check_scaled(source: tuple[int, int], spec: InputSpec, scaled: tuple[int, int]) -> None:
    """Refuse what would take all memory, unless it is the network's own size."""
    if scaled == (spec.height, spec.width) or scaled[0] * scaled[1] <= _MOST_SCALED:
        return
    if (spec.height / spec.kept) * (spec.width / spec.kept) > _MOST_SCALED:
        raise ImageError(
            f"it would be scaled to more than {_MOST_SCALED / 1e6:.0f} million pixels: use a "
            "larger --crop-fraction"
        )
    raise ImageError(
        f"it is {source[1]} pixels wide and {source[0]} high, too unlike the network's "
        f"{spec.width}x{spec.height} to cut its center out: use --resize stretch"
    )


def _edges(length: int, scaled: int, start: int, net: int) -> tuple[float, float]:
    """Of one axis the edges of what is cut out, in the image before it was scaled."""
    if scaled == net:
        return 0.0, float(length)
    per_pixel = length / scaled  # which rounding made differ from what was asked for
    return start * per_pixel, (start + net) * per_pixel
