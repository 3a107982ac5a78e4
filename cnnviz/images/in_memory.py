"""Take images that Python holds already, NumPy arrays and Pillow's images, as RGB pixels."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnviz.errors import ImageError
from cnnviz.images.pixels import check_pixels, orient, to_rgb8

Held: TypeAlias = "npt.NDArray[np.uint8] | Image.Image"
_ORIENTATION = 0x0112  # in EXIF


def rgb_pixels(image: Held) -> npt.NDArray[np.uint8]:
    """The pixels of an array or a Pillow image, as those of a file are read.

    Args:
        image: uint8 (H, W, 3), RGB, or (H, W), gray; or an image of any mode that has a black and
            a white. A rotation noted in it (EXIF) is applied, transparency is laid over white,
            16 bits become 8: as in :func:`cnnviz.read_image`.

    Returns:
        uint8 (H, W, 3), C-contiguous.

    Raises:
        ImageError: an array of another kind, or an image that cannot be read or shown in colors.
    """
    return _of_image(image) if isinstance(image, Image.Image) else _of_array(image)


def _of_array(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    check_pixels(array, gray=True)
    return to_rgb8(array, premultiplied=False)


def _of_image(image: Image.Image) -> npt.NDArray[np.uint8]:
    try:
        image.load()
        pixels = _samples(image)
    except (AssertionError, AttributeError) as error:  # by version
        raise ImageError("this image's file was closed before Pillow had read it") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise
        raise ImageError(f"Pillow cannot read this image of mode {image.mode}: {error}") from error
    if 0 in pixels.shape:
        raise ImageError(f"an image has pixels; this image's size is {image.size}")
    upright = orient(to_rgb8(pixels, premultiplied=False), _orientation(image))
    return np.ascontiguousarray(upright)


def _samples(image: Image.Image) -> npt.NDArray[np.generic]:
    """Gray of 16 bits, RGB or RGBA."""
    # Some versions of Pillow call a PNG's 16 bits I, which may be anything.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        gray = np.asarray(image).astype(np.uint16)
        hidden = image.info.get("transparency")
        return np.where(gray == hidden, np.uint16(0xFFFF), gray) if hidden is not None else gray
    if image.mode in ("I", "F"):
        raise ImageError(
            f"an image of mode {image.mode} does not say what its black and white are; convert it "
            "to L, RGB or I;16"
        )
    if image.mode == "La":  # which converts only to this
        image = image.convert("LA")
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _orientation(image: Image.Image) -> int:
    """What EXIF says of it; upright if that cannot be read, as of a file."""
    try:
        noted = image.getexif().get(_ORIENTATION)
    except (OSError, SyntaxError, ValueError):
        return 1
    return noted if noted in range(1, 9) else 1
