"""What metrics say of the maps of two runs, on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cnnviz.comparison.comparison import Pair, Side
from cnnviz.comparison.records import MeanRecord, MetricChangeRecord
from cnnviz.metrics.registry import choose_metrics, of_maps
from cnnviz.metrics.statistics import mean_of
from cnnviz.runs.evaluation_records import MetricRecord
from cnnviz.runs.image_records import MeasurementRecord
from cnnviz.runs.judge import metric_record
from cnnviz.types import Float64

#: Of each target of an image, by its title, what was measured of its maps: by map and metric.
_OfTargets: TypeAlias = Mapping[str, Mapping[str, Mapping[str, MeasurementRecord]]]


@dataclass(frozen=True)
class _Judged:
    """What is known of how far the maps of a run can be believed.

    Attributes:
        metrics: how they were judged.
        subjects: of which maps, by key; baselines are none.
        images: what was measured of each image, by its stem.
    """

    metrics: tuple[MetricRecord, ...]
    subjects: tuple[str, ...]
    images: Mapping[str, _OfTargets]


def was_judged(side: Side) -> bool:
    """Whether metrics were measured of its maps."""
    return _judged(side) is not None


def metric_changes(a: Side, b: Side, pairs: Sequence[Pair]) -> Iterator[MetricChangeRecord]:
    """Each metric that both measured with the same options, of each map that both have.

    Where the two have one map each, that is what is compared, whatever its method is.
    """
    ours, theirs = _judged(a), _judged(b)
    if ours is None or theirs is None:
        return
    images = [
        (ours.images[pair.a.stem], theirs.images[pair.b.stem])
        for pair in pairs
        if pair.a.stem in ours.images and pair.b.stem in theirs.images
    ]
    for subject_a, subject_b in _subjects(ours.subjects, theirs.subjects):
        for metric in ours.metrics:
            if metric in theirs.metrics:
                found = _change(metric, subject_a, subject_b, images)
                if found is not None:
                    yield found


def _judged(side: Side) -> _Judged | None:
    """By ``cnnviz evaluate`` or, without that, by ``cnnviz explain --evaluate``."""
    if side.evaluation is not None:
        summary = side.evaluation.summary
        content = {image.stem: image.sha256 for image in side.manifest.images}
        return _Judged(
            summary.metrics,
            tuple(one.key for one in summary.subjects if not one.baseline),
            {
                image.stem: {one.target.title: one.measurements for one in image.judged}
                for image in side.evaluation.images
                if image.ok and image.sha256 == content.get(image.stem)
            },
        )
    found = {
        image.stem: {first.target.title: first.measurements}
        for image in side.manifest.images
        for first in image.explanations[:1]
        if first.measurements
    }
    if not found:
        return None
    subjects = dict.fromkeys(
        key for targets in found.values() for measured in targets.values() for key in measured
    )
    metrics = of_maps(choose_metrics(cheap=True))
    return _Judged(tuple(map(metric_record, metrics)), tuple(subjects), found)


def _subjects(a: Sequence[str], b: Sequence[str]) -> list[tuple[str, str]]:
    if len(a) == len(b) == 1:
        return [(a[0], b[0])]
    return [(key, key) for key in a if key in b]


def _change(
    metric: MetricRecord,
    a: str,
    b: str,
    images: Sequence[tuple[_OfTargets, _OfTargets]],
) -> MetricChangeRecord | None:
    measured = [
        (before, after)
        for one, other in images
        for before, after in _measured(metric, a, b, one, other)
        if before.value is not None and after.value is not None
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
        subject_a=a,
        subject_b=b,
        a=_mean(values_a, grouped),
        b=_mean(values_b, grouped),
        change=_mean(values_b - values_a, grouped),
    )


def _measured(
    metric: MetricRecord, a: str, b: str, one: _OfTargets, other: _OfTargets
) -> Iterator[tuple[MeasurementRecord, MeasurementRecord]]:
    """What A and B have of an image: one value each or, in means over classes, one a class."""
    targets: list[tuple[_OfTargets, _OfTargets]]
    if metric.mean_over_classes and len(one) > 1:
        targets = [({title: one[title]}, {title: other[title]}) for title in one if title in other]
    else:
        targets = [(one, other)]
    for ours, theirs in targets:
        before = MeasurementRecord.mean(
            [maps.get(a, {}).get(metric.name) for maps in ours.values()]
        )
        after = MeasurementRecord.mean(
            [maps.get(b, {}).get(metric.name) for maps in theirs.values()]
        )
        if before is not None and after is not None:
            yield before, after


def _mean(values: Float64, grouped: Sequence[MeasurementRecord]) -> MeanRecord:
    groups = np.array([one.group for one in grouped], np.int64) if grouped else None
    return MeanRecord.of(mean_of(values, groups))
