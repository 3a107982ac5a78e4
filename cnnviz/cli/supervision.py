"""A run in a process of its own, so that a crash in a library does not end it.

A segmentation fault in MXNet or OpenCV cannot be caught within the process. So ``cnnviz explain``
on more than one picture starts the same command again as a worker, and waits. If the worker is
ended by a crash, another one goes on from the journal, one picture at a time and saying beforehand
which, so that the next crash has a name: that picture fails, and a usual worker does the others.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from cnnviz.cli.console import say
from cnnviz.errors import ExitCode

WORKERS = ("usual", "careful")

#: Signals that a process sends itself, by a mistake in its code.
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
#: Signals by which a user stops a run.
_STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_FROM_TERMINAL = 0x80  # SI_KERNEL: all processes at this terminal have got it
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def worth_it(inputs: Sequence[str]) -> bool:
    """Whether there may be more than one picture, so that a crash costs others their results."""
    return len(inputs) > 1 or inputs[0] == "-" or os.path.isdir(inputs[0])


def supervise(arguments: Sequence[str], output: Path, *, piped: bool) -> int:
    """Have workers do a command until it is done.

    Args:
        arguments: the command line, without the program's name.
        output: the output folder.
        piped: whether the command reads paths from standard input.

    Returns:
        The exit status.
    """
    with contextlib.ExitStack() as files:
        told = files.enter_context(tempfile.TemporaryFile())
        stdin = None
        if piped:  # a second worker has to read the same again
            stdin = files.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(sys.stdin.buffer, stdin)
        kind = "usual"
        while True:
            if stdin is not None:
                stdin.seek(0)
            status = _run([*arguments, "--worker", kind, "--told", str(told.fileno())], told, stdin)
            if status >= 0:
                return status
            ended = signal.Signals(-status)
            if ended not in _CRASHES:
                return _ended(ended)
            if kind == "usual":
                say(
                    f"One of the libraries that cnnviz uses crashed ({ended.name}); going on, one "
                    "picture at a time, to find out which one it was."
                )
                kind = "careful"
            elif _blame(output, ended) is not None:
                kind = "usual"
            else:
                say(
                    f"Error: one of the libraries that cnnviz uses crashed ({ended.name}), and not "
                    "over a picture. What is done is complete; --batch-size 1 or --threads 1 may "
                    "help."
                )
                return ExitCode.UNUSABLE


class Told:
    """How many outcomes were printed, in a file that outlives the worker.

    The next worker meets them again, in the same order, and does not print them twice.
    """

    def __init__(self, descriptor: int) -> None:
        """The file is the supervisor's."""
        self._file = descriptor
        self._before = int(os.pread(descriptor, 20, 0) or b"0")
        self._count = 0

    def again(self) -> bool:
        """Whether the next outcome was printed before."""
        return self._count < self._before

    def done(self) -> None:
        """Take note of an outcome that is printed, or need not be."""
        self._count += 1
        if self._count > self._before:
            os.pwrite(self._file, b"%020d" % self._count, 0)


def serve() -> None:
    """Called by a worker: end when the process that started it does."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def crash_plainly() -> None:
    """Called by a worker once MXNet is there, which exits with 255 where others crash."""
    for number in _CRASHES:
        signal.signal(number, signal.SIG_DFL)


def _blame(output: Path, ended: signal.Signals) -> str | None:
    from cnnviz.manifest import blame

    return blame(output, ended)


def _ended(by: signal.Signals) -> int:
    if by == signal.SIGKILL:
        say(
            "Error: the run was killed, perhaps for want of memory. Finished pictures are "
            "complete, and the same command goes on from there; --batch-size 1 or a smaller "
            "--size take less."
        )
        return ExitCode.UNUSABLE
    return 128 + by


def _worker() -> str:
    """A program that looks for modules where this one does.

    ``-m cnnviz`` would look into the current folder first, which may hold anything.
    """
    return f"import sys; sys.path[:] = {sys.path!r}; from cnnviz.cli import main; main()"


def _run(arguments: Sequence[str], told: IO[bytes], stdin: IO[bytes] | None) -> int:
    """Run a worker; its exit status, or the signal that ended it, negative."""
    watched = {*_STOPS, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _worker(), *arguments],
            stdin=stdin,
            pass_fds=[told.fileno()],
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
        )
        while process.poll() is None:
            came = signal.sigwaitinfo(watched)
            if came.si_signo in _STOPS and came.si_code != _FROM_TERMINAL:
                process.send_signal(came.si_signo)
        return int(process.returncode)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
