"""Putting the parts of a run together: their records become the file that a single run writes.

Each part that is done leaves a file with its records and their places among all images. Once no
part is missing the records are read side by side, in the order of the images, twice: first they are
counted, then they are written, so that no more than one of each part stands in memory. After a
merge the run's file has the records of parts that are not there, if it is about the same images.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Generic

from cnnviz import system
from cnnviz.errors import UsageError
from cnnviz.outputs.files import remove_partial_files
from cnnviz.outputs.folders import folder_at
from cnnviz.outputs.formats import encode_run_file
from cnnviz.runs.journal import RecordT, RunFile
from cnnviz.runs.run_index import image_in_line
from cnnviz.runs.run_records import RunRecord
from cnnviz.runs.shards import Listing, PartRecord, Shard
from cnnviz.storage.paths import AnyPath, is_there, names_in, opened, opened_at
from cnnviz.structure import decode, parse
from cnnviz.text import joined

_LOCK = ".cnnviz-merge.lock"
_BLOCK = 1 << 20  # bytes of each part that are read at a time from behind a URL


class NotYetError(UsageError):
    """The parts that there are do not make a run."""


@dataclass(frozen=True)
class RunHeader:
    """What stands above the records of a file."""

    path: AnyPath
    part: PartRecord | None
    run: RunRecord
    summary: Any

    def images(self) -> Iterator[tuple[int, bytes]]:
        """Its records, each with its place among all images."""
        try:
            file = opened_at(self.path, _BLOCK)
        except FileNotFoundError as error:
            raise NotYetError(
                f"{self.path} is not there any more: another part has just merged them all."
            ) from error
        with file:
            place = -1
            for line in file:
                found = image_in_line(line)
                if found is not None:
                    start, text = found
                    place = int(line[:start].split(b":")[1].split(b",")[0]) if start else place + 1
                    yield place, text


def read_header(path: AnyPath) -> RunHeader | None:
    """What a run's file begins with, or a part's; None if there is none, or it is damaged.

    Raises:
        UsageError: it is there and cannot be read.
    """
    lines: dict[bytes, Any] = {}
    try:
        with opened(path) as file:
            for line in file:
                name, _, value = line.partition(b":")
                if name == b'"images"':
                    break
                lines[name] = parse(value.rstrip(b",\n")) if value.endswith(b",\n") else None
        part = lines.get(b'"part"')
        return RunHeader(
            path,
            None if part is None else decode(PartRecord, part, "part"),
            decode(RunRecord, lines.get(b'"run"'), "run"),
            lines.get(b'"summary"'),
        )
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class Parts(Generic[RecordT]):
    """Parts that make a run, and what there was of it before.

    Attributes:
        of: the file that they become.
        folder: where they are.
        headers: of each part that there is, in order.
        whole: of the run's file as it is; None if there is none.
        stands_in: whether that has the records of parts that are not there.
    """

    of: RunFile[RecordT]
    folder: AnyPath
    headers: tuple[RunHeader, ...]
    whole: RunHeader | None
    stands_in: bool

    @property
    def record(self) -> PartRecord:
        """What the parts have in common, by the first of them."""
        found = self.headers[0].part
        assert found is not None  # it is a part's file
        return found

    @property
    def run(self) -> RunRecord:
        """The run: since the first part began, as long as all of them took together."""
        runs = [header.run for header in self.headers]
        seconds = round(sum(run.seconds for run in runs), 3)
        return replace(runs[0], started=min(run.started for run in runs), seconds=seconds)

    @property
    def engines(self) -> int:
        """How many engines the parts had."""
        return len({header.run.engine for header in self.headers})

    def lines(self) -> Iterator[bytes]:
        """The records of all images, in their order.

        Raises:
            NotYetError: one is missing, or there are two of it.
        """
        streams = [((place, 0, text) for place, text in one.images()) for one in self.headers]
        if self.stands_in and self.whole is not None:
            streams.append(((place, 1, text) for place, text in self.whole.images()))
        expected = 0
        for place, rank, text in heapq.merge(*streams, key=lambda one: one[:2]):
            if rank and place < expected:  # a part has it
                continue
            if place != expected:
                break
            expected += 1
            yield text
        if expected != self.record.images:
            raise NotYetError(
                f"The parts in {self.folder} do not have each of the {self.record.images} images "
                "once: run all of them again with --force."
            )

    def records(self) -> Iterator[RecordT]:
        """The same as values.

        Raises:
            NotYetError: one is missing or damaged.
        """
        for line in self.lines():
            image = self.of.image_in(line)
            if image is None:
                raise NotYetError(
                    f"A part in {self.folder} is damaged at {line[:80]!r}: remove its file and run "
                    "it again."
                )
            yield image

    def left_behind(self) -> list[str]:
        """Files that runs before had named, that are there, and that no record has."""
        found = dict.fromkeys(self._in_journal())
        for header in (*filter(None, [self.whole]), *self.headers):
            found.update(dict.fromkeys((header.summary or {}).get("left_behind", ())))
        if self.whole is None and not found:
            return []
        before = iter(()) if self.whole is None else (text for _, text in self.whole.images())
        for line, old in zip_longest(self.lines(), before):
            if old is not None and line != old:  # of equal records no file can be left
                found.update(dict.fromkeys(self.of.files_in(old)))
        if found:
            for line in self.lines():
                for name in self.of.files_in(line):
                    found.pop(name, None)
        return [name for name in found if _is_there(self.folder, name)]

    def _in_journal(self) -> Iterator[str]:
        """Files in the journal of a run of all images that was stopped in this folder."""
        if isinstance(self.folder, Path):
            with suppress(FileNotFoundError), open(self.folder / self.of.journal, "rb") as file:
                for line in file:
                    yield from self.of.files_in(line)

    def write(self, run: RunRecord, summary: Any) -> None:
        """Write the run's file; the parts' files go."""
        lines = self.of.lines(run, summary, self.lines())
        folder_at(self.folder).write(self.of.name, encode_run_file(lines))
        if any(header.part and header.part.interrupted for header in self.headers):
            stems = (self.of.image_in(line) for line in self.lines())
            below = {PurePosixPath(one.stem).parent for one in stems if one is not None}
            remove_partial_files(self.folder, below)
        for header in self.headers:
            header.path.unlink(missing_ok=True)


@contextmanager
def merging(folder: AnyPath) -> Iterator[None]:
    """One at a time: who comes later waits, and finds what the other has made.

    Behind a URL, where nothing can be locked, two may make the same.
    """
    if not isinstance(folder, Path):
        yield
        return
    held: BinaryIO | None = None
    with ExitStack() as files:
        with suppress(OSError):  # a file system without locks: then it may be made twice
            while True:
                held = files.enter_context(open(folder / _LOCK, "a+b"))
                system.lock(held)
                with suppress(FileNotFoundError):  # who had it before has removed it
                    if os.path.samestat(os.fstat(held.fileno()), os.stat(folder / _LOCK)):
                        break
        try:
            yield
        finally:
            with suppress(OSError):
                if held is not None:
                    system.remove_locked(folder / _LOCK, held)


def find_parts(
    of: RunFile[RecordT],
    folder: AnyPath,
    count: int | None = None,
    notify: Callable[[str], None] | None = None,
) -> Parts[RecordT] | None:
    """The parts of a run, if there are all.

    Args:
        of: the file that they become.
        folder: where they are.
        count: into how many parts the run is divided; None for the one division that is there.
        notify: called with a sentence about parts of another division, which are left alone.

    Returns:
        None if there is no part's file.

    Raises:
        NotYetError: some are missing, unfinished, or not of the same run; the text says which.
    """
    files, journals = _named(folder, of.name.name), _named(folder, of.journal)
    divisions = sorted({shard.count for shard in (*files, *journals)})
    if count is None:
        if len(divisions) > 1:
            raise NotYetError(
                f"{folder} has parts of several divisions, into "
                f"{joined(map(str, divisions), 'and')} parts: remove the files of all but one, "
                f"{of_part_pattern(of.name.name)}."
            )
        count = divisions[0] if divisions else 0
    elif len(divisions) > 1 and notify is not None:
        others = joined([str(one) for one in divisions if one != count], "and")
        notify(f"{folder} also has parts of runs in {others} parts, which are left alone.")
    unfinished = sorted(shard.number for shard in journals if shard.count == count)
    there = sorted(shard.number for shard in files if shard.count == count)
    if not there and not unfinished:
        return None
    headers: list[RunHeader] = []
    for number in there:
        header = None if number in unfinished else read_header(files[Shard(count, number)])
        if header is not None and header.part is not None:
            headers.append(header)
        elif number not in unfinished:
            unfinished.append(number)  # another version's, or damaged
    _check_same(headers, folder)
    whole = read_header(folder / of.name)
    missing = sorted(set(range(1, count + 1)) - {*there, *unfinished})
    stands_in = bool(missing and headers) and _has_all(whole, headers[0])
    if unfinished or (missing and not stands_in):
        raise NotYetError(_lacking(count, missing if not stands_in else [], unfinished))
    return Parts(of, folder, tuple(headers), whole, stands_in)


def _named(folder: AnyPath, name: str) -> dict[Shard, AnyPath]:
    """The files of parts that stand for one of this name."""
    found = {}
    for one in names_in(folder, of_part_pattern(name).partition("*")[0]):
        shard = Shard.named_in(one)
        if shard is not None and one == shard.file(name):
            found[shard] = folder / one
    return found


def of_part_pattern(name: str) -> str:
    """What all files of parts are called that stand for one of this name."""
    stem, dot, ending = name.rpartition(".")
    return f"{stem}.part-*{dot}{ending}"


def _check_same(headers: Iterable[RunHeader], folder: AnyPath) -> None:
    """Refuse parts of several runs."""
    groups: dict[Any, list[int]] = {}
    for header in headers:
        assert header.part is not None
        key = (header.run.fingerprint, header.part.whole)
        groups.setdefault(key, []).append(header.part.number)
    if len(groups) > 1:
        of_each = "; ".join(_numbers(group) for group in groups.values())
        raise NotYetError(
            f"The parts in {folder} are of different runs ({of_each}), with other options, other "
            "images or other true classes: run them again with the same ones."
        )


def _has_all(whole: RunHeader | None, header: RunHeader) -> bool:
    """Whether a run's file is about the same images as a part's run."""
    part = header.part
    if whole is None or part is None or whole.run.fingerprint != header.run.fingerprint:
        return False
    if whole.run.ground_truth != header.run.ground_truth:
        return False
    listing = Listing()
    for _, text in whole.images():
        listing.add(str(parse(text).get("path")))
    return (listing.images, listing.sha256) == (part.images, part.listing)


def _lacking(count: int, missing: list[int], unfinished: list[int]) -> str:
    """The sentence about parts that are not done."""
    said = [
        f"{_numbers(group)} of {count} {'is' if len(group) == 1 else 'are'} {what}"
        for group, what in ((missing, "missing"), (sorted(unfinished), "unfinished"))
        if group
    ]
    text = joined(said, "and")
    return f"{text[:1].upper()}{text[1:]}; the last part that is done merges them."


def _numbers(numbers: list[int]) -> str:
    """``part 2``, ``parts 2 and 3``, ``parts 2, 4 to 16 and 18``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    said = [
        text
        for run in runs
        for text in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))
    ]
    return f"part{'s' if len(numbers) > 1 else ''} {joined(said, 'and')}"


def _is_there(folder: AnyPath, name: str) -> bool:
    try:
        return is_there(folder / name)
    except ValueError:  # a null character in the name
        return False
