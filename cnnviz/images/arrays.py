"""Images in NumPy's files, .npy and .npz, and the order of an array's axes.

Nothing is unpickled: only arrays of plain numbers are read, and no more of them than the file has.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any

import numpy as np

from cnnviz.errors import ImageError
from cnnviz.types import Array

_npy: Any = np.lib.format  # which has no types

_KINDS = ("u", "i", "f")  # whole numbers and floats
_MOST_BYTES = 8  # of one number
_HEADER = 1 << 14  # more than NumPy's own limit for a header that it takes


@dataclass(frozen=True)
class Header:
    """What a .npy file says of its array."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @classmethod
    def of(cls, data: bytes) -> Header:
        """Read it, and check that the file has what it says.

        Raises:
            ImageError: it is damaged, or of what is no image.
        """
        head = io.BytesIO(data[:_HEADER])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of files that Python 2 wrote
                version = _npy.read_magic(head)
                old = version == (1, 0)
                read = _npy.read_array_header_1_0 if old else _npy.read_array_header_2_0
                shape, fortran, dtype = read(head)
        except (ValueError, TypeError, SyntaxError, TokenError, RecursionError) as error:
            raise ImageError("the NPY is damaged: its header cannot be read") from error
        if dtype.kind not in _KINDS or dtype.itemsize > _MOST_BYTES:
            kind = "Python objects" if dtype.hasobject else str(dtype)[:60]
            raise ImageError(
                f"it is an array of {kind}; an image is one of whole numbers or floats of at most "
                "64 bits"
            )
        _check_axes(shape)
        if len(data) - head.tell() < math.prod(shape) * dtype.itemsize:
            raise ImageError("the NPY is truncated: it has fewer numbers than its header says")
        return cls(dtype, shape, fortran, head.tell())

    @property
    def size(self) -> tuple[int, int]:
        """At most so many (H, W), whichever axis the channels are: the two longest sides."""
        longest = sorted(self.shape)[-2:]
        return longest[0], longest[1]


def read_npy(data: bytes) -> Array:
    """The array in a .npy file, of two or three axes, in this machine's byte order.

    Raises:
        ImageError: see :meth:`Header.of`.
    """
    header = Header.of(data)
    values = np.frombuffer(data, header.dtype, math.prod(header.shape), header.start)
    values = values.reshape(header.shape, order="F" if header.fortran else "C")
    return values.astype(header.dtype.newbyteorder("="), copy=False)


def npy_of_npz(data: bytes, most: int) -> bytes:
    """The .npy file of the one array in a .npz file.

    Args:
        data: the .npz file.
        most: bytes that it may take.

    Raises:
        ImageError: it is damaged, holds several arrays, or is too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if len(names) != 1:
                raise ImageError(f"it is an NPZ with {len(names)} arrays; save the image's alone")
            with archive.open(names[0]) as member:
                content = member.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ImageError("the NPZ is damaged: its array cannot be unpacked") from error
    except (RuntimeError, OSError, ValueError) as error:  # encrypted, places beyond the end
        raise ImageError("the NPZ is damaged: its array cannot be unpacked") from error
    if len(content) > most:
        raise ImageError(
            "its array takes more memory than an image of the allowed size does; scale it down, or "
            "raise --max-pixels"
        )
    return content


def channels_last(values: Array, channels: int, *, first: bool = False) -> Array:
    """An image's array as (H, W, C).

    Args:
        values: (H, W), (H, W, C) or (C, H, W).
        channels: how many the network takes. Gray and color networks take each other's images.
        first: whether (C, H, W) is meant where both would do.

    Raises:
        ImageError: it has other axes, or an empty side.
    """
    _check_axes(values.shape)
    if values.ndim == 2:
        return values[:, :, None]
    numbers = (channels, 4 - channels) if channels in (1, 3) else (channels,)
    for number in numbers:  # what the network takes comes before what can be made of it
        for axis in (0, 2) if first else (2, 0):
            if values.shape[axis] == number:
                return np.moveaxis(values, axis, 2)
    raise ImageError(
        f"it is an array of shape {values.shape}, and the network takes "
        f"{channels} channel{'' if channels == 1 else 's'}: give (H, W, {channels}) or "
        f"({channels}, H, W)"
    )


def _check_axes(shape: tuple[int, ...]) -> None:
    if len(shape) not in (2, 3) or 0 in shape:
        raise ImageError(
            f"it is an array of shape {shape}; an image has shape (H, W), (H, W, channels) or "
            "(channels, H, W), with at least one pixel"
        )
