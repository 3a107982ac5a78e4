"""``cnnviz explain`` on Ray nodes, over which workers, nodes and the driver itself are killed."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ray_nodes import Log, Nodes

from cnnviz.runs.run_index import image_in_line

BATCH = 2
OPTIONS = ("--model", "demo", "--method", "gradcam", "--size", "model", "--threads", "1")
PICTURE = "_gradcam.png"  # each image that can be read has one
#: What is killed, out of ten times.
VICTIMS = {"worker": 6, "node": 2, "driver": 2}
AT_ONCE = 0.25  # how often another kill follows without a pause
MERGING = ".cnnviz-merge.lock"
MERGED = 1e-4  # seconds an image: a merge takes longer
SETTLED = 15.0  # seconds until a process that is told to end has done so


@dataclass
class Process:
    """``cnnviz explain``, running or done.

    Attributes:
        peak: its resident size at its peak, in MiB.
        seconds: how long it took.
    """

    inputs: Path
    output: Path
    runner: str | None
    peak: float = 0.0
    seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "cnnviz", "explain", str(self.inputs), *OPTIONS]
        command += ["--batch-size", str(BATCH), "-o", str(self.output), "--quiet"]
        command += [] if self.runner is None else ["--runner", self.runner]
        self._said = self.output.with_name(f"{self.output.name}.stderr")
        with open(self._said, "ab") as said:
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)

    def runs(self) -> bool:
        """Whether it still runs; a look at its memory."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s*(\d+) kB", status)
            self.peak = max(self.peak, int(found[1]) / 1024 if found else 0.0)
        except OSError:  # it has just ended
            pass
        if self._process.poll() is None:
            return True
        self.seconds = self.seconds or time.monotonic() - self._began
        return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> Process:
        """Wait until it is done: all images are explained, but for broken ones."""
        while self.runs():
            time.sleep(0.1)
        if self._process.returncode not in (0, 1):
            said = self._said.read_text(errors="replace")[-2000:]
            raise SystemExit(f"cnnviz ended with status {self._process.returncode}:\n{said}")
        return self

    def stop(self) -> None:
        """Have it end, whatever it does."""
        self._process.terminate()
        try:
            self._process.wait(SETTLED)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def started(inputs: Path, output: Path, runner: str | None = None) -> Iterator[Process]:
    process = Process(inputs, output, runner)
    try:
        yield process
    finally:
        process.stop()


def journaled(folder: Path) -> set[str]:
    """Pictures of images that are done, by the records that stand in journals and parts."""
    found = set()
    for path in [*folder.glob(".cnnviz-journal.*"), *folder.glob("manifest.*")]:
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError:  # it has just gone
            continue
        records = map(image_in_line, lines[:-1])  # the last may not be whole
        found.update(f"{json.loads(text)['stem']}{PICTURE}" for _, text in filter(None, records))
    return found


@dataclass
class Killing:
    """A run over which something is killed again and again.

    Attributes:
        kills: how often each kind was killed.
        ended: how many workers ended by that.
        again: pictures that were written again though a journal had them.
    """

    cluster: Nodes
    log: Log
    chance: random.Random
    start: Callable[[], Process]
    kills: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    starts: int = 0
    done: list[tuple[float, set[str]]] = field(default_factory=list)

    def run(self, images: int, times: int) -> None:
        """Kill something after random numbers of images, and the driver once more at the end."""
        waits = [self.chance.random() * (self.chance.random() > AT_ONCE) for _ in range(times)]
        scale = 0.95 * images / max(sum(waits), 1)
        process = self._start()
        at = 0.0
        try:
            for wait in waits:
                at += wait * scale
                if not self._wait(process, at):
                    break
                time.sleep(self.chance.random())  # anywhere in an image
                process = self._kill(process, *self.chance.choices([*VICTIMS], [*VICTIMS.values()]))
            process = self._kill_merge(process, images)
            process.end()
        finally:
            process.stop()
        self.log.look()

    def _start(self) -> Process:
        self.starts += 1
        return self.start()

    def _wait(self, process: Process, images: float) -> bool:
        """Until so many images are written; whether the run is still going on."""
        while process.runs():
            self.log.look()
            if len({name for _, _, name in self.log.puts if name.endswith(PICTURE)}) >= images:
                return True
            time.sleep(0.2)
        return False

    def _kill_merge(self, process: Process, images: int) -> Process:
        """Kill the driver while it merges; its process from then on."""
        while process.runs():
            if (self.log.folder / MERGING).exists():
                time.sleep(self.chance.random() * MERGED * images)
                return self._kill(process, "driver that merges")
            time.sleep(0.002)
        return process

    def _kill(self, process: Process, victim: str) -> Process:
        """Kill something; the driver's process from then on."""
        if victim.startswith("driver"):
            self.ended += len(self.cluster.workers())
            process.kill()
            process = self._start()
        elif victim == "node":
            self.ended += self.cluster.kill_node(self.chance)
        else:
            self.ended += self.cluster.kill_worker(self.chance)
        self.kills[victim] += 1
        found = journaled(self.log.folder)
        self.done.append((time.monotonic(), found))
        print(f"  {sum(self.kills.values())}: {victim}, {len(found)} images done", flush=True)
        return process

    @property
    def again(self) -> set[str]:
        """Pictures that were written although a journal had their images."""
        return {
            name
            for at, found in self.done
            for when, _, name in self.log.puts
            if when > at and name in found
        }
