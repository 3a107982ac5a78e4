"""Judging the maps of an image: by each metric, beside maps that no method made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cnnviz.attribution import ModelQueries, PassCount
from cnnviz.engines.target_functions import as_target_function
from cnnviz.explainer import Explainer
from cnnviz.explanation import Explanation, ImageResult
from cnnviz.metrics.base import Case, Measurement, Metric, Subject
from cnnviz.metrics.baselines import baselines
from cnnviz.metrics.similarity import direction_of_ranks
from cnnviz.metrics.sums import inner
from cnnviz.runs.evaluation_records import JudgedTargetRecord, MetricRecord, SubjectRecord
from cnnviz.runs.image_records import MeasurementRecord
from cnnviz.runs.subjects import MapMaker, gradient_magnitude, map_makers, method_subjects, subjects
from cnnviz.types import Mask

Measurements = Mapping[str, Mapping[str, Measurement]]
"""By a map's key and a metric's name."""


@dataclass(frozen=True)
class JudgedExplanation:
    """What was found out about one explanation of an image.

    Attributes:
        explanation: the maps, of one target.
        measurements: what the metrics say of these.
        agreement: by map and map, the rank correlation of the two.
        region_share: the share of the image that the target's objects cover, if that is known.
    """

    explanation: Explanation
    measurements: Measurements
    agreement: Mapping[str, Mapping[str, float | None]]
    region_share: float | None

    def record(self) -> JudgedTargetRecord:
        """As the file has it."""
        return JudgedTargetRecord(
            self.explanation.explained,
            self.region_share,
            {
                subject: {metric: MeasurementRecord.of(one) for metric, one in by_metric.items()}
                for subject, by_metric in self.measurements.items()
            },
            self.agreement,
        )


@dataclass(frozen=True)
class ImageEvaluation:
    """What was found out about one image.

    Attributes:
        result: what the network says of it, and its maps.
        judged: of each explanation, what was found out; none if the image has no such target.
    """

    result: ImageResult
    judged: tuple[JudgedExplanation, ...]


@dataclass(frozen=True)
class Judge:
    """Judges the maps of images with metrics.

    Attributes:
        explainer: the network and methods.
        metrics: the metrics.
        on_progress: called with a number of passes whenever that many are done.
    """

    explainer: Explainer
    metrics: tuple[Metric, ...]
    on_progress: Callable[[int], None] | None = None

    @cached_property
    def makers(self) -> tuple[MapMaker, ...]:
        """What makes the maps, that of the baseline which needs the network last."""
        return (*map_makers(self.explainer), gradient_magnitude(self.explainer))

    @cached_property
    def subjects(self) -> tuple[SubjectRecord, ...]:
        """All maps that are judged, methods' first."""
        *methods, gradient = self.makers
        judged: tuple[MapMaker | Subject, ...] = (
            *methods,
            *baselines(*self.explainer.spec.shape[1:]),
            gradient,
        )
        return tuple(SubjectRecord(one.key, one.title, one.baseline) for one in judged)

    def passes(self) -> PassCount:
        """For one image, beyond the one that all methods share."""
        shape = self.explainer.spec.shape
        costs = [maker.cost for maker in self.makers]
        costs += [one.cost for one in baselines(*shape[1:])]
        shared: dict[Any, PassCount] = {}
        count = sum(self.explainer.passes().values(), self.makers[-1].cost)
        for metric in self.metrics:
            shared.update(metric.image_passes(shape))
        for cost in costs:
            own: dict[Any, PassCount] = {}
            for metric in self.metrics:
                own.update(metric.passes(shape, cost))
            count = sum(own.values(), count)
        return sum(shared.values(), count)

    def judge(
        self, result: ImageResult, region: Callable[[Explanation], Mask | None] = lambda _: None
    ) -> ImageEvaluation:
        """Judge the maps of an image's explanations, and for each of these the baselines.

        Args:
            result: what the network says of the image, and its maps.
            region: says where the objects are that an explanation is about.

        Raises:
            ItemError: an image's mask cannot be read.
        """
        judged = []
        for one in result.explanations:
            queries = ModelQueries(self.explainer.network, self.on_progress)
            where = region(one)
            maps = tuple(subjects(self.explainer, one, queries))
            measurements = self._measure(one, queries, maps, where)
            share = None if where is None else float(where.mean())
            judged.append(JudgedExplanation(one, measurements, agreement(maps), share))
        return ImageEvaluation(result, tuple(judged))

    def judge_maps(self, result: ImageResult) -> ImageResult:
        """All explanations of an image, each with what the metrics say of its methods' maps."""
        queries = ModelQueries(self.explainer.network, self.on_progress)
        judged = [
            replace(
                one,
                measurements=self._measure(
                    one, queries, tuple(method_subjects(self.explainer, one, queries))
                ),
            )
            for one in result.explanations
        ]
        return replace(result, explanations=tuple(judged))

    def _measure(
        self,
        explanation: Explanation,
        queries: ModelQueries,
        judged: Sequence[Subject],
        region: Mask | None = None,
    ) -> Measurements:
        case = Case(
            explanation.prepared,
            explanation.logits,
            as_target_function(explanation.target),
            self.explainer.spec,
            queries,
            region,
        )
        return {
            subject.key: {metric.name: metric.measure(case, subject) for metric in self.metrics}
            for subject in judged
        }


def agreement(judged: Sequence[Subject]) -> dict[str, dict[str, float | None]]:
    """The rank correlation of each two methods' maps of an image, by the first one's key."""
    methods = [subject for subject in judged if not subject.baseline]
    directions = {subject.key: direction_of_ranks(subject.values) for subject in methods}
    found: dict[str, dict[str, float | None]] = {}
    for number, subject in enumerate(methods):
        one = directions[subject.key]
        for other in methods[number + 1 :]:
            two = directions[other.key]
            value = None if one is None or two is None else float(np.clip(inner(one, two), -1, 1))
            found.setdefault(subject.key, {})[other.key] = value
    return found


def metric_record(metric: Metric) -> MetricRecord:
    """A metric as the file describes it."""
    return MetricRecord(
        metric.name,
        metric.title,
        metric.paper,
        metric.group,
        metric.direction,
        metric.mean_over_classes,
        metric.curve_over,
        asdict(metric),
    )
