"""``cnnviz evaluate``: how much the maps are worth."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnviz.cli.console import Interrupt, Printing, progress, put, say
from cnnviz.cli.evaluation_lines import EvaluationPrinter, sum_up, table
from cnnviz.cli.explain_lines import introduce, passes_told
from cnnviz.cli.help import SectionedCommand
from cnnviz.cli.merge import merge_part
from cnnviz.cli.option_types import FilePath, Input
from cnnviz.cli.options import (
    JSON,
    QUIET,
    REPORT,
    TITLE,
    image_options,
    model_options,
    output_option,
    packed,
)
from cnnviz.cli.run_options import (
    execution_options,
    force_option,
    goal_options,
    limit_option,
    method_options,
    named_values,
    runner_option,
    shard_option,
    truth_option,
)
from cnnviz.cli.thresholds import conclude, concluding, metric_check_options
from cnnviz.cli.workers import in_worker, opened
from cnnviz.runs.request import EvaluationRequest
from cnnviz.runs.supervisor import WorkerState
from cnnviz.types import Notify

if TYPE_CHECKING:
    from cnnviz.runs.checked import Collector
    from cnnviz.runs.evaluate import EvaluationResult, EvaluationSession
    from cnnviz.runs.evaluate_stage import EvaluationOutcome
    from cnnviz.runs.evaluation_records import EvaluationRecord
    from cnnviz.runs.merged import Merged


@click.command(
    name="evaluate",
    cls=SectionedCommand,
    task="judge",
    examples=(
        ("cnnviz evaluate photos/ -m squeezenet1.1", "the default methods by all metrics"),
        ("cnnviz evaluate photos/ --method gradcam,rise --metric insertion", "two methods by one"),
        ("cnnviz evaluate photos/ --metric-option insertion.score=logit", "an option of a metric"),
    ),
)
@click.argument("inputs", nargs=-1, required=True, type=Input(), metavar="INPUT...")
@output_option("evaluation", remote=True)
@model_options
@goal_options
@method_options
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Metric; `cnnviz metrics` lists them. Repeatable, or A,B. By default all that can be "
    "measured.",
)
@click.option(
    "--metric-option",
    "metric_options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=named_values,
    help="Option of the metrics, or METRIC.NAME=VALUE for one of them. Repeatable.",
)
@truth_option
@click.option(
    "--boxes",
    type=FilePath(path_type=str, remote=True),
    metavar="FILE",
    help="Where the objects are, for metrics of localization: a .csv file (path,label,x0,y0,x1,y1) "
    "or COCO's .json; or a URL of one.",
)
@click.option(
    "--masks",
    type=FilePath(path_type=str),
    metavar="FOLDER",
    help="The same as PNGs, one an image, not 0 where the object is.",
)
@image_options
@limit_option("Evaluate only the first N images.")
@force_option("Evaluate")
@metric_check_options
@execution_options
@shard_option
@runner_option
@REPORT
@TITLE
@JSON
@click.option("--verbose", "-v", is_flag=True, help="Print a line per image.")
@QUIET
@packed(request=EvaluationRequest, printing=Printing)
def command(request: EvaluationRequest, printing: Printing, saliency: str | None) -> int:
    """Measure how far the maps of each method can be believed.

    INPUT is an image, a folder (searched recursively), a tar archive, a URL of these (s3://,
    https://, ...), or - for paths on standard input. Each image is explained, and its maps are
    judged by metrics: whether the network's output depends on what a map marks, whether a map
    depends on what the network learned, whether it lies where the object is. Maps that never saw
    the image are judged beside them. This prints a table and writes evaluation.json and
    evaluation.csv; with --report a page shows it, too.
    """
    request = request.with_saliency(saliency)
    if request.execution.runner is not None:
        from cnnviz.cli.on_ray import evaluate_on_ray

        return evaluate_on_ray(request, printing)
    return in_worker(_evaluate, request, printing)


def _evaluate(request: EvaluationRequest, printing: Printing, worker: WorkerState | None) -> int:
    from cnnviz.runs.checked import Collector
    from cnnviz.runs.evaluate import EVALUATION, EvaluationPlan
    from cnnviz.runs.evaluation_checks import verdict_on

    quiet = printing.quiet
    session = opened(EvaluationPlan.check, request, printing, worker)
    if not quiet:
        introduce(session.session.explainer)
    collector = Collector()
    with concluding("evaluate", request.checks, collector):
        result = _run(session, printing, collector)
    shard = request.execution.shard
    if shard is not None:
        if not quiet:
            sum_up(request, result, collector.seconds)
        summary = merge_part(partial(_merge, session), request, printing, EVALUATION.name)
        if summary is not None and not quiet and not printing.as_json:
            put("\n".join(table(summary)))
        return result.exit_code
    if request.files.report:
        from cnnviz.report import build_report

        build_report(request.output, notify=printing.notify)
    if not quiet:
        sum_up(request, result, collector.seconds)
        if not printing.as_json:
            put("\n".join(table(result.summary)))
    run = verdict_on(result.summary, session.limits, collector, session.session.title)
    return conclude(run, request.checks, result.exit_code, quiet=quiet)


def _merge(
    session: EvaluationSession, folder: Path, count: int, notify: Notify | None
) -> Merged[EvaluationRecord] | None:
    """Merge the parts, with the network at hand."""
    from cnnviz.runs.merged import merge_evaluation

    return merge_evaluation(folder, count, notify, session.randomized)


def _run(session: EvaluationSession, printing: Printing, collector: Collector) -> EvaluationResult:
    """Judge the images' maps, and print what becomes of each."""
    images = len(session.session.sources)
    each, tests = session.passes, session.test_passes
    if not printing.quiet:
        said = passes_told(each) or "those of the methods"
        say(f"{images} images; passes per image: {said}")
        if tests:
            say(f"and {tests:,} passes to explain images again with random parameters")
    with (
        progress(each.total() * session.targets + tests, "pass", hidden=printing.quiet) as bar,
        Interrupt() as interrupt,
    ):
        printer = EvaluationPrinter(bar, session.session.worker, printing)

        def advance(count: int) -> None:
            bar.update(count)
            interrupt.heed()

        def observe(outcome: EvaluationOutcome) -> None:
            printer(outcome)
            record = outcome.record
            if session.request.checks.written:
                collector.add(record.path, record.seconds, record.error)
            interrupt.heed()

        return session.evaluate(observe, advance)
