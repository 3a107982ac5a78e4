"""AlexNet (Krizhevsky 2014, one tower)."""

from __future__ import annotations

from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value

#: Channels, kernel, stride and padding of the convolutions; those with a max pooling behind them.
_CONVOLUTIONS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
_POOLED = (0, 1, 4)


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    x = b.input
    with b.block("features"):
        for number, (channels, kernel, stride, padding) in enumerate(_CONVOLUTIONS):
            x = b.own_relu(b.conv(x, channels, kernel, stride, padding, bias=True))
            if number in _POOLED:
                x = b.max_pool(x, 3, 2)
        x = b.flatten(x)
        for _ in range(2):
            x = b.passes(b.own_relu(b.linear(x, 4096)))
        b.ends(x)
    return b.linear(x, classes, name="output")
