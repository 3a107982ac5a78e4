"""DenseNet-BC (Huang et al. 2017)."""

from __future__ import annotations

from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value

#: Channels of the first convolution, what each layer adds, and how many layers each stage has.
_SIZES = {
    "121": (64, 32, (6, 12, 24, 16)),
    "161": (96, 48, (6, 12, 36, 24)),
    "169": (64, 32, (6, 12, 32, 32)),
    "201": (64, 32, (6, 12, 48, 32)),
}


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    channels, growth, stages = _SIZES[name.removeprefix("densenet")]
    with b.block("features"):
        x = b.relu(b.batch_norm(b.conv(b.input, channels, 7, 2, 3)))
        x = b.max_pool(x, 3, 2, 1)
        for number, layers in enumerate(stages, 1):
            with b.block(), b.scope(f"stage{number}"):
                for _ in range(layers):
                    x = _dense_layer(b, x, growth)
                b.ends(x)
            channels += layers * growth
            if number < len(stages):
                channels //= 2
                with b.block():
                    x = b.conv(b.relu(b.batch_norm(x)), channels, 1)
                    x = b.ends(b.avg_pool(x, 2, 2))
        x = b.relu(b.batch_norm(x))
        x = b.ends(b.flatten(b.avg_pool(x, 7, 7)))
    return b.linear(x, classes, name="output")


def _dense_layer(b: Builder, x: Value, growth: int) -> Value:
    """A layer that hands on what it was given, and its own channels beside it."""
    with b.block():
        b.passes(x)
        with b.block():
            y = b.conv(b.relu(b.batch_norm(x)), 4 * growth, 1)
            y = b.ends(b.conv(b.relu(b.batch_norm(y)), growth, 3, 1, 1))
        return b.ends(b.concat(x, y))
