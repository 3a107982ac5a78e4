"""What ``comparison.json`` holds, as typed records.

It is JSON in ASCII, one image a line, as the manifest is (:mod:`cnnviz.runs.records`)::

    {"cnnviz_comparison": 1,
    "a": {"name": "vgg16", "folder": "../before", "run": ..., "evaluated": false},
    "b": {"name": "vgg19", "folder": "../after", "run": ..., "evaluated": false},
    "summary": {"images": 40, "outcomes": ..., "findings": [...], ...},
    "images": [
    {"stem": "a/cat", "path": "photos/a/cat.jpg", "outcome": "fixed", "a": ..., "b": ..., ...}
    ]}

A change is always B's value minus A's. Heatmaps are not repeated here; they stand in the manifests.

This is version 1 of the format; adding or removing a key, or changing what one means, increases the
version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cnnviz.labels.scores import Score, Similarity
from cnnviz.runs.image_records import HeatmapRecord
from cnnviz.runs.run_records import RunRecord

if TYPE_CHECKING:
    from cnnviz.metrics.statistics import Mean

COMPARISON_VERSION = 1

Outcome = Literal["fixed", "broken", "both_right", "both_wrong", "changed", "unchanged"]
"""What became of an image from A to B. Where its true class is known: A is wrong and B right, A
right and B wrong, both right, both wrong. Where it is not: whether they predict different
classes."""

OUTCOMES: tuple[Outcome, ...] = (
    "fixed",
    "broken",
    "both_wrong",
    "both_right",
    "changed",
    "unchanged",
)
"""In the order in which people are told."""

Unpaired = Literal["only_a", "only_b", "content", "failed_a", "failed_b", "failed_both", "truth"]
"""Why an image is not compared: only one run has it; its file was another one then; it failed; the
two runs disagree about its true class."""

BOTH = " and "
"""What stands between A's reason and B's where neither heatmap can be compared."""


@dataclass(frozen=True)
class SideRecord:
    """One of the two runs.

    Attributes:
        name: for people: what tells it from the other one (``vgg16``, ``vgg16 at features.28``).
        folder: its output folder, from the comparison's.
        run: as its manifest has it.
        evaluated: whether its maps were judged by metrics, too.
    """

    name: str
    folder: str
    run: RunRecord
    evaluated: bool


@dataclass(frozen=True)
class SideImageRecord:
    """What one of the two says of an image.

    Attributes:
        prediction: the class with the highest logit.
        predicted_classes: those above 0.5, if an image may belong to several; else null.
        correct: whether that is true; null if nobody knows.
        truth: the score of the true class; null if it is unknown, or no class of this network.
        loss: the cross entropy in nats; null if the true class is unknown.
        target: what the compared heatmap explains; null if there is none.
        border: the heatmap's share in the outer tenth of the image; null if there is none.
        corners: its shares in the four corners; null likewise.
    """

    prediction: Score
    predicted_classes: tuple[Score, ...] | None
    correct: bool | None
    truth: Score | None
    loss: float | None
    target: Score | Similarity | None
    border: float | None
    corners: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class MapAgreementRecord:
    """How alike the two heatmaps of an image are, where both networks saw it.

    Attributes:
        same_target: whether both explain the same class (or similarity).
        spearman: the rank correlation of their values, -1 to 1; null if one is even.
        common: the share of the strongest fifth that they have in common, 0 to 1; two random maps
            have 0.2.
        peak_distance: between their maxima, as a part of the image's diagonal, 0 to 1.
        border: how much more of B's lies at the border, -1 to 1.
        corner: how much more of B's lies in the corner where that differs most, -1 to 1.
        elsewhere: whether less than half of the strongest fifth is in common.
    """

    same_target: bool
    spearman: float | None
    common: float
    peak_distance: float
    border: float
    corner: float
    elsewhere: bool


@dataclass(frozen=True)
class ComparedImageRecord:
    """An image that both runs explained.

    Attributes:
        stem: what the names of A's files begin with.
        path: as A's run printed it.
        path_b: as B's run printed it.
        sha256: of its file.
        outcome: see :data:`Outcome`.
        changed: whether the two predict different classes.
        ground_truth: its true class, or classes, for people; null if unknown.
        a: what A says of it.
        b: what B says of it.
        agreement: of the two heatmaps; null if there are not two that show anything.
        no_agreement: then why, in a clause.
    """

    stem: str
    path: str
    path_b: str
    sha256: str
    outcome: Outcome
    changed: bool
    ground_truth: str | None
    a: SideImageRecord
    b: SideImageRecord
    agreement: MapAgreementRecord | None
    no_agreement: str | None

    @property
    def loss_change(self) -> float | None:
        """B's loss minus A's."""
        if self.a.loss is None or self.b.loss is None:
            return None
        return self.b.loss - self.a.loss


@dataclass(frozen=True)
class UnpairedRecord:
    """An image that is not compared.

    Attributes:
        path: as a run printed it.
        why: see :data:`Unpaired`.
    """

    path: str
    why: Unpaired


@dataclass(frozen=True)
class MeanRecord:
    """A mean over images.

    Attributes:
        value: null if there is no image.
        low: the lower end of its 95 % interval, by the bootstrap; null for fewer than two images.
        high: the upper end.
        images: how many.
    """

    value: float | None
    low: float | None
    high: float | None
    images: int

    @classmethod
    def of(cls, mean: Mean) -> MeanRecord:
        """A mean as it is written."""
        return cls(mean.value, mean.low, mean.high, mean.images)


@dataclass(frozen=True)
class ClassChangeRecord:
    """How the images of one true class fared.

    Attributes:
        name: the class for people.
        images: that belong to it.
        correct_a: of these, how many A has right.
        correct_b: how many B has right.
        fixed: how many only B has right.
        broken: how many only A has right.
        predicted_a: how often A predicts it.
        predicted_b: how often B does.
    """

    name: str
    images: int
    correct_a: int
    correct_b: int
    fixed: int
    broken: int
    predicted_a: int
    predicted_b: int


@dataclass(frozen=True)
class ConfusionChangeRecord:
    """How often one class is predicted for another.

    Attributes:
        ground_truth: the true class for people.
        prediction: the predicted class for people.
        truth: the true class's number among those of the comparison.
        predicted: the predicted class's.
        count_a: how often by A.
        count_b: how often by B.
    """

    ground_truth: str
    prediction: str
    truth: int
    predicted: int
    count_a: int
    count_b: int


@dataclass(frozen=True)
class GroupRecord:
    """Where the two look in images of one outcome, or in all; means over those with two heatmaps.

    Attributes:
        name: an :data:`Outcome`, or ``all``.
        images: how many images belong to it.
        maps: how many of these have two heatmaps.
        elsewhere: how many of these are looked at elsewhere.
        spearman: the mean rank correlation; null if there is none.
        common: the mean share of the strongest fifth in common; null likewise.
        peak_distance: the mean distance of the maxima; null likewise.
        border_a: the mean share of A's heatmaps at the border; null likewise.
        border_b: of B's.
        corners_a: the mean shares of A's heatmaps in the four corners; null likewise.
        corners_b: of B's.
        map_a: the mean of A's heatmaps, each up to its maximum; null for fewer than five.
        map_b: of B's.
    """

    name: str
    images: int
    maps: int
    elsewhere: int
    spearman: float | None
    common: float | None
    peak_distance: float | None
    border_a: float | None
    border_b: float | None
    corners_a: tuple[float, float, float, float] | None
    corners_b: tuple[float, float, float, float] | None
    map_a: HeatmapRecord | None
    map_b: HeatmapRecord | None


@dataclass(frozen=True)
class MetricChangeRecord:
    """What a metric says of the maps of both, on the images that were judged in both.

    Attributes:
        metric: by name.
        title: for people.
        direction: which values are good; null where neither is.
        subject_a: which of A's maps, by key.
        subject_b: which of B's.
        a: A's mean.
        b: B's.
        change: of each image from A to B.
    """

    metric: str
    title: str
    direction: Literal["higher", "lower"] | None
    subject_a: str
    subject_b: str
    a: MeanRecord
    b: MeanRecord
    change: MeanRecord


@dataclass(frozen=True)
class ComparisonRecord:
    """The summary of a comparison.

    Attributes:
        findings: what was found, in sentences, the most important three first.
        notes: sentences about what could not be compared, or was assumed.
        images: how many are compared.
        outcomes: how many of them have each outcome.
        changed: of how many the two predict different classes.
        accuracy_a: A's, over the images whose true class is known.
        accuracy_b: B's, over the same.
        accuracy_change: of each image from A to B.
        mcnemar: the probability of so unequal numbers of fixed and broken images, or more so, if
            neither network were better (McNemar's test, exact, two-sided); null if no true class is
            known.
        mean_average_precision_a: where an image may belong to several classes; else null.
        mean_average_precision_b: likewise.
        classes: all classes that an image belongs to, in order.
        confusions: all wrong predictions, where images have one true class.
        only_a: classes that only A knows, for people.
        only_b: classes that only B knows.
        groups: all images, then each outcome that there is.
        metrics: empty unless the maps of both were judged.
        unpaired: the images that are not compared.
    """

    findings: tuple[str, ...]
    notes: tuple[str, ...]
    images: int
    outcomes: Mapping[str, int]
    changed: int
    accuracy_a: MeanRecord
    accuracy_b: MeanRecord
    accuracy_change: MeanRecord
    mcnemar: float | None
    mean_average_precision_a: float | None
    mean_average_precision_b: float | None
    classes: tuple[ClassChangeRecord, ...]
    confusions: tuple[ConfusionChangeRecord, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    groups: tuple[GroupRecord, ...]
    metrics: tuple[MetricChangeRecord, ...]
    unpaired: tuple[UnpairedRecord, ...]


@dataclass(frozen=True)
class ComparisonFile:
    """All of ``comparison.json``.

    Attributes:
        cnnviz_comparison: the version of the format.
        a: the one run.
        b: the other.
        summary: over all images.
        images: each image that is compared, in A's order.
    """

    cnnviz_comparison: int
    a: SideRecord
    b: SideRecord
    summary: ComparisonRecord
    images: tuple[ComparedImageRecord, ...]


#: In the order in which the documentation describes them.
COMPARISON_RECORDS = (
    ComparisonFile,
    SideRecord,
    ComparisonRecord,
    MeanRecord,
    ClassChangeRecord,
    ConfusionChangeRecord,
    GroupRecord,
    MetricChangeRecord,
    UnpairedRecord,
    ComparedImageRecord,
    SideImageRecord,
    MapAgreementRecord,
)
