"""Read files that say something of images, and split CSV into rows with their lines' numbers."""

from __future__ import annotations

import csv
import io
import re

from cnnviz.errors import UsageError
from cnnviz.storage.paths import AnyPath, read_whole
from cnnviz.text import decode

_DELIMITERS = ",;\t"
_LARGEST_FILE = 1 << 29  # bytes: COCO's own annotations have 450 million; a device never ends


def read_text(path: AnyPath, shown: str, subject: str) -> str:
    """A text; bytes that are no UTF-8, which names of files may hold, stay recognizable.

    Args:
        path: the file: UTF-8, or UTF-16 with a byte-order mark.
        shown: what it is called.
        subject: what it is of: ``ground truth``.

    Raises:
        UsageError: it cannot be read, is no text, or has more than 512 MiB.
    """
    try:
        data = read_whole(path, _LARGEST_FILE)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The {subject} in {shown} cannot be read: {reason}.") from error
    if len(data) > _LARGEST_FILE:
        raise UsageError(
            f"{shown} has more than {_LARGEST_FILE:,} bytes; keep only what is about the images."
        )
    try:
        text = decode(data, "surrogateescape")
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown} is not UTF-8 text; save it as UTF-8.") from error
    if "\0" in text:
        raise UsageError(f"{shown} is not UTF-8 text; save it as UTF-8.")
    return text


def without_separator(text: str) -> str:
    """The text of a CSV file without Excel's own first line, ``sep=;``."""
    separator = re.match(r"sep=(.)\s*(?=\n|$)", text)
    return text[separator.end() :] if separator else text


def delimiters(text: str) -> str:
    """What may stand between the columns of a CSV file: of the usual signs those that it has."""
    return "".join(sign for sign in _DELIMITERS if sign in text) or _DELIMITERS[0]


def csv_rows(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The cells of each row that is not blank, with the number of the line that it begins in.

    Raises:
        csv.Error: a quote is out of place.
    """
    file = io.StringIO(text, newline="")
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, line = [], 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            rows.append((line, cells))
        line = reader.line_num + 1
    return rows
