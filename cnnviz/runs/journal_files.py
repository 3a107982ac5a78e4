"""Where a journal is kept: in a file of the output folder, or in parts behind a URL."""

from __future__ import annotations

import os
import secrets
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import BinaryIO

from cnnviz import system
from cnnviz.errors import UsageError
from cnnviz.runs.shards import Shard
from cnnviz.storage.paths import AnyPath
from cnnviz.storage.remote import RemotePath

_MOST_TRIES = 100  # to open a journal that other runs end with and delete
_RECORDS = 200  # of a part, at most
_SECONDS = 10.0  # until what there is becomes a part
_ALONE = "make sure that no other run writes there at the same time."


class OccupiedError(UsageError):
    """Another run has the journal."""


class JournalFile(ABC):
    """A file of lines that outlives its run, however that ends.

    Attributes:
        file: what it holds, open for reading and writing; it stands at its end.
    """

    file: BinaryIO

    @abstractmethod
    def keep(self) -> None:
        """See to it that what was written outlives the run.

        Raises:
            OSError: it cannot be kept.
        """

    @abstractmethod
    def cut(self, place: int) -> None:
        """Forget what is behind a place.

        Raises:
            OSError: that cannot be done.
        """

    @abstractmethod
    def close(self, *, done: bool) -> None:
        """Close it; ``done`` if nobody needs it any more.

        Raises:
            OSError: it cannot be kept, or be removed.
        """


def open_journal_file(path: AnyPath, notify: Callable[[str], None] | None) -> JournalFile:
    """A journal by its name, with what an earlier run left there.

    Args:
        path: where.
        notify: called with a sentence if it cannot be locked.

    Raises:
        UsageError: another run has it.
        OSError: it cannot be read or written.
    """
    if isinstance(path, RemotePath):
        return _Parts(path, notify)
    return _Local(path, notify)


class _Local(JournalFile):
    """A file, locked as long as the process lives."""

    def __init__(self, path: Path, notify: Callable[[str], None] | None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.file = self._locked(notify)
        self.file.seek(0, os.SEEK_END)

    def keep(self) -> None:
        """As far as this process is concerned."""
        self.file.flush()

    def cut(self, place: int) -> None:
        """Truncate it."""
        self.file.truncate(place)
        self.file.seek(place)

    def close(self, *, done: bool) -> None:
        """Remove it if it is done."""
        if done:
            system.remove_locked(self._path, self.file)
        self.file.close()

    def _locked(self, notify: Callable[[str], None] | None) -> BinaryIO:
        reason: str | None = "a file is not the same when it is looked at twice"
        for _ in range(_MOST_TRIES):
            file = open(self._path, "a+b")  # noqa: SIM115 - closed in close()
            try:
                locked = system.try_to_lock(file)
            except OSError as error:  # a file system without locks, as on clusters
                reason = error.strerror
                break
            if not locked:
                file.close()
                raise OccupiedError(
                    f"Another run is writing to {self._path.parent}; wait for it to end, or choose "
                    "another output folder."
                )
            if self._is(file):
                return file
            # The run that had it has ended, and deleted it, after it was opened here.
            file.close()
        else:
            file = open(self._path, "a+b")  # noqa: SIM115 - closed in close()
        if notify is not None:
            notify(f"{self._path.parent} cannot be locked ({reason}): {_ALONE}")
        return file

    def _is(self, file: BinaryIO) -> bool:
        """Whether an open file is what stands under the journal's name now."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False


class _Parts(JournalFile):
    """Objects below the journal's name, each with its first line and some more.

    What is behind a URL can be neither appended to nor renamed nor locked. So the journal lies in a
    file of this machine, and what was added becomes an object every few seconds: a run that is
    killed loses no more than that of what it knows.
    """

    def __init__(self, path: RemotePath, notify: Callable[[str], None] | None) -> None:
        self._path = path
        self._notify = notify
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._parts = sorted(path.below(), key=str)
        self._number = 0
        self._fill()
        self._kept = self.file.tell()  # what lies in parts
        self._lines = 0
        self._since = monotonic()
        if notify is not None:
            part = Shard.named_in(path.name)
            alone = _ALONE if part is None else f"make sure that nobody else does {part}."
            notify(f"{path.parent} cannot be locked (it is behind a URL): {alone}")

    def _fill(self) -> None:
        """Gather the parts of one run: those whose first line is that of the first part."""
        first = b""
        for part in self._parts:
            name = part.name.partition("-")[0]
            self._number = max(self._number, int(name) if name.isdecimal() else 0)
            header, _, lines = part.read_bytes().partition(b"\n")
            if not first:
                first = header
                self.file.write(header + b"\n")
            if header == first:
                self.file.write(lines)

    def keep(self) -> None:
        """Make a part of what is new, if that is worth it."""
        self.file.flush()
        self._lines += 1
        if self._lines >= _RECORDS or monotonic() - self._since >= _SECONDS:
            self._make_part()

    def _make_part(self) -> None:
        end = self.file.seek(0, os.SEEK_END)
        if end > self._kept:
            self.file.seek(0)
            header = self.file.readline()
            self.file.seek(max(self._kept, len(header)))
            lines = self.file.read()
            part = self._path / f"{self._number + 1:06d}-{secrets.token_hex(4)}.jsonl"
            part.write([header, lines])
            self._number += 1
            self._parts.append(part)
        self._kept, self._lines, self._since = end, 0, monotonic()

    def cut(self, place: int) -> None:
        """Have what is before the place in a part of its own, and remove the others."""
        if place == self.file.seek(0, os.SEEK_END):
            return
        before, self._parts = self._parts, []
        self.file.truncate(place)
        self._kept = 0
        if place:
            self._make_part()
        self.file.seek(place)
        for part in before:
            part.unlink(missing_ok=True)

    def close(self, *, done: bool) -> None:
        """Remove the parts, or make the last one."""
        try:
            if done:
                for part in self._parts:
                    part.unlink(missing_ok=True)
            else:
                self._make_part()
        except OSError as error:
            # What ends the run already says more than this.
            if self._notify is not None:
                what = "removed" if done else "completed: the next run does a few images again"
                self._notify(f"{self._path} cannot be {what} ({error.strerror}).")
        finally:
            self.file.close()
