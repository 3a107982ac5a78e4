"""What is done with each image of an evaluation: its maps are judged, and a record is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from cnnviz.errors import ItemError
from cnnviz.explanation import Explanation
from cnnviz.labels.label_sets import LabelSet, Truth
from cnnviz.runs.evaluation_records import EvaluatedImageRecord
from cnnviz.runs.evaluation_summary import Summarizer
from cnnviz.runs.goals import Goals
from cnnviz.runs.items import Item
from cnnviz.runs.journal import Journal
from cnnviz.runs.judge import ImageEvaluation, Judge
from cnnviz.runs.run_records import EngineRecord
from cnnviz.runs.same_image import look_up
from cnnviz.runs.stages import assessed, stop_at_failure
from cnnviz.runs.stream import LoadedImage, Stage
from cnnviz.types import Mask


@dataclass(frozen=True)
class EvaluationOutcome:
    """What became of one image.

    Attributes:
        record: what is said of it.
        fresh: whether it was done now, and not by an earlier run that this one continues.
    """

    record: EvaluatedImageRecord
    fresh: bool = True


@dataclass(frozen=True)
class Evaluate(Stage[Item, ImageEvaluation, EvaluationOutcome]):
    """Judges the maps of images; what an earlier run has done is not done again.

    Attributes:
        judge: the network, the methods and the metrics.
        goals: what is explained.
        journal: records each outcome.
        summarizer: counts what became of the images.
        region: says where the objects are that an explanation is about.
    """

    judge: Judge
    goals: Goals
    journal: Journal[EvaluatedImageRecord]
    summarizer: Summarizer
    region: Callable[[Item, Explanation], Mask | None]

    @cached_property
    def engine(self) -> EngineRecord:
        """What computes."""
        return EngineRecord.of(self.judge.explainer.network.engine)

    def begin(self, item: Item) -> LoadedImage[Item, EvaluationOutcome]:
        """Look whether it is done already."""
        known = self.journal.find(str(item.stem.path))
        image, holds = look_up(item, known, self._still_holds)
        if known is None or not holds:
            return image
        outcome = EvaluationOutcome(known, fresh=False)
        return replace(image, known=outcome, crashed=known.crashed)

    def _still_holds(
        self, known: EvaluatedImageRecord, image: LoadedImage[Item, EvaluationOutcome]
    ) -> bool:
        """Whether a record still says what is so."""
        return (
            (known.ok or known.crashed)
            and image.sha256 is not None
            and (known.sha256, known.path) == (image.sha256, image.item.source.shown)
            and (not known.ok or self._same_truth(known, image.item.truth))
        )

    def _same_truth(self, known: EvaluatedImageRecord, truth: Truth) -> bool:
        """Whether a record was made with the same ground truth, as far as it depends on that."""
        if isinstance(truth, LabelSet) and self.goals.needs_truth:
            judged = [getattr(one.target, "index", None) for one in known.judged]
            return judged == list(truth.positive) and known.correct is not None
        if not isinstance(truth, int):
            return (known.correct is None) == (truth is None)
        if self.goals.needs_truth and getattr(known.target, "index", None) != truth:
            return False
        return known.prediction is not None and known.correct == (known.prediction.index == truth)

    def compute(
        self, batch: Sequence[LoadedImage[Item, EvaluationOutcome]]
    ) -> Iterator[ImageEvaluation | ItemError]:
        """Explain all, and judge the maps of one after the other."""
        results = self.goals.explain(
            self.judge.explainer,
            [image.prepared for image in batch],
            [image.item.truth for image in batch],
            self.judge.on_progress,
        )
        for image, result in zip(batch, results, strict=True):
            if isinstance(result, ItemError):
                yield result
                continue
            try:
                yield self.judge.judge(result, partial(self.region, image.item))
            except ItemError as problem:
                yield problem

    def finish(
        self, image: LoadedImage[Item, EvaluationOutcome], result: ImageEvaluation
    ) -> EvaluationOutcome:
        """Its record."""
        scores, judged = result.result.scores, [one.record() for one in result.judged]
        prediction = assessed(self.judge.explainer, scores.logits, image.item.truth)
        remark = "; ".join(filter(None, (image.remark, result.result.remark))) or None
        record = replace(
            self._record(image),
            status="ok",
            prediction=scores.top(1)[0],
            correct=prediction.correct,
            remark=remark,
            engine=self.engine,
        )
        return EvaluationOutcome(record.with_targets(judged))

    def failed(
        self, image: LoadedImage[Item, EvaluationOutcome], error: ItemError
    ) -> EvaluationOutcome:
        """Its record says why."""
        return EvaluationOutcome(replace(self._record(image), error=str(error)))

    def settle(self, outcome: EvaluationOutcome) -> None:
        """Into the journal, and into the counts."""
        if outcome.fresh:
            self.journal.add(outcome.record)
        self.summarizer.add(outcome.record)

    @staticmethod
    def _record(image: LoadedImage[Item, EvaluationOutcome]) -> EvaluatedImageRecord:
        item = image.item
        return EvaluatedImageRecord(
            stem=str(item.stem.path),
            path=item.source.shown,
            relative=item.source.relative.as_posix(),
            status="failed",
            sha256=image.sha256,
            etag=image.etag,
            seconds=image.elapsed,
            crashed=image.crashed,
            remark=image.remark,
        )


@dataclass
class Told:
    """Hands outcomes on, and stops at the first that failed if it shall."""

    observe: Callable[[EvaluationOutcome], None]
    fail_fast: bool = False
    resumed: int = 0

    def __call__(self, outcome: EvaluationOutcome) -> None:
        """Hand one on."""
        self.resumed += outcome.record.ok and not outcome.fresh
        self.observe(outcome)
        if self.fail_fast:
            stop_at_failure(outcome.record)
