"""A run of ``cnnviz evaluate``: each image is explained, and its maps are judged.

The stages and phases are those of an explanation (:mod:`cnnviz.runs.session`); what is known of an
image is a record, and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from time import monotonic
from typing import Any

from cnnviz.attribution import PassCount
from cnnviz.errors import ExitCode, UsageError
from cnnviz.explanation import Explanation
from cnnviz.images.source import Source
from cnnviz.labels.label_sets import LabelSet
from cnnviz.labels.regions import Regions, read_regions
from cnnviz.labels.targets import Target
from cnnviz.metrics.base import Metric
from cnnviz.metrics.randomization import Randomization
from cnnviz.metrics.randomization_result import RandomizationResult
from cnnviz.metrics.registry import AnyMetric, choose_metrics, of_maps
from cnnviz.outputs.folders import folder_at
from cnnviz.outputs.formats import encode_run_file
from cnnviz.outputs.naming import output_stem
from cnnviz.runs.description import decisive, describe_run
from cnnviz.runs.evaluate_stage import Evaluate, EvaluationOutcome, Told
from cnnviz.runs.evaluation_checks import check_measurable, check_metrics, of_each_method
from cnnviz.runs.evaluation_records import (
    EVALUATION_VERSION,
    EvaluatedImageRecord,
    EvaluationRecord,
)
from cnnviz.runs.evaluation_summary import Summarizer
from cnnviz.runs.evaluation_table import TABLE, table_lines
from cnnviz.runs.items import Item
from cnnviz.runs.journal import Journal, RunFile
from cnnviz.runs.judge import Judge, metric_record
from cnnviz.runs.manifest import check_run_file, file_sha256, fingerprint
from cnnviz.runs.plan import RunPlan
from cnnviz.runs.randomize import RandomizationTest
from cnnviz.runs.request import EvaluationRequest, MetricOptions
from cnnviz.runs.run_records import RunRecord
from cnnviz.runs.session import Session
from cnnviz.runs.shards import Part
from cnnviz.runs.supervisor import WorkerState
from cnnviz.runs.thresholds import Threshold
from cnnviz.storage.paths import AnyPath, opened, path_of
from cnnviz.structure import decode, parse
from cnnviz.types import Mask, Notify

EVALUATION = RunFile(
    PurePosixPath("evaluation.json"),
    ".cnnviz-evaluation-journal.jsonl",
    "cnnviz_evaluation",
    EVALUATION_VERSION,
    EvaluatedImageRecord,
)


@dataclass(frozen=True)
class EvaluationPlan:
    """A request that was found to be in order, as far as that shows without an engine.

    Attributes:
        request: what is asked for.
        plan: of what is explained.
        metrics: how it is judged.
        limits: what is demanded of that, by METRIC or METHOD.METRIC.
    """

    request: EvaluationRequest
    plan: RunPlan
    metrics: tuple[AnyMetric, ...]
    limits: tuple[Threshold, ...] = ()

    @classmethod
    def check(cls, request: EvaluationRequest, notify: Notify | None = None) -> EvaluationPlan:
        """Check all that can be checked before an engine is needed.

        Raises:
            CnnvizError: something is wrong with the request.
        """
        asked = request.judged
        if asked.boxes is not None and asked.masks is not None:
            raise UsageError("Give --boxes or --masks, not both.")
        metrics = choose_metrics(asked.metrics, asked.metric_options, regions=asked.regions)
        limits = check_metrics(asked.metric_limits, of_maps(metrics))
        shard = request.execution.shard
        check_run_file(request.output, EVALUATION)
        if shard is not None:
            check_run_file(request.output, EVALUATION.of_part(shard))
            if limits:
                raise UsageError(
                    f"{limits[0]} is about all images, and --shard looks at some: give it to "
                    "`cnnviz merge`, when all parts are done."
                )
        if len(request.targets.targets) != 1:
            raise UsageError(
                f"`cnnviz evaluate` judges the maps of one target; got "
                f"{', '.join(request.targets.targets)}. Run it once for each, with an --output of "
                "its own."
            )
        return cls(request, RunPlan.check(request, notify), metrics, limits)

    @property
    def run_file(self) -> RunFile[EvaluatedImageRecord]:
        """What it writes."""
        return EVALUATION

    @property
    def randomizes(self) -> bool:
        """Whether the test with random parameters is asked for."""
        return any(isinstance(one, Randomization) for one in self.metrics)

    @property
    def explained(self) -> RunPlan:
        """What is explained."""
        return self.plan

    def listing(self, sources: Sequence[Source]) -> EvaluationPlan:
        """The same, with its images in another list."""
        return replace(self, plan=self.plan.listing(sources))

    def telling(self, notify: Notify | None) -> EvaluationPlan:
        """The same, with somebody else who is told what there is to say."""
        return replace(self, plan=self.plan.telling(notify))

    def open(
        self, worker: WorkerState | None = None, *, progress: bool = True
    ) -> EvaluationSession:
        """Load the network; see :meth:`RunPlan.open`.

        Raises:
            CnnvizError: it cannot be used, or there are several targets.
        """
        session = self.plan.open(worker, progress=progress)
        asked = self.request.judged
        regions = None
        if asked.regions:
            explainer = session.explainer
            regions = read_regions(
                asked.boxes,
                asked.masks,
                session.everything,
                explainer.labels,
                explainer.network.architecture.classes,
            )
            for note in regions.notes:
                if session.notify is not None:
                    session.notify(note)
        if len(session.goals.targets) != 1 or session.goals.needs_probabilities:
            raise UsageError(
                "`cnnviz evaluate` judges the maps of one target an image: give predicted, truth, "
                "or a class."
            )
        maps = of_maps(self.metrics)
        activation = session.explainer.network.architecture.activation
        (target,) = session.goals.targets
        check_measurable(self.limits, maps, activation, of_class=isinstance(target, Target))
        limits = of_each_method(self.limits, Judge(session.explainer, maps).subjects)
        tests = (
            RandomizationTest(one, session.explainer, session.goals)
            for one in self.metrics
            if isinstance(one, Randomization)
        )
        test = next(tests, None)
        return EvaluationSession(self.request, session, maps, regions, limits, test)


@dataclass(frozen=True)
class EvaluationResult:
    """What became of an evaluation.

    Attributes:
        summary: over all images.
        resumed: how many images an earlier run had done.
    """

    summary: EvaluationRecord
    resumed: int

    @property
    def exit_code(self) -> ExitCode:
        """0, or 1 if any image failed."""
        return ExitCode.SOME_FAILED if self.summary.failed else ExitCode.OK


@dataclass(frozen=True)
class EvaluationSession:
    """An evaluation whose network is loaded.

    Attributes:
        request: what is asked for.
        session: of the explanations.
        metrics: how these are judged.
        regions: where the objects are, if that is known.
        limits: what is demanded, a threshold for each map that is meant.
        randomization: the test with random parameters, if that is asked for.
    """

    request: EvaluationRequest
    session: Session
    metrics: tuple[Metric, ...]
    regions: Regions | None = None
    limits: tuple[Threshold, ...] = ()
    randomization: RandomizationTest | None = None

    @property
    def test_passes(self) -> int:
        """Of the test with random parameters, for all images together."""
        if self.randomization is None or self.session.part is not None:
            return 0  # of a part none: the test is made at the merge
        return self.randomization.passes(len(self.session.sources))

    @property
    def targets(self) -> int:
        """How many targets are judged: one an image, or as many as it has true classes."""
        sources, truths = self.session.sources, self.session.truths
        if not self.session.goals.needs_truth:
            return len(sources)
        return sum(len(one.positive) if isinstance(one, LabelSet) else 1 for one in truths)

    @property
    def passes(self) -> PassCount:
        """For one target, beyond the one that all methods share."""
        return Judge(self.session.explainer, self.metrics).passes()

    def evaluate(
        self,
        observe: Callable[[EvaluationOutcome], None],
        on_progress: Callable[[int], None] | None = None,
    ) -> EvaluationResult:
        """Judge the images' maps, and write the files.

        Args:
            observe: called with each image's outcome, in order, once it is recorded.
            on_progress: called with a number of passes whenever that many are done.

        Raises:
            NetworkError: the network cannot be run at all.
            FailFastError: an image failed, and the run was to stop there.
            OutputUnavailableError: nothing more can be written (the disk is full, say).
        """
        began, started = monotonic(), datetime.now(timezone.utc)
        session, request = self.session, self.request
        judge = Judge(session.explainer, self.metrics, on_progress)
        run = self.describe()
        mark = run.fingerprint
        stems = session.stems
        journal = session.keeping.journal(EVALUATION, mark, stems)
        summarizer = Summarizer(tuple(map(metric_record, self.metrics)), judge.subjects)
        positions = {}
        if self.regions is not None:
            positions = {str(one.path): place for place, one in enumerate(session.everything)}
        stage = Evaluate(
            judge, session.goals, journal, summarizer, partial(self._region, positions)
        )
        told = Told(observe, fail_fast=request.execution.fail_fast)
        done = False
        try:
            session.stream.run(stage, session.items, told)
            whole = session.part is None
            summary = (
                self._summary(summarizer, journal, stems, mark, on_progress)
                if whole
                else summarizer.record()
            )
            seconds = round(monotonic() - began, 3)
            started_text = started.isoformat(timespec="seconds")
            run = replace(run, started=started_text, seconds=seconds)
            if whole:
                table = table_lines(summary, map(EVALUATION.image_in, journal.lines(stems)))
                folder_at(request.output).write(TABLE, encode_run_file(table))
            lacks = None if self.randomization is None else _NEEDS_NETWORK
            session.keeping.write(EVALUATION, run, summary, journal, stems, lacks)
            done = True
        finally:
            journal.close(done=done)
        return EvaluationResult(summary, told.resumed)

    def describe(self) -> RunRecord:
        """What its file says of this run, but for its times."""
        session = self.session
        run = describe_run(self.request, session.config, session.explainer, session.ground_truth)
        return replace(run, fingerprint=fingerprint(self._decides(run)))

    def of_part(self, part: Part, worker: WorkerState | None, *, force: bool) -> EvaluationSession:
        """One of its parts, see :meth:`Session.of_part`."""
        session = self.session.of_part(part, worker, force=force)
        request = replace(self.request, execution=session.request.execution)
        return replace(self, request=request, session=session)

    def _summary(
        self,
        summarizer: Summarizer,
        journal: Journal[EvaluatedImageRecord],
        stems: Sequence[str],
        mark: str,
        on_progress: Callable[[int], None] | None,
    ) -> EvaluationRecord:
        """What the images come to, and what the test with random parameters says."""
        records = map(journal.find, stems)
        return summarizer.record(*self.randomized(records, len(stems), mark, on_progress))

    def randomized(
        self,
        records: Iterable[EvaluatedImageRecord | None],
        images: int,
        mark: str,
        on_progress: Callable[[int], None] | None = None,
    ) -> tuple[RandomizationResult | None, tuple[str, ...]]:
        """The test with random parameters, if it is asked for, and what is to be said of it.

        Args:
            records: of all images of the run, in order.
            images: how many these are.
            mark: the run's fingerprint; the test of an earlier run of the same is not made again.
            on_progress: called with a number of passes whenever that many are done.
        """
        test, session = self.randomization, self.session
        if test is None:
            return None, ()
        truths = session.truths if session.part is None else session.part.truths
        items = (
            Item(source, output_stem(record.stem), truth)
            for source, truth, record in zip(session.everything, truths, records, strict=True)
            if record is not None and record.target is not None
        )
        first = list(islice(items, test.test.images))
        before = _summary_before(self.request.output, mark, images)
        found = None if before is None else before.randomization
        if found is None or found.images != len(first):
            progress = on_progress if on_progress is not None else lambda _count: None
            found = test.run(chain(first, items), session.stream.loader, progress)
        return found, tuple(filter(None, (test.left_out,)))

    def _region(
        self, positions: Mapping[str, int], item: Item, explanation: Explanation
    ) -> Mask | None:
        """Where the target's objects are in an image, if that is known."""
        if self.regions is None:
            return None
        target = explanation.target if isinstance(explanation.target, int) else None
        source = explanation.prepared.geometry.source
        return self.regions.region(positions[item.key], target, source)

    def _decides(self, run: RunRecord) -> dict[str, Any]:
        """What decides on the record of an image."""
        session, test = self.session, self.randomization
        explained = decisive(run, session.request, session.goals, {})
        return {
            **{name: explained[name] for name in explained if name not in _FILES},
            "evaluation": EVALUATION_VERSION,
            "metrics": [metric_record(metric) for metric in self.metrics],
            "randomization": test and asdict(test.test),
            "regions": _regions_digest(self.request.judged),
        }


#: Why records do not suffice for a merge.
_NEEDS_NETWORK = (
    "The test with random parameters is made at the merge, and needs the network: run "
    "`cnnviz evaluate` with --shard again for any of the parts; it does no image again."
)

#: What decides on files that an explanation writes and an evaluation does not.
_FILES = ("style", "format", "arrays", "panel", "evaluate", "limits", "contrasts")


def _summary_before(folder: AnyPath, mark: str, images: int) -> EvaluationRecord | None:
    """What an earlier run of the same, which came to its end, found; None if there was none."""
    try:
        with opened(folder / EVALUATION.name) as file:
            _, run, summary = (next(file, b"").rstrip(b",\n") for _ in range(3))
        if parse(run.partition(b":")[2]).get("fingerprint") != mark:
            return None
        found = decode(EvaluationRecord, parse(summary.partition(b":")[2]), "summary")
    except (OSError, ValueError, AttributeError):  # somebody may have changed it
        return None
    return found if found.ok == images else None


def _regions_digest(judged: MetricOptions) -> Any:
    """What changes when a file of boxes does, or one of the masks."""
    if judged.boxes is not None:
        return file_sha256(path_of(judged.boxes))
    if judged.masks is None:
        return None
    files = [path for path in sorted(Path(judged.masks).rglob("*")) if path.is_file()]
    found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return fingerprint({"masks": found})
