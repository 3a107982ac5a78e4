"""Output that commands share: lines, progress bar, Ctrl-C, remarks on threads and weights."""

from __future__ import annotations

import codecs
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cnnviz.errors import UsageError
from cnnviz.system import progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm

    from cnnviz.engines.network import Network
    from cnnviz.weights.info import WeightsInfo


def say(text: str) -> None:
    """Print a line on stderr."""
    # Left to itself, click would write UTF-8 to a terminal that has only ASCII.
    click.echo(text, file=sys.stderr)


def put(text: str) -> None:
    """Print a line, or several, on stdout."""
    click.echo(text, file=sys.stdout)


@dataclass(frozen=True)
class Printing:
    """What a command prints beside its errors: ``--json``, ``--verbose``, ``--quiet``."""

    as_json: bool = False
    verbose: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        """Refuse ``--json`` or ``--verbose`` with ``--quiet``."""
        if self.verbose and self.quiet:
            raise UsageError("--verbose prints more and --quiet nothing: choose one.")
        if self.as_json and self.quiet:
            raise UsageError("--json prints and --quiet does not: choose one.")

    @property
    def notify(self) -> Callable[[str], None] | None:
        """Receives sentences that are not errors; None with ``--quiet``."""
        return None if self.quiet else say


def json_line(record: Any, *, indent: int | None = None) -> str:
    """A record as one line of JSON, or indented; letters as they are, where JSON may have them.

    That is in UTF-8 only: elsewhere the text is ASCII, with ``\\uXXXX`` for what is not. Bytes of
    file names that are not UTF-8 are no JSON either: with such a name in it the text is ASCII, too,
    and they stand as ``\\udcXX``.
    """
    in_ascii = json.dumps(record, indent=indent)
    if codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8":
        return in_ascii
    text = json.dumps(record, ensure_ascii=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return in_ascii
    return text


def name_weights(weights: WeightsInfo | None) -> None:
    """Say which weights a network has."""
    if weights is not None:
        say(f"weights {weights.path} ({weights.source}), SHA-256 {weights.sha256}")


def name_engine(network: Network) -> None:
    """Say what runs a network, where, and why nothing else does."""
    from cnnviz.runs.run_records import EngineRecord

    why = f" ({network.reason})" if network.reason else ""
    say(f"engine {EngineRecord.of(network.engine)}{why}")


def doubt_threads(threads: int | None, *, quiet: bool) -> None:
    """Say if ``--threads`` asks for more than there are cores, or than can be started."""
    from cnnviz.cli.limits import few_threads
    from cnnviz.machine import available_cores

    if quiet:
        return
    if few_threads():
        say(
            "Few threads can be started here (`ulimit -u`, or a container's limit): continuing "
            "with one, more slowly."
        )
    elif threads is not None and threads > available_cores():
        say(
            f"--threads {threads} is more than the {available_cores()} cores that this process "
            "may use; this is slower, not faster."
        )


def progress(total: int, unit: str, *, hidden: bool) -> tqdm[Any]:
    """A bar on stderr that vanishes when it is full."""
    # One image needs no bar; disable=None hides it where stderr is no terminal.
    disable = True if hidden or total < 2 else None
    return progress_bar(total=total, unit=unit, leave=False, disable=disable)


@contextmanager
def told_progress(unit: str, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar for what tells how much is done and of how much, once it knows."""
    bars: list[tqdm[Any]] = []

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(progress(total, unit, hidden=hidden))
        bars[0].update(done - bars[0].n)

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()


class Interrupt:
    """Handles Ctrl-C after the current image, or at the end; a second one interrupts at once.

    Python raises KeyboardInterrupt wherever the program happens to be, and drops it if that is a
    destructor. Those of MXNet's arrays run all the time: one Ctrl-C in fifteen was lost.
    """

    def __enter__(self) -> Interrupt:
        self._asked = False
        self._before: Any = None
        # No other thread can set handlers; and the parent process may have had it ignore
        # Ctrl-C, which is for others then (a shell does so for `command &` in a script).
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        ):
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if kind is None:  # what comes after this is not begun
            self.heed()

    def _note(self, _number: int, _frame: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def heed(self) -> None:
        """Raise the KeyboardInterrupt that was noted, once."""
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt
