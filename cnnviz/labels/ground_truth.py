"""The true classes of images: from the names of their folders, or from a table."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cnnviz.errors import UsageError
from cnnviz.images.source import Source
from cnnviz.labels.classes import WORDNET_FIRST, Classes
from cnnviz.labels.image_paths import ImagePaths, ambiguous_path, no_match
from cnnviz.labels.label_sets import LabelSet, Truth
from cnnviz.labels.truth_labels import RowLabels, RowLabelSets
from cnnviz.labels.truth_rows import Row, Table
from cnnviz.labels.truth_tables import TABLE_SUFFIXES, read_table
from cnnviz.storage.archives import ArchiveMember
from cnnviz.storage.paths import path_of, shown_path
from cnnviz.storage.sequences import LazySequence, Mapped
from cnnviz.storage.stored import full_path
from cnnviz.text import counted, joined, listed, printable

FOLDERS = "folders"
"""What stands for the names of folders where a file could be named."""

MEMBERS = "cls"
"""What stands for the classes that tar archives hold beside images, as WebDataset has them."""

_SHOWN = 3
_UNKNOWN = -1  # in place of a class


@dataclass(frozen=True)
class GroundTruth:
    """The true classes of a run's images.

    Attributes:
        source: ``"folders"``, ``"cls"``, or the file's name as it is shown to the user.
        truths: for each image its class or, of a network whose classes do not exclude one another,
            its :class:`LabelSet`; None where it is not known.
        notes: what the user should know of it, a sentence each.
    """

    source: str
    truths: Sequence[Truth]
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

    ``cls``: a tar archive has a member beside an image (``0001.cls`` beside ``0001.jpg``) that
    holds its class, as an index or in any other way that a table may have it.

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
        spec: ``folders``, ``cls``, or the name or URL of a .csv, .tsv, .txt, .json or .jsonl file.
        sources: the images.
        labels: the classes' names by index; may be empty.
        classes: the number of the network's classes.
        multi_label: whether an image may belong to several of these, or to none.

    Raises:
        UsageError: the file cannot be read or understood, names an unknown class, gives an image
            two classes of which the network predicts one, or matches no image of the run; no
            folder is named after a class; no archive says one.
    """
    known = Classes(labels, classes)
    if spec.strip().lower() == FOLDERS:
        return _from_folders(sources, known, multi_label=multi_label)
    if spec.strip().lower() == MEMBERS:
        return _from_members(sources, known, multi_label=multi_label)
    path, shown = path_of(spec), shown_path(spec)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(
            f"Ground truth comes from {FOLDERS}, from {MEMBERS} (members of tar archives), or from "
            f"a {joined(TABLE_SUFFIXES)} file; got '{shown}'."
        )
    images = ImagePaths(sources, path)
    table = read_table(path, shown, images, known, several=multi_label)
    if multi_label:
        found: RowLabelSets | RowLabels = RowLabelSets(
            shown, known, has_negatives=table.has_negatives
        )
    else:
        found = RowLabels(shown, known)
    return _from_table(table, shown, sources, images, found)


def _described(known: Classes) -> str:
    """What the classes are called, for messages about a name that none has."""
    if not known.labels:
        return f"the classes have no names, only the numbers 0 to {known.count - 1}"
    return f"the classes are {known.listed(range(known.count), _SHOWN)}"


# --- folders -------------------------------------------------------------------------------------


def _from_folders(sources: Sequence[Source], known: Classes, *, multi_label: bool) -> GroundTruth:
    images: dict[str, int] = {}
    for folder in map(_folder, sources):
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
    known_as: dict[str, int] = {
        folder: found[0] if len(found) == 1 else _UNKNOWN for folder, found in called.items()
    }
    indices = array("i", (known_as[_folder(source)] for source in sources))
    truths = Mapped(_label_set if multi_label else _index, indices)
    kept = truths if isinstance(sources, LazySequence) else tuple(truths)
    return GroundTruth(FOLDERS, kept, tuple(notes))


def _index(index: int) -> Truth:
    return None if index == _UNKNOWN else index


def _label_set(index: int) -> Truth:
    return None if index == _UNKNOWN else LabelSet((index,))


def _folder(source: Source) -> str:
    """The name of the folder that holds an image."""
    return source.relative.parent.name or full_path(source.path).parent.name


def _wordnet(folders: Iterable[str]) -> str:
    """What is to be said if folders are called by the numbers that ImageNet's archives use."""
    if not any(WORDNET_FIRST.match(folder) for folder in folders):
        return ""
    return " WordNet IDs (n02123045) are recognized if the file of --labels has them."


# --- archives ------------------------------------------------------------------------------------


def _from_members(sources: Sequence[Source], known: Classes, *, multi_label: bool) -> GroundTruth:
    by_label: dict[str, Truth] = {}  # a million images have a thousand
    truths: list[Truth] = []
    without, example = 0, ""
    for source in sources:
        label = source.path.label if isinstance(source.path, ArchiveMember) else None
        if label is None:
            without, example = without + 1, example or source.shown
            truths.append(None)
            continue
        if label not in by_label:
            by_label[label] = _of_member(source, label, known, multi_label=multi_label)
        truths.append(by_label[label])
    if without == len(sources):
        raise UsageError(
            f"No image has a class: --truth {MEMBERS} takes it from tar archives that have "
            f"0001.cls beside 0001.jpg, and {example} has no such member."
        )
    notes = []
    if without:
        have, them = ("has", "it") if without == 1 else ("have", "them")
        notes.append(
            f"{without} of {counted(len(sources), 'image')} {have} no .cls member beside {them}, "
            f"for example {example}."
        )
    return GroundTruth(MEMBERS, tuple(truths), tuple(notes))


def _of_member(source: Source, label: str, known: Classes, *, multi_label: bool) -> Truth:
    """What an image's member says."""
    found: RowLabelSets | RowLabels = RowLabels("an archive", known)
    if multi_label:
        found = RowLabelSets("an archive", known, has_negatives=False)
    found.add(0, Row("the .cls member", source.shown, (label,)))
    return found.truth(0)


# --- files ---------------------------------------------------------------------------------------


def _from_table(
    table: Table,
    shown: str,
    sources: Sequence[Source],
    images: ImagePaths,
    found: RowLabelSets | RowLabels,
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


def _some(names: Sequence[str]) -> str:
    return listed((f"'{printable(name)}'" for name in names), _SHOWN)
