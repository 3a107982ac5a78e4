"""Pixels that lie in a file as they are: bitmaps of masked bits (BMP), and PNM.

OpenCV takes the unused byte of a BMP's 32 bits for transparency, leaves 5 bits darker than they
are, and disregards the level that a PNM file calls white.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.errors import ImageError
from cnnviz.images.kinds import PNM, is_bare_bitmap

_FILE_HEADER = 14
_SHORT_HEADER = 12  # of OS/2
_RGB, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
#: Without masks: blue lowest, and no transparency.
_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
#: Pixels that are taken apart together.
_BLOCK = 1 << 22


# --- BMP -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bitmap:
    """What a BMP file says of itself.

    Attributes:
        header: bytes of its second header.
        width: of the image.
        height: of it; negative if its rows are stored from the top down.
        bits: of a pixel.
        compression: its number.
        offset: where the pixels begin.
    """

    header: int
    width: int
    height: int
    bits: int
    compression: int
    offset: int

    @classmethod
    def of(cls, data: bytes) -> Bitmap:
        """Read the headers; what is missing of them is 0."""
        head = data[:34].ljust(34, b"\0")
        offset, header = struct.unpack_from("<II", head, 10)
        if header == _SHORT_HEADER:
            width, height, bits = struct.unpack_from("<HH2xH", head, 18)
            return cls(header, width, height, bits, _RGB, offset)
        width, height, bits, compression = struct.unpack_from("<ii2xHI", head, 18)
        return cls(header, width, height, bits, compression, offset)

    @property
    def masked(self) -> bool:
        """Whether :func:`read_masked` reads it, and OpenCV does not."""
        return self.bits in _MASKS and self.compression in (_RGB, _BITFIELDS, _ALPHA_BITFIELDS)


def with_usual_headers(data: bytes) -> bytes:
    """A BMP as all decoders know it: with the file's header, and the longer one of the image."""
    if is_bare_bitmap(data):
        header, bits, compression, colors = struct.unpack_from("<I10xHI12xI", data)
        masks = {_BITFIELDS: 12, _ALPHA_BITFIELDS: 16}.get(compression, 0) if header == 40 else 0
        palette = 4 * (colors or (1 << bits if bits <= 8 else 0))
        offset = min(_FILE_HEADER + header + masks + palette, 0xFFFFFFFF)
        return b"BM" + struct.pack("<IHHI", _FILE_HEADER + len(data), 0, 0, offset) + data
    old = Bitmap.of(data)
    if old.header != _SHORT_HEADER:
        return data
    start = _FILE_HEADER + _SHORT_HEADER
    end = min(start + (3 << old.bits), old.offset) if old.bits <= 8 else start
    entries = [data[at : at + 3] + b"\0" for at in range(start, end - 2, 3)]
    fields = (40, old.width, old.height, 1, old.bits, _RGB, 0, 0, 0, len(entries), 0)
    head = struct.pack("<IiiHHIIiiII", *fields) + b"".join(entries)
    offset = _FILE_HEADER + len(head)
    pixels = data[old.offset :]
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + head + pixels


def read_masked(data: bytes) -> npt.NDArray[np.uint8]:
    """The pixels of a BMP of 16 or 32 bits: uint8 (H, W, 3) RGB, or RGBA.

    Transparency that is nowhere more than nothing is none: that is what programs leave in a byte
    which they do not use.

    Raises:
        ImageError: it is truncated, or its masks are none.
    """
    bitmap = Bitmap.of(data)
    height, width = abs(bitmap.height), bitmap.width
    if height == 0 or width <= 0:
        raise ImageError("the BMP is damaged: it says that it has no pixels")
    row = -(-width * bitmap.bits // 32) * 4
    if len(data) - bitmap.offset < row * (height - 1) + width * bitmap.bits // 8:
        raise ImageError("the BMP is truncated: it ends in the middle of its pixels")
    masks = _masks(data, bitmap)
    lines = np.frombuffer(data, np.uint8, offset=bitmap.offset)[: row * height]
    lines = np.concatenate([lines, np.zeros(row * height - len(lines), np.uint8)])
    values = lines.view(f"<u{bitmap.bits // 8}").reshape(height, -1)[:, :width]
    pixels = np.empty((height, width, 4 if masks[3] else 3), np.uint8)
    block = max(1, _BLOCK // width)
    for top in range(0, height, block):
        for band in range(pixels.shape[2]):
            pixels[top : top + block, :, band] = _level(values[top : top + block], masks[band])
    if masks[3] and not pixels[:, :, 3].any():
        pixels = pixels[:, :, :3]
    return np.asarray(pixels if bitmap.height < 0 else pixels[::-1])


def _masks(data: bytes, bitmap: Bitmap) -> tuple[int, int, int, int]:
    """Which bits are red, green, blue and alpha: these are 0 where there is none."""
    if bitmap.compression == _RGB:
        return _MASKS[bitmap.bits]
    try:
        red, green, blue = struct.unpack_from("<III", data, 54)
        # The short header has three masks behind it, and the alpha's is another compression.
        with_alpha = bitmap.header >= 56 or bitmap.compression == _ALPHA_BITFIELDS
        (alpha,) = struct.unpack_from("<I", data, 66) if with_alpha else (0,)
    except struct.error as error:
        raise ImageError("the BMP is truncated: it ends within its headers") from error
    if not (red and green and blue):
        raise ImageError("the BMP is damaged: its colors have no bits")
    return red, green, blue, alpha


def _level(values: npt.NDArray[Any], mask: int) -> npt.NDArray[np.uint8]:
    """The bits of a mask, from 0 to 255."""
    lowest = (mask & -mask).bit_length() - 1
    most = mask >> lowest
    level = (values & values.dtype.type(mask & ((1 << 8 * values.itemsize) - 1))) >> lowest
    if most != 255:
        level = level.astype(np.uint64) * 255 // most
    return np.asarray(level, np.uint8)


# --- PNM -----------------------------------------------------------------------------------------

_COMMENT = re.compile(rb"#[^\r\n]*")
_MAXVAL = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})(?:#[^\r\n]*)?\s")
_NO_NUMBERS = re.compile(rb"[^0-9\s]")
_TRUNCATED = "the PNM is truncated: it ends in the middle of its pixels"


def read_pnm(data: bytes, *, full_depth: bool = False) -> tuple[npt.NDArray[Any], int]:
    """The pixels of a PNM file, (H, W, 1) or (H, W, 3), and the level that is white.

    These are uint8 scaled from the file's own white to 255 or, at full depth, uint16 as they are in
    a file whose white is above that.

    Raises:
        ImageError: it is truncated or damaged.
    """
    head = PNM.match(data)
    if head is None:
        raise ImageError("the PNM is damaged: its header cannot be read")
    number, width, height = (int(part) for part in head.groups())
    shape = (height, width, 3 if number in (3, 6) else 1)
    if not (height and width):
        raise ImageError("the PNM is damaged: it says that it has no pixels")
    if number in (1, 4):
        # One character ends the header, and comments may stand before it.
        start = head.end() + 1 if data[head.end()] != 0x23 else _after_comment(data, head.end())
        black = _ascii_bits(data, start, shape) if number == 1 else _bits(data, start, shape)
        return np.where(black, 0, 255).astype(np.uint8), 255
    found = _MAXVAL.match(data, head.end())
    if found is None or not 0 < int(found[1]) <= 65535:
        raise ImageError("the PNM is damaged: its highest level is not from 1 to 65535")
    most, count = int(found[1]), height * width * shape[2]
    values = (_ascii if number in (2, 3) else _binary)(data, found.end(), count, most)
    if most == 255:
        return values.astype(np.uint8).reshape(shape), most
    if full_depth and most > 255:
        return values.astype(np.uint16).reshape(shape), most
    levels = np.rint(np.arange(most + 1) * 255 / most)
    return np.asarray(levels.astype(np.uint8)[values].reshape(shape)), 255


def _after_comment(data: bytes, start: int) -> int:
    found = _COMMENT.match(data, start)
    return len(data) if found is None else found.end() + 1


def _bits(data: bytes, start: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    height, width, _ = shape
    row = -(-width // 8)
    if len(data) - start < height * row:
        raise ImageError(_TRUNCATED)
    lines = np.frombuffer(data, np.uint8, height * row, start).reshape(height, row)
    return np.unpackbits(lines, axis=1, count=width).reshape(shape)


def _ascii_bits(data: bytes, start: int, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    digits = b"".join(_COMMENT.sub(b"", data[start:]).split())
    count = shape[0] * shape[1]
    if len(digits) < count:
        raise ImageError(_TRUNCATED)
    values = np.frombuffer(digits, np.uint8, count)
    if not np.isin(values, (0x30, 0x31)).all():
        raise ImageError("the PNM is damaged: its pixels are not all 0 or 1")
    return np.asarray(values == 0x31).reshape(shape)


def _ascii(data: bytes, start: int, count: int, most: int) -> npt.NDArray[Any]:
    text = _COMMENT.sub(b"", data[start:])
    if len(text) < 2 * count - 1:  # a digit each, and something between
        raise ImageError(_TRUNCATED)
    if _NO_NUMBERS.search(text):
        raise ImageError("the PNM is damaged: its pixels are not all numbers")
    values = np.fromstring(text, np.int64, count, sep=" ")
    if len(values) < count:
        raise ImageError(_TRUNCATED)
    if values.max() > most:
        raise ImageError(f"the PNM is damaged: a level is above its highest, {most}")
    return values


def _binary(data: bytes, start: int, count: int, most: int) -> npt.NDArray[Any]:
    dtype = np.dtype(np.uint8) if most < 256 else np.dtype(">u2")
    if len(data) - start < count * dtype.itemsize:
        raise ImageError(_TRUNCATED)
    return np.minimum(np.frombuffer(data, dtype, count, start), dtype.type(most))
