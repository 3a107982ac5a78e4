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
    Clip,
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
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Softplus,
    Softsign,
    Subtract,
    Tanh,
)
from cnnviz.importers.onnx_step import Rule, Step, scaled
from cnnviz.importers.tensor_shapes import where
from cnnviz.importers.tensors import (
    Arithmetic,
    Constant,
    Operand,
    Tensor,
    arithmetic,
    elementwise,
    unary,
)
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


_IN_NUMPY: Mapping[type[Operator], Callable[..., Array]] = {
    Add: np.add,
    Maximum: np.maximum,
    Minimum: np.minimum,
}


def _several(kind: type[Operator]) -> Rule:
    """A sum, or an extreme, of any number of operands."""

    def rule(step: Step) -> Operand:
        found = step.operand(0)
        for place in range(1, len(step.inputs)):
            found = _two(step, kind, found, step.operand(place))
        return found

    return rule


def _two(step: Step, kind: type[Operator], left: Operand, right: Operand) -> Operand:
    if isinstance(left, Constant) and isinstance(right, Constant):
        return Constant(_IN_NUMPY[kind](left.array, right.array))
    if kind is Add:
        return arithmetic(step.graph, Add, left, right)
    if isinstance(left, Constant):
        left, right = right, left
    number = right.number if isinstance(right, Constant) else None
    if isinstance(left, Tensor) and number is not None and len(right.shape) <= len(left.shape):
        bounds = (number, math.inf) if kind is Maximum else (-math.inf, number)
        return clipped(step, left, *bounds)
    return elementwise(step.graph, kind(), left, right)


def _mean(step: Step) -> Operand:
    total = _several(Add)(step)
    assert isinstance(total, Tensor)
    return scaled(step.graph, total, 1 / len(step.inputs))


def _clip(step: Step) -> Operand:
    lower, upper = step.bound("min", 1, -math.inf), step.bound("max", 2, math.inf)
    largest = float(np.finfo(np.float32).max)
    lower = -math.inf if lower <= -largest else lower
    upper = math.inf if upper >= largest else upper
    return clipped(step, step.tensor(), lower, upper)


def clipped(step: Step, x: Tensor, lower: float, upper: float) -> Tensor:
    """Between two bounds; a ReLU where the lower is 0."""
    if lower > upper or math.isnan(lower + upper):
        raise NetworkError(f"it keeps values between {lower} and {upper}")
    if math.isinf(lower) and math.isinf(upper):
        return x
    operator = ReLU(upper) if lower == 0 and upper > 0 else Clip(lower, upper)
    return unary(step.graph, operator, x)


def _prelu(step: Step) -> Operand:
    x, slope = step.tensor(), step.constant(1, "slope")
    if slope.number is not None:
        return unary(step.graph, LeakyReLU(slope.number), x)
    whole = (1,) * (len(x.shape) - len(slope.shape)) + slope.shape
    if x.omitted == 0 and len(whole) > 1 and whole == (1, x.shape[1], *(1,) * (len(whole) - 2)):
        stored = step.graph.parameter(slope, (x.shape[1],))
        return Tensor(step.graph.add(PReLU(), x.value, stored), x.shape, x.omitted)
    above = unary(step.graph, ReLU(), x)
    below = unary(step.graph, Clip(-math.inf, 0.0), x)
    return arithmetic(step.graph, Add, above, arithmetic(step.graph, Multiply, below, slope))


def _celu(step: Step) -> Operand:
    alpha = step.number("alpha", 1.0)
    if not alpha > 0:
        raise NetworkError(f"its alpha is {alpha:g}, which has to be above 0")
    graph = step.graph
    bent = unary(graph, ELU(1.0), scaled(graph, step.tensor(), 1 / alpha))
    return scaled(graph, bent, alpha)


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


def _power(step: Step) -> Operand:
    left, right = step.operand(0), step.operand(1)
    if isinstance(left, Tensor) and isinstance(right, Constant):
        if right.number is None:
            raise NetworkError("its exponent is not one number")
        return left if right.number == 1 else unary(step.graph, Power(right.number), left)
    if isinstance(left, Constant) and isinstance(right, Tensor) and (left.array > 0).all():
        logarithm = Constant(np.log(left.array.astype(np.float32)))
        return unary(step.graph, Exp(), arithmetic(step.graph, Multiply, right, logarithm))
    raise NetworkError("its exponent is computed from the images")


def _where(step: Step) -> Operand:
    condition = step.constant(0, "condition")
    return where(step.graph, condition, step.operand(1), step.operand(2))


RULES: Mapping[str, Rule] = {
    "Abs": _function(lambda step: Abs()),
    "Add": _arithmetic(Add),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Celu": _celu,
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
    "Max": _several(Maximum),
    "Mean": _mean,
    "Min": _several(Minimum),
    "Mish": _function(lambda step: Mish()),
    "Mul": _arithmetic(Multiply),
    "Neg": _function(lambda step: Affine(-1.0, 0.0)),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _function(lambda step: Power(-1.0)),
    "Relu": _function(lambda step: ReLU()),
    "Selu": _function(lambda step: _selu(step)),
    "Sigmoid": _function(lambda step: Sigmoid()),
    "Sin": _function(lambda step: Sin()),
    "Softplus": _function(lambda step: Softplus()),
    "Softsign": _function(lambda step: Softsign()),
    "Sqrt": _function(lambda step: Power(0.5)),
    "Sub": _arithmetic(Subtract),
    "Sum": _several(Add),
    "Swish": _swish,
    "Tanh": _function(lambda step: Tanh()),
    "ThresholdedRelu": _thresholded,
    "Where": _where,
}


def _selu(step: Step) -> Operator:
    usual = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    if any(abs(step.number(name, value) - value) > 1e-6 for name, value in usual.items()):
        raise NetworkError("its alpha and gamma are not those of the paper")
    return SELU()
