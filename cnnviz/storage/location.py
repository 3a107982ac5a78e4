"""What a text of the command line means: a path of this machine, or what is behind a URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, TypeAlias

from cnnviz.storage.remote import RemotePath
from cnnviz.storage.urls import is_remote

Location: TypeAlias = Path | RemotePath


def locate(text: str) -> Location:
    """A path, or what a URL means. Nothing is opened, and fsspec is not imported.

    Raises:
        UsageError: cnnviz knows no such storage.
    """
    return RemotePath.of(text) if is_remote(text) else Path(text)


def opened(path: str | os.PathLike[str] | RemotePath) -> BinaryIO:
    """A file to read bytes from, at any place.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    return path.open() if isinstance(path, RemotePath) else open(path, "rb")
