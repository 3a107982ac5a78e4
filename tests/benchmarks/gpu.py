"""The PyTorch engine on a GPU: right against float64 on the CPU, and how fast.

    python tests/benchmarks/gpu.py [--device gpu] [--networks vgg16,resnet50_v1] [--rounds 5]

Random weights. For each precision every network's logits, activations, gradients at its default
layer and guided input gradients are compared with float64 first; then one batch after the other is
timed, from NumPy arrays on the host to NumPy arrays on the host: logits, activations, true gradient
at the layer and guided gradient at the input, which is what the four default images are made of.
"Captured" passes are replayed as CUDA graphs. Then perturbation methods, by the rate of a forward
pass over batches of 64 that are on the device already; and captum and pytorch-grad-cam where they
can be imported, on VGG-16, at the same precision, their maps compared first.
Without a GPU it runs on the CPU with small sizes, two networks and fp32 and bf16.
Exits with 1 if anything is further from float64, or a peer's map from ours, than it may be.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gpu_peers
from networks import TARGET, apart, images, maps, network

from cnnviz.attribution.context import collect
from cnnviz.attribution.queries import ModelQueries
from cnnviz.attribution.registry import choose_methods
from cnnviz.engines.base import Device, parse_device
from cnnviz.engines.network import Network
from cnnviz.engines.torch.captured import Replay
from cnnviz.engines.torch.engine import TorchEngine
from cnnviz.engines.torch.lowering import function
from cnnviz.engines.torch.runtime import import_torch
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import Input, Parameter, ReLU
from cnnviz.machine import keep_freed_memory

OUTPUTS = ("logits", "activations", "gradient", "guided")
#: For each precision the relative L2 errors of the median image, and those of the worst. Of the
#: millions of ReLUs on the way back to the input one is nearly always within rounding of 0, and
#: flips; most images have none of the larger flips.
MOST = {
    "fp32": ((1e-5, 1e-5, 1e-4, 1e-3), 2e-2),
    "tf32": ((5e-3, 5e-3, 5e-2, 1e-1), 2e-1),
    "bf16": ((5e-2, 5e-2, 3e-1, 4e-1), 7e-1),
}
NETWORKS = "vgg16,resnet50_v1,mobilenetv2_1.0,densenet121"
FEW = "mobilenetv2_0.5,resnet18_v1"
IMAGES = 5
#: What methods' own passes come in.
BATCH = 64
METHODS = ("occlusion", "rise", "scorecam")
SMALL = (3, 64, 64)


@cache
def built(name: str, small: bool) -> tuple[Architecture, Mapping[str, np.ndarray]]:
    """A network of the zoo with random weights."""
    return network(name, SMALL if small else None)


def in_float64(
    graph: Graph, parameters: Mapping[str, np.ndarray], batch: np.ndarray, at: Value
) -> tuple[np.ndarray, ...]:
    """Logits, activations, their gradient and the guided gradient, on the CPU in float64."""
    torch = import_torch()
    found = []
    for guided in (False, True):
        values: dict[Value, Any] = {}
        for index, node in enumerate(graph.nodes):
            if isinstance(node.operator, Parameter):
                values[Value(index)] = torch.from_numpy(parameters[node.name]).double()
            elif isinstance(node.operator, Input):
                values[Value(index)] = torch.from_numpy(batch).double().requires_grad_()
            else:
                output = function(node.operator)(*(values[value] for value in node.inputs))
                several = output if isinstance(output, list) else [output]
                values.update((Value(index, place), each) for place, each in enumerate(several))
                if guided and isinstance(node.operator, ReLU):
                    several[0].grad_fn.register_hook(lambda left, _: (left[0].clamp(min=0),))
        output = values[graph.output]
        place = graph.input if guided else at
        (gradient,) = torch.autograd.grad(output[:, TARGET].sum(), values[place])
        found.append(gradient.numpy())
    logits, activations = (values[value].detach().numpy() for value in (graph.output, at))
    return logits, activations, *found


def median(work: Callable[[], object], rounds: int, warm: int = 3) -> float:
    """Seconds; the first calls are not counted."""
    for _ in range(warm):
        work()
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def check(name: str, device: Device, precisions: Sequence[str], small: bool) -> list[str]:
    """Compare images with float64; what is too far away.

    Each precision makes them several times, so that captured passes are compared too.
    """
    architecture, parameters = built(name, small)
    graph, at = architecture.graph, Value(architecture.default_layer.index)
    batch = images(graph, IMAGES)
    exact = in_float64(graph, parameters, batch, at)
    wrong = []
    for precision in precisions:
        engine = TorchEngine(graph, parameters, device, precision=precision)
        rounds = [maps(engine, batch, at) for _ in range(4)]
        errors = [
            sorted(map(apart, own, theirs)) for own, theirs in zip(rounds[-1], exact, strict=True)
        ]
        same = all((one == other).all() for one, other in zip(rounds[-1], rounds[-2], strict=True))
        captured = max(map(apart, rounds[-1], rounds[0]))  # the first round never is
        medians, worst = MOST[precision]
        good = all(
            each[IMAGES // 2] < most and each[-1] < worst
            for each, most in zip(errors, medians, strict=True)
        )
        if not good:
            wrong.append(f"{name} in {precision}")
        said = ", ".join(
            f"{what} {each[IMAGES // 2]:.0e} (at most {each[-1]:.0e})"
            for what, each in zip(OUTPUTS, errors, strict=True)
        )
        print(
            f"{name:16}{precision}: {said}; eager and captured {captured:.0e}; "
            f"{'the same' if same else 'NOT the same'} again",
            flush=True,
        )
    return wrong


def rates(
    name: str, device: Device, precisions: Sequence[str], batches: Sequence[int], rounds: int
) -> None:
    """Time a network with each precision and size of batch."""
    small = device.kind == "cpu"
    architecture, parameters = built(name, small)
    graph, at = architecture.graph, Value(architecture.default_layer.index)
    for precision in precisions:
        for capture in _captures(device, precision):
            engine = TorchEngine(graph, parameters, device, precision=precision, capture=capture)
            columns = []
            for count in batches:
                batch = images(graph, count)

                def forward(engine: TorchEngine = engine, batch: np.ndarray = batch) -> object:
                    return engine.run(batch, record=False).output

                def outputs(engine: TorchEngine = engine, batch: np.ndarray = batch) -> object:
                    return maps(engine, batch, at)

                took = (median(work, rounds) / count for work in (forward, outputs))
                columns.append("/".join(f"{1000 * seconds:.3g}" for seconds in took))
            said = "captured" if capture else "eager"
            print(f"{name:16}{precision:6}{said:9}" + "".join(f"{c:>16}" for c in columns))
            sys.stdout.flush()


def _captures(device: Device, precision: str) -> Sequence[bool]:
    """Whether to measure captured passes, or others, or both; a CPU captures nothing."""
    if device.kind == "cpu":
        return [False]
    return [True, False] if precision == "fp32" else [True]


def on_device(engine: TorchEngine, rounds: int) -> float:
    """Seconds an image of forward passes over a batch that is on the device already."""
    torch = import_torch()
    program = engine._programs.with_values(())
    given = program.array(images(engine.graph, BATCH))
    with program.running(record=False):

        def run(batch: Any) -> Any:
            return program.forward(batch, frozenset(), False).output

        if engine.device.kind == "cpu":
            return median(lambda: run(given), rounds, 1) / BATCH
        run(given)
        replay = Replay(run, given.clone())

        def timed() -> None:
            for _ in range(4):
                replay(given)
            torch.cuda.synchronize(program.place)

        return median(timed, rounds) / 4 / BATCH


def perturbation(name: str, device: Device, precision: str, rounds: int) -> None:
    """Time what perturbation methods do, by the rate of forward passes."""
    small = device.kind == "cpu"
    architecture, parameters = built(name, small)
    engine = TorchEngine(architecture.graph, parameters, device, precision=precision)
    layer = architecture.default_layer
    batch = images(architecture.graph, BATCH)
    alone = on_device(engine, rounds)
    run = median(lambda: engine.run(batch, record=False).output, rounds) / BATCH
    kept = engine.run(batch, [layer.value], record=False).activation(layer.value)
    rest = median(lambda: engine.run_from(layer.value, kept, context=batch[0]), rounds) / BATCH
    shares = []
    for method in choose_methods(METHODS, {"masks": 64 if small else 1000}):
        ((context,),) = collect(
            ModelQueries(Network(architecture, engine)),
            batch[:1],
            [[TARGET]],
            [layer],
            [method],
        )
        began = time.perf_counter()
        method.explain(context)
        passes = method.passes(batch.shape[1:], layer).forwards
        shares.append(alone * passes / (time.perf_counter() - began))
    print(
        f"{name:16}{precision:6}{1000 * alone:9.3f}{1000 * run:9.3f}{1000 * rest:10.4f}"
        + "".join(f"{share:10.0%}" for share in shares),
        flush=True,
    )


def main() -> int:
    """Check and time; the exit status."""
    torch = import_torch()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", default="")
    parser.add_argument("--precisions", default="")
    parser.add_argument("--batches", default="")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    device = parse_device(arguments.device)
    keep_freed_memory()  # as the command does
    small = device.kind == "cpu"
    batches = [int(n) for n in (arguments.batches or ("1,2" if small else "1,8,32,128")).split(",")]
    precisions = (arguments.precisions or ("fp32,bf16" if small else "fp32,tf32,bf16")).split(",")
    rounds = 2 if small else arguments.rounds
    names = (arguments.networks or (FEW if small else NETWORKS)).split(",")
    began = time.perf_counter()
    print(
        f"torch {torch.__version__}", "CPU" if small else torch.cuda.get_device_name(device.index)
    )
    print("\nAgainst float64, the median image (and the worst):")
    wrong = [each for name in names for each in check(name, device, precisions, small)]
    print("\nPerturbation, batches of 64: ms an image of a forward pass on the device, of run and")
    print("run_from from and to the host; the methods' passes by the first:")
    titles = ("forward", "run", "run_from", *METHODS)
    print(
        f"{'':22}"
        + "".join(f"{t:>{w}}" for t, w in zip(titles, (9, 9, 10, 10, 10, 10), strict=True))
    )
    for name in names:
        for precision in precisions[:1] if small else precisions[:2]:
            perturbation(name, device, precision, rounds)
    wrong += gpu_peers.compare(device, precisions, batches, rounds, small)
    print("\nms an image, forward/all four outputs, from host to host:")
    print(f"{'batch':31}" + "".join(f"{count:>16}" for count in batches))
    for name in names:
        rates(name, device, precisions, batches, rounds)
    print(f"\n{time.perf_counter() - began:.0f} s in all")
    if wrong:
        print("too far apart:", ", ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
