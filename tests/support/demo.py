"""The embedded network, ready to run."""

from __future__ import annotations

from cnnviz.engines.network import Network
from cnnviz.models.config import ModelConfig
from cnnviz.models.resolve import find_model
from tests.support.engines import ON_CPU


def demo_network() -> Network:
    """The demo network with the weights that ship, on the CPU."""
    network, _ = find_model(ModelConfig("demo")).load(ON_CPU)
    return network
