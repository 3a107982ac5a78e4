"""How a run's images fared: how many were explained, and how many classified correctly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from cnnviz.errors import ExitCode
from cnnviz.labels.average_precision import MultiLabelAccuracy
from cnnviz.labels.predictions import MultiLabelPrediction, Prediction
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.records import (
    AveragePrecisionRecord,
    ConfusionRecord,
    ScannedRecord,
    SummaryRecord,
)
from cnnviz.runs.run_records import EngineRecord
from cnnviz.text import ClassNames, counted, joined


@dataclass
class Accuracy:
    """Counts of true and predicted classes, over the images whose true class is known.

    Attributes:
        counts: how many images have this true and this predicted class, by their indices.
    """

    counts: Counter[tuple[int, int]] = field(default_factory=Counter)

    @classmethod
    def of(cls, images: Iterable[ImageRecord]) -> Accuracy:
        """Count the images that were explained."""
        accuracy = cls()
        for image in images:
            accuracy.add_image(image)
        return accuracy

    def add(self, truth: int | None, predicted: int) -> None:
        """Count an image whose true class may be unknown."""
        if truth is not None:
            self.counts[truth, predicted] += 1

    def add_image(self, image: ImageRecord) -> None:
        """Count an image if it was explained."""
        if image.ok and image.ground_truth is not None:
            self.add(image.ground_truth.index, image.prediction.index)

    @property
    def correct(self) -> int:
        """How many were classified correctly."""
        return sum(count for (truth, predicted), count in self.counts.items() if truth == predicted)

    @property
    def incorrect(self) -> int:
        """How many were not."""
        return sum(self.counts.values()) - self.correct

    @property
    def share(self) -> float | None:
        """The share of correct predictions, from 0 to 1; None if no true class is known."""
        known = sum(self.counts.values())
        return self.correct / known if known else None

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
class RunReport:
    """Counts of a run, and the exit status that follows from them.

    Attributes:
        done: images that were explained, now or by the run that this one continues.
        failed: those that could not be.
        resumed: how many of those explained an earlier run had done.
        blank: how many have a map with nothing to show.
        accuracy: how many predictions are correct, and what was confused.
        multi_label: the same of images that may belong to several classes.
        names: what the classes are called.
        engines: what has computed those that were explained, and how many each.
    """

    done: int = 0
    failed: int = 0
    resumed: int = 0
    blank: int = 0
    accuracy: Accuracy = field(default_factory=Accuracy)
    multi_label: MultiLabelAccuracy = field(default_factory=MultiLabelAccuracy)
    names: ClassNames = field(default_factory=ClassNames)
    engines: Counter[EngineRecord] = field(default_factory=Counter)

    def count(self, image: ImageRecord, *, fresh: bool) -> None:
        """Count an image; ``fresh`` if this run explained it, not the one that it resumes."""
        self.resumed += image.ok and not fresh
        self.done += image.ok
        self.failed += not image.ok
        self.blank += image.blank
        self.accuracy.add_image(image)
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


def scanned(predictions: Iterable[Prediction | None]) -> ScannedRecord:
    """What was predicted for all images that were looked at; None for those that failed."""
    accuracy, multi_label = Accuracy(), MultiLabelAccuracy()
    failed = images = 0
    for one in predictions:
        images += 1
        if one is None:
            failed += 1
        elif isinstance(one, MultiLabelPrediction):
            if one.label_set is not None:
                multi_label.add(one.logits, one.label_set, correct=one.correct is True)
        else:
            accuracy.add(one.truth, one.predicted)
    return ScannedRecord(
        images,
        failed,
        accuracy.correct + multi_label.correct,
        accuracy.incorrect + multi_label.incorrect,
        accuracy.share,
        multi_label.mean(),
    )
