"""The embedded network: see :mod:`cnnviz.demo`."""

from __future__ import annotations

from cnnviz.demo import CHANNELS
from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    x = b.input
    with b.block("features"):
        for number, block in enumerate(CHANNELS):
            if number:
                x = b.max_pool(x, 2, 2)
            for channels in block:
                x = b.relu(b.batch_norm(b.conv(x, channels, 3, padding=1)))
        b.ends(x)
    return b.linear(b.global_avg_pool(x, name="pool"), classes, name="output")
