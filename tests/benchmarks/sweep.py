"""Which of other people's networks are explained: torchvision's classifiers and timm's families.

Every classifier of torchvision and one model of every family of timm, with seeded weights, is read
in one of three ways: through ``torch.export``, or from an ONNX file that PyTorch's new or old
exporter wrote. Compared are the scores with the module's, or with onnxruntime's on the same file;
the gradient of the highest score at the input with the module's own autograd; and the default layer
with where the module holds its last map of the image (``foreign_places.py``). Each network runs in
a process of its own, with limits of time and memory, the smallest first; results are kept in
FOLDER, so that a run goes on where another stopped. What is refused is named with the reason.

    pip install torch torchvision timm onnx onnxruntime onnxscript
    python tests/benchmarks/sweep.py FOLDER --way torch --package torchvision
    python tests/benchmarks/sweep.py FOLDER --way onnx-new --retry failed
    python tests/benchmarks/sweep.py FOLDER --show
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import foreign  # beside this script

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("torch", "onnx-new", "onnx-old")
PACKAGES = ("torchvision", "timm")
SCORES, GRADIENT = 1e-4, 1e-3  # largest difference by the largest score; relative L2 norm
DOUBLE = 1e-6  # the same norm in float64: constants of a graph were rounded to float32
_SEEDS = 4  # images that are tried: at rounding a ReLU may go the other way, which is no error
EXPLAINED, DIFFERS, REFUSED = "explained", "differs", "refused"
NOT_EXPORTED, FAILED = "not exported", "failed"


class Read(NamedTuple):
    """A module as it was read, and what onnxruntime gives for an image."""

    architecture: Any
    parameters: Any
    engine: Any
    reference: Any


def read(module: Any, size: tuple[int, int, int], file: Path | None = None) -> Read:
    """Read a module, or its ONNX file.

    Raises:
        CnnvizError: it is refused.
    """
    from cnnviz.engines.base import Device
    from cnnviz.engines.registry import build_engine
    from cnnviz.graph.architecture import Architecture
    from cnnviz.importers.onnx_file import open_onnx
    from cnnviz.importers.tail import read_tail
    from cnnviz.importers.torch_export import program_of_module

    reference = None
    if file is None:
        program = program_of_module(module, size)
    else:
        source = open_onnx(file)
        program = source.program(size, None)
        if source.reference is not None:

            def reference(image: Any) -> Any:
                return source.reference_output(image, None)

    headed = read_tail(program.graph)
    architecture = Architecture(headed.graph, headed.paths(program.paths), headed.end)
    parameters = {one: program.parameters[one] for one in architecture.parameter_shapes}
    engine = build_engine(architecture.graph, parameters, Device("cpu"), "torch")
    return Read(architecture, parameters, engine, reference)


class NotExportedError(Exception):
    """PyTorch does not write an ONNX file of a module."""


def export(module: Any, size: tuple[int, int, int], way: str, path: Path) -> Path:
    """The ONNX file that one of PyTorch's exporters writes."""
    import torch

    try:
        with contextlib.redirect_stdout(sys.stderr):
            torch.onnx.export(module, (torch.randn(1, *size),), path, dynamo=way == "onnx-new")
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        words = f"{type(cause).__name__}: {cause}".strip().splitlines()
        raise NotExportedError(words[0][:200]) from error
    return path


def measure(name: str, way: str) -> dict[str, Any]:
    """What is found out of one network; ``export`` and ``read`` are seconds of one core."""
    import foreign_places
    import numpy as np
    import torch

    from cnnviz.engines.mxnet.engine import MxnetEngine
    from cnnviz.errors import CnnvizError

    module = foreign.build(name).eval()
    size = foreign.image_size(name, module)
    foreign.seed(module)
    found: dict[str, Any] = {"parameters": foreign.size(module), "size": list(size)}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        try:
            file = None if way == "torch" else export(module, size, way, Path(folder) / "net.onnx")
            found["export"], begin = round(time.process_time() - begin, 1), time.process_time()
            network = read(module, size, file)
        except NotExportedError as error:
            return {**found, "state": NOT_EXPORTED, "reason": str(error)}
        except CnnvizError as error:
            reason = str(error).replace(folder, "")
            return {**found, "state": REFUSED, "reason": reason}
        found["read"] = round(time.process_time() - begin, 1)
        graph, layer = network.architecture.graph, network.architecture.default_layer
        found["layer"], found["kind"], found["shape"] = layer.name, layer.kind, list(layer.shape)
        found["relus"] = network.architecture.relus
        found["mxnet lacks"] = list(MxnetEngine.lacks(graph))
        compare(found, module, network)
    image = np.random.default_rng(0).standard_normal((1, *size)).astype(np.float32)
    ours = network.engine.run(image, [layer.value], record=False).activation(layer.value)
    maps = foreign_places.Calls(module.float(), torch.from_numpy(image)).last_maps()
    numbers = foreign_places.moments(ours)
    found["expected"] = [list(one.shape) for one in maps]
    found["place"] = any(
        one.is_same(numbers) or foreign_places.close(one.rectified, numbers) for one in maps
    )
    return found


def compare(found: dict[str, Any], module: Any, network: Read) -> None:
    """Add how far scores and gradients are apart, and whether they agree."""
    import numpy as np
    import torch

    from cnnviz.engines.base import GradientRequest

    graph = network.architecture.graph
    for number in range(_SEEDS):
        image = np.random.default_rng(number).standard_normal((1, *found["size"]))
        image = image.astype(np.float32)
        theirs = torch.from_numpy(image).requires_grad_()
        scores = module(theirs).reshape(1, -1)
        best = int(scores.argmax())
        (wanted,) = torch.autograd.grad(scores[0, best], theirs)
        recording = network.engine.run(image, record=True)
        start = np.zeros_like(recording.output)
        start.reshape(1, -1)[0, best] = 1
        (back,) = recording.gradients(graph.output, start, [GradientRequest()])
        apart = _scores_apart(recording.output, scores.detach().numpy())
        if network.reference is not None:
            found["by module"] = max(apart, found.get("by module", 0.0))
            apart = _scores_apart(recording.output, network.reference(image))
        found["scores"] = max(apart, found.get("scores", 0.0))
        gradient = _apart(back.input, wanted.numpy())
        found["gradient"] = min(gradient, found.get("gradient", np.inf))
        if not found["scores"] <= SCORES or found["gradient"] <= GRADIENT:
            break
    right = agrees = found["scores"] <= SCORES
    if right and found["gradient"] > GRADIENT:
        del recording
        agrees = _agrees_otherwise(found, module, network, image, best, wanted.numpy(), back.input)
    found["state"] = EXPLAINED if agrees else DIFFERS


def _agrees_otherwise(
    found: dict[str, Any],
    module: Any,
    network: Read,
    image: Any,
    best: int,
    theirs: Any,
    ours: Any,
) -> bool:
    """Whether gradients that differ in float32 are the same in float64, or as near as can be."""
    import torch

    doubled = torch.from_numpy(image).double().requires_grad_()
    (exact,) = torch.autograd.grad(module.double()(doubled).reshape(1, -1)[0, best], doubled)
    exact = exact.numpy()
    found["double"] = _double_apart(network, image, best, exact)
    if found["double"] <= DOUBLE:
        return True
    # How far rounding alone takes the module's own gradient. (A file's batch norms were folded in
    # float32, which moves ReLUs over 0, too.)
    found["rounding"] = _apart(theirs, exact)
    found["gradient"] = min(found["gradient"], _apart(ours, exact))
    if found["gradient"] <= max(GRADIENT, 2 * found["rounding"]):
        return True
    # Some versions of PyTorch go back wrongly through a batch norm before channels last.
    found["slope"] = _slope_apart(module, image, best, ours)
    return bool(found["slope"] <= GRADIENT)


def _apart(ours: Any, theirs: Any) -> float:
    import numpy as np

    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def _double_apart(network: Read, image: Any, best: int, exact: Any) -> float:
    """How far the graph's gradient is from another one if both are computed in float64."""
    import torch

    from cnnviz.engines.base import Device
    from cnnviz.engines.torch.program import Program

    class Double(Program):
        def array(self, values: Any) -> Any:
            return torch.as_tensor(values).detach().double()

    program = Double(network.architecture.graph, network.parameters, Device("cpu"))
    with program.running(record=True):
        images = torch.from_numpy(image).double()
        passed = program.forward(images, [program.graph.input], record=True)
        given = passed.values[program.graph.input]
        (found,) = torch.autograd.grad(passed.output.reshape(1, -1)[0, best], given)
    return _apart(found.numpy(), exact)


def _scores_apart(ours: Any, theirs: Any) -> float:
    ours, theirs = ours.reshape(-1), theirs.reshape(-1)
    return float(abs(ours - theirs).max() / abs(theirs).max())


def _slope_apart(module: Any, image: Any, best: int, gradient: Any) -> float:
    """How far a gradient's length is from the slope in its direction, in double precision."""
    import torch

    found = torch.from_numpy(gradient).double()
    step = 1e-4 * found / found.norm()
    at = torch.from_numpy(image).double()
    with torch.no_grad():
        up, down = (module(at + sign * step).reshape(1, -1)[0, best] for sign in (1, -1))
    return abs(float((up - down) / 2e-4 / found.norm()) - 1)


def one(name: str, way: str, seconds: float, gigabytes: float) -> dict[str, Any]:
    """The same in a process of its own."""

    def limit() -> None:
        most = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    begin = time.monotonic()
    try:
        run = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--one", name, "--way", way],
            capture_output=True,
            text=True,
            timeout=seconds,
            preexec_fn=limit,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"state": FAILED, "reason": f"takes more than {seconds:g} seconds"}
    if run.returncode:
        lines = run.stderr.strip().splitlines()
        return {"state": FAILED, "reason": lines[-1][:300] if lines else f"exit {run.returncode}"}
    found = json.loads(run.stdout.splitlines()[-1])
    return {**found, "seconds": round(time.monotonic() - begin, 1)}


def show(results: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """A table of what was found by each way, and one of what it adds up to."""
    for way, networks in results.items():
        print(f"\n## {way}\n\n| network | scores | gradient | default layer | |")
        print("|---|---|---|---|---|")
        for name, found in sorted(networks.items()):
            if "scores" in found:
                where = f"{found['layer']} {'×'.join(map(str, found['shape']))}"
                where += "" if found["place"] else ", not where expected"
                numbers = f"{found['scores']:.0e} | {found['gradient']:.0e} | {where}"
            else:
                numbers = f" | | {found['reason']}"
            print(f"| {name} | {numbers} | {found['state']} |")
    print(
        "\n| | tried | explained | scores | gradient, median | above 1e-3 | default layer as "
        "expected | MXNet runs |\n|---|---|---|---|---|---|---|---|"
    )
    for way, networks in results.items():
        for package in PACKAGES:
            own = [found for name, found in networks.items() if name.startswith(package)]
            if own:
                print(f"| {package}, {way} | {' | '.join(_row(own))} |")


def _row(networks: Sequence[dict[str, Any]]) -> list[str]:
    tried = [found for found in networks if found["state"] != NOT_EXPORTED]
    run = [found for found in tried if "scores" in found]
    explained = [found for found in run if found["state"] == EXPLAINED]
    first = [str(len(tried)), str(len(explained))]
    if not run:
        return [*first, *[""] * 5]
    return [
        *first,
        f"{max(found['scores'] for found in run):.1e}",
        f"{statistics.median(found['gradient'] for found in run):.0e}",
        str(sum(found["gradient"] > GRADIENT for found in run)),
        str(sum(found["place"] for found in run)),
        str(sum(not found["mxnet lacks"] for found in run)),
    ]


def _save(path: Path, kept: Any) -> None:
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(kept, indent=1))
    beside.replace(path)


def _known(path: Path) -> dict[str, int]:
    """The networks' sizes by their names, looked for once."""
    if not path.exists():
        sizes, left_out = {}, {}
        for package in PACKAGES:
            some, others = foreign.candidates(package)
            sizes.update(some)
            left_out.update(others)
        _save(path, {"parameters": sizes, "left out": left_out})
    return dict(json.loads(path.read_text())["parameters"])


def sweep(options: argparse.Namespace) -> None:
    """Run all that are asked for and are not done."""
    options.folder.mkdir(parents=True, exist_ok=True)
    known = _known(options.folder / "networks.json")
    path = options.folder / f"{options.way}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in sorted(known, key=lambda name: known[name]):
        done = results.get(name)
        again = done is None or options.retry in (done["state"], name)
        chosen = options.package in (name.partition(":")[0], "all") and options.only in name
        if again and chosen and known[name] <= options.most_parameters:
            results[name] = one(name, options.way, options.seconds, options.gigabytes)
            print(name, json.dumps(results[name]), flush=True)
            _save(path, results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="for the results")
    parser.add_argument("--way", choices=WAYS, default="torch")
    parser.add_argument("--package", choices=(*PACKAGES, "all"), default="all")
    parser.add_argument("--only", default="", help="a part of the names")
    parser.add_argument("--most-parameters", type=float, default=120e6)
    parser.add_argument("--seconds", type=float, default=300, help="limit for each network")
    parser.add_argument("--gigabytes", type=float, default=12, help="limit for each network")
    parser.add_argument("--retry", default="", help="run those of this state, or name, again")
    parser.add_argument("--show", action="store_true", help="only print what was found")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.way)))
        return
    if options.folder is None:
        parser.error("give the folder for the results")
    if not options.show:
        sweep(options)
    paths = {way: options.folder / f"{way}.json" for way in WAYS}
    show({way: json.loads(path.read_text()) for way, path in paths.items() if path.exists()})


if __name__ == "__main__":
    main()
