"""Read masks: PNG files whose values say of every pixel of an image what it belongs to."""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.errors import ImageError
from cnnviz.images.containers import damaged, probe
from cnnviz.images.files import read_bytes
from cnnviz.images.kinds import HEAD, kind_read
from cnnviz.images.pixels import orient

_BYTES_A_PIXEL = 8  # at most, uncompressed
_OTHER_BYTES = 1 << 24
_DEPTH = 24  # where a PNG says how many bits a value has


def read_mask(path: str | os.PathLike[str], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """The values of a mask as they are stored: levels of gray, or indices into its palette.

    Args:
        path: a gray or indexed PNG of 1 to 16 bits; or an RGB one of 8 bits, which must be gray.
        shape: (H, W) that it has to have, upright.

    Returns:
        Whole numbers from 0 on, (H, W).

    Raises:
        ImageError: with the reason, but not the path: it cannot be read, is no such PNG or has
            another size, which is known before it is decoded.
    """
    data = read_bytes(path, _BYTES_A_PIXEL * shape[0] * shape[1] + _OTHER_BYTES)
    if kind_read(data[:HEAD]) != "PNG":
        raise ImageError("it is no PNG")
    container = probe(data)
    height, width = container.size
    if container.orientation >= 5:
        height, width = width, height
    if (height, width) != shape:
        raise ImageError(
            f"it is {width} pixels wide and {height} high, and the image is {shape[1]} wide and "
            f"{shape[0]} high"
        )
    values = _values(container.content or data)
    return orient(values[:, :, None], container.orientation)[:, :, 0]


def _values(data: bytes) -> npt.NDArray[Any]:
    """The values of a PNG, (H, W)."""
    from PIL import PngImagePlugin

    depth = data[_DEPTH]
    try:
        # Not by PIL.Image.open, which has a limit of its own on the number of pixels.
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
            image.load()
            mode, values = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise damaged("PNG") from error
    except MemoryError as error:
        raise ImageError("its pixels do not fit into memory") from error
    if mode == "L" and depth in (2, 4):  # made to fill 8 bits
        values = values // (255 // ((1 << depth) - 1))
    if values.ndim == 3 and depth == 8 and mode == "RGB" and not np.ptp(values, axis=2).any():
        values = values[:, :, 0]
    if values.ndim == 3:
        raise ImageError(
            "it has colors or transparency; expected a gray or indexed PNG, 0 outside of the "
            "objects"
        )
    return values.astype(np.uint8) if values.dtype == np.bool_ else values
