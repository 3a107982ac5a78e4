"""What commands have in common when they talk: stderr, a progress bar, Ctrl-C, threads, weights."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from cnnviz.errors import UsageError

if TYPE_CHECKING:
    from tqdm import tqdm

    from cnnviz.models.catalog import WeightsInfo


def say(text: str) -> None:
    """Print a line on stderr."""
    click.echo(text, err=True)


def check_talk(*, as_json: bool, quiet: bool) -> None:
    """Refuse ``--json`` with ``--quiet``.

    Raises:
        UsageError: both are given.
    """
    if as_json and quiet:
        raise UsageError("--json prints and --quiet does not: choose one.")


def json_line(record: Any) -> str:
    """A record as one line of JSON, letters as they are.

    Bytes of file names that are not UTF-8 are no JSON: with such a name in it the line is ASCII,
    where they stand as ``\\udcXX``.
    """
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(record)
    return line


def name_weights(weights: WeightsInfo | None) -> None:
    """Say which weights a network has."""
    if weights is not None:
        say(f"weights {weights.path} ({weights.source}), SHA-256 {weights.sha256}")


def use_threads(threads: int | None, *, quiet: bool) -> None:
    """Follow ``--threads``; to be called before MXNet is imported."""
    from cnnviz.network.runtime import available_cores, set_threads

    if threads is None:
        return
    set_threads(threads)
    if threads > available_cores() and not quiet:
        say(
            f"--threads {threads} is more than the {available_cores()} cores that this process "
            "may use: expect it to be slower, not faster."
        )


def progress(total: int, unit: str, *, hidden: bool) -> tqdm[Any]:
    """A bar on stderr that vanishes when it is full."""
    from tqdm import tqdm

    # One picture needs no bar; disable=None hides it where stderr is no terminal.
    return tqdm(total=total, unit=unit, leave=False, disable=True if hidden or total < 2 else None)


class Interrupt:
    """Takes note of Ctrl-C, which is heeded after the picture in hand; a second one is at once.

    Python raises KeyboardInterrupt wherever the program happens to be, and drops it if that is a
    destructor. Those of MXNet's arrays run all the time: one Ctrl-C in fifteen was lost.
    """

    def __enter__(self) -> Interrupt:
        self._asked = False
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():  # no other can set handlers
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def heed(self) -> None:
        """Raise the KeyboardInterrupt that was noted, once."""
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt
