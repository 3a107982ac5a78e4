"""``cnnviz merge``: the parts of a run become one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar, Union

import click

from cnnviz.cli.console import Printing, put, say
from cnnviz.cli.option_types import Folder
from cnnviz.cli.options import QUIET, REPORT, packed
from cnnviz.cli.thresholds import conclude, merged_check_options, of_scores
from cnnviz.errors import ExitCode, UsageError
from cnnviz.runs.request import CheckOptions, RunRequest
from cnnviz.text import counted, joined
from cnnviz.types import Notify

if TYPE_CHECKING:
    from cnnviz.runs.evaluation_records import EvaluationRecord
    from cnnviz.runs.merged import Merged
    from cnnviz.runs.records import SummaryRecord
    from cnnviz.storage.paths import AnyPath


AnySummary = Union["SummaryRecord", "EvaluationRecord"]
SummaryT = TypeVar("SummaryT", bound=AnySummary)
Merge = Callable[["AnyPath", int, "Notify | None"], "Merged[SummaryT] | None"]
"""Merges the parts in a folder, so many."""


@click.command(name="merge")
@click.argument("folder", type=Folder(), metavar="DIR")
@REPORT
@merged_check_options
@QUIET
@packed(checks=CheckOptions)
def command(folder: AnyPath, report: bool, quiet: bool, checks: CheckOptions) -> int:
    """Merge the parts of a run (--shard) into one manifest.json, or evaluation.json.

    DIR is the output folder of the parts. The last of them that is done does this by itself; this
    is for when it could not, and says which parts are missing. The result is what a single run
    would have written; with --report, here or of the parts, there is a page about it. Thresholds,
    --summary and --junit are about the merged run, also if the parts are merged already.
    """
    from cnnviz.runs.evaluate import EVALUATION
    from cnnviz.runs.manifest import MANIFEST
    from cnnviz.runs.merged import merge_evaluation, merge_manifest
    from cnnviz.runs.request_checks import check_files

    check_files(checks)
    if isinstance(folder, Path) and not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}: give the --output of the parts.")
    notify = None if quiet else say
    found: dict[PurePosixPath, Merged[Any] | None] = {
        MANIFEST: merge_manifest(folder, None, notify),
        EVALUATION.name: merge_evaluation(folder, None, notify),
    }
    merged = {name: one for name, one in found.items() if one is not None}
    if not merged and not _runs(folder):
        raise UsageError(
            f"{folder} has no parts of a run: `cnnviz explain` and `cnnviz evaluate` leave some "
            "there if they are called with --shard."
        )
    if not quiet:
        for name, one in merged.items():
            say(_said(one.summary))
            put(str(folder / name))
        if not merged and not checks.wanted:  # a script need not know who merges
            there = joined(map(str, _runs(folder)), "and")
            say(f"{folder} has no parts left to merge; {there} is there")
    if report or any(one.report for one in merged.values()):
        _report(folder, notify)
    if checks.wanted:
        return _judge(folder, [*merged] or _runs(folder), checks, quiet=quiet)
    failed = any(one.summary.failed for one in merged.values())
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


def _runs(folder: AnyPath) -> list[PurePosixPath]:
    """Which files of runs there are."""
    from cnnviz.runs.evaluate import EVALUATION
    from cnnviz.runs.manifest import MANIFEST

    return [name for name in (MANIFEST, EVALUATION.name) if (folder / name).is_file()]


def _judge(
    folder: AnyPath, names: list[PurePosixPath], checks: CheckOptions, *, quiet: bool
) -> int:
    """Hold a run to what is demanded, by its file; returns the exit status."""
    from cnnviz.runs.evaluate import EVALUATION
    from cnnviz.runs.run_verdicts import (
        finished_run,
        verdict_on_evaluation,
        verdict_on_manifest,
    )

    if len(names) > 1:
        raise UsageError(
            f"{folder} has {joined(map(str, names), 'and')}, and thresholds, --summary and --junit "
            "are about one of them: move the other one away."
        )
    header = finished_run(folder / names[0])
    if names == [EVALUATION.name]:
        run = verdict_on_evaluation(header, checks)
    else:
        run = verdict_on_manifest(header, of_scores(checks))
    status = ExitCode.SOME_FAILED if header.summary["failed"] else ExitCode.OK
    return conclude(run, checks, status, quiet=quiet)


def merge_part(
    merge: Merge[SummaryT], request: RunRequest, printing: Printing, name: PurePosixPath
) -> SummaryT | None:
    """What a part does when it is done: merge all, if it was the last.

    Args:
        merge: merges the parts in a folder, by their number.
        request: of the part.
        printing: what is printed.
        name: of the file that is made.

    Returns:
        What all images come to; None if other parts are not done.
    """
    from cnnviz.runs.merge import NotYetError

    shard, folder = request.execution.shard, request.output
    assert shard is not None
    try:
        merged = merge(folder, shard.count, printing.notify)
    except NotYetError as error:
        if not printing.quiet:
            say(str(error))
        return None
    if merged is None:  # another part came first, and had this one's records
        return None
    if request.files.report:
        _report(folder, printing.notify)
    if not printing.quiet:
        say(f"{_said(merged.summary)}, in {folder / name}")
    return merged.summary


def _said(summary: AnySummary) -> str:
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"all parts are merged: {counted(summary.images, 'image')}{failed}"


def _report(folder: AnyPath, notify: Notify | None) -> None:
    from cnnviz.report import build_report

    build_report(folder, notify=notify)
