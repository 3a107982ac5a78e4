"""What the metrics of two evaluations say of the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cnnviz.comparison.comparison import Pair
from cnnviz.comparison.records import MeanRecord, MetricChangeRecord
from cnnviz.metrics.statistics import mean_of
from cnnviz.runs.evaluation_records import (
    EvaluatedImageRecord,
    Evaluation,
    MetricRecord,
    SubjectRecord,
)
from cnnviz.runs.image_records import MeasurementRecord
from cnnviz.types import Float64


def metric_changes(
    a: Evaluation | None, b: Evaluation | None, pairs: Sequence[Pair]
) -> Iterator[MetricChangeRecord]:
    """Each metric that both measured with the same options, of each map that both have.

    Where the two have one map each, that is what is compared, whatever its method is.
    """
    if a is None or b is None:
        return
    images_a, images_b = ({one.stem: one for one in side.images} for side in (a, b))
    both = [
        (images_a[pair.a.stem], images_b[pair.b.stem])
        for pair in pairs
        if pair.a.stem in images_a and pair.b.stem in images_b
    ]
    both = [
        (one, other) for one, other in both if one.ok and other.ok and one.sha256 == other.sha256
    ]
    for subject_a, subject_b in _subjects(a.summary.subjects, b.summary.subjects):
        for metric in a.summary.metrics:
            if metric in b.summary.metrics:
                found = _change(metric, subject_a, subject_b, both)
                if found is not None:
                    yield found


def _subjects(
    a: Sequence[SubjectRecord], b: Sequence[SubjectRecord]
) -> list[tuple[SubjectRecord, SubjectRecord]]:
    ours, theirs = ([one for one in side if not one.baseline] for side in (a, b))
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    by_key = {one.key: one for one in theirs}
    return [(one, by_key[one.key]) for one in ours if one.key in by_key]


def _change(
    metric: MetricRecord,
    a: SubjectRecord,
    b: SubjectRecord,
    images: Sequence[tuple[EvaluatedImageRecord, EvaluatedImageRecord]],
) -> MetricChangeRecord | None:
    measured = [
        (before, after)
        for one, other in images
        if (before := one.measurements.get(a.key, {}).get(metric.name)) is not None
        and (after := other.measurements.get(b.key, {}).get(metric.name)) is not None
        and before.value is not None
        and after.value is not None
    ]
    if not measured:
        return None
    values_a = np.array([before.value for before, _ in measured], np.float64)
    values_b = np.array([after.value for _, after in measured], np.float64)
    grouped = [before for before, _ in measured] if metric.mean_over_classes else []
    return MetricChangeRecord(
        metric=metric.name,
        title=metric.title,
        direction=metric.direction,
        subject_a=a.key,
        subject_b=b.key,
        a=_mean(values_a, grouped),
        b=_mean(values_b, grouped),
        change=_mean(values_b - values_a, grouped),
    )


def _mean(values: Float64, grouped: Sequence[MeasurementRecord]) -> MeanRecord:
    groups = np.array([one.group for one in grouped], np.int64) if grouped else None
    found = mean_of(values, groups)
    return MeanRecord(found.value, found.low, found.high, found.images)
