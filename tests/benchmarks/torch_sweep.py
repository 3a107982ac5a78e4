"""Which of other people's networks are explained: torchvision's classifiers and timm's families.

Every classifier of torchvision and one model of every family of timm, with seeded weights, is read
through ``torch.export`` and compared with the module itself: class scores, the gradient of the
highest at the input, and the layer that is explained. Each runs in a process of its own, with
limits of time and memory; results are kept in a JSON file, so that a run goes on where another
stopped. What is left out is named with the reason.

    python tests/benchmarks/torch_sweep.py sweep.json --package torchvision
    python tests/benchmarks/torch_sweep.py sweep.json --retry failed
    python tests/benchmarks/torch_sweep.py sweep.json --show
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

SCORES, GRADIENT = 1e-4, 1e-3  # largest difference by the largest score; relative L2 norm
#: What small networks of a family are called.
_SMALL = re.compile(r"tiny|small|nano|pico|femto|atto|_x*s(_|$)|_?(0|05|18|26|50)(_|$)|b0")
_SEEDS = 4  # images that are tried: at rounding a ReLU may go the other way, which is no error


def candidates(package: str) -> dict[str, int]:
    """Names of networks with their package in front, and how many parameters each has."""
    if package == "torchvision":
        from torchvision import models

        return {
            f"torchvision:{name}": models.get_model_weights(name).DEFAULT.meta["num_params"]
            for name in models.list_models(module=models)
        }
    import timm
    import torch

    found = {}
    for module in timm.list_modules():
        names = timm.list_models(module=module)
        small = [name for name in names if _SMALL.search(name)]
        sizes = {}
        for name in (small or names)[:4]:
            try:
                with torch.device("meta"):
                    sizes[f"timm:{name}"] = _size(build(f"timm:{name}"))
            # Some cannot be built without memory, or at all.
            except (RuntimeError, TypeError, ValueError, AttributeError) as error:
                print(f"timm:{name} is left out: {error}", file=sys.stderr)
        if sizes:
            smallest = min(sizes, key=lambda name: sizes[name])
            found[smallest] = sizes[smallest]
    return found


def _size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def build(name: str) -> Any:
    """A network with random weights."""
    package, _, model = name.partition(":")
    if package == "timm":
        import timm

        return timm.create_model(model, pretrained=False)
    from torchvision import models

    further = {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
    return models.get_model(model, weights=None, **further)


def image_size(name: str, module: Any) -> tuple[int, int, int]:
    """(C, H, W), as the package configures it."""
    if name.startswith("timm:"):
        return tuple(module.pretrained_cfg.get("input_size", (3, 224, 224)))
    return (3, 299, 299) if "inception" in name else (3, 224, 224)


def seed(module: Any) -> None:
    """No weight is left at 0 or 1, where a wrong reading could hide, and no statistic either."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() > 1 and parameter.std() < 1e-4:
                if parameter.abs().max() < 1e-3:
                    parameter.normal_(0, 0.05)
                else:
                    parameter.mul_(torch.empty_like(parameter).uniform_(0.8, 1.2))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.8, 1.2)


def measure(name: str) -> dict[str, Any]:
    """What is found out of one network."""
    import numpy as np
    import torch

    from cnnviz.engines.base import Device, GradientRequest
    from cnnviz.engines.registry import build_engine, lack
    from cnnviz.errors import CnnvizError
    from cnnviz.graph.architecture import Architecture
    from cnnviz.importers.tail import read_tail
    from cnnviz.importers.torch_export import program_of_module

    module = build(name).eval()
    size = image_size(name, module)
    seed(module)
    found: dict[str, Any] = {"parameters": _size(module), "size": list(size)}
    begin = time.monotonic()
    try:
        program = program_of_module(module, size)
        headed = read_tail(program.graph)
        architecture = Architecture(headed.graph, headed.paths(program.paths), headed.end)
        parameters = {one: program.parameters[one] for one in architecture.parameter_shapes}
        engine = build_engine(architecture.graph, parameters, Device("cpu"), "torch")
    except CnnvizError as error:
        return {**found, "state": "refused", "reason": str(error)}
    found["read"] = round(time.monotonic() - begin, 1)
    layer = architecture.default_layer
    found["layer"], found["kind"], found["shape"] = layer.name, layer.kind, list(layer.shape)
    found["relus"] = architecture.relus
    found["mxnet"] = lack("mxnet", architecture.graph) or ""
    for number in range(_SEEDS):
        image = np.random.default_rng(number).standard_normal((1, *size)).astype(np.float32)
        theirs = torch.from_numpy(image).requires_grad_()
        scores = module(theirs).reshape(1, -1)
        best = int(scores.argmax())
        (wanted,) = torch.autograd.grad(scores[0, best], theirs)
        recording = engine.run(image, record=True)
        ours = recording.output.reshape(1, -1)
        start = np.zeros_like(recording.output)
        start.reshape(1, -1)[0, best] = 1
        (back,) = recording.gradients(architecture.graph.output, start, [GradientRequest()])
        truth, wanted = scores.detach().numpy(), wanted.numpy()
        apart = float(np.abs(ours - truth).max() / np.abs(truth).max())
        gradient = float(np.linalg.norm(back.input - wanted) / np.linalg.norm(wanted))
        found["scores"] = max(apart, found.get("scores", 0.0))
        found["gradient"] = min(gradient, found.get("gradient", np.inf))
        if found["scores"] > SCORES or found["gradient"] <= GRADIENT:
            break
    most = GRADIENT
    if found["gradient"] > GRADIENT:
        # How far rounding alone takes the module's own gradient: 53 bits beside 24.
        doubled = torch.from_numpy(image).double().requires_grad_()
        (exact,) = torch.autograd.grad(module.double()(doubled).reshape(1, -1)[0, best], doubled)
        exact = exact.numpy()
        found["rounding"] = float(np.linalg.norm(wanted - exact) / np.linalg.norm(exact))
        ours_apart = float(np.linalg.norm(back.input - exact) / np.linalg.norm(exact))
        found["gradient"] = min(found["gradient"], ours_apart)
        most = max(GRADIENT, 2 * found["rounding"])
    agrees = found["scores"] <= SCORES and found["gradient"] <= most
    if not agrees and found["scores"] <= SCORES:
        # Some versions of PyTorch go back wrongly through a batch norm before channels last.
        found["slope"] = _slope_apart(module, image, best, back.input)
        agrees = found["slope"] <= GRADIENT
    return {**found, "state": "explained" if agrees else "differs"}


def _slope_apart(module: Any, image: Any, best: int, gradient: Any) -> float:
    """How far a gradient's length is from the slope in its direction, in double precision."""
    import torch

    found = torch.from_numpy(gradient).double()
    step = 1e-4 * found / found.norm()
    at = torch.from_numpy(image).double()
    with torch.no_grad():
        up, down = (module(at + sign * step).reshape(1, -1)[0, best] for sign in (1, -1))
    return abs(float((up - down) / 2e-4 / found.norm()) - 1)


def one(name: str, seconds: float, gigabytes: float) -> dict[str, Any]:
    """The same in a process of its own."""

    def limit() -> None:
        most = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    try:
        run = subprocess.run(
            [sys.executable, __file__, "--one", name],
            capture_output=True,
            text=True,
            timeout=seconds,
            preexec_fn=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"state": "failed", "reason": f"takes more than {seconds:g} seconds"}
    if run.returncode:
        lines = run.stderr.strip().splitlines()
        return {"state": "failed", "reason": lines[-1][:300] if lines else f"exit {run.returncode}"}
    return dict(json.loads(run.stdout.splitlines()[-1]))


def show(results: dict[str, dict[str, Any]]) -> None:
    """A table of all, and what they add up to."""
    print("| network | scores | gradient | default layer | |\n|---|---|---|---|---|")
    for name, found in sorted(results.items()):
        if "scores" in found:
            where = f"{found['layer']} {'×'.join(map(str, found['shape']))}"
            numbers = f"{found['scores']:.0e} | {found['gradient']:.0e} | {where}"
        else:
            numbers = f" | | {found['reason']}"
        print(f"| {name} | {numbers} | {found['state']} |")
    states = Counter(found["state"] for found in results.values())
    print(f"\n{len(results)} networks: {', '.join(f'{n} {s}' for s, n in states.most_common())}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="?", type=Path, help="JSON file, read and written")
    parser.add_argument("--package", choices=("torchvision", "timm", "all"), default="all")
    parser.add_argument("--most-parameters", type=float, default=120e6)
    parser.add_argument("--seconds", type=float, default=300, help="limit for each network")
    parser.add_argument("--gigabytes", type=float, default=12, help="limit for each network")
    parser.add_argument("--retry", default="", help="run those of this state, or name, again")
    parser.add_argument("--show", action="store_true", help="only print what was found")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    if options.results is None:
        parser.error("give the JSON file for the results")
    kept = json.loads(options.results.read_text()) if options.results.exists() else {}
    known, results = kept.setdefault("parameters", {}), kept.setdefault("networks", {})
    if not options.show:
        for package in ("torchvision", "timm"):
            chosen = options.package in (package, "all")
            if chosen and not any(name.startswith(f"{package}:") for name in known):
                known.update(candidates(package))
                options.results.write_text(json.dumps(kept, indent=1))
        for name in sorted(known, key=lambda name: known[name]):
            chosen = options.package in (name.partition(":")[0], "all")
            done = results.get(name)
            again = done is None or options.retry in (done["state"], name)
            if chosen and again and known[name] <= options.most_parameters:
                results[name] = one(name, options.seconds, options.gigabytes)
                print(name, results[name], flush=True)
                options.results.write_text(json.dumps(kept, indent=1))
    show(results)


if __name__ == "__main__":
    main()
