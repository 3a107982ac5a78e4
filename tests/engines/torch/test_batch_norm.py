"""A batch norm right before channels last, whose derivative PyTorch gets wrong on CPUs."""

import numpy as np
import pytest

from cnnviz.engines.base import Device, GradientRequest
from cnnviz.engines.registry import build_engine
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import BatchNorm, Input, Parameter, Reshape, Transpose

pytestmark = pytest.mark.needs("torch")

SIZE = (8, 6, 5)


@pytest.mark.parametrize("images", [1, 3])
def test_gradients_that_lie_in_memory_as_channels_last(images):
    nodes = [Node(Input(SIZE), "data")]
    nodes += [Node(Parameter(SIZE[:1]), name) for name in ("scale", "shift", "mean", "variance")]
    nodes.append(Node(BatchNorm(1e-3), "norm", tuple(map(Value, range(5)))))
    nodes.append(Node(Reshape((8, 30)), "tokens", (Value(5),)))
    nodes.append(Node(Transpose((1, 0)), "turned", (Value(6),)))
    random = np.random.default_rng(0)
    parameters = {
        name: random.uniform(0.5, 2, 8).astype(np.float32)
        for name in ("scale", "shift", "mean", "variance")
    }
    engine = build_engine(Graph(tuple(nodes), Value(7)), parameters, Device("cpu"), "torch")
    recording = engine.run(random.standard_normal((images, *SIZE)).astype(np.float32), record=True)
    seed = random.standard_normal((images, 30, 8)).astype(np.float32)
    (found,) = recording.gradients(Value(7), seed, [GradientRequest()])
    scale = parameters["scale"] / np.sqrt(parameters["variance"] + 1e-3)
    wanted = (seed * scale).transpose(0, 2, 1).reshape(images, *SIZE)
    np.testing.assert_allclose(found.input, wanted, rtol=1e-5)
