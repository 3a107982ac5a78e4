"""The verdict on a run that is over, by its file: on one whose parts others have done, say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from cnnviz.errors import UsageError
from cnnviz.runs.checked import CheckedRun, Collector
from cnnviz.runs.evaluate import EVALUATION
from cnnviz.runs.evaluation_checks import check_metrics, of_each_method, verdict_on
from cnnviz.runs.evaluation_records import EvaluationRecord
from cnnviz.runs.figures import ExplanationCollector
from cnnviz.runs.journal import RecordT, RunFile
from cnnviz.runs.manifest import MANIFEST_FILE
from cnnviz.runs.merge import RunHeader, read_header
from cnnviz.runs.request import CheckOptions
from cnnviz.runs.request_checks import have_heatmaps
from cnnviz.runs.run_records import RunRecord
from cnnviz.runs.summary import RunReport
from cnnviz.runs.thresholds import needs_truth, wrong_kind
from cnnviz.storage.paths import AnyPath
from cnnviz.structure import decode


def finished_run(path: AnyPath) -> RunHeader:
    """What stands in a run's file, above its images.

    Raises:
        UsageError: it cannot be read, or is damaged.
    """
    header = read_header(path)
    if header is None or not isinstance(header.summary, dict):
        raise UsageError(f"{path} is damaged, or not there any more.")
    return header


def verdict_on_manifest(
    header: RunHeader, checks: CheckOptions, collector: ExplanationCollector | None = None
) -> CheckedRun:
    """The verdict on a run of ``cnnviz explain``, as that itself comes to.

    Args:
        header: of its manifest.
        checks: what is demanded.
        collector: knows since when it runs; None: as its manifest says.

    Raises:
        UsageError: the manifest is damaged, or does not have what a figure is computed from.
    """
    if header.summary["scanned"] is not None:
        raise UsageError(
            f"{header.path} has those images only that were selected by the predictions for all: "
            "give this to `cnnviz explain` with the options of the run, which does none again."
        )
    report, images = RunReport.of_run(header.run), collector or ExplanationCollector()
    for image in _records(MANIFEST_FILE, header):
        report.count(image, fresh=True)
        if checks.written:
            images.add_image(image)
    _check(checks, header.run, report)
    found = images.conclude(checks, report, None, _title(header.run))
    return found if collector is not None else _timed(found, header.run)


def verdict_on_evaluation(
    header: RunHeader, checks: CheckOptions, collector: Collector | None = None
) -> CheckedRun:
    """Likewise of a run of ``cnnviz evaluate``; ``checks.fail_under`` is about metrics.

    Raises:
        UsageError: its file is damaged, or has no such metric or method.
    """
    try:
        summary = decode(EvaluationRecord, header.summary, "summary")
    except ValueError as error:
        raise UsageError(f"{header.path} is damaged: {error}.") from error
    for one in checks.max_share:
        raise UsageError(f"{one} is for runs of `cnnviz explain`; {header.path} is an evaluation.")
    limits = of_each_method(check_metrics(checks.fail_under, summary.metrics), summary.subjects)
    images = collector or Collector()
    if checks.written:
        for image in _records(EVALUATION, header):
            images.add(image.path, image.seconds, image.error)
    found = verdict_on(summary, limits, images, _title(header.run))
    return found if collector is not None else _timed(found, header.run)


def _check(checks: CheckOptions, run: RunRecord, report: RunReport) -> None:
    """Refuse thresholds for figures that there cannot be.

    Raises:
        UsageError: they need true classes, another kind of network, or heatmaps.
    """
    again = "explain the images again with"
    for one in checks.fail_under:
        if run.ground_truth is None:
            raise UsageError(needs_truth(one, f"{again} --truth"))
        several = report.multi_label.correct + report.multi_label.incorrect
        known = several or report.accuracy.known
        problem = wrong_kind(one, multi_label=several > 0) if known else None
        if problem is not None:
            raise UsageError(problem)
    if checks.max_share and not have_heatmaps(run.methods):
        raise UsageError(f"{checks.max_share[0]} needs a heatmap: {again} --method gradcam.")


def _records(of: RunFile[RecordT], header: RunHeader) -> Iterator[RecordT]:
    for _, text in header.images():
        image = of.image_in(text)
        if image is None:
            raise UsageError(f"{header.path} is damaged at {text[:80]!r}.")
        yield image


def _title(run: RunRecord) -> str:
    """What ran, in a sentence, as :attr:`cnnviz.runs.session.Session.title`."""
    return f"{run.network.name}, {run.engine}."


def _timed(found: CheckedRun, run: RunRecord) -> CheckedRun:
    """With the times of the run."""
    return replace(found, started=datetime.fromisoformat(run.started), seconds=run.seconds)
