"""PyTorch's reductions: means, extremes, norms, variances, softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import Abs, Log, Maximum, Minimum, Operator, Power, Subtract
from cnnviz.importers import tensor_shapes as shapes
from cnnviz.importers.tensor_arithmetic import arithmetic, unary
from cnnviz.importers.tensor_functions import extreme, scaled
from cnnviz.importers.tensors import Constant, Tensor, TensorGraph
from cnnviz.importers.torch_table import Table, axes_of

REDUCTIONS = Table()

Axes = int | Sequence[int] | None


def _reduction(kind: str) -> Callable[..., Tensor]:
    def read(
        graph: TensorGraph, x: Tensor, axes: Axes = None, keep_axes: bool = False, **how: Any
    ) -> Tensor:
        axes, keep_axes = how.get("dim", axes), how.get("keepdim", keep_axes)
        return shapes.reduced(graph, x, kind, axes_of(x, axes), keep_axes=keep_axes)

    return read


for _name, _kind in {"mean": "mean", "sum": "sum", "amax": "max", "amin": "min"}.items():
    REDUCTIONS.named(_name)(_reduction(_kind))


@REDUCTIONS.named("max")
def _max(graph: TensorGraph, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(graph, "max", x, dim, keepdim)


@REDUCTIONS.named("min")
def _min(graph: TensorGraph, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(graph, "min", x, dim, keepdim)


def _extreme(graph: TensorGraph, kind: str, x: Tensor, other: Any, keep_axes: bool) -> Any:
    """``torch.max``: of all, along an axis (with places, which are not followed), or of two."""
    if isinstance(other, (Tensor, Constant)):
        return extreme(graph, Maximum if kind == "max" else Minimum, x, other)
    found = shapes.reduced(graph, x, kind, axes_of(x, other), keep_axes=keep_axes)
    return found if other is None else [found, None]


@REDUCTIONS.named("softmax", "_softmax")
def _softmax(graph: TensorGraph, x: Tensor, axis: int, *_kind: Any, **_how: Any) -> Tensor:
    return shapes.softmax(graph, x, axis)


@REDUCTIONS.named("log_softmax", "_log_softmax")
def _log_softmax(graph: TensorGraph, x: Tensor, axis: int, *_kind: Any, **_how: Any) -> Tensor:
    return unary(graph, Log(), shapes.softmax(graph, x, axis))


@REDUCTIONS.named("logsumexp")
def _logsumexp(graph: TensorGraph, x: Tensor, axes: Axes, keepdim: bool = False) -> Tensor:
    return shapes.log_sum_exp(graph, x, axes_of(x, axes), keep_axes=keepdim)


@REDUCTIONS.named("linalg_vector_norm", "norm")
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
        graph, unary(graph, squares, x), "sum", axes_of(x, axes), keep_axes=keepdim
    )
    return total if order == 1 else unary(graph, Power(0.5), total)


@REDUCTIONS.named("var")
def _variance(graph: TensorGraph, x: Tensor, *args: Any, **how: Any) -> Tensor:
    return _moments(graph, x, *args, **how)[0]


@REDUCTIONS.named("std")
def _deviation(graph: TensorGraph, x: Tensor, *args: Any, **how: Any) -> Tensor:
    return unary(graph, Power(0.5), _moments(graph, x, *args, **how)[0])


@REDUCTIONS.named("var_mean")
def _variance_and_mean(graph: TensorGraph, x: Tensor, *args: Any, **how: Any) -> list[Tensor]:
    return list(_moments(graph, x, *args, **how))


@REDUCTIONS.named("std_mean")
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
    wanted = axes_of(x, axes if dim is None else dim)
    mean = shapes.reduced(graph, x, "mean", wanted, keep_axes=True)
    squares = unary(graph, Power(2.0), arithmetic(graph, Subtract, x, mean))
    found = shapes.reduced(graph, squares, "mean", wanted, keep_axes=keepdim)
    count = math.prod(x.shape[axis] for axis in wanted)
    less = float(unbiased) if correction is None else correction
    if less:
        found = scaled(graph, found, count / (count - less))
    return found, mean if keepdim else shapes.squeezed(graph, mean, wanted)
