"""What goes over images with a window, as MXNet's operators: convolutions, pooling, columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnviz.engines.mxnet.operators import Named, Rule, Step, in_steps
from cnnviz.errors import NetworkError
from cnnviz.graph import operators as op
from cnnviz.types import Shape


def _same_pads(pads: op.Pads) -> op.Pair:
    if pads[:2] != pads[2:]:
        raise NetworkError(f"MXNet pads both sides alike; wanted is {pads}.")
    return pads[:2]


def convolution(o: op.Conv2d | op.ConvTranspose2d, inputs: Sequence[Shape]) -> Named:
    """Convolution or Deconvolution; of stacks with a Reshape before and behind."""
    attributes = {
        "kernel": o.kernel,
        "stride": o.stride,
        "dilate": o.dilation,
        "pad": _same_pads(o.padding),
        "num_filter": o.channels,
        "num_group": o.groups,
        "no_bias": len(inputs) < 3,
    }
    name = "Convolution"
    if isinstance(o, op.ConvTranspose2d):
        name, attributes = "Deconvolution", {**attributes, "adj": o.output_padding}
    return _of_stacks(name, attributes, o, inputs) if len(inputs[0]) > 4 else (name, attributes)


def _of_stacks(
    name: str, attributes: Mapping[str, Any], o: op.Operator, inputs: Sequence[Shape]
) -> Named:
    """A convolution of (N, ..., C, h, w): the maps of all stacks are a batch to MXNet."""
    data, *weights = inputs
    count = len(inputs)
    output = o.shape(data[1:], *weights)
    return in_steps(
        Step("Reshape", {"shape": (-1, *data[-3:])}, (0,)),
        Step(name, attributes, (count, *range(1, count))),
        Step("Reshape", {"shape": (-1, *output)}, (count + 1,)),
    )


def pool(o: op.MaxPool2d | op.AvgPool2d, inputs: Sequence[Shape]) -> Named:
    """Pooling of windows: their highest value, or their mean."""
    further = {"count_include_pad": o.count_include_pad} if isinstance(o, op.AvgPool2d) else {}
    if isinstance(o, op.MaxPool2d) and o.dilation != (1, 1):
        raise NetworkError("MXNet's max pooling has no dilation.")
    if o.ceil_mode:
        data = inputs[0][-3:]
        padded = zip(data[1:], o.padding[:2], o.padding[2:], o.kernel, o.stride, strict=True)
        places = [1 + -(-(size + a + b - k) // step) for size, a, b, k, step in padded]
        if o.shape(data)[1:] != tuple(places):
            raise NetworkError("MXNet's pooling has a further window, which lies in the padding.")
    return "Pooling", {
        "kernel": o.kernel,
        "stride": o.stride,
        "pad": _same_pads(o.padding),
        "pool_type": "avg" if isinstance(o, op.AvgPool2d) else "max",
        "pooling_convention": "full" if o.ceil_mode else "valid",
        **further,
    }


def global_pool(kind: str) -> Rule:
    """Pooling over height and width: ``max`` or ``avg``."""
    attributes = {"global_pool": True, "kernel": (1, 1), "pool_type": kind}
    return lambda o, inputs: ("Pooling", attributes)


def columns(o: op.Unfold | op.Fold, inputs: Sequence[Shape]) -> Named:
    """im2col, or, of a Fold, col2im."""
    attributes = {
        "kernel": o.kernel,
        "stride": o.stride,
        "dilate": o.dilation,
        "pad": _same_pads(o.padding),
    }
    if isinstance(o, op.Fold):
        return "col2im", {"output_size": o.size, **attributes}
    return "im2col", attributes
