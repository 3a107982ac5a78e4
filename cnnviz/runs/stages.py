"""What is done with each image: predict its class, measure how far its maps reach, explain it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from cnnviz.engines.target_functions import ClassLogit, CosineSimilarity, TargetFunction
from cnnviz.errors import ExplanationError, ItemError, UsageError
from cnnviz.explainer import Explainer, TargetSpec
from cnnviz.explanation import ImageResult
from cnnviz.graph.ends import Activation
from cnnviz.images.decode import MAX_PIXELS
from cnnviz.images.loading import load_image
from cnnviz.images.preprocessing import Canvas, Prepared
from cnnviz.images.sources import Source
from cnnviz.labels.label_sets import Truth
from cnnviz.labels.predictions import Prediction, assess
from cnnviz.labels.targets import AnyTarget, ClassPair, SimilarityTarget, Target, is_default
from cnnviz.outputs.formats import is_complete
from cnnviz.outputs.naming import OutputStem, plan_names
from cnnviz.runs.image_files import ImageWriter
from cnnviz.runs.manifest import Journal, file_sha256
from cnnviz.runs.records import EngineRecord, ImageRecord
from cnnviz.runs.request import OutputOptions
from cnnviz.runs.similarity import embed_others
from cnnviz.runs.stream import LoadedImage, Loader, Stage
from cnnviz.runs.summary import RunReport
from cnnviz.types import Float32

TOP = 5


@dataclass(frozen=True)
class Item:
    """An image of a run.

    Attributes:
        source: the image.
        stem: what the names of its files begin with.
        truth: its true class, if that is known.
    """

    source: Source
    stem: OutputStem
    truth: int | None = None

    @property
    def key(self) -> str:
        """Its file's path."""
        return str(self.source.path)

    def load(self, loader: Loader, remark: Callable[[str], None]) -> tuple[Prepared, Canvas]:
        """What the network is fed, and what is drawn on."""
        return load_image(
            self.source.path,
            loader.explainer.spec,
            loader.explainer.resize,
            loader.size,
            max_pixels=loader.max_pixels,
            remark=remark,
        )


@dataclass(frozen=True)
class Goals:
    """What is explained in each image.

    Attributes:
        targets: the classes, and similarities to other images.
        contrasts: pairs of classes whose difference is explained too.
        others: what the network says of these other images.
    """

    targets: tuple[AnyTarget, ...] = (Target(),)
    contrasts: tuple[ClassPair, ...] = ()
    others: Mapping[SimilarityTarget, CosineSimilarity] = field(default_factory=dict)

    @property
    def numbered(self) -> bool:
        """Whether the class index stands in the files' names."""
        return not is_default(self.targets)

    @property
    def needs_truth(self) -> bool:
        """Whether an image's true class is among them."""
        ends = [end for pair in self.contrasts for end in (pair.positive, pair.negative)]
        return any(end.truth for end in (*self._classes, *ends))

    @property
    def needs_probabilities(self) -> bool:
        """Whether probabilities decide what is explained."""
        return any(target.above is not None for target in self._classes)

    @property
    def most(self) -> int | None:
        """How many targets an image has at most; None where that shows with each image."""
        if any(target.above is not None or target.truth for target in self._classes):
            return None
        return len(self.targets)

    @property
    def _classes(self) -> list[Target]:
        return [target for target in self.targets if isinstance(target, Target)]

    def seen_by(
        self,
        explainer: Explainer,
        *,
        max_pixels: int = MAX_PIXELS,
        remark: Callable[[str], None] = lambda _text: None,
    ) -> Goals:
        """The same, with what the network says of the other images; see :func:`embed_others`.

        Raises:
            UsageError: another image cannot be used; or classes are asked for by a probability, and
                the network gives numbers.
        """
        activation = explainer.network.architecture.activation
        if self.needs_probabilities and not activation.is_probability:
            raise UsageError(
                f"The target above:P needs probabilities, and {explainer.name} gives numbers; "
                "--activation says otherwise."
            )
        others = embed_others(self.targets, explainer, max_pixels=max_pixels, remark=remark)
        return replace(self, others=others)

    def explain(
        self,
        explainer: Explainer,
        batch: Sequence[Prepared],
        truths: Sequence[Truth],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[ImageResult | ItemError]:
        """Explain a batch; see :meth:`cnnviz.explainer.Explainer.explain_targets`."""
        activation = explainer.network.architecture.activation

        def bound(target: Target) -> TargetSpec:
            return lambda logits: target(logits, truths)

        def of_each(logits: Float32) -> list[list[TargetFunction]]:
            return [
                self._of_image(own, activation, truth)
                for own, truth in zip(logits, truths, strict=True)
            ]

        results = explainer.explain_targets(
            batch,
            of_each,
            on_progress,
            [(bound(pair.positive), bound(pair.negative)) for pair in self.contrasts],
        )
        return [
            result if isinstance(result, ItemError) else self._remarked(result, truth)
            for result, truth in zip(results, truths, strict=True)
        ]

    def _of_image(
        self, logits: Float32, activation: Activation, truth: Truth
    ) -> list[TargetFunction]:
        """What is explained in one image, in the order in which it was asked for."""
        found: list[TargetFunction] = []
        for target in self.targets:
            if isinstance(target, SimilarityTarget):
                found.append(self.others[target])
            else:
                found += map(ClassLogit, target.of_image(logits, activation, truth))
        return found

    def _remarked(self, result: ImageResult, truth: Truth) -> ImageResult:
        """A result with what is to be said of targets that the image does not have."""
        scores = result.scores
        remarks = (one.remark(scores.logits, scores.activation, truth) for one in self._classes)
        said = "; ".join(filter(None, remarks))
        return replace(result, remark=said) if said else result


def plan_items(
    sources: Sequence[Source],
    explainer: Explainer,
    goals: Goals = Goals(),
    files: OutputOptions | None = None,
    truths: Sequence[int | None] = (),
) -> list[Item]:
    """The images of a run, with names of files that never collide.

    Args:
        sources: the images, in order.
        explainer: the network and methods.
        goals: what is explained.
        files: what is written beside the maps; by default nothing.
        truths: each image's true class, or None; nothing if none is known.
    """
    files = OutputOptions() if files is None else files
    keys = ["original", *(key for method in explainer.methods for key in method.map_kinds)]
    keys += ["panel"] * files.panel + ["contrast"] * bool(goals.contrasts)
    suffixes = [f"_{key}.{files.format}" for key in keys] + [".npz"] * files.arrays
    several = bool(goals.contrasts) or (files.panel and goals.most != 1)
    words = [other.file_part for other in goals.others.values()]
    stems = plan_names(sources, suffixes, numbered=goals.numbered, several=several, words=words)
    known = truths or (None,) * len(sources)
    return [Item(*one) for one in zip(sources, stems, known, strict=True)]


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
        activation = self.explainer.network.architecture.activation
        for image, values in zip(batch, logits, strict=True):
            if np.isfinite(values).all():
                yield assess(values, image.item.truth, activation)
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
    """

    explainer: Explainer
    writer: ImageWriter
    goals: Goals = Goals()
    journal: Journal | None = None
    on_progress: Callable[[int], None] | None = None
    report: RunReport = field(default_factory=RunReport)
    displaced: list[str] = field(default_factory=list)

    @cached_property
    def engine(self) -> EngineRecord:
        """What computes."""
        return EngineRecord.of(self.explainer.network.engine)

    def begin(self, item: Item) -> LoadedImage[Item, ImageOutcome]:
        """Look whether it is done already."""
        if self.journal is None:
            return LoadedImage(item)
        image: LoadedImage[Item, ImageOutcome] = LoadedImage(item, file_sha256(item.source.path))
        known = self.journal.find(str(item.stem.path))
        if known is None:
            return image
        if self._still_holds(known, image):
            outcome = ImageOutcome(known, fresh=False)
            return replace(image, known=outcome, crashed=known.crashed)
        if known.path != item.source.shown and known.sha256 != image.sha256 and known.files:
            self.displaced.append(known.path)
        return image

    def _still_holds(self, known: ImageRecord, image: LoadedImage[Item, ImageOutcome]) -> bool:
        """Whether a record still says what is so."""
        truth = known.ground_truth
        return (
            (known.ok or known.crashed)
            and image.sha256 is not None
            and known.sha256 == image.sha256
            and known.path == image.item.source.shown
            and (None if truth is None else truth.index) == image.item.truth
            and all(is_complete(self.writer.folder.path / name) for name in known.files)
        )

    def compute(
        self, batch: Sequence[LoadedImage[Item, ImageOutcome]]
    ) -> Iterable[ImageResult | ItemError]:
        """Explain all."""
        return self.goals.explain(
            self.explainer,
            [image.prepared for image in batch],
            [image.item.truth for image in batch],
            self.on_progress,
        )

    def finish(self, image: LoadedImage[Item, ImageOutcome], result: ImageResult) -> ImageOutcome:
        """Render and write it."""
        item = image.item
        origin = replace(
            self.explainer.origin, image=item.source.relative.as_posix(), sha256=image.sha256
        )
        written = self.writer.write(item.source, item.stem, image.canvas, origin, result)
        scores = result.scores
        prediction = assess(scores.logits, item.truth, scores.activation)
        record = _record(
            image,
            status="ok",
            top5=tuple(scores.top(TOP)),
            ground_truth=None if item.truth is None else scores.of(item.truth),
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


def _record(image: LoadedImage[Item, Any], **found: Any) -> ImageRecord:
    """An image's record, of what is known beforehand and what was found."""
    item = image.item
    return ImageRecord(
        stem=str(item.stem.path),
        path=item.source.shown,
        relative=item.source.relative.as_posix(),
        sha256=image.sha256,
        size=None if image.decoded is None else image.prepared.geometry.source,
        crashed=image.crashed,
        seconds=image.elapsed,
        **{"remark": image.remark, **found},
    )
