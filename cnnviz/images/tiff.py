"""TIFF: its directory, and the samples of files that decoders read wrongly or not at all.

OpenCV hands 8 bits through an interface of libtiff that takes any fourth band for transparency and
drops the second, and whose CIELAB is off; it garbles 16 bits in separate planes, and knows neither
2 bits nor 12. Pillow reads more, but shows white for black where zero is white in 16 bits, and
garbles planes too. So of such files only the compressed pieces are given to a decoder; what the
numbers mean is said here (TIFF 6.0, sections 3 to 11, 14 to 16, 18 and 23).
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
from cnnviz.text import counted

ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
"""How a file begins, and the byte order that this means."""

# Tags.
SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION = 254, 256, 257, 258, 259
PHOTOMETRIC, FILL_ORDER, SUBDIRECTORIES = 262, 266, 330
OFFSETS, ORIENTATION, SAMPLES, ROWS, COUNTS, PLANAR = 273, 274, 277, 278, 279, 284
PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_HEIGHT = 317, 320, 322, 323
TILE_OFFSETS, TILE_COUNTS, EXTRA_SAMPLES, SAMPLE_FORMAT = 324, 325, 338, 339

#: More entries than a directory in a TIFF file ever has.
_MOST_TAGS = 4096
#: Each compressed piece is a call of a decoder.
_MOST_PIECES = 1 << 15
_LAYOUTS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _LAB = 0, 1, 2, 3, 5, 8
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _LAB: 3}
_NONE, _LZW, _DEFLATE, _PACKBITS, _OLD_DEFLATE, _LZMA, _ZSTD = 1, 5, 8, 32773, 32946, 34925, 50000
_LOSSLESS = (_NONE, _LZW, _DEFLATE, _PACKBITS, _OLD_DEFLATE, _LZMA, _ZSTD)
_OTHER_COMPRESSIONS = {
    2: "fax compression",
    3: "fax compression",
    4: "fax compression",
    6: "JPEG compression",
    7: "JPEG compression",
    34712: "JPEG 2000 compression",
    34887: "LERC compression",
    50001: "WebP compression",
    50002: "JPEG XL compression",
}
_KNOWN_TO_OPENCV = (2, 3, 4, 6, 7)
_SAMPLE_FORMATS = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}
_ASSOCIATED, _UNASSOCIATED = 1, 2

#: Pixels whose bits are taken apart, or inks mixed, together.
_BLOCK = 1 << 22


class Directory:
    """The tags of whole numbers in the first directory of TIFF data, EXIF included.

    Of a tag that is there twice the first counts, as for libtiff. Damaged metadata gives what could
    be read: an image is not refused for it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.order = ORDERS.get(data[:4], "")
        self._places: dict[int, tuple[str, int, int]] = {}
        self.entries = 0
        if not self.order:
            return
        order, big = self.order, b"+" in data[:4]  # BigTIFF, with places of 64 bits
        place_layout, count_layout, room = ("Q", "Q", 8) if big else ("I", "H", 4)
        try:
            (start,) = struct.unpack_from(order + place_layout, data, 8 if big else 4)
            (count,) = struct.unpack_from(order + count_layout, data, start)
            start += struct.calcsize(count_layout)
            for index in range(min(count, _MOST_TAGS)):
                entry = start + (4 + 2 * room) * index
                tag, kind, values = struct.unpack_from(f"{order}HH{place_layout}", data, entry)
                self.entries += 1
                layout = _LAYOUTS.get(kind)
                if layout is None or values == 0:
                    continue
                place = entry + 4 + room
                if struct.calcsize(layout) * values > room:
                    (place,) = struct.unpack_from(order + place_layout, data, place)
                struct.unpack_from(order + layout, data, place)  # it is there
                self._places.setdefault(tag, (layout, values, place))
        except (struct.error, OverflowError):  # a place beyond the end, or beyond any file's
            pass

    def __contains__(self, tag: int) -> bool:
        return tag in self._places

    def first(self, tag: int, default: int) -> int:
        """A tag's first value."""
        if tag not in self._places:
            return default
        layout, _count, place = self._places[tag]
        return int(struct.unpack_from(self.order + layout, self._data, place)[0])

    def values(self, tag: int, most: int) -> tuple[int, ...]:
        """A tag's values, at most so many; none where they are not there."""
        if tag not in self._places:
            return ()
        layout, count, place = self._places[tag]
        try:
            return struct.unpack_from(f"{self.order}{min(count, most)}{layout}", self._data, place)
        except (struct.error, OverflowError):
            return ()

    def replaced(self, tag: int, value: int) -> bytes:
        """The data with another first value of a tag that is there."""
        layout, _count, place = self._places[tag]
        number = struct.pack(self.order + layout, value)
        return self._data[:place] + number + self._data[place + len(number) :]


def orientation(exif: bytes) -> int | None:
    """The orientation in EXIF data, 1 to 8, 1 if it has none; None if nothing of it can be read."""
    directory = Directory(exif)
    if not directory.entries:
        return None
    value = directory.first(ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


@dataclass(frozen=True)
class Layout:
    """How the samples of a TIFF lie, and what they mean.

    Attributes:
        size: (H, W) as stored.
        bits: of a sample, where all have the same; else 0.
        format: of a sample, 1 for whole numbers from 0.
        bands: samples a pixel.
        colors: how many of them, from the first on, are colors; 0 if that is not known here.
        photometric: what these mean.
        alpha: which band is transparency, if one is.
        premultiplied: whether colors are multiplied by it.
        told: whether the file says what bands beyond the colors are, if it has any.
        planes: whether each band lies on its own.
        compression: its number.
        orientation: 1 to 8.
    """

    size: tuple[int, int]
    bits: int
    format: int
    bands: int
    colors: int
    photometric: int
    alpha: int | None
    premultiplied: bool
    told: bool
    planes: bool
    compression: int
    orientation: int

    @classmethod
    def of(cls, tags: Directory) -> Layout:
        """What a file's directory says."""
        bands = max(1, tags.first(SAMPLES, 1))
        photometric = tags.first(PHOTOMETRIC, _RGB if bands >= 3 else _BLACK_IS_ZERO)
        colors = _COLORS.get(photometric, 0)
        bits = set(tags.values(BITS, bands)) or {1}
        orientation = tags.first(ORIENTATION, 1)
        extra = tags.values(EXTRA_SAMPLES, max(0, bands - colors))
        told = bool(extra) or bands <= colors
        if not told and (photometric, bands) == (_RGB, 4):
            extra = (_UNASSOCIATED,)  # the tag is not optional, but was forgotten
        alpha, kind = None, 0
        for place, kind in enumerate(extra):
            if kind in (_ASSOCIATED, _UNASSOCIATED):
                alpha = colors + place
                break
        return cls(
            size=(tags.first(HEIGHT, 0), tags.first(WIDTH, 0)),
            bits=bits.pop() if len(bits) == 1 else 0,
            format=1 if tags.first(SAMPLE_FORMAT, 1) == 4 else tags.first(SAMPLE_FORMAT, 1),
            bands=bands,
            colors=colors,
            photometric=photometric,
            alpha=alpha,
            premultiplied=alpha is not None and kind == _ASSOCIATED,
            told=told,
            planes=bands > 1 and tags.first(PLANAR, 1) == 2,
            compression=tags.first(COMPRESSION, _NONE),
            orientation=orientation if 1 <= orientation <= 8 else 1,
        )

    @property
    def plain(self) -> bool:
        """Whether OpenCV decodes it right, if at all: by comparison of all kinds of layouts.

        What it makes of a fourth band is the caller's to know.
        """
        if self.format != 1:
            return False
        if self.colors == 0:  # YCbCr above all: libtiff makes RGB of it
            return self.bits == 8 and self.bands == 3
        usual = self.bands == self.colors or (self.photometric == _RGB and self.bands == 4)
        kinds = {
            1: (_WHITE_IS_ZERO, _BLACK_IS_ZERO),
            4: (_PALETTE,),
            8: (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK),
            16: () if self.planes else (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB),
        }
        return usual and self.photometric in kinds.get(self.bits, ())

    def check(self) -> None:
        """Refuse what :func:`read_samples` does not read.

        Raises:
            ImageError: saying what it is.
        """
        if self.format != 1 or self.bits > 16:
            kind = f"{_SAMPLE_FORMATS.get(self.format, 'unknown')}{self.bits or ''}"
            raise ImageError(
                f"its samples are {kind}, whose black and white nothing says; convert it to 8 or "
                "16 bits a channel"
            )
        what = None
        if self.colors == 0:
            what = f"photometric interpretation {self.photometric}"
        elif self.compression not in _LOSSLESS:
            what = _OTHER_COMPRESSIONS.get(self.compression, f"compression {self.compression}")
        elif self.bits == 0:
            what = "bands of different depths"
        elif self.photometric == _LAB and self.bits != 8:
            what = "CIELAB colors"
        elif self.bands < self.colors:
            what = f"{self.bands} bands"
        if what is not None:
            bands = counted(self.bands, "band")
            raise ImageError(
                f"it is a TIFF with {what} ({bands} of {self.bits} bits), which cnnviz does not "
                "read; convert it to PNG"
            )


def may_be_read(data: bytes) -> bool:
    """Whether a file that OpenCV cannot decode may be of a kind that it does not know."""
    return Layout.of(Directory(data)).compression not in _KNOWN_TO_OPENCV


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
    tiled = TILE_WIDTH in tags
    down = tags.first(TILE_HEIGHT, 0) if tiled else min(height, tags.first(ROWS, height))
    across = tags.first(TILE_WIDTH, 0) if tiled else width
    if not (down and across and height and width):
        raise _damaged()
    rows, columns = -(-height // down), -(-width // across)
    planes = layout.bands if layout.planes else 1
    number = planes * rows * columns
    if number > _MOST_PIECES:
        raise ImageError(f"it is a TIFF in {number:,} pieces; save it in larger ones")
    offsets = tags.values(TILE_OFFSETS if tiled else OFFSETS, number)
    counts = tags.values(TILE_COUNTS if tiled else COUNTS, number)
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
    fill_order = tags.first(FILL_ORDER, 1)
    content: Any
    if layout.compression == _NONE and fill_order == 1:
        content = packed
    elif layout.compression in (_DEFLATE, _OLD_DEFLATE) and fill_order == 1:
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
    if tags.first(PREDICTOR, 1) == 2 and layout.compression != _NONE:
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    return values


def _unpacked(packed: bytes, row: int, rows: int, compression: int, fill_order: int) -> bytes:
    """Have a piece unpacked, as if it were a gray TIFF of its own."""
    from PIL import TiffImagePlugin

    tags = {WIDTH: row, HEIGHT: rows, BITS: 8, COMPRESSION: compression}
    tags.update({PHOTOMETRIC: _BLACK_IS_ZERO, FILL_ORDER: fill_order, SAMPLES: 1, ROWS: rows})
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags.update({OFFSETS: start, COUNTS: len(packed)})
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
    if layout.photometric == _PALETTE:
        return _looked_up(samples, tags.values(COLOR_MAP, 3 << layout.bits), layout.bits)
    if layout.photometric == _LAB:
        return _from_lab(samples)
    if layout.bits not in (8, 16):
        samples, full = _to_bytes(samples, full), 255
    if layout.photometric == _WHITE_IS_ZERO:
        samples[:, :, 0] = full - samples[:, :, 0]
    return _mixed(samples, full) if layout.photometric == _CMYK else samples


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
