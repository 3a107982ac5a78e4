"""What operating systems have in ways of their own; each with another way where one has none.

Linux is at hand, and what it alone has is used there. For macOS and Windows this is written to the
documentation of Python's standard library. The rest of cnnviz asks no system for its name.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path, PurePath, PureWindowsPath
from typing import IO, TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from tqdm import tqdm


def _module(name: str) -> Any:
    """A module of the standard library that only some systems have, or None."""
    try:
        return import_module(name)
    except ImportError:
        return None


_fcntl = _module("fcntl")
_msvcrt = _module("msvcrt")
_resource = _module("resource")

# --- files ---------------------------------------------------------------------------------------

#: Windows locks bytes, and keeps others from reading those; these no file has.
_LOCKED_AT = 1 << 40
_BETWEEN_TRIES = 0.2  # seconds
_pread_lock = threading.Lock()
#: What Windows allows in no name, or takes for the end of a folder's.
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f<>:"\\|?*]')


def stays_below(relative: PurePath, kind: type[PurePath] = PurePath) -> bool:
    """Whether a path names something below the folder that it is added to.

    Names come from archives, buckets and manifests, which any system may have made. To Windows a
    backslash separates folders, and what has a colon is on a drive or a hidden part of a file.

    Args:
        relative: the path.
        kind: the system's paths.
    """
    path = kind(relative.as_posix())
    hidden = isinstance(path, PureWindowsPath) and ":" in str(path)
    return not (path.anchor or hidden or ".." in path.parts)


def allows_all_names() -> bool:
    """Whether names of files may have all characters but the one that separates folders."""
    return os.name == "posix"


def writable_name(path: str) -> str:
    """A path with / between folders, with _ for what this system allows in no name.

    Those are names out of archives and buckets, which may come from other systems.
    """
    return path if allows_all_names() else _NOT_IN_NAMES.sub("_", path)


def try_to_lock(file: IO[Any]) -> bool:
    """Lock an open file for this process; False if another one has it.

    The lock goes when the file is closed, or the process ends.

    Raises:
        OSError: the file's system has no locks.
    """
    if _fcntl is not None:
        try:
            _fcntl.flock(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    if _msvcrt is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    place = os.lseek(file.fileno(), 0, os.SEEK_CUR)
    try:
        os.lseek(file.fileno(), _LOCKED_AT, os.SEEK_SET)
        _msvcrt.locking(file.fileno(), _msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    finally:
        os.lseek(file.fileno(), place, os.SEEK_SET)
    return True


def lock(file: IO[Any]) -> None:
    """Lock an open file as soon as nobody else has it.

    Raises:
        OSError: the file's system has no locks.
    """
    if _fcntl is not None:
        _fcntl.flock(file, _fcntl.LOCK_EX)
        return
    while not try_to_lock(file):
        time.sleep(_BETWEEN_TRIES)


def can_replace_open_files() -> bool:
    """Whether a file that somebody reads may be replaced or removed; Windows refuses."""
    return os.name == "posix"


def remove_locked(path: Path, file: IO[Any]) -> None:
    """Remove a file that is open and locked here, and close it."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:  # Windows removes nothing that is open
        file.close()
        with suppress(PermissionError):  # the next who wants it has opened it meanwhile
            path.unlink(missing_ok=True)
    file.close()


def open_without_waiting(path: str | os.PathLike[str]) -> int:
    """A descriptor to read bytes by; opening a pipe does not wait for somebody to write."""
    wanted = ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT")
    flags = os.O_RDONLY
    for name in wanted:
        flags |= getattr(os, name, 0)
    return os.open(path, flags)


def read_at(file: BinaryIO, place: int, length: int) -> bytes:
    """Bytes from a place in a file; the file's own place stays. Any thread may call this."""
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), length, place)
    descriptor = file.fileno()
    with _pread_lock:
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            os.lseek(descriptor, place, os.SEEK_SET)
            return os.read(descriptor, length)
        finally:
            os.lseek(descriptor, before, os.SEEK_SET)


def scratch_file() -> IO[bytes]:
    """An open file without a name, in memory where that can be: no folder may be writable."""
    try:
        return open(os.memfd_create("cnnviz"), "w+b")
    except (AttributeError, OSError):
        return tempfile.TemporaryFile()


@contextmanager
def named(data: bytes) -> Iterator[str]:
    """A path at which a library finds these bytes, for as long as the context lasts."""
    with ExitStack() as clean_up:
        try:
            descriptor = os.memfd_create("cnnviz")
            clean_up.callback(os.close, descriptor)
            path = f"/proc/self/fd/{descriptor}"
            if not os.path.exists(path):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        except (AttributeError, OSError):
            descriptor, path = tempfile.mkstemp(prefix="cnnviz-")
            # Closed before the library opens it: Windows would not let it.
            clean_up.callback(os.unlink, path)
            with open(descriptor, "wb") as file:
                file.write(data)
        else:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
        yield path


# --- memory --------------------------------------------------------------------------------------


def c_library() -> Any:
    """The C library that this process runs on, as ctypes sees it; None where there is none."""
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has several
        return None


def let_go_of_pages(mapped: mmap.mmap) -> None:
    """Have the memory of a mapped file read anew when it is wanted again, where a system can."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is not None:
        mapped.madvise(advice)


class _MemoryStatus(ctypes.Structure):
    """``MEMORYSTATUSEX`` of Windows."""

    _fields_ = [
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("physical", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 5),
    ]


def memory_without_proc() -> int:
    """Bytes that a program may still take where there is no ``/proc``; 0 if nobody tells.

    Where a system tells only how much memory the machine has, a quarter of it counts as free.
    """
    windll = getattr(ctypes, "windll", None)
    if windll is not None:
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        found = windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.available) if found else 0
    for name, share in (("SC_AVPHYS_PAGES", 1), ("SC_PHYS_PAGES", 4)):
        with suppress(AttributeError, ValueError, OSError):
            pages = os.sysconf(name) // share
            if pages > 0:
                return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


# --- processors and limits -----------------------------------------------------------------------


def processors() -> int:
    """Processors that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit(name: str) -> int | None:
    """A limit of this process, such as ``RLIMIT_AS``; None where there is none."""
    kind = getattr(_resource, name, None)
    if kind is None:
        return None
    soft: int = _resource.getrlimit(kind)[0]
    return None if soft == _resource.RLIM_INFINITY else soft


# --- processes -----------------------------------------------------------------------------------

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
_FROM_TERMINAL = 0x80  # SI_KERNEL of Linux


def signals(*names: str) -> frozenset[signal.Signals]:
    """Signals by name, those that this system has."""
    return frozenset(getattr(signal, name) for name in names if hasattr(signal, name))


#: Signals by which a user stops a run.
STOPS = signals("SIGINT", "SIGTERM", "SIGHUP")


def can_have_workers() -> bool:
    """Whether a process can be handed open files, and tells the signal that ended it."""
    return os.name == "posix"


def end_with_parent(lifeline: int) -> None:
    """End this process when the one that started it ends, however that does.

    Args:
        lifeline: the end of a pipe whose other end only the parent has.
    """
    prctl = getattr(c_library(), "prctl", None)
    if prctl is not None:
        prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        return

    def watch() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


Start = Callable[[Callable[[], None] | None], "subprocess.Popen[bytes]"]
"""Starts a process, which calls the function, if any, before its program."""


def run_child(start: Start) -> int:
    """Run a process, and pass on to it what this one is told to stop by.

    Except what the whole terminal was told: the process has it already.

    Returns:
        Its exit status, or the signal that ended it, negative.
    """
    if hasattr(signal, "sigwaitinfo"):
        return _run_waiting_for_signals(start)
    return _run_with_handlers(start)


def _run_waiting_for_signals(start: Start) -> int:
    """By ``sigwaitinfo``, which macOS lacks, and which says where a signal comes from."""
    watched = {*STOPS, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    # Where it is ignored, as a process may inherit it, nobody learns of a child's end.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        process = start(lambda: _set_mask(before))
        while process.poll() is None:
            came = signal.sigwaitinfo(watched)
            if came.si_signo in STOPS and came.si_code != _FROM_TERMINAL:
                process.send_signal(came.si_signo)
        return int(process.returncode)
    finally:
        signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hold_back_interrupts() -> None:
    """Have Ctrl-C wait: Python's own start-up takes it for an error like any other."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def let_interrupts_through() -> None:
    """End that, in the process that was started; one that waits is there at once.

    Raises:
        KeyboardInterrupt: there is one.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _set_mask(mask: set[Any]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run_with_handlers(start: Start) -> int:
    """By handlers, which do not learn where a signal comes from: Ctrl-C is taken for a terminal's.

    That is, of this process's own terminal, if it is in the foreground there.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        if number == signal.SIGINT and _in_foreground():
            return
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    before = {
        number: signal.signal(number, pass_on)
        for number in STOPS
        if signal.getsignal(number) is not signal.SIG_IGN  # and so it stays for the process
    }
    try:
        process = start(None)
        for number in early:
            process.send_signal(number)
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether a terminal's Ctrl-C goes to this process and all that it has started."""
    try:
        with open("/dev/tty", "rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # no terminal
        return False


# --- progress ------------------------------------------------------------------------------------


def progress_bar(**options: Any) -> tqdm[Any]:
    """A bar on stderr, as :class:`tqdm.tqdm` makes it, but without a thread or another process.

    tqdm has a thread that wakes bars up, and warns where none can be started. These are drawn anew
    with every step, so they need no waking. Its lock is one for several processes, which Python may
    start one more for, and warns of when this one ends by a signal; only one draws these.
    """
    return _bar_class()(miniters=1, **options)


@cache
def _bar_class() -> Any:
    from tqdm import tqdm

    return type("Bar", (tqdm,), {"monitor_interval": 0, "_lock": threading.RLock()})
