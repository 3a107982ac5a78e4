"""A run: pictures are read, explained and written; one bad picture never stops it."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Callable

import cv2

from cnnviz.errors import ExitCode, PictureError
from cnnviz.explainer import Explainer, Explanation, Score, Style
from cnnviz.inputs import Source
from cnnviz.models.labels import Target
from cnnviz.network.runtime import available_cores, free_memory, threads
from cnnviz.outputs import OutputFolder, OutputStem, plan
from cnnviz.preprocessing import Canvas, PictureSize, Prepared

TOP = 5
#: Pictures of a batch are ready together, so that larger ones let the first wait.
_MOST_TOGETHER = 8
#: Memory that explaining takes for each number that a layer puts out: float32, and by measurement
#: (batches of 1 to 5) 1.2 times as much as the outputs alone for VGG-16, 2.2 with batch norm, 3.0
#: for ResNet-50.
_BYTES_A_VALUE = 4 * 4
_NICENESS = 10


@dataclass(frozen=True)
class Written:
    """One target's explanation, and what was written of it.

    Attributes:
        explanation: the explanation.
        files: by the name's ending (``original``, ``gradcam``, ``arrays``); the original is shared
            by all targets of a picture.
        blank: which pictures have nothing to show.
    """

    explanation: Explanation
    files: dict[str, Path]
    blank: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """It as JSON can hold it."""
        explanation = self.explanation
        return {
            "target": _score(explanation.score(explanation.target)),
            "files": {key: str(path) for key, path in self.files.items()},
            "blank": list(self.blank),
            "facts": {key: dict(facts) for key, facts in explanation.facts.items()},
        }


@dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    Attributes:
        source: the picture.
        written: one for each target, in order; nothing if it failed.
        error: why it failed, or None.
        seconds: time spent on it; of what a batch shares its part.
    """

    source: Source
    written: tuple[Written, ...]
    error: str | None
    seconds: float

    @property
    def status(self) -> str:
        """``ok`` or ``failed``."""
        return "ok" if self.error is None else "failed"

    def record(self) -> dict[str, Any]:
        """The outcome as JSON can hold it."""
        record: dict[str, Any] = {"path": self.source.shown, "status": self.status}
        if self.error is not None:
            return {**record, "error": self.error, "seconds": round(self.seconds, 4)}
        explanation = self.written[0].explanation
        return {
            **record,
            "top5": [_score(score) for score in explanation.top(TOP)],
            "layers": [layer.name for layer in explanation.layers],
            "relus_guided": None if explanation.relus is None else list(explanation.relus),
            "explanations": [written.record() for written in self.written],
            "seconds": round(self.seconds, 4),
        }

    @property
    def files(self) -> list[Path]:
        """All that was written, each once."""
        return list(dict.fromkeys(path for one in self.written for path in one.files.values()))


def _score(score: Score) -> dict[str, Any]:
    return {
        "index": score.index,
        "name": score.name,
        "logit": score.logit,
        "probability": score.probability,
    }


@dataclass
class RunReport:
    """Counts of a run, and the exit status that follows from them."""

    done: int = 0
    failed: int = 0

    def count(self, outcome: Outcome) -> None:
        """Take note of one picture."""
        if outcome.error is None:
            self.done += 1
        else:
            self.failed += 1

    @property
    def exit_code(self) -> ExitCode:
        """0, or 1 if any picture failed."""
        return ExitCode.SOME_FAILED if self.failed else ExitCode.OK


@dataclass
class Run:
    """Explains sources into a folder.

    Pictures are read ahead by threads of their own, go through the network in batches, and are
    drawn and written behind by others, so that the network waits for neither. How many pictures
    are under way at once is bounded by the batch size and the number of threads.

    Attributes:
        explainer: the network and methods.
        sources: the pictures, in order.
        folder: where to.
        style: how maps are drawn.
        targets: what is explained in each picture, see
            :meth:`cnnviz.explainer.Explainer.explain_targets`. If there are several the class index
            stands in the files' names.
        batch_size: pictures that share a pass.
        arrays: also write the raw arrays.
        reaches: scales common to all pictures, see :meth:`measure`; by default each map is drawn
            on its own.
        tick: see :meth:`cnnviz.explainer.Explainer.explain_targets`.
        helpers: threads that read, and as many that write; 0 does everything in turn. By default
            one for four threads that the network has, and none if it has only one on a machine
            with more.
    """

    explainer: Explainer
    sources: Sequence[Source]
    folder: Path
    style: Style = field(default_factory=Style)
    targets: Sequence[Target | int | None] = (None,)
    batch_size: int = 1
    arrays: bool = False
    reaches: Mapping[str, float] = field(default_factory=dict)
    tick: Callable[[int], None] | None = None
    helpers: int = field(default_factory=lambda: _helpers())

    def measure(self, observe: Callable[[Source], None]) -> dict[str, float]:
        """How far the maps of all pictures reach, by key, for a scale that is common to them.

        All pictures are explained for it, and nothing is written. Pictures that fail are left out.

        Args:
            observe: told each picture when it is done.

        Raises:
            NetworkError: the network cannot be run at all.
        """
        reaches: dict[str, float] = {}
        with self._threads() as (readers, _):
            for batch in self._read_ahead(readers):
                for loaded, result in self._results(batch):
                    if not isinstance(result, PictureError):
                        for explanation in result:
                            for key, reach in explanation.reaches().items():
                                reaches[key] = max(reach, reaches.get(key, 0.0))
                    observe(loaded.source)
        return reaches

    def execute(self, observe: Callable[[Outcome], None]) -> RunReport:
        """Do it; ``observe`` is told each picture's outcome, in order, once its files are written.

        Whatever stops the run, pictures being written are finished, and told.

        Raises:
            NetworkError: the network cannot be run at all.
            CnnvizError: nothing more can be written (the disk is full, say).
        """
        report = RunReport()
        behind: deque[Future[Outcome]] = deque()

        def settle(oldest: Future[Outcome]) -> None:
            outcome = oldest.result()
            report.count(outcome)
            observe(outcome)

        with self._threads() as (readers, writers):
            try:
                for batch in self._read_ahead(readers):
                    behind.extend(self._explain(batch, writers))
                    room = self.batch_size + self.helpers
                    while behind and (len(behind) > room or behind[0].done()):
                        settle(behind.popleft())
                while behind:
                    settle(behind.popleft())
            except BaseException:
                writers.shutdown(cancel_futures=True)
                for future in behind:
                    if not future.cancelled() and future.exception() is None:
                        settle(future)
                raise
        return report

    @contextmanager
    def _threads(self) -> Iterator[tuple[Executor, Executor]]:
        """Those that read and those that write; OpenCV has none of its own meanwhile."""
        # The helpers are as many as there is room for; OpenCV's own threads would be in the way.
        opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        readers, writers = self._executor("read"), self._executor("write")
        try:
            yield readers, writers
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()
            cv2.setNumThreads(opencv_threads)

    def _executor(self, name: str) -> Executor:
        return ThreadPoolExecutor(self.helpers, name, _step_back) if self.helpers else _InTurn()

    def _read_ahead(self, readers: Executor) -> Iterator[list[_Loaded]]:
        """The pictures in batches; while one is used the next are being read."""
        keys = ["original", *(key for method in self.explainer.methods for key in method.drawings)]
        suffixes = [f"_{key}.png" for key in keys] + [".npz"] * self.arrays
        stems = plan(self.sources, suffixes, numbered=self._numbered)
        waiting = iter(zip(self.sources, stems))
        ahead: deque[Future[_Loaded]] = deque()
        while True:
            wanted = self.batch_size * (1 if not self.helpers else 2) + self.helpers
            for source, stem in islice(waiting, wanted - len(ahead)):
                ahead.append(readers.submit(self._read, source, stem))
            if not ahead:
                return
            yield [ahead.popleft().result() for _ in range(min(self.batch_size, len(ahead)))]

    def _read(self, source: Source, stem: OutputStem) -> _Loaded:
        began = time.perf_counter()
        inside: tuple[Prepared, Canvas] | None = None
        error = None
        try:
            inside = self.explainer.read(source.path, self.style.size)
        except PictureError as problem:
            error = str(problem)
        except MemoryError:
            error = "there is not enough memory for this picture; choose a smaller --size"
        return _Loaded(source, stem, inside, error, time.perf_counter() - began)

    @property
    def _numbered(self) -> bool:
        """Whether the class index stands in the files' names."""
        return len(self.targets) > 1

    def _results(
        self, batch: Sequence[_Loaded]
    ) -> Iterator[tuple[_Loaded, tuple[Explanation, ...] | PictureError]]:
        """Explain what could be read of a batch."""
        ready = [loaded.inside[0] for loaded in batch if loaded.inside is not None]
        explained = iter(
            self.explainer.explain_targets(ready, self.targets, self.tick) if ready else ()
        )
        for loaded in batch:
            yield loaded, PictureError(loaded.error) if loaded.inside is None else next(explained)

    def _explain(self, batch: Sequence[_Loaded], writers: Executor) -> Iterator[Future[Outcome]]:
        """Explain a batch and have it written; the outcomes to come."""
        began = time.perf_counter()
        results = list(self._results(batch))
        ready = sum(loaded.inside is not None for loaded in batch)
        share = (time.perf_counter() - began) / max(1, ready)
        for loaded, result in results:
            spent = loaded.seconds + (share if loaded.inside is not None else 0.0)
            yield writers.submit(self._finish, loaded, result, spent)

    def _finish(
        self, loaded: _Loaded, result: tuple[Explanation, ...] | PictureError, spent: float
    ) -> Outcome:
        """Draw and write one picture."""
        began = time.perf_counter()
        written: tuple[Written, ...] = ()
        error = None
        try:
            if isinstance(result, PictureError):
                raise result
            written = self._write(loaded, result)
        except PictureError as problem:
            error = str(problem)
        except MemoryError:
            error = "there is not enough memory to draw it; choose a smaller --size"
        return Outcome(loaded.source, written, error, spent + time.perf_counter() - began)

    def _write(self, loaded: _Loaded, explanations: Sequence[Explanation]) -> tuple[Written, ...]:
        if loaded.inside is None:
            raise ValueError("a picture that was not read cannot be written")
        done: list[Path] = []
        written = []
        original: Path | None = None
        try:
            for explanation in explanations:
                drawn = explanation.draw(loaded.inside[1], self.style, self.reaches)
                number = explanation.target if self._numbered else None
                files: dict[str, Path] = {}
                for key, pixels in drawn.pictures.items():
                    if key == "original" and original is not None:
                        files[key] = original
                        continue
                    own = None if key == "original" else number
                    name = loaded.stem.file(f"_{key}.png", own)
                    files[key] = self._output.write_png(name, pixels)
                    done.append(files[key])
                original = files["original"]
                if self.arrays:
                    name = loaded.stem.file(".npz", number)
                    files["arrays"] = self._output.write_npz(name, explanation.arrays())
                    done.append(files["arrays"])
                written.append(Written(explanation, files, drawn.blank))
        except BaseException:
            # A picture's files are all there or none: half a set would be taken for a whole one.
            for path in done:
                path.unlink(missing_ok=True)
            raise
        return tuple(written)

    @cached_property
    def _output(self) -> OutputFolder:
        return OutputFolder(self.folder, inputs=[source.path for source in self.sources])


def _helpers() -> int:
    """How many threads read, and write, beside those of the network.

    Who restricts the network to one of several cores wants the others left alone. Where there is
    only one core, a thread that waits for the disk still saves time.
    """
    if threads() == 1 < available_cores():
        return 0
    return max(1, threads() // 4)


def automatic_batch_size(
    explainer: Explainer, pictures: int, size: PictureSize = "default", free: int | None = None
) -> int:
    """How many pictures to put through the network together.

    The largest power of two, 8 at most, that is no more than there are pictures and whose memory
    fits into half of what is free. 1 for pictures written at full size, because how much memory
    those take that wait is not known beforehand.

    Args:
        explainer: the network.
        pictures: how many there are.
        size: the size at which they are written.
        free: bytes; None asks the system (:func:`cnnviz.network.runtime.free_memory`).
    """
    if size == "full":
        return 1
    if free is None:
        free = free_memory(explainer.network.device)
    one = _BYTES_A_VALUE * sum(math.prod(layer.shape) for layer in explainer.network.layers)
    batch = 1
    while 2 * batch <= min(_MOST_TOGETHER, pictures) and 2 * (2 * batch * one) <= free:
        batch *= 2
    return batch


def _step_back() -> None:
    """Let the network's threads go first: they stop as a team whenever one of them has to wait.

    Linux keeps a priority for each thread; elsewhere this would be the process's.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


@dataclass(frozen=True)
class _Loaded:
    """A picture that was read (what the network is fed, what is drawn on), or why not."""

    source: Source
    stem: OutputStem
    inside: tuple[Prepared, Canvas] | None
    error: str | None
    seconds: float


class _InTurn(Executor):
    """Does at once what it is given."""

    def submit(  # type: ignore[override]
        self, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        """Call the function; the future is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - the future carries it, as an executor does
            future.set_exception(error)
        return future
