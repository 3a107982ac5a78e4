"""Read tables of paths and labels: CSV and its relatives; JSON is read elsewhere."""

from __future__ import annotations

import csv
import re
from typing import NamedTuple

from cnnviz.errors import UsageError
from cnnviz.labels.classes import Classes
from cnnviz.labels.image_paths import ImagePaths
from cnnviz.labels.indicator_tables import find_indicators
from cnnviz.labels.table_text import csv_rows, delimiters, read_text, without_separator
from cnnviz.labels.truth_json import json_rows
from cnnviz.labels.truth_rows import LABEL_TITLES, PATH_TITLES, Row, Table
from cnnviz.storage.paths import AnyPath
from cnnviz.text import counted, folded

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl")


def read_table(
    path: AnyPath, shown: str, images: ImagePaths, known: Classes, *, several: bool
) -> Table:
    """The rows of a file, of one of :data:`TABLE_SUFFIXES`.

    Args:
        path: the file.
        shown: what it is called.
        images: those of the run: they tell a header and a delimiter from what is none.
        known: the network's classes: they tell columns of 0 and 1, one a class, from others.
        several: whether an image may have several labels, one in each column behind the path.

    Raises:
        UsageError: the file cannot be read or understood.
    """
    text, suffix = read_text(path, shown, "ground truth"), path.suffix.lower()
    if suffix in (".json", ".jsonl"):
        return Table(json_rows(text, shown, lines=suffix == ".jsonl"))
    table = _csv_table(text, images, shown, spaced=suffix == ".txt")
    columns = None if table.titled else find_indicators(table.rows, known, shown)
    return _as_rows(table, shown, several=several) if columns is None else columns


# --- CSV -----------------------------------------------------------------------------------------


class _Table(NamedTuple):
    """A CSV file's cells, with the number of the line that each row begins in."""

    rows: list[tuple[int, list[str]]]
    columns: tuple[int, int]  # of paths and of labels
    titled: bool
    confidence: int | None = None  # the column that says how sure a label is

    @classmethod
    def of(cls, text: str, delimiter: str, images: ImagePaths) -> _Table:
        """Raises csv.Error where a quote is out of place."""
        rows = csv_rows(text, delimiter)
        titles = [folded(cell) for cell in rows[0][1]] if rows else []
        paths = [titles.index(title) for title in PATH_TITLES if title in titles]
        labels = [titles.index(title) for title in LABEL_TITLES if title in titles]
        if paths and labels:
            sure = titles.index("confidence") if "confidence" in titles else None
            return cls(rows[1:], (paths[0], labels[0]), True, sure)
        # The other one of two columns can only be the label.
        if paths and len(titles) == 2 and not images.lookup(rows[0][1][paths[0]]):
            return cls(rows[1:], (paths[0], 1 - paths[0]), True)
        return cls(rows, (0, 1), False)

    @classmethod
    def by_spaces(cls, text: str) -> _Table:
        """Of lines that end with a label without spaces."""
        lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
        return cls(
            [(line, row.rsplit(None, 1)) for line, row in lines if row.strip()], (0, 1), False
        )

    def fitting(self, images: ImagePaths) -> tuple[int, int]:
        """How many rows name an image, and how many have a label."""
        path, label = self.columns
        complete = [cells for _, cells in self.rows if len(cells) > max(path, label)]
        return sum(bool(images.lookup(cells[path])) for cells in complete), len(complete)


def _csv_table(text: str, images: ImagePaths, shown: str, *, spaced: bool) -> _Table:
    """The cells, read with the delimiter under which most of them make sense."""
    text = without_separator(text)
    tables, problems = [], []
    for delimiter in delimiters(text):
        try:
            tables.append(_Table.of(text, delimiter, images))
        except csv.Error as error:
            problems.append(error)
    if not tables:
        raise UsageError(f"{shown} cannot be read as CSV: {problems[0]}.") from problems[0]
    table = tables[0]
    if spaced:
        tables.append(_Table.by_spaces(text))
    if len(tables) > 1:
        table = max(tables, key=lambda table: table.fitting(images))  # of equals the first
    return table


def _as_rows(table: _Table, shown: str, *, several: bool) -> Table:
    """The rows of a table with a column of paths and one of labels, or more of these."""
    path, label = table.columns
    rows = []
    for line, cells in table.rows:
        more = not table.titled and any(cell.strip() for cell in cells[2:])
        if (more and not several) or len(cells) <= max(path, label):
            raise UsageError(
                f"Line {line} of {shown} has {counted(len(cells), 'column')}; expected a path "
                "and a label, separated by comma, semicolon or tab, or a header with these names."
            )
        labels = [cell for cell in cells[1:] if cell.strip()] if more else [cells[label]]
        negative = table.confidence is not None and _is_low(cells[table.confidence :][:1])
        rows.append(Row(f"line {line}", cells[path], tuple(labels), more, is_negative=negative))
    return Table(rows, has_negatives=table.confidence is not None)


def _is_low(cells: list[str]) -> bool:
    """Whether a confidence says that the image does not belong to the class."""
    try:
        return float(cells[0]) < 0.5
    except (ValueError, IndexError):
        return False
