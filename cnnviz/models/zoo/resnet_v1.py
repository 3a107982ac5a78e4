"""ResNet (He et al. 2016), activations behind the sums; bottlenecks stride in their first layer."""

from __future__ import annotations

from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value

#: How many blocks each stage has, by depth.
DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
#: From this depth on blocks are bottlenecks, four times as wide outside as within.
BOTTLENECK = 50


def depth_of(name: str) -> int:
    """50, of ``resnet50_v1``."""
    return int(name.removeprefix("resnet").partition("_")[0])


def widths(depth: int) -> tuple[int, ...]:
    """How many channels each stage has."""
    wider = 4 if depth >= BOTTLENECK else 1
    return tuple(channels * wider for channels in (64, 128, 256, 512))


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    depth = depth_of(name)
    bottleneck = depth >= BOTTLENECK
    before = 64
    with b.block("features"):
        x = b.relu(b.batch_norm(b.conv(b.input, before, 7, 2, 3)))
        x = b.max_pool(x, 3, 2, 1)
        for number, (blocks, channels) in enumerate(zip(DEPTHS[depth], widths(depth), strict=True)):
            with b.block(), b.scope(f"stage{number + 1}"):
                for block in range(blocks):
                    stride = 2 if number and not block else 1
                    with b.block():
                        way = _bottleneck if bottleneck else _basic
                        around = not block and channels != before
                        x = b.ends(b.bare_relu(way(b, x, channels, stride, around)))
                b.ends(x)
            before = channels
        x = b.ends(b.global_avg_pool(x))
    return b.linear(x, classes, name="output")


def _basic(b: Builder, x: Value, channels: int, stride: int, around: bool) -> Value:
    """Two convolutions and what goes around them."""
    with b.block("body"):
        y = b.relu(b.batch_norm(b.conv(x, channels, 3, stride, 1)))
        y = b.ends(b.batch_norm(b.conv(y, channels, 3, 1, 1)))
    return b.add(_around(b, x, channels, stride) if around else x, y)


def _bottleneck(b: Builder, x: Value, channels: int, stride: int, around: bool) -> Value:
    """Three convolutions, narrower within, and what goes around them."""
    with b.block("body"):
        y = b.relu(b.batch_norm(b.conv(x, channels // 4, 1, stride, bias=True)))
        y = b.relu(b.batch_norm(b.conv(y, channels // 4, 3, 1, 1)))
        y = b.ends(b.batch_norm(b.conv(y, channels, 1, bias=True)))
    return b.add(y, _around(b, x, channels, stride) if around else x)


def _around(b: Builder, x: Value, channels: int, stride: int) -> Value:
    """The block's input, brought to the size of its output."""
    with b.block("downsample"):
        return b.ends(b.batch_norm(b.conv(x, channels, 1, stride)))
