"""Networks: tracing, layers, forward and gradients. The only room that talks to MXNet."""

from cnnviz.network.architecture import Architecture, Layer
from cnnviz.network.engine import (
    RELU_RULES,
    Backward,
    ForwardPass,
    Gradients,
    Network,
    ReluRule,
    choose_targets,
)

__all__ = [
    "RELU_RULES",
    "Architecture",
    "Backward",
    "ForwardPass",
    "Gradients",
    "Layer",
    "Network",
    "ReluRule",
    "choose_targets",
]
