"""One image to explain, and long lists of such."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from threading import Lock
from typing import Any, Generic, TypeVar

from cnnviz.storage import spool
from cnnviz.storage.archives import Archive, ArchiveMember
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.sequences import LazySequence
from cnnviz.storage.spool import Spooled, SpoolWriter
from cnnviz.storage.stored import File, Unreadable
from cnnviz.storage.stores import Entry
from cnnviz.text import printable_path

T = TypeVar("T")

_MOST_FETCHED = 1 << 31
"""Bytes of a file that are fetched; what an image may have is known when it is decoded."""

_SHARED = 8
"""Archives, and storages, that a long list has at a time."""


@dataclass(frozen=True, slots=True)
class Source:
    """One image to explain.

    Attributes:
        path: where to read it.
        shown: how to name it to the user: the path as given, printable in every encoding that has
            the name's own letters (stray bytes and control characters stand as ``\\xNN``).
        relative: its path below the folder that was given, which decides the sub-folder of what is
            written; of a file that was given, its name alone.
    """

    path: File
    shown: str
    relative: PurePath

    def fetched(self) -> Source:
        """The same with the file's contents in hand, if it is none of this machine's."""
        if isinstance(self.path, Path):
            return self
        return replace(self, path=self.path.fetched(_MOST_FETCHED))


class SourceList(LazySequence[Source]):
    """Many images, each read from the disk when it is asked for. Any thread may do so.

    Attributes:
        all_local: whether all are files of this machine.
        names: the beginnings of their files' names, a file as :class:`Spooled` has it, if somebody
            has planned these for all processes that have the list.
    """

    def __init__(
        self,
        entries: Spooled,
        length: int | None = None,
        *,
        all_local: bool,
        names: Path | None = None,
    ) -> None:
        """Args: the entries, how many of the first of these it has, and its attributes."""
        self.entries = entries
        self._length = len(entries) if length is None else length
        self.all_local = all_local
        self.names = names

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.entries, self._length, self.all_local, self.names)

    def __len__(self) -> int:
        return self._length

    def at(self, place: int) -> Source:
        """The image at a place."""
        return self._coder.decode(self.entries[place])

    def __iter__(self) -> Iterator[Source]:
        for _, entry in zip(range(self._length), self.entries, strict=False):
            yield self._coder.decode(entry)

    def choose(self, places: range) -> Sequence[Source]:
        """The first of them are such a list, too."""
        if places.start or places.step != 1:
            return super().choose(places)
        return SourceList(self.entries, len(places), all_local=self.all_local, names=self.names)

    @cached_property
    def _coder(self) -> _Coder:
        return _Coder()


def _again(entries: Spooled, length: int, all_local: bool, names: Path | None) -> SourceList:
    return SourceList(entries, length, all_local=all_local, names=names)


def are_local(sources: Sequence[Source]) -> bool:
    """Whether all are files of this machine."""
    if isinstance(sources, SourceList):
        return sources.all_local
    return all(isinstance(source.path, Path) for source in sources)


class SourceWriter:
    """Makes a list of images, which goes to the disk if it becomes a long one."""

    def __init__(self) -> None:
        self._held: list[Source] = []
        self._writer: SpoolWriter | None = None
        self._coder = _Coder()
        self._all_local = True
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, source: Source) -> None:
        """The next one."""
        self._count += 1
        self._all_local = self._all_local and isinstance(source.path, Path)
        if self._writer is not None:
            self._writer.add(self._coder.encode(source))
            return
        self._held.append(source)
        if len(self._held) > spool.MOST_IN_MEMORY:
            self._writer = SpoolWriter()
            for one in self._held:
                self._writer.add(self._coder.encode(one))
            self._held.clear()

    def finish(self) -> Sequence[Source]:
        """All of them: a tuple, or a :class:`SourceList`."""
        if self._writer is None:
            return tuple(self._held)
        return SourceList(self._writer.finish(), all_local=self._all_local)


class _Recent(Generic[T]):
    """Values by texts, made when they are asked for; those asked for last are held."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._held: OrderedDict[Any, T] = OrderedDict()
        self._lock = Lock()

    def __call__(self, key: Any) -> T:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            value = self._held[key] = self._make(key)
            if len(self._held) > _SHARED:
                self._held.popitem(last=False)
            return value


class _Coder:
    """Images as lines of JSON. What they share, as archives, stays shared by those near."""

    def __init__(self) -> None:
        self._roots: _Recent[RemotePath] = _Recent(RemotePath.of)
        self._archives: _Recent[Archive] = _Recent(self._archive)  # each may hold a block

    def encode(self, source: Source) -> bytes:
        """One image."""
        file = source.path
        shown = printable_path(file) if isinstance(file, Path) else str(file)
        where = self._code(file)
        relative = source.relative.as_posix()
        value = [where, relative, *([] if shown == source.shown else [source.shown])]
        return json.dumps(value, separators=(",", ":")).encode("ascii")

    def decode(self, entry: bytes) -> Source:
        """The image of a line."""
        where, relative, *shown = json.loads(entry)
        file = self._file(where)
        if isinstance(file, Path):
            default, below = printable_path(file), PurePath(relative)
        else:
            default, below = str(file), PurePosixPath(relative)
        return Source(file, shown[0] if shown else default, below)

    def _code(self, file: File) -> Any:
        match file:
            case Path():
                return str(file)
            case RemotePath():
                return [file.root, *file.below_root]
            case ArchiveMember():
                archive = self._code(file.archive.path)
                return [[archive], file.path, file.offset, file.size, file.label]
            case Unreadable():
                return [file.shown, file.names, file.reason]
        raise TypeError(f"{type(file).__name__} is no file that is listed")

    def _file(self, where: Any) -> File:
        match where:
            case str():
                return Path(where)
            case [str() as url, str(), _, _]:
                return self._roots(url).listed(Entry(*where[1:]))
            case [[archive], *known]:
                key = archive if isinstance(archive, str) else tuple(archive)
                return ArchiveMember(self._archives(key), *known)
        shown, names, reason = where
        return Unreadable(shown, tuple(names), reason)

    def _archive(self, where: Any) -> Archive:
        path = self._file(where if isinstance(where, str) else list(where))
        assert isinstance(path, (Path, RemotePath))
        return Archive(path)
