"""The formats in which people keep class names: lines, tables, JSON, YAML, what Python prints."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cnnviz.labels.classes import WORDNET
from cnnviz.text import folded, printable, yaml_problem

_MOST_DIGITS = 9  # of an index
#: What tables and JSON objects call their parts, as :func:`cnnviz.text.folded` has it.
_INDEX_TITLES = (
    *("index", "idx", "id", "class index", "class idx", "class id", "label id", "label index"),
    *("category id", "target", "no", "number", "#", "y"),
)
_NAME_TITLES = (
    *("name", "class name", "label name", "category name", "display name", "label", "class"),
    *("category", "title", "description", "names", "labels", "words"),
)
#: What holds the names in a file that holds more, best first.
_HOLDERS = (
    *("id2label", "idx to class", "index to class", "idx2label", "id to label", "index to label"),
    *("label2id", "class to idx", "class to index", "label to id", "label to idx", "names"),
    *("classes", "class names", "labels", "label names", "label map", "categories", "classnames"),
)
#: ``0: cat``, ``0 cat``, ``0,cat``, ``[0] cat``, ... and the other way round.
_DIGITS = rf"(?P<index>[0-9]{{1,{_MOST_DIGITS}}})"
_INDEX_FIRST = re.compile(
    rf"""[\[("']?{_DIGITS}[\])"']?
    (?P<part>\s*[:,;=|)：，；]\s*|\.\s+|\s*\t\s*|\s+-\s+|\s+)(?P<name>\S.*)""",
    re.VERBOSE,
)
_INDEX_LAST = re.compile(rf"(?P<name>.*\S)(?P<part>\s*[:,;=|\t：，；]\s*|\s+)['\"]?{_DIGITS}['\"]?")
_ID_FIRST = re.compile(rf"['\"]?({WORDNET.pattern})['\"]?(?:\s*[-:,;=|\t]\s*|\s+)(\S.*)")
_LIST = re.compile(r"\[\s*[\"'\[{0-9].*\]", re.DOTALL)


class Entry(NamedTuple):
    """What a file says of one class."""

    name: str
    number: int | None = None  # its index
    id: str = ""


class LabelFormatError(Exception):
    """What is wrong with a file, as the rest of a sentence that begins with its name."""


def parse_entries(text: str, suffix: str) -> list[Entry]:
    """What a file says of each class.

    Args:
        text: the file's.
        suffix: of its name, in lower case.

    Raises:
        LabelFormatError: it holds no class names.
    """
    text, start = text.rstrip(), text.strip()
    if not start:
        raise LabelFormatError("is empty; expected one class name per line, in class order.")
    if suffix in (".yaml", ".yml"):
        return parse_structured(_yaml(text))
    if suffix in (".json", ".jsonl") or start.startswith("{") or _LIST.fullmatch(start):
        return parse_structured(_json_or_python(text))
    if suffix in (".csv", ".tsv"):
        found = _of_table(text)
        if found is not None:
            return found
    return _of_lines(text)


# --- lines ---------------------------------------------------------------------------------------


def _of_lines(text: str) -> list[Entry]:
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    full = [line for line in lines if line]
    for some in (full, full[1:]):  # the second without titles
        if some is not full and not (some and _are_titles(re.split(r"[,;:=|\t ]+", full[0]))):
            break
        found = _indexed(some)
        if found is not None:
            return found
    if "" in lines:
        raise LabelFormatError(
            f"has a blank line {lines.index('') + 1}; every line must name a class, or the names "
            "after it would belong to the wrong classes."
        )
    quoted = all(_unquoted(line) != line for line in lines)
    return _plain([_unquoted(line) for line in lines] if quoted else lines)


def _plain(names: Sequence[str]) -> list[Entry]:
    """Names in class order, with or without WordNet IDs."""
    return [Entry(name, None, own) for own, name in _without_ids(names)]


def _indexed(lines: Sequence[str]) -> list[Entry] | None:
    """What lines say that all have an index; None if not all have, or it is a part of the names.

    WordNet IDs may stand before the index or behind it.
    """
    before = _without_ids(lines)
    if all(own and own != rest and _index(rest) is not None for own, rest in before):
        return [Entry(own, _index(rest), own) for own, rest in before]
    for form in (_INDEX_FIRST, _INDEX_LAST):
        matches = [form.fullmatch(rest) for _, rest in before]
        if not all(matches):
            continue
        found = [match for match in matches if match]
        indices = [int(match["index"]) for match in found]
        names = [_unquoted(match["name"]) for match in found]
        plain = all(not match["part"].strip(" ") for match in found) or form is _INDEX_LAST
        if not _are_indices(indices, names, plain=plain):
            continue
        after = _without_ids(names)
        return [
            Entry(_unquoted(name), index, first or second)
            for (first, _), (second, name), index in zip(before, after, indices, strict=True)
        ]
    return None


def _are_indices(indices: Sequence[int], names: Sequence[str], *, plain: bool) -> bool:
    """Whether numbers beside names are indices, or belong to the names.

    Names such as "7 up", "101 dalmatians" begin with a number, "grade 1", "grade 2" end with one,
    "4:3", "16:9" are nothing else. Words behind a mark have an index, even if one is missing; words
    behind a space if most numbers are those of classes.

    Args:
        indices: the numbers.
        names: what else is in the lines.
        plain: whether nothing but a space parts them, or the number comes last.
    """
    count = len(indices)
    fitting = len({index for index in indices if index <= count})
    if plain and len(set(names)) * 2 <= count and count > 1:
        return False
    words = any(letter.isalpha() for name in names for letter in name)
    return fitting == count or (words and (not plain or fitting * 2 > count > 2))


def _without_ids(lines: Sequence[str]) -> list[tuple[str, str]]:
    """For each line the WordNet ID in front, and the rest; nothing and all if one has none."""
    if all(WORDNET.fullmatch(_unquoted(line)) for line in lines):
        return [(_unquoted(line),) * 2 for line in lines]
    matches = [_ID_FIRST.fullmatch(line) for line in lines]
    if not all(matches):
        return [("", line) for line in lines]
    return [(match[1], _unquoted(match[2])) for match in matches if match]


def _unquoted(text: str) -> str:
    text = text.strip()
    if text[:1] in ("'", '"') and text.endswith(f"{text[0]},"):  # from a Python list
        text = text[:-1]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].strip()
    return text


def _are_titles(cells: Iterable[str]) -> bool:
    return all(
        cell in ("", "wordnet id", "wnid", "synset", *_INDEX_TITLES, *_NAME_TITLES)
        for cell in map(folded, cells)
    )


# --- tables --------------------------------------------------------------------------------------


def _of_table(text: str) -> list[Entry] | None:
    """What a CSV says; None if it is none, or a list of names with commas in them."""
    tables = [table for table in (_table(text, delimiter) for delimiter in ",;\t|") if table]
    for rows in tables:
        if len(rows[0]) > 1:
            found = _by_index(rows) or _by_titles(rows) or _by_index(rows[1:], rows[0])
            if found:
                return found
    if tables and len(tables[0][0]) == 1:  # by commas: those in names are quoted
        names = [name for (name,) in tables[0]]
        titled = len(names) > 1 and folded(names[0]) in _NAME_TITLES
        return _indexed(names) or _plain(names[titled:])
    return None


def _table(text: str, delimiter: str) -> list[list[str]]:
    """The rows of a CSV, all equally long; none if it is no such table."""
    try:
        rows = list(csv.reader(io.StringIO(text, ""), delimiter=delimiter, strict=True))
    except csv.Error:
        return []
    rows = [[cell.strip() for cell in row] for row in rows if any(map(str.strip, row))]
    return rows if len({len(row) for row in rows}) == 1 else []


def _by_index(
    rows: Sequence[Sequence[str]], titles: Sequence[str] | None = None
) -> list[Entry] | None:
    """Rows one of whose columns is the index; None if there is no such column."""
    number = next((at for at, cells in enumerate(zip(*rows, strict=True)) if _count(cells)), None)
    if number is None or (titles is not None and _index(titles[number]) is not None):
        return None
    return [_of_fields(row[number], [*row[:number], *row[number + 1 :]]) for row in rows]


def _by_titles(rows: Sequence[Sequence[str]]) -> list[Entry] | None:
    """Rows below titles that say which column has the names; None if there are no such titles."""
    titles, body = [folded(cell) for cell in rows[0]], rows[1:]
    columns = list(zip(*body, strict=True))
    named = [titles.index(title) for title in _NAME_TITLES if title in titles]
    if not (named and body):
        return None
    name = next((at for at in named if not _count(columns[at])), named[0])
    number = next((titles.index(title) for title in _INDEX_TITLES if title in titles), None)
    if number is None or any(_index(cell) is None for cell in columns[number]):
        # Without a title, as pandas writes it, or with one that names have elsewhere.
        others = (at for at, cells in enumerate(columns) if at != name and _count(cells))
        number = next(others, None)
    ids = next((at for at, cells in enumerate(columns) if all(map(_is_id, cells))), None)
    return [
        Entry(
            row[name],
            None if number is None else _index(row[number]),
            "" if ids is None else row[ids],
        )
        for row in body
    ]


def _count(cells: Sequence[str]) -> bool:
    """Whether the cells of a column are 0 to K - 1, or 1 to K, in any order."""
    numbers = [number for number in map(_index, cells) if number is not None]
    return len(numbers) == len(cells) and sorted(numbers) in (
        list(range(len(cells))),
        list(range(1, len(cells) + 1)),
    )


# --- JSON, YAML, Python --------------------------------------------------------------------------


def _json_or_python(text: str) -> Any:
    """What a text says as JSON, as JSON a line, or as Python prints lists and dictionaries."""
    attempts: tuple[Callable[[str], Any], ...] = (
        lambda text: json.loads(text, object_pairs_hook=_pairs),
        lambda text: [
            json.loads(line, object_pairs_hook=_pairs) for line in text.splitlines() if line.strip()
        ],
        ast.literal_eval,
    )
    problem: Exception | None = None
    for attempt in attempts:
        try:
            return attempt(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            problem = problem or error
    where = (
        f"{problem.msg} in line {problem.lineno}"
        if isinstance(problem, json.JSONDecodeError)
        else str(problem)
    )
    raise LabelFormatError(f"is neither JSON nor what Python prints: {where}.") from problem


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise LabelFormatError(f"has '{printable(twice)}' twice; every class needs its own entry.")
    return found


def _yaml(text: str) -> Any:
    """What YAML says, every value as it is written: ``no`` is a name, not a truth value."""
    import yaml

    try:
        problem = yaml_problem(text)
        if problem is not None:
            raise LabelFormatError(f"is not valid YAML: it {problem}.")
        return yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or error
        raise LabelFormatError(f"is not valid YAML: {printable(str(reason))[:200]}.") from error


def parse_structured(content: Any) -> list[Entry]:
    """What a list or a mapping says of the classes."""
    if isinstance(content, (list, tuple)) and content:
        if all(isinstance(item, str) for item in content):
            names = [item.strip() for item in content]
            return _indexed(names) or _plain(names)
        return [_of_item(item) for item in content]
    if not isinstance(content, Mapping) or not content:
        raise _no_names()
    keys, values = list(content), list(content.values())
    if all(_index(value) is not None for value in values) and not (
        all(_index(key) is not None for key in keys) and isinstance(values[0], str)
    ):
        if any(not isinstance(key, str) for key in keys):
            return [_of_fields(key, [value]) for key, value in content.items()]
        return [_of_fields(value, [key]) for key, value in content.items()]
    if all(_index(key) is not None for key in keys):
        return [_of_fields(key, _fields(value)) for key, value in content.items()]
    by_key = {folded(str(key)): value for key, value in content.items()}
    for holder in _HOLDERS:
        if isinstance(by_key.get(holder), (list, tuple, Mapping)):
            return parse_structured(by_key[holder])
    if all(isinstance(key, str) and WORDNET.fullmatch(key) for key in keys):
        if any(isinstance(value, str) for value in values) and keys != sorted(keys):
            raise LabelFormatError("has WordNet IDs but no indices, so the class order is unknown.")
        return [_of_item([key, *_fields(value)]) for key, value in content.items()]
    if len(values) == 1 and isinstance(values[0], (list, tuple, Mapping)):
        return parse_structured(values[0])
    raise _no_names()


def _no_names() -> LabelFormatError:
    return LabelFormatError(
        "holds no class names: expected a list of names, names by index, or indices by name."
    )


def _fields(value: Any) -> list[Any]:
    """The fields of a class, the name first where one is titled as such."""
    if isinstance(value, Mapping):
        by_key = {folded(str(key)): item for key, item in value.items()}
        named = [by_key[title] for title in _NAME_TITLES if isinstance(by_key.get(title), str)]
        return [*named[:1], *(item for item in value.values() if _is_id(item))]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _of_item(item: Any) -> Entry:
    """An item of a list: a name, or an index and a name in any form."""
    if isinstance(item, Mapping):
        by_key = {folded(str(key)): value for key, value in item.items()}
        numbers = [by_key[title] for title in _INDEX_TITLES if title in by_key]
        numbers += [by_key[title] for title in _NAME_TITLES if type(by_key.get(title)) is int]
        index = next((number for number in numbers if _index(number) is not None), None)
        return _of_fields(index, _fields(item))
    fields = _fields(item)
    if len(fields) == 1:
        return _of_fields(None, fields)
    index = next((field for field in fields if _index(field) is not None), None)
    return _of_fields(index, [field for field in fields if field is not index])


def _of_fields(index: Any, fields: Sequence[Any]) -> Entry:
    """A class by its index, if it has one, and whatever else is said of it."""
    own = next((field for field in fields if _is_id(field)), "")
    names = [field for field in fields if field is not own and isinstance(field, (str, int))]
    if any(isinstance(name, bool) for name in names) or not (names or own):
        raise _no_names()
    return Entry(str(names[0] if names else own), None if index is None else _index(index), own)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and WORDNET.fullmatch(value) is not None


def _index(value: Any) -> int | None:
    """A number of a class, whichever way it is written; or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    text = str(value).strip()
    match = re.fullmatch(rf"([0-9]{{1,{_MOST_DIGITS}}})(?:\.0*)?", text)
    return int(match[1]) if match else None
