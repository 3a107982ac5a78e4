"""Read class names from the files in which people keep them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnnviz.errors import UsageError
from cnnviz.labels.classes import Labels
from cnnviz.labels.label_formats import Entry, LabelFormatError, parse_entries, parse_structured
from cnnviz.text import decode, printable

_LARGEST_FILE = 1 << 24  # bytes; a pipe is read as well, and a device may never end


def read_labels(path: Path) -> Labels:
    """Class names from a file.

    A text file has a name in each line, in class order. Where all lines begin or end with an index
    (``0: cat``, ``0,cat``, ``cat 0``) and these are 0 to K - 1, or 1 to K, they decide on the
    order; WordNet's numbers in front of all names (``n02123045 tabby``) are kept apart. JSON, YAML
    and what Python prints may be a list of names, or tell names by index or indices by name, also
    below ``id2label``, ``names``, ``classes`` and the like. CSV files have an index and a name in
    a row, or a name alone. Blank lines at the end do not count; a name may occur twice.

    Args:
        path: The file: UTF-8, or UTF-16 with a byte-order mark.

    Raises:
        UsageError: The file cannot be read, is not text, is empty, has a blank line between
            names, or leaves out an index or has one twice.
    """
    text = _read(path)
    try:
        return _in_order(parse_entries(text, path.suffix.lower()))
    except LabelFormatError as error:
        raise UsageError(f"{path} {error}") from error


def labels_of(content: Any) -> Labels:
    """Class names out of a list or mapping, as :func:`read_labels` finds it in a file.

    Raises:
        ValueError: there are none; the text says why.
    """
    try:
        return _in_order(parse_structured(content))
    except LabelFormatError as error:
        raise ValueError(str(error)) from error


def _read(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        text = decode(data[:_LARGEST_FILE])
    except OSError as error:
        raise UsageError(f"The class names in {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not a UTF-8 text file; expected one class name per line. Save it as UTF-8."
        ) from error
    if len(data) > _LARGEST_FILE:
        raise UsageError(
            f"{path} has more than {_LARGEST_FILE:,} bytes, too large for a list of names."
        )
    if "\0" in text:
        raise UsageError(f"{path} is not a text file; expected one class name per line.")
    return text


def _in_order(entries: Sequence[Entry]) -> Labels:
    """The names in the order of their indices, if they have any."""
    note = ""
    if any(entry.number is not None for entry in entries):
        by_index: dict[int, Entry] = {}
        for entry in entries:
            if entry.number is None:
                raise LabelFormatError(
                    f"has no index for '{printable(entry.name)}', although others have one."
                )
            other = by_index.setdefault(entry.number, entry)
            if other is not entry:
                raise LabelFormatError(
                    f"has the index {entry.number} twice, for '{printable(other.name)}' and "
                    f"'{printable(entry.name)}'; every class needs its own."
                )
        first = 0 if 0 in by_index or len(by_index) not in by_index else 1
        missing = next((i for i in range(first, first + len(by_index)) if i not in by_index), None)
        if missing is not None:
            raise LabelFormatError(
                f"has no class {missing}, though its indices go up to {max(by_index)}; "
                "expected a name for every index from 0."
            )
        if first:
            note = "The class names are numbered from 1; the first is the network's class 0."
        entries = [by_index[index] for index in sorted(by_index)]
    for entry in entries:
        if not entry.name.strip():
            raise LabelFormatError("has a class without a name.")
    ids = [entry.id for entry in entries]
    names = [printable(entry.name.strip()) for entry in entries]
    return Labels(names, ids if all(ids) else (), note)
