"""``comparison.json`` and ``comparison.csv``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from cnnviz.comparison.compare import side_record
from cnnviz.comparison.comparison import Comparison, Side
from cnnviz.comparison.records import COMPARISON_VERSION, SideImageRecord
from cnnviz.errors import UsageError
from cnnviz.outputs.files import OutputFolder, check_output_folder
from cnnviz.outputs.formats import encode_run_file
from cnnviz.outputs.marks import is_foreign
from cnnviz.runs.manifest import is_run
from cnnviz.runs.tables import csv_line
from cnnviz.structure import encode

COMPARISON = PurePosixPath("comparison.json")
TABLE = PurePosixPath("comparison.csv")

#: What the columns of a side are called behind ``a_`` and ``b_``.
_SIDE = ("prediction", "probability", "correct", "loss")
_AGREEMENT = ("spearman", "common", "peak_distance", "border", "corner", "elsewhere")


def check_comparison_folder(folder: Path) -> None:
    """Find out, before any work, whether a comparison can be written to a folder.

    Raises:
        UsageError: nothing can, a run has written there, or somebody else a file of such a name.
    """
    check_output_folder(folder)
    if is_run(folder):
        raise UsageError(
            f"{folder} is the output folder of a run, whose page a comparison would replace: "
            "choose another --output."
        )
    for name in (COMPARISON, TABLE):
        if is_foreign(folder / name):
            raise UsageError(
                f"{folder / name} exists and was not written by cnnviz: move it away, or choose "
                "another --output."
            )


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write both files.

    Raises:
        OutputError: there is such a file that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    output = OutputFolder(folder)
    output.write(TABLE, encode_run_file(table_lines(comparison)))
    output.write(COMPARISON, encode_run_file(json_lines(comparison, folder)))


def json_lines(comparison: Comparison, folder: Path) -> Iterator[bytes]:
    """``comparison.json`` in a folder, piece by piece: an image a line."""

    def side(one: Side) -> bytes:
        return encode(side_record(one, folder))

    yield b'{"cnnviz_comparison": %d,\n' % COMPARISON_VERSION
    yield b'"a": %s,\n"b": %s,\n' % (side(comparison.a), side(comparison.b))
    yield b'"summary": %s,\n"images": [' % encode(comparison.summary)
    between = b"\n"
    for pair in comparison.pairs:
        yield between + encode(pair.record)
        between = b",\n"
    yield b"\n]}\n"


def table_lines(comparison: Comparison) -> Iterator[bytes]:
    """``comparison.csv``: a row an image; what is not there is empty."""
    yield csv_line(
        (
            *("cnnviz_image", "outcome", "changed", "ground_truth"),
            *(f"{side}_{name}" for side in "ab" for name in _SIDE),
            "loss_change",
            *_AGREEMENT,
            "path_b",
        )
    )
    for pair in comparison.pairs:
        one = pair.record
        found = [None if one.agreement is None else getattr(one.agreement, n) for n in _AGREEMENT]
        cells: list[Any] = [one.path, one.outcome, one.changed, one.ground_truth]
        cells += [*_side(one.a), *_side(one.b), one.loss_change, *found]
        yield csv_line([*cells, one.path_b])


def _side(one: SideImageRecord) -> list[Any]:
    several = one.predicted_classes
    scores = (one.prediction,) if several is None else several
    title = "; ".join(score.title for score in scores)
    return [title, one.prediction.probability, one.correct, one.loss]
