"""For scripts: options that hold a run to thresholds, or write its verdict to files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnviz.cli.console import say
from cnnviz.cli.option_types import FilePath
from cnnviz.cli.options import with_parameters
from cnnviz.comparison.request import CHANGES
from cnnviz.errors import ExitCode, FailFastError
from cnnviz.runs.thresholds import FAIL_IF_WORSE, FAIL_UNDER, MAX_SHARE, SCORES, SHARES, Threshold
from cnnviz.text import counted, did_you_mean, joined, matching, paragraph, printable

if TYPE_CHECKING:
    from cnnviz.runs.checked import CheckedRun, Collector
    from cnnviz.runs.request import CheckOptions


class Demand(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """``NAME=VALUE``, a threshold."""

    name = "threshold"

    def __init__(self, option: str, names: Mapping[str, str] | None = None) -> None:
        """``names`` are those of the figures, from 0 to 1; None if these are known later."""
        self._option = option
        self._names = names

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Threshold:
        """The threshold."""
        if isinstance(value, Threshold):
            return value
        name, sign, number = str(value).partition("=")
        name = name.strip()
        if not (sign and name and number.strip()):
            first = "insertion" if self._names is None else next(iter(self._names))
            self.fail(f"'{value}' is not NAME=VALUE, such as {first}=0.5.", param, ctx)
        limit = _number(number)
        if self._names is None:
            if not math.isfinite(limit):
                self.fail(f"'{number}' is no number to compare {name} with.", param, ctx)
            return Threshold(self._option, name, limit)
        found = matching(name, self._names)
        if not found:
            names = joined(self._names)
            hint = _of_others(name) or did_you_mean(name, self._names)
            self.fail(paragraph(f"'{name}' is not one of {names}.", hint), param, ctx)
        if not 0 <= limit <= 1:
            self.fail(
                f"'{number}' is no value for {found[0]}, which lies between 0 and 1: for 90 % "
                "write 0.9 or 90%.",
                param,
                ctx,
            )
        return Threshold(self._option, found[0], limit)


def _of_others(name: str) -> str:
    """Which command and option take a figure that this option does not; or nothing."""
    from cnnviz.metrics.registry import METRICS

    takers: tuple[tuple[str, str, Iterable[str]], ...] = (
        ("explain", FAIL_UNDER, SCORES),
        ("explain", MAX_SHARE, SHARES),
        ("compare", MAX_SHARE, CHANGES),
        ("evaluate", FAIL_UNDER, METRICS),
    )
    for command, option, names in takers:
        found = matching(name.rpartition(".")[2] if names is METRICS else name, names)
        if found:
            return f"`cnnviz {command}` takes {option} {found[0]}."
    return ""


def of_scores(checks: CheckOptions) -> CheckOptions:
    """What is demanded of a run whose figures are scores, with the names that these have.

    Raises:
        click.BadParameter: there is no such score, or no such value of it.
    """
    demand = Demand(FAIL_UNDER, SCORES)
    named = (demand.convert(f"{one.name}={one.limit!r}", None, None) for one in checks.fail_under)
    return replace(checks, fail_under=tuple(named))


def _number(text: str) -> float:
    """The number, which may be in percent; NaN for anything else."""
    digits = text.strip()
    percent = digits.endswith("%")
    try:
        # Of decimal numbers, so that 0.5% is the number that 0.005 is.
        return float(Decimal(digits[:-1]) / 100) if percent else float(digits)
    except (ValueError, ArithmeticError):
        return math.nan


_SCORES = (
    click.option(
        FAIL_UNDER,
        "fail_under",
        type=Demand(FAIL_UNDER, SCORES),
        multiple=True,
        metavar="METRIC=VALUE",
        help="End with exit status 4 if accuracy, top5 (the true class is among the five highest), "
        "balanced-accuracy, macro-f1 or, where an image may belong to several classes, map (mean "
        "average precision) is below this value. Needs --truth. Repeatable.",
    ),
    click.option(
        MAX_SHARE,
        "max_share",
        type=Demand(MAX_SHARE, SHARES),
        multiple=True,
        metavar="PLACE=VALUE",
        help="End with exit status 4 if more than this share of the evidence lies at the border "
        "(an even heatmap has 0.36 there) or in one corner (0.04): on average over all images, or "
        "over the images predicted as one class, five or more. Repeatable.",
    ),
)


def _of_metrics(name: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option by which metrics are demanded."""
    return click.option(
        FAIL_UNDER,
        name,
        type=Demand(FAIL_UNDER),
        multiple=True,
        metavar="[METHOD.]METRIC=VALUE",
        help=text,
    )


_METRICS = _of_metrics(
    "metric_limits",
    "End with exit status 4 if the mean of a metric, insertion=0.4 say, is worse than this: "
    "lower, or higher where low values are good, as of deletion. METHOD.METRIC means one method's "
    "maps, METRIC those of each method. Repeatable.",
)
_EITHER = _of_metrics(
    "fail_under",
    "End with exit status 4 if a figure is worse than this: what `cnnviz explain` or, for the "
    "parts of an evaluation, `cnnviz evaluate` takes. Repeatable.",
)
_CHANGES = (
    click.option(
        FAIL_IF_WORSE,
        "fail_if_worse",
        type=Demand(FAIL_IF_WORSE, SCORES),
        multiple=True,
        metavar="METRIC=DROP",
        help="End with exit status 4 if B's accuracy, top5, balanced-accuracy, macro-f1 or map is "
        "lower than A's by more than this: accuracy=0.5% allows a drop of half a percentage point, "
        "whatever the accuracy itself is. Needs --truth. Repeatable.",
    ),
    click.option(
        MAX_SHARE,
        "max_share",
        type=Demand(MAX_SHARE, CHANGES),
        multiple=True,
        metavar="CHANGE=VALUE",
        help="End with exit status 4 if more than this share of the images is broken (only A "
        "classifies them correctly) or changed (another class is predicted), or if B looks "
        "elsewhere in more than this share. Repeatable.",
    ),
)
_FILES = (
    click.option(
        "--summary",
        type=FilePath(path_type=Path, dir_okay=False),
        metavar="FILE.md",
        help="Also write a summary in Markdown, for a pull request: figures, thresholds, the "
        "images with the highest loss, what failed.",
    ),
    click.option(
        "--junit",
        type=FilePath(path_type=Path, dir_okay=False),
        metavar="FILE.xml",
        help="Also write a JUnit file, which GitLab, Jenkins and others show: a test case for "
        "each threshold and each image.",
    ),
)


def check_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Those of :class:`cnnviz.runs.request.CheckOptions`, for commands that explain images."""
    return with_parameters(function, (*_SCORES, *_FILES))


def metric_check_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Likewise for commands that evaluate maps."""
    return with_parameters(function, (_METRICS, *_FILES))


def merged_check_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Likewise for runs of either command that are over."""
    return with_parameters(function, (_EITHER, _SCORES[1], *_FILES))


def comparison_check_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Likewise for comparisons, see :class:`cnnviz.comparison.request.ComparisonChecks`."""
    return with_parameters(function, (*_CHANGES, *_FILES))


def conclude(run: CheckedRun, checks: CheckOptions, status: int, *, quiet: bool) -> int:
    """Print the verdicts, and write the files that are asked for.

    Args:
        run: what the run came to.
        checks: what was asked for.
        status: the exit status that it has otherwise.
        quiet: whether to print bad news only.

    Returns:
        The exit status: an unmet threshold is worse than an image that failed.
    """
    for verdict in run.unmet:
        say(f"Threshold not met: {printable(verdict.sentence)}")
    if run.verdicts and not quiet:
        met = len(run.verdicts) - len(run.unmet)
        say(f"{met} of {counted(len(run.verdicts), 'threshold')} met")
    _write_files(run, checks)
    return ExitCode.NOT_MET if run.unmet else status


@contextmanager
def concluding(command: str, checks: CheckOptions, collector: Collector) -> Iterator[None]:
    """Write the files that are asked for even if the run is stopped in here.

    That is by its first failure, with ``--fail-fast``, or by Ctrl-C: a script that shows these
    files has to see which image it was.
    """
    try:
        yield
    except (FailFastError, KeyboardInterrupt) as stop:
        why = str(stop) or "Interrupted: the same command resumes the run."
        _write_files(collector.stopped(command, checks.thresholds, why), checks)
        raise


def _write_files(run: CheckedRun, checks: CheckOptions) -> None:
    from cnnviz.outputs.files import OutputFolder
    from cnnviz.outputs.formats import encode_markup
    from cnnviz.runs.junit import to_junit
    from cnnviz.runs.markdown import to_markdown

    for path, render in ((checks.summary, to_markdown), (checks.junit, to_junit)):
        if path is not None:
            OutputFolder(path.parent).write(Path(path.name), encode_markup(render(run)))
