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
_FLOAT_PREDICTOR = 3


@dataclass(frozen=True)
class TiffImage:
    """The image in a TIFF as it lies there, neither turned nor freed of transparency.

    Attributes:
        samples: (H, W, C), native numbers.
        layout: what the file says of itself.
        white: the value that is white, where black is 0; None if nothing says so.
    """

    samples: npt.NDArray[Any]
    layout: Layout
    white: int | None


def read_samples(data: bytes, most: int, *, full_depth: bool = False) -> TiffImage:
    """The image in a TIFF, gray or RGB, with transparency last if there is any.

    Bands that are neither colors nor transparency are left out.

    Args:
        data: the file.
        most: bytes that all its samples may take.
        full_depth: whether floats, and numbers of up to 32 bits, are read as they are; else samples
            come as uint8 or uint16, of which white is the highest.

    Raises:
        ImageError: it is damaged, or laid out as is not read.
    """
    tags = Directory(data)
    layout = Layout.of(tags)
    layout.check(full_depth=full_depth)
    bands = [*range(layout.colors), *([] if layout.alpha is None else [layout.alpha])]
    samples = _read(data, tags, layout, bands, most)
    if layout.format != 1 or layout.bits > 16:
        return TiffImage(samples, layout, None)
    if full_depth and layout.bits in range(9, 16) and layout.photometric != tiff.PALETTE:
        white = (1 << layout.bits) - 1
        return TiffImage(_lit(samples, layout, white), layout, white)
    samples = _colored(samples, tags, layout)
    return TiffImage(samples, layout, int(np.iinfo(samples.dtype).max))


def read_bands(data: bytes, pages: Sequence[Directory], most: int) -> TiffImage:
    """All samples of a TIFF as they are, whatever they mean.

    Args:
        data: the file.
        pages: its directories, whose bands follow one another; all are of one size and kind.
        most: bytes that all samples may take.

    Raises:
        ImageError: it is damaged, or laid out as is not read.
    """
    found, layouts = [], [Layout.of(tags) for tags in pages]
    for tags, layout in zip(pages, layouts, strict=True):
        layout.check(full_depth=True)
        found.append(_read(data, tags, layout, range(layout.bands), most // len(pages)))
    layout = layouts[0]
    known = layout.format == 1 and layout.bits <= 16
    samples = found[0] if len(found) == 1 else np.concatenate(found, axis=2)
    return TiffImage(samples, layout, (1 << layout.bits) - 1 if known else None)


def _read(
    data: bytes, tags: Directory, layout: Layout, bands: Sequence[int], most: int
) -> npt.NDArray[Any]:
    """Some bands of one directory: (H, W, bands)."""
    height, width = layout.size
    if height * width * layout.bands * -(-layout.bits // 8) > most:
        raise ImageError(
            f"it has {layout.bands} bands, which take more memory than an image of the allowed "
            "size does; keep those that show it, or raise --max-pixels"
        )
    samples = np.zeros((height, width, len(bands)), _dtype(layout))
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
    return samples


def _dtype(layout: Layout) -> np.dtype[Any]:
    """Of its samples, in memory."""
    number = tiff.NUMBERS.get((layout.format, layout.bits))
    return np.dtype(number or (np.uint8 if layout.bits <= 8 else np.uint16))


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
    predictor = tags.first(tiff.PREDICTOR, 1) if layout.compression != tiff.NONE else 1
    if predictor == _FLOAT_PREDICTOR and layout.format == 3:
        values = _gathered(lines, bands, layout.bits // 8)
    else:
        values = _numbers(lines, piece.width * bands, layout.bits, tags.order)
    values = values.reshape(piece.height, piece.width, bands)
    if predictor == 2:
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    return values if layout.format == 1 else values.view(_dtype(layout))


def _gathered(lines: npt.NDArray[np.uint8], bands: int, size: int) -> npt.NDArray[Any]:
    """Whole numbers whose bytes stand apart, highest first, as differences from the last pixel's.

    TIFF Technical Note 3 on floats.
    """
    rows = len(lines)
    whole = np.cumsum(lines.reshape(rows, -1, bands), axis=1, dtype=np.uint8)
    apart = np.ascontiguousarray(whole.reshape(rows, size, -1).transpose(0, 2, 1))
    return apart.view(f">u{size}")[:, :, 0].astype(f"u{size}")


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
    if bits in (16, 32, 64):
        return lines.view(f"{order}u{bits // 8}").astype(f"u{bits // 8}")
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
    return _lit(samples, layout, full)


def _lit(samples: npt.NDArray[Any], layout: Layout, full: int) -> npt.NDArray[Any]:
    """Gray or RGB from 0, black, to ``full``, which is white."""
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
