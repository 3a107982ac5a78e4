"""What ``evaluation.json`` holds, as typed records.

It is built as the manifest is (:mod:`cnnviz.runs.records`): JSON in ASCII, one image a line, after
the run and the summary::

    {"cnnviz_evaluation": 1,
    "run": {"fingerprint": ..., "parameters": ..., "network": ..., "methods": ..., ...},
    "summary": {"metrics": [...], "subjects": [...], "cells": [...], ...},
    "images": [
    {"stem": "a/cat", "path": "photos/a/cat.jpg", "status": "ok", "measurements": ..., ...}
    ]}

This is version 1 of the format. Removing a key, or changing what one means, increases the version;
so does adding one, unless files without it can be read as they are. Images in older files of this
version have no ``others`` and no ``etag``: these count as an empty list and as null. What
``run`` may lack it may lack in the manifest, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cnnviz.labels.scores import Score, Similarity
from cnnviz.metrics.randomization_result import LevelSimilarity, RandomizationResult
from cnnviz.runs.image_records import MeasurementRecord
from cnnviz.runs.run_records import EngineRecord, RunRecord
from cnnviz.structure import ADDED

EVALUATION_VERSION = 1


@dataclass(frozen=True)
class MetricRecord:
    """A metric.

    Attributes:
        name: as ``cnnviz metrics`` lists it.
        title: for people.
        paper: where it was published.
        group: what it asks of a map: ``faithfulness``, ``randomization``, ``localization`` or
            ``complexity``.
        direction: which values are good, ``higher`` or ``lower``; null where neither is.
        mean_over_classes: whether its mean over images is that of the classes' means.
        curve_over: what the values of its curves stand over; empty if it has none.
        options: its options, by name.
    """

    name: str
    title: str
    paper: str
    group: str
    direction: Literal["higher", "lower"] | None
    mean_over_classes: bool
    curve_over: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class SubjectRecord:
    """A map that is judged.

    Attributes:
        key: the name that it has in the other records: ``gradcam``, ``gradcam@features.28``.
        title: for people.
        baseline: whether no method made it.
    """

    key: str
    title: str
    baseline: bool


@dataclass(frozen=True)
class JudgedTargetRecord:
    """What the metrics say of an image's maps for one target.

    Attributes:
        target: what was explained.
        region_share: the share of the image that the target's objects cover, 0 to 1; null if nobody
            knows where they are.
        measurements: by map and metric.
        agreement: by map and map, Spearman's rank correlation of the two, -1 to 1; null where one
            of them is the same everywhere.
    """

    target: Score | Similarity
    region_share: float | None
    measurements: Mapping[str, Mapping[str, MeasurementRecord]]
    agreement: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class EvaluatedImageRecord:
    """An image.

    Attributes:
        stem: a name that no other image of the run has.
        path: as the user may find it.
        relative: below the input that it was found in, with ``/``.
        status: ``ok`` or ``failed``.
        sha256: of its file; null if it could not be read.
        seconds: spent on it.
        prediction: the highest class; null if it failed.
        target: what was explained; null if it failed, or the image has no such target. Of several
            true classes it is the first.
        correct: whether the prediction is; null if nobody knows.
        region_share: the share of the image that the target's objects cover, 0 to 1; null if nobody
            knows where they are.
        measurements: by map and metric.
        agreement: by map and map, Spearman's rank correlation of the two, -1 to 1; null where one
            of them is the same everywhere.
        error: why it failed.
        crashed: whether a library crashed on it.
        remark: what is to be said of it.
        engine: what computed; null if it failed.
        others: the same of the other true classes, where these are explained and an image may
            belong to several.
        etag: what the storage that the path leads to called the file's contents; null if it is on
            a disk, or the storage has no word for them.
    """

    stem: str
    path: str
    relative: str
    status: Literal["ok", "failed"]
    sha256: str | None
    seconds: float
    prediction: Score | None = None
    target: Score | Similarity | None = None
    correct: bool | None = None
    region_share: float | None = None
    measurements: Mapping[str, Mapping[str, MeasurementRecord]] = field(default_factory=dict)
    agreement: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    error: str | None = None
    crashed: bool = False
    remark: str | None = None
    engine: EngineRecord | None = None
    others: tuple[JudgedTargetRecord, ...] = field(default=(), metadata=ADDED)
    etag: str | None = field(default=None, metadata=ADDED)

    @property
    def judged(self) -> tuple[JudgedTargetRecord, ...]:
        """All targets that were judged, in order."""
        if self.target is None:
            return ()
        first = JudgedTargetRecord(
            self.target, self.region_share, self.measurements, self.agreement
        )
        return (first, *self.others)

    def with_targets(self, judged: Sequence[JudgedTargetRecord]) -> EvaluatedImageRecord:
        """The same of an image whose maps were judged for these targets."""
        if not judged:
            return self
        first, *others = judged
        return replace(self, **vars(first), others=tuple(others))

    @property
    def ok(self) -> bool:
        """Whether it was evaluated."""
        return self.status == "ok"

    @property
    def files(self) -> list[str]:
        """None: what is known of an image is its record."""
        return []


@dataclass(frozen=True)
class CellRecord:
    """What a metric says of a method's maps, or a baseline's, over all images.

    Attributes:
        subject: whose maps, by key.
        metric: by name.
        value: the mean over the images; null if there is none to take it of.
        low: the lower end of its 95 % interval, by the bootstrap; null for fewer than two images.
        high: the upper end.
        images: how many images it is the mean of.
        over_gaussian: the mean difference to the centered Gaussian on the same images; null for
            baselines and where there is none.
        over_gaussian_low: the lower end of that difference's interval.
        over_gaussian_high: the upper end.
        better_than_gaussian: whether the whole interval is on the good side; null where that cannot
            be said.
        curve: the mean of the curves; empty if the metric has none.
    """

    subject: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    images: int
    over_gaussian: float | None
    over_gaussian_low: float | None
    over_gaussian_high: float | None
    better_than_gaussian: bool | None
    curve: tuple[float, ...]


@dataclass(frozen=True)
class AgreementRecord:
    """How alike the maps of two methods are.

    Attributes:
        a: the one, by key.
        b: the other.
        value: the mean over the images of Spearman's rank correlation, -1 to 1; null if there is
            none.
        images: how many.
    """

    a: str
    b: str
    value: float | None
    images: int


@dataclass(frozen=True)
class EvaluationRecord:
    """The summary of an evaluation.

    Attributes:
        images: all images.
        ok: those that were evaluated.
        failed: those that could not be.
        metrics: what was measured.
        subjects: what it was measured of: methods' maps first, then baselines'.
        cells: one for each map and metric.
        agreement: one for each two methods' maps.
        randomization: what became of maps when parameters were made random; null if that was not
            asked for.
        findings: sentences on what stands out.
    """

    images: int
    ok: int
    failed: int
    metrics: tuple[MetricRecord, ...]
    subjects: tuple[SubjectRecord, ...]
    cells: tuple[CellRecord, ...]
    agreement: tuple[AgreementRecord, ...]
    randomization: RandomizationResult | None = None
    findings: tuple[str, ...] = ()

    def cell(self, subject: str, metric: str) -> CellRecord | None:
        """What a metric says of a map; None if that was not measured."""
        for one in self.cells:
            if (one.subject, one.metric) == (subject, metric):
                return one
        return None


@dataclass(frozen=True)
class Evaluation:
    """All of ``evaluation.json``.

    Attributes:
        cnnviz_evaluation: the version of the format.
        run: as in the manifest.
        summary: over all images.
        images: each image.
    """

    cnnviz_evaluation: int
    run: RunRecord
    summary: EvaluationRecord
    images: tuple[EvaluatedImageRecord, ...]


#: In the order in which the documentation describes them.
EVALUATION_RECORDS = (
    Evaluation,
    EvaluationRecord,
    MetricRecord,
    SubjectRecord,
    CellRecord,
    AgreementRecord,
    RandomizationResult,
    LevelSimilarity,
    EvaluatedImageRecord,
    JudgedTargetRecord,
)
