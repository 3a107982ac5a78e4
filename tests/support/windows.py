"""Windows, imitated: its locks, what it lacks, and that nobody touches files that are open."""

from __future__ import annotations

import os
from pathlib import Path

from cnnviz import system

LACKING = ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "pread", "memfd_create", "sched_getaffinity")


class Msvcrt:
    """Windows' module as it is documented: it locks bytes from where the file is."""

    LK_NBLCK = 2

    def __init__(self):
        self.places = []

    def locking(self, descriptor, mode, count):
        import fcntl

        assert (mode, count) == (self.LK_NBLCK, 1)
        self.places.append(os.lseek(descriptor, 0, os.SEEK_CUR))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error


def imitate_windows(monkeypatch):
    """Have this process behave as it would there, as far as files are concerned."""
    monkeypatch.setattr(system, "_fcntl", None)
    monkeypatch.setattr(system, "_msvcrt", Msvcrt())
    monkeypatch.setattr(system, "can_replace_open_files", lambda: False)
    monkeypatch.setattr(system, "allows_all_names", lambda: False)
    monkeypatch.setattr(system, "can_have_workers", lambda: False)
    for name in LACKING:
        monkeypatch.delattr(os, name, raising=False)
    guard_open_files(monkeypatch)


def guard_open_files(monkeypatch):
    """Refuse to remove, rename or replace a file that this process has open."""
    # Path's methods have functions of their own in Python 3.10.
    for owner, name in (
        *((os, name) for name in ("replace", "rename", "unlink", "remove")),
        *((Path, name) for name in ("replace", "rename", "unlink")),
    ):
        monkeypatch.setattr(owner, name, _guarded(getattr(owner, name)))


def _guarded(function):
    def called(*arguments, **keywords):
        for path in arguments[:2]:
            if isinstance(path, (str, os.PathLike)) and _is_open(path):
                raise PermissionError(13, "it is being used by another process", str(path))
        return function(*arguments, **keywords)

    return called


def _is_open(path):
    try:
        wanted = os.lstat(path)
    except OSError:
        return False
    return any(os.path.samestat(wanted, status) for status in _open_files())


def _open_files():
    for descriptor in os.listdir("/dev/fd"):
        try:
            yield os.fstat(int(descriptor))
        except OSError:  # that of the list itself
            continue
