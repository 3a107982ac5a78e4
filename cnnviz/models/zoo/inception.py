"""Inception v3 (Szegedy et al. 2016), without its auxiliary head."""

from __future__ import annotations

from collections.abc import Sequence

from cnnviz.graph.builder import Builder
from cnnviz.graph.graph import Value
from cnnviz.graph.operators import Pair

#: Channels, kernel and stride of a convolution. One that strides has no padding.
_Convolution = tuple[int, int | Pair, int]
_WIDE, _TALL = (1, 7), (7, 1)


def build(b: Builder, name: str, classes: int) -> Value:
    """The logits."""
    with b.block("features"):
        x = b.input
        for channels, kernel, stride, padding in ((32, 3, 2, 0), (32, 3, 1, 0), (64, 3, 1, 1)):
            x = _convolution(b, x, channels, kernel, stride, padding)
        x = b.max_pool(x, 3, 2)
        x = _convolution(b, x, 80, 1)
        x = _convolution(b, x, 192, 3)
        x = b.max_pool(x, 3, 2)
        for number, pooled in enumerate((32, 64, 64), 1):
            x = _module_a(b, x, f"A{number}", pooled)
        x = _module_b(b, x)
        for number, channels in enumerate((128, 160, 160, 192), 1):
            x = _module_c(b, x, f"C{number}", channels)
        x = _module_d(b, x)
        for number in (1, 2):
            x = _module_e(b, x, f"E{number}")
        x = b.ends(b.passes(b.avg_pool(x, 8, 8)))
    return b.linear(x, classes, name="output")


def _module_a(b: Builder, x: Value, prefix: str, pooled: int) -> Value:
    with b.block(), b.scope(prefix):
        return b.ends(
            b.concat(
                _branch(b, x, [(64, 1, 1)]),
                _branch(b, x, [(48, 1, 1), (64, 5, 1)]),
                _branch(b, x, [(64, 1, 1), (96, 3, 1), (96, 3, 1)]),
                _pooled_branch(b, x, pooled),
            )
        )


def _module_b(b: Builder, x: Value) -> Value:
    with b.block(), b.scope("B"):
        return b.ends(
            b.concat(
                _branch(b, x, [(384, 3, 2)]),
                _branch(b, x, [(64, 1, 1), (96, 3, 1), (96, 3, 2)]),
                _max_branch(b, x),
            )
        )


def _module_c(b: Builder, x: Value, prefix: str, channels: int) -> Value:
    once: list[_Convolution] = [(channels, 1, 1), (channels, _WIDE, 1), (192, _TALL, 1)]
    twice: list[_Convolution] = [
        (channels, 1, 1),
        (channels, _TALL, 1),
        (channels, _WIDE, 1),
        (channels, _TALL, 1),
        (192, _WIDE, 1),
    ]
    with b.block(), b.scope(prefix):
        return b.ends(
            b.concat(
                _branch(b, x, [(192, 1, 1)]),
                _branch(b, x, once),
                _branch(b, x, twice),
                _pooled_branch(b, x, 192),
            )
        )


def _module_d(b: Builder, x: Value) -> Value:
    long: list[_Convolution] = [(192, 1, 1), (192, _WIDE, 1), (192, _TALL, 1), (192, 3, 2)]
    with b.block(), b.scope("D"):
        return b.ends(
            b.concat(
                _branch(b, x, [(192, 1, 1), (320, 3, 2)]), _branch(b, x, long), _max_branch(b, x)
            )
        )


def _module_e(b: Builder, x: Value, prefix: str) -> Value:
    with b.block(), b.scope(prefix):
        values = [_branch(b, x, [(320, 1, 1)])]
        for convolutions in ([(384, 1, 1)], [(448, 1, 1), (384, 3, 1)]):
            with b.block():
                y = _branch(b, x, convolutions)
                with b.block():
                    wide, tall = (_branch(b, y, [(384, kernel, 1)]) for kernel in ((1, 3), (3, 1)))
                    y = b.ends(b.concat(wide, tall))
                values.append(b.ends(y))
        return b.ends(b.concat(*values, _pooled_branch(b, x, 192)))


def _branch(b: Builder, x: Value, convolutions: Sequence[_Convolution]) -> Value:
    """Convolutions behind one another, in a block."""
    with b.block():
        for channels, kernel, stride in convolutions:
            height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
            padding = (0, 0) if stride > 1 else (height // 2, width // 2)
            x = _convolution(b, x, channels, kernel, stride, padding)
        return b.ends(x)


def _pooled_branch(b: Builder, x: Value, channels: int) -> Value:
    """Means over 3×3, and a convolution."""
    with b.block():
        return b.ends(_convolution(b, b.avg_pool(x, 3, 1, 1), channels, 1))


def _max_branch(b: Builder, x: Value) -> Value:
    with b.block():
        return b.ends(b.max_pool(x, 3, 2))


def _convolution(
    b: Builder,
    x: Value,
    channels: int,
    kernel: int | Pair,
    stride: int = 1,
    padding: int | Pair = 0,
) -> Value:
    """A convolution, its batch norm and its ReLU, in a block."""
    with b.block():
        x = b.conv(x, channels, kernel, stride, padding)
        return b.ends(b.relu(b.batch_norm(x, eps=1e-3)))
