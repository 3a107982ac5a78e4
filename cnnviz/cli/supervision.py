"""A run in a process of its own, so that a crash in a library does not end it.

A segmentation fault in MXNet or OpenCV cannot be caught within the process. So ``cnnviz explain``
on more than one image starts the same command again as a worker, and waits. If the worker is
ended by a crash, another one goes on from the journal, one image at a time and noting beforehand
which, so that the next crash has a name: that image fails, and a usual worker does the others.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO

from cnnviz.cli.console import say
from cnnviz.cli.limits import is_tight
from cnnviz.errors import ExitCode, UsageError

WORKERS = ("usual", "careful")

#: Signals that a process sends itself, by a mistake in its code.
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
#: Signals by which a user stops a run.
_STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
#: Signals that the system sends at a limit.
_LIMITS = {signal.SIGKILL, signal.SIGXCPU}
_FROM_TERMINAL = 0x80  # SI_KERNEL: all processes at this terminal have got it
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_LONGEST_PATH = 1 << 16  # bytes; Linux has 4096


def worth_it(inputs: Sequence[str]) -> bool:
    """Whether a crash would cost more than one image, or is likely enough to need words."""
    return len(inputs) > 1 or inputs[0] == "-" or os.path.isdir(inputs[0]) or is_tight()


def supervise(arguments: Sequence[str], *, piped: bool, quiet: bool) -> int | None:
    """Have workers do a command until it is done.

    Args:
        arguments: the command line, without the program's name.
        piped: whether the command reads paths from standard input.
        quiet: whether to be silent about what is no error.

    Returns:
        The exit status; None if no worker could be started, and nothing is done yet.

    Raises:
        UsageError: standard input cannot be read.
    """
    with contextlib.ExitStack() as files:
        try:
            notes = [files.enter_context(_scratch()) for _ in Notes.KINDS]
        except OSError as error:
            _warn(error, quiet=quiet)
            return None
        seen = Notes([file.fileno() for file in notes])
        stdin = None
        if piped:  # a second worker has to read the same again
            stdin = files.enter_context(_scratch())
            try:
                shutil.copyfileobj(sys.stdin.buffer, stdin)
            except OSError as error:
                raise UsageError(f"Standard input cannot be read: {error.strerror}.") from error
        kind = "usual"
        started = False
        while True:
            if stdin is not None:
                stdin.seek(0)
            try:
                status = _run([*arguments, "--worker", kind, "--notes", str(seen)], notes, stdin)
            except OSError as error:
                if started:  # what crashed one process would crash this one
                    raise
                _warn(error, quiet=quiet)
                if stdin is not None:
                    os.dup2(stdin.fileno(), sys.stdin.fileno())
                return None
            started = True
            if status >= 0:
                return status
            ended = signal.Signals(-status)
            if ended not in _CRASHES:
                return _ended(ended)
            if kind == "usual":
                say(
                    f"One of the libraries that cnnviz uses crashed ({ended.name}); going on, one "
                    "image at a time, to find out which one it was."
                )
                kind = "careful"
            elif seen.blame(ended):
                kind = "usual"
            else:
                say(
                    f"Error: one of the libraries that cnnviz uses crashed ({ended.name}), and not "
                    "over an image. What is done is complete; --batch-size 1 or --threads 1 may "
                    "help."
                )
                return ExitCode.UNUSABLE


class Notes:
    """What workers and their supervisor know of a run, in files that outlive a worker.

    How many outcomes were printed: the next worker meets them again, in the same order, and does
    not print them twice. Which image is in hand, if the worker is a careful one. Which images
    were in hand when a worker crashed.
    """

    KINDS = ("printed", "in hand", "crashed")

    def __init__(self, descriptors: Sequence[int]) -> None:
        """The files are the supervisor's."""
        self._printed, self._in_hand, self._crashed = descriptors
        self._before = int(os.pread(self._printed, 20, 0) or b"0")
        self._count = 0

    @classmethod
    def parse(cls, text: str) -> Notes:
        """From what :meth:`__str__` gives."""
        return cls([int(number) for number in text.split(",")])

    def __str__(self) -> str:
        return f"{self._printed},{self._in_hand},{self._crashed}"

    def again(self) -> bool:
        """Whether the next outcome was printed before."""
        return self._count < self._before

    def printed(self) -> None:
        """Take note of an outcome that is printed, or need not be."""
        self._count += 1
        if self._count > self._before:
            os.pwrite(self._printed, b"%020d" % self._count, 0)

    def touch(self, path: str) -> None:
        """Take note of the image in hand; of none, if it is empty."""
        data = os.fsencode(path)
        os.ftruncate(self._in_hand, 0)
        os.pwrite(self._in_hand, data, 0)

    def blame(self, by: signal.Signals) -> bool:
        """Take note that the image in hand crashed; whether there was one."""
        path = os.pread(self._in_hand, _LONGEST_PATH, 0)
        if not path:
            return False
        self.touch("")
        line = json.dumps([os.fsdecode(path), int(by)]).encode("ascii") + b"\n"
        os.pwrite(self._crashed, line, os.fstat(self._crashed).st_size)
        return True

    def crashed(self) -> dict[str, int]:
        """The images that crashed, each with the signal's number."""
        data = os.pread(self._crashed, os.fstat(self._crashed).st_size, 0)
        return dict(json.loads(line) for line in data.splitlines())


def serve() -> None:
    """Called by a worker: end when the process that started it does."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def crash_plainly() -> None:
    """Called by a worker once MXNet is there, which exits with 255 where others crash."""
    for number in _CRASHES:
        signal.signal(number, signal.SIG_DFL)


def _warn(error: OSError, *, quiet: bool) -> None:
    if not quiet:
        say(
            f"No process can be started for the work ({error.strerror}): going on in this one, "
            "where a crash of a library ends the run."
        )


def _ended(by: signal.Signals) -> int:
    if by not in _LIMITS:
        return 128 + by
    if resource.getrlimit(resource.RLIMIT_CPU)[0] != resource.RLIM_INFINITY:
        told = "Error: the run was ended, perhaps at its limit of processor time (`ulimit -t`)."
        cure = ""
    else:
        told = "Error: the run was killed, perhaps for want of memory."
        cure = "; --batch-size 1 or a smaller --size take less"
    say(f"{told} Finished images are complete, and the same command goes on from there{cure}.")
    return ExitCode.UNUSABLE


def _scratch() -> IO[bytes]:
    """A file for this run only, in memory: there may be no folder that can be written to."""
    try:
        return open(os.memfd_create("cnnviz"), "w+b")
    except (AttributeError, OSError):  # an old system, or one in a sandbox
        return tempfile.TemporaryFile()


def _worker() -> str:
    """A program that looks for modules where this one does.

    ``-m cnnviz`` would look into the current folder first, which may hold anything.
    """
    return f"import sys; sys.path[:] = {sys.path!r}; from cnnviz.cli import main; main()"


def _run(arguments: Sequence[str], notes: Sequence[IO[bytes]], stdin: IO[bytes] | None) -> int:
    """Run a worker; its exit status, or the signal that ended it, negative."""
    watched = {*_STOPS, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    # Where it is ignored, as a process may inherit it, nobody is told of a child's end.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _worker(), *arguments],
            stdin=stdin,
            pass_fds=[file.fileno() for file in notes],
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
        )
        while process.poll() is None:
            came = signal.sigwaitinfo(watched)
            if came.si_signo in _STOPS and came.si_code != _FROM_TERMINAL:
                process.send_signal(came.si_signo)
        return int(process.returncode)
    finally:
        signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
