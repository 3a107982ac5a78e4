"""Tar archives as folders: what is in them is listed in order, and read where it lies.

Nothing is unpacked. Members that are no plain files, or whose names lead elsewhere, are listed as
what cannot be read, each with its reason; so is an archive that ends early, or makes no sense.
"""

from __future__ import annotations

import errno
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple, cast

from cnnviz import system
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.stored import Stored, too_large
from cnnviz.text import printable, printable_path

_BLOCK = 1 << 23  # bytes of a remote archive that are read at a time
_LONGEST_HEADERS = 1 << 20  # bytes of one member's: its names and the like
_RECORD = 512
#: What :mod:`tarfile` raises. A header that is about the next one makes it call itself.
_DAMAGED = (tarfile.TarError, ValueError, OverflowError, EOFError, IndexError, RecursionError)
_LABEL = ".cls"  # what WebDataset calls the class of an image, beside it in an archive
_LONGEST_LABEL = 256  # bytes
#: What decompresses files, by what they begin with; an archive begins with the name of a member.
_COMPRESSED = {
    "gunzip": re.compile(rb"\x1f\x8b\x08"),
    "bunzip2": re.compile(rb"BZh[1-9]1AY&SY"),
    "unxz": re.compile(rb"\xfd7zXZ\0"),
    "unzstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: its path there.
        offset: where its bytes are.
        size: how many they are.
        problem: why it cannot be read, if it cannot.
        label: what it says if it is the class of an image, in WebDataset's way.
    """

    name: str
    offset: int
    size: int
    problem: str | None
    label: str | None = None


class Archive:
    """An archive on this machine or behind a URL.

    Its members are read by several threads, about in order: of a remote one a block is held, so
    that small members do not each take a request.
    """

    def __init__(self, path: Path | RemotePath) -> None:
        self.path = path
        self._lock = Lock()
        self._block = (0, b"")

    def __str__(self) -> str:
        return printable_path(self.path) if isinstance(self.path, Path) else str(self.path)

    def __getstate__(self) -> Path | RemotePath:
        return self.path

    def __setstate__(self, path: Path | RemotePath) -> None:
        self.__init__(path)  # type: ignore[misc]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the folders above it, and its own."""
        if isinstance(self.path, RemotePath):
            return self.path.parts
        return Path(os.path.abspath(self.path)).parts[1:]

    def members(self) -> Iterator[Member]:
        """What is in it, but for folders, in order.

        Raises:
            OSError: it cannot be read at all.
        """
        if isinstance(self.path, RemotePath):
            file = self.path.open(_BLOCK)
        else:
            file = os.fdopen(system.open_without_waiting(self.path), "rb")
        with file:
            yield from _members(file)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of a member.

        Raises:
            OSError: they cannot be read.
        """
        if isinstance(self.path, RemotePath):
            return self._read_remote(self.path, offset, size)
        with open(self.path, "rb") as file:
            data = system.read_at(file, offset, size)
        if len(data) != size:
            raise OSError(errno.EIO, "the archive ends within it")
        return data

    def _read_remote(self, path: RemotePath, offset: int, size: int) -> bytes:
        if size > _BLOCK:
            return path.read_range(offset, offset + size)
        with self._lock:
            start, block = self._block
            if not start <= offset <= offset + size <= start + len(block):
                start, block = offset, path.read_range(offset, min(path.size, offset + _BLOCK))
                self._block = start, block
            return block[offset - start : offset - start + size]


@dataclass(frozen=True, eq=False, slots=True)
class ArchiveMember(Stored):
    """A file in an archive: where it lies there, and the class that the archive says, as text."""

    archive: Archive
    path: str
    offset: int
    size: int
    label: str | None = None

    def __str__(self) -> str:
        return f"{self.archive}/{printable(self.path)}"

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of the archive, and its own."""
        return (*self.archive.parts, *self.path.split("/"))

    def read(self, most: int) -> bytes:
        """Its contents."""
        if self.size > most:
            raise too_large(self.size)
        return self.archive.read(self.offset, self.size)

    def etag(self) -> str | None:
        """What the storage calls the archive, and the place in it."""
        path = self.archive.path
        etag = path.etag() if isinstance(path, RemotePath) else None
        return etag and f"{etag}:{self.offset}+{self.size}"


def sample_of(path: str) -> str:
    """What a member has in common with those that belong to it: its path up to its first dot."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0]


class _Headers:
    """A file as :mod:`tarfile` may read it: headers, and nothing that would fill the memory.

    Attributes:
        left: how many bytes of headers it may still read; since Python 3.14 it reads long ones
            in pieces.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek
        self.left = _LONGEST_HEADERS

    def next_of(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        """The next member, whose headers may have as many bytes as those of any other."""
        self.left = _LONGEST_HEADERS
        return tar.next()

    def read(self, length: int = -1) -> bytes:
        if not 0 <= length <= self.left:
            raise tarfile.ReadError(f"the headers there have more than {_LONGEST_HEADERS:,} bytes")
        self.left -= length
        return self._file.read(length)


def _members(file: BinaryIO) -> Iterator[Member]:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    _refuse_compressed(file.read(_RECORD))
    file.seek(0)
    end = 0
    headers = _Headers(file)
    try:
        with tarfile.open(fileobj=cast(BinaryIO, headers), mode="r:") as tar:
            while (one := headers.next_of(tar)) is not None:
                cast(Any, tar).members.clear()  # it would keep all of them
                end = one.offset_data
                if not one.isdir():
                    found = _member(one, size)
                    if _is_label(found):
                        file.seek(found.offset)
                        found = found._replace(label=_text(file.read(found.size)))
                    yield found
            end = tar.offset
    except _DAMAGED as error:
        yield Member("", 0, 0, f"the archive is damaged behind byte {end:,}: {_reason(error)}")
        return
    file.seek(end)
    if file.read(_RECORD) != bytes(_RECORD):
        yield Member("", 0, 0, f"the archive ends early, at byte {size:,}, without its end mark")


def _refuse_compressed(head: bytes) -> None:
    for tool, start in _COMPRESSED.items():
        if start.match(head):
            raise OSError(
                errno.EINVAL,
                "it is compressed, and images are read where they lie in an archive: "
                f"decompress it (`{tool}`), and give the .tar",
            )


def _member(one: tarfile.TarInfo, size: int) -> Member:
    problem = None
    names = one.name.split("/")
    if one.issym() or one.islnk():
        problem = "links in archives are not followed"
    elif one.name.startswith("/") or ".." in names or "\0" in one.name:
        problem = "its name leads out of the archive"
    elif one.issparse():
        problem = "sparse files in archives are not read"
    elif not one.isreg():
        problem = "only files are read out of archives"
    elif one.size < 0 or one.offset_data + one.size > size:
        problem = "the archive ends within it"
    name = "/".join(part for part in names if part not in ("", "."))
    return Member(name, one.offset_data, one.size, problem)


def _is_label(member: Member) -> bool:
    fits = member.problem is None and member.size <= _LONGEST_LABEL
    return fits and member.name.endswith(_LABEL)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape").strip()


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "too many headers there are about one file"
    return printable(str(error)) or type(error).__name__
