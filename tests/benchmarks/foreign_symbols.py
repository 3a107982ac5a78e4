"""Run every exported symbol of a folder through the default command, with random weights.

For each: whether ``cnnviz explain`` explains an image with it, or the sentence by which it is
refused; the default layer; and how far the logits and the input's gradient are from those of plain
MXNet with oneDNN off (relative L2 error). By hand, as it takes hours for hundreds of symbols:

    python tests/benchmarks/foreign_symbols.py FOLDER [--sizes FILE] [--only TEXT] [--no-gradients]

FILE has a symbol's path inside the folder and the size of its images on each line (``a/net.json
224``, or ``128x64``); others get the first usual size that MXNet takes. One line a symbol is
written to stdout as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

SIZES = (224, 112, 299, 32, 28, 128, 64, 256, 48)
SECONDS = 900


def input_of(symbol):
    """The name of a symbol's input."""
    names = symbol.list_arguments()
    return "data" if "data" in names else names[0]


def shapes_to_try(size):
    """What a network may take: color, gray, channels last, or a video."""
    for height, width in [size] if size else [(side, side) for side in SIZES]:
        yield from ((3, height, width), (1, height, width), (height, width, 3))
        yield (3, 16, height, width)


def parameters(symbol, shape):
    """Random values of a symbol's parameters, in which signals neither die nor explode."""
    data = input_of(symbol)
    shapes, _, states = symbol.infer_shape_partial(**{data: (1, *shape)})
    random = np.random.RandomState(0)
    arrays = {}
    for kind, names, found in (
        ("arg", symbol.list_arguments(), shapes),
        ("aux", symbol.list_auxiliary_states(), states),
    ):
        for name, shape in zip(names, found, strict=True):
            if name == data or name.endswith("label") or not shape or 0 in shape:
                continue
            if name.endswith(("gamma", "var")):
                values = random.uniform(0.5, 1.5, shape)
            elif len(shape) < 2:
                values = random.normal(0, 0.1, shape)
            else:
                values = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
            arrays[f"{kind}:{name}"] = values.astype(np.float32)
    return arrays


def examine(path, size, gradients):
    """All about one symbol, in a process of its own."""
    import cnnviz
    from cnnviz.cli import run
    from cnnviz.engines.base import Device
    from cnnviz.engines.registry import EngineChoice
    from cnnviz.models.config import ModelConfig
    from cnnviz.models.resolve import find_model

    mx = cnnviz.import_mxnet()
    folder = Path(tempfile.mkdtemp())
    name = folder / "net-symbol.json"
    name.write_text(path.read_text())
    found = {"size": None}
    for shape in shapes_to_try(size):
        try:
            arrays = parameters(mx.sym.load(str(name)), shape)
        except mx.base.MXNetError:
            continue
        found["size"] = shape
        mx.nd.save(
            str(name.with_name("net-0000.params")),
            {key: mx.nd.array(value) for key, value in arrays.items()},
        )
        break
    image = np.random.RandomState(1).randint(0, 256, (9, 9, 3), np.uint8)
    cv2.imwrite(str(folder / "image.png"), cv2.resize(image, (160, 160)))
    height, width = size or (found["size"] or (3, 224, 224))[-2:]
    said = io.StringIO()
    options = ["--model", str(name), "--input-size", f"{height}x{width}", "-o", str(folder / "out")]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        found["exit"] = int(run(["explain", str(folder / "image.png"), *options]))
    lines = [line.replace(f"{folder}/", "") for line in said.getvalue().splitlines() if line]
    found["said"] = [line for line in lines if not line.startswith(("weights ", "["))]
    if found["exit"] or not gradients:
        return found
    model = find_model(ModelConfig(str(name), input_size=(height, width)))
    network, _ = model.load(EngineChoice("mxnet", Device("cpu")))
    x = np.random.RandomState(2).normal(0, 1, (2, *model.spec.shape)).astype(np.float32)
    found["layer"] = [network.default_layer.name, network.default_layer.kind]
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.support.gradients import differentiate

    result = differentiate(network, x, [0, 0], relu_rule="standard")
    graph = network.architecture.graph
    head = graph.nodes[graph.output.node].name
    np.savez(folder / "in.npz", x=x)
    done = subprocess.run(
        [sys.executable, __file__, "--plain", str(name), "--logits", head],
        env={**os.environ, "MXNET_MKLDNN_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        found["plain"] = done.stderr.strip().splitlines()[-1][:300]
        return found
    plain = np.load(folder / "plain.npz")
    for key, mine in (("logits", result.logits), ("gradient", result.input_gradients)):
        theirs = plain[key].reshape(mine.shape).astype(np.float64)
        found[key] = float(np.linalg.norm(mine - theirs) / (np.linalg.norm(theirs) or 1))
    return found


def run_plain(name, head):
    """What MXNet alone makes of the images, one at a time; in a process without oneDNN."""
    import cnnviz

    mx = cnnviz.import_mxnet()
    internals = mx.sym.load(name).get_internals()
    symbol = internals[f"{head}_output"]
    saved = mx.nd.load(name.replace("-symbol.json", "-0000.params"))
    block = mx.gluon.SymbolBlock(symbol, mx.sym.var(input_of(symbol)))
    for key, parameter in block.collect_params().items():
        value = saved.get(f"arg:{key}", saved.get(f"aux:{key}"))
        parameter._load_init(value, mx.cpu())
        parameter.grad_req = "null"
    block.hybridize()
    images = np.load(Path(name).with_name("in.npz"))["x"]
    logits, gradients = [], []
    for image in images:
        x = mx.nd.array(image[None])
        x.attach_grad()
        with mx.autograd.record(train_mode=False):
            output = block(x)
            score = output.reshape((-1,))[0:1]
        score.backward(train_mode=False)
        logits.append(output.asnumpy().reshape(-1))
        gradients.append(x.grad.asnumpy()[0])
    np.savez(Path(name).with_name("plain.npz"), logits=logits, gradient=gradients)


def main():
    """Look at all symbols, one process each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--sizes", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--no-gradients", action="store_true")
    parser.add_argument("--one", type=Path)
    parser.add_argument("--size", default="")
    parser.add_argument("--plain")
    parser.add_argument("--logits")
    options = parser.parse_args()
    if options.plain:
        return run_plain(options.plain, options.logits)
    if options.one:
        sides = tuple(map(int, options.size.split("x"))) if options.size else None
        size = sides * 2 if sides and len(sides) == 1 else sides
        print(json.dumps(examine(options.one, size, not options.no_gradients)))
        return None
    sizes = {}
    if options.sizes:
        sizes = dict(line.rsplit(" ", 1) for line in options.sizes.read_text().splitlines() if line)
    for path in sorted(options.folder.rglob("*.json")):
        place = str(path.relative_to(options.folder))
        if options.only not in place:
            continue
        command = [sys.executable, __file__, "--one", str(path), "--size", sizes.get(place, "")]
        try:
            done = subprocess.run(
                [*command, *(["--no-gradients"] if options.no_gradients else [])],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            answer = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
            if done.returncode:
                answer["died"] = [done.returncode, done.stderr.strip().splitlines()[-1:]]
        except subprocess.TimeoutExpired:
            answer = {"died": "out of time"}
        print(json.dumps({"symbol": place, **answer}), flush=True)
    return None


if __name__ == "__main__":
    main()
