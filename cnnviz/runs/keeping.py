"""Where the records of a run go, or those of a part: its journal, and the file made of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cnnviz.errors import UsageError
from cnnviz.outputs.folders import folder_at
from cnnviz.outputs.formats import encode_run_file
from cnnviz.runs.journal import Journal, RecordT, RunFile
from cnnviz.runs.journal_files import open_journal_file
from cnnviz.runs.run_records import RunRecord
from cnnviz.runs.shards import Part
from cnnviz.storage.paths import AnyPath
from cnnviz.types import Notify


@dataclass(frozen=True)
class Keeping:
    """Keeps a run's records.

    Attributes:
        folder: the output folder.
        part: which part of a run they are of, if they are of one.
        force: whether to forget what is there.
        notify: called with a sentence if a journal cannot be locked.
    """

    folder: AnyPath
    part: Part | None = None
    force: bool = False
    notify: Notify | None = None

    def journal(self, whole: RunFile[RecordT], mark: str, stems: Sequence[str]) -> Journal[RecordT]:
        """The journal of a run's file, or of this part of it.

        Args:
            whole: the run's file.
            mark: the run's fingerprint.
            stems: of the images.

        Raises:
            UsageError: another run has it, or it cannot be written.
        """
        if self.part is None:
            return Journal(whole, self.folder, mark, force=self.force, notify=self.notify)
        return Journal(
            whole.of_part(self.part.record.shard),
            self.folder,
            mark,
            force=self.force,
            notify=self.notify,
            whole=whole,
            stems=stems,
            lent=self.part.whole,
        )

    def write(
        self,
        whole: RunFile[RecordT],
        run: RunRecord,
        summary: Any,
        journal: Journal[RecordT],
        stems: Sequence[str],
        unfinished: str | None = None,
    ) -> None:
        """Write the run's file, or what this part has for it.

        Args:
            whole: the run's file.
            run: what stands in it of the run.
            summary: what its images come to.
            journal: their records.
            stems: of the images, in order.
            unfinished: what a merge has to add, see :class:`cnnviz.runs.shards.PartRecord`.

        Raises:
            OutputUnavailableError: it cannot be written.
        """
        file, lines = whole, journal.lines(stems)
        if self.part is None:
            parts = whole.lines(run, summary, lines)
        else:
            interrupted = journal.interrupted
            record = replace(self.part.record, unfinished=unfinished, interrupted=interrupted)
            file = whole.of_part(record.shard)
            parts = file.lines(run, summary, self.part.placed(lines), record)
        folder_at(self.folder).write(file.name, encode_run_file(parts))


@contextmanager
def only_run(folder: AnyPath, whole: RunFile[Any], notify: Notify | None = None) -> Iterator[None]:
    """Keep other runs of all images out of a folder, while others do the parts of this one.

    The journal of one that was stopped there, which the parts read, goes when this one is done.

    Args:
        folder: the output folder, which is made.
        whole: the run's file.
        notify: called with a sentence if the folder cannot be locked.

    Raises:
        UsageError: another run has it, or it cannot be written.
    """
    path = folder / whole.journal
    try:
        journal = open_journal_file(path, notify)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
    done = journal.file.tell() == 0  # nobody needs it
    try:
        yield
        done = True
    finally:
        journal.close(done=done)
