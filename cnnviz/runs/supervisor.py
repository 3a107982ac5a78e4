"""A run in a process of its own, so that a crash in a library does not end it.

A segmentation fault in MXNet or OpenCV cannot be caught within the process, nor can a library be
kept from calling ``exit``. So a run of more than one image is handed to a worker, as a task that
can be pickled, and the supervisor waits. If the worker is ended by a crash, or before its task is
over, another one goes on from the journal. That one is isolating: it does one image at a time and
notes beforehand which, so that the next crash has a name. Then that image fails, and a worker of
the default kind does the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Literal

from cnnviz import system
from cnnviz.errors import ExitCode, UsageError
from cnnviz.images.names import is_archive
from cnnviz.machine import is_limited
from cnnviz.text import is_url

Kind = Literal["default", "isolating"]

#: Signals that a process sends itself, by a mistake in its code.
_CRASHES = system.signals("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT")
#: Signals that the system sends at a limit.
_LIMITS = system.signals("SIGKILL", "SIGXCPU")
_LONGEST_PATH = 1 << 16  # bytes; Linux has 4096


def should_supervise(inputs: Sequence[str]) -> bool:
    """Whether a crash would cost more than one image, or is likely enough to need words.

    Where a process cannot be given open files, on Windows, there are no workers.
    """
    if not system.can_have_workers():
        return False
    one = inputs[0]
    several = len(inputs) > 1 or one == "-" or os.path.isdir(one)
    return several or is_archive(one) or is_url(one) or is_limited()


class WorkerState:
    """What workers and their supervisor know of a run, in files that outlive a worker.

    How many outcomes were reported: the next worker meets them again, in the same order, and does
    not report them twice. Which image is in hand, if the worker is an isolating one. Which images
    were in hand when a worker crashed. Whether the worker's task is over.

    Attributes:
        kind: of the worker.
    """

    FILES = 4

    def __init__(self, descriptors: Sequence[int], kind: Kind = "default") -> None:
        """The files are the supervisor's."""
        self.kind = kind
        self._reported, self._in_hand, self._crashed, self._over = descriptors
        self._reported_before = int(os.pread(self._reported, 20, 0) or b"0")
        self._count = 0

    @property
    def isolating(self) -> bool:
        """Whether it does one image at a time."""
        return self.kind == "isolating"

    @property
    def continues(self) -> bool:
        """Whether another worker crashed before this one."""
        return self.isolating or bool(self.crashes())

    def already_reported(self) -> bool:
        """Whether a worker before this one has reported the next outcome."""
        return self._count < self._reported_before

    def record_report(self) -> None:
        """Take note of an outcome that is reported, or need not be."""
        self._count += 1
        if self._count > self._reported_before:
            os.pwrite(self._reported, b"%020d" % self._count, 0)

    def start(self, path: str) -> None:
        """Take note of the image that is in hand from now on."""
        data = os.fsencode(path)
        os.ftruncate(self._in_hand, 0)
        os.pwrite(self._in_hand, data, 0)

    def finish(self) -> None:
        """Take note that no image is in hand."""
        os.ftruncate(self._in_hand, 0)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Take note that the task is over, however it ends but by the end of the process."""
        os.ftruncate(self._over, 0)
        try:
            yield
        finally:
            os.pwrite(self._over, b"1", 0)

    @property
    def is_over(self) -> bool:
        """Whether the task is, so that the exit status is its own."""
        return os.fstat(self._over).st_size > 0

    def record_crash(self, how: str) -> bool:
        """Take note that the image in hand crashed, and of how; whether there was one."""
        path = os.pread(self._in_hand, _LONGEST_PATH, 0)
        if not path:
            return False
        self.finish()
        line = json.dumps([os.fsdecode(path), how]).encode("ascii") + b"\n"
        os.pwrite(self._crashed, line, os.fstat(self._crashed).st_size)
        return True

    def crashes(self) -> dict[str, str]:
        """The images that crashed, each with how: ``signal 11``; empty where nobody knows."""
        data = os.pread(self._crashed, os.fstat(self._crashed).st_size, 0)
        return dict(json.loads(line) for line in data.splitlines())


Task = Callable[[WorkerState], int]
"""What a worker does, and can be pickled; it returns the exit status.

One that ends the process itself does its work within :meth:`WorkerState.working`.
"""


@dataclass(frozen=True)
class Supervisor:
    """Has workers do a task until it is done.

    Attributes:
        task: what they do.
        piped: whether it reads paths from standard input.
        report: called with a sentence on what happened to a worker, and what follows from it.
        warn: called with a sentence if there can be none; None if nobody wants to know.
    """

    task: Task
    piped: bool
    report: Callable[[str], None]
    warn: Callable[[str], None] | None

    def run(self) -> int | None:
        """Do it.

        Returns:
            The exit status; None if no worker could be started, and nothing is done yet.

        Raises:
            UsageError: standard input cannot be read.
        """
        with contextlib.ExitStack() as files:
            try:
                request, *notes = (
                    files.enter_context(system.scratch_file()) for _ in range(1 + WorkerState.FILES)
                )
            except OSError as error:
                self._warn(error)
                return None
            request.write(pickle.dumps(self.task))
            request.flush()
            stdin = files.enter_context(copy_of_stdin()) if self.piped else None
            return self._run(request, notes, stdin)

    def _run(
        self, request: IO[bytes], notes: Sequence[IO[bytes]], stdin: IO[bytes] | None
    ) -> int | None:
        state = WorkerState([file.fileno() for file in notes])
        kind: Kind = "default"
        started = False
        while True:
            if stdin is not None:
                stdin.seek(0)
            try:
                status = _run_worker(kind, [request, *notes], stdin)
            except OSError as error:
                if started:  # what crashed one process would crash this one
                    raise
                self._warn(error)
                if stdin is not None:
                    os.dup2(stdin.fileno(), sys.stdin.fileno())
                return None
            started = True
            if status >= 0 and state.is_over:
                return status
            if status < 0 and signal.Signals(-status) not in _CRASHES:
                return self._ended(signal.Signals(-status))
            what, how = _crash(status)
            if kind == "default":
                self.report(
                    f"One of the libraries that cnnviz uses {what}; going on, one image at a time, "
                    "to find out which one it was."
                )
                kind = "isolating"
            elif state.record_crash(how):
                kind = "default"
            else:
                self.report(
                    f"Error: one of the libraries that cnnviz uses {what}, and not over an image. "
                    "What is done is complete; --batch-size 1 or --threads 1 may help."
                )
                return ExitCode.UNUSABLE

    def _warn(self, error: OSError) -> None:
        if self.warn is not None:
            self.warn(
                f"No process can be started for the work ({error.strerror}): going on in this one, "
                "where a crash of a library ends the run."
            )

    def _ended(self, by: signal.Signals) -> int:
        """The exit status of a worker that somebody else ended."""
        if by not in _LIMITS:
            return 128 + by
        if system.limit("RLIMIT_CPU") is not None:
            end = "Error: the run was ended, probably at its limit of CPU time (`ulimit -t`)."
            cure = ""
        else:
            end = "Error: the run was killed, probably because memory ran out."
            cure = "; --batch-size 1 or a smaller --size needs less"
        self.report(
            f"{end} Finished images are complete, and the same command resumes the run{cure}."
        )
        return ExitCode.UNUSABLE


def _crash(status: int) -> tuple[str, str]:
    """What a library did to a worker, in a clause and in short: its status, or minus a signal."""
    if status < 0:
        return f"crashed ({signal.Signals(-status).name})", f"signal {-status}"
    ended = f"ended the process with exit status {status}"
    return ended, ended


def copy_of_stdin() -> IO[bytes]:
    """Standard input in a file: a second worker has to read the same again.

    Raises:
        UsageError: it cannot be read.
    """
    copy = system.scratch_file()
    try:
        shutil.copyfileobj(sys.stdin.buffer, copy)
    except OSError as error:
        copy.close()
        raise UsageError(f"Standard input cannot be read: {error.strerror}.") from error
    return copy


def reset_signal_handlers() -> None:
    """Called by a worker once MXNet is there, which exits with 255 where others crash."""
    for number in _CRASHES:
        signal.signal(number, signal.SIG_DFL)


def work(kind: Kind, descriptors: Sequence[int]) -> int:
    """What a worker process does: the task that its supervisor has pickled; the exit status."""
    lifeline, request, *notes = descriptors
    system.end_with_parent(lifeline)
    state = WorkerState(notes, kind)
    with state.working():
        task: Task = pickle.loads(os.pread(request, os.fstat(request).st_size, 0))
        try:
            system.let_interrupts_through()
            return task(state)
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED


def _program(kind: Kind, descriptors: Sequence[int]) -> str:
    """A program that looks for modules where this one does.

    ``-m cnnviz`` would look into the current folder first, which may hold anything.
    """
    return (
        f"import sys; sys.path[:] = {sys.path!r}; from cnnviz.runs.supervisor import work; "
        f"sys.exit(work({kind!r}, {list(descriptors)!r}))"
    )


def _run_worker(kind: Kind, files: Sequence[IO[bytes]], stdin: IO[bytes] | None) -> int:
    """Run a worker; its exit status, or the signal that ended it, negative."""
    lifeline, kept_open = os.pipe()
    descriptors = [lifeline, *(file.fileno() for file in files)]

    def start(begin: Callable[[], None] | None) -> subprocess.Popen[bytes]:
        def prepare() -> None:
            if begin is not None:
                begin()
            system.hold_back_interrupts()

        return subprocess.Popen(
            [sys.executable, "-c", _program(kind, descriptors)],
            stdin=stdin,
            pass_fds=descriptors,
            preexec_fn=prepare,
        )

    try:
        return system.run_child(start)
    finally:
        os.close(lifeline)
        os.close(kept_open)
