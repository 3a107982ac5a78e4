"""What the user names on the command line: found as sources, and read as RGB pixels."""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.errors import ImageError, UsageError
from cnnviz.images import tiff
from cnnviz.images.bitmaps import read_masked, read_pnm
from cnnviz.images.containers import Container, damaged, look
from cnnviz.images.kinds import READ
from cnnviz.images.leftovers import NO_IMAGES, Leftovers, kind_of_file
from cnnviz.images.remarks import listening, sentences
from cnnviz.text import is_url

# FFmpeg, which reads GIFs for us, would write what it thinks of damaged ones to stderr. OpenCV
# looks at this when it first opens a video; -8 is FFmpeg's level "quiet".
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi"),
    *(".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
"""What in a folder is taken for an image by its name, in any case; of others the first bytes
decide. A file named explicitly may have any suffix."""


@dataclass(frozen=True)
class Source:
    """One image to explain.

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


@dataclass(frozen=True)
class Found:
    """What the arguments of a command came to.

    Attributes:
        sources: the images, each file once, in order.
        own: how many images in the folders were left out because cnnviz had written them.
        notes: sentences about what was left out.
    """

    sources: tuple[Source, ...]
    own: int
    notes: tuple[str, ...] = ()


def find_images(
    arguments: Sequence[str],
    stdin: BinaryIO | None = None,
    *,
    exclude: Path | None = None,
) -> list[Source]:
    """The images that :func:`find_sources` finds, if none in the folders is cnnviz's own."""
    return list(find_sources(arguments, stdin, exclude=exclude).sources)


def find_sources(
    arguments: Sequence[str],
    stdin: BinaryIO | None = None,
    *,
    exclude: Path | None = None,
    is_own: Callable[[Path], bool] | None = None,
) -> Found:
    """Turn the arguments of a command into images, each file once, in a fixed order.

    A folder is searched with everything below it, following links to folders, skipping hidden
    names, sorted as people sort (``2.jpg`` before ``10.jpg``). Files without an image's suffix are
    taken if they begin like an image; what is left out is counted. A folder that cannot be entered
    stays in the list, so that reading it reports it; so does a dead link, a pipe or device with an
    image's name, and a line of standard input that names nothing or a folder without images:
    one bad entry must not stop the others.

    Args:
        arguments: images, folders, and ``-`` for paths on standard input: one a line, in the file
            system's encoding or in UTF-8 or UTF-16 with a byte-order mark, or each ended by a null
            character, as ``find -print0`` writes them.
        stdin: where ``-`` reads bytes from; ``sys.stdin.buffer`` when left out.
        exclude: a folder to leave out of every search, meant for the output folder.
        is_own: asked of each image in a folder whether cnnviz wrote it, for what earlier runs
            left there is no input (:func:`cnnviz.outputs.files.written_by_cnnviz`). Files that are
            named one by one are taken whatever they are.

    Raises:
        UsageError: an argument does not exist, a folder holds no image, ``exclude`` is itself one
            of the folders, or nothing was named at all.
    """
    search = _Search(None if exclude is None else os.path.realpath(exclude), is_own)
    found: list[tuple[str, Source]] = []  # with the real path of each
    for argument in arguments:
        if argument == "-":
            try:
                listed = (sys.stdin.buffer if stdin is None else stdin).read()
            except OSError as error:
                raise UsageError(f"Standard input cannot be read: {error.strerror}.") from error
            for line in _lines(listed):
                found.extend(search.expand(line, listed=True))
        else:
            found.extend(search.expand(argument, listed=False))
    if not found:
        raise UsageError(
            "No image was named: give images, folders, or - with paths on standard input."
        )
    sources: dict[str, Source] = {}
    for real, source in found:
        sources.setdefault(real, source)
    return Found(tuple(sources.values()), len(search.own), search.notes())


def _lines(listed: bytes) -> Iterator[str]:
    """The paths in a list, as programs of all systems write them."""
    if listed.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with suppress(UnicodeDecodeError):
            listed = os.fsencode(listed.decode("utf-16"))
    if listed.startswith(codecs.BOM_UTF8):
        listed = listed[len(codecs.BOM_UTF8) :]
    if listed.endswith(b"\0"):
        yield from (os.fsdecode(path) for path in listed.split(b"\0") if path)
        return
    for line in listed.split(b"\n"):
        path = line.rstrip(b"\r")
        if path.strip():
            yield _without_dressing(os.fsdecode(path))


def _without_dressing(line: str) -> str:
    """A line as it is, if there is such a file; or without what is around the path in it."""
    bare = line.strip()
    unquoted = bare[1:-1] if len(bare) > 2 and bare[0] == bare[-1] in "\"'" else bare
    return next((path for path in (line, bare, unquoted) if os.path.lexists(path)), line)


class _Search:
    """What is left out of all folders, and which of cnnviz's own files were."""

    def __init__(self, excluded: str | None, is_own: Callable[[Path], bool] | None) -> None:
        self._excluded = excluded
        self._is_own = is_own
        self.own: set[str] = set()  # by real path
        self._leftovers = Leftovers()

    def notes(self) -> tuple[str, ...]:
        """What to tell the user of what was left out."""
        own = None
        if self.own:
            several = "1 image" if len(self.own) == 1 else f"{len(self.own)} images"
            are = "is" if len(self.own) == 1 else "are"
            own = f"{several} that cnnviz wrote {are} left out"
        self._leftovers.forget({os.path.dirname(path) for path in self.own})
        return tuple(note for note in (own, self._leftovers.note) if note is not None)

    def expand(self, argument: str, *, listed: bool) -> list[tuple[str, Source]]:
        """Sources of one argument, or of one line of standard input if ``listed``."""
        if not argument:
            raise UsageError("One of the inputs is an empty name; give an image or a folder.")
        path = Path(argument)
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except (OSError, ValueError) as error:  # ... a name too long, or with a null character
            is_folder = False
            if not listed:
                raise _not_there(argument, error) from error
        if not is_folder:
            return [(_real(path), Source(path, printable(argument), PurePath(path.name)))]
        real = os.path.realpath(path)
        if real == self._excluded:
            raise UsageError(
                f"The output folder is the input folder {printable(argument)} itself, and the next "
                "run would explain what this one writes; choose another, for example "
                f"{printable(str(path / 'explanations'))}."
            )
        before = len(self.own)
        images = self._below(path)
        if images:
            return images
        if listed:  # reading it will say that it is a folder
            return [(real, Source(path, printable(argument), PurePath(path.name)))]
        if len(self.own) > before:
            raise UsageError(
                f"The folder {printable(argument)} holds no image but those that cnnviz wrote "
                f"({len(self.own) - before}); name the folder that these were made from."
            )
        held = self._leftovers.below(real)
        raise UsageError(
            f"The folder {printable(argument)} holds no image"
            f"{f' that is read, but {held}' if held else ''}; cnnviz reads "
            f"{', '.join(READ[:-1])} and {READ[-1]}."
        )

    def _below(self, root: Path) -> list[tuple[str, Source]]:
        """Images below a folder in natural order, by real path: a file has one name."""
        by_real_path: dict[str, PurePath] = {}
        links: list[PurePath] = []
        visited: set[str] = set()
        # Linked folders and files come after everything real, so that a file goes by its own name.
        waiting = [PurePath()]
        linked_folders: list[PurePath] = []
        while waiting or linked_folders:
            folder = waiting.pop() if waiting else linked_folders.pop(0)
            real_folder = os.path.realpath(root / folder)
            if real_folder in visited or real_folder == self._excluded:
                continue
            visited.add(real_folder)
            try:
                with os.scandir(root / folder) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                if not folder.parts and error.errno not in (errno.EACCES, errno.EPERM):
                    raise UsageError(
                        f"The folder {printable(str(root))} cannot be read: {error.strerror}."
                    ) from error
                by_real_path[real_folder] = folder
                continue
            images, others = [], []
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    (linked_folders if entry.is_symlink() else waiting).append(folder / entry.name)
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    images.append(entry)
                else:
                    others.append(entry)
            images += self._images_among(others, images, real_folder)
            for entry in images:
                if entry.is_symlink():
                    links.append(folder / entry.name)
                elif not self._owns(real := os.path.join(real_folder, entry.name)):
                    by_real_path.setdefault(real, folder / entry.name)
        for link in sorted(links, key=_natural):
            real = os.path.realpath(root / link)
            if real not in by_real_path and not self._owns(real):
                by_real_path[real] = link
        ordered = sorted(by_real_path.items(), key=lambda item: _natural(item[1]))
        return [
            (real, Source(root / relative, printable(str(root / relative)), relative))
            for real, relative in ordered
        ]

    def _images_among(
        self,
        others: Sequence[os.DirEntry[str]],
        images: Sequence[os.DirEntry[str]],
        real_folder: str,
    ) -> Iterator[os.DirEntry[str]]:
        """Those of a folder's other files that are images; the rest is noted.

        What goes with an image by its name, as annotations do, needs no mention.
        """
        names = {entry.name for entry in images}
        names |= {os.path.splitext(name)[0] for name in names}
        for entry in others:
            if not _is_file(entry):
                continue
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() in NO_IMAGES:
                if stem not in names:
                    self._leftovers.add(os.path.join(real_folder, entry.name))
                continue
            kind = kind_of_file(entry.path)
            if isinstance(kind, str):
                yield entry
            else:
                self._leftovers.add(os.path.join(real_folder, entry.name), kind)

    def _owns(self, real: str) -> bool:
        if self._is_own is None:
            return False
        try:
            own = os.path.isfile(real) and self._is_own(Path(real))
        except OSError:  # reading it will say why
            return False
        if own:
            self.own.add(real)
        return own


def _not_there(argument: str, error: OSError | ValueError) -> UsageError:
    """The error for an argument that leads nowhere."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        if is_url(argument):
            return UsageError(
                f"'{printable(argument)}' is a URL, which cnnviz does not read: download it first."
            )
        hint = (
            "the shell expands a pattern only outside of quotes, and only if something fits it"
            if any(letter in argument for letter in "*?[")
            else "check the path"
        )
        return UsageError(f"There is no image or folder {printable(argument)}; {hint}.")
    reason = getattr(error, "strerror", None) or error
    return UsageError(f"{printable(argument)} cannot be looked up: {reason}.")


def _real(path: Path) -> str:
    """What a path leads to, or the path where nothing can be said."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return os.path.abspath(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


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
    """An image that may have been read at less than its full size.

    Attributes:
        pixels: uint8 (h, w, 3) RGB, C-contiguous.
        source: (H, W) of the image in the file, upright.
        remarks: what the decoder said of it, if anything.
    """

    pixels: npt.NDArray[np.uint8]
    source: tuple[int, int]
    remarks: tuple[str, ...] = ()

    @property
    def remark(self) -> str | None:
        """A sentence, without the path, about what the decoder said, if it said anything."""
        if not self.remarks:
            return None
        return f"it was read, but its decoder says: {'; '.join(self.remarks)}"


Enough = Callable[[tuple[int, int]], tuple[int, int]]
"""From an image's (H, W) to the least (h, w) that it has to be read at."""


MAX_PIXELS = 200_000_000
"""The most pixels that an image may have if nothing else is said.

The largest sensors of cameras and telephones have 200 million. Each takes 3 bytes, and up to 16
while an image with 16 bits and transparency is decoded, so that more than this is more likely a
damaged header, or malice, than an image that fits into memory.
"""

_BYTES_A_PIXEL = 8  # at most, uncompressed: four channels of 16 bits
_OTHER_BYTES = 1 << 24  # for whatever else a file carries


def read_image(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Read an image file as RGB pixels.

    Gray, palette and CMYK images become RGB; 16-bit samples are scaled to 8 bits, rounded; a
    rotation or mirroring noted in the file (EXIF) is applied; of several frames the first is taken.
    Transparency is laid over white, the ground that cut-out images are usually shown on: the
    colors hidden below transparent pixels are arbitrary, and often black. Color profiles are not
    applied. What the decoder says of an image that it reads all the same is a warning.

    Returns:
        uint8 (H, W, 3), C-contiguous.

    Raises:
        ImageError: with the reason, but not the path, which the caller names as the user did. A
            JPEG, PNG, WebP or GIF that ends early is refused even where a part could be shown, and
            so is one with more than ``max_pixels``, before it is decoded. Pipes and devices are
            refused without waiting for them.
    """
    reading = read_reduced(path, lambda source: source, max_pixels=max_pixels)
    if reading.remark is not None:
        warnings.warn(f"{printable(os.fspath(path))}: {reading.remark}", stacklevel=2)
    return reading.pixels


def read_reduced(
    path: str | os.PathLike[str], enough: Enough, *, max_pixels: int = MAX_PIXELS
) -> Reading:
    """Read an image file as :func:`read_image` does, but no larger than makes a difference.

    A JPEG can be decoded at a half, a quarter or an eighth, each pixel an average of the original's
    that it covers, in a fraction of the time and memory. That is done where it leaves as many
    pixels as are needed both ways and both sides divide by it. Other files are read in full.

    Args:
        path: the file.
        enough: for the upright image's (H, W) the least (h, w) needed, for instance
            :func:`cnnviz.images.preprocessing.enough`.
        max_pixels: see :data:`MAX_PIXELS`.

    Raises:
        ImageError: see :func:`read_image`.
    """
    try:
        data = _read_bytes(path, _BYTES_A_PIXEL * max_pixels + _OTHER_BYTES)
        return _read(data, enough, max_pixels)
    except MemoryError as error:
        raise ImageError("its pixels do not fit into memory; scale it down") from error


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file; see :func:`read_image`."""
    return _read(data, lambda source: source, max_pixels).pixels


def _read(data: bytes, enough: Enough, max_pixels: int) -> Reading:
    if not data:
        raise ImageError("the file is empty")
    container = look(data)
    if container.pixels > max_pixels:
        height, width = container.size
        raise ImageError(
            f"it is {width} pixels wide and {height} high, {_amount(container.pixels)} in all, and "
            f"the limit is {_amount(max_pixels)}: scale it down, or raise --max-pixels"
        )
    if container.kind == "GIF":
        frame = _first_frame_of_gif(data)
        return Reading(frame, (frame.shape[0], frame.shape[1]))

    with listening() as heard:
        try:
            stored = _decode(data, container, enough, max_pixels)
        except _Undecodable as error:
            raise damaged(container.kind, sentences(heard)) from error
    rgb = orient(to_rgb8(stored.pixels, premultiplied=stored.premultiplied), stored.orientation)
    size = _turned(stored.size, stored.orientation)
    return Reading(np.ascontiguousarray(rgb), size, sentences(heard))


def _amount(pixels: int) -> str:
    return f"{pixels / 1e6:,.0f} million" if pixels >= 10_000_000 else f"{pixels:,}"


def _turned(shape: tuple[int, int], orientation: int) -> tuple[int, int]:
    """From the stored image's (H, W) to the upright one's, and back."""
    return (shape[1], shape[0]) if orientation >= 5 else shape


def _reduction(stored: tuple[int, int], needed: tuple[int, int]) -> int:
    """The largest of 8, 4, 2 and 1 that divides a JPEG's sides and leaves as much as is needed.

    Where a side does not divide, its last pixel would stand for less than the others, and the
    image would be off by a part of a pixel at the far edge.
    """
    for factor in (8, 4, 2):
        if all(
            side % factor == 0 and side // factor >= n
            for side, n in zip(stored, needed, strict=True)
        ):
            return factor
    return 1


def _first_frame_of_gif(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode a GIF's first frame by the FFmpeg that OpenCV carries for video.

    OpenCV's own decoders know GIF only in versions that want NumPy 2. FFmpeg shows white where the
    frame is transparent, as we do everywhere, and the file's background where it does not reach.
    """
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
        raise ImageError("the GIF's first frame cannot be decoded: it is damaged or cut short")
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


def _read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """A file's contents, at most so many bytes; nothing is waited for."""
    try:
        _check_kind(os.stat(path).st_mode, path)
        # Between the look and the opening a pipe may have taken the file's place.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            _check_kind(status.st_mode, path)
            if status.st_size > most:
                raise ImageError(
                    f"the file has {status.st_size:,} bytes, more than an image of the allowed "
                    "size can have; scale it down, or raise --max-pixels"
                )
            return file.read(most) or b""  # None where the system would rather have us wait
    except FileNotFoundError as error:
        raise ImageError("there is no such file") from error
    except PermissionError as error:
        what = "this folder" if os.path.isdir(path) else "it"
        raise ImageError(f"there is no permission to read {what}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"it cannot be read: {reason}") from error


def _check_kind(mode: int, path: str | os.PathLike[str]) -> None:
    """Refuse what is no file: a device can be without end, and a pipe may never say anything."""
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        with os.scandir(path):  # which says so if it cannot be entered
            raise ImageError("it is a folder, not an image")
    kind = next((name for test, name in _NO_FILES if test(mode)), "no file")
    raise ImageError(f"it is {kind}; cnnviz reads files")


_NO_FILES = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


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


@dataclass(frozen=True)
class _Stored:
    """An image as it lies in its file: gray or RGB, of 8 or 16 bits, alpha last if there is any.

    ``size`` is the file's (H, W) where the image was decoded smaller.
    """

    pixels: npt.NDArray[Any]
    orientation: int
    premultiplied: bool
    size: tuple[int, int]


class _Undecodable(Exception):
    """OpenCV does not say why."""


def _decode(data: bytes, container: Container, enough: Enough, max_pixels: int) -> _Stored:
    data = data if container.content is None else container.content
    if container.kind == "TIFF":
        if container.plain:
            try:
                return _by_opencv(data, container)
            except _Undecodable:
                if not tiff.may_be_read(data):
                    raise
        pixels, layout = tiff.read_samples(data, _BYTES_A_PIXEL * max_pixels)
        return _Stored(pixels, container.orientation, layout.premultiplied, layout.size)
    if container.plain:
        return _by_opencv(data, container, enough)
    pixels = read_masked(data) if container.kind == "BMP" else read_pnm(data)
    return _Stored(pixels, 1, False, container.size)


def _by_opencv(
    data: bytes, container: Container, enough: Enough = lambda source: source
) -> _Stored:
    stored, orientation = container.reducible, container.orientation
    reduction, flags = 1, cv2.IMREAD_UNCHANGED
    jpeg = container.kind == "JPEG"
    if jpeg:
        if stored is not None:
            needed = enough(_turned(stored, orientation))
            reduction = _reduction(stored, _turned(needed, orientation))
        flags = _JPEG_FLAGS[reduction]

    pixels = _pixels(data, flags, container)
    if stored is None or reduction == 1:
        stored = (pixels.shape[0], pixels.shape[1])
    if container.hidden is not None and pixels.ndim == 2:
        pixels = np.where(pixels == container.hidden, np.iinfo(pixels.dtype).max, pixels)
    if container.inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if pixels.ndim == 3 and not jpeg:  # OpenCV's order is blue, green, red
        code = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        pixels = cv2.cvtColor(pixels, code)
        pixels = pixels[:, :, :3] if container.opaque else pixels
    return _Stored(pixels, orientation, container.premultiplied, stored)


def _pixels(data: bytes, flags: int, container: Container) -> npt.NDArray[Any]:
    """Pixels as stored: any depth, alpha kept, not rotated except for TIFF.

    Only IMREAD_UNCHANGED keeps 16 bits and alpha, and it leaves EXIF alone; the color modes drop
    alpha and the low bytes (by truncation).
    """
    try:
        with _quiet_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise ImageError(
                "it has more pixels than OpenCV decodes (2^30, or 2^20 along a side); scale it down"
            ) from error
        if "nsufficient memory" in str(error):
            raise ImageError("its pixels do not fit into memory; scale it down") from error
        raise ImageError(f"OpenCV cannot decode it: {getattr(error, 'err', error)}") from error
    if pixels is None or pixels.shape[0] * pixels.shape[1] > container.pixels:
        raise _Undecodable  # ... or more was found than the file declares
    return np.asarray(pixels)


_STRIP = 1 << 22
"""Pixels that are brought to 8 bits and freed of transparency together: it takes 16 bytes each."""


def to_rgb8(pixels: npt.NDArray[Any], *, premultiplied: bool) -> npt.NDArray[np.uint8]:
    """Gray or RGB, with or without alpha, of 8 or 16 bits to RGB of 8 bits, alpha over white."""
    full = int(np.iinfo(pixels.dtype).max)
    if pixels.shape[2:] in ((2,), (4,)) and (pixels[:, :, -1] == full).all():
        pixels = pixels[:, :, :-1]
    if pixels.dtype == np.uint8 and pixels.shape[2:] == (3,):
        return np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = pixels[top : top + rows]
        if strip.shape[2:] in ((2,), (4,)):
            strip = _over_white(strip, full, premultiplied=premultiplied)
        if strip.dtype == np.uint16:
            strip = _divide(strip.astype(np.uint32), 257).astype(np.uint8)
        rgb[top : top + rows] = strip.reshape(*strip.shape[:2], -1)  # gray fills all three
    return rgb


def _over_white(pixels: npt.NDArray[Any], full: int, *, premultiplied: bool) -> npt.NDArray[Any]:
    alpha = pixels[:, :, -1:].astype(np.uint32)  # 65535 squared just fits
    color = pixels[:, :, :-1].astype(np.uint32)
    if not premultiplied:
        color = _divide(color * alpha, full)
    # A color above its alpha is no valid premultiplied color, but occurs.
    return np.minimum(color + (full - alpha), full).astype(pixels.dtype)


def _divide(values: npt.NDArray[Any], by: int) -> npt.NDArray[Any]:
    return (values + by // 2) // by


def orient(rgb: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Bring the stored image upright; EXIF 2.3, tag 0x0112: where row 0 and column 0 belong."""
    if orientation >= 5:  # row 0 is a side of the image
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):  # ... at the bottom; after the transposition 7 and 8
        rgb = rgb[::-1]
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb
