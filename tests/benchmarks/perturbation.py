"""What occlusion, RISE and Score-CAM take by the forward passes that they make, on the CPU.

    python tests/benchmarks/perturbation.py [--networks mobilenetv2_1.0] [--engine torch]

Random weights. In each round forward passes of a batch of 64, made as methods make them, stand
before and after each method; its ratio is that of the passes in it by all its time. On a machine
that others use the ratio of processor times says more; both are printed. What a method does beside
the network takes as long beside a GPU (`gpu.py`), where passes take less.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import common
import networks

from cnnviz.attribution import ModelQueries, choose_methods
from cnnviz.attribution.context import collect
from cnnviz.engines.base import Device
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine
from cnnviz.machine import keep_freed_memory

BATCH = 64
METHODS = ("occlusion", "rise", "scorecam")
GOAL = 0.8
#: Channels of the layer that Score-CAM looks at: each is a pass.
MOST_CHANNELS = 160


def spent(work: Callable[[], object]) -> np.ndarray:
    """Seconds on the clock and of the processor."""
    began, busy = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - began, time.process_time() - busy])


def measure(name: str, kind: str, masks: int, rounds: int) -> None:
    """Print a network's ratios, by an engine."""
    architecture, parameters = networks.network(name)
    engine = build_engine(architecture.graph, parameters, Device("cpu"), kind)
    network = Network(architecture, engine)
    layer = [one for one in network.layers if one.is_spatial and one.shape[0] <= MOST_CHANNELS][-1]
    batch = networks.images(architecture.graph, BATCH)

    def forward() -> object:
        return network.run(batch).logits

    forward()
    for method in choose_methods(METHODS, {"masks": masks}):
        passes = method.passes(batch.shape[1:], layer).forwards
        ratios = []
        before = spent(forward)
        for _ in range(rounds):
            ((context,),) = collect(
                ModelQueries(network), batch[:1], [[networks.TARGET]], [layer], [method]
            )
            took = spent(lambda method=method, context=context: method.attribute(context))
            after = spent(forward)
            ratios.append((before + after) / 2 / BATCH * passes / took)
            before = after
        clock, processor = zip(*ratios, strict=True)
        print(
            f"{name:16} {kind:6} {method.name:10} {passes:5} passes  {common.spread(clock, 2)}"
            f"   of processor time {common.spread(processor, 2)}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default="mobilenetv2_1.0")
    parser.add_argument("--engine", default="mxnet", choices=("mxnet", "torch"))
    parser.add_argument("--masks", type=int, default=189, help="with three more: three batches")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(common.machine())
    print(f"the passes' time by the method's, goal {GOAL}")
    neighbors = common.Neighbors()
    keep_freed_memory()  # as the command does
    for name in options.networks.split(","):
        measure(name, options.engine, options.masks, options.rounds)
    print(neighbors.share())


if __name__ == "__main__":
    main()
