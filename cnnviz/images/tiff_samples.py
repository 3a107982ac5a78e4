"""Read the samples of TIFF files that decoders read wrongly or not at all.

Only the compressed pieces are given to a decoder; what the numbers mean is said here (TIFF 6.0,
sections 3 to 11, 14 to 16, 18 and 23).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.errors import ImageError
from cnnviz.images import tiff
from cnnviz.images.tiff import Directory, Layout

#: Each compressed piece is a call of a decoder.
_MOST_PIECES = 1 << 15
#: Pixels whose bits are taken apart, or inks mixed, together.
_BLOCK = 1 << 22


def read_samples(data: bytes, most: int) -> tuple[npt.NDArray[Any], Layout]:
    """The image in a TIFF as it lies there, neither turned nor freed of transparency.

    Bands that are neither colors nor transparency are left out.

    Args:
        data: the file.
        most: bytes that all its samples may take.

    Returns:
        uint8 or uint16 (H, W, C), gray or RGB, with transparency last if there is any; and what the
        file says of itself.

    Raises:
        ImageError: it is damaged, or laid out as is not read.
    """
    tags = Directory(data)
    layout = Layout.of(tags)
    layout.check()
    height, width = layout.size
    if height * width * layout.bands * -(-layout.bits // 8) > most:
        raise ImageError(
            f"it has {layout.bands} bands, which take more memory than an image of the allowed "
            "size does; keep those that show it, or raise --max-pixels"
        )
    bands = [*range(layout.colors), *([] if layout.alpha is None else [layout.alpha])]
    samples = np.zeros((height, width, len(bands)), np.uint8 if layout.bits <= 8 else np.uint16)
    for piece in _pieces(tags, layout):
        if layout.planes and piece.plane not in bands:
            continue
        values = _values(data, tags, layout, piece, most)
        down, across = min(piece.height, height - piece.top), min(piece.width, width - piece.left)
        place = (slice(piece.top, piece.top + down), slice(piece.left, piece.left + across))
        if layout.planes:
            samples[(*place, bands.index(piece.plane))] = values[:down, :across, 0]
        else:
            samples[place] = values[:down, :across, bands]
    return _colored(samples, tags, layout), layout


@dataclass(frozen=True)
class _Piece:
    """A strip or tile: which band it has if each lies on its own, its place, and its bytes'."""

    plane: int
    top: int
    left: int
    height: int
    width: int
    offset: int
    count: int | None


def _pieces(tags: Directory, layout: Layout) -> Iterator[_Piece]:
    height, width = layout.size
    tiled = tiff.TILE_WIDTH in tags
    down = tags.first(tiff.TILE_HEIGHT, 0) if tiled else min(height, tags.first(tiff.ROWS, height))
    across = tags.first(tiff.TILE_WIDTH, 0) if tiled else width
    if not (down and across and height and width):
        raise _damaged()
    rows, columns = -(-height // down), -(-width // across)
    planes = layout.bands if layout.planes else 1
    number = planes * rows * columns
    if number > _MOST_PIECES:
        raise ImageError(f"it is a TIFF in {number:,} pieces; save it in larger ones")
    offsets = tags.values(tiff.TILE_OFFSETS if tiled else tiff.OFFSETS, number)
    counts = tags.values(tiff.TILE_COUNTS if tiled else tiff.COUNTS, number)
    if len(offsets) < number:
        raise _damaged()
    for index in range(number):
        plane, place = divmod(index, rows * columns)
        row, column = divmod(place, columns)
        # The last strip ends with the image; tiles are all of one size.
        size = down if tiled else min(down, height - row * down)
        count = counts[index] if index < len(counts) else None
        yield _Piece(plane, row * down, column * across, size, across, offsets[index], count)


def _values(
    data: bytes, tags: Directory, layout: Layout, piece: _Piece, most: int
) -> npt.NDArray[Any]:
    """A piece's samples: (h, w, bands)."""
    bands = 1 if layout.planes else layout.bands
    row = -(-piece.width * bands * layout.bits // 8)  # rows begin with a byte
    size = piece.height * row
    if size > most:
        raise _damaged()
    end = None if piece.count is None else piece.offset + piece.count
    packed = memoryview(data)[piece.offset : end]
    fill_order = tags.first(tiff.FILL_ORDER, 1)
    content: Any
    if layout.compression == tiff.NONE and fill_order == 1:
        content = packed
    elif layout.compression in (tiff.DEFLATE, tiff.OLD_DEFLATE) and fill_order == 1:
        try:
            content = zlib.decompressobj().decompress(packed, size)
        except zlib.error as error:
            raise _damaged() from error
    else:
        content = _unpacked(bytes(packed), row, piece.height, layout.compression, fill_order)
    if len(content) < size:
        raise ImageError("the TIFF is truncated or damaged: a part of its image is too short")
    lines = np.frombuffer(content, np.uint8, size).reshape(piece.height, row)
    values = _numbers(lines, piece.width * bands, layout.bits, tags.order)
    values = values.reshape(piece.height, piece.width, bands)
    if tags.first(tiff.PREDICTOR, 1) == 2 and layout.compression != tiff.NONE:
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    return values


def _unpacked(packed: bytes, row: int, rows: int, compression: int, fill_order: int) -> bytes:
    """Have a piece unpacked, as if it were a gray TIFF of its own."""
    from PIL import TiffImagePlugin

    tags = {tiff.WIDTH: row, tiff.HEIGHT: rows, tiff.BITS: 8, tiff.COMPRESSION: compression}
    tags.update(
        {
            tiff.PHOTOMETRIC: tiff.BLACK_IS_ZERO,
            tiff.FILL_ORDER: fill_order,
            tiff.SAMPLES: 1,
            tiff.ROWS: rows,
        }
    )
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags.update({tiff.OFFSETS: start, tiff.COUNTS: len(packed)})
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    try:
        with TiffImagePlugin.TiffImageFile(io.BytesIO(head + packed)) as image:
            image.load()
            return bytes(image.tobytes())
    except (OSError, ValueError, SyntaxError) as error:
        raise _damaged() from error


def _numbers(lines: npt.NDArray[np.uint8], count: int, bits: int, order: str) -> npt.NDArray[Any]:
    """So many numbers of each line of bytes."""
    if bits == 8:
        return lines
    if bits == 16:
        return lines.view(order + "u2").astype(np.uint16)
    numbers = np.empty((len(lines), count), np.uint8 if bits < 8 else np.uint16)
    weights = (1 << np.arange(bits)[::-1]).astype(numbers.dtype)
    block = max(1, _BLOCK // count)
    for top in range(0, len(lines), block):
        ones = np.unpackbits(lines[top : top + block], axis=1, count=count * bits)
        numbers[top : top + block] = np.dot(ones.reshape(len(ones), count, bits), weights)
    return numbers


def _colored(samples: npt.NDArray[Any], tags: Directory, layout: Layout) -> npt.NDArray[Any]:
    """Gray or RGB of 8 or 16 bits, from what the samples mean."""
    full = (1 << layout.bits) - 1
    if layout.photometric == tiff.PALETTE:
        return _looked_up(samples, tags.values(tiff.COLOR_MAP, 3 << layout.bits), layout.bits)
    if layout.photometric == tiff.LAB:
        return _from_lab(samples)
    if layout.bits not in (8, 16):
        samples, full = _to_bytes(samples, full), 255
    if layout.photometric == tiff.WHITE_IS_ZERO:
        samples[:, :, 0] = full - samples[:, :, 0]
    return _mixed(samples, full) if layout.photometric == tiff.CMYK else samples


def _to_bytes(samples: npt.NDArray[Any], full: int) -> npt.NDArray[np.uint8]:
    """Scaled from 0 up to ``full`` to 8 bits, and rounded."""
    levels = (np.arange(full + 1) * 255 + full // 2) // full
    return np.asarray(levels.astype(np.uint8)[samples])


def _mixed(samples: npt.NDArray[Any], full: int) -> npt.NDArray[Any]:
    """RGB from inks: what each leaves of the light, and black of all."""
    rgb = np.empty((*samples.shape[:2], samples.shape[2] - 1), samples.dtype)
    block = max(1, _BLOCK // samples.shape[1])
    for top in range(0, len(samples), block):
        light = full - samples[top : top + block, :, :4].astype(np.uint32)  # 65535 squared fits
        mixed = (light[:, :, :3] * light[:, :, 3:] + full // 2) // full
        rgb[top : top + block, :, :3] = mixed
    rgb[:, :, 3:] = samples[:, :, 4:]
    return rgb


def _from_lab(samples: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """RGB, that is sRGB, from CIELAB of 8 bits."""
    from PIL import Image

    height, width = samples.shape[:2]
    colors = samples[:, :, :3].tobytes()
    rgb = Image.frombytes("LAB", (width, height), colors, "raw", "LAB").convert("RGB")
    return np.concatenate([np.asarray(rgb), samples[:, :, 3:]], axis=2)


def _looked_up(
    samples: npt.NDArray[Any], palette: Sequence[int], bits: int
) -> npt.NDArray[np.uint8]:
    """RGB from places in a palette, whose numbers have 16 bits."""
    if len(palette) < 3 << bits:
        raise _damaged()
    colors = np.array(palette, np.int64).reshape(3, -1).T
    if colors.max() >= 256:  # some writers use 8 bits
        colors >>= 8
    rgb = np.asarray(colors.astype(np.uint8)[samples[:, :, 0]])
    alpha = _to_bytes(samples[:, :, 1:], (1 << bits) - 1)
    return np.concatenate([rgb, alpha], axis=2)


def _damaged() -> ImageError:
    return ImageError("the TIFF is damaged: it begins like one, but cannot be decoded")
