"""What MXNet's element-wise operators compute, in NumPy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.engines.mxnet.symbol import Node

Function = Callable[..., Any]
#: The values of a variable by its name, None where they are not known.
Lookup = Callable[[str], npt.NDArray[Any] | None]

_COMPARISONS: Mapping[str, Function] = {
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "lesser": np.less,
    "less": np.less,
    "lesser_equal": np.less_equal,
    "less_equal": np.less_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
}
_BINARY: Mapping[str, Function] = {
    **_COMPARISONS,
    "add": np.add,
    "plus": np.add,
    "grad_add": np.add,
    "sub": np.subtract,
    "minus": np.subtract,
    "subtract": np.subtract,
    "mul": np.multiply,
    "multiply": np.multiply,
    "div": np.divide,
    "true_divide": np.divide,
    "power": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
#: Of a scalar, which stands on the left.
_REVERSED: Mapping[str, Function] = {
    "rminus": np.subtract,
    "rsubtract": np.subtract,
    "rdiv": np.divide,
    "rtrue_divide": np.divide,
    "rpower": np.power,
}
_UNARY: Mapping[str, Function] = {
    "BlockGrad": lambda x: x,
    "copy": lambda x: x,
    "identity": lambda x: x,
    "negative": np.negative,
    "abs": np.abs,
    "absolute": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softrelu": lambda x: np.logaddexp(x, 0),
    "relu": lambda x: np.maximum(x, 0),
    "logical_not": np.logical_not,
    "reciprocal": np.reciprocal,
}
#: What is the same to either side of a number, so that its derivative is 0.
STEPS = {
    *_COMPARISONS,
    *(f"{name}_scalar" for name in _COMPARISONS),
    "logical_not",
    "sign",
}


def plain_name(name: str) -> str:
    """An operator's name without what tells its families apart."""
    return re.sub(r"^_?(npi?_|npx_)?(broadcast_|elemwise_)?", "", name)


def number_of(node: Node, *keys: str, default: float = math.nan) -> float:
    """The first of these attributes that is a number."""
    for key in keys:
        try:
            return float(node.attrs[key])
        except (KeyError, ValueError):
            continue
    return default


def element_wise(node: Node) -> Function | None:
    """What an operator does to each element, as a function of its inputs; None if it is no such."""
    name = plain_name(node.op)
    if name.endswith("_scalar"):
        number, name = np.float32(number_of(node, "scalar")), name[: -len("_scalar")]
        if name in _REVERSED:
            reverse = _REVERSED[name]
            return lambda x: reverse(number, x)
        if name in _BINARY:
            binary = _BINARY[name]
            return lambda x: binary(x, number)
        return None
    if name in _BINARY:
        return _BINARY[name]
    if name in _UNARY:
        return _UNARY[name]
    special = _SPECIAL.get(name)
    return None if special is None else special(node)


def _activation(node: Node) -> Function | None:
    return _UNARY.get(node.attrs.get("act_type", ""))


def _leaky(node: Node) -> Function | None:
    slope = np.float32(number_of(node, "slope", default=0.25))
    kinds: dict[str, Function] = {
        "leaky": lambda x: np.where(x > 0, x, slope * x),
        "prelu": lambda x, gamma: np.where(x > 0, x, gamma * x),
        "elu": lambda x: np.where(x > 0, x, slope * np.expm1(x)),
    }
    return kinds.get(node.attrs.get("act_type", "leaky"))


def _clip(node: Node) -> Function:
    low = np.float32(number_of(node, "a_min", default=-math.inf))
    high = np.float32(number_of(node, "a_max", default=math.inf))
    return lambda x: np.minimum(np.maximum(x, low), high)


def _cast(node: Node) -> Function:
    kind = node.attrs.get("dtype", "float32")
    if kind == "bool":
        return lambda x: x != 0
    return np.trunc if "int" in kind else lambda x: x


def _where(node: Node) -> Function:
    number, one, other = (
        np.float32(number_of(node, key, default=0)) for key in ("scalar", "x", "y")
    )
    kinds: dict[str, Function] = {
        "where": lambda condition, x, y: np.where(condition != 0, x, y),
        "where_lscalar": lambda condition, y: np.where(condition != 0, number, y),
        "where_rscalar": lambda condition, x: np.where(condition != 0, x, number),
        "where_scalar2": lambda condition: np.where(condition != 0, one, other),
    }
    return kinds[plain_name(node.op)]


_SPECIAL: Mapping[str, Callable[[Node], Function | None]] = {
    "Activation": _activation,
    "LeakyReLU": _leaky,
    "leaky_relu": _leaky,
    "clip": _clip,
    "Cast": _cast,
    "cast": _cast,
    "amp_cast": _cast,
    "where": _where,
    "where_lscalar": _where,
    "where_rscalar": _where,
    "where_scalar2": _where,
    "add_n": lambda _node: lambda *terms: sum(terms),
}
