"""Boxes around the objects in a run's images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cnnviz.errors import ImageError, UsageError
from cnnviz.images.source import Source
from cnnviz.labels.box_formats import BoxRow, BoxTable, Corners, read_box_table
from cnnviz.labels.classes import Classes
from cnnviz.labels.image_paths import ImagePaths, ambiguous_path, no_match
from cnnviz.storage.paths import path_of, shown_path
from cnnviz.text import counted, printable
from cnnviz.types import Mask

#: Pixels by which a box may reach out of its image: annotations are rounded, or count from 1.
_BEYOND = 1


class Box(NamedTuple):
    """One object: its class (None in a file without labels), and where it is."""

    class_index: int | None
    corners: Corners
    is_difficult: bool
    where: str


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of one image.

    Attributes:
        shown: what the file is called.
        boxes: of objects of the network's classes.
        size: (H, W) of the image for which they were made, if the file says it.
    """

    shown: str
    boxes: tuple[Box, ...]
    size: tuple[int, int] | None

    def region(self, target: int | None, shape: tuple[int, int]) -> Mask:
        """The pixels in boxes of a class, bool (H, W) for an image of this shape.

        All boxes where the file has no labels. A pixel is in a box if its center is; one that holds
        no center has the pixel that it begins in. Nothing is true if all of the class's boxes are
        difficult; otherwise these count as well.

        Raises:
            ImageError: the boxes are not of an image of this shape.
        """
        if self.size is not None and self.size != shape:
            raise ImageError(
                f"{self.shown} has boxes for an image {self.size[1]} pixels wide and "
                f"{self.size[0]} high, and this one is {shape[1]} wide and {shape[0]} high"
            )
        region = np.zeros(shape, np.bool_)
        for box in self.boxes:  # of other classes as well: a file for other images is of no use
            self._check(box, shape)
        own = [box for box in self.boxes if box.class_index is None or box.class_index == target]
        if all(box.is_difficult for box in own):
            return region
        for box in own:
            left, top, right, bottom = box.corners
            region[_covered(top, bottom, shape[0]), _covered(left, right, shape[1])] = True
        return region

    def _check(self, box: Box, shape: tuple[int, int]) -> None:
        left, top, right, bottom = box.corners
        if min(left, top) < -_BEYOND or right > shape[1] + _BEYOND or bottom > shape[0] + _BEYOND:
            raise ImageError(
                f"the box from {left:g}, {top:g} to {right:g}, {bottom:g} in {box.where} of "
                f"{self.shown} reaches out of the image, which is {shape[1]} pixels wide and "
                f"{shape[0]} high"
            )


def _covered(start: float, stop: float, length: int) -> slice:
    """The pixels along an axis whose centers lie from start to before stop, or the one at start."""
    first = min(max(math.ceil(start - 0.5), 0), length)
    last = min(max(math.ceil(stop - 0.5), 0), length)
    if last <= first:
        first = min(max(math.floor(start), 0), length - 1)
        last = first + 1
    return slice(first, last)


def read_boxes(
    file: str, sources: Sequence[Source], known: Classes
) -> tuple[tuple[ImageBoxes | None, ...], bool, tuple[str, ...]]:
    """Read the boxes of a run's images.

    Args:
        file: as :func:`cnnviz.labels.regions.read_regions` has it.
        sources: the images.
        known: the network's classes.

    Returns:
        For each image its boxes, or None where no row names it; whether they have labels; and what
        the user should know, a sentence each.

    Raises:
        UsageError: see :func:`cnnviz.labels.regions.read_regions`.
    """
    path, shown = path_of(file), shown_path(file)
    table = read_box_table(path, shown)
    by_image = _by_image(table.rows, shown, sources, ImagePaths(sources, path))
    naming = _Naming(shown, known)
    found: list[ImageBoxes | None] = []
    for number in range(len(sources)):
        rows = by_image.matched.get(number)
        if rows is None:
            found.append(None)
            continue
        boxes = [box for row in rows for box in naming.boxes(row)]
        size = next((row.size for row in rows if row.size is not None), None)
        found.append(ImageBoxes(shown, tuple(boxes), size))
    notes = [*table.notes, *_notes(table, shown), *by_image.notes, *naming.notes()]
    without = [one for one, boxes in zip(sources, found, strict=True) if boxes is None]
    if without:
        notes.append(
            f"{len(without)} of {counted(len(sources), 'image')} "
            f"{'has' if len(without) == 1 else 'have'} no row in {shown}, for example "
            f"{without[0].shown}."
        )
    return tuple(found), table.is_labeled, tuple(notes)


class _Matched(NamedTuple):
    """The rows by the number of the image that they are about."""

    matched: dict[int, list[BoxRow]]
    notes: tuple[str, ...]


def _by_image(
    rows: Sequence[BoxRow], shown: str, sources: Sequence[Source], images: ImagePaths
) -> _Matched:
    matched: dict[int, list[BoxRow]] = {}
    by_path: dict[str, list[int]] = {}  # a thousand rows may be about one image
    unmatched: dict[str, str] = {}
    for row in rows:
        if row.path not in by_path:
            by_path[row.path] = images.lookup(row.path)
        meant = by_path[row.path]
        if len(meant) > 1:
            raise UsageError(ambiguous_path(row.where, shown, row.path, meant, sources))
        if meant:
            matched.setdefault(meant[0], []).append(row)
        else:
            unmatched.setdefault(row.path, row.where)
    if not matched:
        first = rows[0].path if rows else None
        raise UsageError(no_match(first, shown, sources, "a path and a box for each object"))
    if not unmatched:
        return _Matched(matched, ())
    path, where = next(iter(unmatched.items()))
    note = (
        f"{counted(len(unmatched), 'image')} in {shown} "
        f"{'is' if len(unmatched) == 1 else 'are'} not in this run, for example "
        f"'{printable(path)}' ({where})."
    )
    return _Matched(matched, (note,))


class _Naming:
    """The classes that labels of boxes name."""

    def __init__(self, shown: str, known: Classes) -> None:
        self._shown, self._known = shown, known
        self._classes: dict[str, int | None] = {}
        self._named = False
        self._unknown: list[BoxRow] = []

    def boxes(self, row: BoxRow) -> list[Box]:
        """A row's box: none if it has none, or is of no class of the network."""
        if row.corners is None:
            return []
        index = None
        if row.label is not None:
            index = self._class(row, row.label)
            if index is None:
                self._unknown.append(row)
                return []
        self._named = True
        return [Box(index, row.corners, row.is_difficult, row.where)]

    def notes(self) -> list[str]:
        """What to say of labels that name no class.

        Raises:
            UsageError: none does.
        """
        if not self._unknown:
            return []
        first = self._unknown[0]
        example = f"'{printable(first.label or '')}' ({first.where})"
        if not self._named:
            raise UsageError(
                f"No label in {self._shown} is a class of the network, for example {example}; "
                "expected names or indices of classes."
            )
        count = len(self._unknown)
        return [
            f"{count} {'box' if count == 1 else 'boxes'} in {self._shown} "
            f"{'is' if count == 1 else 'are'} of no class of the network, for example {example}."
        ]

    def _class(self, row: BoxRow, label: str) -> int | None:
        if label not in self._classes:
            found = self._known.named(label)
            if len(found) > 1:
                where = row.where[0].upper() + row.where[1:]
                problem = self._known.ambiguous(label, found)
                raise UsageError(f"{where} of {self._shown}: {problem}")
            self._classes[label] = found[0] if found else None
        return self._classes[label]


def _notes(table: BoxTable, shown: str) -> tuple[str, ...]:
    if table.is_labeled:
        return ()
    return (f"{shown} has no labels: all boxes of an image count, whatever class is explained.",)
