"""Activations that an ONNX file rounds: the rounding is left out, a ReLU within it is not.

Whole numbers end somewhere. What is quantized to those from 0 on loses all that is negative, and so
onnxruntime's quantizer leaves out the ReLU in front: the rounding does its work.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnnviz.graph.graph import Value
from cnnviz.graph.operators import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    Add,
    AvgPool2d,
    Concat,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    Identity,
    MaxPool2d,
    ReLU,
    Reshape,
    Sigmoid,
    Softmax,
    Transpose,
)
from cnnviz.importers.onnx_step import Given, Rule, Step
from cnnviz.importers.tensor_functions import clipped
from cnnviz.importers.tensors import TensorGraph

_NEVER_NEGATIVE = (ReLU, Sigmoid, Softmax)
#: What gives nothing negative where nothing negative comes in.
_KEEPING = (
    *(AdaptiveAvgPool2d, AdaptiveMaxPool2d, Add, AvgPool2d, Concat, Flatten, GlobalAvgPool2d),
    *(GlobalMaxPool2d, Identity, MaxPool2d, Reshape, Transpose),
)
#: So far back is looked for what made numbers positive.
_FARTHEST = 16


def _quantize(step: Step) -> Given:
    x = step.tensor()
    if step.optional(2) is None:
        zero, lowest, highest = 0.0, 0, 255  # of uint8, which it is then
    else:
        stored = step.constant(2, "zero point")
        kind = np.asarray(stored.array).dtype
        if stored.number is None or kind not in (np.uint8, np.int8, np.uint16, np.int16):
            return x
        zero, limits = stored.number, np.iinfo(kind)
        lowest, highest = limits.min, limits.max
    scale = step.constant(1, "scale").number
    if scale is None or zero != lowest or _is_never_negative(step.graph, x.value):
        return x
    return clipped(step.graph, x, 0.0, scale * (highest - zero))


def _is_never_negative(graph: TensorGraph, value: Value, farthest: int = _FARTHEST) -> bool:
    """Whether numbers cannot be negative, as far as the operators that they come from tell."""
    node = graph.node(value)
    if isinstance(node.operator, _NEVER_NEGATIVE):
        return True
    return (
        farthest > 0
        and isinstance(node.operator, _KEEPING)
        and all(_is_never_negative(graph, one, farthest - 1) for one in node.inputs)
    )


def _dequantize(step: Step) -> Given:
    return step.tensor()


RULES: Mapping[str, Rule] = {"QuantizeLinear": _quantize, "DequantizeLinear": _dequantize}
