"""One loop over images: read ahead, batches, write behind; one bad image never stops it.

What is done with each image is a :class:`Stage`. The loop feeds it: images are read ahead by
threads of their own, go through the network in batches, and are finished behind by other threads,
so that the network waits for neither. How many images are under way at once is bounded by the batch
size and the number of threads.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Generic, Protocol, TypeVar

import cv2

from cnnviz.errors import ExplanationError, ImageError, ItemError
from cnnviz.explainer import Explainer
from cnnviz.images.decode import MAX_PIXELS
from cnnviz.images.preprocessing import Canvas, ImageSize, Prepared
from cnnviz.machine import helper_threads
from cnnviz.runs.capacity import default_helpers, lower_priority
from cnnviz.runs.supervisor import WorkerState


@dataclass(frozen=True)
class Loader:
    """How images are read.

    Attributes:
        explainer: whose input they become.
        size: of what is kept to draw on.
        max_pixels: larger images are refused, before they are decoded.
    """

    explainer: Explainer
    size: ImageSize = "default"
    max_pixels: int = MAX_PIXELS


class StreamItem(Protocol):
    """An image that is still to be read."""

    @property
    def key(self) -> str:
        """What a crash on it is remembered by, a file's path."""

    def load(self, loader: Loader, remark: Callable[[str], None]) -> tuple[Prepared, Canvas]:
        """What the network is fed, and what is drawn on; the decoder's words go to ``remark``.

        Raises:
            ItemError: it cannot be read.
        """


ItemT = TypeVar("ItemT", bound=StreamItem)
ResultT = TypeVar("ResultT")
OutcomeT = TypeVar("OutcomeT")


@dataclass(frozen=True)
class LoadedImage(Generic[ItemT, OutcomeT]):
    """An image that was read, or why it was not.

    Attributes:
        item: the image.
        sha256: of its file, if a stage has asked for that.
        etag: what its storage calls that, see :meth:`cnnviz.storage.stored.Stored.etag`.
        known: what an earlier run made of it, if that still holds.
        decoded: what the network is fed, and what is drawn on; None if it was not read.
        error: then why.
        crashed: whether a library crashed on it, so that it must not be touched.
        remark: what the decoder said of it.
        seconds: spent on it so far.
        since: when the work in hand on it began, by ``time.perf_counter``.
    """

    item: ItemT
    sha256: str | None = None
    etag: str | None = None
    known: OutcomeT | None = None
    decoded: tuple[Prepared, Canvas] | None = None
    error: ItemError | None = None
    crashed: bool = False
    remark: str | None = None
    seconds: float = 0.0
    since: float | None = None

    @property
    def prepared(self) -> Prepared:
        """What the network is fed, of an image that was read."""
        return self._read[0]

    @property
    def canvas(self) -> Canvas:
        """What is drawn on, of an image that was read."""
        return self._read[1]

    @property
    def _read(self) -> tuple[Prepared, Canvas]:
        if self.decoded is None:
            raise ValueError(f"{self.item.key} was not read")
        return self.decoded

    @property
    def elapsed(self) -> float:
        """Seconds spent on it until now."""
        now = 0.0 if self.since is None else time.perf_counter() - self.since
        return round(self.seconds + now, 4)


class Stage(ABC, Generic[ItemT, ResultT, OutcomeT]):
    """What is done with each image."""

    def begin(self, item: ItemT) -> LoadedImage[ItemT, OutcomeT]:
        """What is known of an image before it is read. Called by threads that read."""
        return LoadedImage(item)

    @abstractmethod
    def compute(
        self, batch: Sequence[LoadedImage[ItemT, OutcomeT]]
    ) -> Iterable[ResultT | ItemError]:
        """Put images that were read through the network; for each its result, or its failure.

        Raises:
            NetworkError: the network cannot be run at all.
        """

    @abstractmethod
    def finish(self, image: LoadedImage[ItemT, OutcomeT], result: ResultT) -> OutcomeT:
        """Make an outcome of a result. Called by threads that write.

        Raises:
            ItemError: there is none.
            OutputUnavailableError: nothing more can be written (the disk is full, say).
        """

    @abstractmethod
    def failed(self, image: LoadedImage[ItemT, OutcomeT], error: ItemError) -> OutcomeT:
        """The outcome of an image that failed."""

    def settle(self, outcome: OutcomeT) -> None:
        """Take note of an outcome. Called in the order of the images, in the loop's thread."""


@dataclass(frozen=True)
class Stream:
    """Feeds images to a stage.

    Attributes:
        loader: how they are read.
        batch_size: images that share a pass.
        helpers: threads that read, and as many that finish; 0 does everything in turn; None: what
            suits the network's device.
        worker: which images crashed a worker before this one, and are not touched again; and, if it
            is an isolating one, where it reports the image in hand.
    """

    loader: Loader
    batch_size: int = 1
    helpers: int | None = None
    worker: WorkerState | None = None

    @cached_property
    def _isolating(self) -> WorkerState | None:
        return self.worker if self.worker is not None and self.worker.isolating else None

    @cached_property
    def _crashes(self) -> Mapping[str, str]:
        return {} if self.worker is None else self.worker.crashes()

    @property
    def _together(self) -> int:
        """Images of a batch: an isolating worker does one at a time."""
        return self.batch_size if self._isolating is None else 1

    @cached_property
    def _beside(self) -> int:
        """Threads of each kind: an isolating worker does everything in turn."""
        if self._isolating is not None:
            return 0
        if self.helpers is not None:
            return self.helpers
        return default_helpers(self.loader.explainer.network.device, self.loader.size)

    def run(
        self,
        stage: Stage[ItemT, ResultT, OutcomeT],
        items: Iterable[ItemT],
        observe: Callable[[OutcomeT], None] = lambda _outcome: None,
    ) -> None:
        """Do all of them; ``observe`` is called with each outcome, in order, once settled.

        Whatever stops the run, images that are being finished are settled and observed.

        Raises:
            NetworkError: the network cannot be run at all.
            OutputUnavailableError: nothing more can be written.
        """
        behind: deque[Future[OutcomeT]] = deque()

        def settle(oldest: Future[OutcomeT]) -> None:
            outcome = oldest.result()
            stage.settle(outcome)
            if self._isolating is not None:
                self._isolating.finish()
            observe(outcome)

        with self._threads() as (readers, writers):
            try:
                for batch in self._read_ahead(stage, items, readers):
                    behind.extend(self._compute(stage, batch, writers))
                    room = self._together + self._beside
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

    @contextmanager
    def _threads(self) -> Iterator[tuple[Executor, Executor]]:
        """Those that read and those that finish; OpenCV has none of its own meanwhile."""
        # The helpers are as many as there is room for; OpenCV's own threads would be in the way.
        opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        readers, writers = (
            helper_threads(self._beside, name, lower_priority) for name in ("read", "write")
        )
        try:
            yield readers, writers
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()
            cv2.setNumThreads(opencv_threads)

    def _read_ahead(
        self,
        stage: Stage[ItemT, ResultT, OutcomeT],
        items: Iterable[ItemT],
        readers: Executor,
    ) -> Iterator[list[LoadedImage[ItemT, OutcomeT]]]:
        """The images in batches; while one is used the next are being read."""
        waiting = iter(items)
        ahead: deque[Future[LoadedImage[ItemT, OutcomeT]]] = deque()
        while True:
            wanted = self._together * (2 if self._beside else 1) + self._beside
            for item in islice(waiting, wanted - len(ahead)):
                ahead.append(readers.submit(self._begin, stage, item))
            if not ahead:
                return
            batch = [ahead.popleft().result() for _ in range(min(self._together, len(ahead)))]
            if any(image.known is None for image in batch):
                # A batch is done as a whole, so that it gives the same numbers as it would have
                # without an interruption; but what crashed is not touched again.
                batch = [
                    self._load(image) if image.known is not None and not image.crashed else image
                    for image in batch
                ]
            yield batch

    def _begin(
        self, stage: Stage[ItemT, ResultT, OutcomeT], item: ItemT
    ) -> LoadedImage[ItemT, OutcomeT]:
        """Read an image, unless it is done already."""
        image = stage.begin(item)
        return image if image.known is not None else self._load(image)

    def _load(self, image: LoadedImage[ItemT, OutcomeT]) -> LoadedImage[ItemT, OutcomeT]:
        key = image.item.key
        if key in self._crashes:
            how = self._crashes[key]  # nobody knows of a process on another machine
            reason = f"the libraries that cnnviz uses crashed on it{how and f' ({how})'}"
            return replace(image, error=ImageError(reason), crashed=True)
        if self._isolating is not None:
            self._isolating.start(key)
        began = time.perf_counter()
        decoded: tuple[Prepared, Canvas] | None = None
        error: ItemError | None = None
        remarks: list[str] = []
        try:
            decoded = image.item.load(self.loader, remarks.append)
        except ItemError as problem:
            error = problem
        except MemoryError:
            error = ImageError("there is not enough memory for this image; choose a smaller --size")
        return replace(
            image,
            decoded=decoded,
            error=error,
            remark=" ".join(remarks) or None,
            seconds=time.perf_counter() - began,
        )

    @staticmethod
    def _compute(
        stage: Stage[ItemT, ResultT, OutcomeT],
        batch: Sequence[LoadedImage[ItemT, OutcomeT]],
        writers: Executor,
    ) -> Iterator[Future[OutcomeT]]:
        """Put a batch through the network and have it finished; the outcomes to come."""
        if all(image.known is not None for image in batch):
            for image in batch:
                yield writers.submit(_finish, stage, image, None)
            return
        began = time.perf_counter()
        ready = [image for image in batch if image.decoded is not None]
        computed = iter(stage.compute(ready) if ready else ())
        results = [None if image.decoded is None else next(computed) for image in batch]
        share = (time.perf_counter() - began) / max(1, len(ready))
        for image, result in zip(batch, results, strict=True):
            spent = image.seconds + (0.0 if image.decoded is None else share)
            yield writers.submit(_finish, stage, replace(image, seconds=spent), result)


def _finish(
    stage: Stage[ItemT, ResultT, OutcomeT],
    image: LoadedImage[ItemT, OutcomeT],
    result: ResultT | ItemError | None,
) -> OutcomeT:
    """One image's outcome: known already, made of its result, or a failure."""
    if image.known is not None:
        return image.known
    image = replace(image, since=time.perf_counter())
    try:
        if image.error is not None:
            raise image.error
        if isinstance(result, ItemError):
            raise result
        if result is None:
            raise ValueError(f"{image.item.key} was read, and has no result")
        return stage.finish(image, result)
    except ItemError as problem:
        return stage.failed(image, problem)
    except MemoryError:
        return stage.failed(
            image,
            ExplanationError("there is not enough memory to draw it; choose a smaller --size"),
        )
