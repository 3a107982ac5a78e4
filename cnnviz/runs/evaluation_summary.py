"""What an evaluation found over all images: means with intervals, and what stands out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from cnnviz.metrics.baselines import CENTERED
from cnnviz.metrics.corner import CornerAlone
from cnnviz.metrics.randomization_result import RandomizationResult
from cnnviz.metrics.statistics import Mean, is_better, mean_of
from cnnviz.runs.evaluation_records import (
    AgreementRecord,
    CellRecord,
    EvaluatedImageRecord,
    EvaluationRecord,
    JudgedTargetRecord,
    MetricRecord,
    SubjectRecord,
)
from cnnviz.runs.image_records import MeasurementRecord
from cnnviz.text import joined
from cnnviz.types import Float64

#: Groups of metrics in which a map can be better than another one.
_JUDGING = ("faithfulness", "localization")

#: Fewer images with the same corner are chance.
_LEAST_IMAGES = 3

_NONE = Mean(None, None, None, 0)


@dataclass
class _Cell:
    """One metric of one map, over the images: a value an image, NaN where there is none."""

    values: list[float] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    curves: Float64 | None = None
    curve_images: int = 0

    def add(self, one: MeasurementRecord | None) -> None:
        """One image."""
        there = one is not None and one.value is not None
        self.values.append(one.value if one is not None and one.value is not None else np.nan)
        self.groups.append(-1 if one is None or one.group is None else one.group)
        if there and one is not None and one.curve:
            curve = np.array(one.curve)
            self.curves = curve if self.curves is None else self.curves + curve
            self.curve_images += 1

    @property
    def curve(self) -> tuple[float, ...]:
        """The mean of the curves."""
        return () if self.curves is None else tuple((self.curves / self.curve_images).tolist())


class Summarizer:
    """Takes note of images, and says at the end what they come to."""

    def __init__(self, metrics: tuple[MetricRecord, ...], subjects: tuple[SubjectRecord, ...]):
        """Args: what is measured, and of which maps."""
        self._metrics = metrics
        self._subjects = subjects
        self._ok = self._failed = 0
        self._cells: dict[tuple[str, str], _Cell] = defaultdict(_Cell)
        self._agreement: dict[tuple[str, str], list[float]] = defaultdict(list)
        #: By map and class wrongly predicted: images, and in how many a corner restores that.
        self._incorrect: Counter[tuple[str, str]] = Counter()
        self._restored: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)

    def add(self, image: EvaluatedImageRecord) -> None:
        """One image."""
        self._ok += image.ok
        self._failed += not image.ok
        judged = image.judged
        if not any(one.measurements for one in judged):
            return
        for subject in self._subjects:
            maps = [one.measurements.get(subject.key, {}) for one in judged]
            for metric in self._metrics:
                cell = self._cells[subject.key, metric.name]
                found = [by_metric.get(metric.name) for by_metric in maps]
                # Of an image's classes each counts for itself in a mean over classes. Elsewhere
                # they count together, so that resampling images resamples what is independent.
                for one in found if metric.mean_over_classes else [MeasurementRecord.mean(found)]:
                    cell.add(one)
            for target, by_metric in zip(judged, maps, strict=True):
                self._note_corner(subject.key, image, target, by_metric.get(CornerAlone.name))
        for a, others in judged[0].agreement.items():
            for b in others:
                values = [one.agreement[a][b] for one in judged]
                there = [value for value in values if value is not None]
                self._agreement[a, b].append(fmean(there) if there else np.nan)

    def record(
        self, randomization: RandomizationResult | None = None, notes: tuple[str, ...] = ()
    ) -> EvaluationRecord:
        """What they come to.

        Args:
            randomization: what became of maps when parameters were made random.
            notes: more sentences.
        """
        titles = {subject.key: subject.title for subject in self._subjects}
        unchanged = None if randomization is None else randomization.sentence(titles)
        cells = tuple(self._cell(s, m) for s in self._subjects for m in self._metrics)
        return EvaluationRecord(
            images=self._ok + self._failed,
            ok=self._ok,
            failed=self._failed,
            metrics=self._metrics,
            subjects=self._subjects,
            cells=cells,
            agreement=tuple(
                AgreementRecord(a, b, mean.value, mean.images)
                for (a, b), values in self._agreement.items()
                for mean in [mean_of(np.array(values))]
            ),
            randomization=randomization,
            findings=(
                *self._shortcuts(),
                *findings(cells, self._metrics, self._subjects),
                *filter(None, (unchanged,)),
                *notes,
            ),
        )

    def _note_corner(
        self,
        key: str,
        image: EvaluatedImageRecord,
        judged: JudgedTargetRecord,
        one: MeasurementRecord | None,
    ) -> None:
        """Note whether a corner restores an incorrect prediction."""
        if one is None or image.correct is not False or judged.target != image.prediction:
            return
        assert image.prediction is not None  # there is a measurement
        place = key, image.prediction.title
        self._incorrect[place] += 1
        if one.details.get("restored"):
            self._restored[place][one.details["corner"]] += 1

    def _shortcuts(self) -> Iterator[str]:
        """Sentences about corners that suffice for incorrect predictions of a class."""
        titles = {one.key: one.title for one in self._subjects if not one.baseline}
        for (key, name), corners in self._restored.items():
            (corner, count), total = corners.most_common(1)[0], self._incorrect[key, name]
            if key in titles and count >= _LEAST_IMAGES and 2 * count >= total:
                yield (
                    f"In {count} of {total} images incorrectly predicted as {name} the {corner} "
                    f"corner alone, where {titles[key]} has most, restores that prediction with "
                    "all else blurred: the network has learned something that lies there."
                )

    def _cell(self, subject: SubjectRecord, metric: MetricRecord) -> CellRecord:
        own, other = (self._cells[key, metric.name] for key in (subject.key, CENTERED))
        values = np.array(own.values, np.float64)
        groups = np.array(own.groups, np.int64) if metric.mean_over_classes else None
        mean = mean_of(values, groups)
        over, better = _NONE, None
        if not subject.baseline and metric.group in _JUDGING:
            over = mean_of(values - np.array(other.values, np.float64), groups)
            better = is_better(over, metric.direction)
        return CellRecord(
            subject.key,
            metric.name,
            mean.value,
            mean.low,
            mean.high,
            mean.images,
            over.value,
            over.low,
            over.high,
            better,
            own.curve,
        )


def findings(
    cells: tuple[CellRecord, ...],
    metrics: tuple[MetricRecord, ...],
    subjects: tuple[SubjectRecord, ...],
) -> Iterator[str]:
    """Sentences on what stands out: which methods are no better than a map that saw no image."""
    titles = {metric.name: metric.title for metric in metrics}
    for subject in subjects:
        judged = [
            one
            for one in cells
            if one.subject == subject.key and one.better_than_gaussian is not None
        ]
        not_better = [titles[one.metric] for one in judged if not one.better_than_gaussian]
        if not_better:
            yield (
                f"{subject.title[:1].upper()}{subject.title[1:]} is not shown to be better than "
                f"the centered Gaussian by {joined(not_better, 'and')}"
                f"{', that is by no metric here' if len(not_better) == len(judged) else ''}."
            )
