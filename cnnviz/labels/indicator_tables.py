"""Tables with a column of 0 and 1 for each class, as CheXpert and others have them."""

from __future__ import annotations

from collections.abc import Sequence

from cnnviz.errors import UsageError
from cnnviz.labels.classes import Classes
from cnnviz.labels.label_sets import LabelSet
from cnnviz.labels.truth_rows import LABEL_TITLES, PATH_TITLES, Row, Table
from cnnviz.text import counted, folded, listed, printable

_SHOWN = 3
#: What stands in such a column, as :func:`cnnviz.text.folded` has it; -1 is uncertain.
_YES = ("1", "1.0", "true", "yes")
_NO = ("", "0", "0.0", "false", "no", "nan")
_UNKNOWN = ("-1", "-1.0", "?")


def find_indicators(
    rows: Sequence[tuple[int, list[str]]], known: Classes, shown: str
) -> Table | None:
    """A table whose first row has titles: that of the images, and names or indices of classes.

    In the columns 1 says that an image belongs to the class, 0 or nothing that it does not, and -1
    that this is not known; nor is it of classes without a column.

    Args:
        rows: each with the number of its line, and its cells.
        known: the network's classes.
        shown: what the file is called.

    Returns:
        None if it is no such table.

    Raises:
        UsageError: there are two columns for a class, or something else in them.
    """
    if not rows:
        return None
    titles = rows[0][1]
    names = [folded(title) for title in titles]
    paths = [names.index(title) for title in PATH_TITLES if title in names]
    if not paths or any(title in names for title in LABEL_TITLES):
        return None
    columns: dict[int, int] = {}  # by class
    for place, title in enumerate(titles):
        index = None if place == paths[0] else _class_of(title, known)
        if index is None:
            continue
        if index in columns:
            raise UsageError(
                f"{shown} has two columns for one class, '{printable(titles[columns[index]])}' and "
                f"'{printable(title)}'; keep one."
            )
        columns[index] = place
    if not columns:
        return None
    missing = tuple(index for index in range(known.count) if index not in columns)
    return Table(
        [
            _row(line, cells, titles, (paths[0], columns, missing), shown)
            for line, cells in rows[1:]
        ],
        tuple(_notes(titles, {paths[0], *columns.values()}, missing, known, shown)),
    )


def _class_of(title: str, known: Classes) -> int | None:
    """The class that a column is about."""
    found = known.lookup(title)
    number = title.strip()
    if not found and not known.labels and number.isdecimal() and len(number) < 10:
        found = [int(number)] if int(number) < known.count else []
    return found[0] if len(found) == 1 else None


def _row(
    line: int,
    cells: Sequence[str],
    titles: Sequence[str],
    layout: tuple[int, dict[int, int], tuple[int, ...]],
    shown: str,
) -> Row:
    """What a row says; ``layout`` is the column of paths, those of classes, classes without."""
    path, columns, missing = layout
    positive, unknown = [], list(missing)
    for index, place in columns.items():
        cell = cells[place].strip().lower() if place < len(cells) else ""
        if cell in _YES:
            positive.append(index)
        elif cell in _UNKNOWN:
            unknown.append(index)
        elif cell not in _NO:
            raise UsageError(
                f"Line {line} of {shown} has '{printable(cell[:40])}' in the column "
                f"'{printable(titles[place])}', where 1, 0 or -1 (not known) is expected."
            )
    labels = LabelSet(tuple(sorted(positive)), tuple(sorted(unknown)))
    return Row(f"line {line}", cells[path] if path < len(cells) else "", (), indicators=labels)


def _notes(
    titles: Sequence[str],
    used: set[int],
    missing: Sequence[int],
    known: Classes,
    shown: str,
) -> list[str]:
    others = [title for place, title in enumerate(titles) if place not in used and title.strip()]
    notes = []
    if others:
        named = listed((f"'{printable(title)}'" for title in others), _SHOWN)
        notes.append(
            f"{counted(len(others), 'column')} of {shown} {'is' if len(others) == 1 else 'are'} "
            f"called like no class, and not used: {named}."
        )
    if missing:
        few = known.listed(missing, _SHOWN) if known.labels else listed(map(str, missing), _SHOWN)
        have = "class has" if len(missing) == 1 else "classes have"
        notes.append(
            f"{len(missing)} {have} no column in {shown}, so that nothing is known of them: {few}."
        )
    return notes
