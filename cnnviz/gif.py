"""The first frame of a GIF file.

The OpenCV wheels that go with NumPy 1 cannot read GIF, so this reads it: the LZW decoder of the
GIF89a specification (appendix F), about a second for four million pixels.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

SIGNATURES = (b"GIF87a", b"GIF89a")

_MOST_PIXELS = 1 << 26
"""Sixteen bytes can ask for 65535 x 65535 pixels; 8192 x 8192 take a quarter of a minute."""

_INTERLACE = ((0, 8), (4, 8), (2, 4), (1, 2))
"""First row and step of the four passes of an interlaced frame."""


class GifError(ValueError):
    """The bytes are no readable GIF; the text says what is wrong with them."""


def first_frame(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode the first frame, at its place on the GIF's canvas.

    Args:
        data: the whole file.

    Returns:
        uint8 (H, W, 4), RGBA; pixels that the frame leaves out or marks transparent have alpha 0.

    Raises:
        GifError: the file is damaged or ends too early.
    """
    try:
        return _first_frame(data)
    except (IndexError, struct.error) as error:
        raise GifError("it ends in the middle of the first frame") from error


def _first_frame(data: bytes) -> npt.NDArray[np.uint8]:
    if data[:6] not in SIGNATURES:
        raise GifError("it does not begin like a GIF")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13
    palette = None
    if flags & 0x80:
        palette, position = _palette(data, position, flags)

    transparent = None
    while data[position] != 0x2C:  # until the first image descriptor
        if data[position] == 0x3B:
            raise GifError("it holds no picture")
        if data[position] != 0x21:
            raise GifError(f"there is no block of kind 0x{data[position]:02x}")
        kind = data[position + 1]
        body, position = _sub_blocks(data, position + 2)
        if kind == 0xF9 and len(body) >= 4 and body[0] & 1:
            transparent = body[3]

    left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, position + 1)
    position += 10
    if flags & 0x80:
        palette, position = _palette(data, position, flags)
    if palette is None:
        raise GifError("it has no colour table")
    if frame_width == 0 or frame_height == 0:
        raise GifError("its first frame is empty")
    # Some writers leave the canvas at 0 x 0, or let the frame reach past it.
    width, height = max(width, left + frame_width), max(height, top + frame_height)
    if width * height > _MOST_PIXELS:
        raise GifError(f"{width} x {height} pixels are too many")

    code_size = data[position]
    body, _ = _sub_blocks(data, position + 1)
    count = frame_width * frame_height
    pixels = np.frombuffer(_lzw(body, code_size, count), np.uint8).reshape(
        frame_height, frame_width
    )
    if flags & 0x40:
        order = [row for start, step in _INTERLACE for row in range(start, frame_height, step)]
        straight = np.empty_like(pixels)
        straight[order] = pixels
        pixels = straight

    colours = np.zeros((256, 4), np.uint8)
    colours[: len(palette), :3] = palette
    colours[:, 3] = 255
    if transparent is not None:
        colours[transparent, 3] = 0
    canvas = np.zeros((height, width, 4), np.uint8)
    canvas[top : top + frame_height, left : left + frame_width] = colours[pixels]
    return canvas


def _palette(data: bytes, position: int, flags: int) -> tuple[npt.NDArray[np.uint8], int]:
    size = 3 << ((flags & 7) + 1)
    table = data[position : position + size]
    if len(table) < size:
        raise GifError("it ends in the middle of the colour table")
    return np.frombuffer(table, np.uint8).reshape(-1, 3), position + size


def _sub_blocks(data: bytes, position: int) -> tuple[bytes, int]:
    """Join the length-prefixed blocks from here on; also returns where the next thing begins."""
    parts = []
    while data[position]:
        size = data[position]
        parts.append(data[position + 1 : position + 1 + size])
        position += size + 1
    return b"".join(parts), position + 1


def _lzw(data: bytes, code_size: int, count: int) -> bytes:
    """Decode ``count`` pixels. Codes come least significant bit first and grow to 12 bits."""
    if not 1 <= code_size <= 8:
        raise GifError(f"its LZW code size is {code_size}; 2 to 8 are possible")
    clear, stop = 1 << code_size, (1 << code_size) + 1
    fresh = [bytes((value,)) for value in range(clear)] + [b"", b""]
    table = list(fresh)
    width, previous = code_size + 1, b""
    result = []
    left = count
    bits = held = 0
    for byte in data:
        bits |= byte << held
        held += 8
        while held >= width:
            code = bits & ((1 << width) - 1)
            bits >>= width
            held -= width
            if code == clear:
                table = list(fresh)
                width, previous = code_size + 1, b""
                continue
            if code == stop:
                raise GifError("it ends in the middle of the first frame")
            if code < len(table):
                entry = table[code]
            elif code == len(table) and previous:
                entry = previous + previous[:1]
            else:
                raise GifError("its LZW data is damaged")
            if previous and len(table) < 4096:
                table.append(previous + entry[:1])
                if len(table) == 1 << width and width < 12:
                    width += 1
            previous = entry
            result.append(entry)
            left -= len(entry)
            if left <= 0:
                return b"".join(result)[:count]
    raise GifError("it ends in the middle of the first frame")
