"""Export every classifier of torchvision and one of each family of timm, and read the files again.

For each network and each of PyTorch's exporters: whether the file is read, or the sentence by which
it is refused; how far the logits are from onnxruntime's (relative to the largest), and the gradient
of one logit from the module's own autograd (relative L2); the default layer. Weights are random.

    pip install torch torchvision timm onnx onnxruntime onnxscript
    python tests/benchmarks/onnx_sweep.py FOLDER [--only TEXT] [--exporter new|old] [--table]

Each network has a process and a time limit of its own. Results go to FOLDER/results.json, one by
one; what is there already is not done again. ``--table`` only prints them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 420
#: Larger members of a family differ in nothing but their size.
MOST_PARAMETERS = 120e6
MOST_PIXELS = 300**2
FAMILY = "timm family "


def names() -> list[str]:
    """Every classifier of torchvision, and every family of timm, whose member is chosen later."""
    import timm
    import torchvision

    return [
        *(f"torchvision:{name}" for name in torchvision.models.list_models(torchvision.models)),
        *(f"{FAMILY}{module}" for module in timm.list_modules()),
    ]


def member(family: str) -> str | None:
    """The smallest name of a family whose network is of a usual size."""
    import timm
    import torch

    for name in sorted(timm.list_models(module=family), key=lambda one: (len(one), one)):
        size = timm.get_pretrained_cfg(name)
        if size is not None and size.input_size[1] * size.input_size[2] > MOST_PIXELS:
            continue
        with torch.device("meta"):
            module = timm.create_model(name)
        if sum(p.numel() for p in module.parameters()) <= MOST_PARAMETERS:
            return name
    return None


def built(name: str) -> tuple[Any, tuple[int, int, int]]:
    """A network in inference mode with weights that let signals through, and its input's size."""
    import torch

    torch.manual_seed(0)
    kind, _, short = name.partition(":")
    if kind == "torchvision":
        import torchvision

        side = {"inception_v3": 299}.get(short, 224)
        # Their own initialization, by rejection, takes minutes.
        more = {"init_weights": False} if short in ("googlenet", "inception_v3") else {}
        module = torchvision.models.get_model(short, weights=None, **more)
        size = (3, side, side)
    else:
        import timm

        module = timm.create_model(short)
        size = module.pretrained_cfg["input_size"]
    for array in module.parameters():
        if array.dim() > 1 and not array.any():
            torch.nn.init.normal_(array, std=0.02)  # a head of zeros would hide everything
    return module.eval(), size


def one(name: str, exporter: str) -> dict[str, Any]:
    """What is to be known of a network."""
    import numpy as np
    import torch

    if name.startswith(FAMILY):
        found = member(name.removeprefix(FAMILY))
        if found is None:
            return {"skipped": "no member of a usual size"}
        return {"member": found, **one(f"timm:{found}", exporter)}
    module, size = built(name)
    example = torch.randn(1, *size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        try:
            torch.onnx.export(module, (example,), path, dynamo=exporter == "new")
        except Exception as error:  # noqa: BLE001  a fault of PyTorch's: noted
            lines = f"{type(error).__name__}: {error}".strip().splitlines()
            return {"not_exported": lines[0][:200]}
        image = np.random.default_rng(1).normal(size=(1, *size)).astype(np.float32)
        return read(path, size, image, module)


def read(path: Path, size: Any, image: Any, module: Any) -> dict[str, Any]:
    """How far an exported file's graph is from onnxruntime and from the module."""
    import numpy as np
    import torch

    from cnnviz.engines.base import Device, GradientRequest
    from cnnviz.engines.network import Network
    from cnnviz.engines.registry import build_engine
    from cnnviz.errors import CnnvizError
    from cnnviz.graph.architecture import Architecture
    from cnnviz.importers.onnx_file import open_onnx
    from cnnviz.importers.tail import read_tail

    begun = time.monotonic()
    try:
        source = open_onnx(path)
        program = source.program(size, None)
        headed = read_tail(program.graph)
        seconds = time.monotonic() - begun
        architecture = Architecture(headed.graph, headed.paths(program.paths), headed.end)
        parameters = {name: program.parameters[name] for name in headed.graph.parameters}
        engine = build_engine(headed.graph, parameters, Device("cpu"), "torch")
        passed = Network(architecture, engine).run(image, record=True)
        theirs = source.reference_output(image, None).reshape(-1)
        logits = passed.logits.reshape(-1)
        target = int(logits.argmax())
        (found,) = passed.gradients(np.array([target]), [GradientRequest()])
    except CnnvizError as error:
        return {"refused": str(error).replace(str(path), "net.onnx")}
    pixels = torch.from_numpy(image).requires_grad_()
    module(pixels).reshape(-1)[target].backward()
    own = pixels.grad.numpy()
    return {
        "logits": float(np.abs(logits - theirs).max() / np.abs(theirs).max()),
        "gradient": float(np.linalg.norm(found.input - own) / max(np.linalg.norm(own), 1e-30)),
        "layer": architecture.default_layer.name,
        "shape": architecture.default_layer.shape,
        "seconds": round(seconds, 2),
    }


def sweep(folder: Path, only: str, exporters: list[str]) -> dict[str, Any]:
    """All of them, each in its own process."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in names():
        for exporter in exporters:
            key = f"{name} ({exporter})"
            if only not in name or key in results:
                continue
            command = [sys.executable, __file__, str(folder), "--one", name, exporter]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=SECONDS, env=environment
                )
                lines = done.stdout.strip().splitlines()
                found = json.loads(lines[-1]) if done.returncode == 0 and lines else None
                if found is None:
                    found = {"failed": (done.stderr.strip().splitlines() or ["no word"])[-1][:300]}
            except subprocess.TimeoutExpired:
                found = {"failed": f"took more than {SECONDS} seconds"}
            results[key] = found
            file.write_text(json.dumps(results, indent=1))
            print(key, json.dumps(found), flush=True)
    return results


def table(results: dict[str, Any]) -> None:
    """What came out, as Markdown, and how many did."""
    print("| network | logits | gradient | default layer |")
    print("|---|---|---|---|")
    good = 0
    for key, found in results.items():
        name = f"{key} {found.get('member', '')}".strip()
        if "logits" in found:
            # NaN compares false with everything.
            good += found["logits"] <= 1e-4
            shape = "×".join(map(str, found["shape"]))
            numbers = f"{found['logits']:.1e} | {found['gradient']:.1e}"
            print(f"| {name} | {numbers} | `{found['layer']}` {shape} |")
        else:
            ((kind, why),) = ((kind, why) for kind, why in found.items() if kind != "member")
            print(f"| {name} | | | {kind}: {why} |")
    tried = [found for found in results.values() if not {"not_exported", "skipped"} & set(found)]
    print(f"\n{good} of {len(tried)} files that were exported are read with logits within 1e-4.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="a part of the names")
    parser.add_argument("--exporter", choices=("new", "old"), action="append")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.one:
        print(json.dumps(one(*given.one)))
    elif given.table:
        table(json.loads((given.folder / "results.json").read_text()))
    else:
        table(sweep(given.folder, given.only, given.exporter or ["new", "old"]))


if __name__ == "__main__":
    main()
