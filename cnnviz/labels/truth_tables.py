"""Read tables of paths and labels: CSV and its relatives, and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from cnnviz.errors import UsageError
from cnnviz.labels.image_paths import ImagePaths
from cnnviz.text import counted, decode, folded

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl")
_DELIMITERS = ",;\t"
#: As :func:`cnnviz.text.folded` has them.
_PATH_TITLES = (
    *("path", "file", "filename", "file name", "filepath", "file path", "image", "image path"),
    *("imagepath", "image file", "image name", "imagename", "img", "img path", "picture", "photo"),
)
_LABEL_TITLES = (
    *("label", "class", "truth", "target", "y", "category", "ground truth", "true label"),
    *("true class", "class name", "classname", "label name", "class id", "class index"),
    *("label id", "y true", "gt"),
)


class Row(NamedTuple):
    """What a file says of one image; without a label nothing."""

    where: str  # "line 3"
    path: str
    label: str


def read_rows(path: Path, shown: str, images: ImagePaths) -> list[Row]:
    """The rows of a file, of one of :data:`TABLE_SUFFIXES`.

    Args:
        path: the file.
        shown: what it is called.
        images: those of the run: they tell a header and a delimiter from what is none.

    Raises:
        UsageError: the file cannot be read or understood.
    """
    text, suffix = _read(path, shown), path.suffix.lower()
    if suffix in (".json", ".jsonl"):
        return _json_rows(text, shown, lines=suffix == ".jsonl")
    return _csv_rows(text, shown, images, spaced=suffix == ".txt")


def _read(path: Path, shown: str) -> str:
    """A text; bytes that are no UTF-8, which names of files may hold, stay recognizable."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The ground truth in {shown} cannot be read: {reason}.") from error
    try:
        text = decode(data, "surrogateescape")
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown} is not UTF-8 text; save it as UTF-8.") from error
    if "\0" in text:
        raise UsageError(f"{shown} is not UTF-8 text; save it as UTF-8.")
    return text


# --- CSV -----------------------------------------------------------------------------------------


class _Table(NamedTuple):
    """A CSV file's cells, with the number of the line that each row begins in."""

    rows: list[tuple[int, list[str]]]
    columns: tuple[int, int]  # of paths and of labels
    titled: bool

    @classmethod
    def of(cls, text: str, delimiter: str, images: ImagePaths) -> _Table:
        """Raises csv.Error where a quote is out of place."""
        file = io.StringIO(text, newline="")
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
        rows, line = [], 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((line, cells))
            line = reader.line_num + 1
        titles = [folded(cell) for cell in rows[0][1]] if rows else []
        paths = [titles.index(title) for title in _PATH_TITLES if title in titles]
        labels = [titles.index(title) for title in _LABEL_TITLES if title in titles]
        if paths and labels:
            return cls(rows[1:], (paths[0], labels[0]), True)
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


def _csv_rows(text: str, shown: str, images: ImagePaths, *, spaced: bool) -> list[Row]:
    """The rows, read with the delimiter under which most of them make sense."""
    separator = re.match(r"sep=(.)\s*(?=\n|$)", text)  # Excel's own line
    if separator:
        text = text[separator.end() :]
    tables, problems = [], []
    for delimiter in [sign for sign in _DELIMITERS if sign in text] or _DELIMITERS[:1]:
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
    path, label = table.columns
    rows = []
    for line, cells in table.rows:
        more = not table.titled and any(cell.strip() for cell in cells[2:])
        if more or len(cells) <= max(path, label):
            raise UsageError(
                f"Line {line} of {shown} has {counted(len(cells), 'column')}; expected a path "
                "and a label, separated by comma, semicolon or tab, or a header with these names."
            )
        rows.append(Row(f"line {line}", cells[path], cells[label]))
    return rows


# --- JSON ----------------------------------------------------------------------------------------


class _Object(list[tuple[str, Any]]):
    """A JSON object with all its pairs, for a name may stand in it twice."""


def _json_rows(text: str, shown: str, *, lines: bool) -> list[Row]:
    if lines:
        text = f"[{','.join(line for line in text.splitlines() if line.strip())}]"
    try:
        content = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{shown} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond all measure
        raise UsageError(f"{shown} cannot be read as JSON: {error}.") from error
    if not isinstance(content, list):
        raise _unknown_form(shown)
    rows = []
    for number, entry in enumerate(content, 1):
        pair = entry
        if not isinstance(content, _Object):
            pair = _fields(entry)
        path, label = pair
        if not isinstance(path, str) or not _is_label(label):
            raise _unknown_form(shown, f"entry {number}")
        rows.append(Row(f"entry {number}", path, "" if label is None else str(label)))
    return rows


def _fields(entry: object) -> tuple[Any, Any]:
    """An object's path and label; no path if it has not got both."""
    if not isinstance(entry, _Object):
        return None, None
    by_key = {folded(key): value for key, value in entry}
    paths = [by_key[title] for title in _PATH_TITLES if title in by_key]
    labels = [by_key[title] for title in _LABEL_TITLES if title in by_key]
    return (paths[0], labels[0]) if paths and labels else (None, None)


def _is_label(value: object) -> bool:
    if isinstance(value, float):  # 4.0, or NaN
        return value != value or value.is_integer()
    return value is None or (isinstance(value, (str, int)) and not isinstance(value, bool))


def _unknown_form(shown: str, where: str = "it") -> UsageError:
    return UsageError(
        f'{shown} is not a table of labels: expected {{"path": "label", ...}} or '
        f'[{{"path": ..., "label": ...}}, ...], a label being a name or an index, but {where} is '
        "something else."
    )
