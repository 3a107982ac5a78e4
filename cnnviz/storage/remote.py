"""Objects and folders behind URLs, as paths."""

from __future__ import annotations

import errno
import io
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Literal

from cnnviz.storage.retries import Truncated, retried
from cnnviz.storage.stored import Fetched, Stored
from cnnviz.storage.stores import Contents, Entry, HttpStore, Store, etag_in
from cnnviz.storage.urls import protocol_of

_IN_MEMORY = 1 << 26  # bytes; larger objects are gathered on the disk before they are sent
_BLOCK = 1 << 16  # bytes that are read ahead


class RemotePath(Stored):
    """An object or a folder behind a URL, with as much of :class:`pathlib.Path` as is needed."""

    __slots__ = ("_etag", "_relative", "_size", "_store")

    def __init__(
        self, store: Store, relative: str = "", size: int | None = None, etag: str | None = None
    ) -> None:
        self._store = store
        self._relative = relative
        self._size = size
        self._etag = etag

    @classmethod
    def of(cls, url: str) -> RemotePath:
        """What a URL means.

        Raises:
            UsageError: cnnviz knows no such storage.
        """
        return cls(HttpStore(url) if protocol_of(url) in ("http", "https") else Store(url))

    def __str__(self) -> str:
        return self._store.shown_at(self._relative)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __truediv__(self, below: str | PurePath) -> RemotePath:
        below = below.as_posix() if isinstance(below, PurePath) else below
        return RemotePath(self._store, f"{self._relative}/{below}" if self._relative else below)

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket or the server, the folders, and its own name."""
        return self._store.names + names_below(self._relative)

    @property
    def stem(self) -> str:
        """Its name without its suffix."""
        return PurePath(self.name).stem

    @property
    def suffix(self) -> str:
        """What its name ends with, from the last dot on."""
        return PurePath(self.name).suffix

    @property
    def writable(self) -> bool:
        """Whether cnnviz writes there."""
        return self._store.protocol.writable

    @property
    def size(self) -> int:
        """Its length in bytes.

        Raises:
            OSError: it cannot be found out.
        """
        if self._size is None:
            if self._ask() == "folder":
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            if self._size is None:  # of some web servers
                raise OSError(errno.EINVAL, "nobody says how long it is")
        return self._size

    @property
    def root(self) -> str:
        """The URL that it lies below, with all that is secret in it."""
        return self._store.url

    @property
    def below_root(self) -> Entry:
        """What :meth:`listed` takes."""
        return Entry(self._relative, self._size, self._etag)

    def listed(self, entry: Entry) -> RemotePath:
        """Another one below the same URL, as it was listed."""
        return RemotePath(self._store, *entry)

    def kind(self) -> Literal["file", "folder", "nothing"]:
        """What is there. Behind http and https everything counts as a file.

        Raises:
            OSError: it cannot be found out.
        """
        if not self._store.protocol.folders:
            return "file"
        try:
            return self._ask()
        except FileNotFoundError:
            return "nothing"

    def _ask(self) -> Literal["file", "folder"]:
        """Find out what it is and, of a file, what is known of it."""
        found = self._store.info(self._relative)
        if found.get("type") == "directory":
            return "folder"
        self._size, self._etag = found.get("size"), etag_in(found)
        return "file"

    def etag(self) -> str | None:
        """What the storage calls its contents."""
        if self._etag is None and self._size is None:
            with suppress(OSError):  # reading it will say so
                self._ask()
        return self._etag

    def below(self) -> Iterator[RemotePath]:
        """All objects below a folder; see :meth:`Store.entries`."""
        for entry in self._store.entries(self._relative):
            found = self / entry.path
            found._size, found._etag = entry.size, entry.etag
            yield found

    def children(self, start: str) -> Iterator[str]:
        """Names of what is in a folder, and begins like this; see :meth:`Store.children`."""
        return self._store.children(self._relative, start)

    @property
    def parent(self) -> RemotePath:
        """What it lies in, if that is below the URL; else itself."""
        return RemotePath(self._store, self._relative.rpartition("/")[0])

    def path_from(self, folder: RemotePath) -> str:
        """Its path from a folder that it was listed in."""
        start = len(folder._relative) + 1 if folder._relative else 0
        return self._relative[start:]

    def read(self, most: int) -> bytes:
        """Its contents."""
        return self._contents(most).data

    def fetched(self, most: int) -> Fetched:
        """The same with its contents, and what the storage called them."""
        try:
            return Fetched(self, *self._contents(most))
        except OSError as error:
            return Fetched(self, error)

    def _contents(self, most: int) -> Contents:
        return self._store.contents(self.below_root, most)

    def read_bytes(self) -> bytes:
        """Its contents, however many bytes they are."""
        return self.read(sys.maxsize)

    def read_range(self, start: int, end: int) -> bytes:
        """Its bytes from one place up to another, which must not lie behind its end.

        Raises:
            OSError: they cannot be read.
        """
        key, system = self._store.key(self._relative), self._store.system

        def once() -> bytes:
            data: bytes = system.cat_file(key, start=start, end=end)
            if len(data) != end - start:
                raise Truncated(f"only {len(data):,} of {end - start:,} bytes came")
            return data

        return retried(once, str(self)) if end > start else b""

    def open(self, block: int = _BLOCK) -> BinaryIO:
        """A file that reads the bytes when they are wanted, so many at a time.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        return io.BufferedReader(Ranges(self, self.size), block)

    def write(self, parts: Iterable[bytes]) -> None:
        """Write the object, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        key, system = self._store.key(self._relative), self._store.system
        held: list[bytes] = []
        length, pieces = 0, iter(parts)
        for piece in pieces:
            held.append(piece)
            length += len(piece)
            if length > _IN_MEMORY:
                break
        else:
            retried(partial(system.pipe_file, key, b"".join(held)), str(self))
            return
        with tempfile.TemporaryDirectory(prefix="cnnviz-") as folder:
            path = Path(folder) / "object"
            with path.open("wb") as file:
                file.writelines(held)
                held.clear()
                file.writelines(pieces)
            retried(partial(system.put_file, str(path), key), str(self))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object.

        Raises:
            OSError: it cannot be removed.
        """
        try:
            key = self._store.key(self._relative)
            retried(partial(self._store.system.rm_file, key), str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def is_file(self) -> bool:
        """Whether there is an object.

        Raises:
            OSError: it cannot be found out.
        """
        return self.kind() == "file"

    def exists(self) -> bool:
        """Whether there is something.

        Raises:
            OSError: it cannot be found out.
        """
        return self.kind() != "nothing"


def names_below(relative: str) -> tuple[str, ...]:
    """The names in a path below a URL, without those that mean other folders."""
    return tuple(part for part in relative.split("/") if part not in ("", ".", ".."))


class Ranges(io.RawIOBase):
    """A file of known length whose bytes are read in ranges; it is closed by nobody."""

    def __init__(self, path: RemotePath, size: int) -> None:
        self._path = path
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "there is no such place in a file")
        self._place = start + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """The next bytes."""
        end = min(self._size, self._place + len(buffer))
        data = self._path.read_range(self._place, end) if end > self._place else b""
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
