"""What goes over images with a window, as MXNet's operators: convolutions, pooling, columns."""

from __future__ import annotations

from collections.abc import Sequence

from cnnviz.engines.mxnet.operators import Named, Rule, Step, in_steps
from cnnviz.errors import NetworkError
from cnnviz.graph import operators as op
from cnnviz.types import Shape

#: What no value of an image is below: a window's highest value is never that of its padding.
_LOWEST = -3.4028234e38


def _is_even(pads: op.Pads) -> bool:
    """Whether both sides are padded alike, as MXNet's windows do."""
    return pads[:2] == pads[2:]


def _padding(pads: op.Pads, data: int, value: float = 0.0) -> Step:
    """A step of its own, which pads each side as it should."""
    top, left, bottom, right = pads
    width = (0, 0, 0, 0, top, bottom, left, right)
    return Step("Pad", {"mode": "constant", "pad_width": width, "constant_value": value}, (data,))


def convolution(o: op.Conv2d | op.ConvTranspose2d, inputs: Sequence[Shape]) -> Named:
    """Convolution or Deconvolution; of stacks with a Reshape before and behind."""
    even = _is_even(o.padding)
    attributes = {
        "kernel": o.kernel,
        "stride": o.stride,
        "dilate": o.dilation,
        "pad": o.padding[:2] if even else (0, 0),
        "num_filter": o.channels,
        "num_group": o.groups,
        "no_bias": len(inputs) < 3,
    }
    name = "Convolution"
    if isinstance(o, op.ConvTranspose2d):
        if not even:
            raise NetworkError(f"MXNet cuts both sides off alike; wanted is {o.padding}.")
        name, attributes = "Deconvolution", {**attributes, "adj": o.output_padding}
    data, *weights = inputs
    stacks = len(data) > 4  # (N, ..., C, h, w): the maps of all are a batch to MXNet
    if even and not stacks:
        return name, attributes
    count, before, behind = len(inputs), [], []
    if stacks:
        before.append(Step("Reshape", {"shape": (-1, *data[-3:])}, (0,)))
    if not even:
        before.append(_padding(o.padding, count if stacks else 0))
    last = count + len(before)  # what the convolution gives
    if stacks:
        output = o.shape(data[1:], *weights)
        behind.append(Step("Reshape", {"shape": (-1, *output)}, (last,)))
    return in_steps(*before, Step(name, attributes, (last - 1, *range(1, count))), *behind)


def pool(o: op.MaxPool2d | op.AvgPool2d, inputs: Sequence[Shape]) -> Named:
    """Pooling of windows: their highest value, or their mean."""
    even, is_mean = _is_even(o.padding), isinstance(o, op.AvgPool2d)
    further = {"count_include_pad": o.count_include_pad} if isinstance(o, op.AvgPool2d) else {}
    if isinstance(o, op.MaxPool2d) and o.dilation != (1, 1):
        raise NetworkError("MXNet's max pooling has no dilation.")
    if is_mean and not even and not (further["count_include_pad"] and not o.ceil_mode):
        raise NetworkError(f"MXNet's mean pads both sides alike; wanted is {o.padding}.")
    if o.ceil_mode:
        data = inputs[0][-3:]
        padded = zip(data[1:], o.padding[:2], o.padding[2:], o.kernel, o.stride, strict=True)
        places = [1 + -(-(size + a + b - k) // step) for size, a, b, k, step in padded]
        if o.shape(data)[1:] != tuple(places):
            raise NetworkError("MXNet's pooling has a further window, which lies in the padding.")
    attributes = {
        "kernel": o.kernel,
        "stride": o.stride,
        "pad": o.padding[:2] if even else (0, 0),
        "pool_type": "avg" if is_mean else "max",
        "pooling_convention": "full" if o.ceil_mode else "valid",
        **further,
    }
    if even:
        return "Pooling", attributes
    padding = _padding(o.padding, 0, 0.0 if is_mean else _LOWEST)
    return in_steps(padding, Step("Pooling", attributes, (1,)))


def global_pool(kind: str) -> Rule:
    """Pooling over height and width: ``max`` or ``avg``."""
    attributes = {"global_pool": True, "kernel": (1, 1), "pool_type": kind}
    return lambda o, inputs: ("Pooling", attributes)


def columns(o: op.Unfold | op.Fold, inputs: Sequence[Shape]) -> Named:
    """im2col, or, of a Fold, col2im."""
    even = _is_even(o.padding)
    attributes = {
        "kernel": o.kernel,
        "stride": o.stride,
        "dilate": o.dilation,
        "pad": o.padding[:2] if even else (0, 0),
    }
    if isinstance(o, op.Fold):
        if not even:
            raise NetworkError(f"MXNet cuts both sides off alike; wanted is {o.padding}.")
        return "col2im", {"output_size": o.size, **attributes}
    if even:
        return "im2col", attributes
    return in_steps(_padding(o.padding, 0), Step("im2col", attributes, (1,)))
