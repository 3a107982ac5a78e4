"""Networks: tracing, layers, forward and gradients. The only room that talks to MXNet."""

from cnnviz.network.engine import (
    RELU_RULES,
    Architecture,
    Gradients,
    Layer,
    Network,
    ReluRule,
)

__all__ = ["RELU_RULES", "Architecture", "Gradients", "Layer", "Network", "ReluRule"]
