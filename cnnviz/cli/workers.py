"""Commands whose work is done in a process of its own, see :mod:`cnnviz.runs.supervisor`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NoReturn, Protocol, TypeVar

import click

from cnnviz.cli import exit_status, leave
from cnnviz.cli.console import Printing, say
from cnnviz.runs.supervisor import Supervisor, WorkerState, should_supervise


class _Request(Protocol):
    @property
    def inputs(self) -> tuple[str, ...]: ...


RequestT = TypeVar("RequestT", bound=_Request)
Work = Callable[[RequestT, Printing, WorkerState | None], int]
"""What is done, and what a worker knows of those before it; returns the exit status."""


def in_worker(work: Work[RequestT], request: RequestT, printing: Printing) -> int:
    """Do the work of a command in a worker process, if that is worth it; else in this one.

    Args:
        work: a function of a module.
        request: what is asked for.
        printing: what is printed.
    """
    if click.get_current_context().obj and should_supervise(request.inputs):
        supervisor = Supervisor(
            partial(_worker, work, request, printing),
            piped="-" in request.inputs,
            report=say,
            warn=printing.notify,
        )
        status = supervisor.run()
        if status is not None:
            return status
    return work(request, printing, None)


def _worker(
    work: Work[RequestT], request: RequestT, printing: Printing, state: WorkerState
) -> NoReturn:
    """What the process does."""
    leave(partial(exit_status, partial(work, request, printing, state)))
