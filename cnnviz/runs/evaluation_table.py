"""``evaluation.csv``: a row an image, a column a map and metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from cnnviz.runs.evaluation_records import EvaluatedImageRecord, EvaluationRecord

TABLE = PurePosixPath("evaluation.csv")


def table_lines(
    summary: EvaluationRecord, images: Iterable[EvaluatedImageRecord | None]
) -> Iterator[bytes]:
    """The table, line by line, in UTF-8 as RFC 4180 has it; numbers as Python writes them.

    What is not there is empty. Bytes of names that are not UTF-8 become question marks.
    """
    measured = [
        (subject.key, metric.name) for subject in summary.subjects for metric in summary.metrics
    ]
    fixed = ("cnnviz_image", "status", "error", "target", "correct", "region_share")
    yield _line((*fixed, *(f"{subject}.{metric}" for subject, metric in measured)))
    for image in images:
        if image is None:
            continue
        target = "" if image.target is None else image.target.title
        cells: list[Any] = [image.path, image.status, image.error, target]
        cells += [image.correct, image.region_share]
        for subject, metric in measured:
            one = image.measurements.get(subject, {}).get(metric)
            cells.append(None if one is None else one.value)
        yield _line(cells)


def _line(cells: Iterable[Any]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(["" if cell is None else cell for cell in cells])
    return buffer.getvalue().encode("utf-8", "replace")
