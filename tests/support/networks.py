"""Small networks without a framework, and what tests ask of networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnviz.engines.base import RELU_RULES, GradientRequest
from cnnviz.engines.network import Network, Targets, choose_targets
from cnnviz.graph.architecture import Architecture, Layer
from cnnviz.graph.builder import Builder, NamedGraph
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import (
    Add,
    Concat,
    Flatten,
    Mean,
    Multiply,
    Operator,
    Sigmoid,
    Subtract,
)


@dataclass(frozen=True)
class Gradients:
    """What one forward and the backward passes gave; the rule holds at the input only."""

    logits: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]
    layer: Layer
    activations: np.ndarray[Any, Any]
    layer_gradients: np.ndarray[Any, Any]
    input_gradients: np.ndarray[Any, Any]
    relus_changed: int
    relus_total: int


def differentiate(
    network: Network,
    batch: np.ndarray[Any, Any],
    targets: Targets = None,
    *,
    layer: str | None = None,
    relu_rule: str = "guided",
) -> Gradients:
    """The true gradient at a layer and, under a rule, that at the input, of one forward pass."""
    target_layer = network.layer(layer)
    forward = network.run(batch, [target_layer], record=True)
    chosen = choose_targets(targets, forward.logits)
    at = (target_layer.value,)
    requests = [GradientRequest(at=at, to_input=False), GradientRequest(RELU_RULES[relu_rule])]
    if relu_rule == "standard":
        requests = [GradientRequest(at=at)]
    activations = forward.activations(target_layer)
    results = forward.gradients(chosen, requests, retain_graph=False)
    assert results[-1].input is not None
    return Gradients(
        forward.logits,
        chosen,
        target_layer,
        activations,
        results[0].at[target_layer.value],
        results[-1].input,
        results[-1].relus_changed,
        network.relus,
    )


def random_parameters(graph: Graph, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Values that keep numbers near 1 through a network, whatever its depth.

    Weights are scaled by what they sum over; variances lie around 1, scales away from 0.
    """
    random = np.random.default_rng(seed)
    arrays = {}
    for name, shape in graph.parameters.items():
        values = random.uniform(-1, 1, shape)
        if len(shape) > 1:
            values *= np.sqrt(6 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            values = 1 + values / 2
        elif name.endswith("gamma"):
            values = np.sign(values) * (0.5 + np.abs(values))
        else:
            values *= 0.5
        arrays[name] = values.astype(np.float32)
    return arrays


def branching() -> NamedGraph:
    """Convolutions, batch norm, pooling, a residual sum and branches side by side; (3, 8, 6) in.

    Four logits behind seven ReLUs, some of which are bare and one clipped.
    """
    b = Builder((3, 8, 6))
    with b.block("trunk"):
        data = b.relu(b.batch_norm(b.conv(b.input, 6, 3, padding=1, bias=True, name="conv")))
        data = b.max_pool(data, 2, 2)
        inner = b.batch_norm(b.conv(data, 6, 3, padding=1, name="inner"))
        data = b.bare_relu(b.add(data, inner))
        branches = (
            b.relu(b.conv(data, 4, 1)),
            b.relu(b.conv(data, 4, 3, padding=1), upper=0.7),
            b.max_pool(data, 3, 1, 1),
        )
        data = b.ends(b.concat(*branches))
    data = b.relu(b.linear(b.flatten(b.relu(data)), 7))
    return b.finish(b.linear(data, 4, name="output"))


def tangled() -> Graph:
    """Values that several operators read, or one twice: a gate, a square, a difference."""
    builder = Builder((3, 6, 5))
    maps = builder.conv(builder.input, 4, 3, padding=1, bias=True)
    graph = builder.finish(maps).graph
    nodes, maps = list(graph.nodes), graph.output

    def add(operator: Operator, *inputs: Value) -> Value:
        nodes.append(Node(operator, f"node{len(nodes)}", inputs))
        return Value(len(nodes) - 1)

    gate = add(Sigmoid(), add(Mean((1, 2), keep_axes=True), maps))
    gated = add(Add(), add(Multiply(), maps, gate), add(Multiply(), maps, maps))
    joined = add(Concat(), gated, add(Subtract(), gated, maps))
    output = add(Flatten(), joined)
    return Graph(tuple(nodes), output)


def hand_worked() -> tuple[Architecture, dict[str, np.ndarray[Any, Any]]]:
    """A 3×3 convolution with two filters, a ReLU, a dense layer: (1, 4, 4) in, two logits.

    Its numbers are worked out in ``tests/engines/contract/test_hand_worked.py``.
    """
    b = Builder((1, 4, 4))
    named = b.finish(b.linear(b.flatten(b.relu(b.conv(b.input, 2, 3, bias=True))), 2))
    filters = [[[[0, 0, 0], [0, 1, 0], [0, 0, 1]]], [[[1, 0, 0], [0, 0, 0], [0, -1, 0]]]]
    output = [[1, 2, 0, -1, 1, 1, -1, 2], [1, -1, -1, 0, 3, 1, 2, 8]]
    values = (filters, [0, -0.5], output, [0.25, -0.5])
    arrays = {
        name: np.array(value, np.float32)
        for name, value in zip(named.graph.parameters, values, strict=True)
    }
    return Architecture(*named), arrays
