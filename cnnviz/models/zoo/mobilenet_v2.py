"""MobileNet v2 (Sandler et al. 2018)."""

from __future__ import annotations

from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value

#: By how much a block widens within, its channels at full width, how often, and its stride.
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    width = float(name.removeprefix("mobilenetv2_"))
    before = int(32 * width)
    with b.block("features"), b.scope("features"):
        x = b.relu(b.batch_norm(b.conv(b.input, before, 3, 2, 1)), 6)
        for wider, full, repeats, stride in _BLOCKS:
            channels = int(full * width)
            for number in range(repeats):
                x = _bottleneck(b, x, (before, wider * before, channels), 1 if number else stride)
                before = channels
        x = b.relu(b.batch_norm(b.conv(x, max(1280, int(1280 * width)), 1)), 6)
        x = b.ends(b.global_avg_pool(x))
    with b.block("output"), b.scope("output"):
        x = b.conv(x, classes, 1, node="output_pred_fwd")
        return b.ends(b.flatten(x))


def _bottleneck(b: Builder, x: Value, channels: tuple[int, int, int], stride: int) -> Value:
    """Wide within, narrow and linear at its ends, and around it where nothing changes in size."""
    before, within, after = channels
    with b.block(), b.scope("linearbottleneck", numbered=True):
        with b.block("out"):
            y = b.relu(b.batch_norm(b.conv(x, within, 1)), 6)
            y = b.relu(b.batch_norm(b.conv(y, within, 3, stride, 1, groups=within)), 6)
            y = b.ends(b.batch_norm(b.conv(y, after, 1)))
        return b.ends(b.add(y, x, "elemwise_add") if stride == 1 and before == after else y)
