"""The true classes of images: from the names of their folders, or from a table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnviz.errors import UsageError
from cnnviz.images.sources import Source
from cnnviz.labels.classes import WORDNET, Classes
from cnnviz.labels.image_paths import ImagePaths, as_latin
from cnnviz.labels.truth_tables import TABLE_SUFFIXES, Row, read_rows
from cnnviz.text import counted, folded, joined, listed, paragraph, printable

FOLDERS = "folders"
"""What stands for the names of folders where a file could be named."""

#: What means no label, unless a class has that name.
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
    WordNet ID where that is known, alone or in front of a name.

    A CSV file has a path and a label in each row, separated by comma, semicolon or tab (in a .txt
    file also by spaces, the label last), with or without a header; a JSON file is
    ``{"path": "label", ...}`` or ``[{"path": ..., "label": ...}, ...]``, or has such an object in
    each line. They are UTF-8, UTF-16 with a byte-order mark, or Latin-1. Paths are relative to the
    file's own folder, to where the command runs, or to the folder of images that was given; where
    there is no such file they are compared as :func:`cnnviz.text.caseless` has it. Labels are as in
    :meth:`cnnviz.labels.classes.Classes.find`, and 4.0 is 4; an empty one, ``nan``, ``none`` or
    null means no label, unless a class has that name.

    Args:
        spec: ``folders``, or the name of a .csv, .tsv, .txt, .json or .jsonl file.
        sources: the images.
        labels: the classes' names by index; may be empty.
        classes: the number of the network's classes.

    Raises:
        UsageError: the file cannot be read or understood, names an unknown class, gives an image
            two classes, or matches no image of the run; no folder is named after a class.
    """
    known = Classes(labels, classes)
    if spec.strip().lower() == FOLDERS:
        return _from_folders(sources, known)
    path, shown = Path(spec), printable(spec)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(
            f"Ground truth comes from {FOLDERS}, or from a {joined(TABLE_SUFFIXES)} file; got "
            f"'{shown}'."
        )
    images = ImagePaths(sources, path.parent)
    return _from_rows(read_rows(path, shown, images), shown, sources, images, known)


def _called(text: str, known: Classes) -> list[int]:
    """The classes with this index, name, synonym or WordNet number: one unless it is ambiguous."""
    number = text.strip()
    found = dict.fromkeys(known.lookup(text))
    # More digits than any index has are not worth the time that int() takes.
    if number.isdecimal() and len(number) < 10 and int(number) < known.count:
        found[int(number)] = None
    wordnet = _WORDNET.match(number)
    if not found and wordnet:
        found = dict.fromkeys(known.lookup(wordnet[0]))
    return list(found)


def _described(known: Classes) -> str:
    """What the classes are called, for messages about a name that none has."""
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
    unknown = [folder for folder, found in called.items() if not found]
    several = {folder: found for folder, found in called.items() if len(found) > 1}
    if images and len(unknown) + len(several) == len(images):
        if not unknown:
            folder, found = next(iter(several.items()))
            raise UsageError(_ambiguous(folder, found, known))
        raise UsageError(
            f"No folder is named after a class: the folders are {_some(unknown)}, and "
            f"{_described(known)}.{_wordnet(unknown)} Rename them, or give a table with --truth."
        )
    notes = [
        f"{_ambiguous(folder, found, known)} Its images have no true class."
        for folder, found in several.items()
    ]
    if unknown:
        count = sum(images[folder] for folder in unknown)
        notes.append(
            f"{counted(count, 'image')} {'has' if count == 1 else 'have'} no true class: no class "
            f"has the name of the folder ({_some(unknown)}).{_wordnet(unknown)}"
        )
    indices = tuple(called[folder][0] if len(called[folder]) == 1 else None for folder in folders)
    return GroundTruth(FOLDERS, indices, tuple(notes))


def _folder(source: Source) -> str:
    """The name of the folder that holds an image."""
    return source.relative.parent.name or Path(os.path.abspath(source.path)).parent.name


def _ambiguous(name: str, found: Sequence[int], known: Classes) -> str:
    return (
        f"The name '{printable(name)}' fits {len(found)} classes, {known.listed(found)}: use an "
        "index or another name."
    )


def _wordnet(folders: Iterable[str]) -> str:
    """What is to be said if folders are called by the numbers that ImageNet's archives use."""
    if not any(_WORDNET.match(folder) for folder in folders):
        return ""
    return " WordNet IDs (n02123045) are recognized if the file of --labels has them."


# --- files ---------------------------------------------------------------------------------------


def _from_rows(
    rows: Sequence[Row],
    shown: str,
    sources: Sequence[Source],
    images: ImagePaths,
    known: Classes,
) -> GroundTruth:
    table = _Table(shown, sources, images, known)
    unmatched = [row for row in rows if not table.add(row)]
    if not table.rows:
        raise UsageError(_nothing(rows, shown, sources))
    notes = []
    if unmatched:
        match = "matches" if len(unmatched) == 1 else "match"
        notes.append(
            f"{counted(len(unmatched), 'row')} of {shown} {match} no image of this run, for "
            f"example '{printable(unmatched[0].path)}' ({unmatched[0].where})."
        )
    indices = tuple(map(table.indices.get, range(len(sources))))
    without = [source for source, index in zip(sources, indices, strict=True) if index is None]
    if without:
        have = "has" if len(without) == 1 else "have"
        notes.append(
            f"{len(without)} of {counted(len(sources), 'image')} {have} no label in {shown}, "
            f"for example {without[0].shown}."
        )
    return GroundTruth(shown, indices, tuple(notes))


class _Table:
    """What rows say of a run's images, by the images' numbers."""

    def __init__(
        self, shown: str, sources: Sequence[Source], images: ImagePaths, known: Classes
    ) -> None:
        self._shown, self._sources, self._images, self._known = shown, sources, images, known
        self._classes: dict[str, int] = {}  # by label, for a thousand rows may have the same
        self.rows: dict[int, Row] = {}  # the first about an image
        self.indices: dict[int, int] = {}

    def add(self, row: Row) -> bool:
        """Take note of a row, and say whether it is that of an image."""
        meant = self._images.lookup(row.path)
        if not meant:
            return False
        if len(meant) > 1:
            some = " and ".join(self._sources[number].shown for number in meant[:2])
            raise _problem(row, self._shown, f"this path matches {some}; write it in full.")
        (image,) = meant
        if _is_empty(row.label, self._known):
            self.rows.setdefault(image, row)
            return True
        if row.label not in self._classes:
            self._classes[row.label] = _class_of(row, self._shown, self._known)
        index, before = self._classes[row.label], self.indices.get(image)
        if before is None:
            self.rows[image], self.indices[image] = row, index
        elif before != index:
            first = self.rows[image]
            raise _problem(
                row,
                self._shown,
                f"the label is '{printable(row.label)}' here and '{printable(first.label)}' in "
                f"{first.where}; keep one.",
            )
        return True


def _is_empty(label: str, known: Classes) -> bool:
    return folded(label) in _NO_LABEL and not known.lookup(label)


def _class_of(row: Row, shown: str, known: Classes) -> int:
    label = as_latin(row.label).strip()
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
        raise _problem(row, shown, f"a label of {len(row.label)} characters is no class name.")
    try:
        return known.find(row.label)
    except UsageError as error:
        hint = "If this line is a header, call its columns path and label."
        text = paragraph(printable(str(error)), hint if row.where == "line 1" else "")
        raise _problem(row, shown, text) from error


def _problem(row: Row, shown: str, text: str) -> UsageError:
    where = row.where[0].upper() + row.where[1:]
    return UsageError(f"{where} of {shown} ('{printable(row.path)}'): {text}")


def _nothing(rows: Sequence[Row], shown: str, sources: Sequence[Source]) -> str:
    if not rows:
        return f"{shown} has no rows; expected a path and a label for each image."
    return (
        f"{shown} matches no image of this run: it has '{printable(rows[0].path)}', and the run "
        f"has '{printable(str(sources[0].relative))}' ({sources[0].shown}). Write paths relative "
        "to the file's own folder or to the folder of images."
    )


def _some(names: Sequence[str]) -> str:
    return listed((f"'{printable(name)}'" for name in names), _SHOWN)
