"""A long list of images, and the names of their files, for all workers of a run.

They lie in hidden files of the output folder while the run lasts: who hands out the parts writes
them once, and each worker reads there what it needs. Short lists are sent to workers as they are.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cnnviz.errors import OutputUnavailableError
from cnnviz.images.source import SourceList
from cnnviz.outputs.long_names import plan_long_names
from cnnviz.outputs.naming import NamePlanner
from cnnviz.runs.parts import AnyPlan
from cnnviz.storage.spool import Spooled

_LIST = ".cnnviz-list-"


@dataclass(frozen=True)
class SharedPlan:
    """A plan as workers get it.

    Attributes:
        plan: the plan.
        sources: its images, if there are many.
    """

    plan: AnyPlan
    sources: SourceList | None = None

    def plan_names(self, planner: NamePlanner) -> None:
        """Have the names of files there, before any part is given away.

        Raises:
            OutputUnavailableError: they cannot be written.
        """
        if self.sources is not None and self.sources.names is not None:
            limit = self.plan.request.selection.limit
            names = plan_long_names(self.sources[:limit], planner)
            _write(self.sources.names, names.parts())


@contextmanager
def shared(plan: AnyPlan) -> Iterator[SharedPlan]:
    """Have the images of a run where its workers can read them.

    Raises:
        OutputUnavailableError: they cannot be written there.
    """
    sources, folder = plan.explained.found.sources, plan.request.output
    if not isinstance(sources, SourceList) or not isinstance(folder, Path):
        yield SharedPlan(plan)
        return
    _remove(folder)  # of a run whose process was killed
    path = folder / f"{_LIST}{secrets.token_hex(8)}"
    try:
        _write(path, sources.entries.parts())
        entries, names = Spooled.at_path(path), path.with_name(f"{path.name}-names")
        listed = SourceList(entries, all_local=sources.all_local, names=names)
        yield SharedPlan(plan.listing(listed), listed)
    finally:
        _remove(folder)


def _write(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file that only its owner may read: URLs may hold passwords."""
    whole = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.writelines(parts)
        os.replace(whole, path)
    except OSError as error:
        raise OutputUnavailableError(f"{path} cannot be written: {error.strerror}.") from error


def _remove(folder: Path) -> None:
    for path in folder.glob(f"{_LIST}*"):
        with suppress(PermissionError):  # Windows removes nothing that is open: the next run does
            path.unlink(missing_ok=True)
