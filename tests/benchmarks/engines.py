"""PyTorch's engine against MXNet's on the CPU: all four outputs, ratios in one run.

    python tests/benchmarks/engines.py [--networks vgg16,resnet50_v1] [--batches 1,8] [--threads 1]

Random weights. Each engine lives in a process of its own, since two frameworks in one would share
OpenMP, and is told its turn over a pipe. Logits, activations, the true gradient at the default
layer and the guided gradient at the input are compared first; then the two take turns, and each
ratio is taken round by round. Beside the seconds on the clock stand those of the processor, which
say more where others use the machine, with one thread.
Exits with 1 if anything disagrees.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

#: Relative L2; of the images the median, since a ReLU's input within rounding of 0 may flip.
TOLERANCES = {"logits": 1e-5, "activations": 1e-5, "gradient": 1e-4, "guided": 1e-3}
#: A flip changes gradients by no more than about so much.
FLIP = 2e-2
#: Between two turns, for OpenMP's threads of the one before to stop spinning.
PAUSE = 0.05
GOAL = 1.15
CONTENDERS = ("mxnet", "torch")
NETWORKS = "vgg16,resnet50_v1,mobilenetv2_1.0,densenet121,squeezenet1.1"


# --- in an engine's own process ------------------------------------------------------------------


def work(name: str, precision: str) -> None:
    """Answer the parent's lines until its pipe closes.

    ``NETWORK COUNT FILE`` sets up and saves all outputs, ``time`` makes them once more.
    """
    import networks

    from cnnviz import machine
    from cnnviz.engines.base import Device
    from cnnviz.engines.registry import build_engine
    from cnnviz.graph.graph import Value

    machine.keep_freed_memory()  # as the command does
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    loaded = ""
    for line in sys.stdin:
        reply: Any = None
        if line.strip() != "time":
            model, count, file = line.split()
            if model != loaded:
                architecture, parameters = networks.network(model)
                at = Value(architecture.default_layer.index)
                graph = architecture.graph
                engine = build_engine(graph, parameters, Device("cpu"), name, precision)
                loaded = model
            batch = networks.images(graph, int(count))
            outputs = networks.maps(engine, batch, at)
            np.savez(file, **dict(zip(TOLERANCES, outputs, strict=True)))
        else:
            began, busy = time.perf_counter(), time.process_time()
            networks.maps(engine, batch, at)
            reply = (time.perf_counter() - began, time.process_time() - busy)
        print(json.dumps(reply), file=replies, flush=True)


# --- in the parent -------------------------------------------------------------------------------


class Worker:
    """An engine in its own process."""

    def __init__(self, engine: str, threads: int, precision: str) -> None:
        self.engine = engine
        command = [sys.executable, __file__, "--worker", engine]
        if engine == "torch":
            command += ["--precision", precision]
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )

    def ask(self, command: str) -> Any:
        """Send a line and read the answer.

        Raises:
            SystemExit: the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.engine} ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def distances(found: Sequence[Mapping[str, np.ndarray]]) -> tuple[str, bool]:
    """How far the engines are apart, and whether they agree."""
    import networks

    said, good = [], True
    for what, most in TOLERANCES.items():
        each = sorted(map(networks.apart, found[1][what], found[0][what]))
        most_of_median = FLIP if what == "guided" and len(each) < 3 else most
        good &= each[len(each) // 2] < most_of_median and each[-1] < FLIP
        said.append(f"{what} {each[len(each) // 2]:.0e}")
    return ", ".join(said), good


def compare(workers: Sequence[Worker], name: str, images: int, rounds: int, folder: Path) -> bool:
    """Compare and time both with one network and size of batch; whether they agree."""
    import common

    found = []
    for worker in workers:
        file = folder / f"{worker.engine}.npz"
        worker.ask(f"{name} {images} {file}")
        with np.load(file) as archive:
            found.append(dict(archive))
    said, good = distances(found)
    times: list[list[Sequence[float]]] = [[] for _ in workers]
    for turn in range(-1, rounds):
        for place in range(len(workers)):
            which = (turn + place) % len(workers)
            time.sleep(PAUSE)
            took = workers[which].ask("time")
            if turn >= 0:
                times[which].append(took)
    clock, processor = (
        common.spread(common.ratios(*([took[kind] for took in own] for own in reversed(times))), 2)
        for kind in (0, 1)
    )
    milliseconds = "".join(
        f"{1000 * float(np.median([took[0] for took in own])) / images:9.1f}" for own in times
    )
    print(
        f"{name:16}{images:3}{milliseconds}   {clock:18} {processor:18} "
        f"{said}{'' if good else '  TOO FAR APART'}",
        flush=True,
    )
    return good


def main() -> int:
    """Compare and time; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="by default, all cores")
    parser.add_argument("--precision", default="fp32", help="of PyTorch's engine")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.precision)
        return 0
    import common

    from cnnviz.machine import available_cores

    threads = options.threads or available_cores()
    print(common.machine())
    print(f"{threads} threads, {options.rounds} rounds; torch by mxnet, goal {GOAL}\n")
    print(
        f"{'ms an image':19}{'mxnet':>9}{'torch':>9}   {'ratio':18} {'of processor time':18} apart"
    )
    workers = [Worker(engine, threads, options.precision) for engine in CONTENDERS]
    with tempfile.TemporaryDirectory() as folder:
        agreed = [
            compare(workers, name, int(images), options.rounds, Path(folder))
            for name in options.networks.split(",")
            for images in options.batches.split(",")
        ]
    for worker in workers:
        worker.close()
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    sys.exit(main())
