"""Long lists on the disk of this machine: what shall not stand in memory as a whole.

They lie in the temporary folder, in files that go with the process.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from cnnviz import system
from cnnviz.errors import OutputUnavailableError
from cnnviz.storage.sequences import LazySequence

MOST_IN_MEMORY = 10_000
"""Entries of a list that stay in memory; of a longer one all are on the disk."""

_BLOCK = 1024  # entries that are read at a time
_COPIED = 1 << 20  # bytes that are copied at a time
_PLACE = struct.Struct("<Q")
_PLACES = struct.Struct("<QQ")


@contextmanager
def on_the_disk() -> Iterator[None]:
    """Have a full disk be a sentence.

    Raises:
        OutputUnavailableError: the temporary folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise OutputUnavailableError(
            f"The list of images, which is long, cannot be kept in {tempfile.gettempdir()} "
            f"({error.strerror or error}): set TMPDIR to a folder with more room."
        ) from error


class Spooled(LazySequence[bytes]):
    """Byte strings in a file, one after the other; behind them where each begins.

    Any thread may read them. What lies in a file that has a name can be sent to other processes.
    """

    def __init__(self, file: BinaryIO, path: Path | None = None) -> None:
        """Args: the file, as :class:`SpoolWriter` leaves it, and its name if it has one."""
        self._file = file
        self._path = path
        size = file.seek(0, os.SEEK_END)
        end = system.read_at(file, size - _PLACE.size, _PLACE.size)
        self._count = int.from_bytes(end, "little")
        self._index = size - _PLACE.size * (self._count + 2)

    @classmethod
    def at_path(cls, path: Path) -> Spooled:
        """What :meth:`parts` was written to a file.

        Raises:
            OSError: it cannot be read.
        """
        return cls(open(path, "rb"), path)

    def __reduce__(self) -> tuple[object, ...]:
        return Spooled.at_path, (self._path,)

    def __len__(self) -> int:
        return self._count

    def at(self, place: int) -> bytes:
        """The bytes at a place."""
        where = system.read_at(self._file, self._index + _PLACE.size * place, _PLACES.size)
        start, end = _PLACES.unpack(where)
        return system.read_at(self._file, start, end - start)

    def __iter__(self) -> Iterator[bytes]:
        for first in range(0, self._count, _BLOCK):
            count = min(_BLOCK, self._count - first) + 1
            where = self._index + _PLACE.size * first
            places = struct.unpack(
                f"<{count}Q", system.read_at(self._file, where, _PLACE.size * count)
            )
            block = system.read_at(self._file, places[0], places[-1] - places[0])
            for start, end in pairwise(places):
                yield block[start - places[0] : end - places[0]]

    def parts(self) -> Iterator[bytes]:
        """The file, piece by piece."""
        place = 0
        while piece := system.read_at(self._file, place, _COPIED):
            yield piece
            place += len(piece)


class SpoolWriter:
    """Writes a long list, entry by entry."""

    def __init__(self) -> None:
        with on_the_disk():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - the list needs it
            self._places = tempfile.TemporaryFile()  # noqa: SIM115 - closed in finish()
        self._end = self._count = 0

    def add(self, entry: bytes) -> None:
        """The next one."""
        with on_the_disk():
            self._places.write(_PLACE.pack(self._end))
            self._file.write(entry)
        self._end += len(entry)
        self._count += 1

    def finish(self) -> Spooled:
        """The list."""
        with on_the_disk(), self._places:
            self._places.write(_PLACE.pack(self._end))
            self._places.seek(0)
            shutil.copyfileobj(self._places, self._file)
            self._file.write(_PLACE.pack(self._count))
            self._file.flush()
        return Spooled(self._file)
