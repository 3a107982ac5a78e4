"""What can go wrong, in words for the person at the keyboard.

Every error that a user can cause or cure is a :class:`CnnvizError`. Its text is one sentence or
short paragraph: what is wrong, what was received, what to try. The command line prints that text
and exits with the error's exit code; anything that is *not* a ``CnnvizError`` is a bug and keeps
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
    NOT_MET = 4  #: a figure is not what a threshold demands; all files are written
    INTERRUPTED = 130  #: Ctrl-C; finished images are complete


class CnnvizError(Exception):
    """Base of all errors with a message meant for the user; never raised itself."""

    exit_code: ExitCode = ExitCode.SOME_FAILED


# What costs one item: the run goes on with the others.


class ItemError(CnnvizError):
    """One item of many cannot be read, explained or written; the others can."""


class ImageError(ItemError):
    """An image cannot be read, or an array holds none."""


class ExplanationError(ItemError):
    """An image cannot be explained: the network gave NaN or infinity, say."""


class MapError(ItemError):
    """A map cannot be shown: it is not finite, negative, or of a shape that does not fit."""


class OutputError(ItemError):
    """A file cannot be written where it should be: another one is in the way, say."""


# What ends the run.


class UsageError(CnnvizError):
    """The request itself is wrong: an unknown name, no input, an output that cannot be written."""

    exit_code = ExitCode.USAGE


class OutputUnavailableError(CnnvizError):
    """Nothing more can be written: the disk is full, or permission was withdrawn."""


class ToolMissingError(CnnvizError):
    """A program that does part of the work, Graphviz's ``dot``, is not installed."""


class FailFastError(CnnvizError):
    """An item failed, and the run was asked to stop at the first that does."""


class NetworkError(CnnvizError):
    """The network cannot be built, traced or explained."""

    exit_code = ExitCode.UNUSABLE


class WeightsError(CnnvizError):
    """Weights cannot be found, downloaded, read, or do not fit the network."""

    exit_code = ExitCode.UNUSABLE


class DeviceError(CnnvizError):
    """The requested device does not exist, or the engine cannot use it."""

    exit_code = ExitCode.UNUSABLE


#: Other names for keywords: what the command's options, or other libraries, call them.
OTHER_NAMES = {
    **{"ctx": "device", "images": "inputs", "topk": "target"},
    **{"crop_pct": "crop_fraction", "interpolation_mode": "interpolation"},
}


#: An option, with what it stands for (FILE), or with one of the words that it takes.
_OPTION = re.compile(
    r"(?<![^\s`'(])--([a-z][a-z-]*[a-z])"
    r"(?: ([A-Z]{2,}|cpu|mxnet|torch|stretch|crop|standard|guided|softmax|sigmoid|none|demo)\b)?"
)


@contextmanager
def in_keywords() -> Iterator[None]:
    """Have errors speak of keywords where they speak of the command's options: from Python."""
    try:
        yield
    except CnnvizError as error:
        text = _OPTION.sub(_keyword, str(error))
        if text == str(error):
            raise
        raise type(error)(text) from None  # where it was raised is of no help


def _keyword(option: re.Match[str]) -> str:
    """``weights=FILE`` for ``--weights FILE``, ``resize='crop'`` for ``--resize crop``."""
    name = OTHER_NAMES.get(option[1], option[1].replace("-", "_"))
    if option[2] is None:
        return name
    return f"{name}={option[2] if option[2].isupper() else repr(option[2])}"
