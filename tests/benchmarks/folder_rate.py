"""A folder of 12-megapixel JPEGs against the engine's own rate, and memory over a long run.

Run by hand, on a machine that does nothing else::

    python tests/benchmarks/folder_rate.py                               # the rate
    python tests/benchmarks/folder_rate.py --model demo --mixed --images 1000   # the memory

In one process it measures the engine alone (:meth:`cnnviz.Explainer.explain` on batches that are
ready in memory), then a run over the folder as ``cnnviz explain`` makes it, then the engine again,
and prints the run's rate by the engine's. The clock of the run starts before the first image is
read and stops when the last file is written; loading the network is not in it. The images written
are deleted as soon as they are there, so that a long run fills no disk.

Every image file has bytes of its own kind (``--kinds`` different ones); the others are links to
these, which costs disk, not decoding.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path, PurePath
from typing import Any

import common
import cv2

import cnnviz
from cnnviz.images.sources import Source
from cnnviz.machine import keep_freed_memory
from cnnviz.outputs.files import OutputFolder
from cnnviz.runs.capacity import automatic_batch_size, default_helpers
from cnnviz.runs.image_files import ImageWriter
from cnnviz.runs.manifest import Journal
from cnnviz.runs.stages import Explain, ImageOutcome, plan_items
from cnnviz.runs.stream import Loader, Stream

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


def engine_seconds(explainer: Any, sources: list[Source], batch: int, rounds: int) -> float:
    """Seconds an image of the engine alone, on batches that are ready in memory."""
    prepared = [
        explainer.prepare(cnnviz.read_image(sources[place % len(sources)].path))
        for place in range(batch)
    ]
    times = [common.seconds(lambda: explainer.explain(prepared)) for _ in range(rounds + 1)]
    return statistics.median(times[1:]) / batch


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Watch:
    """Told each outcome: counts, deletes what was written, notes the resident size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resident: dict[int, float] = {}
        self.done = 0
        self.written = 0

    def __call__(self, outcome: ImageOutcome) -> None:
        if not outcome.record.ok:
            raise SystemExit(f"{outcome.record.path}: {outcome.record.error}")
        for path in map(self.folder.joinpath, outcome.record.files):
            self.written += path.stat().st_size
            path.unlink()
        self.done += 1
        if self.done % EVERY == 0:
            self.resident[self.done] = common.resident_mib()
            print(f"  {self.done:5} images, {self.resident[self.done]:.0f} MiB resident")


def main() -> None:
    parser = argparse.ArgumentParser(description="a folder's rate by the engine's; memory")
    parser.add_argument("--model", default="vgg16", help="vgg16, another VGG, or demo")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--mixed", action="store_true", help="from 64x48 to 96 megapixels")
    parser.add_argument("--kinds", type=int, default=8)
    parser.add_argument("--batch-size", default="2", help="a number, or auto")
    parser.add_argument("--helpers", type=int, help="threads that read, and that write; 0: none")
    parser.add_argument("--rounds", type=int, default=9, help="of the engine, before and after")
    options = parser.parse_args()
    print(common.machine())
    neighbors = common.Neighbors()
    sizes = MIXED if options.mixed else (common.TWELVE_MEGAPIXELS,)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        images.mkdir()
        sources = make_images(
            images,
            [sizes[number % len(sizes)] for number in range(options.images)],
            options.kinds,
        )
        weights = None
        if options.model != "demo":
            weights = common.write_weights(folder / "weights.params", options.model)
        keep_freed_memory()  # as the command does
        explainer = cnnviz.load_explainer(options.model, weights=weights, progress=False)
        if options.batch_size == "auto":
            batch = automatic_batch_size(explainer, len(sources))
        else:
            batch = int(options.batch_size)
        before = engine_seconds(explainer, sources, batch, options.rounds)
        print(f"{options.model}, {options.images} images, batches of {batch}")
        print(f"  resident before the run: {common.resident_mib():.0f} MiB")
        watch = Watch(folder / "out")
        helpers = default_helpers() if options.helpers is None else options.helpers
        stream = Stream(Loader(explainer), batch, helpers)
        used, began = cpu_seconds(), time.perf_counter()
        journal = Journal(folder / "out", "benchmark")
        writer = ImageWriter(OutputFolder(folder / "out"))
        stage = Explain(explainer, writer, journal=journal)
        stream.run(stage, plan_items(sources, explainer), watch)
        journal.close(done=True)
        took = (time.perf_counter() - began) / options.images
        used = (cpu_seconds() - used) / options.images
        after = engine_seconds(explainer, sources, batch, options.rounds)

    engine = (before + after) / 2
    print(f"engine alone: {before:.3f} s an image before, {after:.3f} s after the run")
    print(f"the run: {took:.3f} s an image, {1 / took:.2f} images/s, {used:.3f} core-seconds")
    print(f"  {watch.written / options.images / 1e6:.2f} MB written an image")
    print(f"the run's rate by the engine's: {engine / took:.1%} (goal {GOAL:.0%})")
    print(f"resident size at its peak: {common.resident_mib('VmHWM'):.0f} MiB")
    if len(watch.resident) > 1:
        first, *_, last = watch.resident.items()
        grown = last[1] / first[1] - 1
        print(f"resident after {last[0]} images by that after {first[0]}: {grown:+.1%} (goal 5 %)")
    print(neighbors.share())


if __name__ == "__main__":
    main()
