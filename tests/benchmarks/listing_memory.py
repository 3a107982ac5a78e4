"""The memory of a run at its peak, by how many images it has: listing, names, journal, manifest.

Run by hand::

    python tests/benchmarks/listing_memory.py [--images 100,10000,50000,200000] [--in-memory]

A bucket of that many images is made up while it is listed, and beside each image there is another
file. In place of the work on the images each gets the record of one real image, under its own name;
all else is done as in a run. Each figure is the resident size of a process of its own at its peak;
the network takes most of it. Ways:

- ``run``: ``cnnviz explain`` in one process;
- ``again``: the same once more, with all images done;
- ``part``: ``--shard 1/64``;
- ``driver``: what hands out the parts with ``--runner ray``, and merges them (Ray itself is left
  out: its client takes about 100 MB);
- ``worker``: one worker that does all the parts of that.

``--in-memory`` has all lists in memory, for comparison.
"""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.merged import merge_manifest
from cnnviz.runs.parts import PartTask, PartWorker, number_of_parts
from cnnviz.runs.plan import RunPlan
from cnnviz.runs.reading import read_manifest
from cnnviz.runs.request import ExecutionOptions, MethodOptions, ModelOptions, RunRequest
from cnnviz.runs.shards import Shard
from cnnviz.runs.shared_lists import shared
from cnnviz.runs.stages import ImageOutcome
from cnnviz.runs.stream import Stream
from cnnviz.storage import spool
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.stores import Entry, Store

WAYS = ("run", "again", "part", "driver", "worker")
SAMPLE = Path(__file__).parents[2] / "sample_images"


def pretend(images: int, record: ImageRecord) -> None:
    """Have a bucket of so many images, and no work on them."""

    def entries(_store: Store, _relative: str) -> Iterator[Entry]:
        for number in range(images):
            yield Entry(f"class-{number % 1000:03}/image-{number:09}.jpg", 123_456, None)
            yield Entry(f"class-{number % 1000:03}/image-{number:09}.json", 123, None)

    def run(_stream, stage, items, observe=lambda _outcome: None) -> None:  # type: ignore[no-untyped-def]
        for item in items:
            stem = str(item.stem.path)
            known = stage.journal.find(stem)
            own = dataclasses.replace(
                record, stem=stem, path=item.source.shown, relative=str(item.source.relative)
            )
            outcome = ImageOutcome(own if known is None else known, fresh=known is None)
            stage.settle(outcome)
            observe(outcome)

    Store.entries = entries  # type: ignore[method-assign]
    RemotePath.kind = lambda _path: "folder"  # type: ignore[method-assign, assignment, return-value]
    Stream.run = run  # type: ignore[method-assign]


def plan_into(folder: Path, shard: Shard | None = None) -> RunPlan:
    """A run over the bucket."""
    request = RunRequest(
        ("s3://bucket/photos",),
        folder,
        ModelOptions("demo"),
        methods=MethodOptions(("gradcam",)),
        execution=ExecutionOptions(shard=shard, batch_size=8),
    )
    return RunPlan.check(request)


def measured(way: str, images: int, folder: Path, record: ImageRecord) -> None:
    """Do it; print the peak in MB."""
    pretend(images, record)
    if way == "driver":
        drive(images, folder)
    elif way == "worker":
        work(images, folder)
    else:
        shard = Shard(64, 1) if way == "part" else None
        plan_into(folder, shard).open(progress=False).explain(lambda _outcome: None)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def drive(images: int, folder: Path) -> None:
    """Hand out the parts to one worker, and merge them."""
    with shared(plan_into(folder)) as sent:
        folder.with_name("plan").write_bytes(pickle.dumps(sent.plan))
        command = [*sys.argv[:-4], "worker", *sys.argv[-3:]]
        with subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            sent.plan_names(pickle.loads(bytes.fromhex(worker.stdout.readline())))
            worker.stdin.close()
            folder.with_name("worker").write_text(worker.stdout.readline())
        merge_manifest(folder, number_of_parts(images, 8))


def work(images: int, folder: Path) -> None:
    """Do all parts, once the names are there."""
    count = number_of_parts(images, 8)
    worker = PartWorker(pickle.loads(folder.with_name("plan").read_bytes()), count)
    print(pickle.dumps(worker.open().planner).hex(), flush=True)
    sys.stdin.read()
    for number in range(1, count + 1):
        worker.do(PartTask(Shard(count, number)))


def main() -> None:
    """Measure, or do one of the things measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", default="100,10000,50000,200000")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--in-memory", action="store_true")
    parser.add_argument("measured", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.in_memory:
        spool.MOST_IN_MEMORY = sys.maxsize
    if asked.measured:
        way, images, folder, sample = asked.measured
        (record,) = read_manifest(Path(sample)).images
        measured(way, int(images), Path(folder), record)
        return
    ways = asked.ways.split(",")
    print("images", *(f"{way:>8}" for way in ways), "MB")
    with tempfile.TemporaryDirectory() as scratch:
        sample = Path(scratch, "sample")
        picture = next(path for path in SAMPLE.rglob("*") if path.suffix in (".jpg", ".png"))
        command = [sys.executable, "-m", "cnnviz", "explain", str(picture), "-m", "demo", "-q"]
        subprocess.run([*command, "--method", "gradcam", "-o", str(sample)], check=True)
        for images in map(int, asked.images.split(",")):
            print(f"{images:6}", end=" ", flush=True)
            for way in ways:
                print(
                    f"{peak(way, images, Path(scratch, str(images)), sample):8}",
                    end=" ",
                    flush=True,
                )
            print()


def peak(way: str, images: int, scratch: Path, sample: Path) -> int:
    """What a process of its own takes."""
    scratch.mkdir(exist_ok=True)
    if way == "worker" and (scratch / "worker").exists():
        return int((scratch / "worker").read_text())
    folder = scratch / {"again": "run"}.get(way, way)
    shared_options = ["--in-memory"] if "--in-memory" in sys.argv else []
    command = [__file__, *shared_options, way, str(images), str(folder), str(sample)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout)


if __name__ == "__main__":
    main()
