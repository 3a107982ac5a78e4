"""Networks: tracing, layers, forward and gradients. The only room that talks to MXNet.

The names below are looked up when they are first used: whoever only wants to read weights need not
wait for the engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnviz.graph.architecture import Architecture as Architecture
    from cnnviz.graph.architecture import Layer as Layer
    from cnnviz.graph.ends import SOFTMAX as SOFTMAX
    from cnnviz.graph.ends import Activation as Activation
    from cnnviz.network.backward import RELU_RULES as RELU_RULES
    from cnnviz.network.backward import Backward as Backward
    from cnnviz.network.backward import ForwardPass as ForwardPass
    from cnnviz.network.backward import Observation as Observation
    from cnnviz.network.backward import ReluRule as ReluRule
    from cnnviz.network.backward import Walk as Walk
    from cnnviz.network.engine import Gradients as Gradients
    from cnnviz.network.engine import Network as Network
    from cnnviz.network.engine import choose_targets as choose_targets

_PUBLIC = {
    "RELU_RULES": "cnnviz.network.backward",
    "SOFTMAX": "cnnviz.graph.ends",
    "Activation": "cnnviz.graph.ends",
    "Architecture": "cnnviz.graph.architecture",
    "Backward": "cnnviz.network.backward",
    "ForwardPass": "cnnviz.network.backward",
    "Gradients": "cnnviz.network.engine",
    "Layer": "cnnviz.graph.architecture",
    "Network": "cnnviz.network.engine",
    "Observation": "cnnviz.network.backward",
    "ReluRule": "cnnviz.network.backward",
    "Walk": "cnnviz.network.backward",
    "choose_targets": "cnnviz.network.engine",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
