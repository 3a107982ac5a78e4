"""Score-CAM and Ablation-CAM beside pytorch-grad-cam's: hundreds of passes for one image.

Run by hand, where ``compare_peers.py`` runs (it says how)::

    python tests/benchmarks/score_ablation.py --peers peers/bin/python

The same VGG-16, image and class for both, and the same layer: ``features.29``, the ReLU behind
the last convolution, where both mean the same by it. Each turn is a process of its own that loads
the network, makes one forward pass and times one map. pytorch-grad-cam works as shipped, with its
own batches (16 masked images, 32 ablated ones).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compare_peers
import numpy as np

METHODS = ("scorecam", "ablationcam")
LAYER = 29
#: Relative L2 distance at which two maps count as the same.
TOLERANCE = 1e-3
CNNVIZ, PEER = "cnnviz", "pytorch-grad-cam"
#: The peer with one thing changed, for the comparison of maps: how masks are enlarged.
PEER_ENLARGING = "pytorch-grad-cam, masks enlarged as cnnviz does"


# --- in a contender's own process ----------------------------------------------------------------


def cnnviz_map(method: str, folder: Path) -> Callable[[], Any]:
    """One call of :meth:`cnnviz.Explainer.explain`, after one forward pass."""
    import cnnviz
    from cnnviz.images.preprocessing import prepare

    explainer = cnnviz.load(
        compare_peers.MODEL,
        weights=folder / "weights.safetensors",
        methods=cnnviz.choose_methods([method]),
        layer=f"features.{LAYER}",
        progress=False,
    )
    prepared = prepare(np.load(folder / "image.npy"), explainer.spec)
    target = int(explainer.network.logits(prepared.input[np.newaxis])[0].argmax())
    np.save(folder / "target.npy", target)

    def explain() -> Any:
        (explanation,) = explainer.explain([prepared], target)
        return explanation.maps[method]

    return explain


def peer_map(method: str, folder: Path, threads: int, enlarging: bool) -> Callable[[], Any]:
    """ScoreCAM or AblationCAM as shipped, after one forward pass."""
    torch = compare_peers.torch_with(threads)
    compare_peers.stand_in_for_torchvision()
    from pytorch_grad_cam import AblationCAM, ScoreCAM

    if enlarging:
        torch.nn.UpsamplingBilinear2d = functools.partial(
            torch.nn.Upsample, mode="bilinear", align_corners=False
        )
    network = compare_peers.torch_vgg(folder, frozen=False)
    batch = torch.from_numpy(np.load(folder / "input.npy"))
    target = int(np.load(folder / "target.npy"))
    with torch.no_grad():
        network(batch)

    def explain() -> Any:
        kind = ScoreCAM if method == "scorecam" else AblationCAM
        with kind(network, [network.features[LAYER]]) as explainer:
            (cam,) = explainer(batch, targets=[lambda logits: logits[target]])
        return cam

    return explain


def work(contender: str, method: str, folder: Path, threads: int, keep_memory: bool) -> None:
    """Time one map and keep it."""
    if keep_memory:
        compare_peers.keep_freed_memory()
    if contender == CNNVIZ:
        explain = cnnviz_map(method, folder)
    else:
        explain = peer_map(method, folder, threads, contender == PEER_ENLARGING)
    began = time.perf_counter()
    found = explain()
    took = time.perf_counter() - began
    np.save(folder / "map.npy", found)
    print(json.dumps(took))


# --- in the parent -------------------------------------------------------------------------------


def turn(
    contender: str, method: str, folder: Path, options: argparse.Namespace
) -> tuple[float, Any]:
    """Seconds and map of one contender in a process of its own."""
    python = sys.executable if contender == CNNVIZ else options.peers
    command = [python, __file__, "--worker", contender, "--method", method]
    command += ["--folder", str(folder), "--threads", str(options.threads)]
    command += ["--keep-memory"] * options.keep_memory
    variables = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    if done.returncode:
        raise SystemExit(f"{contender}, {method}, ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]), np.load(folder / "map.npy")


def distance(found: Any, expected: Any) -> float:
    """Relative, in L2 norm."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def main() -> None:
    parser = argparse.ArgumentParser(description="Score-CAM and Ablation-CAM beside a peer's")
    parser.add_argument("--peers", help="a Python that has torch and pytorch-grad-cam")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, help="by default, all cores")
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="let both keep the memory that they free, as `cnnviz explain` does",
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--method", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.method, options.folder, options.threads, options.keep_memory)
        return
    if not options.peers:
        parser.error("--peers is needed: see the top of this file")

    import common

    from cnnviz.machine import available_cores

    options.threads = options.threads or available_cores()
    print(common.machine())
    neighbors = common.Neighbors()
    print(
        f"{compare_peers.MODEL}, features.{LAYER}, one image of 224x224, {options.threads} "
        f"threads, {options.rounds} rounds, freed memory "
        f"{'kept' if options.keep_memory else 'given back'}\n"
    )
    far = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compare_peers.prepare_folder(folder)
        for method in METHODS:
            times: dict[str, list[float]] = {CNNVIZ: [], PEER: []}
            for number in range(options.rounds):
                order = [CNNVIZ, PEER] if number % 2 == 0 else [PEER, CNNVIZ]
                maps = {}
                for contender in order:
                    took, maps[contender] = turn(contender, method, folder, options)
                    times[contender].append(took)
            ratio = statistics.median(common.ratios(times[PEER], times[CNNVIZ]))
            for contender, own in times.items():
                each = ", ".join(f"{seconds:.2f}" for seconds in own)
                print(f"{method:12} {contender:18} {statistics.median(own):8.2f} s  ({each})")
            print(f"{method:12} cnnviz is {ratio:.1f} times as fast")
            ours = compare_peers.stretched(maps[CNNVIZ])
            apart = distance(maps[PEER], ours)
            print(f"{method:12} the maps' distance, both from 0 to 1: {apart:.1e}")
            if method == "scorecam":  # the library puts corners on corners
                _, theirs = turn(PEER_ENLARGING, method, folder, options)
                apart = distance(theirs, ours)
                print(f"{method:12} the same with masks enlarged alike: {apart:.1e}")
            if not apart <= TOLERANCE:
                far.append(method)
            print(flush=True)
    print(neighbors.share())
    if far:
        raise SystemExit(f"The maps of {', '.join(far)} are not the same.")


if __name__ == "__main__":
    main()
