"""``evaluation.csv``: a row an image, and one each of its classes; a column a map and metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from cnnviz.runs.evaluation_records import EvaluatedImageRecord, EvaluationRecord
from cnnviz.runs.tables import csv_line

TABLE = PurePosixPath("evaluation.csv")


def table_lines(
    summary: EvaluationRecord, images: Iterable[EvaluatedImageRecord | None]
) -> Iterator[bytes]:
    """The table, line by line; what is not there is empty."""
    measured = [
        (subject.key, metric.name) for subject in summary.subjects for metric in summary.metrics
    ]
    fixed = ("cnnviz_image", "status", "error", "target", "correct", "region_share")
    yield csv_line((*fixed, *(f"{subject}.{metric}" for subject, metric in measured)))
    for image in images:
        if image is None:
            continue
        for judged in image.judged or (None,):
            target = "" if judged is None else judged.target.title
            cells: list[Any] = [image.path, image.status, image.error, target, image.correct]
            cells.append(None if judged is None else judged.region_share)
            for subject, metric in measured:
                of_map = {} if judged is None else judged.measurements.get(subject, {})
                one = of_map.get(metric)
                cells.append(None if one is None else one.value)
            yield csv_line(cells)
