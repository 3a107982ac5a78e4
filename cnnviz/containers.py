"""What a picture file says of itself, before any decoder is let near it.

Each kind's own structure is walked through: whether the file is whole, which the decoders would say
on stderr or not at all; how many pixels it claims to have, since a file of a few bytes can make a
decoder take gigabytes; and what OpenCV leaves to its caller, the orientation above all. Files of
other kinds are refused, whatever else OpenCV could decode: it has readers that random bytes crash
(of JPEG 2000, for one), and some in which nobody could tell white from black.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from cnnviz.errors import PictureError

KINDS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "PNM")
"""The kinds of files that are read, whatever their names end in."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; not the lossless ones
_NO_JPEG_FRAMES = (0xC4, 0xC8, 0xCC)  # among the markers from 0xC0 to 0xCF
_ENTROPY_CODED_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: Progressive encoders write about ten. Every scan goes over all pixels, so that a file of a few
#: kilobytes could keep the decoder busy for hours.
_MOST_SCANS = 100
_PNM = re.compile(rb"P[1-6](?:\s|#[^\r\n]*[\r\n])+(\d{1,9})(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})\s")
#: More entries than a directory in a TIFF file ever has.
_MOST_TAGS = 4096


@dataclass(frozen=True)
class Container:
    """What a file says of the picture in it.

    Attributes:
        kind: one of :data:`KINDS`.
        size: (H, W) as stored: the largest that is declared anywhere where a decoder may look.
        orientation: of EXIF, 1 to 8, if it is left to us to turn the picture.
        reducible: (H, W) of a JPEG that can be decoded smaller; None for all others.
        hidden: the level of grey that is transparent, which OpenCV leaves out; None for none.
        inverted: whether black and white are exchanged.
        premultiplied: whether colours are multiplied by their alpha.
        end: where the picture ends in the file, if what follows must be kept from the decoder.
    """

    kind: str
    size: tuple[int, int]
    orientation: int = 1
    reducible: tuple[int, int] | None = None
    hidden: int | None = None
    inverted: bool = False
    premultiplied: bool = False
    end: int | None = None

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.size[0] * self.size[1]


def look(data: bytes) -> Container:
    """Walk through a file.

    Raises:
        PictureError: it is of no kind that is read, not whole, or damaged in its structure.
    """
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if data[:4] in _TIFF_ORDERS:
        return _tiff(data)
    match = _PNM.match(data[:4096])
    if match is not None:
        return Container("PNM", (int(match[2]), int(match[1])))
    raise PictureError(
        f"it is not a picture that cnnviz can read: {', '.join(KINDS)} (it begins with "
        f"{_first_bytes(data)})"
    )


def damaged(kind: str) -> PictureError:
    """The error for a file that only begins like one of its kind."""
    return PictureError(f"it begins like a {kind} file, but is damaged or of a rare kind")


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
    orientation, shape, scans = 1, None, 0
    sizes: list[tuple[int, int]] = []
    position = 2
    try:
        while True:
            marker = data[position + 1]
            if data[position] != 0xFF or marker in (0x00, 0xFF):  # padding between segments
                position += 1
                continue
            if marker == 0xD9:
                return Container("JPEG", _largest(sizes, "JPEG"), orientation, shape)
            if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
                position += 2
                continue
            (length,) = struct.unpack_from(">H", data, position + 2)
            segment = data[position + 4 : position + 2 + length]
            if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
                orientation = _orientation(segment[6:])
            if 0xC0 <= marker <= 0xCF and marker not in _NO_JPEG_FRAMES:
                sizes.append(struct.unpack_from(">HH", segment, 1))
            if marker in _JPEG_FRAMES:
                height, width = sizes[-1]
                shape = (height, width) if height and width else None  # 0: said later in the file
            position += 2 + length
            if marker == 0xDA:  # the picture's own data, up to the next real marker
                scans += 1
                if scans > _MOST_SCANS:
                    raise PictureError(f"the JPEG has more than {_MOST_SCANS} scans; save it anew")
                end = _ENTROPY_CODED_END.search(data, position)
                if end is None:
                    raise IndexError
                position = end.start()
    except (IndexError, struct.error) as error:
        raise PictureError("the JPEG is truncated: it ends before its end marker") from error


def _png(data: bytes) -> Container:
    orientation, hidden, depth = 1, None, 8
    sizes: list[tuple[int, int]] = []
    position = 8
    while True:
        if position + 12 > len(data):
            raise PictureError("the PNG is truncated: it ends before its end chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise PictureError("the PNG is truncated: it ends in the middle of a chunk")
        body = memoryview(data)[position + 4 : end - 4]
        if zlib.crc32(body) != struct.unpack_from(">I", data, end - 4)[0]:
            raise PictureError("the PNG is damaged: a checksum does not fit its data")
        if kind == b"IHDR" and length == 13:
            width, height = struct.unpack_from(">II", body, 4)
            sizes.append((height, width))
            depth = body[12]
        if kind == b"eXIf":
            orientation = _orientation(bytes(body[4:]))
        if kind == b"tRNS" and length == 2:  # in the file's own bits, of which there may be 1 to 16
            (level,) = struct.unpack_from(">H", body, 4)
            hidden = level * 255 // ((1 << depth) - 1) if depth in (1, 2, 4) else level
        if kind == b"IEND":
            # Where a PNG lacks its data OpenCV looks for it behind the end, and takes garbage there
            # for a chunk, and its first bytes for how much memory that needs.
            return Container("PNG", _largest(sizes, "PNG"), orientation, hidden=hidden, end=end)
        position = end


def _webp(data: bytes) -> Container:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise PictureError("the WebP is truncated: it is shorter than its header says")
    orientation = 1
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
            orientation = _orientation(body[6:] if body.startswith(b"Exif\0\0") else body)
        position = start + length + (length & 1)
    return Container("WebP", _largest(sizes, "WebP"), orientation)


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
            raise PictureError("the GIF holds no picture")
        after_blocks(position + 11 + table(data[position + 9]))
    except IndexError as error:
        raise PictureError("the GIF ends in the middle of its first frame") from error
    width, height = struct.unpack_from("<HH", data, 6)
    left, top, across, down = struct.unpack_from("<HHHH", data, position + 1)
    return Container("GIF", (max(height, top + down), max(width, left + across)))


def _bmp(data: bytes) -> Container:
    try:
        (header,) = struct.unpack_from("<I", data, 14)
        width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    except struct.error as error:
        raise damaged("BMP") from error
    return Container("BMP", (abs(height), abs(width)))  # negative: from the top down


def _tiff(data: bytes) -> Container:
    """OpenCV turns TIFF itself.

    Its 8-bit way goes through libtiff's RGBA interface, which does the rest too and returns
    premultiplied colours; its 16-bit way hands out samples as they lie there.
    """
    tags = _tiff_tags(data)
    if 256 not in tags or 257 not in tags:
        raise damaged("TIFF")
    # A tile may be larger than the picture, and is decoded whole.
    size = _largest([(tags[257], tags[256]), (tags.get(323, 0), tags.get(322, 0))], "TIFF")
    bits, photometric = tags.get(258, 1), tags.get(262, 1)
    if bits <= 8:
        return Container("TIFF", size, premultiplied=True)
    if tags.get(284, 1) == 2 and tags.get(277, 1) > 1:
        raise PictureError(
            f"it is a {bits}-bit TIFF with separate colour planes, which OpenCV reads wrongly; "
            "convert it to PNG"
        )
    return Container("TIFF", size, inverted=photometric == 0, premultiplied=tags.get(338, 0) == 1)


def _orientation(exif: bytes) -> int:
    value = _tiff_tags(exif).get(_ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


_TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}


def _tiff_tags(data: bytes) -> dict[int, int]:
    """First value of each tag of whole numbers in the first directory of TIFF data, EXIF included.

    Of a tag that is there twice the first counts, as for libtiff. Damaged metadata gives what could
    be read: a picture is not refused for it.
    """
    tags: dict[int, int] = {}
    order = _TIFF_ORDERS.get(data[:4])
    if order is None:
        return tags
    big = b"+" in data[:4]  # BigTIFF, with places of 64 bits
    place_layout, count_layout, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    try:
        (start,) = struct.unpack_from(order + place_layout, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + count_layout, data, start)
        start += struct.calcsize(count_layout)
        for index in range(min(count, _MOST_TAGS)):
            entry = start + (8 + 12 * big + 4 * (not big)) * index
            tag, kind, values = struct.unpack_from(f"{order}HH{place_layout}", data, entry)
            layout = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
            if layout is None or values == 0:
                continue
            place = entry + 4 + room
            if struct.calcsize(layout) * values > room:
                (place,) = struct.unpack_from(order + place_layout, data, place)
            (value,) = struct.unpack_from(order + layout, data, place)
            tags.setdefault(tag, value)
    except (struct.error, OverflowError):  # a place beyond the end, or beyond any file's
        return tags
    return tags
