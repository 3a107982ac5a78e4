"""What ``cnnviz evaluate`` prints: of each image, of the whole run, and its table."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from cnnviz.cli.console import json_line, say
from cnnviz.cli.explain_lines import Printer
from cnnviz.text import counted, joined

if TYPE_CHECKING:
    from cnnviz.runs.evaluate import EvaluationResult
    from cnnviz.runs.evaluation_records import (
        CellRecord,
        EvaluatedImageRecord,
        EvaluationRecord,
        SubjectRecord,
    )
    from cnnviz.runs.request import RunRequest

#: How wide a column of the table is, in characters: ``0.412 [0.380, 0.447]``.
_COLUMN = 22
#: Columns of the table that stand side by side.
_BESIDE = 4
#: The longest name of a map that the table shows whole.
_NAME = 28


class EvaluationPrinter(Printer["EvaluatedImageRecord"]):
    """Prints a line for each image that was judged, if that is wanted."""

    def _tell(self, image: EvaluatedImageRecord) -> None:
        if self._printing.as_json:
            self._write(json_line(asdict(image)), sys.stdout)
        elif self._printing.verbose and image.ok:
            targets = [one.target.prediction for one in image.judged] or ["nothing"]
            self._write(f"{image.path}: judged for {joined(targets, 'and')}", sys.stdout)


def sum_up(request: RunRequest, result: EvaluationResult, seconds: float) -> None:
    """Say what became of the run as a whole."""
    summary, output = result.summary, request.output
    failed = f", {summary.failed} failed" if summary.failed else ""
    resumed = f" ({result.resumed} of them already done)" if result.resumed else ""
    part = request.execution.shard
    said = "" if part is None else f"{part}: "
    say(f"{said}{summary.ok} evaluated{resumed}{failed}, in {seconds:.1f} s; written to {output}")
    if request.files.report and part is None:
        say(f"report: {output / 'index.html'}")


def table(summary: EvaluationRecord) -> Iterator[str]:
    """The summary as a table: a row a map, means with 95 % intervals; then what stands out."""
    methods = [subject for subject in summary.subjects if not subject.baseline]
    baselines = [subject for subject in summary.subjects if subject.baseline]
    width = min(_NAME, max(len(subject.key) for subject in summary.subjects)) + 2
    metrics = summary.metrics
    for start in range(0, len(metrics), _BESIDE):
        part = metrics[start : start + _BESIDE]
        yield ""
        heads = [f"{one.name}{_ARROWS[one.direction]}" for one in part]
        yield _row("", heads, width)
        for group in (methods, baselines):
            for subject in group:
                cells = [summary.cell(subject.key, metric.name) for metric in part]
                yield _row(_shortened(subject), map(_cell, cells), width)
            if group is methods:
                yield _row("-" * (width - 2), [], width)
    yield ""
    yield (
        f"Means over {counted(summary.ok, 'image')}, with 95 % intervals. "
        f"{_UP} more is better, {_DOWN} less. Below the line are maps that no method made. * no "
        "better than the centered Gaussian."
    )
    yield from summary.findings


_UP, _DOWN = "(+)", "(-)"
_ARROWS = {"higher": f" {_UP}", "lower": f" {_DOWN}", None: ""}


def _shortened(subject: SubjectRecord) -> str:
    key = subject.key
    return key if len(key) <= _NAME else f"{key[: _NAME - 3]}..."


def _cell(cell: CellRecord | None) -> str:
    """``0.412 [0.380, 0.447]``, with a star if it is no better than the centered Gaussian."""
    if cell is None or cell.value is None:
        return "-"
    star = "*" if cell.better_than_gaussian is False else ""
    if cell.low is None or cell.high is None:
        return f"{_number(cell.value)}{star}"
    return f"{_number(cell.value)}{star} [{_number(cell.low)}, {_number(cell.high)}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"


def _row(name: str, cells: Sequence[str] | Iterator[str] | map[str], width: int) -> str:
    return "".join([name.ljust(width), *(cell.ljust(_COLUMN + 2) for cell in cells)]).rstrip()
