"""What can go wrong, in words for the person at the keyboard.

Every error that a user can cause or cure is a :class:`CnnvizError`. Its text is one sentence or
short paragraph: what is wrong, what was received, what to try. The command line prints that text
and leaves with the error's exit code; anything that is *not* a ``CnnvizError`` is a bug and keeps
its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit statuses of the ``cnnviz`` command."""

    OK = 0  #: all done
    SOME_FAILED = 1  #: some images failed, each named with its reason; the rest are written
    USAGE = 2  #: wrong usage: no such option, layer, model, input, or an output not writable
    UNUSABLE = 3  #: network, weights or device cannot be used
    INTERRUPTED = 130  #: Ctrl-C; finished images are complete


class CnnvizError(Exception):
    """Base of all errors with a message meant for the user."""

    exit_code: ExitCode = ExitCode.SOME_FAILED


class UsageError(CnnvizError):
    """The request itself is wrong: an unknown name, no input, an output that cannot be written."""

    exit_code = ExitCode.USAGE


class ImageError(CnnvizError):
    """One image cannot be read, explained or written; the run goes on without it."""

    exit_code = ExitCode.SOME_FAILED


class NetworkError(CnnvizError):
    """The network cannot be built, traced or explained."""

    exit_code = ExitCode.UNUSABLE


class WeightsError(CnnvizError):
    """Weights cannot be found, downloaded, read, or do not fit the network."""

    exit_code = ExitCode.UNUSABLE


class DeviceError(CnnvizError):
    """The device asked for is not there, or this build of MXNet cannot use it."""

    exit_code = ExitCode.UNUSABLE


#: Other names for keywords: what the command's options, or other libraries, call them.
OTHER_NAMES = {"device": "ctx", "images": "inputs", "topk": "target"}


@contextmanager
def in_keywords() -> Iterator[None]:
    """Have errors speak of keywords where they speak of the command's options: from Python."""
    try:
        yield
    except CnnvizError as error:
        text = re.sub(
            r"(?<![^\s`'(])--([a-z][a-z-]*[a-z])",
            lambda found: OTHER_NAMES.get(found[1], found[1].replace("-", "_")),
            str(error),
        )
        if text == str(error):
            raise
        raise type(error)(text) from error
