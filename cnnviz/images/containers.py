"""Validate image files before decoding: format, integrity, declared size, orientation.

Each format's own structure is walked through. Is the file complete? Decoders report that on stderr
or not at all. How many pixels does it declare? A file of a few bytes can make a decoder allocate
gigabytes. And what does OpenCV leave to its caller, the orientation above all? Other formats are
refused even if OpenCV could decode them: some of its readers crash on random bytes (JPEG 2000's,
for one), and some formats do not define which value is white.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnnviz.errors import ImageError
from cnnviz.images import tiff
from cnnviz.images.arrays import Header
from cnnviz.images.bitmaps import Bitmap, with_usual_headers
from cnnviz.images.kinds import HEAD, PNM, RAW, READ, kind_read, kind_unread
from cnnviz.text import joined

_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; not the lossless ones
_NO_JPEG_FRAMES = (0xC4, 0xC8, 0xCC)  # among the markers from 0xC0 to 0xCF
_ENTROPY_CODED_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: Progressive encoders write about ten. Every scan goes over all pixels, so that a file of a few
#: kilobytes could keep the decoder busy for hours.
_MOST_SCANS = 100
_RAW_PIXELS = (32803, 34892)  # what lies behind a filter of colors, and what is linear
#: Chunks of a PNG that say what its pixels are. All others are kept from the decoder: it would
#: complain of color profiles, and show an animation's first frame where the image is another.
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_GRAY_ALPHA = 4  # of the PNG's types of color


@dataclass(frozen=True)
class Container:
    """What a file says of the image in it.

    Attributes:
        kind: one of :data:`cnnviz.images.kinds.READ`.
        size: (H, W) as stored: the largest that is declared anywhere where a decoder may look.
        orientation: of EXIF, 1 to 8, if it is left to us to turn the image.
        reducible: (H, W) of a JPEG that can be decoded smaller; None for all others.
        hidden: the level of gray that is transparent, which OpenCV leaves out; None for none.
        inverted: whether black and white are exchanged.
        opaque: whether a fourth band is no alpha.
        premultiplied: whether colors are multiplied by their alpha.
        gray_alpha: whether its four bands are gray, three times, and alpha.
        plain: whether OpenCV reads it right.
        content: what the decoder is given, if that is not the file as it is.
    """

    kind: str
    size: tuple[int, int]
    orientation: int = 1
    reducible: tuple[int, int] | None = None
    hidden: int | None = None
    inverted: bool = False
    opaque: bool = False
    premultiplied: bool = False
    gray_alpha: bool = False
    plain: bool = True
    content: bytes | None = None

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.size[0] * self.size[1]


def probe(data: bytes) -> Container:
    """Validate a file, an NPZ unpacked, without decoding it, and return what it declares.

    Raises:
        ImageError: it is of no kind that is read, not whole, or damaged in its structure.
    """
    kind = kind_read(data[:HEAD])
    if kind is not None:
        return _PROBES[kind](data)
    other = kind_unread(data[:HEAD])
    if other is not None:
        raise ImageError(str(other))
    raise ImageError(
        f"it is not in a format that cnnviz reads ({joined(READ)}); it begins with "
        f"{_first_bytes(data)}"
    )


def damaged(kind: str, said: Sequence[str] = ()) -> ImageError:
    """The error for a file that only begins like one of its kind.

    Args:
        kind: one of :data:`cnnviz.images.kinds.READ`.
        said: what the decoder said of it.
    """
    because = f" ({'; '.join(said)})" if said else ""
    return ImageError(f"it begins like a {kind} file, but is damaged or of a rare kind{because}")


def _largest(sizes: list[tuple[int, int]], kind: str) -> tuple[int, int]:
    """The (H, W) of most pixels."""
    if not sizes:
        raise damaged(kind)
    return max(sizes, key=lambda size: size[0] * size[1])


def _first_bytes(data: bytes) -> str:
    head = data[:8]
    if all(0x20 <= byte < 0x7F for byte in head):
        return repr(head.decode("ascii"))
    return head.hex(" ")


def _jpeg(data: bytes) -> Container:
    orientation, shape, scans = None, None, 0
    sizes: list[tuple[int, int]] = []
    position = 2
    try:
        while True:
            marker = data[position + 1]
            if data[position] != 0xFF or marker in (0x00, 0xFF):  # padding between segments
                position += 1
                continue
            if marker == 0xD9:
                return Container("JPEG", _largest(sizes, "JPEG"), orientation or 1, shape)
            if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
                position += 2
                continue
            (length,) = struct.unpack_from(">H", data, position + 2)
            segment = data[position + 4 : position + 2 + length]
            if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
                orientation = orientation or tiff.orientation(segment[6:])  # the first counts
            if 0xC0 <= marker <= 0xCF and marker not in _NO_JPEG_FRAMES:
                sizes.append(struct.unpack_from(">HH", segment, 1))
            if marker in _JPEG_FRAMES:
                height, width = sizes[-1]
                shape = (height, width) if height and width else None  # 0: said later in the file
            position += 2 + length
            if marker == 0xDA:  # the image's own data, up to the next real marker
                scans += 1
                if scans > _MOST_SCANS:
                    raise ImageError(f"the JPEG has more than {_MOST_SCANS} scans; save it again")
                end = _ENTROPY_CODED_END.search(data, position)
                if end is None:
                    raise IndexError
                position = end.start()
    except (IndexError, struct.error) as error:
        raise ImageError("the JPEG is truncated: it ends before its end marker") from error


def _png(data: bytes) -> Container:
    orientation, hidden, depth, color_type = None, None, 8, 0
    sizes: list[tuple[int, int]] = []
    chunks = [data[:8]]
    position = 8
    while True:
        if position + 12 > len(data):
            raise ImageError("the PNG is truncated: it ends before its end chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise ImageError("the PNG is truncated: it ends in the middle of a chunk")
        body = memoryview(data)[position + 4 : end - 4]
        if zlib.crc32(body) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ImageError("the PNG is damaged: a checksum does not match its data")
        if kind == b"IHDR" and length == 13:
            width, height = struct.unpack_from(">II", body, 4)
            sizes.append((height, width))
            depth, color_type = body[12], body[13]
        if kind == b"eXIf":
            orientation = orientation or tiff.orientation(bytes(body[4:]))
        if kind in _PNG_CHUNKS:
            chunks.append(data[position:end])
        if kind == b"tRNS" and length == 2:  # in the file's own bits, of which there may be 1 to 16
            (level,) = struct.unpack_from(">H", body, 4)
            hidden = level * 255 // ((1 << depth) - 1) if depth in (1, 2, 4) else level
        if kind == b"IEND":
            # Where a PNG lacks its data OpenCV looks for it behind the end, and takes garbage there
            # for a chunk, and its first bytes for how much memory that needs.
            size = _largest(sizes, "PNG")
            content = None if sum(map(len, chunks)) == len(data) else b"".join(chunks)
            return Container(
                "PNG",
                size,
                orientation or 1,
                hidden=hidden,
                gray_alpha=color_type == _GRAY_ALPHA,
                content=content,
            )
        position = end


def _webp(data: bytes) -> Container:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise ImageError("the WebP is truncated: it is shorter than its header says")
    orientation = None
    sizes: list[tuple[int, int]] = []
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        head = data[start : start + 16]
        if kind == b"VP8 " and len(head) >= 10:
            width, height = struct.unpack_from("<HH", head, 6)
            sizes.append((height & 0x3FFF, width & 0x3FFF))
        elif kind == b"VP8L" and len(head) >= 5:
            (bits,) = struct.unpack_from("<I", head, 1)
            sizes.append(((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1))
        elif kind == b"VP8X" and len(head) >= 10:
            sizes.append((_uint24(head, 7) + 1, _uint24(head, 4) + 1))
        elif kind == b"ANMF" and len(head) >= 12:
            sizes.append((_uint24(head, 9) + 1, _uint24(head, 6) + 1))
        elif kind == b"EXIF":
            body = data[start : start + length]
            # The specification wants bare TIFF here, but some writers keep the prefix of JPEG.
            body = body[6:] if body.startswith(b"Exif\0\0") else body
            orientation = orientation or tiff.orientation(body)
        position = start + length + (length & 1)
    return Container("WebP", _largest(sizes, "WebP"), orientation or 1)


def _uint24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def _gif(data: bytes) -> Container:
    """Refuse a GIF that ends within its first frame: FFmpeg may show what there is of it."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    def after_blocks(position: int) -> int:
        while data[position]:  # the length of a block; 0 ends the chain
            position += data[position] + 1
        return position + 1

    try:
        position = 13 + table(data[10])
        while data[position] == 0x21:  # an extension: its kind, then blocks
            position = after_blocks(position + 2)
        if data[position] != 0x2C:
            raise ImageError("the GIF holds no image")
        after_blocks(position + 11 + table(data[position + 9]))
    except IndexError as error:
        raise ImageError("the GIF ends in the middle of its first frame") from error
    width, height = struct.unpack_from("<HH", data, 6)
    left, top, across, down = struct.unpack_from("<HHHH", data, position + 1)
    return Container("GIF", (max(height, top + down), max(width, left + across)))


def _bmp(data: bytes) -> Container:
    data = with_usual_headers(data)
    bitmap = Bitmap.of(data)
    size = (abs(bitmap.height), abs(bitmap.width))  # negative: from the top down
    return Container("BMP", size, plain=not bitmap.masked, content=data)


def _tiff(data: bytes) -> Container:
    """OpenCV turns TIFF itself, tiles wrongly, so it is given an upright orientation tag.

    Its 8-bit way goes through libtiff's RGBA interface, which does the rest too and returns
    premultiplied colors; its 16-bit way hands out samples as they lie there.
    """
    tags = tiff.Directory(data)
    # Of a camera's raw file the first directory may be a preview of a few pixels.
    preview = tags.first(tiff.SUBFILE, 0) & 1 and tiff.SUBDIRECTORIES in tags
    if data[8:10] == b"CR" or preview or tags.first(tiff.PHOTOMETRIC, 0) in _RAW_PIXELS:
        raise ImageError(str(RAW))
    if tiff.WIDTH not in tags or tiff.HEIGHT not in tags:
        raise damaged("TIFF")
    layout = tiff.Layout.of(tags)
    # A tile may be larger than the image, and is decoded whole.
    tile = (tags.first(tiff.TILE_HEIGHT, 0), tags.first(tiff.TILE_WIDTH, 0))
    size = _largest([layout.size, tile], "TIFF")
    # Of a fourth band of 8 bits libtiff says how it took it only by what it did to the colors: it
    # multiplied them if the band is transparency that they are not multiplied by.
    eight = layout.bits <= 8
    return Container(
        "TIFF",
        size,
        layout.orientation,
        inverted=layout.photometric == 0 and not eight,
        opaque=layout.alpha is None,
        premultiplied=layout.extras_declared if eight else layout.premultiplied,
        plain=layout.plain,
        content=None if layout.orientation == 1 else tags.replaced(tiff.ORIENTATION, 1),
    )


def _pnm(data: bytes) -> Container:
    match = PNM.match(data)
    if match is None:
        raise damaged("PNM")
    return Container("PNM", (int(match[3]), int(match[2])), plain=False)


def _npy(data: bytes) -> Container:
    return Container("NPY", Header.of(data).size, plain=False, content=data)


_PROBES: dict[str, Callable[[bytes], Container]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WebP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
    "PNM": _pnm,
    "NPY": _npy,
}
