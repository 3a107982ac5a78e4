"""A folder of JPEGs against the engine's own rate and the cores' own rate; memory over a long run.

Run by hand, on a machine that does nothing else; the last for the memory::

    python tests/benchmarks/folder_rate.py
    python tests/benchmarks/folder_rate.py --stand-in 0.6 --small
    python tests/benchmarks/folder_rate.py --model demo --mixed --images 1000 --rounds 1

In each round, in one process, it measures the engine alone (:meth:`cnnviz.Explainer.explain` on
batches that are ready in memory), the cores alone (reading, rendering, encoding and writing, with
results that are ready, by as many threads as there are cores), and a run over the folder as
``cnnviz explain`` makes it; it prints the run's rate by that of the slower of the two. The clock of
the run starts before the first image is read and stops when the last file is written; loading the
network is not in it. The images written are deleted as soon as they are there, so that a long run
fills no disk.

``--stand-in MS`` puts an engine in the network's place that takes so many milliseconds an image and
no core: what a GPU does. Its results are those of the first image.

Every image file has bytes of its own kind (``--kinds`` different ones); the others are links to
these, which costs disk, not decoding.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import common
import cv2

import cnnviz
from cnnviz.engines.base import Device
from cnnviz.explanation import ImageResult
from cnnviz.images.source import Source
from cnnviz.machine import available_cores, keep_freed_memory
from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import IMAGE_FORMATS
from cnnviz.rendering.style import Style
from cnnviz.runs.capacity import automatic_batch_size, default_helpers, lower_priority
from cnnviz.runs.image_files import ImageWriter
from cnnviz.runs.items import Item, plan_items
from cnnviz.runs.journal import Journal
from cnnviz.runs.manifest import MANIFEST_FILE
from cnnviz.runs.request import OutputOptions
from cnnviz.runs.stages import Explain, Goals, ImageOutcome
from cnnviz.runs.stream import LoadedImage, Loader, Stream

#: (width, height); ``--mixed`` goes through MIXED again and again.
SMALL = ((500, 375), (640, 480), (64, 48), (333, 500))
HUGE = (12000, 8000)
MIXED = (common.TWELVE_MEGAPIXELS, *SMALL, common.TWELVE_MEGAPIXELS, *SMALL, HUGE, *SMALL)
GOAL = 0.85
EVERY = 100


def make_images(folder: Path, sizes: list[tuple[int, int]], kinds: int) -> list[Source]:
    """Write as many JPEGs as there are sizes; ``kinds`` of each size, the others being links."""
    made: dict[tuple[tuple[int, int], int], Path] = {}
    sources = []
    for number, size in enumerate(sizes):
        path = folder / f"image{number:05}.jpg"
        kind = (size, number % (1 if size == HUGE else kinds))
        if kind in made:
            os.link(made[kind], path)
        else:
            pixels = common.photo_like(size, number)
            if not cv2.imwrite(str(path), pixels, common.JPEG):
                raise OSError(f"{path} could not be written")
            made[kind] = path
        sources.append(Source(path, path.name, PurePath(path.name)))
    return sources


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class StandIn(Explain):
    """Explains every image as the first, after a while in which no core is busy.

    Attributes:
        result: what it says.
        seconds: the while, for each image.
    """

    result: ImageResult | None = None
    seconds: float = 0.0

    def compute(self, batch: Sequence[LoadedImage[Item, ImageOutcome]]) -> Iterator[ImageResult]:
        time.sleep(self.seconds * len(batch))
        return map(self.given, batch)

    def given(self, image: LoadedImage[Item, ImageOutcome]) -> ImageResult:
        """The result, placed in this image."""
        assert self.result is not None
        found = self.result.explanations
        return ImageResult(tuple(replace(one, prepared=image.prepared) for one in found))


@dataclass(frozen=True)
class Folder:
    """What is measured: a folder of images, and how it is explained."""

    sources: Sequence[Source]
    explainer: Any
    output: Path
    style: Style
    files: OutputOptions
    batch: int
    helpers: int
    stand_in: float | None

    @property
    def loader(self) -> Loader:
        return Loader(self.explainer, self.style.size)

    @property
    def items(self) -> list[Item]:
        return plan_items(self.sources, self.explainer, files=self.files)

    def prepared(self) -> list[Any]:
        """A batch, ready in memory."""
        given = (self.sources[place % len(self.sources)] for place in range(self.batch))
        return [self.explainer.prepare(cnnviz.read_image(source.path)) for source in given]

    def stage(self, kind: type[Explain] = Explain, **more: Any) -> Explain:
        writer = ImageWriter(OutputFolder(self.output), self.style, self.files.format)
        return kind(self.explainer, writer, **more)

    def engine_seconds(self, rounds: int) -> float:
        """Seconds an image of the engine alone."""
        if self.stand_in is not None:
            return self.stand_in
        prepared = self.prepared()
        times = [common.seconds(lambda: self.explainer.explain(prepared)) for _ in range(rounds)]
        return statistics.median(times[1:]) / self.batch

    def cores_seconds(self, result: ImageResult, watch: Watch, threads: int) -> float:
        """Seconds an image of all but the engine, by so many threads."""
        stage = self.stage(StandIn, result=result)
        loader = self.loader

        def do(item: Item) -> None:
            image = LoadedImage(item, decoded=item.load(loader, print))
            watch(stage.finish(image, stage.given(image)))

        with ThreadPoolExecutor(threads, initializer=lower_priority) as pool:  # as in a run
            return common.seconds(lambda: list(pool.map(do, self.items))) / len(self.sources)

    def run_seconds(self, result: ImageResult, watch: Watch) -> float:
        """Seconds an image of the whole run."""
        journal = Journal(MANIFEST_FILE, self.output, "benchmark", force=True)
        if self.stand_in is None:
            stage = self.stage(journal=journal)
        else:
            stage = self.stage(StandIn, journal=journal, result=result, seconds=self.stand_in)
        stream = Stream(self.loader, self.batch, self.helpers)
        took = common.seconds(lambda: stream.run(stage, self.items, watch))
        journal.close(done=True)
        return took / len(self.sources)


class Watch:
    """Told each outcome: counts, deletes what was written, notes the resident size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resident: dict[int, float] = {}
        self.done = 0
        self.written = 0
        self._lock = threading.Lock()

    def __call__(self, outcome: ImageOutcome) -> None:
        if not outcome.record.ok:
            raise SystemExit(f"{outcome.record.path}: {outcome.record.error}")
        written = 0
        for path in map(self.folder.joinpath, outcome.record.files):
            written += path.stat().st_size
            path.unlink()
        with self._lock:
            self.written += written
            self.done += 1
            if self.done % EVERY == 0:
                self.resident[self.done] = common.resident_mib()
                print(f"  {self.done:5} images, {self.resident[self.done]:.0f} MiB resident")


def measure(folder: Folder, watch: Watch, rounds: int) -> None:
    """Print the three rates and their ratio."""
    cores = available_cores()
    (result,) = Goals().explain(folder.explainer, folder.prepared()[:1], [None])
    assert isinstance(result, ImageResult)
    found = []
    used = cpu_seconds()
    for _ in range(rounds):
        engine = folder.engine_seconds(10)
        host = folder.cores_seconds(result, watch, cores)
        before = cpu_seconds()
        run = folder.run_seconds(result, watch)
        used = (cpu_seconds() - before) / len(folder.sources)
        found.append((engine, host, run, max(engine, host) / run))
    *columns, ratios = zip(*found, strict=True)
    names = ("the engine alone", "the cores alone", "the run")
    for name, column in zip(names, columns, strict=True):
        print(f"{name:20}{common.spread([1e3 * each for each in column], 1)} ms an image")
    print(f"{'':20}{1e3 * used:.1f} ms of processor time in the last run")
    print(f"the run's rate by that of the slower: {common.spread(ratios)} (goal {GOAL})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="vgg16", help="vgg16, another VGG, or demo")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--mixed", action="store_true", help="from 64x48 to 96 megapixels")
    parser.add_argument("--small", action="store_true", help="500x375, not 12 megapixels")
    parser.add_argument("--kinds", type=int, default=8)
    parser.add_argument("--batch-size", default="2", help="a number, or auto")
    parser.add_argument("--helpers", type=int, help="threads that read, and that write; 0: none")
    parser.add_argument("--stand-in", type=float, metavar="MS", help="of an engine without cores")
    parser.add_argument("--size", default="default", help="of the images written, as in explain")
    parser.add_argument("--format", default="png", choices=IMAGE_FORMATS)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(common.machine())
    neighbors = common.Neighbors()
    sizes = MIXED if options.mixed else SMALL[:1] if options.small else (common.TWELVE_MEGAPIXELS,)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "images").mkdir()
        sources = make_images(
            place / "images",
            [sizes[number % len(sizes)] for number in range(options.images)],
            options.kinds,
        )
        model = "demo" if options.stand_in is not None else options.model
        weights = None
        if model != "demo":
            weights = common.write_weights(place / "weights.params", model)
        keep_freed_memory()  # as the command does
        explainer = cnnviz.load(model, weights=weights, progress=False)
        size = int(options.size) if options.size.isdigit() else options.size
        if options.batch_size == "auto":
            batch = automatic_batch_size(explainer, len(sources))
        else:
            batch = int(options.batch_size)
        device = Device("cpu" if options.stand_in is None else "gpu")
        helpers = default_helpers(device, size) if options.helpers is None else options.helpers
        folder = Folder(
            sources,
            explainer,
            place / "out",
            Style(size),
            OutputOptions(format=options.format),
            batch,
            helpers,
            None if options.stand_in is None else options.stand_in / 1e3,
        )
        print(
            f"{model}, {options.images} images, batches of {batch}, {helpers} + {helpers} threads"
        )
        print(f"  resident before the run: {common.resident_mib():.0f} MiB")
        watch = Watch(place / "out")
        cv2.setNumThreads(1)
        measure(folder, watch, options.rounds)
    print(f"  {watch.written / watch.done / 1e6:.2f} MB written an image")
    print(f"resident size at its peak: {common.resident_mib('VmHWM'):.0f} MiB")
    if len(watch.resident) > 1:
        first, *_, last = watch.resident.items()
        grown = last[1] / first[1] - 1
        print(f"resident after {last[0]} images by that after {first[0]}: {grown:+.1%} (goal 5 %)")
    print(neighbors.share())


if __name__ == "__main__":
    main()
