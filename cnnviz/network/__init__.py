"""Networks: tracing, layers, forward and gradients. The only room that talks to MXNet."""

from cnnviz.graph.architecture import Architecture, Layer
from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.network.backward import RELU_RULES, Backward, ForwardPass, Observation, ReluRule, Walk
from cnnviz.network.engine import Gradients, Network, choose_targets

__all__ = [
    "RELU_RULES",
    "SOFTMAX",
    "Activation",
    "Architecture",
    "Backward",
    "ForwardPass",
    "Gradients",
    "Layer",
    "Network",
    "Observation",
    "ReluRule",
    "Walk",
    "choose_targets",
]
