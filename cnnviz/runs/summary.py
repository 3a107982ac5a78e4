"""How a run's images fared: how many were explained, and how many classified correctly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from cnnviz.errors import ExitCode
from cnnviz.labels.average_precision import MultiLabelAccuracy
from cnnviz.labels.predictions import MultiLabelPrediction, Prediction
from cnnviz.labels.scores import Score
from cnnviz.metrics.location import MEAN_IMAGES
from cnnviz.runs.image_records import ImageRecord, LocationRecord
from cnnviz.runs.records import (
    AveragePrecisionRecord,
    ConfusionRecord,
    ScannedRecord,
    SummaryRecord,
)
from cnnviz.runs.run_records import EngineRecord, RunRecord
from cnnviz.text import ClassNames, counted, joined
from cnnviz.types import Float64


@dataclass
class Accuracy:
    """Counts of true and predicted classes, over the images whose true class is known.

    Attributes:
        counts: how many images have this true and this predicted class, by their indices.
        in_top5: how many have their true class among the five highest.
    """

    counts: Counter[tuple[int, int]] = field(default_factory=Counter)
    in_top5: int = 0

    @classmethod
    def of(cls, images: Iterable[ImageRecord]) -> Accuracy:
        """Count the images that were explained."""
        accuracy = cls()
        for image in images:
            accuracy.add_image(image)
        return accuracy

    def add(self, truth: int | None, predicted: int, *, in_top5: bool | None) -> None:
        """Count an image whose true class may be unknown."""
        if truth is not None:
            self.counts[truth, predicted] += 1
            self.in_top5 += in_top5 is True

    def add_image(self, image: ImageRecord) -> None:
        """Count an image if it was explained."""
        if image.ok and image.ground_truth is not None:
            truth = image.ground_truth.index
            in_top5 = any(score.index == truth for score in image.top5)
            self.add(truth, image.prediction.index, in_top5=in_top5)

    @property
    def known(self) -> int:
        """How many images have a known true class."""
        return sum(self.counts.values())

    @property
    def correct(self) -> int:
        """How many were classified correctly."""
        return sum(count for (truth, predicted), count in self.counts.items() if truth == predicted)

    @property
    def incorrect(self) -> int:
        """How many were not."""
        return self.known - self.correct

    @property
    def share(self) -> float | None:
        """The share of correct predictions, from 0 to 1; None if no true class is known."""
        return self.correct / self.known if self.known else None

    @property
    def confusions(self) -> list[tuple[int, int, int]]:
        """(true, predicted, count) of each two classes that were confused, most frequent first."""
        found = [
            (truth, predicted, count)
            for (truth, predicted), count in self.counts.items()
            if truth != predicted
        ]
        return sorted(found, key=lambda one: (-one[2], one[0], one[1]))


@dataclass
class MeanShares:
    """How much of the heatmaps lies at the border and in the corners, on average over images.

    Attributes:
        sums: by predicted class, over the heatmaps of that class: their number, and the sums of
            their shares in the border ring and in the four corners.
    """

    sums: dict[int, Float64] = field(default_factory=dict)

    def add_image(self, image: ImageRecord) -> None:
        """Count an image if it has a heatmap of its predicted class."""
        location = predicted_location(image)
        if location is not None:
            index = image.prediction.index
            shares = np.array([1, location.border, *location.corners], np.float64)
            self.sums[index] = self.sums.get(index, 0.0) + shares

    def groups(self) -> Iterator[tuple[int | None, int, Float64]]:
        """All images first, then those predicted as one class, where these are enough.

        Yields:
            The class, or None; the number of heatmaps; their mean shares (5,), of the border and
            of the corners.
        """
        if not self.sums:
            return
        everything = np.sum(list(self.sums.values()), axis=0)
        each: list[tuple[int | None, Float64]] = [(None, everything), *self.sums.items()]
        for index, sums in each:
            images = int(sums[0])
            if index is None or images >= MEAN_IMAGES:
                yield index, images, sums[1:] / images


def predicted_location(image: ImageRecord) -> LocationRecord | None:
    """Where the heatmap of the predicted class lies; None if there is none, or if it is blank."""
    for explanation in image.explanations:
        target = explanation.target
        if isinstance(target, Score) and target.index == image.prediction.index:
            return explanation.location
    return None


@dataclass
class RunReport:
    """Counts of a run, and the exit status that follows from them.

    Attributes:
        done: images that were explained, now or by the run that this one continues.
        failed: those that could not be.
        resumed: how many of those explained an earlier run had done.
        blank: how many have a map with nothing to show.
        accuracy: how many predictions are correct, and what was confused.
        multi_label: the same of images that may belong to several classes.
        shares: where the heatmaps lie.
        names: what the classes are called.
        engines: what has computed those that were explained, and how many each.
    """

    done: int = 0
    failed: int = 0
    resumed: int = 0
    blank: int = 0
    accuracy: Accuracy = field(default_factory=Accuracy)
    multi_label: MultiLabelAccuracy = field(default_factory=MultiLabelAccuracy)
    shares: MeanShares = field(default_factory=MeanShares)
    names: ClassNames = field(default_factory=ClassNames)
    engines: Counter[EngineRecord] = field(default_factory=Counter)

    @classmethod
    def of_run(cls, run: RunRecord) -> RunReport:
        """None yet, of a run with these classes."""
        kind = "class" if run.network.activation != "none" else "output"
        return cls(names=ClassNames(run.network.labels, kind=kind))

    def count(self, image: ImageRecord, *, fresh: bool) -> None:
        """Count an image; ``fresh`` if this run explained it, not the one that it resumes."""
        self.resumed += image.ok and not fresh
        self.done += image.ok
        self.failed += not image.ok
        self.blank += image.blank
        self.accuracy.add_image(image)
        self.shares.add_image(image)
        if image.true_classes is not None:
            truth = image.true_classes
            self.multi_label.add(truth.logits, truth.label_set, correct=image.correct is True)
        if image.engine is not None:
            self.engines[image.engine] += 1

    def mixture(self, engine: EngineRecord) -> str | None:
        """A sentence about images that another engine has explained than this run's, or device."""
        others = [
            f"{counted(count, 'image')} by {other}"
            for other, count in self.engines.items()
            if other != engine
        ]
        if not others:
            return None
        return (
            f"Explained in an earlier run, and kept: {joined(others, 'and')}. This run uses "
            f"{engine}; --force explains all images again."
        )

    @property
    def exit_code(self) -> ExitCode:
        """0, or 1 if any image failed."""
        return ExitCode.SOME_FAILED if self.failed else ExitCode.OK

    def record(
        self, scanned: ScannedRecord | None, skipped_own: int, left_behind: Iterable[str]
    ) -> SummaryRecord:
        """It as the manifest has it; for the arguments see there."""
        return SummaryRecord(
            images=self.done + self.failed,
            ok=self.done,
            failed=self.failed,
            blank=self.blank,
            correct=self.accuracy.correct + self.multi_label.correct,
            incorrect=self.accuracy.incorrect + self.multi_label.incorrect,
            accuracy=self.accuracy.share,
            confusions=tuple(
                ConfusionRecord(self.names[truth], self.names[predicted], truth, predicted, count)
                for truth, predicted, count in self.accuracy.confusions
            ),
            scanned=scanned,
            skipped_own=skipped_own,
            left_behind=tuple(left_behind),
            mean_average_precision=self.multi_label.mean(),
            average_precisions=tuple(
                AveragePrecisionRecord(
                    self.names[one.index],
                    one.index,
                    one.images,
                    one.positives,
                    one.average_precision,
                )
                for one in self.multi_label.by_class()
            ),
        )


@dataclass
class ScanReport:
    """Counts of all images that were looked at, where only some of them are explained.

    Attributes:
        images: how many.
        failed: those for which nothing could be predicted.
        accuracy: how many predictions are correct.
        multi_label: the same of images that may belong to several classes.
    """

    images: int = 0
    failed: int = 0
    accuracy: Accuracy = field(default_factory=Accuracy)
    multi_label: MultiLabelAccuracy = field(default_factory=MultiLabelAccuracy)

    @classmethod
    def of(cls, predictions: Iterable[Prediction | None]) -> ScanReport:
        """Count what was predicted; None for those that failed."""
        report = cls()
        for one in predictions:
            report.images += 1
            if one is None:
                report.failed += 1
            elif isinstance(one, MultiLabelPrediction):
                if one.label_set is not None:
                    correct = one.correct is True
                    report.multi_label.add(one.logits, one.label_set, correct=correct)
            else:
                report.accuracy.add(one.truth, one.predicted, in_top5=one.in_top5)
        return report

    def record(self) -> ScannedRecord:
        """It as the manifest has it."""
        return ScannedRecord(
            self.images,
            self.failed,
            self.accuracy.correct + self.multi_label.correct,
            self.accuracy.incorrect + self.multi_label.incorrect,
            self.accuracy.share,
            self.multi_label.mean(),
        )
