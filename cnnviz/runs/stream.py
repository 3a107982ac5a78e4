"""A run: images are read, explained and written; one bad image never stops it."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice, zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.errors import ItemError
from cnnviz.explainer import Explainer, TargetSpec
from cnnviz.explanation import Explanation, ImageResult, describe
from cnnviz.images.decode import MAX_PIXELS
from cnnviz.images.loading import load_image
from cnnviz.images.preprocessing import Canvas, ImageSize, Prepared
from cnnviz.images.sources import Source
from cnnviz.labels.predictions import Prediction, assess
from cnnviz.labels.targets import ClassPair, Target, is_default
from cnnviz.machine import available_cores, helper_threads, single_threaded, threads
from cnnviz.metrics.location import Location, measure_location
from cnnviz.outputs.files import OutputFolder, all_or_none
from cnnviz.outputs.formats import encode_jpeg, encode_npz, encode_png
from cnnviz.outputs.naming import OutputStem, plan
from cnnviz.outputs.thumbnails import QUALITY as THUMBNAIL_QUALITY
from cnnviz.outputs.thumbnails import thumbnail, thumbnail_path
from cnnviz.rendering import figures
from cnnviz.rendering.explanation_images import RenderedExplanation
from cnnviz.rendering.style import Style
from cnnviz.runs.manifest import Journal, digest, is_whole
from cnnviz.runs.records import (
    ContrastRecord,
    ExplanationRecord,
    HeatmapRecord,
    ImageRecord,
    LocationRecord,
)
from cnnviz.runs.summary import RunReport
from cnnviz.runs.supervisor import WorkerState
from cnnviz.text import ClassNames, printable_path

TOP = 5
#: Images of a batch are ready together, so that larger ones let the first wait.
_MOST_TOGETHER = 8
#: Memory that explaining takes for each number that a layer puts out: float32, and by measurement
#: (batches of 1 to 5) 1.2 times as much as the outputs alone for VGG-16, 2.2 with batch norm, 3.0
#: for ResNet-50.
_BYTES_A_VALUE = 4 * 4
_NICENESS = 10


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes:
        source: the image.
        record: what the manifest says of it.
        fresh: whether it was done now, and not by an earlier run that this one continues.
    """

    source: Source
    record: ImageRecord
    fresh: bool = True


@dataclass
class Run:
    """Explains sources into a folder.

    Images are read ahead by threads of their own, go through the network in batches, and are
    drawn and written behind by others, so that the network waits for neither. How many images
    are under way at once is bounded by the batch size and the number of threads.

    Attributes:
        explainer: the network and methods.
        sources: the images, in order.
        folder: where to.
        style: how maps are rendered.
        targets: what is explained in each image. Unless it is the network's answer alone the
            class index stands in the files' names.
        contrasts: pairs of classes whose difference is explained too.
        truths: each image's true class, or None; nothing if none is known.
        batch_size: images that share a pass.
        arrays: also write the raw arrays.
        panel: also write all that belongs to an image as one figure.
        thumbnails: also write what a report shows of it in small.
        reaches: scales common to all images, see :meth:`measure`; by default each map is drawn
            on its own.
        tick: see :meth:`cnnviz.explainer.Explainer.explain_targets`.
        helpers: threads that read, and as many that write; 0 does everything in turn. By default
            one for four threads that the network has, and none if it has only one on a machine
            with more.
        max_pixels: larger images are refused, before they are decoded.
        crashed: images that are not touched, by their paths, because a library crashed on them:
            with the number of the signal.
        state: told the path of each image before it is touched, and when it is done; that is of
            use without helpers, and with one image a batch.
        displaced: images that the journal knows and in whose place there are others of the same
            names, as the user was shown them.
    """

    explainer: Explainer
    sources: Sequence[Source]
    folder: Path
    style: Style = field(default_factory=Style)
    targets: Sequence[Target] = (Target(),)
    contrasts: Sequence[ClassPair] = ()
    truths: Sequence[int | None] = ()
    batch_size: int = 1
    arrays: bool = False
    panel: bool = False
    thumbnails: bool = False
    reaches: Mapping[str, float] = field(default_factory=dict)
    tick: Callable[[int], None] | None = None
    helpers: int = field(default_factory=lambda: _helpers())
    max_pixels: int = MAX_PIXELS
    crashed: Mapping[str, int] = field(default_factory=dict)
    state: WorkerState | None = None
    displaced: list[str] = field(default_factory=list, init=False)

    def predictions(self, observe: Callable[[Source], None]) -> list[Prediction | None]:
        """What the network says of each image; None for those that fail. Nothing is written.

        Args:
            observe: told each image when it is done.

        Raises:
            NetworkError: the network cannot be run at all.
        """
        found: list[Prediction | None] = []
        with self._threads() as (readers, _):
            for batch in self._read_ahead(readers):
                ready = [loaded.inside[0].input for loaded in batch if loaded.inside is not None]
                logits = iter(self.explainer.network.logits(np.stack(ready)) if ready else ())
                for loaded in batch:
                    values = None if loaded.inside is None else next(logits)
                    if values is None or not np.isfinite(values).all():
                        found.append(None)
                    else:
                        found.append(assess(values, loaded.truth))
                    self._let_go()
                    observe(loaded.source)
        return found

    def measure(self, observe: Callable[[Source], None]) -> dict[str, float]:
        """How far the maps of all images reach, by key, for a scale that is common to them.

        All images are explained for it, and nothing is written. Images that fail are left out.

        Args:
            observe: told each image when it is done.

        Raises:
            NetworkError: the network cannot be run at all.
        """
        reaches: dict[str, float] = {}
        with self._threads() as (readers, _):
            for batch in self._read_ahead(readers):
                for loaded, result in self._results(batch, contrasts=False):
                    if not isinstance(result, ItemError):
                        for explanation in result.explanations:
                            for key, reach in explanation.scale_limits().items():
                                reaches[key] = max(reach, reaches.get(key, 0.0))
                    self._let_go()
                    observe(loaded.source)
        return reaches

    def execute(
        self, observe: Callable[[Outcome], None], journal: Journal | None = None
    ) -> RunReport:
        """Do it; ``observe`` is told each image's outcome, in order, once its files are written.

        Whatever stops the run, images being written are finished, and told.

        Args:
            observe: told each outcome.
            journal: told each outcome before that. Images that it knows already, unchanged and
                with all their files, are not done again, but failures are.

        Raises:
            NetworkError: the network cannot be run at all.
            OutputUnavailableError: nothing more can be written (the disk is full, say).
        """
        architecture = self.explainer.network.architecture
        kind = "class" if architecture.activation.is_probability else "output"
        report = RunReport(names=ClassNames(self.explainer.labels, kind=kind))
        behind: deque[Future[Outcome]] = deque()

        def settle(oldest: Future[Outcome]) -> None:
            outcome = oldest.result()
            if journal is not None and outcome.fresh:
                journal.add(outcome.record)
            self._let_go()
            report.count(outcome.record, fresh=outcome.fresh)
            observe(outcome)

        with self._threads() as (readers, writers):
            try:
                for batch in self._read_ahead(readers, journal):
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

    @cached_property
    def stems(self) -> list[OutputStem]:
        """What the names of each image's files begin with."""
        keys = ["original", *(key for method in self.explainer.methods for key in method.drawings)]
        suffixes = [f"_{key}.png" for key in keys] + [".npz"] * self.arrays
        suffixes += ["_panel.png"] * self.panel
        suffixes += ["_contrast.png"] * bool(self.contrasts)
        several = bool(self.contrasts) or (self.panel and len(self.targets) > 1)
        return plan(self.sources, suffixes, numbered=self._numbered, several=several)

    @contextmanager
    def _threads(self) -> Iterator[tuple[Executor, Executor]]:
        """Those that read and those that write; OpenCV has none of its own meanwhile."""
        # The helpers are as many as there is room for; OpenCV's own threads would be in the way.
        opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        readers, writers = (
            helper_threads(self.helpers, name, _step_back) for name in ("read", "write")
        )
        try:
            yield readers, writers
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()
            cv2.setNumThreads(opencv_threads)

    def _read_ahead(
        self, readers: Executor, journal: Journal | None = None
    ) -> Iterator[list[_Loaded]]:
        """The images in batches; while one is used the next are being read."""
        waiting = iter(zip_longest(self.sources, self.stems, self.truths))
        ahead: deque[Future[_Loaded]] = deque()
        while True:
            wanted = self.batch_size * (1 if not self.helpers else 2) + self.helpers
            for source, stem, truth in islice(waiting, wanted - len(ahead)):
                ahead.append(readers.submit(self._load, source, stem, truth, journal))
            if not ahead:
                return
            batch = [ahead.popleft().result() for _ in range(min(self.batch_size, len(ahead)))]
            if any(loaded.known is None for loaded in batch):
                # A batch is done as a whole, so that it gives the same numbers as it would have
                # without an interruption; but what crashed is not touched again.
                batch = [
                    self._read(one) if one.known is not None and one.known.ok else one
                    for one in batch
                ]
            yield batch

    def _load(
        self, source: Source, stem: OutputStem, truth: int | None, journal: Journal | None
    ) -> _Loaded:
        """Read an image, unless it is done already."""
        loaded = _Loaded(source, stem, truth)
        if journal is not None:
            loaded = replace(loaded, sha256=digest(source.path))
            known = journal.find(str(stem.path))
            if known is not None and self._is_done(loaded, known):
                return replace(loaded, known=known)
            if known is not None and _is_another(loaded, known):
                self.displaced.append(known.path)
        return self._read(loaded)

    def _let_go(self) -> None:
        """The image in hand is done."""
        if self.state is not None:
            self.state.finish()

    def _is_done(self, loaded: _Loaded, known: ImageRecord) -> bool:
        """Whether a record still says what is so."""
        truth = known.ground_truth
        return (
            (known.ok or known.crashed)
            and loaded.sha256 is not None
            and known.sha256 == loaded.sha256
            and known.path == loaded.source.shown
            and (None if truth is None else truth.index) == loaded.truth
            and all(is_whole(self.folder / name) for name in known.files)
        )

    def _read(self, loaded: _Loaded) -> _Loaded:
        path = str(loaded.source.path)
        if path in self.crashed:
            told = f"the libraries that cnnviz uses crashed on it (signal {self.crashed[path]})"
            return replace(loaded, error=told, crashed=True)
        if self.state is not None:
            self.state.start(path)
        began = time.perf_counter()
        inside: tuple[Prepared, Canvas] | None = None
        error = None
        remarks: list[str] = []
        try:
            inside = load_image(
                loaded.source.path,
                self.explainer.spec,
                self.explainer.resize,
                self.style.size,
                max_pixels=self.max_pixels,
                remark=remarks.append,
            )
        except ItemError as problem:
            error = str(problem)
        except MemoryError:
            error = "there is not enough memory for this image; choose a smaller --size"
        return replace(
            loaded,
            inside=inside,
            error=error,
            remark=" ".join(remarks) or None,
            seconds=time.perf_counter() - began,
        )

    @property
    def _numbered(self) -> bool:
        """Whether the class index stands in the files' names."""
        return not is_default(self.targets)

    def _results(
        self, batch: Sequence[_Loaded], *, contrasts: bool = True
    ) -> Iterator[tuple[_Loaded, ImageResult | ItemError]]:
        """Explain what could be read of a batch."""
        ready = [loaded for loaded in batch if loaded.inside is not None]
        truths = [loaded.truth for loaded in ready]

        def bound(target: Target) -> TargetSpec:
            return lambda logits: target(logits, truths)

        explained = iter(
            self.explainer.explain_targets(
                [loaded.inside[0] for loaded in ready if loaded.inside is not None],
                [bound(target) for target in self.targets],
                self.tick,
                [(bound(pair.positive), bound(pair.negative)) for pair in self.contrasts]
                if contrasts
                else (),
            )
            if ready
            else ()
        )
        for loaded in batch:
            yield loaded, ItemError(loaded.error) if loaded.inside is None else next(explained)

    def _explain(self, batch: Sequence[_Loaded], writers: Executor) -> Iterator[Future[Outcome]]:
        """Explain a batch and have it written; the outcomes to come."""
        if all(loaded.known is not None for loaded in batch):
            for loaded in batch:
                yield writers.submit(_remembered, loaded)
            return
        began = time.perf_counter()
        results = list(self._results(batch))
        ready = sum(loaded.inside is not None for loaded in batch)
        share = (time.perf_counter() - began) / max(1, ready)
        for loaded, result in results:
            spent = loaded.seconds + (share if loaded.inside is not None else 0.0)
            if loaded.known is not None:
                yield writers.submit(_remembered, loaded)
            else:
                yield writers.submit(self._finish, loaded, result, spent)

    def _finish(self, loaded: _Loaded, result: ImageResult | ItemError, spent: float) -> Outcome:
        """Draw and write one image."""
        began = time.perf_counter()
        inside = loaded.inside
        record_as = partial(
            ImageRecord,
            stem=str(loaded.stem.path),
            path=loaded.source.shown,
            relative=loaded.source.relative.as_posix(),
            sha256=loaded.sha256,
            size=None if inside is None else inside[0].geometry.source,
            crashed=loaded.crashed,
            remark=loaded.remark,
        )
        try:
            if isinstance(result, ItemError):
                raise result
            record = self._write(record_as, loaded, result)
        except ItemError as problem:
            record = record_as(status="failed", error=str(problem))
        except MemoryError:
            told = "there is not enough memory to draw it; choose a smaller --size"
            record = record_as(status="failed", error=told)
        record = replace(record, seconds=round(spent + time.perf_counter() - began, 4))
        return Outcome(loaded.source, record)

    def _write(
        self, record_as: Callable[..., ImageRecord], loaded: _Loaded, findings: ImageResult
    ) -> ImageRecord:
        """Write one image's files; its record, from what was found and what is known already."""
        if loaded.inside is None:
            raise ValueError("an image that was not read cannot be written")
        base = loaded.inside[1]
        origin = replace(
            self.explainer.origin,
            image=loaded.source.relative.as_posix(),
            sha256=loaded.sha256,
        )
        found = [replace(one, origin=origin) for one in findings.explanations]
        with all_or_none() as written:
            output = _Files(self._output, loaded.stem, written, thumbnails=self.thumbnails)
            explanations = []
            panel: list[list[figures.Cell]] = []
            for explanation in found:
                rendered = explanation.render(base, self.style, self.reaches)
                number = explanation.target if self._numbered else None
                files = {}
                for key, pixels in rendered.images.items():
                    own = None if key == "original" else number  # the targets share it
                    told = describe(key, explanation)
                    files[key] = output.png(f"_{key}.png", pixels, told, own)
                if self.arrays:
                    told = describe("arrays", explanation)
                    files["arrays"] = output.npz(".npz", explanation.arrays(), told, number)
                explanations.append(_explanation_record(explanation, rendered, files))
                if self.panel:
                    panel += explanation.panel_cells(rendered)
            contrasts = [
                ContrastRecord(
                    *contrast.scores,
                    output.png(
                        "_contrast.png",
                        contrast.render(base, self.style),
                        replace(contrast, origin=origin).describe(),
                        (contrast.a, contrast.b),
                        figure=True,
                    ),
                )
                for contrast in findings.contrasts
            ]
            first = found[0]
            shown = None
            if self.panel:
                title = printable_path(str(loaded.source.relative))
                figure = figures.panel(title, panel, self.style.max_width)
                targets = tuple(one.target for one in found)
                numbers = targets if self._numbered else None
                told = describe("panel", *found)
                shown = output.png("_panel.png", figure, told, numbers, figure=True)
        prediction = assess(first.logits, loaded.truth, first.activation)
        return record_as(
            status="ok",
            top5=tuple(first.top(TOP)),
            ground_truth=None if loaded.truth is None else first.score(loaded.truth),
            correct=prediction.correct,
            loss=prediction.loss,
            margin=prediction.margin,
            relus_guided=first.relus,
            explanations=tuple(explanations),
            contrasts=tuple(contrasts),
            panel=shown,
        )

    @cached_property
    def _output(self) -> OutputFolder:
        return OutputFolder(self.folder, inputs=[source.path for source in self.sources])


def _helpers() -> int:
    """How many threads read, and write, beside those of the network.

    Who restricts the network to one of several cores wants the others left alone. Where there is
    only one core, a thread that waits for the disk still saves time.
    """
    if single_threaded() or threads() == 1 < available_cores():
        return 0
    return max(1, min(threads(), available_cores()) // 4)


def automatic_batch_size(
    explainer: Explainer, images: int, size: ImageSize = "default", free: int | None = None
) -> int:
    """How many images to put through the network together.

    The largest power of two, 8 at most, that is no more than there are images and whose memory
    fits into half of what is free. 1 for images written at full size, because how much memory
    those take that wait is not known beforehand.

    Args:
        explainer: the network.
        images: how many there are.
        size: the size at which they are written.
        free: bytes; None asks the system (:meth:`cnnviz.engines.base.Engine.free_memory`).
    """
    if size == "full":
        return 1
    if free is None:
        free = explainer.network.engine.free_memory(explainer.network.device)
    one = _BYTES_A_VALUE * sum(math.prod(layer.shape) for layer in explainer.network.layers)
    batch = 1
    while 2 * batch <= min(_MOST_TOGETHER, images) and 2 * (2 * batch * one) <= free:
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
    """An image that was read (what the network is fed, what is drawn on), or why not.

    ``known`` is the record of one that is done already.
    """

    source: Source
    stem: OutputStem
    truth: int | None
    sha256: str | None = None
    inside: tuple[Prepared, Canvas] | None = None
    error: str | None = None
    remark: str | None = None
    seconds: float = 0.0
    known: ImageRecord | None = None
    crashed: bool = False


def _is_another(loaded: _Loaded, known: ImageRecord) -> bool:
    """Whether a record is of another image whose files are in this one's place."""
    return known.path != loaded.source.shown and known.sha256 != loaded.sha256 and bool(known.files)


def _remembered(loaded: _Loaded) -> Outcome:
    assert loaded.known is not None  # who calls has looked
    return Outcome(loaded.source, loaded.known, fresh=False)


class _Files:
    """Writes one image's files, and puts their paths into ``written``."""

    def __init__(
        self, folder: OutputFolder, stem: OutputStem, written: list[Path], *, thumbnails: bool
    ) -> None:
        self._folder = folder
        self._stem = stem
        self._written = written
        self._thumbnails = thumbnails
        self._done: set[PurePosixPath] = set()

    def png(
        self,
        suffix: str,
        image: npt.NDArray[np.uint8],
        about: Mapping[str, Any],
        target: int | tuple[int, ...] | None = None,
        *,
        figure: bool = False,
    ) -> str:
        """Write an image once, and its thumbnail if it is no figure; its path below the folder."""
        name = self._stem.file(suffix, target)
        if name not in self._done:
            self._done.add(name)
            self._written.append(self._folder.write(name, encode_png(image, about)))
            if self._thumbnails and not figure:
                small = self._folder.write(
                    thumbnail_path(name), encode_jpeg(thumbnail(image), THUMBNAIL_QUALITY)
                )
                self._written.append(small)
        return str(name)

    def npz(
        self, suffix: str, arrays: Mapping[str, Any], about: Mapping[str, Any], target: int | None
    ) -> str:
        """Write arrays; their path below the folder."""
        name = self._stem.file(suffix, target)
        self._written.append(self._folder.write(name, encode_npz(arrays, about)))
        return str(name)


def _explanation_record(
    explanation: Explanation, rendered: RenderedExplanation, files: Mapping[str, str]
) -> ExplanationRecord:
    """One target's explanation as the manifest has it."""
    heat = explanation.heatmap
    location = None if heat is None else measure_location(heat, explanation.prepared)
    return ExplanationRecord(
        target=explanation.score(explanation.target),
        files=files,
        blank=rendered.blank,
        diagnostics=explanation.facts,
        ranges={
            name: (float(values.min()), float(values.max()))
            for name, values in explanation.all_maps().items()
        },
        location=None if location is None else _location_record(location),
    )


def _location_record(location: Location) -> LocationRecord:
    """Shares to six digits."""
    top_left, top_right, bottom_left, bottom_right = (round(one, 6) for one in location.corners)
    return LocationRecord(
        border=round(location.border, 6),
        corners=(top_left, top_right, bottom_left, bottom_right),
        box=location.box,
        heatmap=HeatmapRecord.of(location.map),
    )
