"""``--runner ray``: the parts of a run are done by a Ray cluster, and merged here."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from cnnviz.cli.console import Interrupt, Printing, progress, say
from cnnviz.cli.explain_lines import OutcomePrinter, sum_up
from cnnviz.runs.request import RunRequest

if TYPE_CHECKING:
    from pathlib import Path

    from tqdm import tqdm

    from cnnviz.runs.parts import Opened, PartEnd, PartProgress
    from cnnviz.runs.records import ScannedRecord
    from cnnviz.runs.summary import RunReport


@dataclass(frozen=True)
class _Ran:
    """What a summary says of a run beside its images."""

    request: RunRequest
    scanned: ScannedRecord | None = None


@dataclass
class _Console:
    """Prints what becomes of a run, part by part, and counts it."""

    request: RunRequest
    printing: Printing
    bar: tqdm[Any]
    interrupt: Interrupt
    report: RunReport
    _printer: OutcomePrinter | None = field(default=None, init=False)

    def opened(self, opened: Opened) -> None:
        """The first worker is ready."""
        self.say(f"{opened.title} Layers: {', '.join(opened.layers)}.")
        self.report.names = opened.names
        self._printer = OutcomePrinter(
            self.bar, None, self.printing, self.request.output, opened.layers
        )

    def done(self, part: PartProgress, end: PartEnd) -> None:
        """A part is done."""
        from cnnviz.runs.stages import ImageOutcome

        assert self._printer is not None  # some worker was ready
        for record in part.records():
            self._printer(ImageOutcome(record))
            self.report.count(record, fresh=True)
        self.report.resumed += end.resumed

    def say(self, text: str) -> None:
        """Print a sentence that is no error."""
        if not self.printing.quiet:
            with self.bar.external_write_mode(file=sys.stderr):
                say(text)

    def images(self, done: int) -> None:
        """So many images are done."""
        self.bar.update(done - self.bar.n)
        self.interrupt.heed()


def explain_on_ray(request: RunRequest, printing: Printing) -> int:
    """Do what ``cnnviz explain`` is for; returns the exit status."""
    from cnnviz.runs.merged import merge_manifest
    from cnnviz.runs.parts import unfinished_parts
    from cnnviz.runs.ray_runner import RayRun, Watch, address_of, cluster
    from cnnviz.runs.session import RunPlan, RunResult
    from cnnviz.runs.summary import RunReport

    began = monotonic()
    plan = RunPlan.check(request, printing.notify)
    replace(plan, notify=None).ground_truth()  # for its mistakes; workers say what else there is
    images = len(plan.found.sources)
    if request.selection.limit is not None:
        images = min(images, request.selection.limit)
    parts = unfinished_parts(plan, images)
    with (
        progress(images, "image", hidden=printing.quiet) as bar,
        Interrupt() as interrupt,
        cluster(address_of(request.execution.runner)),
    ):
        told = _Console(request, printing, bar, interrupt, RunReport())
        watch = Watch(told.opened, told.done, told.images, told.say)
        RayRun(plan, parts, watch).run()
    folder: Path = parts[0].folder
    merged = merge_manifest(folder, len(parts), printing.notify)
    assert merged is not None  # the parts are all there
    if request.files.report:
        from cnnviz.report import build_report

        build_report(folder, notify=printing.notify)
    if not printing.quiet:
        result = RunResult(told.report, tuple(merged.summary.left_behind), ())
        sum_up(_Ran(request), result, monotonic() - began)
    return told.report.exit_code
