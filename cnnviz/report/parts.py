"""The records of a large run, in files beside its page that the page loads as it needs them.

Up to :data:`WHOLE` images the page holds all records itself. Of more it holds the overview, how
many images there are of each kind and class, and the records that are seen first; the rest lies
below ``report``, in three kinds of parts:

- ``0001.js``, ...: :data:`RECORDS` images' records each, as the page shows them;
- ``columns-0001.js``, ...: of :data:`COLUMNS` images each what they are filtered and sorted by, as
  base64 of typed arrays, 37 bytes an image; loaded when a filter or an order is first chosen;
- ``paths-0001.js``, ...: :data:`PATHS` images' paths each; loaded when paths are searched or saved.

A page on the disk may not read the files beside it, but may add scripts to itself. So each part is
a script of one call, ``cnnvizPart({run, name, data})``, marked as cnnviz's own. The page takes what
it asked for by ``name``, of its own ``run``, and nothing else. Its policy, ``'strict-dynamic'``,
lets the page's own program, known by its hash, add scripts, and no others run, be they inline or
elements in the document. Hashes of the parts themselves (the attribute ``integrity``) would be
stricter, but browsers refuse them for files on the disk, whose contents no page may see.

What an earlier, larger report left of its parts is removed when the page is written.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cnnviz.outputs.folders import Folder
from cnnviz.outputs.formats import encode_script
from cnnviz.outputs.marks import is_foreign
from cnnviz.report.page import image_data
from cnnviz.runs.image_records import ImageRecord
from cnnviz.storage.paths import AnyPath

PARTS = PurePosixPath("report")
"""The folder of the parts, below the run's."""

WHOLE = 5000
"""The largest number of images whose records stand in the page itself."""

RECORDS = 100
COLUMNS = 50_000
PATHS = 20_000
"""Images of a part."""

FIRST = 60
"""How many images' records stand in the page of a run in parts, those that are seen first."""

#: The bits of an image's flags, in the order in which the page lists the kinds.
KINDS = ("correct", "incorrect", "unknown", "blank", "failed")

#: True classes in the column: of an image of which they are unknown, and of one that has none.
_UNKNOWN, _EMPTY = -1, -2

_NAME = re.compile(r"(columns-|paths-)?\d{4,}\.js")


@dataclass
class _Columns:
    """What images are filtered and sorted by."""

    predicted: list[int] = field(default_factory=list)
    truth_counts: list[int] = field(default_factory=list)
    truths: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    margin: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)

    def add(self, image: ImageRecord) -> None:
        truths = true_classes(image)
        self.truth_counts.append(len(truths))
        self.truths.extend(truths)
        self.flags.append(sum(1 << KINDS.index(kind) for kind in kinds(image)))
        predicted = image.prediction if image.ok else None
        self.predicted.append(-1 if predicted is None else predicted.index)
        sure = None
        if predicted is not None:
            sure = predicted.logit if predicted.probability is None else predicted.probability
        for column, value in (
            (self.confidence, sure),
            (self.margin, image.margin),
            (self.loss, image.loss),
        ):
            column.append(np.nan if value is None else value)

    def data(self) -> dict[str, str]:
        """In base64, little-endian."""
        return {
            "predicted": _base64(self.predicted, "<i4"),
            "truth_counts": _base64(self.truth_counts, "<i4"),
            "truths": _base64(self.truths, "<i4"),
            "flags": _base64(self.flags, "<u1"),
            "confidence": _base64(self.confidence, "<f8"),
            "margin": _base64(self.margin, "<f8"),
            "loss": _base64(self.loss, "<f8"),
        }


class PartsWriter:
    """Writes the parts of a run as its images come."""

    def __init__(self, folder: Folder, run: str) -> None:
        """Args: the run's output folder, and what identifies the run to its page."""
        self._folder = folder
        self._run = run
        self._images = 0
        self._records: list[dict[str, Any]] = []
        self._paths: list[str] = []
        self._columns = _Columns()
        self._first: list[dict[str, Any]] = []
        self._written: set[str] = set()
        self._kinds: Counter[str] = Counter()
        self._predicted: Counter[int] = Counter()
        self._truths: Counter[int] = Counter()
        self._multi_label = self._truth_known = self._loss = self._margin = False

    def add(self, image: ImageRecord) -> None:
        """Take the next image of the run.

        Raises:
            OutputError: there is a file that cnnviz did not write where a part belongs.
            OutputUnavailableError: the file system refused (disk full, no permission).
        """
        record = image_data(image)
        if len(self._first) < FIRST:
            self._first.append(record)
        self._records.append(record)
        self._paths.append(image.path)
        self._columns.add(image)
        self._images += 1
        self._count(image)
        if self._images % RECORDS == 0:
            self._end_records()
        if self._images % COLUMNS == 0:
            self._end_columns()
        if self._images % PATHS == 0:
            self._end_paths()

    def close(self, picks: Mapping[int, ImageRecord]) -> dict[str, Any]:
        """Write what is left, and remove the parts of an earlier report that are not replaced.

        Args:
            picks: further images whose records stand in the page itself, by their place.

        Returns:
            What the page has to know of its parts; classes and flags as in :class:`_Columns`.
        """
        self._end_records()
        self._end_columns()
        self._end_paths()
        remove_parts(self._folder.path, self._written)
        if not self._truth_known:
            self._kinds.pop("unknown", None)
        return {
            "folder": str(PARTS),
            "run": self._run,
            "images": self._images,
            "sizes": {"records": RECORDS, "columns": COLUMNS, "paths": PATHS},
            "records": {
                **dict(enumerate(self._first)),
                **{place: image_data(image) for place, image in picks.items()},
            },
            "kinds": self._kinds,
            "predicted": self._predicted,
            "truths": self._truths,
            "multi_label": self._multi_label,
            "truth_known": self._truth_known,
            "loss": self._loss,
            "margin": self._margin,
        }

    def _count(self, image: ImageRecord) -> None:
        self._kinds.update(kinds(image))
        self._truths.update(true_classes(image))
        if image.ok:
            self._predicted[image.prediction.index] += 1
        self._multi_label = self._multi_label or bool(image.predicted_classes)
        self._truth_known = self._truth_known or bool(image.ground_truth or image.true_classes)
        self._loss = self._loss or image.loss is not None
        self._margin = self._margin or image.margin is not None

    def _end_records(self) -> None:
        if self._records:
            self._write("", RECORDS, self._records)
        self._records = []

    def _end_columns(self) -> None:
        if self._columns.flags:
            self._write("columns-", COLUMNS, self._columns.data())
        self._columns = _Columns()

    def _end_paths(self) -> None:
        if self._paths:
            self._write("paths-", PATHS, self._paths)
        self._paths = []

    def _write(self, kind: str, size: int, data: Any) -> None:
        name = f"{kind}{(self._images - 1) // size + 1:04d}"
        content = json.dumps(
            {"run": self._run, "name": name, "data": data}, allow_nan=False, separators=(",", ":")
        )
        self._written.add(f"{name}.js")
        self._folder.write(PARTS / f"{name}.js", encode_script(f"cnnvizPart({content});"))


def kinds(image: ImageRecord) -> list[str]:
    """What an image can be filtered by, as the page's own program says of a record.

    ``unknown`` counts only if the true class of any image is known.
    """
    if not image.ok:
        return ["failed"]
    known = {True: "correct", False: "incorrect", None: "unknown"}[image.correct]
    return [known, "blank"] if image.blank else [known]


def true_classes(image: ImageRecord) -> Sequence[int]:
    """An image's true classes as the column has them; none if it failed."""
    if not image.ok:
        return ()
    if image.true_classes is not None:
        return [score.index for score in image.true_classes.positive] or [_EMPTY]
    return [_UNKNOWN if image.ground_truth is None else image.ground_truth.index]


def remove_parts(folder: AnyPath, but: set[str] | frozenset[str] = frozenset()) -> None:
    """Remove the parts of a report that lie below a run's folder, but those of some names."""
    parts = folder / PARTS
    for name in list(_names(parts)):
        if _NAME.fullmatch(name) and name not in but and not is_foreign(parts / name):
            (parts / name).unlink(missing_ok=True)


def _names(folder: AnyPath) -> Iterator[str]:
    """What lies in a folder, if there is one."""
    if not isinstance(folder, Path):
        yield from (path.path_from(folder) for path in folder.below())
    elif folder.is_dir():
        yield from (path.name for path in folder.iterdir())


def _base64(values: Sequence[float], kind: str) -> str:
    return base64.b64encode(np.array(values, np.dtype(kind)).tobytes()).decode("ascii")
