"""What goes over images with a window, as PyTorch's functions: convolutions, pooling, columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnnviz.engines.torch.runtime import import_torch
from cnnviz.graph import operators as op

#: From an operator's arguments, tensors with the batch first, to its output, or all of them.
Function = Callable[..., Any]


def _of_stacks(run: Function) -> Function:
    """A convolution of (N, ..., C, h, w): the maps of all stacks are a batch to PyTorch."""

    def run_stacks(data: Any, *weights: Any) -> Any:
        if data.dim() == 4:
            return run(data, *weights)
        return run(data.flatten(0, -4), *weights).unflatten(0, data.shape[:-3])

    return run_stacks


def convolution(o: op.Conv2d) -> Function:
    """``conv2d``, with padding of its own where the sides differ."""
    functional = import_torch().nn.functional
    before, after = o.padding[:2], o.padding[2:]

    def run(data: Any, weight: Any, bias: Any = None) -> Any:
        padding = before
        if before != after:
            data, padding = _padded(data, o.padding), (0, 0)
        return functional.conv2d(data, weight, bias, o.stride, padding, o.dilation, o.groups)

    return _of_stacks(run)


def transposed_convolution(o: op.ConvTranspose2d) -> Function:
    """``conv_transpose2d``, whose output is cut where the sides differ."""
    functional = import_torch().nn.functional
    top, left, bottom, right = o.padding
    if (top, left) == (bottom, right):
        return _of_stacks(
            lambda data, weight, bias=None: functional.conv_transpose2d(
                data, weight, bias, o.stride, (top, left), o.output_padding, o.groups, o.dilation
            )
        )

    def run(data: Any, weight: Any, bias: Any = None) -> Any:
        whole = functional.conv_transpose2d(
            data, weight, bias, o.stride, 0, o.output_padding, o.groups, o.dilation
        )
        return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]

    return _of_stacks(run)


def max_pool(o: op.MaxPool2d) -> Function:
    """``max_pool2d``, with padding of its own where that is more than PyTorch allows."""
    pool = import_torch().nn.functional.max_pool2d

    def run(data: Any) -> Any:
        padding = o.padding[:2]
        if _needs_padding(o):
            data, padding = _padded(data, o.padding, -float("inf")), (0, 0)
        return pool(data, o.kernel, o.stride, padding, o.dilation, o.ceil_mode)

    return run


def average_pool(o: op.AvgPool2d) -> Function:
    """``avg_pool2d``, likewise."""
    torch = import_torch()
    pool = torch.nn.functional.avg_pool2d

    def run(data: Any) -> Any:
        if not _needs_padding(o):
            return pool(data, o.kernel, o.stride, o.padding[:2], o.ceil_mode, o.count_include_pad)
        padded = _padded(data, o.padding)
        means = pool(padded, o.kernel, o.stride, 0, o.ceil_mode)
        if o.count_include_pad:
            return means
        # Each mean is of a window's values and of zeros: by the share that values have of it.
        ones = torch.ones_like(data[:1, :1])
        return means / pool(_padded(ones, o.padding), o.kernel, o.stride, 0, o.ceil_mode)

    return run


def _needs_padding(o: op.MaxPool2d | op.AvgPool2d) -> bool:
    """Whether the padding is more than a pooling of PyTorch's can do by itself."""
    before, after = o.padding[:2], o.padding[2:]
    return before != after or any(
        2 * pad > size for pad, size in zip(before, o.kernel, strict=True)
    )


def _padded(data: Any, pads: op.Pads, value: float = 0.0) -> Any:
    top, left, bottom, right = pads
    return import_torch().nn.functional.pad(data, (left, right, top, bottom), value=value)


def unfold(o: op.Unfold) -> Function:
    """``unfold``, of an image padded by itself where the sides differ."""
    functional = import_torch().nn.functional
    before, after = o.padding[:2], o.padding[2:]
    if before == after:
        return lambda data: functional.unfold(data, o.kernel, o.dilation, before, o.stride)
    return lambda data: functional.unfold(
        _padded(data, o.padding), o.kernel, o.dilation, 0, o.stride
    )


def fold(o: op.Fold) -> Function:
    """``fold`` onto an image with its padding, which is cut off."""
    functional = import_torch().nn.functional
    top, left, bottom, right = o.padding
    height, width = o.size
    whole = (top + height + bottom, left + width + right)

    def run(data: Any) -> Any:
        image = functional.fold(data, whole, o.kernel, o.dilation, 0, o.stride)
        return image[:, :, top : top + height, left : left + width]

    return run
