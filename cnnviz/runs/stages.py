"""What is done with each image: predict its class, measure how far its maps reach, explain it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from cnnviz.errors import ExplanationError, FailFastError, ItemError
from cnnviz.explainer import Explainer
from cnnviz.explanation import ImageResult
from cnnviz.labels.label_sets import Truth
from cnnviz.labels.predictions import (
    TOP,
    MultiLabelPrediction,
    Prediction,
    assess,
    assess_multi_label,
)
from cnnviz.labels.scores import Scores
from cnnviz.metrics.base import Metric
from cnnviz.outputs.marks import is_complete
from cnnviz.runs.goals import PREDICTED, Goals
from cnnviz.runs.image_files import ImageWriter
from cnnviz.runs.image_records import ImageRecord, TrueClassesRecord
from cnnviz.runs.items import Item
from cnnviz.runs.journal import Journal
from cnnviz.runs.judge import Judge
from cnnviz.runs.run_records import EngineRecord
from cnnviz.runs.same_image import look_up
from cnnviz.runs.stream import LoadedImage, Stage
from cnnviz.runs.summary import RunReport
from cnnviz.types import Float32


@dataclass(frozen=True)
class Predict(Stage[Item, Prediction, "Prediction | None"]):
    """Predicts the class of each image; nothing is written.

    Attributes:
        explainer: the network.
        predictions: one for each image, in order; None for those that failed.
    """

    explainer: Explainer
    predictions: list[Prediction | None] = field(default_factory=list)

    def compute(
        self, batch: Sequence[LoadedImage[Item, Prediction | None]]
    ) -> Iterator[Prediction | ItemError]:
        """One forward pass for all."""
        logits = self.explainer.network.logits(np.stack([image.prepared.input for image in batch]))
        for image, values in zip(batch, logits, strict=True):
            if np.isfinite(values).all():
                yield assessed(self.explainer, values, image.item.truth)
            else:
                yield ExplanationError("the network gave NaN or infinity")

    def finish(
        self, _image: LoadedImage[Item, Prediction | None], result: Prediction
    ) -> Prediction:
        """The prediction itself."""
        return result

    def failed(self, _image: LoadedImage[Item, Prediction | None], _error: ItemError) -> None:
        """No prediction; what is wrong is reported when the image is explained."""

    def settle(self, outcome: Prediction | None) -> None:
        """Keep it."""
        self.predictions.append(outcome)


@dataclass(frozen=True)
class MeasureScale(Stage[Item, ImageResult, "dict[str, float]"]):
    """Measures how far the maps of all images reach, for a scale that is common to them.

    All images are explained for it, and nothing is written. Images that fail are left out.

    Attributes:
        explainer: the network and methods.
        goals: what is explained; differences of classes have no such scale.
        on_progress: see :meth:`cnnviz.explainer.Explainer.explain_targets`.
        limits: the farthest, by the maps' keys.
    """

    explainer: Explainer
    goals: Goals
    on_progress: Callable[[int], None] | None = None
    limits: dict[str, float] = field(default_factory=dict)

    def compute(
        self, batch: Sequence[LoadedImage[Item, dict[str, float]]]
    ) -> list[ImageResult | ItemError]:
        """Explain all."""
        return replace(self.goals, contrasts=()).explain(
            self.explainer,
            [image.prepared for image in batch],
            [image.item.truth for image in batch],
            self.on_progress,
        )

    def finish(
        self, _image: LoadedImage[Item, dict[str, float]], result: ImageResult
    ) -> dict[str, float]:
        """How far this image's maps reach."""
        limits: dict[str, float] = {}
        for explanation in result.explanations:
            _widen(limits, explanation.scale_limits())
        return limits

    def failed(
        self, _image: LoadedImage[Item, dict[str, float]], _error: ItemError
    ) -> dict[str, float]:
        """Nowhere."""
        return {}

    def settle(self, outcome: dict[str, float]) -> None:
        """Reach as far."""
        _widen(self.limits, outcome)


def _widen(limits: dict[str, float], others: dict[str, float]) -> None:
    for key, limit in others.items():
        limits[key] = max(limit, limits.get(key, 0.0))


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image.

    Attributes:
        record: what the manifest says of it.
        fresh: whether it was done now, and not by an earlier run that this one continues.
    """

    record: ImageRecord
    fresh: bool = True


@dataclass(frozen=True)
class Explain(Stage[Item, ImageResult, ImageOutcome]):
    """Explains images, and writes them; what an earlier run has done is not done again.

    Attributes:
        explainer: the network and methods.
        writer: writes what is found out.
        goals: what is explained.
        journal: records each outcome. Images that it knows already, unchanged and with all their
            files, are not done again, but failures are.
        on_progress: see :meth:`cnnviz.explainer.Explainer.explain_targets`.
        report: counts what became of the images.
        displaced: images that the journal knows and in whose place there are others of the same
            names, as the user was shown them.
        metrics: what maps are judged by, if they are.
    """

    explainer: Explainer
    writer: ImageWriter
    goals: Goals = PREDICTED
    journal: Journal[ImageRecord] | None = None
    on_progress: Callable[[int], None] | None = None
    report: RunReport = field(default_factory=RunReport)
    displaced: list[str] = field(default_factory=list)
    metrics: tuple[Metric, ...] = ()

    @cached_property
    def engine(self) -> EngineRecord:
        """What computes."""
        return EngineRecord.of(self.explainer.network.engine)

    def begin(self, item: Item) -> LoadedImage[Item, ImageOutcome]:
        """Look whether it is done already."""
        if self.journal is None:
            return LoadedImage(item)
        known = self.journal.find(str(item.stem.path))
        image, holds = look_up(item, known, self._still_holds)
        if known is None:
            return image
        if holds:
            outcome = ImageOutcome(known, fresh=False)
            return replace(image, known=outcome, crashed=known.crashed)
        if known.path != item.source.shown and known.sha256 != image.sha256 and known.files:
            self.displaced.append(known.path)
        return image

    def _still_holds(self, known: ImageRecord, image: LoadedImage[Item, ImageOutcome]) -> bool:
        """Whether a record still says what is so."""
        truth: Truth = None if known.ground_truth is None else known.ground_truth.index
        if known.true_classes is not None:
            truth = known.true_classes.label_set
        return (
            (known.ok or known.crashed)
            and image.sha256 is not None
            and known.sha256 == image.sha256
            and known.path == image.item.source.shown
            and truth == image.item.truth
            and all(is_complete(self.writer.folder.path / name) for name in known.files)
        )

    def compute(
        self, batch: Sequence[LoadedImage[Item, ImageOutcome]]
    ) -> Iterable[ImageResult | ItemError]:
        """Explain all, and judge the maps if there are metrics to do so."""
        results = self.goals.explain(
            self.explainer,
            [image.prepared for image in batch],
            [image.item.truth for image in batch],
            self.on_progress,
        )
        if not self.metrics:
            return results
        judge = Judge(self.explainer, self.metrics)
        return (one if isinstance(one, ItemError) else judge.judge_maps(one) for one in results)

    def finish(self, image: LoadedImage[Item, ImageOutcome], result: ImageResult) -> ImageOutcome:
        """Render and write it."""
        item = image.item
        origin = replace(
            self.explainer.origin, image=item.source.relative.as_posix(), sha256=image.sha256
        )
        written = self.writer.write(item.source, item.stem, image.canvas, origin, result)
        scores = result.scores
        prediction = assessed(self.explainer, scores.logits, item.truth)
        record = _record(
            image,
            status="ok",
            top5=tuple(scores.top(TOP)),
            ground_truth=scores.of(item.truth) if isinstance(item.truth, int) else None,
            **_of_several(scores, prediction),
            correct=prediction.correct,
            loss=prediction.loss,
            margin=prediction.margin,
            engine=self.engine,
            relus_guided=next((one.relus for one in result.explanations), None),
            remark="; ".join(filter(None, (image.remark, result.remark))) or None,
            explanations=written.explanations,
            contrasts=written.contrasts,
            panel=written.panel,
        )
        return ImageOutcome(record)

    def failed(self, image: LoadedImage[Item, ImageOutcome], error: ItemError) -> ImageOutcome:
        """Its record says why."""
        return ImageOutcome(_record(image, status="failed", error=str(error)))

    def settle(self, outcome: ImageOutcome) -> None:
        """Into the journal, and into the counts."""
        if self.journal is not None and outcome.fresh:
            self.journal.add(outcome.record)
        self.report.count(outcome.record, fresh=outcome.fresh)


def assessed(explainer: Explainer, logits: Float32, truth: Truth) -> Prediction:
    """The prediction for one image, by what kind of network it is."""
    architecture = explainer.network.architecture
    of_kind = assess_multi_label if architecture.multi_label else assess
    return of_kind(logits, truth, architecture.activation)


def _of_several(scores: Scores, prediction: Prediction) -> dict[str, Any]:
    """What a record says of classes that do not exclude one another."""
    if not isinstance(prediction, MultiLabelPrediction):
        return {}
    truth = prediction.label_set
    true_classes = None
    if truth is not None:
        true_classes = TrueClassesRecord(
            tuple(map(scores.of, truth.positive)),
            truth.unknown,
            tuple(map(float, prediction.logits)),
        )
    return {
        "true_classes": true_classes,
        "predicted_classes": tuple(map(scores.of, prediction.assigned)),
    }


def _record(image: LoadedImage[Item, Any], **found: Any) -> ImageRecord:
    """An image's record, of what is known beforehand and what was found."""
    item = image.item
    return ImageRecord(
        stem=str(item.stem.path),
        path=item.source.shown,
        relative=item.source.relative.as_posix(),
        sha256=image.sha256,
        etag=image.etag,
        size=None if image.decoded is None else image.prepared.geometry.source,
        crashed=image.crashed,
        seconds=image.elapsed,
        **{"remark": image.remark, **found},
    )


class _Ended(Protocol):
    @property
    def ok(self) -> bool: ...
    @property
    def path(self) -> str: ...


def stop_at_failure(record: _Ended) -> None:
    """End a run whose first failure shall be its last.

    Raises:
        FailFastError: the image failed.
    """
    if not record.ok:
        raise FailFastError(
            f"Stopped at {record.path}, the first image that failed. Without --fail-fast the same "
            "command resumes the run."
        )
