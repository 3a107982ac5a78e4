"""Reading what a run wrote, and refusing what is none of it, with a reason that helps."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from cnnviz.errors import UsageError
from cnnviz.runs.evaluation_records import (
    EVALUATION_VERSION,
    EvaluatedImageRecord,
    Evaluation,
    EvaluationRecord,
)
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.manifest import MANIFEST
from cnnviz.runs.records import VERSION, Manifest, SummaryRecord
from cnnviz.runs.run_records import RunRecord
from cnnviz.storage.paths import AnyPath, opened
from cnnviz.structure import decode, parse

EVALUATION = "evaluation.json"

#: How the lines before those of images begin.
_RUN, _SUMMARY = b'"run": ', b'"summary": '

RecordT = TypeVar("RecordT")
ImageT = TypeVar("ImageT")
SummaryT = TypeVar("SummaryT", SummaryRecord, EvaluationRecord)


def read_manifest(folder: AnyPath) -> Manifest:
    """The manifest of the run that wrote to a folder.

    Raises:
        UsageError: there is none, it is another version's, or it is damaged.
    """
    found = _read(folder / MANIFEST, "cnnviz_manifest", VERSION, Manifest, "explain")
    if found is None:
        raise UsageError(
            f"There is no {MANIFEST} in {folder}. A run of `cnnviz explain` writes it when all "
            "images are done; give the folder that was its --output."
        )
    return found


@dataclass(frozen=True)
class _Form(Generic[SummaryT, ImageT]):
    """What a run's file holds: under which key its version is, and its records."""

    key: str
    version: int
    summary: type[SummaryT]
    image: type[ImageT]
    command: str


class RunLines(Generic[SummaryT, ImageT]):
    """A run's file that is read line by line, so that any number of images fits into memory.

    Attributes:
        run: the run.
        summary: how its images fared.
    """

    run: RunRecord
    summary: SummaryT

    def __init__(
        self, path: AnyPath, form: _Form[SummaryT, ImageT], run: bytes, summary: bytes
    ) -> None:
        """Of the lines that begin it."""
        self._path = path
        self._form: _Form[SummaryT, ImageT] = form
        self.run = self._decoded(RunRecord, _RUN, run, "run")
        self.summary = self._decoded(form.summary, _SUMMARY, summary, "summary")

    @classmethod
    def open(
        cls, path: AnyPath, form: _Form[SummaryT, ImageT]
    ) -> RunLines[SummaryT, ImageT] | None:
        """A run's file; None if there is none that has its lines as cnnviz writes them.

        Raises:
            UsageError: it is damaged.
        """
        try:
            with opened(path) as file:
                start, run, summary, images = (file.readline() for _ in range(4))
        except OSError:
            return None
        as_written = (
            start == b'{"%s": %d,\n' % (form.key.encode("ascii"), form.version)
            and run.startswith(_RUN)
            and summary.startswith(_SUMMARY)
            and images == b'"images": [\n'
        )
        return cls(path, form, run, summary) if as_written else None

    def images(self) -> Iterator[ImageT]:
        """The images' records, in the order of the run.

        Raises:
            UsageError: one is damaged, or the file does not hold as many as it says.
        """
        count = 0
        with opened(self._path) as file:
            for line in islice(file, 4, None):
                if line.startswith(b"]}"):
                    break
                yield self._decoded(self._form.image, b"", line, f"images[{count}]")
                count += 1
            else:
                raise self._damaged("it has no end")
        if count != self.summary.images:
            raise self._damaged(f"it has {count} images instead of {self.summary.images}")

    def at(self, places: Collection[int]) -> dict[int, ImageT]:
        """The records of some images, by their places in the run, from 0."""
        with opened(self._path) as file:
            return {
                place: self._decoded(self._form.image, b"", line, f"images[{place}]")
                for place, line in enumerate(islice(file, 4, None))
                if place in places
            }

    def _decoded(self, record: type[RecordT], start: bytes, line: bytes, where: str) -> RecordT:
        try:
            return decode(record, parse(line[len(start) :].rstrip(b",\n")), where)
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> UsageError:
        return _damaged(self._path, what, f"run `cnnviz {self._form.command}` again")


_MANIFEST_FORM = _Form("cnnviz_manifest", VERSION, SummaryRecord, ImageRecord, "explain")
_EVALUATION_FORM = _Form(
    "cnnviz_evaluation", EVALUATION_VERSION, EvaluationRecord, EvaluatedImageRecord, "evaluate"
)


def manifest_lines(folder: AnyPath) -> RunLines[SummaryRecord, ImageRecord] | None:
    """The manifest in a folder, to be read line by line; None where only a whole can be read.

    Raises:
        UsageError: it is damaged.
    """
    return RunLines.open(folder / MANIFEST, _MANIFEST_FORM)


def read_evaluation_overview(folder: AnyPath, most: int) -> Evaluation | None:
    """The evaluation in a folder, of more than ``most`` images with so many, the first ones, only.

    Raises:
        UsageError: it is another version's, or it is damaged.
    """
    lines = RunLines.open(folder / EVALUATION, _EVALUATION_FORM)
    if lines is None or lines.summary.images <= most:
        return read_evaluation(folder)
    first = tuple(islice(lines.images(), most))
    return Evaluation(EVALUATION_VERSION, lines.run, lines.summary, first)


def read_evaluation(folder: AnyPath) -> Evaluation | None:
    """The evaluation that was written to a folder; None if there is none.

    Raises:
        UsageError: it is another version's, or it is damaged.
    """
    path = folder / EVALUATION
    return _read(path, "cnnviz_evaluation", EVALUATION_VERSION, Evaluation, "evaluate")


def _read(
    path: AnyPath, key: str, version: int, record: type[RecordT], command: str
) -> RecordT | None:
    """What a run's file holds, which has its version under a key; None if there is no such file."""
    again = f"run `cnnviz {command}` again"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        found = parse(text)
    except ValueError as error:
        if not text:
            raise UsageError(f"{path} is empty: move it away, and {again}.") from error
        raise _damaged(path, str(error), again) from error
    if not isinstance(found, dict) or key not in found:
        raise UsageError(f"{path} was not written by cnnviz: it has no `{key}`.")
    if found[key] != version:
        raise UsageError(
            f"{path} has version {found[key]!r:.20} of the format, and this cnnviz reads version "
            f"{version}. Use the cnnviz that wrote it, or {again} with another output folder."
        )
    try:
        return decode(record, found, f"the {path.stem}")
    except ValueError as error:
        raise _damaged(path, str(error), again) from error


def _damaged(path: AnyPath, what: str, again: str) -> UsageError:
    return UsageError(f"{path} is damaged: {what}. {again[:1].upper()}{again[1:]}.")
