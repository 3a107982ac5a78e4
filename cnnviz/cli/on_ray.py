"""``--runner ray``: the parts of a run are done by a Ray cluster, and merged here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnviz.cli.console import Interrupt, Printing, progress, put, say
from cnnviz.cli.evaluation_lines import EvaluationPrinter, table
from cnnviz.cli.evaluation_lines import sum_up as sum_up_evaluation
from cnnviz.cli.explain_lines import OutcomePrinter, Printer, sum_up
from cnnviz.cli.thresholds import conclude, concluding
from cnnviz.errors import FailFastError
from cnnviz.runs.request import CheckOptions, EvaluationRequest, RunRequest

if TYPE_CHECKING:
    from tqdm import tqdm

    from cnnviz.runs.checked import Collector
    from cnnviz.runs.parts import AnyPlan, Opened, PartEnd, PartProgress, RandomizationEnd
    from cnnviz.runs.records import ScannedRecord


@dataclass(frozen=True)
class _Ran:
    """What a summary says of a run beside its images."""

    request: RunRequest
    scanned: ScannedRecord | None = None


@dataclass(frozen=True)
class _Outcome:
    """What became of an image."""

    record: Any


PrinterFor = Callable[["tqdm[Any]", "Opened"], Printer[Any]]
"""What prints the outcomes of a run, beside a bar, once a worker is ready."""


@dataclass
class _Console:
    """Prints what becomes of a run, part by part.

    Attributes:
        resumed: how many images were done before.
    """

    printing: Printing
    printer_for: PrinterFor
    bar: tqdm[Any]
    interrupt: Interrupt
    resumed: int = 0
    _printer: Printer[Any] | None = field(default=None, init=False)

    def opened(self, opened: Opened) -> None:
        """The first worker is ready."""
        self.say(f"{opened.title} Layers: {', '.join(opened.layers)}.")
        self._printer = self.printer_for(self.bar, opened)

    def done(self, part: PartProgress, end: PartEnd) -> None:
        """A part is done."""
        assert self._printer is not None  # some worker was ready
        for record in part.records():
            self._printer(_Outcome(record))
        self.resumed += end.resumed

    def say(self, text: str) -> None:
        """Print a sentence that is no error."""
        if not self.printing.quiet:
            with self.bar.external_write_mode(file=sys.stderr):
                say(text)

    def images(self, done: int) -> None:
        """So many images are done."""
        self.bar.update(done - self.bar.n)
        self.interrupt.heed()


@dataclass(frozen=True)
class _Done:
    """What workers have left: the files of all parts.

    Attributes:
        folder: where they are.
        count: how many parts there are.
        resumed: how many images were done before.
        randomized: the test with random parameters, if it was to be made.
    """

    folder: Path
    count: int
    resumed: int
    randomized: RandomizationEnd | None = None


def explain_on_ray(request: RunRequest, printing: Printing) -> int:
    """Do what ``cnnviz explain`` is for; returns the exit status."""
    from cnnviz.runs.checked import Collector
    from cnnviz.runs.figures import ExplanationCollector
    from cnnviz.runs.manifest import MANIFEST
    from cnnviz.runs.merged import merge_manifest
    from cnnviz.runs.plan import RunPlan
    from cnnviz.runs.run_verdicts import finished_run, verdict_on_manifest
    from cnnviz.runs.session import RunResult

    stopped, collector = Collector(), ExplanationCollector()
    plan = RunPlan.check(request, printing.notify)
    plan.telling(None).ground_truth()  # for its mistakes; workers say what else there is

    def printer(bar: tqdm[Any], opened: Opened) -> OutcomePrinter:
        return OutcomePrinter(bar, None, printing, request.output, opened.layers)

    with ExitStack() as held:
        with concluding("explain", request.checks, stopped):
            done = _do_parts(plan, printing, printer, stopped, held)
        merged = merge_manifest(done.folder, done.count, printing.notify)
    assert merged is not None  # the parts are all there
    _report(request, printing)
    counts = replace(merged.counts, resumed=done.resumed)
    if not printing.quiet:
        result = RunResult(counts, tuple(merged.summary.left_behind), ())
        sum_up(_Ran(request), result, collector.seconds)
    if not request.checks.wanted:
        return counts.exit_code
    run = verdict_on_manifest(finished_run(done.folder / MANIFEST), request.checks, collector)
    return conclude(run, request.checks, counts.exit_code, quiet=printing.quiet)


def evaluate_on_ray(request: EvaluationRequest, printing: Printing) -> int:
    """Do what ``cnnviz evaluate`` is for; returns the exit status."""
    from cnnviz.runs.checked import Collector
    from cnnviz.runs.evaluate import EVALUATION, EvaluationPlan, EvaluationResult
    from cnnviz.runs.merged import merge_evaluation
    from cnnviz.runs.run_verdicts import finished_run, verdict_on_evaluation

    stopped, collector = Collector(), Collector()
    plan = EvaluationPlan.check(request, printing.notify)
    plan.plan.telling(None).ground_truth()  # for its mistakes

    def printer(bar: tqdm[Any], _: Opened) -> EvaluationPrinter:
        return EvaluationPrinter(bar, None, printing)

    with ExitStack() as held:
        with concluding("evaluate", request.checks, stopped):
            done = _do_parts(plan, printing, printer, stopped, held)
        tested = done.randomized
        merged = merge_evaluation(
            done.folder,
            done.count,
            printing.notify,
            None if tested is None else lambda *_: (tested.found, tested.remarks),
        )
    assert merged is not None  # the parts are all there
    _report(request, printing)
    result = EvaluationResult(merged.summary, done.resumed)
    if not printing.quiet:
        sum_up_evaluation(request, result, collector.seconds)
        if not printing.as_json:
            put("\n".join(table(merged.summary)))
    checks = replace(request.checks, fail_under=plan.limits)
    if not checks.wanted:
        return result.exit_code
    run = verdict_on_evaluation(finished_run(done.folder / EVALUATION.name), checks, collector)
    return conclude(run, checks, result.exit_code, quiet=printing.quiet)


def _do_parts(
    plan: AnyPlan,
    printing: Printing,
    printer_for: PrinterFor,
    stopped: Collector,
    held: ExitStack,
) -> _Done:
    """Have all parts of a run done, and print what becomes of the images.

    Args:
        plan: the run.
        printing: what is printed.
        printer_for: makes what prints that.
        stopped: takes note of what was done by then if the run is stopped.
        held: keeps other runs out of the folder, until the parts are merged.
    """
    from cnnviz.runs.evaluate import EvaluationPlan
    from cnnviz.runs.keeping import only_run
    from cnnviz.runs.parts import unfinished_parts
    from cnnviz.runs.ray_cluster import address_of, cluster
    from cnnviz.runs.ray_runner import RayRun, Watch
    from cnnviz.runs.shared_lists import shared

    images, limit = len(plan.explained.found.sources), plan.request.selection.limit
    if limit is not None:
        images = min(images, limit)
    parts = unfinished_parts(plan, images)
    randomized = None
    with (
        _noting(parts, plan.request.checks, stopped),
        progress(images, "image", hidden=printing.quiet) as bar,
        Interrupt() as interrupt,
        cluster(address_of(plan.request.execution.runner)),
    ):
        held.enter_context(only_run(plan.request.output, plan.run_file, printing.notify))
        told = _Console(printing, printer_for, bar, interrupt)
        with shared(plan) as sent:

            def opened(worker: Opened) -> None:
                told.opened(worker)
                sent.plan_names(worker.planner)

            run = RayRun(sent.plan, parts, Watch(opened, told.done, told.images, told.say))
            if isinstance(plan, EvaluationPlan) and plan.randomizes:
                randomized = run.run_and_randomize()
            else:
                run.run()
    return _Done(parts[0].folder, len(parts), told.resumed, randomized)


@contextmanager
def _noting(
    parts: Sequence[PartProgress], checks: CheckOptions, stopped: Collector
) -> Iterator[None]:
    """If the run is stopped in here, take note of the images that are done, for its files."""
    try:
        yield
    except (FailFastError, KeyboardInterrupt):
        if checks.written:
            for part in parts:
                for record in part.records():
                    stopped.add(record.path, record.seconds, record.error)
        raise


def _report(request: RunRequest, printing: Printing) -> None:
    """Write the page, if it is asked for."""
    if request.files.report:
        from cnnviz.report import build_report

        build_report(request.output, notify=printing.notify)
