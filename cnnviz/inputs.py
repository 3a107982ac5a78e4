"""What the user names on the command line: found as sources, and read as RGB pixels."""

from __future__ import annotations

import errno
import os
import re
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.errors import PictureError, UsageError

# FFmpeg, which reads GIFs for us, would write what it thinks of damaged ones to stderr. OpenCV
# looks at this when it first opens a video; -8 is FFmpeg's level "quiet".
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""What a folder is searched for, in any case. A file named explicitly may have any suffix."""


@dataclass(frozen=True)
class Source:
    """One picture to explain.

    Attributes:
        path: where to read it.
        shown: how to name it to the user: the path as given, printable in every encoding that has
            the name's own letters (stray bytes and control characters stand as ``\\xNN``).
        relative: its path below the folder that was given, which decides the sub-folder of what is
            written; of a file that was given, its name alone.
    """

    path: Path
    shown: str
    relative: PurePath


# --- finding -----------------------------------------------------------------------------------


def find_pictures(
    arguments: Sequence[str],
    stdin: BinaryIO | None = None,
    *,
    exclude: Path | None = None,
) -> list[Source]:
    """Turn the arguments of a command into pictures, each file once, in a fixed order.

    A folder is searched with everything below it, following links to folders, skipping hidden
    names, sorted as people sort (``2.jpg`` before ``10.jpg``). A folder that cannot be entered
    stays in the list, so that reading it reports it; so does a dead link and a line of standard
    input that names nothing: one bad entry must not stop the others.

    Args:
        arguments: pictures, folders, and ``-`` for paths on standard input, one a line.
        stdin: where ``-`` reads bytes from; ``sys.stdin.buffer`` when left out.
        exclude: a folder to leave out of every search, meant for the output folder.

    Raises:
        UsageError: an argument does not exist, a folder holds no picture, ``exclude`` is itself one
            of the folders, or nothing was named at all.
    """
    excluded = None if exclude is None else os.path.realpath(exclude)
    found: list[tuple[str, Source]] = []  # with the real path of each
    for argument in arguments:
        if argument == "-":
            for line in _lines(sys.stdin.buffer if stdin is None else stdin):
                found.extend(_expand(line, excluded, listed=True))
        else:
            found.extend(_expand(argument, excluded, listed=False))
    if not found:
        raise UsageError(
            "No picture was named: give pictures, folders, or - with paths on standard input."
        )
    seen: set[str] = set()
    sources = []
    for real, source in found:
        if real not in seen:
            seen.add(real)
            sources.append(source)
    return sources


def _lines(stream: BinaryIO) -> Iterator[str]:
    for line in stream:
        path = line.rstrip(b"\r\n")
        if path.strip():
            yield os.fsdecode(path)


def _expand(argument: str, excluded: str | None, *, listed: bool) -> list[tuple[str, Source]]:
    """Sources of one argument, or of one line of standard input if ``listed``."""
    if not argument:
        raise UsageError("One of the inputs is an empty name; give a picture or a folder.")
    path = Path(argument)
    try:
        is_folder = path.is_dir()
        exists = listed or is_folder or path.exists()
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        raise UsageError(f"{printable(argument)} cannot be looked up: {error}.") from error
    if not exists:
        hint = (
            "the shell expands a pattern only outside of quotes, and only if something fits it"
            if any(letter in argument for letter in "*?[")
            else "check the path"
        )
        raise UsageError(f"There is no picture or folder {printable(argument)}; {hint}.")
    if not is_folder:
        return [(os.path.realpath(path), Source(path, printable(argument), PurePath(path.name)))]
    if excluded is not None and os.path.realpath(path) == excluded:
        raise UsageError(
            f"The output folder is the input folder {printable(argument)} itself, and the next run "
            "would explain what this one writes; choose another, for example "
            f"{printable(str(path / 'explanations'))}."
        )
    pictures = _search(path, excluded)
    if not pictures:
        raise UsageError(
            f"The folder {printable(argument)} holds no picture; cnnviz looks for "
            f"{', '.join(PICTURE_SUFFIXES)}."
        )
    return pictures


def _search(root: Path, excluded: str | None) -> list[tuple[str, Source]]:
    """Pictures below a folder in natural order, by real path: a file is found under one name."""
    by_real_path: dict[str, PurePath] = {}
    links: list[PurePath] = []
    visited: set[str] = set()
    # Linked folders and files come after everything real, so that a file goes by its own name.
    waiting = [PurePath()]
    linked_folders: list[PurePath] = []
    while waiting or linked_folders:
        folder = waiting.pop() if waiting else linked_folders.pop(0)
        real_folder = os.path.realpath(root / folder)
        if real_folder in visited or real_folder == excluded:
            continue
        visited.add(real_folder)
        try:
            with os.scandir(root / folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM):
                raise UsageError(
                    f"The folder {printable(str(root / folder))} cannot be read: {error.strerror}."
                ) from error
            by_real_path[real_folder] = folder
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if os.path.isdir(entry.path):  # unlike the entry's own test, calm about dead links
                (linked_folders if entry.is_symlink() else waiting).append(folder / entry.name)
            elif not entry.name.lower().endswith(PICTURE_SUFFIXES):
                continue
            elif entry.is_symlink():
                links.append(folder / entry.name)
            elif entry.is_file():
                real = os.path.join(real_folder, entry.name)
                by_real_path.setdefault(real, folder / entry.name)
    for link in sorted(links, key=_natural):
        by_real_path.setdefault(os.path.realpath(root / link), link)
    ordered = sorted(by_real_path.items(), key=lambda item: _natural(item[1]))
    return [
        (real, Source(root / relative, printable(str(root / relative)), relative))
        for real, relative in ordered
    ]


def _natural(path: PurePath) -> tuple[Any, ...]:
    """A sorting key: digits by value, letters without case, and the exact name in the end."""
    return (
        tuple(
            tuple(
                (0, int(token), "") if token.isdecimal() else (1, 0, token.casefold())
                for token in re.split(r"([0-9]+)", part)
                if token
            )
            for part in path.parts
        ),
        str(path),
    )


def printable(name: str) -> str:
    """A file name for people: stray bytes and control characters written as ``\\xNN``."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


# --- reading -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """A picture that may have been read at less than its full size.

    Attributes:
        pixels: uint8 (h, w, 3) RGB, C-contiguous.
        source: (H, W) of the picture in the file, upright.
    """

    pixels: npt.NDArray[np.uint8]
    source: tuple[int, int]


Enough = Callable[[tuple[int, int]], tuple[int, int]]
"""From a picture's (H, W) to the least (h, w) that it has to be read at."""


def read_picture(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read a picture file as RGB pixels.

    Grey, palette and CMYK pictures become RGB; 16-bit samples are scaled to 8 bits, rounded; a
    rotation or mirroring noted in the file (EXIF) is applied; of several frames the first is taken.
    Transparency is laid over white, the ground that cut-out pictures are usually shown on: the
    colours hidden below transparent pixels are arbitrary, and often black. Colour profiles are not
    applied.

    Returns:
        uint8 (H, W, 3), C-contiguous.

    Raises:
        PictureError: with the reason, but not the path, which the caller names as the user did. A
            JPEG, PNG, WebP or GIF that ends early is refused even where a part could be shown.
    """
    return read_reduced(path, lambda source: source).pixels


def read_reduced(path: str | os.PathLike[str], enough: Enough) -> Reading:
    """Read a picture file as :func:`read_picture` does, but no larger than makes a difference.

    A JPEG can be decoded at a half, a quarter or an eighth, each pixel an average of the original's
    that it covers, in a fraction of the time and memory. That is done where it leaves as many
    pixels as are needed both ways and both sides divide by it. Other files are read in full.

    Args:
        path: the file.
        enough: for the upright picture's (H, W) the least (h, w) needed, for instance
            :func:`cnnviz.preprocessing.enough`.

    Raises:
        PictureError: see :func:`read_picture`.
    """
    try:
        return _read(_read_bytes(path), enough)
    except MemoryError as error:
        raise PictureError("its pixels do not fit into memory; scale it down") from error


def decode_picture(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode the bytes of a picture file; see :func:`read_picture`."""
    return _read(data, lambda source: source).pixels


def _read(data: bytes, enough: Enough) -> Reading:
    if not data:
        raise PictureError("the file is empty")
    if data.startswith((b"GIF87a", b"GIF89a")):
        frame = _first_frame_of_gif(data)
        return Reading(frame, (frame.shape[0], frame.shape[1]))

    orientation, inverted, premultiplied, hidden = 1, False, False, None
    stored: tuple[int, int] | None = None
    reduction, flags = 1, cv2.IMREAD_UNCHANGED
    jpeg = data.startswith(b"\xff\xd8")
    if jpeg:
        orientation, stored = _check_jpeg(data)
        if stored is not None:
            needed = enough(_turned(stored, orientation))
            reduction = _reduction(stored, _turned(needed, orientation))
        flags = _JPEG_FLAGS[reduction]
    elif data.startswith(_PNG_SIGNATURE):
        orientation, hidden = _check_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        orientation = _check_webp(data)
    elif data[:4] in (b"II*\0", b"MM\0*"):
        inverted, premultiplied = _check_tiff(data)

    pixels = _decode(data, flags)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise PictureError(
            f"its samples are {pixels.dtype}, whose black and white nothing says; convert it to 8 "
            "or 16 bits a channel"
        )
    if stored is None or reduction == 1:
        stored = (pixels.shape[0], pixels.shape[1])
    if hidden is not None and pixels.ndim == 2:
        pixels = np.where(pixels == hidden, np.iinfo(pixels.dtype).max, pixels)
    if inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if pixels.ndim == 3 and not jpeg:  # OpenCV's order is blue, green, red
        code = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        pixels = cv2.cvtColor(pixels, code)
    rgb = _to_rgb8(pixels, premultiplied=premultiplied)
    return Reading(np.ascontiguousarray(_orient(rgb, orientation)), _turned(stored, orientation))


def _turned(shape: tuple[int, int], orientation: int) -> tuple[int, int]:
    """From the stored picture's (H, W) to the upright one's, and back."""
    return (shape[1], shape[0]) if orientation >= 5 else shape


def _reduction(stored: tuple[int, int], needed: tuple[int, int]) -> int:
    """The largest of 8, 4, 2 and 1 that divides a JPEG's sides and leaves as much as is needed.

    Where a side does not divide, its last pixel would stand for less than the others, and the
    picture would be off by a part of a pixel at the far edge.
    """
    for factor in (8, 4, 2):
        if all(side % factor == 0 and side // factor >= n for side, n in zip(stored, needed)):
            return factor
    return 1


def _first_frame_of_gif(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode a GIF's first frame by the FFmpeg that OpenCV carries for video.

    OpenCV's own decoders know GIF only in versions that want NumPy 2. FFmpeg shows white where the
    frame is transparent, as we do everywhere, and the file's background where it does not reach.
    """
    _check_gif(data)
    # FFmpeg opens files by name: this one has a name without being on any disk.
    file = os.memfd_create("cnnviz-gif")
    try:
        with open(file, "wb", closefd=False) as stream:
            stream.write(data)
        with _quiet_opencv():
            video = cv2.VideoCapture(f"/proc/self/fd/{file}", cv2.CAP_FFMPEG)
        try:
            done, frame = video.read()
        finally:
            video.release()
    finally:
        os.close(file)
    if not done or frame is None:
        raise PictureError("the GIF's first frame cannot be decoded: it is damaged or cut short")
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


def _check_gif(data: bytes) -> None:
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


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise PictureError("there is no such file") from error
    except PermissionError as error:
        what = "this folder" if os.path.isdir(path) else "it"
        raise PictureError(f"there is no permission to read {what}") from error
    except IsADirectoryError as error:
        raise PictureError("it is a folder, not a picture") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"it cannot be read: {reason}") from error


class _QuietOpenCV:
    """Keeps OpenCV from writing to stderr why it cannot decode: the reason goes into our error.

    OpenCV's level is one for the whole process, so that the first of several threads sets it and
    the last one puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._level = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._level = cv2.setLogLevel(0)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    cv2.setLogLevel(self._level)


_quiet_opencv = _QuietOpenCV()


# A JPEG has neither alpha nor 16 bits, so that it can be had as RGB at once, and smaller: each side
# divided by the number, rounded up.
_JPEG_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_REDUCED_COLOR_8,
}


def _decode(data: bytes, flags: int) -> npt.NDArray[Any]:
    """Pixels as stored: any depth, alpha kept, not rotated except for TIFF.

    Only IMREAD_UNCHANGED keeps 16 bits and alpha, and it leaves EXIF alone; the colour modes drop
    alpha and the low bytes (by truncation).
    """
    try:
        with _quiet_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise PictureError(
                "it has more pixels than OpenCV decodes (2^30, or 2^20 along a side); scale it down"
            ) from error
        if "nsufficient memory" in str(error):
            raise PictureError("its pixels do not fit into memory; scale it down") from error
        raise PictureError(f"OpenCV cannot decode it: {getattr(error, 'err', error)}") from error
    if pixels is None:
        kind = next((name for start, name in _KINDS if data.startswith(start)), None)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            kind = "WebP"
        if kind is not None:
            raise PictureError(f"it begins like a {kind} file, but is damaged or of a rare kind")
        raise PictureError(
            f"it is not a picture that OpenCV can read (it begins with {_first_bytes(data)})"
        )
    return np.asarray(pixels)


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = (
    (b"\xff\xd8", "JPEG"),
    (_PNG_SIGNATURE, "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)


def _first_bytes(data: bytes) -> str:
    head = data[:8]
    if all(0x20 <= byte < 0x7F for byte in head):
        return repr(head.decode("ascii"))
    return head.hex(" ")


def _to_rgb8(pixels: npt.NDArray[Any], *, premultiplied: bool) -> npt.NDArray[np.uint8]:
    """Grey, RGB or RGBA of 8 or 16 bits to RGB of 8 bits, transparency over white."""
    full = int(np.iinfo(pixels.dtype).max)
    if pixels.ndim == 3 and pixels.shape[2] == 4 and (pixels[:, :, 3] == full).all():
        pixels = pixels[:, :, :3]
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.uint32)  # 65535 squared just fits
        colour = pixels[:, :, :3].astype(np.uint32)
        if not premultiplied:
            colour = _divide(colour * alpha, full)
        # A colour above its alpha is no valid premultiplied colour, but occurs.
        pixels = np.minimum(colour + (full - alpha), full).astype(pixels.dtype)
    if pixels.dtype == np.uint16:
        pixels = _divide(pixels.astype(np.uint32), 257).astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(pixels)


def _divide(values: npt.NDArray[Any], by: int) -> npt.NDArray[Any]:
    return (values + by // 2) // by


def _orient(rgb: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Bring the stored picture upright; EXIF 2.3, tag 0x0112: where row 0 and column 0 belong."""
    if orientation >= 5:  # row 0 is a side of the picture
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):  # ... at the bottom; after the transposition 7 and 8
        rgb = rgb[::-1]
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb


# --- what the containers say ---------------------------------------------------------------------
# Each check walks through the file's own structure: it finds the orientation, and it says whether
# the file is whole. The decoders would say the latter on stderr, or not at all.

_ORIENTATION = 0x0112
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; not the lossless ones
_ENTROPY_CODED_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _check_jpeg(data: bytes) -> tuple[int, tuple[int, int] | None]:
    """The orientation, and the stored (H, W) if this is a kind that can be decoded smaller."""
    orientation, shape = 1, None
    position = 2
    try:
        while True:
            marker = data[position + 1]
            if data[position] != 0xFF or marker in (0x00, 0xFF):  # padding between segments
                position += 1
                continue
            if marker == 0xD9:
                return orientation, shape
            if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
                position += 2
                continue
            (length,) = struct.unpack_from(">H", data, position + 2)
            segment = data[position + 4 : position + 2 + length]
            if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
                orientation = _orientation(segment[6:])
            if marker in _JPEG_FRAMES:
                height, width = struct.unpack_from(">HH", segment, 1)
                shape = (height, width) if height and width else None  # 0: said later in the file
            position += 2 + length
            if marker == 0xDA:  # the picture's own data, up to the next real marker
                end = _ENTROPY_CODED_END.search(data, position)
                if end is None:
                    raise IndexError
                position = end.start()
    except (IndexError, struct.error) as error:
        raise PictureError("the JPEG is truncated: it ends before its end marker") from error


def _check_png(data: bytes) -> tuple[int, int | None]:
    """The orientation, and the level of grey that is transparent: OpenCV leaves that one out."""
    orientation, hidden, depth = 1, None, 8
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
            depth = body[12]
        if kind == b"eXIf":
            orientation = _orientation(bytes(body[4:]))
        if kind == b"tRNS" and length == 2:  # in the file's own bits, of which there may be 1 to 16
            (level,) = struct.unpack_from(">H", body, 4)
            hidden = level * 255 // ((1 << depth) - 1) if depth in (1, 2, 4) else level
        if kind == b"IEND":
            return orientation, hidden
        position = end


def _check_webp(data: bytes) -> int:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise PictureError("the WebP is truncated: it is shorter than its header says")
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            body = data[position + 8 : position + 8 + length]
            # The specification wants bare TIFF here, but some writers keep the prefix of JPEG.
            return _orientation(body[6:] if body.startswith(b"Exif\0\0") else body)
        position += 8 + length + (length & 1)
    return 1


def _check_tiff(data: bytes) -> tuple[bool, bool]:
    """Whether black and white are exchanged, and whether colours are multiplied by their alpha.

    OpenCV turns TIFF itself. Its 8-bit way goes through libtiff's RGBA interface, which does the
    rest too and returns premultiplied colours; its 16-bit way hands out samples as they lie there.
    """
    tags = _tiff_tags(data)
    bits, photometric = tags.get(258, 1), tags.get(262, 1)
    if bits <= 8:
        return False, True
    if tags.get(284, 1) == 2 and tags.get(277, 1) > 1:
        raise PictureError(
            f"it is a {bits}-bit TIFF with separate colour planes, which OpenCV reads wrongly; "
            "convert it to PNG"
        )
    return photometric == 0, tags.get(338, 0) == 1


def _orientation(exif: bytes) -> int:
    value = _tiff_tags(exif).get(_ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def _tiff_tags(data: bytes) -> dict[int, int]:
    """First value of each short or long tag in the first directory of TIFF data, EXIF included.

    Damaged metadata gives what could be read: a picture is not refused for it.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    tags: dict[int, int] = {}
    if order is None:
        return tags
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for index in range(count):
            entry = start + 2 + 12 * index
            tag, kind, values = struct.unpack_from(order + "HHI", data, entry)
            layout = {3: "H", 4: "I"}.get(kind)
            if layout is None or values == 0:
                continue
            place = entry + 8
            if struct.calcsize(layout) * values > 4:
                (place,) = struct.unpack_from(order + "I", data, place)
            (tags[tag],) = struct.unpack_from(order + layout, data, place)
    except struct.error:
        return tags
    return tags
