"""Standard streams that cannot end a run, whether closed, full or with a limited encoding.

A run's results are files; what it prints only reports them. So a line that cannot be printed is
dropped, the remaining images are still explained, and the exit status says that output was lost.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, TextIO

from cnnviz.errors import ExitCode

_STDIN, _STDOUT, _STDERR = range(3)


class _Outlet(io.FileIO):
    """The file behind a standard stream. What it does not take is dropped.

    Attributes:
        problem: the first reason for that.
    """

    problem: OSError | None = None

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: Any) -> int:
        """Write what can be written; from the first failure on, nothing."""
        if self.problem is None:
            try:
                # None: another process that shares the terminal or pipe made it non-blocking.
                while (count := super().write(data)) is None:
                    select.select([], [self], [])
                return count
            except OSError as error:
                self.problem = error
        return memoryview(data).nbytes


def steady() -> None:
    """Replace this process's standard streams by ones to which no print() can fail."""
    for descriptor in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file opened, an image say, would be taken for it
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(_STDIN, closefd=False)  # noqa: SIM115 - as long as the process lives
    sys.stdout = _steadied(sys.stdout, _STDOUT)
    sys.stderr = _steadied(sys.stderr, _STDERR)


def _steadied(stream: TextIO | None, descriptor: int) -> TextIO:
    """A stream for a standard stream that is closed, or has only the letters of its encoding."""
    encoding, errors, by_line = "utf-8", "backslashreplace", False
    if stream is not None:
        stream.flush()
        encoding, by_line = stream.encoding, getattr(stream, "line_buffering", False)
        if stream.errors not in ("strict", "surrogateescape"):  # somebody has chosen otherwise
            errors = stream.errors or errors
    outlet = io.BufferedWriter(_Outlet(descriptor))
    return io.TextIOWrapper(outlet, encoding, errors, line_buffering=by_line)


def settle(status: int) -> int:
    """Bring out what was printed; the exit status, which tells if some of it is lost.

    A reader who has gone (``| head``), and a stream that was closed from the beginning, did not
    want more: nothing is lost then.
    """
    problem = _flushed(sys.stdout)
    if problem is not None and not isinstance(problem, BrokenPipeError):
        print(
            f"Error: standard output cannot be written to ({problem.strerror}), so lines are "
            "missing there. Files of the run are not affected.",
            file=sys.stderr,
        )
        status = status or ExitCode.SOME_FAILED
    _flushed(sys.stderr)
    return status


def _flushed(stream: TextIO) -> OSError | None:
    """Bring out what is in a stream; why something could not be."""
    stream.flush()
    outlet = getattr(getattr(stream, "buffer", None), "raw", None)
    return outlet.problem if isinstance(outlet, _Outlet) else None
