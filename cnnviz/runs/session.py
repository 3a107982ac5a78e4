"""A run from its request to its manifest: checked, opened, perhaps selected, explained.

Each phase is a value that the next is made of. The order matters to who waits: what is cheap to
find wrong is found first, the network's weights come last, and nothing is written before the
network is known to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property, partial
from time import monotonic
from typing import Any

from cnnviz.explainer import Explainer
from cnnviz.images.decode import MAX_PIXELS
from cnnviz.images.source import Source, are_local
from cnnviz.labels.ground_truth import GroundTruth
from cnnviz.labels.label_sets import Truth
from cnnviz.labels.predictions import Prediction, select_images
from cnnviz.metrics.registry import choose_metrics, of_maps
from cnnviz.models.config import ModelConfig
from cnnviz.outputs.files import remove_partial_files
from cnnviz.outputs.folders import folder_at
from cnnviz.outputs.naming import NamePlanner
from cnnviz.runs.capacity import default_helpers
from cnnviz.runs.description import decisive, describe_run, tell_difference
from cnnviz.runs.goals import Goals
from cnnviz.runs.image_files import ImageWriter
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.items import Item, name_planner, plan_items, stems_of
from cnnviz.runs.journal import Journal
from cnnviz.runs.keeping import Keeping
from cnnviz.runs.manifest import (
    MANIFEST_FILE,
    fingerprint,
)
from cnnviz.runs.records import ScannedRecord
from cnnviz.runs.request import RunRequest
from cnnviz.runs.run_records import EngineRecord, RunRecord
from cnnviz.runs.shards import Part
from cnnviz.runs.stages import (
    Explain,
    ImageOutcome,
    MeasureScale,
    Predict,
    stop_at_failure,
)
from cnnviz.runs.stream import Loader, Stream
from cnnviz.runs.summary import RunReport, ScanReport
from cnnviz.runs.supervisor import WorkerState
from cnnviz.storage.sequences import Mapped, chosen
from cnnviz.storage.stored import File, all_local
from cnnviz.text import ClassNames
from cnnviz.types import Notify


@dataclass(frozen=True)
class RunResult:
    """What became of a run.

    Attributes:
        report: what became of its images.
        left_behind: see :meth:`cnnviz.runs.manifest.Journal.left_behind`.
        displaced: images that an earlier run explained and whose files gave way to those of others
            of the same names.
    """

    report: RunReport
    left_behind: tuple[str, ...]
    displaced: tuple[str, ...]


@dataclass(frozen=True)
class Session:
    """A run whose network is loaded.

    Attributes:
        request: what is asked for.
        config: what is known of the network.
        explainer: the network and the methods.
        goals: what is explained in each image.
        sources: the images, in order.
        truths: their true classes; None for each where it is not known.
        ground_truth: where these are from, if the request says where to find them.
        skipped_own: how many images were left out because cnnviz had written them.
        batch_size: images that share a pass.
        worker: what this process knows of those before it, if it is a worker.
        notify: called with a sentence when something is assumed.
        looked: what was predicted for all images, if these were selected by that.
        part: of which run these are a part, if they are one.
        planned: the images with the names of their files, if somebody has planned these already.
    """

    request: RunRequest
    config: ModelConfig
    explainer: Explainer
    goals: Goals
    sources: Sequence[Source]
    truths: Sequence[Truth]
    ground_truth: GroundTruth | None
    skipped_own: int
    batch_size: int
    worker: WorkerState | None = None
    notify: Notify | None = None
    looked: ScanReport | None = None
    part: Part | None = None
    planned: Sequence[Item] | None = None

    @cached_property
    def scanned(self) -> ScannedRecord | None:
        """What the manifest says of that."""
        return None if self.looked is None else self.looked.record()

    @property
    def title(self) -> str:
        """What runs, in a sentence: ``vgg16, MXNet 1.9.1 on cpu.``."""
        return f"{self.explainer.name}, {EngineRecord.of(self.explainer.network.engine)}."

    @property
    def names(self) -> ClassNames:
        """What the classes are called, or the numbers of a network that gives such."""
        is_probability = self.explainer.network.architecture.activation.is_probability
        return ClassNames(self.explainer.labels, kind="class" if is_probability else "output")

    @property
    def rounds(self) -> int:
        """How often all images are explained: twice if maps have a common scale."""
        return 2 if self.request.files.scale == "run" else 1

    def select(self, observe: Callable[[Prediction | None], None]) -> Session:
        """Predict the class of each image, in one forward pass; the session of those selected.

        Args:
            observe: called with each prediction.

        Raises:
            NetworkError: the network cannot be run at all.
        """
        stage = Predict(self.explainer)
        self.stream.run(stage, self.items, observe)
        wanted = self.request.selection
        kept = select_images(stage.predictions, wanted.only, wanted.sort, wanted.limit)
        return replace(
            self,
            sources=chosen(self.sources, kept),
            truths=chosen(self.truths, kept),
            looked=ScanReport.of(stage.predictions),
        )

    def explain(
        self,
        observe: Callable[[ImageOutcome], None],
        measured: Callable[[Any], None] = lambda _limits: None,
        on_progress: Callable[[int], None] | None = None,
    ) -> RunResult:
        """Explain the images, and write the manifest.

        Args:
            observe: called with each image's outcome, in order, once its files are written.
            measured: called for each image that is measured before that for a common scale.
            on_progress: see :meth:`cnnviz.explainer.Explainer.explain_targets`.

        Raises:
            NetworkError: the network cannot be run at all.
            FailFastError: an image failed, and the run was to stop there.
            OutputUnavailableError: nothing more can be written (the disk is full, say).
        """
        began, started = monotonic(), datetime.now(timezone.utc)
        limits = self._measure(measured, on_progress)
        run = self.describe(limits)
        mark = run.fingerprint
        folder = self.request.output
        stems = self.stems
        journal = self.keeping.journal(MANIFEST_FILE, mark, stems)
        if journal.differs and journal.meets(stems):
            tell(self.notify, tell_difference(folder, journal.before, run))
        if journal.interrupted and self.part is None:  # else other parts may be writing now
            remove_partial_files(folder, {item.stem.path.parent for item in self.items})
        stage = self._explain_stage(limits, journal, on_progress)
        done = False
        try:
            self.stream.run(stage, self.items, partial(self._told, observe))
            left_behind = tuple(journal.left_behind(stems))
            summary = stage.report.record(self.scanned, self.skipped_own, left_behind)
            mixture = stage.report.mixture(run.engine)
            if mixture is not None:
                tell(self.notify, mixture)
            run = replace(
                run,
                notes=run.notes if self.part or not mixture else (*run.notes, mixture),
                started=started.isoformat(timespec="seconds"),
                seconds=round(monotonic() - began, 3),
            )
            self.keeping.write(MANIFEST_FILE, run, summary, journal, stems)
            done = True
        finally:
            journal.close(done=done)
        return RunResult(stage.report, left_behind, tuple(stage.displaced))

    def describe(self, limits: Mapping[str, float] | None = None) -> RunRecord:
        """What the manifest says of this run, but for its times; ``limits`` as measured."""
        run = describe_run(self.request, self.config, self.explainer, self.ground_truth)
        mark = fingerprint(decisive(run, self.request, self.goals, limits or {}))
        return replace(run, fingerprint=mark)

    def of_part(self, part: Part, worker: WorkerState | None, *, force: bool) -> Session:
        """One of its parts, for the same network, with the names that the whole run gives.

        Args:
            part: which one.
            worker: what is known of workers that it has ended.
            force: whether to do images again that are done.
        """
        asked = replace(self.request.execution, shard=part.record.shard, force=force)
        return replace(
            self,
            request=replace(self.request, execution=asked),
            sources=part.own(self.sources),
            truths=part.own(self.truths),
            part=part,
            planned=part.own(self.items),
            worker=worker,
        )

    @property
    def everything(self) -> Sequence[Source]:
        """All images of the run, of which these may be a part."""
        return self.sources if self.part is None else self.part.everything

    @property
    def keeping(self) -> Keeping:
        """Where records go."""
        force = self.request.execution.force
        return Keeping(self.request.output, self.part, force, self.notify)

    def _measure(
        self, measured: Callable[[Any], None], on_progress: Callable[[int], None] | None
    ) -> dict[str, float]:
        """Scales common to all images, if these are asked for."""
        stage = MeasureScale(self.explainer, self.goals, on_progress)
        if self.request.files.scale == "run":
            self.stream.run(stage, self.items, measured)
        return stage.limits

    def _told(self, observe: Callable[[ImageOutcome], None], outcome: ImageOutcome) -> None:
        observe(outcome)
        if self.request.execution.fail_fast:
            stop_at_failure(outcome.record)

    def _explain_stage(
        self,
        limits: dict[str, float],
        journal: Journal[ImageRecord],
        on_progress: Callable[[int], None] | None,
    ) -> Explain:
        files = self.request.files
        writer = ImageWriter(
            folder_at(self.request.output, inputs=Mapped(_path, self.everything)),
            self.request.style,
            files.format,
            arrays=files.arrays,
            panel=files.panel,
            thumbnails=files.report,
            numbered=self.goals.numbered,
            limits=limits,
        )
        report = RunReport(names=self.names)
        metrics = of_maps(choose_metrics(cheap=True)) if files.evaluate else ()
        return Explain(
            self.explainer, writer, self.goals, journal, on_progress, report, metrics=metrics
        )

    @cached_property
    def items(self) -> Sequence[Item]:
        """The images, with names of files that never collide."""
        if self.planned is not None:
            return self.planned
        return plan_items(
            self.sources,
            self.explainer,
            self.goals,
            self.request.files,
            self.truths,
            self.part,
        )

    @property
    def planner(self) -> NamePlanner:
        """What plans the names of files."""
        return name_planner(self.explainer, self.goals, self.request.files)

    @property
    def stems(self) -> Sequence[str]:
        """What the names of each image's files begin with."""
        return stems_of(self.items)

    @property
    def stream(self) -> Stream:
        """What feeds images to a stage."""
        loader = Loader(self.explainer, self.request.style.size, most_pixels(self.request))
        helpers = default_helpers(
            self.explainer.network.device,
            self.request.style.size,
            waits=not (all_local(self.request.output) and are_local(self.sources)),
        )
        return Stream(loader, self.batch_size, helpers, worker=self.worker)


def _path(source: Source) -> File:
    return source.path


def tell(notify: Notify | None, text: str) -> None:
    """Say a sentence, if anybody listens."""
    if notify is not None:
        notify(text)


def most_pixels(request: RunRequest) -> int:
    """Images of more are refused."""
    most = request.execution.max_pixels
    return MAX_PIXELS if most is None else most
