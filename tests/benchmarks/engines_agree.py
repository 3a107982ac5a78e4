"""Both engines on every named network: how far apart what they compute is.

    python tests/benchmarks/engines_agree.py [NETWORK ...] [--threads 1]

Random weights and three images of standard normal numbers. Printed are relative L2 distances: the
largest of the logits and of the activations at the default layer; the median of the gradient there
and of the guided gradient at the input. With these weights some ReLU's input is so near 0, or two
values under a maximum are so near each other, that rounding decides: the gradient takes another way
at that place. "flips" are the images where that is seen, "most" the largest distance of a gradient
that it makes. Exits with 1 if anything is further apart than it may be.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from statistics import median

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

#: What is compared, and the largest distance that it may have; of gradients the median.
TOLERANCES = {"logits": 1e-5, "activations": 1e-5, "gradient": 1e-4, "guided": 1e-3}
#: A gradient that is further off than rounding makes it took another way somewhere ...
FLIP = 5e-6
#: ... which changes it by no more than so much.
MOST = 5e-2
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
    each = {
        key: [networks.apart(*pair) for pair in zip(ours, theirs, strict=True)]
        for key, theirs, ours in zip(TOLERANCES, *results, strict=True)
    }
    gradients = [max(pair) for pair in zip(each["gradient"], each["guided"], strict=True)]
    return {
        **{key: max(each[key]) for key in ("logits", "activations")},
        **{key: median(each[key]) for key in ("gradient", "guided")},
        "flips": sum(one > FLIP for one in gradients),
        "most": max(gradients),
    }


def line(name: str, found: dict[str, float]) -> str:
    cells = (f"{one:13.1e}" if key != "flips" else f"{one:13}" for key, one in found.items())
    return f"{name:18}" + "".join(cells)


def main() -> int:
    print(f"{'network':18}" + "".join(f"{key:>13}" for key in (*TOLERANCES, "flips", "most")))
    largest: dict[str, float] = {}
    names = options.networks or zoo.names()
    for name in names:
        found = compare(name)
        print(line(name, found), flush=True)
        largest = {key: max(one, largest.get(key, 0)) for key, one in found.items()}
    print(line("largest", largest))
    limits = {**TOLERANCES, "most": MOST}
    return int(any(largest[key] > most for key, most in limits.items()))


if __name__ == "__main__":
    sys.exit(main())
