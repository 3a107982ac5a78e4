"""A run: pictures are read, explained and written; one bad picture never stops it."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Callable

import cv2

from cnnviz.errors import ExitCode, PictureError
from cnnviz.explainer import Explainer, Explanation, Score, Style
from cnnviz.inputs import Source
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
class Outcome:
    """What became of one picture.

    Attributes:
        source: the picture.
        files: what was written, by the name's ending (``original``, ``gradcam``, ``arrays``).
        explanation: None if it failed.
        blank: which pictures have nothing to show.
        error: why it failed, or None.
        seconds: time spent on it; of what a batch shares its part.
    """

    source: Source
    files: dict[str, Path]
    explanation: Explanation | None
    blank: tuple[str, ...]
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
        explanation = self.explanation
        if explanation is None:
            raise ValueError("an outcome without error has an explanation")
        return {
            **record,
            "files": {key: str(path) for key, path in self.files.items()},
            "target": _score(explanation.score(explanation.target)),
            "top5": [_score(score) for score in explanation.top(TOP)],
            "layer": explanation.layer.name,
            "relus_guided": None if explanation.relus is None else list(explanation.relus),
            "blank": list(self.blank),
            "seconds": round(self.seconds, 4),
        }


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
        target: see :meth:`cnnviz.explainer.Explainer.explain`.
        batch_size: pictures that share a pass.
        arrays: also write the raw arrays.
        helpers: threads that read, and as many that write; 0 does everything in turn. By default
            one for four threads that the network has, and none if it has only one on a machine
            with more.
    """

    explainer: Explainer
    sources: Sequence[Source]
    folder: Path
    style: Style = field(default_factory=Style)
    target: int | None = None
    batch_size: int = 1
    arrays: bool = False
    helpers: int = field(default_factory=lambda: _helpers())

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

        # The helpers are as many as there is room for; OpenCV's own threads would be in the way.
        opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        readers, writers = self._executor("read"), self._executor("write")
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
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()
            cv2.setNumThreads(opencv_threads)
        return report

    def _executor(self, name: str) -> Executor:
        return ThreadPoolExecutor(self.helpers, name, _step_back) if self.helpers else _InTurn()

    def _read_ahead(self, readers: Executor) -> Iterator[list[_Loaded]]:
        """The pictures in batches; while one is used the next are being read."""
        keys = ["original", *(method.key for method in self.explainer.methods)]
        suffixes = [f"_{key}.png" for key in keys] + [".npz"] * self.arrays
        stems = plan(self.sources, suffixes, numbered=False)
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

    def _explain(self, batch: Sequence[_Loaded], writers: Executor) -> Iterator[Future[Outcome]]:
        """Explain what could be read of a batch, and have it written; the outcomes to come."""
        began = time.perf_counter()
        ready = [loaded.inside[0] for loaded in batch if loaded.inside is not None]
        explained = iter(self.explainer.explain(ready, self.target) if ready else ())
        share = (time.perf_counter() - began) / max(1, len(ready))
        for loaded in batch:
            result: Explanation | PictureError
            if loaded.inside is None:
                result, spent = PictureError(loaded.error), loaded.seconds
            else:
                result, spent = next(explained), loaded.seconds + share
            yield writers.submit(self._finish, loaded, result, spent)

    def _finish(self, loaded: _Loaded, result: Explanation | PictureError, spent: float) -> Outcome:
        """Draw and write one picture."""
        began = time.perf_counter()
        try:
            if isinstance(result, PictureError):
                raise result
            files, blank = self._write(loaded, result)
        except PictureError as error:
            spent += time.perf_counter() - began
            return Outcome(loaded.source, {}, None, (), str(error), spent)
        except MemoryError:
            text = "there is not enough memory to draw it; choose a smaller --size"
            return Outcome(loaded.source, {}, None, (), text, spent)
        spent += time.perf_counter() - began
        return Outcome(loaded.source, files, result, blank, None, spent)

    def _write(
        self, loaded: _Loaded, explanation: Explanation
    ) -> tuple[dict[str, Path], tuple[str, ...]]:
        if loaded.inside is None:
            raise ValueError("a picture that was not read cannot be written")
        drawn = explanation.draw(loaded.inside[1], self.style)
        files: dict[str, Path] = {}
        try:
            for key, pixels in drawn.pictures.items():
                files[key] = self._output.write_png(loaded.stem.file(f"_{key}.png"), pixels)
            if self.arrays:
                files["arrays"] = self._output.write_npz(
                    loaded.stem.file(".npz"), explanation.arrays()
                )
        except BaseException:
            # A picture's files are all there or none: half a set would be taken for a whole one.
            for path in files.values():
                path.unlink(missing_ok=True)
            raise
        return files, drawn.blank

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
