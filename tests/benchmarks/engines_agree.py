"""Both engines on every named network: how far apart what they compute is.

    python tests/benchmarks/engines_agree.py [NETWORK ...] [--threads 1]

Random weights and three images of standard normal numbers. Printed are relative L2 distances: the
largest of the logits and of the activations at the default layer; the smallest and the largest of
the gradient there and of the guided gradient at the input. With these weights some ReLU's input is
so near 0, or two values under a maximum are so near each other, that rounding decides: the gradient
takes another way at that place. "flips" counts the images where that is seen. Exits with 1 if
anything is further apart than it may be.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("networks", nargs="*", metavar="NETWORK", help="all by default")
parser.add_argument("--threads", type=int, default=1)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before a framework reads it

import networks  # noqa: E402 - beside this script

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cnnviz.engines.base import Device  # noqa: E402
from cnnviz.engines.registry import build_engine  # noqa: E402
from cnnviz.graph.graph import Value  # noqa: E402
from cnnviz.models import zoo  # noqa: E402

#: What is compared, and the largest distance that it may have: of gradients in the image with the
#: fewest flips, and in the one with the most.
LIMITS = {
    "logits": 1e-5,
    "activations": 1e-5,
    "gradient": 1e-4,
    "most": 5e-2,
    "guided": 1e-3,
    "most guided": 1e-2,
}
#: A gradient that is further off than rounding makes it took another way somewhere.
FLIP = 5e-6
IMAGES = 3


def compare(name: str) -> dict[str, float]:
    """How far what the two engines compute is apart, by what it is."""
    architecture, parameters = networks.network(name)
    at = Value(architecture.default_layer.index)
    batch = networks.images(architecture.graph, IMAGES)
    results = []
    for engine in ("mxnet", "torch"):
        built = build_engine(architecture.graph, parameters, Device("cpu"), engine)
        results.append(networks.maps(built, batch, at))
    logits, activations, gradient, guided = (
        [networks.apart(*pair) for pair in zip(ours, theirs, strict=True)]
        for theirs, ours in zip(*results, strict=True)
    )
    flips = sum(max(pair) > FLIP for pair in zip(gradient, guided, strict=True))
    numbers = (
        *(max(logits), max(activations)),
        *(min(gradient), max(gradient), min(guided), max(guided)),
    )
    return {**dict(zip(LIMITS, numbers, strict=True)), "flips": flips}


def line(name: str, found: dict[str, float]) -> str:
    """A row of the table."""
    cells = (f"{one:13.1e}" if key in LIMITS else f"{one:8}" for key, one in found.items())
    return f"{name:18}" + "".join(cells)


def main() -> int:
    """Print the table."""
    print(f"{'network':18}" + "".join(f"{key:>13}" for key in LIMITS) + f"{'flips':>8}")
    largest: dict[str, float] = {}
    for name in options.networks or zoo.names():
        found = compare(name)
        print(line(name, found), flush=True)
        largest = {key: max(one, largest.get(key, 0)) for key, one in found.items()}
    print(line("largest", largest))
    return int(any(largest[key] > limit for key, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
