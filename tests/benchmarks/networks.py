"""Networks of the zoo with random weights, and what the four default images are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnviz.engines.base import GUIDED, Engine, GradientRequest
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.graph import Graph, Value
from cnnviz.models import zoo

#: The class whose logit is explained.
TARGET = 3


def network(
    name: str, size: tuple[int, int, int] | None = None
) -> tuple[Architecture, Mapping[str, np.ndarray]]:
    """A network of the zoo, for images of its own size or another (C, H, W), and its parameters."""
    architecture = Architecture(*zoo.build(zoo.get(name), input_shape=size))
    return architecture, weights(architecture.graph)


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


def images(graph: Graph, count: int) -> np.ndarray:
    """(count, C, H, W) float32, from a seed."""
    size = (count, *graph.input_size)
    return np.random.default_rng(1).standard_normal(size).astype(np.float32)


def maps(engine: Engine, batch: np.ndarray, at: Value) -> tuple[np.ndarray, ...]:
    """What one batch of a run asks an engine for.

    Logits, activations and true gradient at a layer, guided gradient at the input.
    """
    recording = engine.run(batch, [at], record=True)
    logits = recording.output
    seed = np.zeros_like(logits)
    seed[:, TARGET] = 1
    activations = recording.activation(at)
    ways = [GradientRequest(at=(at,), to_input=False), GradientRequest(GUIDED)]
    layer, guided = recording.gradients(engine.graph.output, seed, ways, retain_graph=False)
    assert guided.input is not None  # it was asked for
    return logits, activations, layer.at[at], guided.input


def apart(ours: Any, theirs: Any) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(ours - theirs) / max(float(np.linalg.norm(theirs)), 1e-300))
