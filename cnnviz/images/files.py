"""Read files that may turn out to be anything, a device, a pipe, gigabytes, without blocking."""

from __future__ import annotations

import os
import stat

from cnnviz import system
from cnnviz.errors import ImageError
from cnnviz.storage.stored import Stored


def read_bytes(path: str | os.PathLike[str] | Stored, most: int) -> bytes:
    """A file's contents, at most ``most`` bytes, without ever blocking on this machine's."""
    try:
        if isinstance(path, Stored):
            return path.read(most)
        _check_kind(os.stat(path).st_mode, path)
        # Between the look and the opening a pipe may have taken the file's place.
        with open(system.open_without_waiting(path), "rb") as file:
            status = os.fstat(file.fileno())
            _check_kind(status.st_mode, path)
            if status.st_size > most:
                raise ImageError(
                    f"the file has {status.st_size:,} bytes, more than an image of the allowed "
                    "size can have; scale it down, or raise --max-pixels"
                )
            return file.read(most) or b""  # None where the system would rather have us wait
    except FileNotFoundError as error:
        raise ImageError("there is no such file") from error
    except PermissionError as error:
        folder = not isinstance(path, Stored) and os.path.isdir(path)
        what = "this folder" if folder else "it"
        raise ImageError(f"there is no permission to read {what}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"it cannot be read: {reason}") from error


def _check_kind(mode: int, path: str | os.PathLike[str]) -> None:
    """Refuse what is no file: a device can be without end, and a pipe may never say anything."""
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        with os.scandir(path):  # which says so if it cannot be entered
            raise ImageError("it is a folder, not an image")
    kind = next((name for test, name in _NO_FILES if test(mode)), "no file")
    raise ImageError(f"it is {kind}; cnnviz reads files")


_NO_FILES = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
