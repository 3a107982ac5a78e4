"""What an image costs beside its pixels: listing, planning, the journal, the merge, the report.

Run by hand::

    python tests/benchmarks/record_costs.py [--parts 64] [--each 2000]

Processor time of one thread, divided by the number of images, and the process's memory at its
peak. All images' files are one file with many names, so that listing is measured without a disk
that has to be waited for. The records are those that the embedded network writes for a real image,
with another name each; parts of a run are made of them, and merged. The thumbnails that the report
looks for are there, but their bytes are one file's as well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import common

import cnnviz
from cnnviz.images.sources import find_sources
from cnnviz.outputs.thumbnails import thumbnail_path
from cnnviz.report import build_report
from cnnviz.report.page import drawn_files
from cnnviz.report.parts import WHOLE
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.items import plan_items
from cnnviz.runs.keeping import Keeping
from cnnviz.runs.manifest import MANIFEST_FILE
from cnnviz.runs.merged import merge_manifest
from cnnviz.runs.reading import read_manifest
from cnnviz.runs.run_records import RunRecord
from cnnviz.runs.shards import Part
from cnnviz.runs.summary import RunReport

TOGETHER = 2  # images that share a pass
IN_FOLDER = 1000
MOST_LINKS = 60_000  # to one file; ext4 has 65,000


@contextmanager
def measured(what: str, images: int) -> Iterator[None]:
    """Print what the block takes."""
    began = time.process_time()
    yield
    spent = (time.process_time() - began) / images
    print(f"{what:32}{1e6 * spent:9.1f} us   {common.resident_mib('VmHWM'):6.0f} MiB", flush=True)


@dataclass(frozen=True)
class Model:
    """What a run of one photo writes.

    Attributes:
        run: the run's record.
        image: the image's.
        thumbnail: the bytes of one of its thumbnails.
    """

    run: RunRecord
    image: ImageRecord
    thumbnail: bytes

    @classmethod
    def made(cls, output: Path) -> Model:
        """By the command."""
        command = [sys.executable, "-m", "cnnviz", "explain", str(common.PHOTO), "--model", "demo"]
        options = ["--size", "model", "--report", "--quiet", "--output", str(output)]
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        manifest = read_manifest(output)
        (file, *_) = drawn_files(manifest.images)
        data = (output / thumbnail_path(file)).read_bytes()
        return cls(manifest.run, manifest.images[0], data)

    def record(self, stem: str) -> ImageRecord:
        """That of another image."""

        def named(files: Mapping[str, str]) -> dict[str, str]:
            return {key: f"{stem}_{key}.png" for key in files}

        explained = tuple(replace(one, files=named(one.files)) for one in self.image.explanations)
        return replace(
            self.image,
            stem=stem,
            path=f"images/{stem}.jpg",
            relative=f"{stem}.jpg",
            explanations=explained,
        )


def links(folder: Path, names: Iterable[str], data: bytes) -> None:
    """Files of these names, of the same bytes, of which there are as few copies as can be."""
    folder.mkdir()
    made = folder / "one"
    for number, name in enumerate(names):
        if number % MOST_LINKS == 0:
            made.unlink(missing_ok=True)
            made.write_bytes(data)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(made, path)
    made.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", type=int, default=64)
    parser.add_argument("--each", type=int, default=2000, help="images of a part, on average")
    options = parser.parse_args()
    if options.parts * options.each <= WHOLE:
        parser.error(f"give more than {WHOLE} images: reports of fewer are not in parts")
    print(common.machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options.parts, options.parts * options.each)


def measure(place: Path, count: int, images: int) -> None:
    """Do it all once."""
    model = Model.made(place / "model")
    explainer = cnnviz.load("demo", progress=False)
    names = [f"{number // IN_FOLDER:05}/{number}" for number in range(images)]
    links(place / "images", (f"{name}.jpg" for name in names), common.PHOTO.read_bytes())
    print(f"{images} images in {count} parts")
    print(f"{'':32}{'an image':>12}   peak so far")
    with measured("listing a folder", images):
        sources = find_sources([str(place / "images")]).sources
    with measured("dividing the list into parts", images):
        part_of = Part.all_of(count, sources, (None,) * images, TOGETHER)
    with measured("planning all names", images):
        plan_items(sources, explainer)
    output = place / "out"
    for part in map(part_of, range(1, count + 1)):
        write_part(model, part, [names[number] for number in part.places], output)
    size = sum(path.stat().st_size for path in output.glob("*.json"))
    print(f"{'':32}{size / images:9.0f} bytes in the parts' files")
    with measured("merging", images):
        merge_manifest(output, count)
    files = (str(file) for name in names for file in drawn_files([model.record(name)]))
    thumbnails = map(thumbnail_path, map(PurePosixPath, files))
    below = (str(path.relative_to("thumbnails")) for path in thumbnails)
    links(output / "thumbnails", below, model.thumbnail)
    with measured("building the report", images):
        build_report(output)
    size = sum(path.stat().st_size for path in (output / "report").iterdir())
    print(f"{'':32}{size / images:9.0f} bytes in the report's files")


def write_part(model: Model, part: Part, stems: list[str], output: Path) -> None:
    """Leave what a part leaves, with records in a journal first; the first one is measured."""
    keeping = Keeping(output, part)
    journal = keeping.journal(MANIFEST_FILE, model.run.fingerprint, stems)
    report = RunReport()
    first = measured if part.record.number == 1 else lambda *_: nullcontext()
    records = list(map(model.record, stems))
    with first("writing a journal", len(stems)):
        for record in records:
            journal.add(record)
            report.count(record, fresh=True)
    with first("a part's file from its journal", len(stems)):
        summary = report.record(None, 0, ())
        keeping.write(MANIFEST_FILE, model.run, summary, journal, stems)
    journal.close(done=True)


if __name__ == "__main__":
    main()
