"""Reading what a run wrote, and refusing what is none of it, with a reason that helps."""

from __future__ import annotations

from typing import TypeVar

from cnnviz.errors import UsageError
from cnnviz.runs.evaluation_records import EVALUATION_VERSION, Evaluation
from cnnviz.runs.manifest import MANIFEST
from cnnviz.runs.records import VERSION, Manifest
from cnnviz.storage.paths import AnyPath
from cnnviz.structure import decode, parse

EVALUATION = "evaluation.json"

RecordT = TypeVar("RecordT")


def read_manifest(folder: AnyPath) -> Manifest:
    """The manifest of the run that wrote to a folder.

    Raises:
        UsageError: there is none, it is another version's, or it is damaged.
    """
    found = _read(folder / MANIFEST, "cnnviz_manifest", VERSION, Manifest, "explain")
    if found is None:
        raise UsageError(
            f"There is no {MANIFEST} in {folder}. A run of `cnnviz explain` writes it when all "
            "images are done; give the folder that was its --output."
        )
    return found


def read_evaluation(folder: AnyPath) -> Evaluation | None:
    """The evaluation that was written to a folder; None if there is none.

    Raises:
        UsageError: it is another version's, or it is damaged.
    """
    path = folder / EVALUATION
    return _read(path, "cnnviz_evaluation", EVALUATION_VERSION, Evaluation, "evaluate")


def _read(
    path: AnyPath, key: str, version: int, record: type[RecordT], command: str
) -> RecordT | None:
    """What a run's file holds, which has its version under a key; None if there is no such file."""
    again = f"run `cnnviz {command}` again"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        found = parse(text)
    except ValueError as error:
        if not text:
            raise UsageError(f"{path} is empty: move it away, and {again}.") from error
        raise _damaged(path, str(error), again) from error
    if not isinstance(found, dict) or key not in found:
        raise UsageError(f"{path} was not written by cnnviz: it has no `{key}`.")
    if found[key] != version:
        raise UsageError(
            f"{path} has version {found[key]!r:.20} of the format, and this cnnviz reads version "
            f"{version}. Use the cnnviz that wrote it, or {again} with another output folder."
        )
    try:
        return decode(record, found, f"the {path.stem}")
    except ValueError as error:
        raise _damaged(path, str(error), again) from error


def _damaged(path: AnyPath, what: str, again: str) -> UsageError:
    return UsageError(f"{path} is damaged: {what}. {again[:1].upper()}{again[1:]}.")
