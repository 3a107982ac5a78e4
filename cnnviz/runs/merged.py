"""What the merged parts of a run come to: the summaries of ``manifest.json`` and its sisters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from cnnviz.metrics.randomization_result import RandomizationResult
from cnnviz.outputs.folders import folder_at
from cnnviz.outputs.formats import encode_run_file
from cnnviz.runs.evaluate import EVALUATION
from cnnviz.runs.evaluation_records import EvaluatedImageRecord, EvaluationRecord
from cnnviz.runs.evaluation_summary import Summarizer
from cnnviz.runs.evaluation_table import TABLE, table_lines
from cnnviz.runs.manifest import MANIFEST_FILE, check_run_file
from cnnviz.runs.merge import NotYetError, find_parts, merging
from cnnviz.runs.records import SummaryRecord
from cnnviz.runs.summary import RunReport
from cnnviz.storage.paths import AnyPath
from cnnviz.structure import decode
from cnnviz.text import counted, joined
from cnnviz.types import Notify

Randomize = Callable[
    [Iterable[EvaluatedImageRecord], int, str], tuple[RandomizationResult | None, tuple[str, ...]]
]
"""The test with random parameters, of all images' records, their number and the fingerprint."""


SummaryT = TypeVar("SummaryT", bound=SummaryRecord | EvaluationRecord)


@dataclass(frozen=True)
class Merged(Generic[SummaryT]):
    """What a merge came to.

    Attributes:
        summary: over all images.
        report: whether the run was to have a page.
    """

    summary: SummaryT
    report: bool


@dataclass(frozen=True)
class MergedManifest(Merged[SummaryRecord]):
    """The same of a run of ``cnnviz explain``.

    Attributes:
        counts: of all images.
    """

    counts: RunReport


def merge_manifest(
    folder: AnyPath, count: int | None = None, notify: Notify | None = None
) -> MergedManifest | None:
    """Make ``manifest.json`` of a run's parts; for the arguments see :func:`find_parts`.

    Returns:
        None if there is no part.

    Raises:
        NotYetError: there are not all.
        UsageError: there is such a file that cnnviz did not write.
    """
    with merging(folder):
        parts = find_parts(MANIFEST_FILE, folder, count, notify)
        if parts is None:
            return None
        check_run_file(folder)
        run = parts.run
        report = RunReport.of_run(run)
        for image in parts.records():
            report.count(image, fresh=True)
        note = report.mixture(run.engine)
        if note is not None and parts.engines > 1:
            each = (f"{counted(n, 'image')} by {engine}" for engine, n in report.engines.items())
            note = f"The parts were explained by several engines: {joined(each, 'and')}."
        if note is not None and notify is not None:
            notify(note)
        skipped = int(parts.headers[0].summary["skipped_own"])
        summary = report.record(None, skipped, parts.left_behind())
        parts.write(replace(run, notes=(*run.notes, *filter(None, [note]))), summary)
        return MergedManifest(summary, bool(run.parameters.get("report")), report)


def merge_evaluation(
    folder: AnyPath,
    count: int | None = None,
    notify: Notify | None = None,
    randomize: Randomize | None = None,
) -> Merged[EvaluationRecord] | None:
    """Make ``evaluation.json`` and ``evaluation.csv`` likewise.

    Args:
        folder: where the parts are.
        count: of the parts.
        notify: called with a sentence about others.
        randomize: makes the test with random parameters, if that is asked for.

    Raises:
        NotYetError: there are not all parts, or the test is asked for and cannot be made.
        UsageError: there is such a file that cnnviz did not write.
    """
    with merging(folder):
        parts = find_parts(EVALUATION, folder, count, notify)
        if parts is None:
            return None
        check_run_file(folder, EVALUATION)
        if parts.record.unfinished is not None and randomize is None:
            raise NotYetError(parts.record.unfinished)
        of_part = decode(EvaluationRecord, parts.headers[0].summary, "summary")
        summarizer = Summarizer(of_part.metrics, of_part.subjects)
        for image in parts.records():
            summarizer.add(image)
        found, notes = (
            (None, ())
            if randomize is None
            else randomize(parts.records(), parts.record.images, parts.run.fingerprint)
        )
        summary = summarizer.record(found, notes)
        run = parts.run
        table = table_lines(summary, parts.records())
        folder_at(folder).write(TABLE, encode_run_file(table))
        parts.write(run, summary)
        return Merged(summary, bool(run.parameters.get("report")))
