"""Resizing of images, each way with antialiasing where they shrink."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.images.input_spec import AREA

NumberT = TypeVar("NumberT", bound=np.generic)


def resize_image(
    image: npt.NDArray[NumberT], shape: tuple[int, int], interpolation: str = AREA
) -> npt.NDArray[NumberT]:
    """Resize an image to (height, width).

    ``area`` averages where the image shrinks and is bilinear where it grows. The others are
    Pillow's filters, to the bit for uint8 RGB, which torchvision and timm evaluate networks with;
    channels of floats are resized one by one, and may leave the range of their values by the
    overshoot of ``bicubic`` and ``lanczos``.

    Args:
        image: uint8 (H, W, 3), or float32 (H, W, C); or either of them as (H, W).
        shape: (height, width).
        interpolation: one of :data:`cnnviz.images.input_spec.INTERPOLATIONS`.
    """
    if interpolation == AREA:
        return _by_area(image, shape)
    if image.ndim == 3 and image.dtype != np.uint8:
        planes = np.moveaxis(image, 2, 0)
        return np.stack([_by_pillow(one, shape, interpolation) for one in planes], axis=2)
    return _by_pillow(image, shape, interpolation)


def _by_area(image: npt.NDArray[NumberT], shape: tuple[int, int]) -> npt.NDArray[NumberT]:
    """The axes are independent: OpenCV's area mode is only an average when both shrink."""
    height, width = image.shape[:2]
    smaller = (min(height, shape[0]), min(width, shape[1]))
    # An exact half is an average that takes a tenth of the time of any other.
    while height >= 4 * smaller[0] and width >= 4 * smaller[1] and height % 2 == width % 2 == 0:
        height, width = height // 2, width // 2
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if smaller != (height, width):
        image = cv2.resize(image, (smaller[1], smaller[0]), interpolation=cv2.INTER_AREA)
    if smaller != shape:
        image = cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return image


def _by_pillow(
    image: npt.NDArray[NumberT], shape: tuple[int, int], interpolation: str
) -> npt.NDArray[NumberT]:
    from PIL import Image

    if image.shape[:2] == shape:
        return image
    held = Image.fromarray(np.ascontiguousarray(image))
    resized = held.resize((shape[1], shape[0]), Image.Resampling[interpolation.upper()])
    return np.asarray(resized, image.dtype)
