"""What the rows of a table of true classes say of each image."""

from __future__ import annotations

import re

from cnnviz.errors import UsageError
from cnnviz.labels.classes import Classes
from cnnviz.labels.image_paths import as_latin
from cnnviz.labels.label_sets import LabelSet, Truth
from cnnviz.labels.truth_rows import Row
from cnnviz.text import folded, paragraph, printable

#: What means no label, unless a class has that name.
_NO_LABEL = ("", "nan", "none", "null", "na", "n/a", "<na>")
#: A number as a column of numbers with gaps has it: 4.0, 4.000000e+00, with a comma 4,0.
_WHOLE = re.compile(r"\+?([0-9]{1,9})(?:\.0*(?:e\+?0+)?|,0{1,2})?")
#: Between labels in one cell, the first that is there.
_SEPARATORS = ("|", ";", ",")


class RowLabels:
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


class RowLabelSets:
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
