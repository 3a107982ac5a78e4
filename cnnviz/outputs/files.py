"""Writing files that are either complete or not there, and never over somebody else's.

A file is written under a temporary name beside its place and renamed when it is whole. What cnnviz
writes carries a mark (the ``Software`` text of a PNG, the comment of a zip archive); an existing
file is only replaced if it has that mark and is not an input of the run.
"""

from __future__ import annotations

import io
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz import __version__
from cnnviz.errors import CnnvizError, PictureError, UsageError

_PNG_HEADER = 33  # signature and IHDR chunk
_PNG_BAND = 1 << 20  # bytes that are filtered and deflated at a time
_PNG_FLAT = 0.4  # share of bytes that equal the one above, from which on runs are looked for
_UP, _AVERAGE = 2, 3  # PNG's filters
_PNG_MARK = b"Software\0cnnviz "
_ZIP_MARK = b"cnnviz "
_ZIP_END = 22  # end of central directory, without its comment
_TEMPORARY = ".cnnviz-"
_NPY: Any = np.lib.format  # untyped in NumPy


def write_png(path: str | os.PathLike[str], picture: npt.NDArray[np.uint8]) -> None:
    """Write a picture as PNG, whole or not at all.

    Args:
        path: where to; its folder must exist.
        picture: uint8 (H, W, 3) in RGB, or (H, W) in grey.

    Raises:
        PictureError: another kind of array, or there is a file that cnnviz did not write.
        CnnvizError: the file system refused (disk full, no permission).
    """
    if (
        picture.dtype != np.uint8
        or picture.ndim not in (2, 3)
        or picture.shape[2:] not in ((), (3,))
        or 0 in picture.shape
    ):
        raise PictureError(
            "A PNG is written from uint8 pixels of shape (H, W, 3) or (H, W); got "
            f"{picture.dtype} with shape {picture.shape}."
        )
    _write(Path(path), _png(picture))


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write arrays as ``numpy.load`` reads them, whole or not at all.

    Not compressed: gradients are noise to a compressor. The same arrays give the same bytes.

    Args:
        path: where to; its folder must exist.
        arrays: by name; anything that NumPy makes an array of without objects.

    Raises:
        PictureError: an array of objects, or there is a file that cnnviz did not write.
        CnnvizError: the file system refused (disk full, no permission).
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = _ZIP_MARK + __version__.encode("ascii")
        for name, value in arrays.items():
            # A ZipInfo by hand has a fixed date.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                try:
                    _NPY.write_array(entry, np.asanyarray(value), allow_pickle=False)
                except ValueError as error:
                    raise PictureError(f"The array {name!r} cannot be written: {error}.") from error
    _write(Path(path), [buffer.getvalue()])


class OutputFolder:
    """The folder that a run writes to; makes sub-folders as they are needed."""

    def __init__(self, path: str | os.PathLike[str], inputs: Iterable[Path] = ()) -> None:
        """Args: the folder, which need not exist yet, and files that must not be overwritten."""
        self.path = Path(path)
        self._inputs = tuple(inputs)
        self._input_ids: frozenset[tuple[int, int]] | None = None

    def write_png(self, relative: PurePath, picture: npt.NDArray[np.uint8]) -> Path:
        """Write a picture below the folder; see :func:`write_png`. Returns the file's path."""
        path = self._place(relative)
        write_png(path, picture)
        return path

    def write_npz(self, relative: PurePath, arrays: Mapping[str, Any]) -> Path:
        """Write arrays below the folder; see :func:`write_npz`. Returns the file's path."""
        path = self._place(relative)
        write_npz(path, arrays)
        return path

    def _place(self, relative: PurePath) -> Path:
        if relative.is_absolute() or ".." in relative.parts:
            raise PictureError(f"{relative} does not lie inside the output folder {self.path}.")
        path = self.path / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise PictureError(
                f"The folder {path.parent} cannot be made: a file has that name or stands in the "
                "way. Choose another output folder."
            ) from error
        except OSError as error:
            raise CnnvizError(
                f"The folder {path.parent} cannot be made: {error.strerror}."
            ) from error
        identity = _identity(path)
        if identity is not None and identity in self._identities():
            raise PictureError(
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
    """Find out, before any work, whether a folder can be written to. Creates nothing.

    Raises:
        UsageError: it is a file, lies below a file, or cannot be written to.
    """
    folder = Path(path)
    nearest = folder
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UsageError(
            f"The output folder {folder} cannot be used: {nearest} is no folder. Choose another."
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(
            f"The output folder {folder} cannot be used: there is no permission to write to "
            f"{nearest}. Choose another."
        )


def written_by_cnnviz(path: str | os.PathLike[str]) -> bool:
    """Whether a file carries the mark that :func:`write_png` and :func:`write_npz` leave."""
    with open(path, "rb") as file:
        head = file.read(_PNG_HEADER + 8 + len(_PNG_MARK))
        if head.startswith(b"\x89PNG"):
            return head[_PNG_HEADER + 4 :] == b"tEXt" + _PNG_MARK
        if not head.startswith(b"PK"):
            return False
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ZIP_END - 64))
        tail = file.read()
        end = tail.rfind(b"PK\5\6")
        return end >= 0 and tail[end + _ZIP_END :].startswith(_ZIP_MARK)


def _png(picture: npt.NDArray[np.uint8]) -> Iterator[bytes]:
    """Encode a picture as PNG, piece by piece (PNG specification, 2nd edition).

    Photos and enlarged maps hold next to no repetitions: looking for them, as every encoder does
    unless told otherwise, costs three quarters of the time and makes the file larger. So these are
    filtered by the average of the neighbours and only entropy-coded. Drawings and maps that are
    mostly zero repeat themselves: those are filtered by the pixel above, and runs are coded.
    """
    height, width = picture.shape[:2]
    colour_type = 0 if picture.ndim == 2 else 2
    pixel = 1 if picture.ndim == 2 else 3
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    yield _chunk(b"tEXt", _PNG_MARK + __version__.encode("ascii"))

    rows = picture.reshape(height, width * pixel)
    below, above = rows[1::4], rows[0:-1:4]  # a sample
    flat = below.size > 0 and np.count_nonzero(below == above) >= _PNG_FLAT * below.size
    strategy = zlib.Z_RLE if flat else zlib.Z_HUFFMAN_ONLY
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    band = max(1, _PNG_BAND // rows.shape[1])
    for top in range(0, height, band):
        filtered = _filtered(rows, slice(top, top + band), pixel, average=not flat)
        data = deflate.compress(filtered.data)
        if data:
            yield _chunk(b"IDAT", data)
    yield _chunk(b"IDAT", deflate.flush())
    yield _chunk(b"IEND", b"")


def _filtered(
    rows: npt.NDArray[np.uint8], band: slice, pixel: int, *, average: bool
) -> npt.NDArray[np.uint8]:
    """What PNG compresses for some rows: the filter's number, then each byte less its prediction.

    Args:
        rows: uint8 (H, bytes in a row), the whole picture.
        band: the rows asked for.
        pixel: bytes in a pixel.
        average: predict by the mean of the pixel above and the one on the left, rounded down;
            otherwise by the one above.
    """
    own = rows[band]
    above = np.zeros_like(own)  # above the first row of the picture there is black
    start = 1 if band.start == 0 else 0
    above[start:] = rows[band.start - 1 + start : band.start - 1 + len(own)]
    result = np.empty((own.shape[0], own.shape[1] + 1), np.uint8)
    result[:, 0] = _AVERAGE if average else _UP
    if average:
        left = np.zeros_like(own)
        left[:, pixel:] = own[:, :-pixel]
        # The mean without a ninth bit: what both have, and half of what only one has.
        common = above & left
        above ^= left
        above >>= 1
        above += common
    np.subtract(own, above, out=result[:, 1:])  # modulo 256, as the filters are defined
    return result


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
    try:
        if os.path.lexists(path) and not (path.is_file() and written_by_cnnviz(path)):
            raise PictureError(
                f"{path} exists and was not written by cnnviz; it is left as it is. Move it away "
                "or choose another output folder."
            )
        # A name of its own, for the real one may be as long as names can be; opened by hand, since
        # tempfile's files are unreadable to others whatever the umask.
        temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.writelines(parts)
            os.replace(temporary, path)
        except BaseException:  # an interrupt, too, leaves no half file behind
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CnnvizError(f"{path} cannot be written: {error.strerror}.") from error
