"""Thresholds of ``cnnviz evaluate``, for what metrics say of methods' maps, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnviz.errors import UsageError
from cnnviz.graph.ends import Activation
from cnnviz.metrics.base import Metric
from cnnviz.runs.checked import CheckedRun, Collector
from cnnviz.runs.evaluation_records import EvaluationRecord, MetricRecord, SubjectRecord
from cnnviz.runs.thresholds import FAIL_UNDER, MAX_SHARE, SCORES, SHARES, Figure, Threshold, judge
from cnnviz.text import counted, did_you_mean, joined, matching, paragraph


def check_metrics(
    thresholds: Sequence[Threshold], metrics: Sequence[Metric | MetricRecord]
) -> tuple[Threshold, ...]:
    """The thresholds with the metrics' own names, in any case and with _ or spaces for hyphens.

    Args:
        thresholds: for METRIC or METHOD.METRIC.
        metrics: those that are measured.

    Raises:
        UsageError: a metric is not measured, or none of its values is better than another.
    """
    return tuple(_with_metric(one, metrics) for one in thresholds)


def _with_metric(threshold: Threshold, metrics: Sequence[Metric | MetricRecord]) -> Threshold:
    method, dot, wanted = threshold.name.rpartition(".")
    names = [metric.name for metric in metrics]
    found = matching(wanted, names)
    if not found:
        are = "is" if len(names) == 1 else "are"
        raise UsageError(
            paragraph(
                f"{threshold}: '{wanted}' is not measured; {joined(names, 'and')} {are}.",
                _of_explain(wanted) or did_you_mean(wanted, names),
            )
        )
    if metrics[names.index(found[0])].direction is None:
        raise UsageError(
            f"{threshold}: no value of {found[0]} is better than another, so that nothing can be "
            "demanded of it."
        )
    return Threshold(threshold.option, f"{method}{dot}{found[0]}", threshold.limit)


def _of_explain(name: str) -> str:
    """Where a figure has a threshold that is no metric of maps; nothing if it is unknown."""
    for option, names in ((FAIL_UNDER, SCORES), (MAX_SHARE, SHARES)):
        if found := matching(name, names):
            return f"`cnnviz explain` takes {option} {found[0]}."
    return ""


def check_measurable(
    thresholds: Sequence[Threshold],
    metrics: Sequence[Metric],
    activation: Activation,
    *,
    of_class: bool,
) -> None:
    """Refuse thresholds for metrics that have no value for any image of a run.

    Args:
        thresholds: with the metrics' own names, see :func:`check_metrics`.
        metrics: those that are measured.
        activation: of the network.
        of_class: whether the target is a class, and not a similarity.

    Raises:
        UsageError: there is such a threshold.
    """
    reasons = {
        metric.name: metric.unmeasurable(activation, of_class=of_class) for metric in metrics
    }
    for one in thresholds:
        reason = reasons[one.name.rpartition(".")[2]]
        if reason is not None:
            raise UsageError(f"{one} cannot be measured: {reason}.")


def of_each_method(
    thresholds: Sequence[Threshold], subjects: Sequence[SubjectRecord]
) -> tuple[Threshold, ...]:
    """A threshold for each map that is meant: by METRIC those of all methods.

    By METHOD.METRIC those of the method, at whichever layer.

    Args:
        thresholds: with the metrics' own names, see :func:`check_metrics`.
        subjects: the maps that are judged.

    Raises:
        UsageError: there is no such method.
    """
    keys = [subject.key for subject in subjects if not subject.baseline]
    return tuple(each for one in thresholds for each in _of_methods(one, keys))


def _of_methods(threshold: Threshold, keys: Sequence[str]) -> Iterator[Threshold]:
    method, _, metric = threshold.name.rpartition(".")
    methods = {key: key.partition("@")[0] for key in keys}
    found = set(matching(method, [*keys, *dict.fromkeys(methods.values())]))
    meant = [key for key in keys if not method or {key, methods[key]} & found]
    if not meant:
        raise UsageError(
            paragraph(
                f"{threshold}: no map of '{method}' is judged, only of {joined(keys, 'and')}.",
                did_you_mean(method, methods.values()),
            )
        )
    for key in meant:
        yield Threshold(threshold.option, f"{key}.{metric}", threshold.limit)


def metric_figures(summary: EvaluationRecord) -> tuple[Figure, ...]:
    """What metrics with a direction say of methods' maps: the means over images."""
    return tuple(_figures(summary))


def _figures(summary: EvaluationRecord) -> Iterator[Figure]:
    for subject in summary.subjects:
        for metric in summary.metrics:
            cell = summary.cell(subject.key, metric.name)
            if subject.baseline or metric.direction is None or cell is None:
                continue
            yield Figure(
                f"{subject.key}.{metric.name}",
                f"{metric.title} of {subject.title}",
                cell.value,
                cell.images,
                metric.direction,
                reason="it was measured on no image",
            )


def verdict_on(
    summary: EvaluationRecord, thresholds: Sequence[Threshold], collector: Collector, title: str
) -> CheckedRun:
    """The verdict on an evaluation.

    Args:
        summary: what was found.
        thresholds: one for each map that is meant, see :func:`of_each_method`.
        collector: its images.
        title: what ran, in a sentence.
    """
    figures = metric_figures(summary)
    failed = f", {summary.failed} failed" if summary.failed else ""
    return CheckedRun(
        command="evaluate",
        started=collector.started,
        seconds=collector.seconds,
        findings=(
            f"{counted(summary.ok, 'image')} evaluated{failed}.",
            *summary.findings,
            title,
        ),
        figures=figures,
        verdicts=judge(thresholds, figures),
        images=tuple(collector.images),
    )
