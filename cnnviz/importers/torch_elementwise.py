"""PyTorch's activations, arithmetic, and functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import (
    ELU,
    GELU,
    SELU,
    Abs,
    Add,
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
from cnnviz.importers import tensor_shapes as shapes
from cnnviz.importers.tensor_arithmetic import arithmetic, elementwise, unary
from cnnviz.importers.tensor_functions import (
    celu,
    clipped,
    extreme,
    power,
    prelu,
    scaled,
    scaled_operand,
)
from cnnviz.importers.tensors import Constant, Operand, Tensor, TensorGraph
from cnnviz.importers.torch_table import Table, operand

ELEMENTWISE = Table()

Bound = int | float | Constant | None

#: From here on, in float32, log(1 + exp x) is x.
_SAME_AS_SOFTPLUS = 17

_FUNCTIONS: dict[str, Operator] = {
    "abs": Abs(),
    "cos": Cos(),
    "erf": Erf(),
    "exp": Exp(),
    "hardsigmoid": HardSigmoid(1 / 6, 0.5),
    "hardswish": HardSwish(),
    "log": Log(),
    "mish": Mish(),
    "reciprocal": Power(-1.0),
    "relu": ReLU(),
    "relu6": ReLU(6.0),
    "rsqrt": Power(-0.5),
    "selu": SELU(),
    "sigmoid": Sigmoid(),
    "silu": SiLU(),
    "sin": Sin(),
    "softsign": Softsign(),
    "sqrt": Power(0.5),
    "square": Power(2.0),
    "tanh": Tanh(),
}


def _function(operator: Operator) -> Callable[[TensorGraph, Tensor], Tensor]:
    return lambda graph, x: unary(graph, operator, x)


for _name, _operator in _FUNCTIONS.items():
    ELEMENTWISE.named(_name)(_function(_operator))


@ELEMENTWISE.named("leaky_relu")
def _leaky_relu(graph: TensorGraph, x: Tensor, slope: float = 0.01) -> Tensor:
    return unary(graph, LeakyReLU(slope), x)


@ELEMENTWISE.named("elu")
def _elu(
    graph: TensorGraph, x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> Tensor:
    if (scale, input_scale) != (1.0, 1.0):
        raise NetworkError("an ELU has scales of its own")
    return unary(graph, ELU(alpha), x)


@ELEMENTWISE.named("celu")
def _celu(graph: TensorGraph, x: Tensor, alpha: float = 1.0) -> Tensor:
    return celu(graph, x, alpha)


@ELEMENTWISE.named("gelu")
def _gelu(graph: TensorGraph, x: Tensor, *, approximate: str = "none") -> Tensor:
    return unary(graph, GELU(approximate == "tanh"), x)


@ELEMENTWISE.named("prelu", "_prelu_kernel")
def _prelu(graph: TensorGraph, x: Tensor, slope: Constant) -> Tensor:
    """Slopes are for the second axis, whatever their own shape."""
    shape = (slope.array.size, *(1,) * (len(x.shape) - 2))
    return prelu(graph, x, Constant(slope.array.reshape(shape), slope.name))


@ELEMENTWISE.named("softplus")
def _softplus(graph: TensorGraph, x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp βx) / β; where βx is above the threshold PyTorch takes x."""
    if threshold < _SAME_AS_SOFTPLUS:
        raise NetworkError(f"a softplus is cut off above {threshold:g}")
    return scaled(graph, unary(graph, Softplus(), scaled(graph, x, beta)), 1 / beta)


@ELEMENTWISE.named("log_sigmoid")
def _log_sigmoid(graph: TensorGraph, x: Tensor) -> Tensor:
    return unary(graph, Log(), unary(graph, Sigmoid(), x))


@ELEMENTWISE.named("glu")
def _glu(graph: TensorGraph, x: Tensor, axis: int = -1) -> Tensor:
    half = x.shape[axis] // 2
    value, gate = shapes.split(graph, x, axis, [half, half])
    return elementwise(graph, Multiply(), value, unary(graph, Sigmoid(), gate))


@ELEMENTWISE.named("clamp", "clip")
def _clamp(
    graph: TensorGraph,
    x: Tensor,
    low: Bound = None,
    high: Bound = None,
    *,
    min: Bound = None,
    max: Bound = None,
) -> Tensor:
    """PyTorch takes the upper bound where the lower is above it."""
    lower, upper = _plain(min if low is None else low), _plain(max if high is None else high)
    upper = math.inf if upper is None else upper
    lower = -math.inf if lower is None else lower
    if lower > upper:
        lower = upper
    return clipped(graph, x, lower, upper)


@ELEMENTWISE.named("hardtanh")
def _hardtanh(graph: TensorGraph, x: Tensor, low: Bound = -1.0, high: Bound = 1.0) -> Tensor:
    return _clamp(graph, x, low, high)


@ELEMENTWISE.named("clamp_min")
def _clamp_min(graph: TensorGraph, x: Tensor, low: Bound) -> Tensor:
    return _clamp(graph, x, low)


@ELEMENTWISE.named("clamp_max")
def _clamp_max(graph: TensorGraph, x: Tensor, high: Bound) -> Tensor:
    return _clamp(graph, x, None, high)


@ELEMENTWISE.named("threshold")
def _threshold(graph: TensorGraph, x: Tensor, threshold: float, value: float) -> Tensor:
    if (threshold, value) != (0, 0):
        raise NetworkError("a threshold other than 0 is not run")
    return unary(graph, ReLU(), x)


@ELEMENTWISE.named("maximum")
def _maximum(graph: TensorGraph, left: Operand, right: Operand) -> Tensor:
    return extreme(graph, Maximum, left, right)


@ELEMENTWISE.named("minimum")
def _minimum(graph: TensorGraph, left: Operand, right: Operand) -> Tensor:
    return extreme(graph, Minimum, left, right)


# --- arithmetic ----------------------------------------------------------------------------------


@ELEMENTWISE.named("add", "__add__")
def _add(graph: TensorGraph, left: Any, right: Any, alpha: float = 1) -> Tensor:
    return arithmetic(graph, Add, operand(left), scaled_operand(graph, operand(right), alpha))


@ELEMENTWISE.named("sub", "subtract")
def _sub(graph: TensorGraph, left: Any, right: Any, alpha: float = 1) -> Tensor:
    return arithmetic(graph, Subtract, operand(left), scaled_operand(graph, operand(right), alpha))


@ELEMENTWISE.named("rsub")
def _rsub(graph: TensorGraph, left: Any, right: Any, alpha: float = 1) -> Tensor:
    return arithmetic(graph, Subtract, operand(right), scaled_operand(graph, operand(left), alpha))


@ELEMENTWISE.named("mul", "multiply")
def _mul(graph: TensorGraph, left: Any, right: Any) -> Tensor:
    return arithmetic(graph, Multiply, operand(left), operand(right))


@ELEMENTWISE.named("div", "true_divide", "divide")
def _div(graph: TensorGraph, left: Any, right: Any, *, rounding_mode: str | None = None) -> Tensor:
    if rounding_mode is not None:
        raise NetworkError("a quotient is rounded, which has no gradient")
    return arithmetic(graph, Divide, operand(left), operand(right))


@ELEMENTWISE.named("addcmul")
def _addcmul(
    graph: TensorGraph, x: Operand, left: Operand, right: Operand, *, value: float = 1
) -> Tensor:
    product: Operand
    if isinstance(left, Constant) and isinstance(right, Constant):
        product = Constant(left.array * right.array)
    else:
        product = arithmetic(graph, Multiply, left, right)
    return arithmetic(graph, Add, x, scaled_operand(graph, product, value))


@ELEMENTWISE.named("lerp")
def _lerp(graph: TensorGraph, start: Operand, end: Operand, weight: Any) -> Tensor:
    step = arithmetic(graph, Subtract, end, start)
    return arithmetic(graph, Add, start, arithmetic(graph, Multiply, step, operand(weight)))


@ELEMENTWISE.named("neg", "negative")
def _neg(graph: TensorGraph, x: Tensor) -> Tensor:
    return scaled(graph, x, -1.0)


@ELEMENTWISE.named("pow", "float_power")
def _pow(graph: TensorGraph, base: Any, exponent: Any) -> Tensor:
    return power(graph, operand(base), operand(exponent))


@ELEMENTWISE.named("where")
def _where(graph: TensorGraph, condition: Operand, left: Any, right: Any) -> Tensor:
    if isinstance(condition, Tensor):
        raise NetworkError("which of two values is taken depends on the images")
    return shapes.where(graph, condition, operand(left), operand(right))


@ELEMENTWISE.named("masked_fill")
def _masked_fill(graph: TensorGraph, x: Operand, mask: Operand, value: Any) -> Tensor:
    return _where(graph, mask, value, x)


def _plain(bound: Bound) -> float | None:
    if isinstance(bound, Constant):
        if bound.number is None:
            raise NetworkError("the bounds of values differ from place to place")
        return bound.number
    return bound
