"""ResNet with activations before the convolutions (He et al. 2016, "Identity mappings")."""

from __future__ import annotations

from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value
from cnnviz.models.zoo.resnet_v1 import BOTTLENECK, DEPTHS, depth_of, widths


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    depth = depth_of(name)
    before = 64
    with b.block("features"):
        x = b.batch_norm(b.input, affine=False)
        x = b.relu(b.batch_norm(b.conv(x, before, 7, 2, 3)))
        x = b.max_pool(x, 3, 2, 1)
        for number, (blocks, channels) in enumerate(zip(DEPTHS[depth], widths(depth), strict=True)):
            with b.block(), b.scope(f"stage{number + 1}"):
                for block in range(blocks):
                    stride = 2 if number and not block else 1
                    around = not block and channels != before
                    with b.block():
                        x = b.ends(_block(b, x, channels, stride, depth >= BOTTLENECK, around))
                b.ends(x)
            before = channels
        x = b.relu(b.batch_norm(x))
        x = b.ends(b.flatten(b.global_avg_pool(x)))
    return b.linear(x, classes, name="output")


def _block(
    b: Builder, x: Value, channels: int, stride: int, bottleneck: bool, around: bool
) -> Value:
    """Convolutions, each behind its batch norm and ReLU, and what goes around them."""
    within = channels // 4 if bottleneck else channels
    # Channels, kernel, stride and padding.
    convolutions = (
        [(within, 1, 1, 0), (within, 3, stride, 1), (channels, 1, 1, 0)]
        if bottleneck
        else [(within, 3, stride, 1), (channels, 3, 1, 1)]
    )
    y, first = x, x
    for number, convolution in enumerate(convolutions, 1):
        y = b.bare_relu(b.batch_norm(y, name=f"bn{number}"))
        first = y if number == 1 else first
        y = b.conv(y, *convolution, name=f"conv{number}")
    return b.add(y, b.conv(first, channels, 1, stride, name="downsample") if around else x)
