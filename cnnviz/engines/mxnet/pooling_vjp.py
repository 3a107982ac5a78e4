"""The derivative of pooling where MXNet's is wrong: windows that are cut, or hold only padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.engines.mxnet.symbol import Node, is_true, numbers
from cnnviz.engines.mxnet.vjp import Vjp
from cnnviz.types import Float32


class _Windows:
    """Where the windows of a pooling lie: first and end on each axis, padding included."""

    def __init__(self, node: Node, shape: Sequence[int]) -> None:
        axes = len(shape) - 2
        self.sizes = tuple(shape[2:])
        self.kernel = numbers(node.attrs, "kernel")
        self.stride = numbers(node.attrs, "stride") or (1,) * axes
        self.pad = numbers(node.attrs, "pad") or (0,) * axes
        #: How much of each axis the windows leave over or lack; 0 where they fit.
        self.rest = tuple(
            (n + 2 * p - k) % s
            for n, k, s, p in zip(self.sizes, self.kernel, self.stride, self.pad, strict=True)
        )

    def first(self, axis: int) -> npt.NDArray[np.int64]:
        """Where on an axis each window of the full convention begins; below 0 is padding."""
        size, kernel, stride, pad = (
            of[axis] for of in (self.sizes, self.kernel, self.stride, self.pad)
        )
        count = 1 + math.ceil((size + 2 * pad - kernel) / stride)
        return np.arange(count) * stride - pad


def pooling_vjp(node: Node, shapes: Sequence[Sequence[int]]) -> Vjp | None:
    """Our derivative of pooling images of a shape, (N, C, h, w), or None where MXNet's is right."""
    if is_true(node.attrs, "global_pool") or node.attrs.get("pooling_convention") != "full":
        return None
    windows = _Windows(node, shapes[0])
    if not any(windows.rest):
        return None
    kind = node.attrs.get("pool_type", "max")
    if kind == "avg":
        return _average_pooling(windows, is_true(node.attrs, "count_include_pad", default=True))
    void = any(windows.first(axis)[-1] >= size for axis, size in enumerate(windows.sizes))
    return _max_pooling(windows) if kind == "max" and void else None


def _average_pooling(windows: _Windows, count_include_pad: bool) -> Vjp:
    """Average pooling does the same along each axis: a matrix, whose transpose leads back."""
    shares = []
    for axis, size in enumerate(windows.sizes):
        first = windows.first(axis)
        end = np.minimum(first + windows.kernel[axis], size + windows.pad[axis])
        place = np.arange(size)[:, None]
        inside = (first <= place) & (place < end)
        count = end - first if count_include_pad else inside.sum(axis=0)
        shares.append((inside / np.maximum(count, 1)).astype(np.float32))

    def vjp(
        _inputs: Sequence[Float32], _outputs: Sequence[Float32], gradients: Sequence[Float32]
    ) -> list[Float32]:
        passed = gradients[0]
        for axis, share in enumerate(shares, start=2):
            passed = np.moveaxis(np.moveaxis(passed, axis, -1) @ share.T, -1, axis)
        return [np.ascontiguousarray(passed)]

    return vjp


def _max_pooling(windows: _Windows) -> Vjp:
    """The gradient goes to each window's first highest value, and nowhere if it has none."""
    counts = [len(windows.first(axis)) for axis in range(len(windows.sizes))]
    reach = [
        (pad, max(0, (count - 1) * stride + kernel - pad - size))
        for count, stride, kernel, pad, size in zip(
            counts, windows.stride, windows.kernel, windows.pad, windows.sizes, strict=True
        )
    ]
    inside: Any = (
        ...,
        *(slice(pad, pad + size) for (pad, _), size in zip(reach, windows.sizes, strict=True)),
    )

    def vjp(
        inputs: Sequence[Float32], outputs: Sequence[Float32], gradients: Sequence[Float32]
    ) -> list[Float32]:
        padded = np.pad(inputs[0], [(0, 0), (0, 0), *reach], constant_values=-np.inf)
        passed = np.zeros_like(padded)
        left = gradients[0].copy()
        for offsets in product(*map(range, windows.kernel)):
            places: Any = (
                ...,
                *(
                    slice(offset, offset + (count - 1) * stride + 1, stride)
                    for offset, count, stride in zip(offsets, counts, windows.stride, strict=True)
                ),
            )
            highest = padded[places] == outputs[0]
            passed[places] += np.where(highest, left, 0)
            left[highest] = 0
        return [passed[inside]]

    return vjp
