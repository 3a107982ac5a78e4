"""Commands whose work is done in a process of its own, see :mod:`cnnviz.runs.supervisor`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NoReturn, Protocol, TypeVar

import click

from cnnviz.cli import exit_status, leave
from cnnviz.cli.console import Printing, doubt_threads, say
from cnnviz.runs.request import RunRequest
from cnnviz.runs.supervisor import Supervisor, WorkerState, reset_signal_handlers, should_supervise
from cnnviz.types import Notify


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

    def call() -> int:
        with state.working():
            return exit_status(partial(work, request, printing, state))

    leave(call)


SessionT = TypeVar("SessionT", covariant=True)
RunRequestT = TypeVar("RunRequestT", bound=RunRequest)


class _Plan(Protocol[SessionT]):
    def open(self, worker: WorkerState | None = None, *, progress: bool = True) -> SessionT: ...


def opened(
    check: Callable[[RunRequestT, Notify | None], _Plan[SessionT]],
    request: RunRequestT,
    printing: Printing,
    worker: WorkerState | None,
) -> SessionT:
    """A run whose network is loaded.

    Mistakes are reported before anything slow is done: the cheapest checks first, weights last.

    Args:
        check: makes a plan of the request.
        request: what is asked for.
        printing: what is printed.
        worker: what this process knows of those before it, if it is a worker.

    Raises:
        CnnvizError: something is wrong with the request, or the network cannot be used.
    """
    from cnnviz.machine import keep_freed_memory

    if worker is not None and worker.continues:
        request = request.continued()
    plan = check(request, printing.notify)
    doubt_threads(request.model.threads, quiet=printing.quiet)
    keep_freed_memory()
    session = plan.open(worker, progress=not printing.quiet)
    if worker is not None:
        reset_signal_handlers()
    return session
