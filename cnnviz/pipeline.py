"""A run: pictures are read, explained and written; one bad picture never stops it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import numpy as np
import numpy.typing as npt

from cnnviz.errors import ExitCode, PictureError
from cnnviz.explainer import Explainer, Explanation, Score, Style
from cnnviz.inputs import Source, read_picture
from cnnviz.outputs import OutputFolder, OutputStem, plan
from cnnviz.preprocessing import Prepared

TOP = 5


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

    @property
    def exit_code(self) -> ExitCode:
        """0, or 1 if any picture failed."""
        return ExitCode.SOME_FAILED if self.failed else ExitCode.OK


@dataclass
class Run:
    """Explains sources into a folder.

    Attributes:
        explainer: the network and methods.
        sources: the pictures, in order.
        folder: where to.
        style: how maps are drawn.
        target: see :meth:`cnnviz.explainer.Explainer.explain`.
        batch_size: pictures that share a pass.
        arrays: also write the raw arrays.
    """

    explainer: Explainer
    sources: Sequence[Source]
    folder: Path
    style: Style = field(default_factory=Style)
    target: int | None = None
    batch_size: int = 1
    arrays: bool = False

    def execute(self, observe: Callable[[Outcome], None]) -> RunReport:
        """Do it; ``observe`` is told each picture's outcome, in order, once its files are written.

        Raises:
            NetworkError: the network cannot be run at all.
            CnnvizError: nothing more can be written (the disk is full, say).
        """
        report = RunReport()
        for outcome in self._outcomes():
            if outcome.error is None:
                report.done += 1
            else:
                report.failed += 1
            observe(outcome)
        return report

    def _outcomes(self) -> Iterator[Outcome]:
        keys = ["original", *(method.key for method in self.explainer.methods)]
        suffixes = [f"_{key}.png" for key in keys] + [".npz"] * self.arrays
        stems = plan(self.sources, suffixes, numbered=False)
        output = OutputFolder(self.folder, inputs=[source.path for source in self.sources])
        work = list(zip(self.sources, stems))
        for start in range(0, len(work), self.batch_size):
            yield from self._batch(work[start : start + self.batch_size], output)

    def _batch(
        self, work: Sequence[tuple[Source, OutputStem]], output: OutputFolder
    ) -> Iterator[Outcome]:
        read = [self._read(source) for source, _ in work]
        ready = [loaded.prepared for loaded in read if loaded.prepared is not None]
        began = time.perf_counter()
        explained = iter(self.explainer.explain(ready, self.target) if ready else ())
        share = (time.perf_counter() - began) / max(1, len(ready))
        for (source, stem), loaded in zip(work, read):
            if loaded.prepared is None:
                yield Outcome(source, {}, None, (), loaded.error, loaded.seconds)
                continue
            began = time.perf_counter()
            explanation = next(explained)
            try:
                if isinstance(explanation, PictureError):
                    raise explanation
                files, blank = self._write(loaded.picture, explanation, stem, output)
            except PictureError as error:
                spent = loaded.seconds + share + time.perf_counter() - began
                yield Outcome(source, {}, None, (), str(error), spent)
            else:
                spent = loaded.seconds + share + time.perf_counter() - began
                yield Outcome(source, files, explanation, blank, None, spent)

    def _read(self, source: Source) -> _Loaded:
        began = time.perf_counter()
        try:
            picture = read_picture(source.path)
            prepared = self.explainer.prepare(picture)
        except PictureError as error:
            return _Loaded(_NOTHING, None, str(error), time.perf_counter() - began)
        except MemoryError:
            text = "there is not enough memory for this picture"
            return _Loaded(_NOTHING, None, text, time.perf_counter() - began)
        return _Loaded(picture, prepared, None, time.perf_counter() - began)

    def _write(
        self,
        picture: npt.NDArray[np.uint8],
        explanation: Explanation,
        stem: OutputStem,
        output: OutputFolder,
    ) -> tuple[dict[str, Path], tuple[str, ...]]:
        drawn = explanation.draw(picture, self.style)
        files: dict[str, Path] = {}
        try:
            for key, pixels in drawn.pictures.items():
                files[key] = output.write_png(stem.file(f"_{key}.png"), pixels)
            if self.arrays:
                files["arrays"] = output.write_npz(stem.file(".npz"), explanation.arrays())
        except BaseException:
            # A picture's files are all there or none: half a set would be taken for a whole one.
            for path in files.values():
                path.unlink(missing_ok=True)
            raise
        return files, drawn.blank


_NOTHING: npt.NDArray[np.uint8] = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class _Loaded:
    """A picture that was read, or why not."""

    picture: npt.NDArray[np.uint8]
    prepared: Prepared | None
    error: str | None
    seconds: float
