"""Objects and folders behind URLs, through fsspec."""

from __future__ import annotations

import errno
import importlib
import io
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Literal, NamedTuple

from cnnviz.errors import UsageError
from cnnviz.storage.retries import Truncated, retried
from cnnviz.storage.stored import Stored, too_large
from cnnviz.storage.urls import PROTOCOLS, names_in, protocol_of, shown_url
from cnnviz.text import did_you_mean, printable

_IN_MEMORY = 1 << 26  # bytes; larger objects are gathered on the disk before they are sent
_BLOCK = 1 << 16  # bytes that are read ahead


class Entry(NamedTuple):
    """An object below a folder: its path from there, and its length in bytes if that is known."""

    path: str
    size: int | None


class Store:
    """What lies below one URL.

    Attributes:
        url: as it was given.
        shown: the same for the eyes of others.
        protocol: the kind of storage.
        names: those in it, outermost first.
    """

    page = 1000  # names that S3 is asked for at a time

    def __init__(self, url: str) -> None:
        """Nothing is opened yet.

        Raises:
            UsageError: cnnviz knows no such storage.
        """
        self.url = url.rstrip("/") if protocol_of(url) not in ("http", "https") else url
        self.shown = printable(shown_url(self.url))
        name = protocol_of(url)
        if name not in PROTOCOLS:
            known = ", ".join(f"{one}://" for one in PROTOCOLS if one != "memory")
            hint = did_you_mean(name, PROTOCOLS)
            raise UsageError(
                f"{self.shown} begins with {name}://, and cnnviz reads {known} and paths."
                f"{f' {hint}' if hint else ''}"
            )
        self.protocol = PROTOCOLS[name]
        self.names = names_in(self.url)

    def __getstate__(self) -> str:
        return self.url  # a connection does not go with it to other processes

    def __setstate__(self, url: str) -> None:
        self.__init__(url)  # type: ignore[misc]

    @cached_property
    def system(self) -> Any:
        """The file system of fsspec.

        Raises:
            UsageError: a package is not installed, or refuses.
        """
        kind = self._kind
        options = kind._get_kwargs_from_urls(self.url)
        try:
            return kind(use_listings_cache=False, **options)
        except Exception as error:
            raise UsageError(
                f"{self.shown} cannot be used: {type(error).__name__} when "
                f"{self.protocol.package} was set up."
            ) from error

    @cached_property
    def root(self) -> str:
        """What that calls the URL."""
        return str(self._kind._strip_protocol(self.url))

    @cached_property
    def _kind(self) -> Any:
        try:
            import fsspec

            importlib.import_module(self.protocol.package)
            return fsspec.get_filesystem_class(protocol_of(self.url))
        except ImportError as error:
            extra = self.protocol.extra
            raise UsageError(
                f"{self.shown} is read with fsspec and {self.protocol.package}, which are not both "
                f'installed: `pip install "cnnviz[{extra}]"` installs them.'
            ) from error

    def key(self, relative: str) -> str:
        """What the file system calls something below the URL."""
        return f"{self.root.rstrip('/')}/{relative}" if relative else self.root

    def info(self, relative: str) -> dict[str, Any]:
        """What is known of an object or a folder.

        Raises:
            OSError: it cannot be found out; a FileNotFoundError if there is none.
        """
        found: dict[str, Any] = retried(partial(self.system.info, self.key(relative)))
        return found

    def contents(self, relative: str, size: int | None, most: int) -> bytes:
        """An object's bytes, all of them; ``size`` is how many a listing said.

        Raises:
            OSError: they cannot be read, or are too many.
        """
        key, system = self.key(relative), self.system

        def once() -> bytes:
            expected = system.info(key).get("size") if size is None else size
            if expected is not None and expected > most:
                raise too_large(expected)
            if not expected:
                whole: bytes = system.cat_file(key)
                return whole
            # Without an end some systems ask for the length first. One byte more shows whether the
            # object has grown since it was listed.
            data: bytes = system.cat_file(key, start=0, end=expected + 1)
            if len(data) != expected:
                now = system.info(key)["size"]
                data = data if now == expected else system.cat_file(key)
                if len(data) != now:
                    raise Truncated(f"only {len(data):,} of {now:,} bytes came")
            return data

        return retried(once)

    def entries(self, relative: str) -> Iterator[Entry]:
        """All objects below a folder, in no order, while they are listed.

        Of S3 a page of a thousand names is held at a time, of others a folder's.

        Raises:
            OSError: they cannot be listed.
        """
        root = self.key(relative).rstrip("/") + "/"
        listed = self._s3_pages(root) if self.protocol.extra == "s3" else self._folders(root)
        with suppress(FileNotFoundError):  # a folder without objects is none
            for name, size in listed:
                path = name.removeprefix(root)
                if path and not path.endswith("/"):
                    yield Entry(path, size)

    def _folders(self, root: str) -> Iterator[tuple[str, int | None]]:
        waiting = [root.rstrip("/")]
        while waiting:
            folder = waiting.pop()
            for one in retried(partial(self.system.ls, folder, detail=True)):
                name = str(one["name"])
                if one.get("type") == "directory":
                    if name.rstrip("/").startswith(f"{folder}/"):  # not the folder itself
                        waiting.append(name.rstrip("/"))
                else:
                    yield name, one.get("size")

    def _s3_pages(self, root: str) -> Iterator[tuple[str, int | None]]:
        bucket, _, prefix = root.partition("/")
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": self.page}
        while True:
            page = retried(partial(self.system.call_s3, "list_objects_v2", **asked))
            for one in page.get("Contents", ()):
                yield f"{bucket}/{one['Key']}", one["Size"]
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]


class HttpStore(Store):
    """One file behind http or https: its length is known when it is there."""

    def contents(self, relative: str, size: int | None, most: int) -> bytes:
        """What the server sends, and no more than ``most`` bytes of it."""

        def once() -> bytes:
            # Without a block size it comes as one stream; that has no use for a size.
            with self.system.open(self.root, "rb", block_size=0, size=1) as stream:
                data = bytearray()
                while piece := stream.read(_IN_MEMORY):
                    data += piece
                    if len(data) > most:
                        raise too_large(len(data))
                return bytes(data)

        return retried(once)


class RemotePath(Stored):
    """An object or a folder behind a URL, with as much of :class:`pathlib.Path` as is needed."""

    __slots__ = ("_relative", "_size", "_store")

    def __init__(self, store: Store, relative: str = "", size: int | None = None) -> None:
        self._store = store
        self._relative = relative
        self._size = size

    @classmethod
    def of(cls, url: str) -> RemotePath:
        """What a URL means.

        Raises:
            UsageError: cnnviz knows no such storage.
        """
        return cls(HttpStore(url) if protocol_of(url) in ("http", "https") else Store(url))

    def __str__(self) -> str:
        shown = self._store.shown
        return f"{shown}/{printable(self._relative)}" if self._relative else shown

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
            self._size = int(self._store.info(self._relative)["size"])
        return self._size

    def kind(self) -> Literal["file", "folder", "nothing"]:
        """What is there. Behind http and https everything counts as a file.

        Raises:
            OSError: it cannot be found out.
        """
        if not self._store.protocol.folders:
            return "file"
        try:
            found = self._store.info(self._relative)
        except FileNotFoundError:
            return "nothing"
        if found.get("type") == "directory":
            return "folder"
        self._size = found.get("size")
        return "file"

    def below(self) -> Iterator[RemotePath]:
        """All objects below a folder; see :meth:`Store.entries`."""
        for entry in self._store.entries(self._relative):
            found = self / entry.path
            found._size = entry.size
            yield found

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
        return self._store.contents(self._relative, self._size, most)

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

        return retried(once) if end > start else b""

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
            retried(partial(system.pipe_file, key, b"".join(held)))
            return
        with tempfile.TemporaryDirectory(prefix="cnnviz-") as folder:
            path = Path(folder) / "object"
            with path.open("wb") as file:
                file.writelines(held)
                held.clear()
                file.writelines(pieces)
            retried(partial(system.put_file, str(path), key))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object.

        Raises:
            OSError: it cannot be removed.
        """
        try:
            retried(partial(self._store.system.rm_file, self._store.key(self._relative)))
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
