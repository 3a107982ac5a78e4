"""What stands in an image for the pixels that a metric takes away."""

from __future__ import annotations

from collections.abc import Hashable

import cv2
import numpy as np

from cnnviz.attribution.plain_colors import plain_input
from cnnviz.images.input_spec import InputSpec
from cnnviz.types import Float32

#: The network's mean color, the image blurred, or black.
FILLS = ("mean", "blur", "black")
BLUR_HELP = "standard deviation of that blur, in pixels of the network's input"

#: In pixels of 224: nothing finer than an eye of a portrait is left.
BLUR = 5.0


def fill_image(fill: str, image: Float32, spec: InputSpec, blur: float) -> Float32:
    """What the network is fed if all pixels are taken away.

    Args:
        fill: one of :data:`FILLS`.
        image: (C, H, W) float32, the input.
        spec: how it is normalized.
        blur: the standard deviation for ``blur``, in pixels.

    Returns:
        (C, H, W) float32.
    """
    if fill == "blur":
        return blurred(image, blur)
    plain = plain_input(fill, spec).astype(np.float32)
    return np.broadcast_to(plain, image.shape)


def blurred(image: Float32, sigma: float) -> Float32:
    """The image under a Gaussian, each channel by itself.

    Beyond its borders the image goes on as its mirror image: so they do not darken, as they do
    where a convolution pads with zeros, and each channel keeps its mean.

    Args:
        image: (C, H, W) float32, normalized or not: the two commute.
        sigma: the Gaussian's standard deviation, in pixels.
    """
    planes = [cv2.GaussianBlur(one, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for one in image]
    return np.asarray(planes, np.float32)


def fill_key(fill: str, blur: float) -> Hashable:
    """A name for a fill, the same where the filled images are the same."""
    return fill, blur if fill == "blur" else None
