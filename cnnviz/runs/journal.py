"""The journal of a run: each image's record, as soon as its files are written.

When all images are done the run's file (``manifest.json``, say) is written from it, and the journal
goes. A run that is stopped anywhere leaves its journal; the same run, started again, finds there
what is done.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

from cnnviz import system
from cnnviz.errors import OutputUnavailableError, UsageError
from cnnviz.runs.journal_files import open_journal_file
from cnnviz.runs.run_index import Place, Places, RunIndex, all_of, stem_in
from cnnviz.runs.run_records import RunRecord
from cnnviz.runs.shards import PartRecord, Shard
from cnnviz.storage.paths import AnyPath, is_there
from cnnviz.storage.spool import on_the_disk
from cnnviz.structure import decode, encode, parse

_JOURNAL = 0  # its file has the first number


class Record(Protocol):
    """What is known of one image; the first of its fields is ``stem``."""

    @property
    def stem(self) -> str:
        """By which it is found again."""
        ...

    @property
    def files(self) -> list[str]:
        """What was written for it, below the folder."""
        ...


RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True)
class RunFile(Generic[RecordT]):
    """A file with the records of a run's images, one a line.

    Attributes:
        name: below the output folder.
        journal: the name of the journal that it is made of.
        kind: what it is called in its first line: ``cnnviz_manifest``.
        version: of the format.
        record: what the records of images are.
    """

    name: PurePosixPath
    journal: str
    kind: str
    version: int
    record: type[RecordT]

    def of_part(self, shard: Shard) -> RunFile[RecordT]:
        """What one of the run's parts writes in its place."""
        name, journal = shard.path(self.name), shard.file(self.journal)
        return replace(self, name=name, journal=journal, kind=f"{self.kind}_part")

    def lines(
        self, run: RunRecord, summary: Any, images: Iterable[bytes], part: PartRecord | None = None
    ) -> Iterator[bytes]:
        """The file, piece by piece; ``images`` as :meth:`Journal.lines` gives them.

        Those of a part as :meth:`cnnviz.runs.shards.Part.placed` does.
        """
        yield b'{"%s": %d,\n' % (self.kind.encode("ascii"), self.version)
        if part is not None:
            yield b'"part": %s,\n' % encode(part)
        yield b'"run": %s,\n' % encode(run)
        yield b'"summary": %s,\n"images": [' % encode(summary)
        between = b"\n"
        for line in images:
            yield between + line
            between = b",\n"
        yield b"\n]}\n"

    def journal_start(self, fingerprint: str, *, afresh: bool = False) -> bytes:
        """The first line of its journal; ``afresh`` if the whole run's file is of no use to it."""
        begun = {"cnnviz_journal": self.version, "fingerprint": fingerprint}
        return encode({**begun, "afresh": True} if afresh else begun) + b"\n"

    def image_in(self, line: bytes) -> RecordT | None:
        """The image's record in a line, if it is whole."""
        try:
            return decode(self.record, parse(line), "image")
        except ValueError:
            return None

    def files_in(self, line: bytes) -> list[str]:
        """The files that an image's record names; none if it is damaged."""
        image = self.image_in(line)
        return [] if image is None else image.files


class Journal(Generic[RecordT]):
    """The records of a run's images, as they are done, in a file of the output folder.

    A journal of the same fingerprint is continued; so is a manifest, whose run came to its end.
    One run at a time may have it: the file is locked, and the lock goes with the process. On a file
    system without locks nobody can tell whether there is another run.

    Attributes:
        interrupted: whether a run was stopped before its end; which one, does not matter.
        differs: whether the run before was one of another fingerprint.
        before: what the manifest says of that; None if it was stopped, or nobody knows.
    """

    interrupted: bool
    differs: bool
    before: RunRecord | None

    def __init__(
        self,
        file: RunFile[RecordT],
        folder: AnyPath,
        fingerprint: str,
        *,
        force: bool = False,
        notify: Callable[[str], None] | None = None,
        whole: RunFile[RecordT] | None = None,
        stems: Iterable[str] = (),
        lent: tuple[RunIndex, ...] | None = None,
    ) -> None:
        """Open it.

        Args:
            file: what it becomes.
            folder: the output folder, which is made.
            fingerprint: of the run; what another one wrote is of no use.
            force: whether to forget what is there; a manifest is removed.
            notify: called with a sentence if the file cannot be locked.
            whole: of a part the whole run's file, which is continued as well, and stays.
            stems: then those of the part's images.
            lent: and what the whole run's files have, if somebody has read them, and closes them.

        Raises:
            UsageError: another run has it, or it cannot be written.
        """
        self._of = file
        self._lent = lent
        self._folder = folder
        self._path = folder / file.journal
        self.interrupted = self.differs = False
        self.before = None
        self._known = Places()
        self._open: list[BinaryIO] = []
        self._manifested = Places()
        self._dropped = Places()  # records of another run that was stopped
        self._met = Places()  # those of the whole run's file, if that is another's
        self._left: list[str] = []  # files that the runs before had left behind
        try:
            self._kept = open_journal_file(self._path, notify)
            self._open.append(self._kept.file)
            self.interrupted = self._kept.file.tell() > 0
            self._manifested = self._read_manifest(folder / file.name, fingerprint)
            if force:
                # Who goes on from here, without force, does not go on from there.
                self._known = Places()
                (folder / file.name).unlink(missing_ok=True)
            afresh = file.journal_start(fingerprint, afresh=True)
            header = afresh if whole and self._begins_with(afresh) else None
            header = header or file.journal_start(fingerprint, afresh=bool(whole) and force)
            if whole is not None and header != afresh:
                self._consult(folder / whole.name, fingerprint, stems)
            self._read(header, force=force)
            if self._kept.file.tell() == 0:
                self._kept.file.write(header)
                self._kept.keep()
        except OSError as error:
            raise UsageError(f"{self._path} cannot be written: {error.strerror}.") from error

    def find(self, stem: str) -> RecordT | None:
        """The record of an image that is done, by its ``stem``; None if it is damaged.

        May be called by any thread.
        """
        line = self._line(stem)
        return None if line is None else self._of.image_in(line)

    def add(self, record: RecordT) -> None:
        """Take note of an image whose files are written.

        Raises:
            OutputUnavailableError: it cannot be written; the disk is full, say.
        """
        line = encode(record)
        self._known[record.stem] = (_JOURNAL, self._append(line), len(line))

    def _append(self, line: bytes) -> int:
        """Where the line stands."""
        place = self._kept.file.tell()
        try:
            self._kept.file.write(line + b"\n")
            self._kept.keep()
        except OSError as error:
            raise OutputUnavailableError(
                f"{self._path} cannot be written: {error.strerror}."
            ) from error
        return place

    def lines(self, stems: Iterable[str]) -> Iterator[bytes]:
        """Records by their stems, those that there are, as :func:`encode` has them."""
        for stem in stems:
            line = self._line(stem)
            if line is not None:
                yield line

    def meets(self, stems: Iterable[str]) -> bool:
        """Whether the runs before wrote for any of these stems."""
        before = [one for one in (self._manifested, self._dropped, self._met) if one]
        return bool(before) and any(stem in known for stem in stems for known in before)

    def left_behind(self, stems: Iterable[str]) -> list[str]:
        """Files that the runs before named, that are there, and that no record of these stems has.

        Below the folder, in the order of those runs.
        """
        found = dict.fromkeys(self._left)
        for _, place in self._dropped.items():
            found.update(dict.fromkeys(self._of.files_in(self._text(place))))
        if self._manifested:
            wanted = all_of(stems)
            for stem, place in self._manifested.items():
                if stem not in wanted or self._known.get(stem) != place:
                    found.update(dict.fromkeys(self._of.files_in(self._text(place))))
        if found:
            for line in self.lines(stems):
                for name in self._of.files_in(line):
                    found.pop(name, None)
        return [name for name in found if _is_there(self._folder, name)]

    def close(self, *, done: bool) -> None:
        """Close it; ``done`` if the manifest holds all that it does."""
        self._kept.close(done=done)
        lent = {id(one.file) for one in self._lent or ()}
        for file in self._open:
            if id(file) not in lent:
                file.close()

    def _begins_with(self, header: bytes) -> bool:
        self._kept.file.seek(0)
        return self._kept.file.readline() == header

    def _consult(self, path: AnyPath, fingerprint: str, stems: Iterable[str]) -> None:
        """Take from the whole run's file what a part does not know by itself."""
        own, left = self._known, self._left
        self._known = Places()
        if self._lent is None:
            found = [self._read_manifest(path, fingerprint, stems)]
        else:
            found = [
                self._take(one.of(stems, number=len(self._open)), fingerprint) for one in self._lent
            ]
        for places in found if self.differs else ():
            self._met.update(places)
        self._known.update(own)
        self._left = left  # that is for the whole run to tell

    def _read_manifest(
        self, path: AnyPath, fingerprint: str, stems: Iterable[str] | None = None
    ) -> Places:
        """Where the records of a run's file stand, all or those of some images.

        They are known from then on, if it is one of the same fingerprint.
        """
        read = RunIndex.read(path, stems, number=len(self._open))
        return Places() if read is None else self._take(read, fingerprint)

    def _take(self, read: RunIndex, fingerprint: str) -> Places:
        """Go on from a run's file."""
        self._opened(read.file)
        self._left = read.left
        self.interrupted = self.interrupted or read.interrupted  # leftovers go with the merge
        if read.run is None:
            return read.places
        if read.run.get("fingerprint") == fingerprint:
            self._known.update(read.places)
            return read.places
        self.differs = True
        with suppress(ValueError):  # somebody may have changed it
            self.before = decode(RunRecord, read.run, "run")
        return read.places

    def _read(self, header: bytes, *, force: bool) -> None:
        """Note what is there behind the right header; what cannot be used is cut off."""
        file = self._kept.file
        file.seek(0)
        place = 0
        for line in file:
            if place == 0:
                if line != header or force:
                    self._drop(differs=line != header)
                    break
            else:
                stem = stem_in(line) if line.endswith(b"\n") else None
                if stem is None:
                    break  # the line that was being written when the run was stopped
                self._known[stem] = (_JOURNAL, place, len(line) - 1)
            place += len(line)
        self._kept.cut(place)

    def _drop(self, *, differs: bool) -> None:
        """Keep what the rest of a journal has that is of no use, and is cut off."""
        with on_the_disk():
            copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
            number = self._opened(copy)
            for line in self._kept.file:
                stem = stem_in(line)
                if stem is not None:
                    self._dropped[stem] = (number, copy.tell(), len(line))
                    copy.write(line)
            copy.flush()
        self.differs = self.differs or (differs and bool(self._dropped))

    def _opened(self, file: BinaryIO) -> int:
        """Its number."""
        self._open.append(file)
        return len(self._open) - 1

    def _line(self, stem: str) -> bytes | None:
        place = self._known.get(stem)
        return None if place is None else self._text(place)

    def _text(self, where: Place) -> bytes:
        number, place, length = where
        return system.read_at(self._open[number], place, length)


def _is_there(folder: AnyPath, name: str) -> bool:
    try:
        return is_there(folder / name)
    except ValueError:  # a null character in the name
        return False
