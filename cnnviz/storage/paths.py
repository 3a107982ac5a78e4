"""What a text of the command line means: a path of this machine, or what is behind a URL."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO, TypeAlias

from cnnviz import system
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.urls import is_remote
from cnnviz.text import printable

AnyPath: TypeAlias = Path | RemotePath

_BLOCK = 1 << 24  # bytes that are copied at a time


def path_of(text: str) -> AnyPath:
    """A path, or what a URL means. Nothing is opened, and fsspec is not imported.

    Raises:
        UsageError: cnnviz knows no such storage.
    """
    return RemotePath.of(text) if is_remote(text) else Path(text)


def shown_path(text: str) -> str:
    """A path or a URL as users are shown it, without what is secret in it."""
    path = path_of(text)
    return printable(text) if isinstance(path, Path) else str(path)


def opened(path: str | os.PathLike[str] | RemotePath) -> BinaryIO:
    """A file to read bytes from, at any place.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    return path.open() if isinstance(path, RemotePath) else open(path, "rb")


def read_whole(path: AnyPath, most: int) -> bytes:
    """A small file's contents, of a larger one at most one byte more than ``most``.

    Raises:
        OSError: it cannot be read; what is behind a URL is not, either, if it is larger.
    """
    if isinstance(path, RemotePath):
        return path.read(most)
    with open(path, "rb") as file:
        return file.read(most + 1)


def opened_at(path: AnyPath, block: int) -> BinaryIO:
    """A file to read bytes from, from behind a URL so many at a time.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    return path.open(block) if isinstance(path, RemotePath) else open(path, "rb")


def size_of(path: AnyPath) -> int:
    """A file's length in bytes.

    Raises:
        OSError: there is none, or that cannot be found out.
    """
    return path.size if isinstance(path, RemotePath) else path.stat().st_size


def opened_whole(path: AnyPath) -> BinaryIO:
    """A file with a descriptor, to read bytes from, which may be replaced meanwhile.

    So on Windows it is a copy, as it is of what is behind a URL.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    if isinstance(path, Path) and system.can_replace_open_files():
        return open(path, "rb")
    with path.open("rb") if isinstance(path, Path) else path.open(_BLOCK) as file:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - it is what is returned
        while block := file.read(_BLOCK):
            copy.write(block)
    copy.seek(0)
    return copy


def is_there(path: AnyPath) -> bool:
    """Whether there is anything by this name, be it a link that leads nowhere.

    Raises:
        OSError: behind a URL that cannot be found out.
    """
    return path.exists() if isinstance(path, RemotePath) else os.path.lexists(path)


def names_in(folder: AnyPath, start: str) -> list[str]:
    """Names of what is in a folder, and begins like this, sorted.

    Raises:
        OSError: behind a URL they cannot be listed.
    """
    if isinstance(folder, Path):
        return sorted(path.name for path in folder.glob(f"{start}*"))
    return sorted(folder.children(start))
