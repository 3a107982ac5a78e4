"""ONNX's functions of each number by itself, and of several at the same place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import (
    ELU,
    GELU,
    SELU,
    Abs,
    Add,
    Affine,
    Cos,
    Divide,
    Erf,
    Exp,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    Log,
    Maximum,
    Minimum,
    Mish,
    Multiply,
    Operator,
    Power,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Softplus,
    Softsign,
    Subtract,
    Tanh,
)
from cnnviz.importers.onnx_step import Rule, Step
from cnnviz.importers.tensor_arithmetic import Arithmetic, arithmetic, unary
from cnnviz.importers.tensor_functions import celu, clipped, extreme, power, prelu, scaled
from cnnviz.importers.tensor_shapes import where
from cnnviz.importers.tensors import Constant, Operand, Tensor, TensorGraph
from cnnviz.types import Array


def _function(make: Callable[[Step], Operator]) -> Rule:
    return lambda step: unary(step.graph, make(step), step.tensor())


def _same(step: Step) -> Operand:
    """What changes no number: an identity, dropout in inference."""
    if step.outputs > 1 and step.kind != "Dropout":
        raise NetworkError("it has more outputs than it should")
    return step.operand(0)


def _dropout(step: Step) -> Operand:
    training = step.optional(2)
    if isinstance(training, Constant) and training.number:
        raise NetworkError(
            "it drops values at random, as in training: export the network in inference mode"
        )
    return step.tensor()


def _cast(step: Step) -> Operand:
    from onnx import TensorProto

    kinds = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
    if step.integer("to", 0) not in kinds:
        raise NetworkError(
            "it makes whole numbers or truth values of what is computed from the images, which has "
            "no gradient"
        )
    return step.tensor()


def _cast_like(step: Step) -> Operand:
    like = step.operand(1)
    if isinstance(like, Constant) and not np.issubdtype(like.array.dtype, np.floating):
        raise NetworkError("it makes whole numbers of what is computed from the images")
    return step.tensor()


def _arithmetic(kind: Arithmetic) -> Rule:
    return lambda step: arithmetic(step.graph, kind, step.operand(0), step.operand(1))


_Two = Callable[[TensorGraph, Operand, Operand], Tensor]


def _several(stored: Callable[..., Array], computed: _Two) -> Rule:
    """A function of two, for any number of operands: of stored ones, and of others."""

    def rule(step: Step) -> Operand:
        found = step.operand(0)
        for place in range(1, len(step.inputs)):
            other = step.operand(place)
            if isinstance(found, Constant) and isinstance(other, Constant):
                found = Constant(stored(found.array, other.array))
            else:
                found = computed(step.graph, found, other)
        return found

    return rule


_sum = _several(np.add, lambda graph, *two: arithmetic(graph, Add, *two))


def _mean(step: Step) -> Operand:
    total = _sum(step)
    assert isinstance(total, Tensor)
    return scaled(step.graph, total, 1 / len(step.inputs))


def _clip(step: Step) -> Operand:
    lower, upper = step.bound("min", 1, -math.inf), step.bound("max", 2, math.inf)
    return clipped(step.graph, step.tensor(), lower, upper)


def _thresholded(step: Step) -> Operand:
    if step.number("alpha", 1.0) != 0:
        raise NetworkError("it jumps at its threshold, which no operator of cnnviz does")
    return unary(step.graph, ReLU(), step.tensor())


def _swish(step: Step) -> Operand:
    alpha = step.number("alpha", 1.0)
    x = step.tensor()
    if alpha == 1:
        return unary(step.graph, SiLU(), x)
    gate = unary(step.graph, Sigmoid(), scaled(step.graph, x, alpha))
    return arithmetic(step.graph, Multiply, x, gate)


def _where(step: Step) -> Operand:
    condition = step.constant(0, "condition")
    return where(step.graph, condition, step.operand(1), step.operand(2))


def _selu(step: Step) -> Operator:
    usual = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    if any(abs(step.number(name, value) - value) > 1e-6 for name, value in usual.items()):
        raise NetworkError("its alpha and gamma are not those of the paper")
    return SELU()


RULES: Mapping[str, Rule] = {
    "Abs": _function(lambda step: Abs()),
    "Add": _arithmetic(Add),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Celu": lambda step: celu(step.graph, step.tensor(), step.number("alpha", 1.0)),
    "Clip": _clip,
    "Cos": _function(lambda step: Cos()),
    "Div": _arithmetic(Divide),
    "Dropout": _dropout,
    "Elu": _function(lambda step: ELU(step.number("alpha", 1.0))),
    "Erf": _function(lambda step: Erf()),
    "Exp": _function(lambda step: Exp()),
    "Gelu": _function(lambda step: GELU(step.text("approximate", "none") == "tanh")),
    "HardSigmoid": _function(
        lambda step: HardSigmoid(step.number("alpha", 0.2), step.number("beta", 0.5))
    ),
    "HardSwish": _function(lambda step: HardSwish()),
    "Identity": _same,
    "LeakyRelu": _function(lambda step: LeakyReLU(step.number("alpha", 0.01))),
    "Log": _function(lambda step: Log()),
    "Max": _several(np.maximum, lambda graph, *two: extreme(graph, Maximum, *two)),
    "Mean": _mean,
    "Min": _several(np.minimum, lambda graph, *two: extreme(graph, Minimum, *two)),
    "Mish": _function(lambda step: Mish()),
    "Mul": _arithmetic(Multiply),
    "Neg": _function(lambda step: Affine(-1.0, 0.0)),
    "PRelu": lambda step: prelu(step.graph, step.tensor(), step.constant(1, "slope")),
    "Pow": lambda step: power(step.graph, step.operand(0), step.operand(1)),
    "Reciprocal": _function(lambda step: Power(-1.0)),
    "Relu": _function(lambda step: ReLU()),
    "Selu": _function(_selu),
    "Sigmoid": _function(lambda step: Sigmoid()),
    "Sin": _function(lambda step: Sin()),
    "Softplus": _function(lambda step: Softplus()),
    "Softsign": _function(lambda step: Softsign()),
    "Sqrt": _function(lambda step: Power(0.5)),
    "Sub": _arithmetic(Subtract),
    "Sum": _sum,
    "Swish": _swish,
    "Tanh": _function(lambda step: Tanh()),
    "ThresholdedRelu": _thresholded,
    "Where": _where,
}
