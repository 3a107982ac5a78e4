"""VGG (Simonyan & Zisserman 2015), with and without batch norm."""

from __future__ import annotations

from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value

#: How many convolutions each of the five blocks has, by the number of layers with weights.
_DEPTHS = {"11": (1, 1, 2, 2, 2), "13": (2,) * 5, "16": (2, 2, 3, 3, 3), "19": (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    depth, _, batch_norm = name.removeprefix("vgg").partition("_")
    x = b.input
    with b.block("features"):
        for convolutions, channels in zip(_DEPTHS[depth], _CHANNELS, strict=True):
            for _ in range(convolutions):
                x = b.conv(x, channels, 3, padding=1, bias=True)
                if batch_norm:
                    x = b.batch_norm(x)
                x = b.relu(x)
            x = b.max_pool(x, 2, 2)
        for _ in range(2):
            x = b.passes(b.own_relu(b.linear(x, 4096)))
        b.ends(x)
    return b.linear(x, classes, name="output")
