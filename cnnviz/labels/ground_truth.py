"""What images truly show: from the names of their folders, or from a file."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from cnnviz.errors import UsageError
from cnnviz.images.sources import Source
from cnnviz.labels.label_files import WORDNET
from cnnviz.labels.targets import Classes
from cnnviz.text import caseless, counted, decode, folded, listed, printable

FOLDERS = "folders"
"""What stands for the names of folders where a file could be named."""

_DELIMITERS = ",;\t"
_FILES = (".csv", ".tsv", ".txt", ".json", ".jsonl")
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
#: What stands for no label, unless a class is called so.
_NO_LABEL = ("", "nan", "none", "null", "na", "n/a", "<na>")
#: A number as a column of numbers with gaps has it: 4.0, 4.000000e+00, with a comma 4,0.
_WHOLE = re.compile(r"\+?([0-9]{1,9})(?:\.0*(?:e\+?0+)?|,0{1,2})?")
_WORDNET = re.compile(rf"{WORDNET.pattern}(?=$|[-_. ])")
_SHOWN = 3


@dataclass(frozen=True)
class GroundTruth:
    """The true classes of a run's images.

    Attributes:
        source: ``"folders"``, or the file's name as it is shown to the user.
        indices: for each image its class, or None where it is not known.
        notes: what the user should know of it, a sentence each.
    """

    source: str
    indices: tuple[int | None, ...]
    notes: tuple[str, ...]

    @property
    def known(self) -> int:
        """How many images have a class."""
        return sum(index is not None for index in self.indices)


def read_ground_truth(
    spec: str, sources: Sequence[Source], labels: Sequence[str], classes: int
) -> GroundTruth:
    """Find the true class of every image.

    ``folders``: the name of the folder that holds an image is its class: an index, a name or one
    of its synonyms, in upper or lower case, with ``_`` and ``-`` for spaces, or the class's
    WordNet number where that is known, alone or in front of a name.

    A CSV file has a path and a label in each row, parted by comma, semicolon or tab (in a .txt file
    also by spaces, the label last), with or without titles above them; a JSON file is
    ``{"path": "label", ...}`` or ``[{"path": ..., "label": ...}, ...]``, or has such an object in
    each line. They are UTF-8, UTF-16 with a byte-order mark, or Latin-1. Paths are relative to the
    file's own folder, to where the command runs, or to the folder of images that was given; where
    there is no such file they are compared as :func:`cnnviz.text.caseless` has it. Labels are as in
    :meth:`cnnviz.labels.targets.Classes.find`, and 4.0 is 4; an empty one, ``nan``, ``none`` or
    null is as none, unless a class is called so.

    Args:
        spec: ``folders``, or the name of a .csv, .tsv, .txt, .json or .jsonl file.
        sources: the images.
        labels: the classes' names by index; may be empty.
        classes: the number of the network's classes.

    Raises:
        UsageError: the file cannot be read or understood, names an unknown class, gives an image
            two classes, or names no image of the run; no folder is called as a class.
    """
    known = Classes(labels, classes)
    if spec.strip().lower() == FOLDERS:
        return _from_folders(sources, known)
    suffix, shown = os.path.splitext(spec)[1].lower(), printable(spec)
    if suffix not in _FILES:
        raise UsageError(
            f"The truth comes from {FOLDERS}, or from a .csv or .json file; got '{shown}'."
        )
    text = _read(Path(spec), shown)
    images = _Images(sources, Path(spec).parent)
    if suffix in (".json", ".jsonl"):
        rows = _json_rows(text, shown, lines=suffix == ".jsonl")
    else:
        rows = _csv_rows(text, shown, images, spaced=suffix == ".txt")
    return _from_rows(rows, shown, sources, images, known)


def _called(text: str, known: Classes) -> list[int]:
    """The classes with this index, name, synonym or WordNet number: one if all is well."""
    number = text.strip()
    found = dict.fromkeys(known.called(text))
    # More digits than any index has are not worth the time that int() takes.
    if number.isdecimal() and len(number) < 10 and int(number) < known.count:
        found[int(number)] = None
    wordnet = _WORDNET.match(number)
    if not found and wordnet:
        found = dict.fromkeys(known.called(wordnet[0]))
    return list(found)


def _described(known: Classes) -> str:
    """What the classes are called, for somebody who called them otherwise."""
    if not known.labels:
        return f"the classes have no names, only the numbers 0 to {known.count - 1}"
    return f"the classes are {known.listed(range(known.count), _SHOWN)}"


# --- folders -------------------------------------------------------------------------------------


def _from_folders(sources: Sequence[Source], known: Classes) -> GroundTruth:
    folders = [_folder(source) for source in sources]
    images: dict[str, int] = {}
    for folder in folders:
        images[folder] = images.get(folder, 0) + 1
    called = {folder: _called(folder, known) for folder in images}
    strange = [folder for folder, found in called.items() if not found]
    several = {folder: found for folder, found in called.items() if len(found) > 1}
    if images and len(strange) + len(several) == len(images):
        if not strange:
            folder, found = next(iter(several.items()))
            raise UsageError(_ambiguous(folder, found, known))
        raise UsageError(
            f"No folder is called as a class: the folders are {_some(strange)}, and "
            f"{_described(known)}.{_wordnet(strange)} Rename them, or name a file with --truth."
        )
    notes = [
        f"{_ambiguous(folder, found, known)} Its images have no truth."
        for folder, found in several.items()
    ]
    if strange:
        count = sum(images[folder] for folder in strange)
        notes.append(
            f"{counted(count, 'image')} in folders that are called as no class "
            f"({_some(strange)}) {'has' if count == 1 else 'have'} no truth.{_wordnet(strange)}"
        )
    indices = tuple(called[folder][0] if len(called[folder]) == 1 else None for folder in folders)
    return GroundTruth(FOLDERS, indices, tuple(notes))


def _folder(source: Source) -> str:
    """The name of the folder that holds an image."""
    return source.relative.parent.name or Path(os.path.abspath(source.path)).parent.name


def _ambiguous(name: str, found: Sequence[int], known: Classes) -> str:
    return (
        f"The name '{printable(name)}' fits {len(found)} classes, {known.listed(found)}: use an "
        "index or another of the names."
    )


def _wordnet(folders: Iterable[str]) -> str:
    """What is to be said if folders are called by the numbers that ImageNet's archives use."""
    if not any(_WORDNET.match(folder) for folder in folders):
        return ""
    return " WordNet's numbers (n02123045) are known if the file of --labels has them."


# --- files ---------------------------------------------------------------------------------------


class _Row(NamedTuple):
    """What a file says of one image; without a label nothing."""

    where: str  # "line 3"
    path: str
    label: str


def _from_rows(
    rows: Sequence[_Row],
    shown: str,
    sources: Sequence[Source],
    images: _Images,
    known: Classes,
) -> GroundTruth:
    indices: list[int | None] = [None] * len(sources)
    said: dict[int, _Row] = {}
    unused = []
    classes: dict[str, int] = {}
    for row in rows:
        meant = images.meant(row.path)
        if not meant:
            unused.append(row)
            continue
        if len(meant) > 1:
            some = " and ".join(sources[number].shown for number in meant[:2])
            raise _problem(row, shown, f"this can be {some}; write the path in full.")
        if _is_empty(row.label, known):
            said.setdefault(meant[0], row)
            continue
        if row.label not in classes:
            classes[row.label] = _class_of(row, shown, known)
        index, before = classes[row.label], indices[meant[0]]
        if before is not None and before != index:
            first = said[meant[0]]
            raise _problem(
                row,
                shown,
                f"the label is '{printable(row.label)}' here and '{printable(first.label)}' in "
                f"{first.where}; keep one.",
            )
        if before is None:
            said[meant[0]] = row
        indices[meant[0]] = index
    if not said:
        raise UsageError(_nothing(rows, shown, sources))
    notes = []
    if unused:
        names = "names" if len(unused) == 1 else "name"
        notes.append(
            f"{counted(len(unused), 'row')} of {shown} {names} no image of this run, for "
            f"example '{printable(unused[0].path)}' ({unused[0].where})."
        )
    without = [source for source, index in zip(sources, indices, strict=True) if index is None]
    if without:
        have = "has" if len(without) == 1 else "have"
        notes.append(
            f"{counted(len(without), 'image')} of {len(sources)} {have} no truth in {shown}, "
            f"for example {without[0].shown}."
        )
    return GroundTruth(shown, tuple(indices), tuple(notes))


def _is_empty(label: str, known: Classes) -> bool:
    return folded(label) in _NO_LABEL and not known.called(label)


def _class_of(row: _Row, shown: str, known: Classes) -> int:
    label = _as_latin(row.label).strip()
    for spelling in dict.fromkeys((label, label.strip("'\""))):
        found = _called(spelling, known)
        if len(found) == 1:
            return found[0]
        if found:
            raise _problem(row, shown, _ambiguous(row.label, found, known))
    whole = _WHOLE.fullmatch(label.lower())
    if whole and int(whole[1]) < known.count:
        return int(whole[1])
    if len(row.label) > 1000:
        raise _problem(row, shown, f"a label of {len(row.label)} letters is no class.")
    try:
        return known.find(row.label)
    except UsageError as error:
        hint = " If this line holds titles, call them path and label." * (row.where == "line 1")
        raise _problem(row, shown, printable(str(error)) + hint) from error


def _problem(row: _Row, shown: str, text: str) -> UsageError:
    where = row.where[0].upper() + row.where[1:]
    return UsageError(f"{where} of {shown} ('{printable(row.path)}'): {text}")


def _nothing(rows: Sequence[_Row], shown: str, sources: Sequence[Source]) -> str:
    if not rows:
        return f"{shown} says nothing of any image; wanted is a path and a label for each."
    return (
        f"{shown} names no image of this run: it has '{printable(rows[0].path)}', and the run "
        f"has '{printable(str(sources[0].relative))}' ({sources[0].shown}). Write paths relative "
        "to the file's own folder or to the folder of images."
    )


class _Images:
    """The images of a run by all that a file may call them."""

    def __init__(self, sources: Sequence[Source], folder: Path) -> None:
        self._folder = os.fsencode(folder)
        self._real_folders: dict[bytes, bytes] = {}
        self._by_place: dict[bytes, list[int]] = {}
        self._by_relative: dict[bytes, list[int]] = {}
        self._by_shown: dict[bytes, list[int]] = {}
        for number, source in enumerate(sources):
            for table, key in (
                (self._by_place, self._place(os.fsencode(source.path))),
                (self._by_relative, os.fsencode(source.relative)),
                (self._by_shown, _bytes(source.shown)),
            ):
                table.setdefault(key, []).append(number)

    def meant(self, path: str) -> list[int]:
        """The numbers of the images that a path can mean: one if all is well.

        A path that means none as it stands is tried as spreadsheets, Windows, browsers and macOS
        may have left it.
        """
        slashed = path.strip().strip("'\"").replace("\\", "/")
        spellings = dict.fromkeys((path, slashed, _as_latin(slashed), unquote(slashed)))
        for spelling in spellings:
            found = self._found(spelling)
            if found:
                return found
        for spelling in spellings:
            found = self._alike(spelling)
            if found:
                return found
        return []

    def _found(self, path: str) -> list[int]:
        name = _bytes(path)
        if not name or b"\0" in name:
            return []
        return (
            self._by_place.get(self._place(os.path.join(self._folder, name)))
            or self._by_place.get(self._place(name))
            or self._by_relative.get(os.path.normpath(name))
            or self._by_shown.get(name)
            or []
        )

    def _alike(self, path: str) -> list[int]:
        """Images whose paths are the same but for case and the like, if no file is called so."""
        name = _bytes(path)
        if not name or b"\0" in name:
            return []
        places = (os.path.join(self._folder, name), name)
        keys = (*map(self._place, places), os.path.normpath(name))
        for table, key in zip(self._alikes, keys, strict=True):
            found = table.get(_caseless(key))
            if found:
                return [] if any(map(os.path.lexists, places)) else found
        return []

    @cached_property
    def _alikes(self) -> tuple[dict[str, list[int]], ...]:
        """By place (from the file's folder, and from here) and by relative path."""
        tables: list[dict[str, list[int]]] = []
        for exact in (self._by_place, self._by_relative):
            table: dict[str, list[int]] = {}
            for key, numbers in exact.items():
                table.setdefault(_caseless(key), []).extend(numbers)
            tables.append(table)
        places, relatives = tables
        return places, places, relatives

    def _place(self, path: bytes) -> bytes:
        """Where a file lies, by whatever links its folder was reached."""
        folder, name = os.path.split(path)
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        return os.path.join(self._real_folders[folder], name)


def _caseless(path: bytes) -> str:
    return caseless(os.fsdecode(path))


def _as_latin(text: str) -> str:
    """What bytes that are no UTF-8 say as Windows' Latin-1; other texts as they are."""
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        return text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return text


def _bytes(path: str) -> bytes:
    """A path out of a UTF-8 file as the file system has it."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which JSON can hold: no file is called so
        return b""


def _read(path: Path, shown: str) -> str:
    """A text; bytes that are no UTF-8, which names of files may hold, stay recognizable."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The truth in {shown} cannot be read: {reason}.") from error
    try:
        text = decode(data, "surrogateescape")
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown} is no UTF-8 text; save it as UTF-8.") from error
    if "\0" in text:
        raise UsageError(f"{shown} is no UTF-8 text; save it as UTF-8.")
    return text


# --- CSV -----------------------------------------------------------------------------------------


class _Table(NamedTuple):
    """A CSV file's cells, with the number of the line that each row begins in."""

    rows: list[tuple[int, list[str]]]
    columns: tuple[int, int]  # of paths and of labels
    titled: bool

    @classmethod
    def of(cls, text: str, delimiter: str, images: _Images) -> _Table:
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
        if paths and len(titles) == 2 and not images.meant(rows[0][1][paths[0]]):
            return cls(rows[1:], (paths[0], 1 - paths[0]), True)
        return cls(rows, (0, 1), False)

    @classmethod
    def by_spaces(cls, text: str) -> _Table:
        """Of lines that end with a label without spaces."""
        lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
        return cls(
            [(line, row.rsplit(None, 1)) for line, row in lines if row.strip()], (0, 1), False
        )

    def fitting(self, images: _Images) -> tuple[int, int]:
        """How many rows name an image, and how many have a label."""
        path, label = self.columns
        complete = [cells for _, cells in self.rows if len(cells) > max(path, label)]
        return sum(bool(images.meant(cells[path])) for cells in complete), len(complete)


def _csv_rows(text: str, shown: str, images: _Images, *, spaced: bool) -> list[_Row]:
    """The rows, read with the delimiter under which most of them make sense."""
    told = re.match(r"sep=(.)\s*(?=\n|$)", text)  # Excel's own line
    if told:
        text = text[told.end() :]
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
                f"Line {line} of {shown} has {counted(len(cells), 'column')}; wanted are a path "
                "and a label, parted by comma, semicolon or tab, or columns with these titles."
            )
        rows.append(_Row(f"line {line}", cells[path], cells[label]))
    return rows


# --- JSON ----------------------------------------------------------------------------------------


class _Object(list[tuple[str, Any]]):
    """A JSON object with all its pairs, for a name may stand in it twice."""


def _json_rows(text: str, shown: str, *, lines: bool) -> list[_Row]:
    if lines:
        text = f"[{','.join(line for line in text.splitlines() if line.strip())}]"
    try:
        content = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{shown} is no JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond all measure
        raise UsageError(f"{shown} cannot be read as JSON: {error}.") from error
    if not isinstance(content, list):
        raise _no_truth(shown)
    rows = []
    for number, entry in enumerate(content, 1):
        pair = entry
        if not isinstance(content, _Object):
            pair = _fields(entry)
        path, label = pair
        if not isinstance(path, str) or not _is_label(label):
            raise _no_truth(shown, f"entry {number}")
        rows.append(_Row(f"entry {number}", path, "" if label is None else str(label)))
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


def _no_truth(shown: str, where: str = "it") -> UsageError:
    return UsageError(
        f'{shown} is no truth that cnnviz knows: wanted is {{"path": "label", ...}} or '
        f'[{{"path": ..., "label": ...}}, ...], a label being a name or an index, and {where} is '
        "something else."
    )


# --- words ---------------------------------------------------------------------------------------


def _some(names: Sequence[str]) -> str:
    return listed((f"'{printable(name)}'" for name in names), _SHOWN)
