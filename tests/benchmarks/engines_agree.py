"""Both engines on every named network: how far apart what they compute is.

    python tests/benchmarks/engines_agree.py [NETWORK ...] [--threads 1]

Random weights and one image of standard normal numbers. Printed are relative L2 distances of the
logits, of the activations at the default layer, of the gradient there and of the guided gradient at
the input. With these weights some ReLU's input is so near 0, or two values under a maximum are so
near each other, that rounding decides: the gradient then takes another way at that place, which is
seen in the guided gradient ("flips" are those above 1e-5). Exits with 1 if anything is further
apart than it may be.
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

#: What is compared, and the largest distance that it may have.
TOLERANCES = {"logits": 1e-5, "activations": 1e-5, "gradient": 1e-4, "guided": 1e-3}
FLIP = 1e-5
ENGINES = ("mxnet", "torch")


def distances(name: str) -> list[float]:
    """Of what the two compute for one image."""
    architecture, parameters = networks.network(name)
    at = Value(architecture.default_layer.index)
    batch = networks.images(architecture.graph, 1)
    found = []
    for engine in ENGINES:
        built = build_engine(architecture.graph, parameters, Device("cpu"), engine)
        found.append(networks.maps(built, batch, at))
        del built
    return [networks.apart(ours, theirs) for theirs, ours in zip(*found, strict=True)]


def main() -> int:
    print(f"{'network':18}" + "".join(f"{key:>13}" for key in TOLERANCES))
    worst = [0.0] * len(TOLERANCES)
    flips = 0
    names = options.networks or zoo.names()
    for name in names:
        found = distances(name)
        worst = [max(pair) for pair in zip(worst, found, strict=True)]
        flips += found[-1] > FLIP
        print(f"{name:18}" + "".join(f"{one:13.1e}" for one in found), flush=True)
    print(f"{'largest':18}" + "".join(f"{one:13.1e}" for one in worst))
    print(f"{len(names)} networks, flips in {flips}")
    return int(any(one > most for one, most in zip(worst, TOLERANCES.values(), strict=True)))


if __name__ == "__main__":
    sys.exit(main())
