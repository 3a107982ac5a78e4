"""``cnnviz explain``: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cnnviz.cli.console import (
    Interrupt,
    Printing,
    progress,
    say,
)
from cnnviz.cli.explain_lines import OutcomePrinter, announce_passes, introduce, sum_up
from cnnviz.cli.help import SectionedCommand
from cnnviz.cli.merge import merge_part
from cnnviz.cli.option_types import Choice, Input
from cnnviz.cli.options import (
    JSON,
    QUIET,
    REPORT,
    TITLE,
    image_options,
    look_options,
    model_options,
    output_option,
    packed,
)
from cnnviz.cli.run_options import (
    EVALUATE,
    execution_options,
    file_options,
    force_option,
    goal_options,
    limit_option,
    method_options,
    runner_option,
    shard_option,
    truth_option,
)
from cnnviz.cli.thresholds import check_options, conclude, concluding
from cnnviz.cli.workers import in_worker, opened
from cnnviz.runs.request import RunRequest
from cnnviz.runs.supervisor import WorkerState

if TYPE_CHECKING:
    from cnnviz.labels.predictions import Prediction
    from cnnviz.runs.figures import ExplanationCollector
    from cnnviz.runs.session import RunResult, Session
    from cnnviz.runs.stages import ImageOutcome


@click.command(
    name="explain",
    cls=SectionedCommand,
    task="explain",
    examples=(
        ("cnnviz explain cat.jpg -m squeezenet1.1", "one image"),
        ("cnnviz explain photos/ --truth folders --report", "a folder, with a page about it"),
        ('cnnviz explain cat.jpg --target "tiger cat"', "why not this class?"),
        ("cnnviz explain cat.jpg --contrast predicted:second", "why not the runner-up?"),
        (
            "cnnviz explain cat.jpg --method layercam --panel",
            "another method, in one figure",
        ),
    ),
)
@click.argument("inputs", nargs=-1, required=True, type=Input(), metavar="INPUT...")
@output_option("explanations", remote=True)
@model_options
@goal_options
@click.option(
    "--contrast",
    "contrasts",
    multiple=True,
    metavar="A:B",
    help="Also show why A rather than B: predicted:truth, predicted:second, or any two classes. "
    "Repeatable.",
)
@method_options
@image_options
@look_options
@file_options
@EVALUATE
@REPORT
@TITLE
@truth_option
@click.option(
    "--only",
    type=Choice("cnnviz.labels.predictions:ONLY", "WHICH"),
    help="Explain only incorrect predictions (wrong), correct ones (right), or uncertain ones "
    "(highest probability below 0.5). All images are predicted first.",
)
@click.option(
    "--sort",
    type=Choice("cnnviz.labels.predictions:SORTS", "BY"),
    help="Order of the images: loss (of the true class, highest first), confidence (highest "
    "first) or margin (between the two highest classes, smallest first).",
)
@limit_option(
    "Explain only the first N of these; without --only and --sort, no other image is read."
)
@force_option("Explain")
@check_options
@execution_options
@shard_option
@runner_option
@JSON
@click.option("--verbose", "-v", is_flag=True, help="Print the five highest classes of each image.")
@QUIET
@packed(request=RunRequest, printing=Printing)
def command(
    request: RunRequest,
    printing: Printing,
    saliency: str | None,
) -> int:
    """Explain images: what the network predicts for each, and where it looked.

    INPUT is an image, a folder (searched recursively), a tar archive, a URL of these (s3://,
    https://, ...), or - for paths on standard input. For photos/cat.jpg this writes
    cat_original.png, cat_gradcam.png, cat_guided_gradcam.png and cat_saliency.png. If --target asks
    for a class other than the predicted one, file names contain its index: cat_281_gradcam.png.
    """
    return explain_anywhere(request.with_saliency(saliency), printing)


def explain_anywhere(request: RunRequest, printing: Printing) -> int:
    """Do what the command is for, on what the request says; returns the exit status."""
    if request.execution.runner is not None:
        from cnnviz.cli.on_ray import explain_on_ray

        return explain_on_ray(request, printing)
    return in_worker(explain_images, request, printing)


def explain_images(request: RunRequest, printing: Printing, worker: WorkerState | None) -> int:
    """Do what the command is for, in a worker or in this process; returns the exit status."""
    from cnnviz.runs.figures import ExplanationCollector
    from cnnviz.runs.plan import RunPlan

    quiet = printing.quiet
    session = opened(RunPlan.check, request, printing, worker)
    if not quiet:
        introduce(session.explainer)
    collector = ExplanationCollector()
    if request.selection.by_prediction:
        session = _select(session, quiet=quiet)
    with concluding("explain", request.checks, collector):
        result = _run(session, printing, collector)
    if request.execution.shard is not None:
        from cnnviz.runs.manifest import MANIFEST
        from cnnviz.runs.merged import merge_manifest

        if not quiet:
            sum_up(session, result, collector.seconds)
        merge_part(merge_manifest, request, printing, MANIFEST)
        return result.report.exit_code
    if request.files.report:
        from cnnviz.report import build_report

        build_report(request.output, notify=printing.notify)
    if not quiet:
        sum_up(session, result, collector.seconds)
    if not request.checks.wanted:
        return result.report.exit_code
    run = collector.conclude(request.checks, result.report, session.looked, session.title)
    return conclude(run, request.checks, result.report.exit_code, quiet=quiet)


def _select(session: Session, *, quiet: bool) -> Session:
    """Look at all images, to find those that are asked for."""
    everything = len(session.sources)
    with progress(everything, "image predicted", hidden=quiet) as bar, Interrupt() as interrupt:

        def observe(_prediction: Prediction | None) -> None:
            bar.update(1)
            interrupt.heed()

        selected = session.select(observe)
    if not quiet:
        say(f"{len(selected.sources)} of {everything} images selected")
    return selected


def _run(session: Session, printing: Printing, collector: ExplanationCollector) -> RunResult:
    """Explain the images, and print what becomes of each."""
    images, targets = len(session.sources), session.goals.most or 1
    each = announce_passes(session.explainer, images, targets, quiet=printing.quiet)
    passes = session.rounds * each
    total, unit = (passes, "pass") if passes else (session.rounds * images, "image")
    with progress(total, unit, hidden=printing.quiet) as bar, Interrupt() as interrupt:
        layers = [layer.name for layer in session.explainer.layers]
        output = session.request.output
        printer = OutcomePrinter(bar, session.worker, printing, output, layers)
        done = 0 if passes else 1

        def advance(count: int) -> None:
            """Move on by one image or, if methods need many passes, by passes."""
            bar.update(count)
            interrupt.heed()

        def observe(outcome: ImageOutcome) -> None:
            printer(outcome)
            if session.request.checks.written:
                collector.add_image(outcome.record)
            advance(done)

        return session.explain(observe, lambda _: advance(done), advance if passes else None)
