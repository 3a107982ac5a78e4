"""``cnnviz compare``: two runs over the same images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnviz.cli.console import Printing, json_line, put, say, told_progress
from cnnviz.cli.option_types import Input
from cnnviz.cli.options import (
    JSON,
    QUIET,
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
    truth_option,
)
from cnnviz.cli.sides import SIDES, Sides, TwofoldCommand, are_runs, explain_both, side_folder
from cnnviz.cli.thresholds import comparison_check_options, conclude
from cnnviz.comparison.request import ComparisonChecks
from cnnviz.errors import ExitCode
from cnnviz.structure import plain
from cnnviz.text import printable

if TYPE_CHECKING:
    from cnnviz.comparison.comparison import Comparison
    from cnnviz.comparison.records import Outcome

#: What images of each outcome are called in a line.
_OUTCOMES: dict[Outcome, str] = {
    "fixed": "fixed",
    "broken": "broken",
    "both_wrong": "both wrong",
    "both_right": "both right",
    "changed": "changed",
    "unchanged": "unchanged",
}


@click.command(
    name="compare",
    cls=TwofoldCommand,
    task="explain",
    examples=(
        ("cnnviz compare before/ after/", "two runs of `cnnviz explain`"),
        ("cnnviz compare before/ after/ --fail-if-worse accuracy=0.5%", "for a script"),
        ("cnnviz compare photos/ -m vgg16 -m vgg19 --truth folders", "two networks"),
        ("cnnviz compare photos/ -m net.json --weights a.params --weights b.params", "two epochs"),
        ("cnnviz compare cat.jpg --method gradcam --method layercam", "two methods"),
    ),
)
@click.argument("inputs", nargs=-1, required=True, type=Input(), metavar="INPUT...")
@output_option("comparison")
@model_options
@goal_options
@method_options
@image_options
@look_options
@file_options
@EVALUATE
@comparison_check_options
@TITLE
@click.option(
    "--single-file",
    is_flag=True,
    help="Write report.html instead of index.html, one file with its images in it.",
)
@truth_option
@limit_option("Explain only the first N images.")
@force_option("Explain")
@execution_options
@runner_option
@JSON
@click.option("--verbose", "-v", is_flag=True, help="Print a line per image.")
@QUIET
@packed(checks=ComparisonChecks, printing=Printing)
def command(
    checks: ComparisonChecks,
    printing: Printing,
    inputs: tuple[str, ...],
    output: Path,
    title: str | None,
    single_file: bool,
    **options: Any,
) -> int:
    """Compare two networks on the same images: what B gained, what it lost, where it looks.

    INPUT is two output folders of `cnnviz explain`, A's and B's, with their manifest.json. Or it
    is images, as `cnnviz explain` takes them: then these are explained twice, into DIR/a and
    DIR/b. Options of the network, of its preprocessing, of what is explained, and --truth,
    --device, --engine and --precision hold for both if they are given once; given twice, the
    first is A's and the second B's, and the word `default` stands for none.

    This prints what was found and writes comparison.json, comparison.csv (a row per image) and
    index.html, a page with both heatmaps of each image.
    """
    from cnnviz.comparison.checks import SideData, check_changes, conclude_comparison
    from cnnviz.comparison.compare import compare, read_sides
    from cnnviz.comparison.files import check_comparison_folder, write_comparison
    from cnnviz.report.comparison import build_comparison_page
    from cnnviz.runs.checked import Collector
    from cnnviz.runs.request_checks import check_files

    check_files(checks)
    check_comparison_folder(output)
    collector = Collector()
    status: int = ExitCode.OK
    if are_runs(click.get_current_context(), inputs, options):
        a, b = map(Path, inputs)
        if a.resolve() == b.resolve() and not printing.quiet:
            say("A and B are the same folder: this compares a run with itself.")
    else:
        sides = Sides.of(inputs, output, options, checks)
        status, done = explain_both(sides, output, printing)
        if not done:
            return status
        a, b = (side_folder(output, name) for name in SIDES)
    ours, theirs = read_sides(a, b)
    check_changes(checks, SideData.recorded(ours), SideData.recorded(theirs), done=True)
    comparison = compare(ours, theirs)
    write_comparison(output, comparison)
    with told_progress("thumbnail", hidden=printing.quiet) as show:
        build_comparison_page(
            output,
            comparison,
            title=title,
            single_file=single_file,
            progress=show,
            notify=printing.notify,
            announce=printing.notify,
        )
    tell(comparison, printing)
    if not printing.quiet:
        say(f"written to {output}")
    run = conclude_comparison(comparison, checks, collector)
    return conclude(run, checks, status, quiet=printing.quiet)


def tell(comparison: Comparison, printing: Printing) -> None:
    """Print what a comparison found."""
    if printing.as_json:
        for pair in comparison.pairs:
            put(json_line(plain(pair.record)))
    elif printing.verbose:
        for line in _lines(comparison):
            put(line)
    if printing.quiet:
        return
    summary = comparison.summary
    for text in summary.notes:
        say(printable(text))
    write = say if printing.as_json else put
    for text in summary.findings:
        write(printable(text))


def _lines(comparison: Comparison) -> Iterator[str]:
    """A line for each image."""
    for pair in comparison.pairs:
        one = pair.record
        found = one.agreement
        where = one.no_agreement if found is None else f"rank correlation {_number(found.spearman)}"
        if found is not None and found.elsewhere:
            where = f"{where}, elsewhere"
        predictions = f"{one.a.prediction.prediction} -> {one.b.prediction.prediction}"
        yield printable(f"{one.path}: {_OUTCOMES[one.outcome]}: {predictions}; {where}")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
