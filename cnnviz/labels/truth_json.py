"""Read true classes from JSON: by path, as a list of objects, or as COCO has annotations."""

from __future__ import annotations

import json
from typing import Any

from cnnviz.errors import UsageError
from cnnviz.labels.truth_rows import LABEL_TITLES, PATH_TITLES, Row
from cnnviz.text import folded


class JsonObject(list[tuple[str, Any]]):
    """A JSON object with all its pairs, for a name may stand in it twice."""


def load_json(text: str, shown: str) -> Any:
    """What a JSON file says, each object as its pairs.

    Raises:
        UsageError: it is no JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=JsonObject)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{shown} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond all measure
        raise UsageError(f"{shown} cannot be read as JSON: {error}.") from error


def json_rows(text: str, shown: str, *, lines: bool) -> list[Row]:
    """The rows of a JSON file, or of one with an object in each line.

    Raises:
        UsageError: the text says what was expected.
    """
    if lines:
        text = f"[{','.join(line for line in text.splitlines() if line.strip())}]"
    content = load_json(text, shown)
    if not isinstance(content, list):
        raise _unknown_form(shown)
    if isinstance(content, JsonObject) and {"images", "annotations"} <= {key for key, _ in content}:
        return _coco_rows(dict(content), shown)
    rows = []
    for number, entry in enumerate(content, 1):
        pair = entry
        if not isinstance(content, JsonObject):
            pair = _fields(entry)
        path, label = pair
        several = isinstance(label, list) and not isinstance(label, JsonObject)
        labels = label if several else [] if label is None else [label]  # null says nothing
        if not isinstance(path, str) or not all(map(_is_label, labels)):
            raise _unknown_form(shown, f"entry {number}")
        texts = tuple("" if one is None else str(one) for one in labels)
        rows.append(Row(f"entry {number}", path, texts, several))
    return rows


def _coco_rows(content: dict[str, Any], shown: str) -> list[Row]:
    """Those of annotations in COCO's format: an image has the categories of all of its objects."""
    try:
        categories = {
            one["id"]: str(one["name"]) for one in map(dict, content.get("categories", []))
        }
        labels: dict[Any, tuple[str, dict[str, None]]] = {
            one["id"]: (one["file_name"], {}) for one in map(dict, content["images"])
        }
        for one in map(dict, content["annotations"]):
            labels[one["image_id"]][1][categories[one["category_id"]]] = None
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{shown} looks like annotations in COCO's format, but is not whole: expected images "
            "with id and file_name, annotations with image_id and category_id, and categories with "
            f"id and name ({error})."
        ) from error
    return [
        Row(f"image {number}", path, tuple(names), is_list=True)
        for number, (path, names) in enumerate(labels.values(), 1)
        if isinstance(path, str)
    ]


def _fields(entry: object) -> tuple[Any, Any]:
    """An object's path and label; no path if it has not got both."""
    if not isinstance(entry, JsonObject):
        return None, None
    by_key = {folded(key): value for key, value in entry}
    paths = [by_key[title] for title in PATH_TITLES if title in by_key]
    labels = [by_key[title] for title in LABEL_TITLES if title in by_key]
    return (paths[0], labels[0]) if paths and labels else (None, None)


def _is_label(value: object) -> bool:
    if isinstance(value, float):  # 4.0, or NaN
        return value != value or value.is_integer()
    return value is None or (isinstance(value, (str, int)) and not isinstance(value, bool))


def _unknown_form(shown: str, where: str = "it") -> UsageError:
    return UsageError(
        f'{shown} is not a table of labels: expected {{"path": "label", ...}} or '
        f'[{{"path": ..., "label": ...}}, ...], a label being a name or an index, or a list of '
        f"these, but {where} is something else."
    )
