"""A file that has to be fetched before it can be used."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeAlias


class Stored(ABC):
    """A file in a bucket, behind a URL, or in an archive.

    Its text (``str``) is how users are shown it, and how it is known again: without passwords and
    signatures. Two of the same text are the same file.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """The names of what it lies in, outermost first, and its own."""

    @abstractmethod
    def read(self, most: int) -> bytes:
        """Its contents, if these are not more than ``most`` bytes.

        Raises:
            OSError: it cannot be read; EFBIG if it is larger.
        """

    def etag(self) -> str | None:
        """What the storage calls its contents; None if it has no word for them.

        What else is put in the same place is called otherwise; in other places it may be called the
        same. It is asked for if no list has said it.
        """
        return None

    @property
    def name(self) -> str:
        """Its own name."""
        return self.parts[-1] if self.parts else ""

    def fetched(self, most: int) -> Fetched:
        """The same with its contents, or with the reason why it has none, held in memory."""
        try:
            return Fetched(self, self.read(most), self.etag())
        except OSError as error:
            return Fetched(self, error)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stored) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


#: A file, wherever it is.
File: TypeAlias = Path | Stored


@dataclass(frozen=True, eq=False, slots=True)
class Fetched(Stored):
    """A file that was fetched, or why it could not be.

    Attributes:
        of: the file.
        content: what is in it, or why that could not be fetched.
        called: what the storage called that, see :meth:`Stored.etag`.
    """

    of: Stored
    content: bytes | OSError
    called: str | None = None

    def __str__(self) -> str:
        return str(self.of)

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of the file."""
        return self.of.parts

    def read(self, most: int) -> bytes:
        """What was fetched."""
        if isinstance(self.content, OSError):
            raise self.content
        if len(self.content) > most:
            raise too_large(len(self.content))
        return self.content

    def etag(self) -> str | None:
        """What the storage called its contents when they were fetched."""
        return self.called

    def fetched(self, most: int) -> Fetched:
        """Itself."""
        return self


@dataclass(frozen=True, eq=False, slots=True)
class Unreadable(Stored):
    """Something that stands where an image should be, and is none that can be read.

    Attributes:
        shown: how users are shown it.
        names: the names of what it lies in, and its own.
        reason: why it cannot be read.
    """

    shown: str
    names: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return self.shown

    @property
    def parts(self) -> tuple[str, ...]:
        """The names."""
        return self.names

    def read(self, most: int) -> bytes:
        """Nothing.

        Raises:
            OSError: always.
        """
        raise OSError(errno.EINVAL, self.reason)


def all_local(*files: File) -> bool:
    """Whether all are files of this machine."""
    return all(isinstance(file, Path) for file in files)


def full_path(file: File) -> PurePath:
    """All folders above a file, and its name."""
    return PurePath(os.path.abspath(file)) if isinstance(file, Path) else PurePath(*file.parts)


def too_large(size: int) -> OSError:
    """The error for more bytes than are wanted."""
    return OSError(errno.EFBIG, f"it has {size:,} bytes, which is more than is read")
