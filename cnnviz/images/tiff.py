"""Read what a TIFF says of itself: its tags, and how its samples are laid out.

OpenCV hands 8 bits through an interface of libtiff that takes any fourth band for transparency and
drops the second, and whose CIELAB is off; it garbles 16 bits in separate planes, and knows neither
2 bits nor 12. Pillow reads more, but shows white for black where zero is white in 16 bits, and
garbles planes too. What they would read wrongly is read by :mod:`cnnviz.images.tiff_samples`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

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
_LAYOUTS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, LAB = 0, 1, 2, 3, 5, 8
_COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, LAB: 3}
NONE, LZW, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD = 1, 5, 8, 32773, 32946, 34925, 50000
_LOSSLESS = (NONE, LZW, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD)
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

NUMBERS = {
    **{(1, bits): f"u{bits // 8}" for bits in (8, 16, 32)},
    **{(2, bits): f"i{bits // 8}" for bits in (8, 16, 32)},
    **{(3, bits): f"f{bits // 8}" for bits in (16, 32, 64)},
}
"""Samples that NumPy has a type for, by format and bits."""
_COUNTED = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)


class Directory:
    """The tags of whole numbers in a directory of TIFF data, EXIF included.

    Of a tag that is there twice the first counts, as for libtiff. Damaged metadata gives what could
    be read: an image is not refused for it.
    """

    def __init__(self, data: bytes, at: int | None = None) -> None:
        """Read the directory at a place, by default the first."""
        self._data = data
        self.next = 0  # where the next directory is; 0 if there is none
        self.order = ORDERS.get(data[:4], "")
        self._places: dict[int, tuple[str, int, int]] = {}
        self.entries = 0
        if not self.order:
            return
        order, big = self.order, b"+" in data[:4]  # BigTIFF, with places of 64 bits
        place_layout, count_layout, room = ("Q", "Q", 8) if big else ("I", "H", 4)
        try:
            (start,) = struct.unpack_from(order + place_layout, data, 8 if big else 4)
            start = start if at is None else at
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
            end = start + (4 + 2 * room) * count
            (self.next,) = struct.unpack_from(order + place_layout, data, end)
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
        """A tag's values, at most ``most``; empty if the tag is missing."""
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
        extras_declared: whether the file says what bands beyond the colors are, if it has any.
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
    extras_declared: bool
    planes: bool
    compression: int
    orientation: int

    @classmethod
    def of(cls, tags: Directory) -> Layout:
        """What a file's directory says."""
        bands = max(1, tags.first(SAMPLES, 1))
        photometric = tags.first(PHOTOMETRIC, RGB if bands >= 3 else BLACK_IS_ZERO)
        colors = _COLORS.get(photometric, 0)
        bits = set(tags.values(BITS, bands)) or {1}
        orientation = tags.first(ORIENTATION, 1)
        extra = tags.values(EXTRA_SAMPLES, max(0, bands - colors))
        extras_declared = bool(extra) or bands <= colors
        if not extras_declared and (photometric, bands) == (RGB, 4):
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
            extras_declared=extras_declared,
            planes=bands > 1 and tags.first(PLANAR, 1) == 2,
            compression=tags.first(COMPRESSION, NONE),
            orientation=orientation if 1 <= orientation <= 8 else 1,
        )

    @property
    def unnamed(self) -> bool:
        """Whether it is called gray, but has three or more bands, and none for transparency."""
        gray = self.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
        return gray and self.bands >= 3 and self.alpha is None

    @property
    def plain(self) -> bool:
        """Whether OpenCV decodes it right, if at all: by comparison of all kinds of layouts.

        What it makes of a fourth band is the caller's to know.
        """
        if self.format != 1:
            return False
        if self.colors == 0:  # YCbCr above all: libtiff makes RGB of it
            return self.bits == 8 and self.bands == 3
        usual = self.bands == self.colors or (self.photometric == RGB and self.bands == 4)
        kinds = {
            1: (WHITE_IS_ZERO, BLACK_IS_ZERO),
            4: (PALETTE,),
            8: (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK),
            16: () if self.planes else (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB),
        }
        return usual and self.photometric in kinds.get(self.bits, ())

    def check(self, *, full_depth: bool = False) -> None:
        """Refuse what :func:`cnnviz.images.tiff_samples.read_samples` does not read.

        Args:
            full_depth: whether floats and other numbers without a white of their own are read.

        Raises:
            ImageError: saying what it is.
        """
        number = (self.format, self.bits) in NUMBERS and self.photometric in _COUNTED
        if (self.format != 1 or self.bits > 16) and not (full_depth and number):
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
        elif self.photometric == LAB and self.bits != 8:
            what = "CIELAB colors"
        elif self.bands < self.colors:
            what = f"{self.bands} bands"
        if what is not None:
            bands = counted(self.bands, "band")
            raise ImageError(
                f"it is a TIFF with {what} ({bands} of {self.bits} bits), which cnnviz does not "
                "read; convert it to PNG"
            )


def gray_pages(data: bytes, number: int) -> list[Directory]:
    """The directories of a file of so many gray images of one size and kind; else none.

    That is how microscopes, among others, save the channels of one image.
    """
    pages = [Directory(data)]
    while len(pages) <= number and pages[-1].next:
        pages.append(Directory(data, pages[-1].next))
    if len(pages) != number or number < 2:
        return []
    kinds = {(one.size, one.bits, one.format, one.bands) for one in map(Layout.of, pages)}
    return pages if len(kinds) == 1 and kinds.pop()[3] == 1 else []


def may_be_read(data: bytes) -> bool:
    """Whether a file that OpenCV cannot decode may be of a kind that it does not know."""
    return Layout.of(Directory(data)).compression not in _KNOWN_TO_OPENCV
