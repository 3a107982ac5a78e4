"""MobileNet (Howard et al. 2017)."""

from __future__ import annotations

from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value

#: Channels and stride of the separable convolutions at full width.
_LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    width = float(name.removeprefix("mobilenet"))
    before = int(32 * width)
    with b.block("features"):
        x = b.relu(b.batch_norm(b.conv(b.input, before, 3, 2, 1)))
        for full, stride in _LAYERS:
            channels = int(full * width)
            x = b.relu(b.batch_norm(b.conv(x, before, 3, stride, 1, groups=before)))
            x = b.relu(b.batch_norm(b.conv(x, channels, 1)))
            before = channels
        x = b.ends(b.flatten(b.global_avg_pool(x)))
    return b.linear(x, classes, name="output")
