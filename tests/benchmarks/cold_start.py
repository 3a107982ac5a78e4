"""One image from the shell: seconds and memory, against import, weights and compute apart.

Run by hand, on a machine that does nothing else::

    python tests/benchmarks/cold_start.py [--engine torch]

It makes a VGG-16's weights from a seed (553 MB, in a temporary folder), and then, in turn, starts

- ``cnnviz explain IMAGE --weights FILE``, the whole command;
- a process that does the same in steps and times each: the imports, loading the network, the first
  image, the second image (compute: reading, explaining, drawing and writing, all warm);
- ``cnnviz --help``;
- Python alone, which is in all of them.

The steps are added up as if one followed the other. The command does better: the weights' digest is
worked out while the framework is imported, and it leaves without Python's and its clearing up.

Each in a process of its own, the weights' file in the system's cache. The resident size is the
kernel's count of the child's peak (``ru_maxrss``), pages of a mapped file included. Where SciPy is
installed MXNet imports it too, which takes half as long again as the rest: measure in an
environment such as a user has.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import common

GOAL_COMPUTE = {"mxnet": 1.2, "torch": 1.3}
GOAL_HELP = 0.3
GOAL_MIB = 1.1e9 / 2**20

#: The weights are made by a child too: a process's ``ru_maxrss`` begins with the size of the one
#: that started it.
WEIGHTS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import common
common.write_weights(Path(sys.argv[2]), sys.argv[3])
"""

#: The child that does the command's work in steps. ``-X importtime`` would distort it.
STEPS = """
import json, sys, time
began = time.perf_counter()
from pathlib import Path
import cnnviz.cli, cnnviz.models.resolve
from cnnviz.images.sources import find_sources
from cnnviz.outputs.files import OutputFolder
from cnnviz.runs.image_files import ImageWriter
from cnnviz.runs.items import plan_items
from cnnviz.runs.stages import Explain
from cnnviz.runs.stream import Loader, Stream
model, weights, image, output, engine = sys.argv[1:]
if engine == "torch":
    from cnnviz.engines.torch.runtime import import_torch
    import_torch()
else:
    cnnviz.import_mxnet()
imported = time.perf_counter()
explainer = cnnviz.load(model, weights=weights, engine=engine, progress=False)
loaded = time.perf_counter()
stage = Explain(explainer, ImageWriter(OutputFolder(Path(output))))
items = plan_items(find_sources([image]).sources, explainer)
stream = Stream(Loader(explainer))
stream.run(stage, items)
first = time.perf_counter()
stream.run(stage, items)
second = time.perf_counter()
print(json.dumps({
    "import": imported - began, "weights": loaded - imported,
    "first image": first - loaded, "second image": second - first,
}))
"""


@dataclass(frozen=True)
class Ended:
    """A child process: seconds from start to end, peak resident size, what it printed."""

    seconds: float
    peak_mib: float
    output: str


def start(command: list[str]) -> Ended:
    """Run a command to its end.

    Raises:
        SystemExit: it failed.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=errors)
        # wait4 tells this child's own peak; RUSAGE_CHILDREN would be the largest of all so far.
        _, status, used = os.wait4(child.pid, 0)
        took = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if child.returncode:
            raise SystemExit(f"{' '.join(command[:4])} ... failed:\n{errors.read()}")
        return Ended(took, used.ru_maxrss / 1024, output.read())


def main() -> None:
    parser = argparse.ArgumentParser(description="one image from the shell")
    parser.add_argument("--model", default="vgg16", help="vgg16 or another VGG")
    parser.add_argument("--engine", default="mxnet", choices=("mxnet", "torch"))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(common.machine())
    neighbors = common.Neighbors()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = folder / "weights.params"
        start([sys.executable, "-c", WEIGHTS, str(common.HERE), str(weights), options.model])
        cnnviz = [sys.executable, "-m", "cnnviz"]
        explain = [*cnnviz, "explain", str(common.PHOTO), "--model", options.model]
        explain += ["--weights", str(weights)]
        explain += ["--engine", options.engine, "-o"]
        steps = [sys.executable, "-c", STEPS, options.model, str(weights), str(common.PHOTO)]
        commands = {
            "explain": lambda number: [*explain, str(folder / f"explain{number}")],
            "steps": lambda number: [*steps, str(folder / f"steps{number}"), options.engine],
            "help": lambda number: [*cnnviz, "--help"],
            "python": lambda number: [sys.executable, "-c", "pass"],
        }
        found: dict[str, list[Ended]] = {key: [] for key in commands}
        for number in range(-1, options.rounds):  # one to warm the caches up
            for key, command in commands.items():
                ended = start(command(number))
                if number >= 0:
                    found[key].append(ended)

    took = {key: [ended.seconds for ended in own] for key, own in found.items()}
    rows = [json.loads(ended.output) for ended in found["steps"]]
    parts = {key: [row[key] for row in rows] for key in rows[0]}
    print(
        f"{options.model}, {options.engine}, {options.rounds} rounds, seconds, median [quartiles]\n"
    )
    print(f"  cnnviz explain IMAGE        {common.spread(took['explain'])}")
    print(f"  python -c pass                {common.spread(took['python'])}")
    for key, own in parts.items():
        print(f"  {key:28}  {common.spread(own)}")
    ends = [
        ended.seconds - sum(row.values()) for ended, row in zip(found["steps"], rows, strict=True)
    ]
    print(f"  start and end of that process {common.spread(ends)}")
    print(f"  cnnviz --help                 {common.spread(took['help'])}  (goal {GOAL_HELP})")
    middle = {key: statistics.median(own) for key, own in parts.items()}
    fixed = statistics.median(took["python"]) + middle["import"] + middle["weights"]
    compute = middle["second image"]
    left = statistics.median(took["explain"]) - fixed
    print(
        f"\nexplain is import (with Python's own start) + weights + {left / compute:.2f} x compute "
        f"(goal {GOAL_COMPUTE[options.engine]}); compute is the second image."
    )
    peak = statistics.median(ended.peak_mib for ended in found["explain"])
    print(f"Peak resident size of explain: {peak:.0f} MiB (goal {GOAL_MIB:.0f}: 1.1 GB)")
    print(neighbors.share())


if __name__ == "__main__":
    main()
