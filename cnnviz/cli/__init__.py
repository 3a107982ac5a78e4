"""The command line. The only room that parses options, prints, or decides on an exit status.

A command lives in a module of its own, as ``command``; it is imported when it is called or listed.
None of these modules imports MXNet, OpenCV or NumPy at its top, so that help, versions and usage
errors come at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import click

from cnnviz._version import __version__
from cnnviz.cli import advice, limits, streams
from cnnviz.cli.console import say
from cnnviz.cli.help import WIDTH
from cnnviz.errors import CnnvizError, ExitCode
from cnnviz.text import matching

COMMANDS = (
    "explain",
    "evaluate",
    "compare",
    "merge",
    "report",
    "about",
    "methods",
    "metrics",
    "layers",
    "summary",
    "filters",
    "activations",
    "maximize",
    "models",
    "download",
)


class _LazyGroup(click.Group):
    """Finds its commands by name in this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cnnviz.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, in whatever case."""
        found = matching(args[0], COMMANDS)
        if not found and not args[0].startswith("-"):
            ctx.fail(advice.for_command(args, COMMANDS))
        return super().resolve_command(ctx, [*found, *args[len(found) :]])


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
    epilog=(
        "Exit status: 0 all done; 1 some images failed, the others are written; 2 wrong usage; "
        "3 network, weights or device unusable; 4 a threshold is not met; 130 interrupted."
    ),
)
@click.version_option(__version__, prog_name="cnnviz")
def group() -> None:
    """Show where an image classifier looked.

    `cnnviz explain IMAGE` writes a Grad-CAM overlay, guided Grad-CAM and a saliency map for an
    image or a folder of them.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit status.

    To do something afterward, in a profiler, say, call :func:`run` instead.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    leave(partial(run, given, supervised=True))


def leave(call: Callable[[], int]) -> NoReturn:
    """Do what a process is for, and leave it with the exit status that is returned.

    Once a framework was used the process ends at once, without Python's and the framework's
    clearing up, which takes 0.3 s after VGG-16 in MXNet for what the system takes back anyway.
    """
    streams.steady()
    limits.make_do()
    if os.getpid() == 1:  # of a container, and so deaf to what it has no handler for
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    status = streams.settle(call())
    if {"mxnet", "torch"} & sys.modules.keys():
        logging.shutdown()
        os._exit(status)
    sys.exit(status)


def run(arguments: Sequence[str] | None = None, *, supervised: bool = False) -> int:
    """Run the command line; returns the exit status, prints errors on stderr.

    With ``supervised`` a command may do its work in a process of its own, see
    :mod:`cnnviz.runs.supervisor`.
    """

    def call() -> Any:
        # Without standalone mode, click leaves exit statuses and errors to us.
        return group.main(
            args=None if arguments is None else list(arguments),
            prog_name="cnnviz",
            standalone_mode=False,
            obj=supervised,
        )

    return exit_status(call)


def exit_status(call: Callable[[], Any]) -> int:
    """The exit status of what is called; errors are printed on stderr.

    Anything that is neither a :class:`~cnnviz.errors.CnnvizError` nor the environment's fault (see
    :mod:`cnnviz.cli.faults`) is a bug and passes through.
    """
    try:
        status = call()
    except click.ClickException as error:
        usage = advice.for_option(error) if isinstance(error, click.NoSuchOption) else error
        usage.show(sys.stderr)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        say("Interrupted; finished images are complete, and the same command resumes the run.")
        return ExitCode.INTERRUPTED
    except CnnvizError as error:
        say(f"Error: {error}")
        return error.exit_code
    except Exception as error:
        from cnnviz.cli.faults import environment_fault

        fault = environment_fault(error)
        if fault is None:
            raise
        say(f"Error: {fault}")
        return ExitCode.UNUSABLE
    return status if isinstance(status, int) else ExitCode.OK
