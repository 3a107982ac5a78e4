"""The parts of a run, one after the other, for somebody who hands them out.

A worker loads the network once and does the parts that it is given, each as ``--shard`` would: into
a journal and a file of its own. What comes back are counts and sentences. Whoever hands them out
keeps in mind how often a part has ended its worker, and over which image.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from cnnviz import system
from cnnviz.errors import NetworkError
from cnnviz.machine import keep_freed_memory
from cnnviz.metrics.randomization_result import RandomizationResult
from cnnviz.outputs.naming import NamePlanner
from cnnviz.runs.evaluate import EVALUATION, EvaluationPlan, EvaluationSession
from cnnviz.runs.journal import RunFile
from cnnviz.runs.manifest import MANIFEST_FILE
from cnnviz.runs.merge import find_parts, of_part_pattern
from cnnviz.runs.plan import RunPlan
from cnnviz.runs.run_index import RunIndex, image_in_line
from cnnviz.runs.session import Session
from cnnviz.runs.shards import Part, Shard, images_together
from cnnviz.runs.supervisor import WorkerState

_PARTS = 64  # at least, so that a few workers end at about the same time
_MOST_IMAGES = 1000  # of a part, on average
_FEWEST_IMAGES = 8  # likewise
_DEATHS = 3  # of a part's workers, until it is done one image at a time
_OVER_AN_IMAGE = 2  # then over the same one, until it is given up
_LINGERING = 60.0  # seconds
PROBE = ".cnnviz-probe-"
"""What the files are called with which workers show that they write to the output folder."""
_IN_HAND = ".cnnviz-in-hand.txt"


AnyPlan = RunPlan | EvaluationPlan
"""A run that workers do in parts."""


def number_of_parts(images: int, batch_size: int | Literal["auto"]) -> int:
    """Into how many parts a run is divided, whoever does them: it resumes in the same ones.

    A power of two, so that a few images more or less seldom change it.
    """
    wanted = max(_PARTS, -(-images // _MOST_IMAGES))
    fewest = max(_FEWEST_IMAGES, images_together(batch_size))
    return min(1 << (wanted - 1).bit_length(), max(1, -(-images // fewest)))


@dataclass(frozen=True)
class PartTask:
    """What a worker is given.

    Attributes:
        shard: the part.
        force: whether to do images again that are done.
        isolating: whether to do one image at a time, and to note beforehand which.
        crashed: images that are not touched again, by their keys.
    """

    shard: Shard
    force: bool = False
    isolating: bool = False
    crashed: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartEnd:
    """What comes back: how many images the part has, and how many of them were done before."""

    images: int
    resumed: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RandomizationEnd:
    """What the test with random parameters comes to; None if there was nothing to test."""

    found: RandomizationResult | None
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """A worker that is ready.

    Attributes:
        fingerprint: of the run as it would do it.
        title: what runs, in a sentence.
        layers: the names of the layers looked at.
        notes: what there is to say.
        planner: what plans the names of files.
    """

    fingerprint: str
    title: str
    layers: tuple[str, ...]
    notes: tuple[str, ...]
    planner: NamePlanner


class PartWorker:
    """Does parts of a run, with a network that is loaded once."""

    def __init__(self, plan: AnyPlan, count: int) -> None:
        """Args: the whole run, and into how many parts it is divided."""
        self._plan = plan.telling(self._note)
        self._count = count
        self._notes: list[str] = []

    def _note(self, text: str) -> None:
        self._notes.append(text)

    def _noted(self) -> tuple[str, ...]:
        notes = tuple(self._notes)
        self._notes.clear()
        return notes

    @cached_property
    def _whole(self) -> Session | EvaluationSession:
        keep_freed_memory()
        return self._plan.open(progress=False)

    @property
    def _session(self) -> Session:
        """Of the explanations."""
        return self._whole if isinstance(self._whole, Session) else self._whole.session

    @cached_property
    def _part(self) -> Callable[[int], Part]:
        whole = self._session
        batch_size = whole.request.execution.batch_size
        return Part.all_of(self._count, whole.sources, whole.truths, batch_size)

    @cached_property
    def _before(self) -> tuple[RunIndex, ...]:
        """What a run has left that came to its end, or was stopped, read once for all parts."""
        folder, file = self._plan.request.output, self._plan.run_file
        found = (RunIndex.read(folder / name) for name in (file.name, file.journal))
        return tuple(filter(None, found))

    def open(self) -> Opened:
        """Load the network.

        Raises:
            CnnvizError: it cannot be used, or has no such layer or class.
        """
        whole = self._session
        explainer = whole.explainer
        layers = tuple(layer.name for layer in explainer.layers)
        notes = (*self._noted(), *explainer.notes)
        mark = self._whole.describe().fingerprint
        return Opened(mark, whole.title, layers, notes, whole.planner)

    def do(self, task: PartTask) -> PartEnd:
        """Do a part; it leaves a file for the merge.

        Raises:
            CnnvizError: the run cannot go on.
        """
        folder = self._plan.request.output
        assert isinstance(folder, Path)  # by check_shard
        part = replace(self._part(task.shard.number), whole=self._before)
        with _state(task, folder) as state:
            own = self._whole.of_part(part, state, force=task.force)
            if isinstance(own, Session):
                resumed = own.explain(lambda _outcome: None).report.resumed
            else:
                resumed = own.evaluate(lambda _outcome: None).resumed
        return PartEnd(len(part.places), resumed, self._noted())

    def randomize(self) -> RandomizationEnd:
        """Make the test with random parameters, once the files of all parts are there.

        Raises:
            CnnvizError: the network cannot be run.
        """
        whole, folder = self._whole, self._plan.request.output
        assert isinstance(folder, Path)  # by check_shard
        assert isinstance(whole, EvaluationSession)
        parts = find_parts(EVALUATION, folder, self._count)
        assert parts is not None
        images, mark = parts.record.images, parts.run.fingerprint
        return RandomizationEnd(*whole.randomized(parts.records(), images, mark))


@contextmanager
def _state(task: PartTask, output: Path) -> Iterator[WorkerState | None]:
    """What the loop over images has to know of workers before this one; None if nothing."""
    if not (task.isolating or task.crashed):
        yield None
        return
    in_hand = output / task.shard.file(_IN_HAND)
    with ExitStack() as files:
        reported, crashed, over = (files.enter_context(system.scratch_file()) for _ in range(3))
        for key in task.crashed:
            crashed.write(json.dumps([key, ""]).encode("ascii") + b"\n")
        crashed.flush()
        noted = files.enter_context(open(in_hand, "w+b"))
        descriptors = [file.fileno() for file in (reported, noted, crashed, over)]
        yield WorkerState(descriptors, "isolating" if task.isolating else "default")
    in_hand.unlink(missing_ok=True)


@dataclass
class PartProgress:
    """A part that is not done.

    Attributes:
        shard: which one.
        folder: where it is written.
        of: the file that the run writes.
        forced: whether images that are done shall be done again.
        crashed: images that have ended their workers, by their keys.
        written: how many records its journal has, as far as it was looked at.
        started: whether a worker was given it.
    """

    shard: Shard
    folder: Path
    of: RunFile[Any] = MANIFEST_FILE
    forced: bool = False
    crashed: list[str] = field(default_factory=list)
    written: int = 0
    started: bool = False
    _isolating: bool = False
    _deaths: int = 0
    _suspects: Counter[str] = field(default_factory=Counter)
    _read: int = 0
    _died: float | None = None

    @property
    def _journal(self) -> Path:
        return self.folder / self.shard.file(self.of.journal)

    def task(self) -> PartTask:
        """What a worker is given for it."""
        self.started = True
        return PartTask(self.shard, self._still_forced(), self._isolating, tuple(self.crashed))

    def _still_forced(self) -> bool:
        """Whether nothing was done again yet: what a worker before has done is not done again."""
        if not self.forced or self._died is None:
            return self.forced
        try:
            with open(self._journal, "rb") as file:
                return b'"afresh"' not in file.readline()
        except OSError:
            return True

    def died(self) -> str | None:
        """Take note that a worker was ended over it.

        After three it is done one image at a time. An image that is in hand at two more ends is
        given up, and the others are done as before.

        Returns:
            A sentence about what follows, if anything does.

        Raises:
            NetworkError: it ends its workers, and not over an image.
        """
        self._deaths += 1
        self._died = monotonic()
        if not self._isolating:
            if self._deaths < _DEATHS:
                return None
            self._begin(isolating=True)
            return (
                f"{self.shard} has ended {_DEATHS} workers; going on with it one image at a time, "
                "to find out which one it is."
            )
        image = self._take_in_hand()
        if image is None:
            if self._deaths - self._suspects.total() < _DEATHS:
                return None
            raise NetworkError(
                f"{self.shard} has ended {2 * _DEATHS} workers, and not over an image: they may "
                "have too little memory. What is done is complete; --batch-size 1 may help, or "
                "--threads N, which gives each worker N cores and leaves room for fewer of them."
            )
        self._suspects[image] += 1
        if self._suspects[image] >= _OVER_AN_IMAGE:
            self.crashed.append(image)
            self._begin(isolating=False)
        return None

    def lately(self) -> bool:
        """Whether a worker was lost over it so short a time ago that it may still be writing."""
        return self._died is not None and monotonic() - self._died < _LINGERING

    def _begin(self, *, isolating: bool) -> None:
        self._isolating = isolating
        self._deaths = 0
        self._suspects.clear()

    def _take_in_hand(self) -> str | None:
        """The image that was in hand."""
        path = self.folder / self.shard.file(_IN_HAND)
        try:
            noted = path.read_bytes()
            path.unlink()
        except OSError:
            return None
        return os.fsdecode(noted) or None

    def look(self) -> int:
        """How many of its images are done, by its journal."""
        try:
            with open(self._journal, "rb") as file:
                if file.seek(0, os.SEEK_END) < self._read:
                    self._read = self.written = 0  # it was begun afresh
                file.seek(self._read)
                text = file.read()
        except OSError:
            return self.written
        lines = text.count(b"\n")
        if self._read == 0 and lines:
            lines -= 1  # the first line is about the run
        self._read += text.rfind(b"\n") + 1
        self.written += lines
        return self.written

    def records(self) -> Iterator[Any]:
        """The records of its images: of all once it is done, before that of those done by then."""
        file = self.folder / self.shard.path(self.of.name)
        if self._journal.exists():  # which goes when it is done
            file = self._journal
        elif not file.exists():
            return
        with open(file, "rb") as lines:
            for line in lines:
                found = image_in_line(line)
                image = None if found is None else self.of.image_in(found[1])
                if image is not None:
                    yield image


@dataclass
class RandomizationProgress:
    """The test with random parameters, which is not made yet."""

    started: bool = False
    _deaths: int = 0

    def task(self) -> None:
        """What a worker is given for it: nothing, for it knows."""
        self.started = True

    def died(self) -> str | None:
        """Take note that a worker was ended over it.

        Raises:
            NetworkError: it ends its workers.
        """
        self._deaths += 1
        if self._deaths == _DEATHS:
            raise NetworkError(
                f"The test with random parameters has ended {_DEATHS} workers: they may have too "
                "little memory. All images are done; --metric-option randomization.images=1 "
                "needs less."
            )
        return None

    def lately(self) -> bool:
        """Whether somebody may still be writing: it writes nothing."""
        return False

    def look(self) -> int:
        """How many images are done: none is."""
        return 0


def remove_notes(folder: Path) -> None:
    """Remove what workers leave in the output folder for nobody but who hands out the parts."""
    for pattern in (f"{PROBE}*", of_part_pattern(_IN_HAND)):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def unfinished_parts(plan: AnyPlan, images: int) -> Sequence[PartProgress]:
    """All parts of a run of so many images, to be done by workers."""
    execution, folder = plan.request.execution, plan.request.output
    assert isinstance(folder, Path)  # by check_shard
    count = number_of_parts(images, execution.batch_size)
    return [
        PartProgress(Shard(count, number), folder, plan.run_file, execution.force)
        for number in range(1, count + 1)
    ]
