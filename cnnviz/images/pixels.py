"""What pixels are: the one check of RGB arrays, and their conversion from whatever a file holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.errors import ImageError


def check_pixels(image: npt.NDArray[Any], *, gray: bool = False) -> None:
    """Refuse what is not an image.

    Args:
        image: what has to be uint8 (H, W, 3), RGB, without an empty side.
        gray: whether uint8 (H, W) is one, too.

    Raises:
        ImageError: it is something else.
    """
    shape = image.shape
    colored = len(shape) == 3 and shape[2] == 3
    if image.dtype == np.uint8 and 0 not in shape and (colored or (gray and len(shape) == 2)):
        return
    also = ", or (H, W), gray" if gray else ""
    raise ImageError(
        f"an image is a uint8 array of shape (H, W, 3), RGB{also}, with at least one pixel; got "
        f"{image.dtype} of shape {shape}"
    )


_STRIP = 1 << 22
"""Pixels that are brought to 8 bits and freed of transparency together: it takes 16 bytes each."""


def to_rgb8(pixels: npt.NDArray[Any], *, premultiplied: bool) -> npt.NDArray[np.uint8]:
    """Gray or RGB, with or without alpha, of 8 or 16 bits to RGB of 8 bits, alpha over white."""
    full = int(np.iinfo(pixels.dtype).max)
    if pixels.shape[2:] in ((2,), (4,)) and (pixels[:, :, -1] == full).all():
        pixels = pixels[:, :, :-1]
    if pixels.dtype == np.uint8 and pixels.shape[2:] == (3,):
        return np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = pixels[top : top + rows]
        if strip.shape[2:] in ((2,), (4,)):
            strip = _over_white(strip, full, premultiplied=premultiplied)
        if strip.dtype == np.uint16:
            strip = _divide(strip.astype(np.uint32), 257).astype(np.uint8)
        rgb[top : top + rows] = strip.reshape(*strip.shape[:2], -1)  # gray fills all three
    return rgb


def over_white(pixels: npt.NDArray[Any], full: int, *, premultiplied: bool) -> npt.NDArray[Any]:
    """Gray or RGB, with alpha last if there is any, without it: laid over white, which is full."""
    if pixels.shape[2] not in (2, 4):
        return pixels
    if (pixels[:, :, -1] == full).all():
        return pixels[:, :, :-1]
    height, width, bands = pixels.shape
    laid = np.empty((height, width, bands - 1), pixels.dtype)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = pixels[top : top + rows]
        laid[top : top + rows] = _over_white(strip, full, premultiplied=premultiplied)
    return laid


def _over_white(pixels: npt.NDArray[Any], full: int, *, premultiplied: bool) -> npt.NDArray[Any]:
    alpha = pixels[:, :, -1:].astype(np.uint32)  # 65535 squared just fits
    color = pixels[:, :, :-1].astype(np.uint32)
    if not premultiplied:
        color = _divide(color * alpha, full)
    # A color above its alpha is no valid premultiplied color, but occurs.
    return np.minimum(color + (full - alpha), full).astype(pixels.dtype)


def _divide(values: npt.NDArray[Any], by: int) -> npt.NDArray[Any]:
    return (values + by // 2) // by


def orient(rgb: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Bring the stored image upright; EXIF 2.3, tag 0x0112: where row 0 and column 0 belong."""
    if orientation >= 5:  # row 0 is a side of the image
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):  # ... at the bottom; after the transposition 7 and 8
        rgb = rgb[::-1]
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb
