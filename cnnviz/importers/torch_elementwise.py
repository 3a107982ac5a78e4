"""PyTorch's activations, arithmetic, functions of numbers, and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import (
    ELU,
    GELU,
    SELU,
    Abs,
    Add,
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
from cnnviz.importers import tensor_shapes as shapes
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    arithmetic,
    elementwise,
    keeping,
    unary,
)
from cnnviz.importers.torch_table import Table

ELEMENTWISE = Table()

Axes = int | Sequence[int] | None
Number = int | float

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


@ELEMENTWISE.named("elu", "celu")
def _elu(
    graph: TensorGraph, x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> Tensor:
    if (scale, input_scale) != (1.0, 1.0):
        raise NetworkError("an ELU has scales of its own")
    return unary(graph, ELU(alpha), x)


@ELEMENTWISE.named("gelu")
def _gelu(graph: TensorGraph, x: Tensor, *, approximate: str = "none") -> Tensor:
    return unary(graph, GELU(approximate == "tanh"), x)


@ELEMENTWISE.named("prelu", "_prelu_kernel")
def _prelu(graph: TensorGraph, x: Tensor, slope: Constant) -> Tensor:
    x = keeping(graph, x, [1])
    count = math.prod(slope.shape)
    return Tensor(graph.add(PReLU(), x.value, graph.parameter(slope, (count,))), x.shape, x.omitted)


@ELEMENTWISE.named("softplus")
def _softplus(graph: TensorGraph, x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp βx) / β; from the threshold on PyTorch takes x, which is as much in float32."""
    if beta == 1:
        return unary(graph, Softplus(), x)
    scaled = unary(graph, Softplus(), arithmetic(graph, Multiply, x, number(beta)))
    return arithmetic(graph, Multiply, scaled, number(1 / beta))


@ELEMENTWISE.named("log_sigmoid")
def _log_sigmoid(graph: TensorGraph, x: Tensor) -> Tensor:
    return unary(graph, Log(), unary(graph, Sigmoid(), x))


@ELEMENTWISE.named("glu")
def _glu(graph: TensorGraph, x: Tensor, axis: int = -1) -> Tensor:
    half = x.shape[axis] // 2
    value, gate = shapes.split(graph, x, axis, [half, half])
    return elementwise(graph, Multiply(), value, unary(graph, Sigmoid(), gate))


@ELEMENTWISE.named("hardtanh", "clamp", "clip")
def _clamp(
    graph: TensorGraph,
    x: Tensor,
    low: Number | Constant | None = None,
    high: Number | Constant | None = None,
    **bounds: Number | None,
) -> Tensor:
    """Between bounds; from 0 on it is a ReLU, however it is written."""
    lower = _plain(bounds.get("min", bounds.get("min_val", low)))
    upper = _plain(bounds.get("max", bounds.get("max_val", high)))
    if lower == 0 and (upper is None or upper > 0):
        return unary(graph, ReLU(math.inf if upper is None else upper), x)
    return unary(
        graph,
        Clip(-math.inf if lower is None else lower, math.inf if upper is None else upper),
        x,
    )


@ELEMENTWISE.named("clamp_min")
def _clamp_min(graph: TensorGraph, x: Tensor, low: Number | Constant) -> Tensor:
    return _clamp(graph, x, low)


@ELEMENTWISE.named("clamp_max")
def _clamp_max(graph: TensorGraph, x: Tensor, high: Number | Constant) -> Tensor:
    return _clamp(graph, x, None, high)


@ELEMENTWISE.named("threshold")
def _threshold(graph: TensorGraph, x: Tensor, threshold: Number, value: Number) -> Tensor:
    if (threshold, value) != (0, 0):
        raise NetworkError("a threshold other than 0 is not run")
    return unary(graph, ReLU(), x)


@ELEMENTWISE.named("maximum")
def _maximum(graph: TensorGraph, left: Operand, right: Operand) -> Tensor:
    for x, bound in ((left, right), (right, left)):
        if isinstance(x, Tensor) and isinstance(bound, Constant) and bound.number is not None:
            return _clamp(graph, x, bound)
    return elementwise(graph, Maximum(), left, right)


@ELEMENTWISE.named("minimum")
def _minimum(graph: TensorGraph, left: Operand, right: Operand) -> Tensor:
    for x, bound in ((left, right), (right, left)):
        if isinstance(x, Tensor) and isinstance(bound, Constant) and bound.number is not None:
            return _clamp(graph, x, None, bound)
    return elementwise(graph, Minimum(), left, right)


# --- arithmetic ----------------------------------------------------------------------------------


@ELEMENTWISE.named("add", "__add__")
def _add(graph: TensorGraph, left: Any, right: Any, alpha: float = 1) -> Tensor:
    return arithmetic(graph, Add, operand(left), _scaled(graph, right, alpha))


@ELEMENTWISE.named("sub", "subtract")
def _sub(graph: TensorGraph, left: Any, right: Any, alpha: float = 1) -> Tensor:
    return arithmetic(graph, Subtract, operand(left), _scaled(graph, right, alpha))


@ELEMENTWISE.named("rsub")
def _rsub(graph: TensorGraph, left: Any, right: Any, alpha: float = 1) -> Tensor:
    return arithmetic(graph, Subtract, operand(right), _scaled(graph, left, alpha))


@ELEMENTWISE.named("mul", "multiply")
def _mul(graph: TensorGraph, left: Any, right: Any) -> Tensor:
    return arithmetic(graph, Multiply, operand(left), operand(right))


@ELEMENTWISE.named("div", "true_divide", "divide")
def _div(graph: TensorGraph, left: Any, right: Any, *, rounding_mode: str | None = None) -> Tensor:
    if rounding_mode is not None:
        raise NetworkError("a quotient is rounded, which has no gradient")
    dividend, divisor = operand(left), operand(right)
    if isinstance(dividend, Constant) and isinstance(divisor, Tensor):
        return arithmetic(graph, Multiply, unary(graph, Power(-1.0), divisor), dividend)
    return arithmetic(graph, Divide, dividend, divisor)


@ELEMENTWISE.named("addcmul")
def _addcmul(
    graph: TensorGraph, x: Operand, left: Operand, right: Operand, *, value: float = 1
) -> Tensor:
    product: Operand
    if isinstance(left, Constant) and isinstance(right, Constant):
        product = Constant(left.array * right.array)
    else:
        product = arithmetic(graph, Multiply, left, right)
    return arithmetic(graph, Add, x, _scaled(graph, product, value))


@ELEMENTWISE.named("lerp")
def _lerp(graph: TensorGraph, start: Operand, end: Operand, weight: Any) -> Tensor:
    step = arithmetic(graph, Subtract, end, start)
    return arithmetic(graph, Add, start, arithmetic(graph, Multiply, step, operand(weight)))


@ELEMENTWISE.named("neg", "negative")
def _neg(graph: TensorGraph, x: Tensor) -> Tensor:
    return arithmetic(graph, Multiply, x, number(-1))


@ELEMENTWISE.named("pow", "float_power")
def _pow(graph: TensorGraph, base: Any, exponent: Any) -> Tensor:
    base, exponent = operand(base), operand(exponent)
    if isinstance(base, Tensor) and isinstance(exponent, Constant) and exponent.number is not None:
        return unary(graph, Power(exponent.number), base)
    if isinstance(base, Constant) and base.number is not None and base.number > 0:
        scaled = arithmetic(graph, Multiply, exponent, number(math.log(base.number)))
        return unary(graph, Exp(), scaled)
    raise NetworkError("a power differs from value to value")


@ELEMENTWISE.named("where")
def _where(graph: TensorGraph, condition: Operand, left: Any, right: Any) -> Tensor:
    if isinstance(condition, Tensor):
        raise NetworkError("which of two values is taken depends on the images")
    return shapes.where(graph, condition, operand(left), operand(right))


@ELEMENTWISE.named("masked_fill")
def _masked_fill(graph: TensorGraph, x: Operand, mask: Operand, value: Any) -> Tensor:
    return _where(graph, mask, value, x)


def number(value: float) -> Constant:
    """A number as a constant."""
    return Constant(np.asarray(value, np.float32))


def operand(value: Any) -> Operand:
    """A tensor, or a number as a constant."""
    return value if isinstance(value, (Tensor, Constant)) else number(value)


def _scaled(graph: TensorGraph, value: Any, scale: float) -> Operand:
    given = operand(value)
    if scale == 1:
        return given
    if isinstance(given, Constant):
        return Constant(given.array * scale)
    return arithmetic(graph, Multiply, given, number(scale))


def _plain(bound: Number | Constant | None) -> float | None:
    if isinstance(bound, Constant):
        if bound.number is None:
            raise NetworkError("the bounds of values differ from place to place")
        return bound.number
    return bound


# --- reductions ----------------------------------------------------------------------------------


def _reduction(kind: str) -> Callable[..., Tensor]:
    def read(
        graph: TensorGraph, x: Tensor, axes: Axes = None, keep_axes: bool = False, **how: Any
    ) -> Tensor:
        axes, keep_axes = how.get("dim", axes), how.get("keepdim", keep_axes)
        return shapes.reduced(graph, x, kind, every(x, axes), keep_axes=keep_axes)

    return read


for _name, _kind in {"mean": "mean", "sum": "sum", "amax": "max", "amin": "min"}.items():
    ELEMENTWISE.named(_name)(_reduction(_kind))


def every(x: Tensor, axes: Axes) -> list[int]:
    """Axes as a list; all of them if none is given."""
    if axes is None or axes == []:
        return list(range(len(x.shape)))
    return [axes] if isinstance(axes, int) else list(axes)


@ELEMENTWISE.named("max")
def _max(graph: TensorGraph, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(graph, "max", x, dim, keepdim)


@ELEMENTWISE.named("min")
def _min(graph: TensorGraph, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(graph, "min", x, dim, keepdim)


def _extreme(graph: TensorGraph, kind: str, x: Tensor, other: Any, keep_axes: bool) -> Any:
    """``torch.max``: of all, along an axis (with places, which are not followed), or of two."""
    if isinstance(other, (Tensor, Constant)):
        return (_maximum if kind == "max" else _minimum)(graph, x, other)
    found = shapes.reduced(graph, x, kind, every(x, other), keep_axes=keep_axes)
    return found if other is None else [found, None]


@ELEMENTWISE.named("softmax", "_softmax")
def _softmax(graph: TensorGraph, x: Tensor, axis: int, *_kind: Any, **_how: Any) -> Tensor:
    return shapes.softmax(graph, x, axis)


@ELEMENTWISE.named("log_softmax", "_log_softmax")
def _log_softmax(graph: TensorGraph, x: Tensor, axis: int, *_kind: Any, **_how: Any) -> Tensor:
    return unary(graph, Log(), shapes.softmax(graph, x, axis))


@ELEMENTWISE.named("logsumexp")
def _logsumexp(graph: TensorGraph, x: Tensor, axes: Axes, keepdim: bool = False) -> Tensor:
    total = shapes.reduced(graph, unary(graph, Exp(), x), "sum", every(x, axes), keep_axes=keepdim)
    return unary(graph, Log(), total)


@ELEMENTWISE.named("linalg_vector_norm", "norm")
def _vector_norm(
    graph: TensorGraph,
    x: Tensor,
    order: float | None = 2,
    axes: Axes = None,
    keepdim: bool = False,
    **_kind: Any,
) -> Tensor:
    if order not in (None, 1, 2):
        raise NetworkError(f"a norm of order {order} is not run")
    squares: Operator = Abs() if order == 1 else Power(2.0)
    total = shapes.reduced(
        graph, unary(graph, squares, x), "sum", every(x, axes), keep_axes=keepdim
    )
    return total if order == 1 else unary(graph, Power(0.5), total)


@ELEMENTWISE.named("var")
def _variance(graph: TensorGraph, x: Tensor, *args: Any, **how: Any) -> Tensor:
    return _moments(graph, x, *args, **how)[0]


@ELEMENTWISE.named("std")
def _deviation(graph: TensorGraph, x: Tensor, *args: Any, **how: Any) -> Tensor:
    return unary(graph, Power(0.5), _moments(graph, x, *args, **how)[0])


@ELEMENTWISE.named("var_mean")
def _variance_and_mean(graph: TensorGraph, x: Tensor, *args: Any, **how: Any) -> list[Tensor]:
    return list(_moments(graph, x, *args, **how))


@ELEMENTWISE.named("std_mean")
def _deviation_and_mean(graph: TensorGraph, x: Tensor, *args: Any, **how: Any) -> list[Tensor]:
    found, mean = _moments(graph, x, *args, **how)
    return [unary(graph, Power(0.5), found), mean]


def _moments(
    graph: TensorGraph,
    x: Tensor,
    axes: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    dim: Axes = None,
) -> tuple[Tensor, Tensor]:
    """The variance along axes, and the mean."""
    if isinstance(axes, bool):
        unbiased, axes = axes, None
    wanted = every(x, axes if dim is None else dim)
    mean = shapes.reduced(graph, x, "mean", wanted, keep_axes=True)
    squares = unary(graph, Power(2.0), arithmetic(graph, Subtract, x, mean))
    found = shapes.reduced(graph, squares, "mean", wanted, keep_axes=keepdim)
    count = math.prod(x.shape[axis] for axis in wanted)
    less = float(unbiased) if correction is None else correction
    if less:
        found = arithmetic(graph, Multiply, found, number(count / (count - less)))
    return found, mean if keepdim else shapes.squeezed(graph, mean, wanted)
