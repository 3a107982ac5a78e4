"""Gradients of a network by one call: logits, a layer, the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnviz.engines.base import RELU_RULES, GradientRequest
from cnnviz.engines.network import Network, Targets, choose_targets
from cnnviz.graph.architecture import Layer


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
