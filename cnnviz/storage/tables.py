"""What long lists are sorted with, and looked up in: in memory, and from a length on by SQLite.

SQLite's tables lie in files of the temporary folder that have no name there, or lose it at once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from cnnviz.storage import spool

if TYPE_CHECKING:
    from sqlite3 import Connection

V = TypeVar("V", bound=tuple[int, ...])

_TOGETHER = 1000  # rows that are handed over at a time


@contextmanager
def _on_the_disk() -> Iterator[None]:
    import sqlite3

    with spool.on_the_disk():
        try:
            yield
        except sqlite3.OperationalError as error:  # the disk is full, or cannot be written to
            raise OSError(str(error)) from error


def _database() -> Connection:
    """An empty one, for this process alone."""
    import sqlite3

    os.environ.setdefault("SQLITE_TMPDIR", tempfile.gettempdir())
    # No transaction of Python's; who uses it sees to it that one thread does at a time.
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", "cache_size=-4000"):
        database.execute(f"PRAGMA {setting}")
    return database


def _bytes(text: str) -> bytes:
    """A text so that bytes are in the order of texts, and stray bytes of names stay."""
    return text.encode("utf-8", "surrogatepass")


class Sorter:
    """Byte strings in the order of texts that go with them; of equal ones the first comes first."""

    def __init__(self) -> None:
        self._held: list[tuple[bytes, bytes]] = []
        self._most = spool.MOST_IN_MEMORY
        self._database: Connection | None = None
        self._count = 0

    def add(self, key: str, value: bytes) -> None:
        """One more."""
        self._held.append((_bytes(key), value))
        self._count += 1
        if len(self._held) > self._most:
            self._store()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return (value for _, value in self.items())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """The texts, in UTF-8, and what goes with them."""
        if self._database is None:
            yield from sorted(self._held, key=lambda one: one[0])
            return
        self._store()
        with _on_the_disk():
            yield from self._database.execute("SELECT key, value FROM row ORDER BY key, place")

    def _store(self) -> None:
        with _on_the_disk():
            if self._database is None:
                self._database = _database()
                self._database.execute(
                    "CREATE TABLE row(place INTEGER PRIMARY KEY, key BLOB, value BLOB)"
                )
                self._most = min(self._most, _TOGETHER)
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO row(key, value) VALUES(?, ?)", self._held)
            self._database.execute("COMMIT")
            self._held.clear()


class Register(Generic[V]):
    """A dictionary of texts with a few whole numbers each. Any thread may look something up."""

    def __init__(self) -> None:
        self._held: dict[str, V] = {}
        self._database: Connection | None = None
        self._lock = Lock()

    def __bool__(self) -> bool:
        return self._database is not None or bool(self._held)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def get(self, key: str) -> V | None:
        """What goes with a text, if it is there."""
        with self._lock:
            if self._database is None:
                return self._held.get(key)
            found = self._database.execute("SELECT value FROM entry WHERE key = ?", (_bytes(key),))
            row = found.fetchone()
        return None if row is None else self._numbers(row[0])

    def __setitem__(self, key: str, numbers: V) -> None:
        with self._lock:
            if self._database is not None:
                self._insert(key, numbers)
                return
            self._held[key] = numbers
            if len(self._held) > spool.MOST_IN_MEMORY:
                self._move()

    def add(self, key: str, numbers: V) -> bool:
        """Have it in, if nothing is there by this text; whether nothing was."""
        if key in self:
            return False
        self[key] = numbers
        return True

    def update(self, other: Register[V]) -> None:
        """Have all in that another one has."""
        for key, numbers in other.items():
            self[key] = numbers

    def items(self) -> Iterator[tuple[str, V]]:
        """All, in the order in which the texts came first."""
        if self._database is None:
            yield from self._held.items()
            return
        with _on_the_disk():
            for key, value in self._database.execute("SELECT key, value FROM entry ORDER BY place"):
                yield key.decode("utf-8", "surrogatepass"), self._numbers(value)

    def _move(self) -> None:
        with _on_the_disk():
            self._database = _database()
            self._database.execute(
                "CREATE TABLE entry(place INTEGER PRIMARY KEY, key BLOB UNIQUE, value TEXT)"
            )
            self._database.execute("BEGIN")  # nobody else reads it, nothing has to be kept
        for key, numbers in self._held.items():
            self._insert(key, numbers)
        self._held.clear()

    def _insert(self, key: str, numbers: V) -> None:
        assert self._database is not None
        with _on_the_disk():
            self._database.execute(
                "INSERT INTO entry(key, value) VALUES(?, ?) "
                "ON CONFLICT(key) DO UPDATE SET value = excluded.value",
                (_bytes(key), " ".join(map(str, numbers))),
            )

    @staticmethod
    def _numbers(value: str) -> V:
        return tuple(map(int, value.split()))  # type: ignore[return-value]
