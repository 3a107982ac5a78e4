"""What faithfulness metrics take beside the passes that they ask for, on the CPU.

    python tests/benchmarks/metrics.py [--engine torch]

Insertion and deletion of one VGG-16 image, 28 steps each, by the time of 56 forward passes in
batches as large as theirs, which stand before and after in each round. Then the imputations of
ROAD for one image of 224×224 pixels, all seven shares in both orders, in the threads that the
network's batches are made in: for maps of coarse cells, of fine grain, and of independent values.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import common
import cv2
import networks
from perturbation import spent

from cnnviz.attribution.queries import ModelQueries, helpers
from cnnviz.engines.base import Device
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine
from cnnviz.engines.target_functions import ClassLogit
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import prepare
from cnnviz.machine import keep_freed_memory
from cnnviz.metrics.base import Case, Subject
from cnnviz.metrics.imputation import impute
from cnnviz.metrics.pixel_curves import Deletion, Insertion
from cnnviz.metrics.road import SHARES

PASSES = 56


def subject(values: np.ndarray) -> Subject:
    """A map that is not made anew."""
    return Subject(
        "drawn", "drawn", values.astype(np.float32), lambda inputs, _target: inputs[:, 0]
    )


def drawn_maps() -> dict[str, np.ndarray]:
    """Maps of 224×224 by what they are like."""
    random = np.random.default_rng(0)
    grain = cv2.GaussianBlur(random.standard_normal((224, 224)), (0, 0), 1.0)
    coarse, positive = random.random((14, 14)), random.standard_normal((7, 7))
    return {
        "14×14 cells": cv2.resize(coarse, (224, 224)),
        "7×7 cells, half of them 0": np.maximum(cv2.resize(positive, (224, 224)), 0),
        "fine grain": np.abs(grain),
        "independent values": random.random((224, 224)),
    }


def measure_curves(kind: str, rounds: int) -> None:
    """Print both curves' time by that of the passes."""
    architecture, parameters = networks.network("vgg16")
    network = Network(
        architecture, build_engine(architecture.graph, parameters, Device("cpu"), kind)
    )
    photo = cv2.cvtColor(cv2.imread(str(common.PHOTO)), cv2.COLOR_BGR2RGB)
    spec = InputSpec()
    prepared = prepare(photo, spec)
    image = prepared.input
    logits = network.logits(image[None])[0]
    target = ClassLogit(networks.TARGET)
    queries = ModelQueries(network)
    sizes = [len(batch) for batch in queries._batches([image] * PASSES, network.layers)]
    batches = {size: np.repeat(image[None], size, axis=0) for size in sizes}

    def forward() -> None:
        for size in sizes:
            assert len(network.run(batches[size]).logits) == size

    def curves() -> None:
        case = Case(prepared, logits, target, spec, ModelQueries(network))
        values = subject(drawn_maps()["14×14 cells"])  # whose order is found anew, too
        for metric in (Deletion(), Insertion()):
            metric.measure(case, values)

    network.run(batches[sizes[0]])
    ratios = []
    before = spent(forward)
    for _ in range(rounds):
        took = spent(curves)
        after = spent(forward)
        ratios.append(took / ((before + after) / 2))
        before = after
    clock, processor = zip(*ratios, strict=True)
    print(
        f"vgg16 {kind}: deletion and insertion, 28 steps each, by {PASSES} passes in batches of "
        f"{max(sizes)}: {common.spread(clock)}   of processor time {common.spread(processor)}",
        flush=True,
    )


def measure_imputation(rounds: int) -> None:
    """Print what ROAD's fourteen imputations take."""
    photo = cv2.cvtColor(cv2.imread(str(common.PHOTO)), cv2.COLOR_BGR2RGB)
    image = prepare(photo, InputSpec()).input
    for name, values in drawn_maps().items():
        ranks = subject(values).ranks
        both = (ranks, ranks.size - 1 - ranks)
        removed = [own < round(share * own.size) for own in both for share in SHARES]

        def solve(removed: list[np.ndarray] = removed) -> None:
            with helpers() as (executor, _count):
                list(executor.map(lambda one: impute(image, one), removed))

        solve()
        clock, processor = zip(*(spent(solve) for _ in range(rounds)), strict=True)
        wall, busy = common.spread(clock), common.spread(processor)
        print(f"ROAD, {name:26} {wall} s   of processors {busy} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", default="mxnet", choices=("mxnet", "torch"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("road", "curves"))
    options = parser.parse_args()
    print(common.machine())
    neighbors = common.Neighbors()
    keep_freed_memory()  # as the command does
    cv2.setNumThreads(1)  # likewise, where several threads use it
    if not options.only or options.only == "road":
        measure_imputation(3 * options.rounds)
    if not options.only or options.only == "curves":
        measure_curves(options.engine, options.rounds)
    print(neighbors.share())


if __name__ == "__main__":
    main()
