"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016)."""

from __future__ import annotations

from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value

#: Channels and kernel of the first convolution, and behind which fire modules a pooling stands.
_VERSIONS = {"1.0": (96, 7, (3, 7)), "1.1": (64, 3, (2, 4))}
#: Channels of the fire modules: squeezed, and of each half expanded.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    channels, kernel, pooled = _VERSIONS[name.removeprefix("squeezenet")]
    with b.block("features"):
        x = b.relu(b.conv(b.input, channels, kernel, 2, bias=True))
        x = b.max_pool(x, 3, 2, ceil_mode=True)
        for number, (squeezed, expanded) in enumerate(_FIRES, 1):
            x = _fire(b, x, squeezed, expanded)
            if number in pooled:
                x = b.max_pool(x, 3, 2, ceil_mode=True)
        b.ends(b.passes(x))
    with b.block("output"):
        x = b.relu(b.conv(x, classes, 1, bias=True))
        return b.ends(b.flatten(b.avg_pool(x, 13, 13)))


def _fire(b: Builder, x: Value, squeezed: int, expanded: int) -> Value:
    """Few channels, and from these many by kernels of 1 and of 3."""
    with b.block():
        with b.block():
            x = b.ends(b.relu(b.conv(x, squeezed, 1, bias=True)))
        with b.block():
            halves = []
            for kernel in (1, 3):
                with b.block():
                    y = b.conv(x, expanded, kernel, padding=kernel // 2, bias=True)
                    halves.append(b.ends(b.relu(y)))
            x = b.ends(b.concat(*halves))
        return b.ends(x)
