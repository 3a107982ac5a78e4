"""Runs on a Ray cluster: are files equal whatever happens, how fast is it, what does it cost?

Run by hand, on a machine that does nothing else, where ``cnnviz[ray]`` is installed::

    python tests/benchmarks/past_one_machine.py equal
    python tests/benchmarks/past_one_machine.py kills --seed 1
    python tests/benchmarks/past_one_machine.py throughput
    python tests/benchmarks/past_one_machine.py driver

The nodes are processes on this machine, of one core each (:mod:`ray_nodes`). The images are small,
made from a seed, some of them broken; the network is the embedded one. ``cnnviz explain`` runs as
a user runs it.

- ``equal``: a run without Ray, on one worker and on four; all files have to be equal, times aside.
- ``kills``: workers, nodes and the driver are killed, at random; the driver is started again each
  time. At the end nothing may be missing or different, nothing that stood in a journal may have
  been written again, and nothing else more often than workers had it in hand when they ended.
- ``throughput``: one worker and two, by turns: images a second once all workers are at work, and
  over all; a small folder without Ray, on a cluster that is there, and on one that has to start.
- ``driver``: the driver's memory over runs of few images and of many, none of which can be read.

Each can be run alone. With ``--folder`` the images stay, and so does what is known of the run
without Ray, which is then not made again. The exit status is 1 if something is not as it has to be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import common
import cv2
import numpy as np
from ray_kills import BATCH, PICTURE, Killing, Process, started
from ray_nodes import Log, Nodes, logged

SIDE = 64  # pixels
BROKEN = 500  # one image in so many
SAME = "equal"
GOAL = 1.8  # two workers by one
TIMES = re.compile(rb'"(?:seconds|started)": (?:"[^"]*"|[-0-9.e]+)')


def make_images(folder: Path, number: int) -> Path:
    """Write them, in folders of a thousand, unless they are there."""
    made = folder / f"images-{number}"
    if made.exists():
        return made
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    for place in range(number):
        path = unfinished / f"{place // 1000:03}" / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.RandomState(place).randint(0, 256, (6, 8, 3), np.uint8)
        pixels = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        data = cv2.imencode(".jpg", pixels, common.JPEG)[1].tobytes()
        path.write_bytes(data[: len(data) // 3] if place % BROKEN == BROKEN - 1 else data)
    unfinished.rename(made)
    return made


def digests(folder: Path) -> dict[str, str]:
    """Of all files of a run by their names, without times and the name of its folder."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if path.suffix == ".json":
                data = TIMES.sub(b"", data.replace(json.dumps(str(folder)).encode(), b'""'))
            found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def differences(found: dict[str, str], expected: dict[str, str]) -> str:
    """In words."""
    missing, more = expected.keys() - found.keys(), found.keys() - expected.keys()
    other = [name for name in expected.keys() & found.keys() if expected[name] != found[name]]
    if not (missing or more or other):
        return f"{SAME}: {len(expected)} files"
    some = ", ".join(sorted([*missing, *more, *other])[:5])
    return f"{len(missing)} files MISSING, {len(more)} MORE, {len(other)} DIFFERENT: {some} ..."


@dataclass(frozen=True)
class Bench:
    """A folder, with images and what a run without Ray makes of them."""

    place: Path
    number: int

    @property
    def images(self) -> Path:
        return make_images(self.place, self.number)

    def output(self, name: str) -> Path:
        """A folder that is not there, for a run."""
        path = self.place / name
        shutil.rmtree(path, ignore_errors=True)
        path.with_name(f"{name}.stderr").unlink(missing_ok=True)
        return path

    def expected(self) -> dict[str, str]:
        """The digests of a run without Ray."""
        known = self.place / f"local-{self.number}.json"
        if not known.exists():
            output = self.output("local")
            with started(self.images, output) as process:
                seconds = process.end().seconds
            print(f"without Ray: {seconds:.0f} s", flush=True)
            unfinished = known.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(digests(output)))
            unfinished.rename(known)
            shutil.rmtree(output)
        found: dict[str, str] = json.loads(known.read_text())
        return found


@contextmanager
def nodes(number: int) -> Iterator[Nodes]:
    cluster = Nodes(number)
    try:
        yield cluster
    finally:
        cluster.stop()


def equal(bench: Bench, options: argparse.Namespace) -> bool:
    """Whether files are the same without Ray, and with each number of workers."""
    expected = bench.expected()
    rows = []
    for number in options.workers:
        output = bench.output(f"ray-{number}")
        with (
            nodes(number) as cluster,
            started(bench.images, output, f"ray:{cluster.address}") as run,
        ):
            run.end()
        rows.append((number, run.seconds, run.peak, differences(digests(output), expected)))
        print(f"  {number} workers: {run.seconds:.0f} s", flush=True)
        if rows[-1][-1].startswith(SAME):
            shutil.rmtree(output)
    print(f"\n{bench.number} images\nworkers  seconds  driver's peak  files")
    for number, seconds, peak, said in rows:
        print(f"{number:7}  {seconds:7.0f}  {peak:9.0f} MiB  {said}")
    return all(row[-1].startswith(SAME) for row in rows)


def kills(bench: Bench, options: argparse.Namespace) -> bool:
    """Whether nothing is lost, different or done twice, whatever is killed."""
    expected = bench.expected()
    output = bench.output("killed")
    with logged(bench.place) as path, nodes(options.workers[-1]) as cluster:
        killing = Killing(
            cluster,
            Log(path, output),
            random.Random(options.seed),
            lambda: Process(bench.images, output, f"ray:{cluster.address}"),
        )
        began = time.monotonic()
        killing.run(bench.number, options.kills)
        seconds = time.monotonic() - began
    said = differences(digests(output), expected)
    written = Counter(name for _, _, name in killing.log.puts if name.endswith(PICTURE))
    twice = written.total() - len(written)
    allowed = BATCH * killing.ended
    killed = ", ".join(f"{number} x {victim}" for victim, number in killing.kills.items())
    print(f"\n{bench.number} images, seed {options.seed}, {seconds:.0f} s")
    print(f"killed:                     {killed}; {killing.ended} workers ended by that")
    print(f"the driver was started:     {killing.starts} times")
    print(f"in the end:                 {said}")
    print(f"written more than once:     {twice} images (in hand at most {allowed})")
    print(f"of these in a journal then: {len(killing.again)}")
    enough = killing.kills.total() > options.kills
    if not enough:
        print(f"the run was over before {options.kills} kills and one of the merge: more --images?")
    if said.startswith(SAME):
        shutil.rmtree(output)
    return said.startswith(SAME) and twice <= allowed and not killing.again and enough


def steady_rate(log: Log) -> float:
    """Images a second, from when all workers are at work until the first has nothing to do."""
    log.look()
    times: dict[int, list[float]] = {}
    for at, process, name in log.puts:
        if name.endswith(PICTURE):
            times.setdefault(process, []).append(at)
    begin, end = (max(one[0] for one in times.values()), min(one[-1] for one in times.values()))
    return sum(begin < at <= end for one in times.values() for at in one) / (end - begin)


def throughput(bench: Bench, options: argparse.Namespace) -> bool:
    """Print rates and what the engine costs."""
    rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    peak = 0.0
    neighbors = common.Neighbors()
    for turn in range(options.rounds):
        for number in sorted(rates, reverse=bool(turn % 2)):
            output = bench.output(f"rate-{number}")
            with (
                logged(bench.place) as path,
                nodes(number) as cluster,
                started(bench.images, output, f"ray:{cluster.address}") as run,
            ):
                run.end()
            rates[number].append((steady_rate(Log(path, output)), bench.number / run.seconds))
            peak = max(peak, run.peak)
            print(f"  {number}: {rates[number][-1][0]:.1f} images/s", flush=True)
            shutil.rmtree(output)
    said = neighbors.share()
    print(f"\n{bench.number} images; images a second\nworkers  at work           over all")
    for number, each in rates.items():
        steady, whole = (common.spread(column, 1) for column in zip(*each, strict=True))
        print(f"{number:7}  {steady:16}  {whole}")
    by_one = [
        [two[kind] / one[kind] for one, two in zip(rates[1], rates[2], strict=True)]
        for kind in (0, 1)
    ]
    print(f"{'2 by 1':>7}  {common.spread(by_one[0], 2):16}  {common.spread(by_one[1], 2)}")
    print(f"(goal {GOAL} at work, where there are cores for both and the driver)")
    print(f"driver's peak: {peak:.0f} MiB\n{said}")
    small(Bench(bench.place, options.small), options.rounds)
    return statistics.median(by_one[0]) >= GOAL


def small(bench: Bench, rounds: int) -> None:
    """Print what the engine costs where there is little to do."""
    times: dict[str, list[float]] = {"without Ray": [], "on a cluster": [], "on a new one": []}
    with nodes(1) as cluster:
        runners = (None, f"ray:{cluster.address}", "ray:local")
        for _ in range(rounds):
            for each, runner in zip(times.values(), runners, strict=True):
                with started(bench.images, bench.output("small"), runner) as run:
                    each.append(run.end().seconds)
    print(f"\n{bench.number} images; seconds, from the shell to the prompt")
    for name, each in times.items():
        print(f"{name:14}{common.spread(each, 1)}")


def driver(bench: Bench, options: argparse.Namespace) -> bool:
    """Print the driver's memory by the number of images."""
    peaks = {}
    for number in sorted(options.listed):
        inputs = bench.place / f"listed-{number}"
        for place in range(number):
            path = inputs / f"{place // 1000:03}" / f"{place}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\xff\xd8\xff nothing")
        output = bench.output("driver")
        with nodes(1) as cluster, started(inputs, output, f"ray:{cluster.address}") as run:
            run.end()
        peaks[number] = run.peak
        print(f"  {number} images: {run.peak:.0f} MiB, {run.seconds:.0f} s", flush=True)
        shutil.rmtree(inputs)
        shutil.rmtree(output)
    (few, low), *_, (many, high) = peaks.items()
    each = (high - low) * 2**20 / (many - few)
    print(f"\nimages   driver's peak\n{few:7}  {low:.0f} MiB\n{many:7}  {high:.0f} MiB")
    print(f"{each:.0f} bytes for each image more; {high / low:.2f} times as much (goal 1.1)")
    return high <= 1.1 * low


QUESTIONS = {"equal": equal, "kills": kills, "throughput": throughput, "driver": driver}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("--images", type=int, help="default: 20000; throughput: 3000")
    parser.add_argument("--folder", type=Path, help="where images stay; default: a temporary one")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4], help="kills: the last")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of what is killed, and when")
    parser.add_argument("--rounds", type=int, default=3, help="of throughput")
    parser.add_argument("--small", type=int, default=60, help="images of a small folder")
    parser.add_argument("--listed", type=int, nargs=2, default=[10_000, 200_000], help="of driver")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    print(common.machine(), flush=True)
    number = options.images or (3000 if options.question == "throughput" else 20_000)
    with tempfile.TemporaryDirectory() as temporary:
        place = options.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        bench = Bench(place.resolve(), number)
        raise SystemExit(0 if QUESTIONS[options.question](bench, options) else 1)


if __name__ == "__main__":
    main()
