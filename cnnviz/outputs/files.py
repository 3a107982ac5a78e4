"""Writing files that are either complete or not there, and never over somebody else's.

A file is written under a temporary name beside its place and renamed when it is whole. What cnnviz
writes carries a mark (the ``Software`` text of a PNG, the comment of a JPEG or a zip archive, the
last comment of a GIF, the last line of a diagram or a page, the first words of a manifest); an
existing file is only replaced if it has that mark and is not an input of the run.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from cnnviz._version import __version__
from cnnviz.errors import OutputError, OutputUnavailableError, UsageError
from cnnviz.images.pixels import check_pixels
from cnnviz.outputs import provenance
from cnnviz.outputs.provenance import LONGEST_COMMENT

_PNG_HEADER = 33  # signature and IHDR chunk
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_UP = 2  # the filter type that subtracts the row above
# ISA-L's level 1 takes a sixth of the time of libpng, which OpenCV writes with, for files a fifth
# larger; its higher levels find next to nothing more in photos and enlarged maps.
_PNG_LEVEL = 1
_MARK = b"cnnviz "
_PNG_SOFTWARE = b"Software\0"
#: How the last line of a diagram or a page, a comment, begins and ends.
_LAST_LINES = {
    "dot": (b"// written by ", b""),
    "pdf": (b"% written by ", b""),
    "svg": (b"<!-- written by ", b" -->"),
    "html": (b"<!-- written by ", b" -->"),
}
#: What a manifest begins with, for a tool that has not read it to its end.
MANIFEST_START = b'{"cnnviz_manifest":'
# JFIF has its own segment first, of this length; the comment comes right behind.
_JPEG_START = b"\xff\xd8\xff\xe0"
_JPEG_HEADER = 20
_JPEG_LONGEST = 65500  # libjpeg's limit; the format's is 65535
_JPEG_COMMENT = b"\xff\xfe"  # introduces a comment: its length in two bytes, its bytes
_GIF_COMMENT = b"!\xfe"  # introduces a comment: its length, its bytes, and 0
_GIF_END = b";"
_ZIP_END = 22  # end of central directory, without its comment
_TEMPORARY = ".cnnviz-"
#: What the next file would meet as well, whatever its name.
_GENERAL = {
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EROFS,
}
_NPY: Any = np.lib.format  # untyped in NumPy


About = Mapping[str, Any] | None
"""What a file says of itself (:mod:`cnnviz.outputs.provenance`), or nothing."""


def write_png(
    path: str | os.PathLike[str], image: npt.NDArray[np.uint8], about: About = None
) -> None:
    """Write an image as PNG, whole or not at all.

    Args:
        path: where to; its folder must exist.
        image: uint8 (H, W, 3) in RGB, or (H, W) in gray.
        about: what it says of itself.

    Raises:
        ImageError: ``image`` is none.
        OutputError: there is a file that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    check_pixels(image, gray=True)
    _write(Path(path), _png(image, about))


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any], about: About = None) -> None:
    """Write arrays as ``numpy.load`` reads them, whole or not at all.

    Not compressed: gradients are noise to a compressor. The same arrays give the same bytes.

    Args:
        path: where to; its folder must exist.
        arrays: by name; anything that NumPy makes an array of without objects.
        about: what it says of itself.

    Raises:
        OutputError: an array of objects, or there is a file that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    buffer = io.BytesIO()
    told = b"" if about is None else provenance.encode(about)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = _mark()
        for number, (name, value) in enumerate(arrays.items()):
            info = zipfile.ZipInfo(f"{name}.npy")  # by hand it has a fixed date
            info.comment = told[number * LONGEST_COMMENT : (number + 1) * LONGEST_COMMENT]
            with archive.open(info, "w", force_zip64=True) as entry:
                try:
                    _NPY.write_array(entry, np.asanyarray(value), allow_pickle=False)
                except ValueError as error:
                    raise OutputError(f"The array {name!r} cannot be written: {error}.") from error
    _write(Path(path), [buffer.getvalue()])


def write_diagram(
    path: str | os.PathLike[str], data: bytes, kind: str, about: About = None
) -> None:
    """Write what Graphviz made, whole or not at all, with our mark in it.

    Args:
        path: where to; its folder must exist.
        data: the file's contents.
        kind: ``svg``, ``png``, ``pdf`` or ``dot``.
        about: what it says of itself, if it is a PNG.

    Raises:
        OutputError: there is a file that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    if kind == "png":
        parts = (data[:_PNG_HEADER], _png_mark(about), data[_PNG_HEADER:])
    else:
        before, after = _LAST_LINES[kind]
        parts = (data.rstrip(b"\n"), b"\n" + before + _mark(), after + b"\n")
    _write(Path(path), parts)


def write_gif(
    path: str | os.PathLike[str], frames: Sequence[npt.NDArray[np.uint8]], seconds: Sequence[float]
) -> None:
    """Write images as an animated GIF that goes round, whole or not at all.

    A GIF has 256 colors an image: near ones are chosen.

    Args:
        path: where to; its folder must exist.
        frames: uint8 (H, W, 3) RGB, or (H, W), at least one, all of one size.
        seconds: for how long each is shown.

    Raises:
        OutputError: there is a file that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    from PIL import Image

    undithered = Image.Dither.NONE  # dots of noise would dance from frame to frame
    first, *others = (Image.fromarray(frame).quantize(256, dither=undithered) for frame in frames)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=others,
        duration=[round(1000 * each) for each in seconds],
        loop=0,
    )
    comment = _mark()
    _write(
        Path(path),
        [
            buffer.getvalue()[: -len(_GIF_END)],
            _GIF_COMMENT + bytes([len(comment)]) + comment + b"\0" + _GIF_END,
        ],
    )


def write_jpeg(path: str | os.PathLike[str], image: npt.NDArray[np.uint8], quality: int) -> None:
    """Write an image as JPEG, whole or not at all.

    Args:
        path: where to; its folder must exist.
        image: uint8 (H, W, 3) in RGB, or (H, W) in gray, no side longer than 65,500 pixels.
        quality: from 1 to 95.

    Raises:
        ImageError: ``image`` is none.
        OutputError: there is a file that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    check_pixels(image, gray=True)
    if max(image.shape[:2]) > _JPEG_LONGEST:
        raise OutputError(
            f"A JPEG has at most {_JPEG_LONGEST} pixels a side; got an image of shape "
            f"{image.shape}."
        )
    buffer = io.BytesIO()
    from PIL import Image

    Image.fromarray(image).save(buffer, "JPEG", quality=quality, comment=_mark())
    _write(Path(path), [buffer.getvalue()])


def write_json(path: str | os.PathLike[str], parts: Iterable[bytes]) -> None:
    """Write a manifest, whole or not at all, as it comes.

    Args:
        path: where to; its folder must exist.
        parts: the file's contents piece by piece; may be a generator, which is asked for a piece
            when the ones before are written. The first piece begins with :data:`MANIFEST_START`.

    Raises:
        ValueError: the first piece begins otherwise, so that nobody would know the file for ours.
        OutputError: there is a file that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    _write(Path(path), _begun(parts))


def write_html(path: str | os.PathLike[str], text: str) -> None:
    """Write a page in UTF-8, whole or not at all, with our mark as its last line.

    Args:
        path: where to; its folder must exist.
        text: the page. Halves of surrogate pairs, which Python puts for bytes of a name that are
            not UTF-8, have no place in a page: they become question marks.

    Raises:
        OutputError: there is a file that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    before, after = _LAST_LINES["html"]
    page = text.rstrip("\n").encode("utf-8", "replace")
    _write(Path(path), [page, b"\n" + before + _mark() + after + b"\n"])


class OutputFolder:
    """The folder that a run writes to; makes sub-folders as they are needed."""

    def __init__(self, path: str | os.PathLike[str], inputs: Iterable[Path] = ()) -> None:
        """Args: the folder, which need not exist yet, and files that must not be overwritten."""
        self.path = Path(path)
        self._inputs = tuple(inputs)
        self._input_ids: frozenset[tuple[int, int]] | None = None

    def write_png(
        self, relative: PurePath, image: npt.NDArray[np.uint8], about: About = None
    ) -> Path:
        """Write an image below the folder; see :func:`write_png`. Returns the file's path."""
        path = self._place(relative)
        write_png(path, image, about)
        return path

    def write_npz(self, relative: PurePath, arrays: Mapping[str, Any], about: About = None) -> Path:
        """Write arrays below the folder; see :func:`write_npz`. Returns the file's path."""
        path = self._place(relative)
        write_npz(path, arrays, about)
        return path

    def write_diagram(
        self, relative: PurePath, data: bytes, kind: str, about: About = None
    ) -> Path:
        """Write a diagram below the folder; see :func:`write_diagram`. Returns the file's path."""
        path = self._place(relative)
        write_diagram(path, data, kind, about)
        return path

    def write_gif(
        self,
        relative: PurePath,
        frames: Sequence[npt.NDArray[np.uint8]],
        seconds: Sequence[float],
    ) -> Path:
        """Write a GIF below the folder; see :func:`write_gif`. Returns the file's path."""
        path = self._place(relative)
        write_gif(path, frames, seconds)
        return path

    def write_jpeg(self, relative: PurePath, image: npt.NDArray[np.uint8], quality: int) -> Path:
        """Write a JPEG below the folder; see :func:`write_jpeg`. Returns the file's path."""
        path = self._place(relative)
        write_jpeg(path, image, quality)
        return path

    def write_json(self, relative: PurePath, parts: Iterable[bytes]) -> Path:
        """Write a manifest below the folder; see :func:`write_json`. Returns the file's path."""
        path = self._place(relative)
        write_json(path, parts)
        return path

    def write_html(self, relative: PurePath, text: str) -> Path:
        """Write a page below the folder; see :func:`write_html`. Returns the file's path."""
        path = self._place(relative)
        write_html(path, text)
        return path

    def _place(self, relative: PurePath) -> Path:
        if relative.is_absolute() or ".." in relative.parts:
            raise OutputError(f"{relative} does not lie inside the output folder {self.path}.")
        path = self.path / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise OutputError(
                f"The folder {path.parent} cannot be made: a file has that name or stands in the "
                "way. Choose another output folder."
            ) from error
        except OSError as error:
            raise _refused(path.parent, error, "made", named=relative.parent != PurePath()) from (
                error
            )
        identity = _identity(path)
        if identity is not None and identity in self._identities():
            raise OutputError(
                f"{path} is an input of this run and is not overwritten. Choose another output "
                "folder."
            )
        return path

    def _identities(self) -> frozenset[tuple[int, int]]:
        # Only asked for when something exists already: for a million inputs it takes a second.
        if self._input_ids is None:
            ids = (_identity(path) for path in self._inputs)
            self._input_ids = frozenset(identity for identity in ids if identity is not None)
        return self._input_ids


def check_output_folder(path: str | os.PathLike[str]) -> None:
    """Find out, before any work, whether a folder can be written to, by trying. Leaves nothing.

    Raises:
        UsageError: it is a file, lies below a file, or cannot be written to.
    """
    folder = Path(path)
    missing: list[Path] = []
    nearest = folder
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        missing.append(nearest)
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UsageError(
            f"The output folder {folder} cannot be used: {nearest} is no folder. Choose another."
        )
    made: list[Path] = []
    trial = _temporary_beside(folder / "trial")
    try:
        for each in reversed(missing):
            each.mkdir()
            made.append(each)
        trial.touch(exist_ok=False)
    except FileExistsError:  # another run has just made the folder
        return
    except PermissionError as error:
        raise UsageError(
            f"The output folder {folder} cannot be used: there is no permission to write to "
            f"{nearest}. Choose another."
        ) from error
    except OSError as error:
        raise UsageError(
            f"The output folder {folder} cannot be used: nothing can be made in {nearest} "
            f"({error.strerror}). Choose another."
        ) from error
    finally:
        _remove(trial)
        for each in reversed(made):
            with suppress(OSError):  # another run writes to it meanwhile
                each.rmdir()


@contextmanager
def all_or_none() -> Iterator[list[Path]]:
    """Files that belong together: what is put into the list goes if not all can be written.

    Half a set would be taken for a whole one.
    """
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in written:
            _remove(path)
        raise


def check_replaceable(path: Path) -> None:
    """Refuse a path where there is something that cnnviz did not write.

    Raises:
        OutputError: there is, or that cannot be found out.
        OutputUnavailableError: the file system fails.
    """
    try:
        ours = not os.path.lexists(path) or (path.is_file() and written_by_cnnviz(path))
    except OSError as error:
        raise _refused(path, error, "replaced", named=True) from error
    if not ours:
        raise OutputError(
            f"{path} exists and was not written by cnnviz; it is left as it is. Move it away "
            "or choose another output folder."
        )


def sweep(folder: Path, below: Iterable[PurePath]) -> None:
    """Remove what was being written when a run was killed.

    Args:
        folder: an output folder that nobody is writing to.
        below: folders in it, relative; they and ``thumbnails`` with the same below it are searched.
    """
    for relative in {PurePath(), *below}:
        for place in (folder / relative, folder / "thumbnails" / relative):
            for path in place.glob(f"{_TEMPORARY}*.tmp"):
                path.unlink(missing_ok=True)


def written_by_cnnviz(path: str | os.PathLike[str]) -> bool:
    """Whether a file carries the mark that :func:`write_png` and its like leave."""
    with open(path, "rb") as file:
        head = file.read(_PNG_HEADER + 8 + len(_PNG_SOFTWARE + _MARK))
        if head.startswith(_PNG_SIGNATURE):
            return head[_PNG_HEADER + 4 :] == b"tEXt" + _PNG_SOFTWARE + _MARK
        if head.startswith(_JPEG_START):
            comment = head[_JPEG_HEADER:]
            return comment.startswith(_JPEG_COMMENT) and comment[4:].startswith(_MARK)
        if head.startswith(MANIFEST_START):
            return True
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ZIP_END - 64))
        tail = file.read()
        if head.startswith(b"GIF8"):
            mark = tail.rfind(_GIF_COMMENT)
            return mark >= 0 and tail[mark + len(_GIF_COMMENT) + 1 :].startswith(_MARK)
        if not head.startswith(b"PK"):
            last = tail.splitlines()[-1] if tail else b""
            return any(
                last.startswith(before + _MARK) and last.endswith(after)
                for before, after in _LAST_LINES.values()
            )
        end = tail.rfind(b"PK\5\6")
        return end >= 0 and tail[end + _ZIP_END :].startswith(_MARK)


def _begun(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts, if they begin as a manifest does."""
    waiting = iter(parts)
    first = next(waiting, b"")
    if not first.startswith(MANIFEST_START):
        raise ValueError(f"A manifest begins with {MANIFEST_START!r}, not with {first[:40]!r}.")
    yield first
    yield from waiting


def _png(image: npt.NDArray[np.uint8], about: About) -> tuple[bytes, ...]:
    """Encode an image as PNG (ISO/IEC 15948), marked as ours, in pieces."""
    height, width = image.shape[:2]
    rows = image.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _PNG_UP
    filtered[0, 1:] = rows[0]  # above the first row are zeros
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256, as the standard has it
    color = 2 if image.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return (
        _PNG_SIGNATURE,
        _chunk(b"IHDR", header),
        _png_mark(about),
        _chunk(b"IDAT", isal_zlib.compress(filtered, _PNG_LEVEL)),
        _chunk(b"IEND", b""),
    )


def _png_mark(about: About) -> bytes:
    """Our mark, which is looked for right behind the header, and what the file says of itself."""
    mark = _chunk(b"tEXt", _PNG_SOFTWARE + _mark())
    return mark if about is None else mark + _chunk(*provenance.png_text(about))


def _mark() -> bytes:
    return _MARK + __version__.encode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)))


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of what a path leads to; None where there is nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _write(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file under a temporary name and rename it. Not synced: a power cut may lose it."""
    check_replaceable(path)
    # A name of its own, for the real one may be as long as names can be; opened by hand, since
    # tempfile's files are unreadable to others whatever the umask.
    temporary = _temporary_beside(path)
    whole = False
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
        whole = True
        os.replace(temporary, path)
    except BaseException as error:  # an interrupt, too, leaves no half file behind
        _remove(temporary)
        if isinstance(error, OSError):
            # What can be written under another name: not every file system has all names.
            raise _refused(path, error, "written", named=whole) from error
        raise


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}.tmp")


def _remove(path: Path) -> None:
    """Remove a file, if that is possible, on the way out of another failure."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _refused(
    path: Path, error: OSError, done: str, *, named: bool
) -> OutputError | OutputUnavailableError:
    """The error for what the file system refused: an image's own, or one that ends a run.

    Args:
        path: what could not be written.
        error: the reason.
        done: what could not be done to it.
        named: whether its own name may be the reason.
    """
    text = f"{path} cannot be {done}: {error.strerror}."
    if error.errno == errno.ENAMETOOLONG or (named and error.errno not in _GENERAL):
        return OutputError(
            f"{text} If the output folder's file system has no such names, choose "
            "a folder on another."
        )
    return OutputUnavailableError(text)
