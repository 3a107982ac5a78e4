"""The PyTorch engine on a GPU: right against float64 on the CPU, and how fast.

    python tests/benchmarks/gpu.py [--device gpu] [--networks vgg16,resnet50_v1] [--rounds 5]

Random weights. Each network's logits, activations, gradients at its default layer and guided input
gradients are compared with float64 first; then one batch after the other is timed, from NumPy
arrays on the host to NumPy arrays on the host: logits, activations, true gradient at the layer and
guided gradient at the input, which is what the four default images are made of. "Captured" passes
are replayed as CUDA graphs. Without a GPU it runs on the CPU with small sizes.
Exits with 1 if anything is further from float64 than it may be.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cnnviz.engines.base import GUIDED, Device, GradientRequest, parse_device
from cnnviz.engines.torch.engine import TorchEngine
from cnnviz.engines.torch.lowering import function
from cnnviz.engines.torch.runtime import import_torch
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import Input, Parameter, ReLU
from cnnviz.models import zoo

#: Relative L2 errors of float32 with IEEE arithmetic. Of the millions of ReLUs on the way back to
#: the input one is nearly always within rounding of 0, and flips.
ROUNDING = {"logits": 1e-5, "activations": 1e-5, "gradient": 1e-4, "guided": 1e-3}
#: One flip changes gradients by about so much; most images have none.
FLIP = 2e-2
IMAGES = 5
TARGET = 3


def weights(graph: Graph) -> Mapping[str, np.ndarray]:
    """Random ones that keep activations near 1 whatever the depth."""
    random = np.random.default_rng(0)
    found = {}
    for name, shape in graph.parameters.items():
        if len(shape) > 1:
            values = random.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
        elif "var" in name or "gamma" in name:
            values = random.uniform(0.5, 1.0, shape)
        else:
            values = random.standard_normal(shape) * 0.1
        found[name] = values.astype(np.float32)
    return found


def in_float64(
    graph: Graph, parameters: Mapping[str, np.ndarray], batch: np.ndarray, at: Value
) -> tuple[np.ndarray, ...]:
    """Logits, activations, their gradient and the guided gradient, on the CPU in float64."""
    torch = import_torch()
    found = []
    for guided in (False, True):
        values: dict[Value, object] = {}
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


def maps(engine: TorchEngine, batch: np.ndarray, at: Value) -> tuple[np.ndarray, ...]:
    """The same from the engine, as one batch of a run asks for it."""
    recording = engine.run(batch, [at], record=True)
    logits = recording.output
    seed = np.zeros_like(logits)
    seed[:, TARGET] = 1
    activations = recording.activation(at)
    ways = [GradientRequest(at=(at,), to_input=False), GradientRequest(GUIDED)]
    layer, guided = recording.gradients(engine.graph.output, seed, ways, retain_graph=False)
    assert guided.input is not None  # it was asked for
    return logits, activations, layer.at[at], guided.input


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(ours - theirs) / max(float(np.linalg.norm(theirs)), 1e-300))


def median(work: Callable[[], object], rounds: int) -> float:
    """Seconds; three calls before are not counted."""
    for _ in range(3):
        work()
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def main() -> int:
    """Check and time; the exit status."""
    torch = import_torch()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", default="vgg16,resnet50_v1,mobilenetv2_1.0,densenet121")
    parser.add_argument("--batches", default="")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    device = parse_device(arguments.device)
    small = device.kind == "cpu"
    batches = [int(n) for n in (arguments.batches or ("1,2" if small else "1,8,32,128")).split(",")]
    rounds = 2 if small else arguments.rounds
    names = arguments.networks.split(",")[: 2 if small else None]
    print(
        f"torch {torch.__version__}", "CPU" if small else torch.cuda.get_device_name(device.index)
    )
    wrong = [name for name in names if not check(name, device, small)]
    titles = "".join(f"{title:>10}" for title in ("forward", "captured", "maps", "captured"))
    print(f"{'ms an image':16}{'batch':>6}{titles}")
    for name in names:
        for images in batches:
            report(name, device, images, rounds, small)
    if wrong:
        print("too far from float64:", ", ".join(wrong))
    return 1 if wrong else 0


def network(name: str, small: bool) -> tuple[Architecture, Mapping[str, np.ndarray]]:
    """A network of the zoo with random weights."""
    entry = zoo.get(name)
    shape = (3, 64, 64) if small else None
    architecture = Architecture(*zoo.build(entry, input_shape=shape))
    return architecture, weights(architecture.graph)


def check(name: str, device: Device, small: bool) -> bool:
    """Compare images with float64, several times, so that captured passes are compared too."""
    architecture, parameters = network(name, small)
    graph, at = architecture.graph, Value(architecture.default_layer.index)
    shape = (IMAGES, *graph.input_size)
    batch = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    exact = in_float64(graph, parameters, batch, at)
    engine = TorchEngine(graph, parameters, device)
    rounds = [maps(engine, batch, at) for _ in range(4)]
    errors = {
        what: sorted(map(apart, ours, theirs))
        for what, ours, theirs in zip(ROUNDING, rounds[-1], exact, strict=True)
    }
    same = all((one == other).all() for one, other in zip(rounds[-1], rounds[-2], strict=True))
    good = all(
        each[IMAGES // 2] < ROUNDING[what] and each[-1] < FLIP for what, each in errors.items()
    )
    said = ", ".join(
        f"{what} {each[IMAGES // 2]:.0e} (at most {each[-1]:.0e})" for what, each in errors.items()
    )
    print(
        f"{name:16} against float64, the median image: {said}; eager and captured "
        f"{apart_of(rounds):.0e}; {'the same' if same else 'NOT the same'} again"
    )
    return good


def apart_of(rounds: Sequence[tuple[np.ndarray, ...]]) -> float:
    """How far the first round, which is never captured, is from the last."""
    return max(apart(one, other) for one, other in zip(rounds[-1], rounds[0], strict=True))


def report(name: str, device: Device, images: int, rounds: int, small: bool) -> None:
    """Time one network with one size of batch."""
    architecture, parameters = network(name, small)
    graph, at = architecture.graph, Value(architecture.default_layer.index)
    batch = np.random.default_rng(1).standard_normal((images, *graph.input_size)).astype(np.float32)

    def timed(engine: TorchEngine) -> list[float]:
        forward = median(lambda: engine.run(batch, record=False).output, rounds)
        return [forward, median(lambda: maps(engine, batch, at), rounds)]

    found = [
        seconds
        for capture in (False, True)
        for seconds in timed(TorchEngine(graph, parameters, device, capture=capture))
    ]
    columns = "".join(f"{1000 * found[place] / images:10.3f}" for place in (0, 2, 1, 3))
    print(f"{name:16}{images:6}{columns}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
