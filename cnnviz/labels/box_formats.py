"""Read boxes around objects: CSV with a header, and annotations in COCO's format."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnnviz.errors import UsageError
from cnnviz.labels.table_text import csv_rows, delimiters, read_text, without_separator
from cnnviz.labels.truth_json import JsonObject, load_json
from cnnviz.labels.truth_rows import LABEL_TITLES, PATH_TITLES
from cnnviz.storage.paths import AnyPath
from cnnviz.text import counted, folded, joined, printable

BOX_SUFFIXES = (".csv", ".tsv", ".txt", ".json")
#: What the columns of left, top, right and bottom are called; the first set that is whole counts.
_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x min", "y min", "x max", "y max"),
    ("left", "top", "right", "bottom"),
    ("x1", "y1", "x2", "y2"),
)
_WORDS = {
    **dict.fromkeys(("", "0", "0.0", "false", "no"), False),
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
}
_FORM = "a header with path, label, x0, y0, x1 and y1, separated by comma, semicolon or tab"

Corners = tuple[float, float, float, float]


class BoxRow(NamedTuple):
    """What a file says of one object, or of an image without one.

    Attributes:
        where: ``line 3``.
        path: of the image.
        label: as it stands there; None in a file without labels.
        corners: left, top, right, bottom in pixels of the image, as edges: pixel i covers i to
            i + 1. None for an image without objects.
        is_difficult: whether it is marked as difficult, or as a crowd.
        size: (H, W) of the image, where the file says it.
    """

    where: str
    path: str
    label: str | None
    corners: Corners | None
    is_difficult: bool = False
    size: tuple[int, int] | None = None


class BoxTable(NamedTuple):
    """What a file says of objects: rows, whether they have labels, and how it was read."""

    rows: list[BoxRow]
    is_labeled: bool
    notes: tuple[str, ...] = ()


def read_box_table(path: AnyPath, shown: str) -> BoxTable:
    """The rows of a file, of one of :data:`BOX_SUFFIXES`.

    Raises:
        UsageError: it cannot be read or understood; the text says where and what was expected.
    """
    suffix = path.suffix.lower()
    if suffix not in BOX_SUFFIXES:
        raise UsageError(f"Boxes come from a {joined(BOX_SUFFIXES)} file; got '{shown}'.")
    text = read_text(path, shown, "boxes")
    table = _of_coco(text, shown) if suffix == ".json" else _of_csv(text, shown)
    corners = [row.corners for row in table.rows if row.corners is not None]
    if corners and all(max(one) <= 1 for one in corners) and any(one[2] % 1 for one in corners):
        raise UsageError(
            f"The boxes in {shown} are parts of the image's sides, all from 0 to 1; expected "
            "pixels of the image."
        )
    return table


# --- CSV -----------------------------------------------------------------------------------------


class _Columns(NamedTuple):
    """Which column of a CSV file has what."""

    path: int
    corners: tuple[int, int, int, int]
    label: int | None
    difficult: int | None
    size: tuple[int, int] | None

    @classmethod
    def of(cls, header: Sequence[str]) -> _Columns | None:
        """Those that a header names; None if it names no path, or no box."""
        titles = [folded(cell) for cell in header]
        paths = [titles.index(title) for title in PATH_TITLES if title in titles]
        labels = [titles.index(title) for title in LABEL_TITLES if title in titles]
        for corners in _CORNERS:
            if paths and all(title in titles for title in corners):
                left, top, right, bottom = map(titles.index, corners)
                sides = ("height", "width")
                sized = all(side in titles for side in sides)
                return cls(
                    paths[0],
                    (left, top, right, bottom),
                    labels[0] if labels else None,
                    titles.index("difficult") if "difficult" in titles else None,
                    (titles.index(sides[0]), titles.index(sides[1])) if sized else None,
                )
        return None


def _of_csv(text: str, shown: str) -> BoxTable:
    text, problem = without_separator(text), None
    for delimiter in delimiters(text):
        try:
            rows = csv_rows(text, delimiter)
        except csv.Error as error:
            problem = problem or error
            continue
        columns = _Columns.of(rows[0][1]) if rows else None
        if columns is not None:
            found = [_csv_row(line, cells, columns, shown) for line, cells in rows[1:]]
            return BoxTable(found, columns.label is not None)
    if problem is not None:
        raise UsageError(f"{shown} cannot be read as CSV: {problem}.") from problem
    first = printable(text.lstrip().partition("\n")[0].strip())[:80]
    begins = f"it begins with '{first}'" if first else "it is empty"
    raise UsageError(f"{shown} has no boxes that can be read: expected {_FORM}, but {begins}.")


def _csv_row(line: int, cells: Sequence[str], columns: _Columns, shown: str) -> BoxRow:
    where = f"line {line}"
    wanted = [columns.path, *columns.corners, columns.label or 0]
    if len(cells) <= max(wanted):
        raise UsageError(
            f"Line {line} of {shown} has {counted(len(cells), 'column')}; expected "
            f"{max(wanted) + 1} or more, as in the header."
        )
    texts = [cells[at].strip() for at in columns.corners]
    label = None if columns.label is None else cells[columns.label].strip()
    corners = None
    if any(texts):  # an image in which there is nothing has no corners
        corners = _checked([_number(text) for text in texts], where, shown)
        if label == "":
            raise UsageError(f"Line {line} of {shown} has a box without a label.")
    size = [_number(cells[at]) for at in columns.size or () if at < len(cells)]
    difficult = _is_difficult(cells, columns, where, shown)
    return BoxRow(where, cells[columns.path], label, corners, difficult, _size(size))


def _is_difficult(cells: Sequence[str], columns: _Columns, where: str, shown: str) -> bool:
    if columns.difficult is None or columns.difficult >= len(cells):
        return False
    word = folded(cells[columns.difficult])
    if word not in _WORDS:
        raise UsageError(f"{_at(where, shown)}: difficult is 0 or 1; got '{printable(word)}'.")
    return _WORDS[word]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _checked(values: Sequence[Any], where: str, shown: str) -> Corners:
    """A box's corners, if they are numbers in the right order."""
    numbers = [_finite(value) for value in values]
    if len(numbers) != 4 or None in numbers:
        raise UsageError(
            f"{_at(where, shown)}: a box is four numbers in pixels; one of them is missing or is "
            "no number."
        )
    left, top, right, bottom = (number or 0.0 for number in numbers)
    if right < left or bottom < top:
        raise UsageError(
            f"{_at(where, shown)}: the box ends before it begins (from {left:g}, {top:g} to "
            f"{right:g}, {bottom:g}); expected its left, top, right and bottom edges."
        )
    return left, top, right, bottom


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _size(sides: Sequence[Any]) -> tuple[int, int] | None:
    """(H, W), if both sides are whole numbers above 0."""
    numbers = [_finite(side) for side in sides]
    height, width = numbers if len(numbers) == 2 else (None, None)
    if not (height and width and height > 0 and width > 0) or height % 1 or width % 1:
        return None
    return int(height), int(width)


def _at(where: str, shown: str) -> str:
    return f"{where[0].upper()}{where[1:]} of {shown}"


# --- COCO ----------------------------------------------------------------------------------------


def _of_coco(text: str, shown: str) -> BoxTable:
    content = load_json(text, shown)
    if not isinstance(content, JsonObject) or not {"images", "annotations"} <= dict(content).keys():
        raise UsageError(
            f"{shown} is not in COCO's format: expected an object with images, annotations and "
            "categories."
        )
    whole = dict(content)
    try:
        names = {one["id"]: str(one["name"]) for one in map(dict, whole.get("categories", []))}
        images = {one["id"]: one for one in map(dict, whole["images"])}
        found = [(one, images[one["image_id"]]) for one in map(dict, whole["annotations"])]
        rows = [
            BoxRow(f"image {number}", _text(one["file_name"]), "", None)
            for number, one in enumerate(images.values(), 1)
        ]
        rows += [
            BoxRow(
                f"annotation {number}",
                _text(image["file_name"]),
                names[one["category_id"]],
                _coco_corners(one["bbox"], f"annotation {number}", shown),
                bool(one.get("iscrowd", 0)),
                _size([image.get("height"), image.get("width")]),
            )
            for number, (one, image) in enumerate(found, 1)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{shown} looks like annotations in COCO's format, but is not whole: expected images "
            "with id and file_name, annotations with image_id, category_id and bbox, and "
            f"categories with id and name ({error})."
        ) from error
    return BoxTable(rows, True, _outlines([one for one, _ in found], shown))


def _coco_corners(bbox: Any, where: str, shown: str) -> Corners:
    """Of left, top, width and height."""
    numbers = [_finite(value) for value in bbox] if isinstance(bbox, list) else []
    if len(numbers) != 4 or None in numbers:
        return _checked(numbers, where, shown)  # which says what is wrong
    left, top, width, height = (number or 0.0 for number in numbers)
    return _checked([left, top, left + width, top + height], where, shown)


def _outlines(annotations: Sequence[Mapping[str, Any]], shown: str) -> tuple[str, ...]:
    """What to say if objects have outlines as well, which are not read."""
    if not any(one.get("segmentation") for one in annotations):
        return ()
    return (
        f"Of the objects in {shown} the boxes are used, not the outlines (segmentation); masks are "
        "given with --masks.",
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("file_name is no text")
    return value
