"""The true classes of images: from the names of their folders, or from a table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnviz.errors import UsageError
from cnnviz.images.sources import Source
from cnnviz.labels.classes import WORDNET_FIRST, Classes
from cnnviz.labels.image_paths import ImagePaths, ambiguous_path, as_latin, no_match
from cnnviz.labels.label_sets import LabelSet, Truth
from cnnviz.labels.truth_rows import Row, Table
from cnnviz.labels.truth_tables import TABLE_SUFFIXES, read_table
from cnnviz.text import counted, folded, joined, listed, paragraph, printable

FOLDERS = "folders"
"""What stands for the names of folders where a file could be named."""

#: What means no label, unless a class has that name.
_NO_LABEL = ("", "nan", "none", "null", "na", "n/a", "<na>")
#: A number as a column of numbers with gaps has it: 4.0, 4.000000e+00, with a comma 4,0.
_WHOLE = re.compile(r"\+?([0-9]{1,9})(?:\.0*(?:e\+?0+)?|,0{1,2})?")
#: Between labels in one cell, the first that is there.
_SEPARATORS = ("|", ";", ",")
_SHOWN = 3


@dataclass(frozen=True)
class GroundTruth:
    """The true classes of a run's images.

    Attributes:
        source: ``"folders"``, or the file's name as it is shown to the user.
        truths: for each image its class or, of a network whose classes do not exclude one another,
            its :class:`LabelSet`; None where it is not known.
        notes: what the user should know of it, a sentence each.
    """

    source: str
    truths: tuple[Truth, ...]
    notes: tuple[str, ...]

    @property
    def known(self) -> int:
        """How many images have a class."""
        return sum(truth is not None for truth in self.truths)


def read_ground_truth(
    spec: str,
    sources: Sequence[Source],
    labels: Sequence[str],
    classes: int,
    *,
    multi_label: bool = False,
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

    An image with several true classes has several rows; or several labels in one, separated by
    ``|``, ``;`` or commas, or in columns of their own; a list in JSON; annotations in COCO's
    format; or a column for each class with 1, 0 and -1 (not known), as
    :mod:`cnnviz.labels.indicator_tables` has it. In a table with a column ``confidence`` a
    confidence below 0.5 says that the image does not belong to the class, and nothing is known of
    classes without a row. An empty cell or list then means that an image belongs to no class.

    Args:
        spec: ``folders``, or the name of a .csv, .tsv, .txt, .json or .jsonl file.
        sources: the images.
        labels: the classes' names by index; may be empty.
        classes: the number of the network's classes.
        multi_label: whether an image may belong to several of these, or to none.

    Raises:
        UsageError: the file cannot be read or understood, names an unknown class, gives an image
            two classes of which the network predicts one, or matches no image of the run; no
            folder is named after a class.
    """
    known = Classes(labels, classes)
    if spec.strip().lower() == FOLDERS:
        return _from_folders(sources, known, multi_label=multi_label)
    path, shown = Path(spec), printable(spec)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(
            f"Ground truth comes from {FOLDERS}, or from a {joined(TABLE_SUFFIXES)} file; got "
            f"'{shown}'."
        )
    images = ImagePaths(sources, path.parent)
    table = read_table(path, shown, images, known, several=multi_label)
    if multi_label:
        found: _LabelSets | _Labels = _LabelSets(shown, known, has_negatives=table.has_negatives)
    else:
        found = _Labels(shown, known)
    return _from_table(table, shown, sources, images, found)


def _described(known: Classes) -> str:
    """What the classes are called, for messages about a name that none has."""
    if not known.labels:
        return f"the classes have no names, only the numbers 0 to {known.count - 1}"
    return f"the classes are {known.listed(range(known.count), _SHOWN)}"


# --- folders -------------------------------------------------------------------------------------


def _from_folders(sources: Sequence[Source], known: Classes, *, multi_label: bool) -> GroundTruth:
    folders = [_folder(source) for source in sources]
    images: dict[str, int] = {}
    for folder in folders:
        images[folder] = images.get(folder, 0) + 1
    called = {folder: known.named(folder) for folder in images}
    unknown = [folder for folder, found in called.items() if not found]
    several = {folder: found for folder, found in called.items() if len(found) > 1}
    if images and len(unknown) + len(several) == len(images):
        if not unknown:
            folder, found = next(iter(several.items()))
            raise UsageError(known.ambiguous(folder, found))
        raise UsageError(
            f"No folder is named after a class: the folders are {_some(unknown)}, and "
            f"{_described(known)}.{_wordnet(unknown)} Rename them, or give a table with --truth."
        )
    notes = [
        f"{known.ambiguous(folder, found)} Its images have no true class."
        for folder, found in several.items()
    ]
    if unknown:
        count = sum(images[folder] for folder in unknown)
        notes.append(
            f"{counted(count, 'image')} {'has' if count == 1 else 'have'} no true class: no class "
            f"has the name of the folder ({_some(unknown)}).{_wordnet(unknown)}"
        )
    indices = [called[folder][0] if len(called[folder]) == 1 else None for folder in folders]
    if multi_label:
        sets = (None if index is None else LabelSet((index,)) for index in indices)
        return GroundTruth(FOLDERS, tuple(sets), tuple(notes))
    return GroundTruth(FOLDERS, tuple(indices), tuple(notes))


def _folder(source: Source) -> str:
    """The name of the folder that holds an image."""
    return source.relative.parent.name or Path(os.path.abspath(source.path)).parent.name


def _wordnet(folders: Iterable[str]) -> str:
    """What is to be said if folders are called by the numbers that ImageNet's archives use."""
    if not any(WORDNET_FIRST.match(folder) for folder in folders):
        return ""
    return " WordNet IDs (n02123045) are recognized if the file of --labels has them."


# --- files ---------------------------------------------------------------------------------------


def _from_table(
    table: Table,
    shown: str,
    sources: Sequence[Source],
    images: ImagePaths,
    found: _LabelSets | _Labels,
) -> GroundTruth:
    unmatched, matched = [], False
    for row in table.rows:
        meant = images.lookup(row.path)
        if len(meant) > 1:
            raise UsageError(ambiguous_path(row.where, shown, row.path, meant, sources))
        matched = matched or bool(meant)
        if meant:
            found.add(meant[0], row)
        else:
            unmatched.append(row)
    if not matched:
        first = table.rows[0].path if table.rows else None
        expected = "a path and a label for each image"
        raise UsageError(no_match(first, shown, sources, expected))
    notes = list(table.notes)
    if unmatched:
        match = "matches" if len(unmatched) == 1 else "match"
        notes.append(
            f"{counted(len(unmatched), 'row')} of {shown} {match} no image of this run, for "
            f"example '{printable(unmatched[0].path)}' ({unmatched[0].where})."
        )
    truths = tuple(found.truth(number) for number in range(len(sources)))
    without = [source for source, truth in zip(sources, truths, strict=True) if truth is None]
    if without:
        have = "has" if len(without) == 1 else "have"
        notes.append(
            f"{len(without)} of {counted(len(sources), 'image')} {have} no label in {shown}, "
            f"for example {without[0].shown}."
        )
    return GroundTruth(shown, truths, tuple(notes))


class _Labels:
    """What rows say of images that belong to one class each, by the images' numbers."""

    def __init__(self, shown: str, known: Classes) -> None:
        self._shown, self._known = shown, known
        self._classes: dict[str, int] = {}  # by label, for a thousand rows may have the same
        self._rows: dict[int, tuple[Row, str]] = {}  # the first about an image
        self._indices: dict[int, int] = {}

    def add(self, image: int, row: Row) -> None:
        """Take note of an image's row.

        Raises:
            UsageError: it names no class, or another one than before, or several.
        """
        label = self._label(row)
        if row.is_negative or label is None:
            return
        if label not in self._classes:
            self._classes[label] = _class_of(row, label, self._shown, self._known)
        index, before = self._classes[label], self._indices.get(image)
        if before is None:
            self._rows[image], self._indices[image] = (row, label), index
        elif before != index:
            first, other = self._rows[image]
            raise _problem(
                row,
                self._shown,
                f"the label is '{printable(label)}' here and '{printable(other)}' in "
                f"{first.where}; keep one.",
            )

    def truth(self, image: int) -> Truth:
        """The image's class; None if no row says it."""
        return self._indices.get(image)

    def _label(self, row: Row) -> str | None:
        """The one label of a row, if it has one."""
        if row.indicators is None:
            labels = [label for label in row.labels if not _is_empty(label, self._known)]
            parts = _parts(labels[0], self._known) if len(labels) == 1 else labels
            whole = len(labels) == 1 and _WHOLE.fullmatch(labels[0].strip())
            if not whole and len(parts) > 1 and all(self._known.named(part) for part in parts):
                labels = parts
        else:
            labels = [str(index) for index in row.indicators.positive]
            self._classes.update(zip(labels, row.indicators.positive, strict=True))
        if len(labels) > 1:
            raise _problem(
                row,
                self._shown,
                f"this is {len(labels)} labels, and the network predicts one class for an image; "
                "--activation sigmoid says that it may be several.",
            )
        return labels[0] if labels else None


class _LabelSets:
    """What rows say of images that may belong to several classes, by the images' numbers."""

    def __init__(self, shown: str, known: Classes, *, has_negatives: bool) -> None:
        self._shown, self._known = shown, known
        self._has_negatives = has_negatives
        self._classes: dict[str, tuple[int, ...]] = {}  # by label
        self._positive: dict[int, set[int]] = {}  # by image
        self._negative: dict[int, set[int]] = {}
        self._indicators: dict[int, tuple[Row, LabelSet]] = {}

    def add(self, image: int, row: Row) -> None:
        """Take note of an image's row, or of one of them.

        Raises:
            UsageError: it names no class, or contradicts another row.
        """
        if row.indicators is not None:
            first, before = self._indicators.setdefault(image, (row, row.indicators))
            if before != row.indicators:
                raise _problem(row, self._shown, f"this is not what {first.where} says; keep one.")
            return
        if row.is_list or any(label.strip() in ("", "[]") for label in row.labels):
            self._positive.setdefault(image, set())
        found = {index for label in row.labels for index in self._named(row, label)}
        if found:
            of_kind = self._negative if row.is_negative else self._positive
            of_kind.setdefault(image, set()).update(found)
        both = self._positive.get(image, set()) & self._negative.get(image, set())
        if both:
            raise _problem(
                row, self._shown, f"the image is said to be and not to be of class {min(both)}."
            )

    def truth(self, image: int) -> Truth:
        """The image's classes; None if no row says anything."""
        if image in self._indicators:
            return self._indicators[image][1]
        if image not in self._positive and image not in self._negative:
            return None
        positive, negative = self._positive.get(image, set()), self._negative.get(image, set())
        unknown: set[int] = set()
        if self._has_negatives:
            unknown = set(range(self._known.count)) - positive - negative
        return LabelSet(tuple(sorted(positive)), tuple(sorted(unknown)))

    def _named(self, row: Row, label: str) -> tuple[int, ...]:
        """The classes that a label names: one, or several with a sign between them."""
        if _is_empty(label, self._known):
            return ()
        if label not in self._classes:
            parts = [label] if row.is_list else _parts(label, self._known)
            self._classes[label] = tuple(
                _class_of(row, part, self._shown, self._known)
                for part in parts
                if not _is_empty(part, self._known)
            )
        return self._classes[label]


def _parts(label: str, known: Classes) -> list[str]:
    """The labels in a cell: the whole where that is a class, else what signs separate."""
    bare = label.strip()
    if bare[:1] in ("[", "(", "{") and bare[-1:] in ("]", ")", "}"):  # as Python prints a list
        bare = bare[1:-1]
    if known.named(bare):
        return [bare]
    for sign in _SEPARATORS:
        if sign in bare:
            return [part.strip().strip("'\"") for part in bare.split(sign)]
    words = bare.split()
    return words if len(words) > 1 and all(known.named(word) for word in words) else [bare]


def _is_empty(label: str, known: Classes) -> bool:
    return folded(label) in _NO_LABEL and not known.lookup(label)


def _class_of(row: Row, text: str, shown: str, known: Classes) -> int:
    label = as_latin(text).strip()
    for spelling in dict.fromkeys((label, label.strip("'\""))):
        found = known.named(spelling)
        if len(found) == 1:
            return found[0]
        if found:
            raise _problem(row, shown, known.ambiguous(text, found))
    whole = _WHOLE.fullmatch(label.lower())
    if whole and int(whole[1]) < known.count:
        return int(whole[1])
    if len(text) > 1000:
        raise _problem(row, shown, f"a label of {len(text)} characters is no class name.")
    try:
        return known.find(text)
    except UsageError as error:
        hint = "If this line is a header, call its columns path and label."
        told = paragraph(printable(str(error)), hint if row.where == "line 1" else "")
        raise _problem(row, shown, told) from error


def _problem(row: Row, shown: str, text: str) -> UsageError:
    where = row.where[0].upper() + row.where[1:]
    return UsageError(f"{where} of {shown} ('{printable(row.path)}'): {text}")


def _some(names: Sequence[str]) -> str:
    return listed((f"'{printable(name)}'" for name in names), _SHOWN)
