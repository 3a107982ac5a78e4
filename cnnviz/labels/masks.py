"""Masks of the objects in a run's images: a folder with a PNG for each."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnviz.errors import ImageError, UsageError
from cnnviz.images.masks import read_mask
from cnnviz.images.source import Source
from cnnviz.labels.classes import Classes
from cnnviz.labels.table_text import csv_rows, delimiters, read_text, without_separator
from cnnviz.labels.truth_rows import LABEL_TITLES
from cnnviz.text import counted, folded, listed, printable, printable_path
from cnnviz.types import Mask

VALUES_FILE = "classes.csv"
"""What in a folder of masks says which value stands for which class."""

_HIGHEST = 65535  # of 16 bits


@dataclass(frozen=True)
class ImageMask:
    """The mask of one image.

    Attributes:
        path: of the PNG.
        values: pairs of a value and the class that it stands for; None if whatever is not 0 is an
            object, of any class.
    """

    path: Path
    values: tuple[tuple[int, int], ...] | None

    def region(self, target: int | None, shape: tuple[int, int]) -> Mask:
        """The pixels of a class's objects, bool (H, W) for an image of this shape.

        Raises:
            ImageError: the mask cannot be read, or is not of an image of this shape.
        """
        try:
            stored = read_mask(self.path, shape)
        except ImageError as error:
            raise ImageError(f"its mask {printable_path(self.path)}: {error}") from error
        if self.values is None:
            return np.asarray(stored != 0)
        own = [value for value, index in self.values if index == target]
        return np.isin(stored, own)


def find_masks(
    folder: str, sources: Sequence[Source], known: Classes
) -> tuple[tuple[ImageMask | None, ...], bool, tuple[str, ...]]:
    """Find the masks of a run's images.

    Args:
        folder: as :func:`cnnviz.labels.regions.read_regions` has it.
        sources: the images.
        known: the network's classes.

    Returns:
        For each image its mask, or None where there is none; whether they tell classes apart; and
        what the user should know, a sentence each.

    Raises:
        UsageError: see :func:`cnnviz.labels.regions.read_regions`.
    """
    root, shown = Path(folder), printable(folder)
    if not root.is_dir():
        raise UsageError(f"Masks come from a folder with a PNG for each image; got '{shown}'.")
    table = root / VALUES_FILE
    values = None
    notes = [f"Whatever is not 0 in the masks in {shown} is an object, of any class."]
    if table.is_file():
        values, notes = _read_values(table, printable_path(table), known)
    masks: list[ImageMask | None] = []
    owners: dict[Path, Source] = {}
    for source in sources:
        path = next(filter(os.path.isfile, _candidates(root, source)), None)
        if path is not None and owners.setdefault(path, source) is not source:
            raise UsageError(
                f"{printable_path(path)} would be the mask of {owners[path].shown} and of "
                f"{source.shown}; rename one of these, or evaluate them one by one."
            )
        masks.append(None if path is None else ImageMask(path, values))
    without = [one for one, mask in zip(sources, masks, strict=True) if mask is None]
    if len(without) == len(sources):
        expected = list(_candidates(root, sources[0]))[-1]
        raise UsageError(
            f"{shown} has no mask of any image of this run; expected {printable_path(expected)} "
            f"for {sources[0].shown}."
        )
    if without:
        notes.append(
            f"{len(without)} of {counted(len(sources), 'image')} "
            f"{'has' if len(without) == 1 else 'have'} no mask in {shown}, for example "
            f"{without[0].shown}."
        )
    return tuple(masks), values is not None, tuple(notes)


def _candidates(root: Path, source: Source) -> Iterator[Path]:
    """Where an image's mask may be: the image's own name with .png behind it, or for its suffix."""
    place = root / source.relative
    yield place.with_name(f"{place.name}.png")
    yield place.with_suffix(".png")


def _read_values(
    path: Path, shown: str, known: Classes
) -> tuple[tuple[tuple[int, int], ...], list[str]]:
    """Pairs of value and class, and a note on labels that are no class.

    Raises:
        UsageError: it is no table of value and label, or no label is a class.
    """
    text = without_separator(read_text(path, shown, "values"))
    try:
        rows = csv_rows(text, delimiters(text)[0])
    except csv.Error as error:
        raise UsageError(f"{shown} cannot be read as CSV: {error}.") from error
    titles = [folded(cell) for cell in rows[0][1]] if rows else []
    named = [titles.index(title) for title in LABEL_TITLES if title in titles]
    if "value" not in titles or not named:
        raise UsageError(
            f"{shown} has to begin with a header 'value,label': it says which value in the masks "
            "stands for which class."
        )
    column = titles.index("value")
    pairs, unknown = {}, []
    for line, cells in rows[1:]:
        value = cells[column].strip() if len(cells) > max(column, named[0]) else ""
        if not value.isdecimal() or len(value) > 5 or int(value) > _HIGHEST:
            raise UsageError(
                f"Line {line} of {shown} has no value and label; expected a number from 0 to "
                f"{_HIGHEST} and a class."
            )
        if int(value) in pairs:
            raise UsageError(f"Line {line} of {shown} has the value {value} a second time.")
        label = cells[named[0]]
        found = known.named(label)
        if len(found) > 1:
            raise UsageError(f"Line {line} of {shown}: {known.ambiguous(label, found)}")
        pairs[int(value)] = found[0] if found else None
        if not found:
            unknown.append(f"'{printable(label)}'")
    meant = tuple((value, index) for value, index in pairs.items() if index is not None)
    if not meant:
        found_instead = listed(unknown) or "it has no rows"
        raise UsageError(f"No label in {shown} is a class of the network: {found_instead}.")
    notes = [f"In {shown} no class of the network is {listed(unknown)}."] if unknown else []
    return meant, notes
