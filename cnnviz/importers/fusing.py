"""Operators that a program spells out in several others, as the ones that are meant.

Exporters and modules write GELU, SiLU or a layer norm as their formulas. What is one layer to a
person becomes one again: it has one name, is computed at once, and what acts on layers (ReLU rules,
the default target layer) sees it. Numbers stay the same to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.graph.graph import Graph, Node, Value, in_order
from cnnviz.graph.operators import (
    GELU,
    Abs,
    Add,
    Affine,
    BatchNorm,
    Clip,
    Conv2d,
    Divide,
    Erf,
    Exp,
    HardSigmoid,
    HardSwish,
    LayerNorm,
    LeakyReLU,
    Linear,
    Log,
    Maximum,
    Mean,
    Minimum,
    Mish,
    Multiply,
    Operator,
    Parameter,
    Power,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Subtract,
    Tanh,
)
from cnnviz.importers.tensors import TensorProgram
from cnnviz.types import Float64

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Float64) -> Float64:
    return np.asarray(1 / (1 + np.exp(-x)))


#: Operators that do the same to every number, as functions of numbers.
_FUNCTIONS: Mapping[type[Operator], Callable[..., Float64]] = {
    Abs: lambda o, x: np.abs(x),
    Add: lambda o, x, y: x + y,
    Affine: lambda o, x: o.scale * x + o.shift,
    Clip: lambda o, x: np.clip(x, o.lower, o.upper),
    Divide: lambda o, x, y: x / y,
    Erf: lambda o, x: _erf(x),
    Exp: lambda o, x: np.exp(x),
    HardSigmoid: lambda o, x: np.clip(o.slope * x + o.offset, 0, 1),
    Log: lambda o, x: np.log(x),
    Maximum: lambda o, x, y: np.maximum(x, y),
    Minimum: lambda o, x, y: np.minimum(x, y),
    Multiply: lambda o, x, y: x * y,
    Power: lambda o, x: x**o.exponent,
    ReLU: lambda o, x: np.clip(x, 0, o.upper),
    Sigmoid: lambda o, x: _sigmoid(x),
    Softplus: lambda o, x: np.log1p(np.exp(x)),
    Subtract: lambda o, x, y: x - y,
    Tanh: lambda o, x: np.tanh(x),
}
#: What they may spell out. Each differs from every other by far more than rounding.
_FORMULAS: tuple[tuple[Operator, Callable[[Float64], Float64]], ...] = (
    (SiLU(), lambda x: x * _sigmoid(x)),
    (HardSwish(), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    (GELU(), lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2),
    (
        GELU(approximate=True),
        lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    ),
    (Mish(), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    (HardSigmoid(1 / 6, 0.5), lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    (HardSigmoid(0.2, 0.5), lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    (Sigmoid(), _sigmoid),
    (Softplus(), lambda x: np.log1p(np.exp(x))),
    (Softsign(), lambda x: x / (1 + np.abs(x))),
    (ReLU(), lambda x: np.maximum(x, 0)),
    (ReLU(6.0), lambda x: np.clip(x, 0, 6)),
)
#: Beyond the ends of all that is bent, and between them; not 0, by which some divide.
_POINTS: Float64 = np.linspace(-7.03, 7.01, 60)
_ACTIVATIONS = [(operator, formula(_POINTS)) for operator, formula in _FORMULAS]
#: A formula has at most so many operators.
_LONGEST = 14


def fused(program: TensorProgram) -> TensorProgram:
    """The same program with what was spelled out as the operators that are meant."""
    rewriter = _Rewriter(program)
    for index in reversed(range(len(program.graph.nodes))):
        rewriter.activation(index)
    for index in range(len(program.graph.nodes)):
        rewriter.layer_norm(index)
        rewriter.bias(index)
        rewriter.batch_norm(index)
    return rewriter.result()


class _Rewriter:
    """A graph whose nodes become others one by one; what nobody reads any more goes at the end."""

    def __init__(self, program: TensorProgram) -> None:
        self._program = program
        self._graph: Graph = program.graph
        self._nodes = list(program.graph.nodes)
        self._parameters = dict(program.parameters)
        self._paths = dict(program.paths)
        self._inside: set[int] = set()  # of an activation that was found

    def result(self) -> TensorProgram:
        """What is left."""
        graph, moved = in_order(self._nodes, self._graph.output)
        paths = {
            Value(moved[value.node], value.output): names
            for value, names in self._paths.items()
            if value.node in moved
        }
        needed = graph.parameters
        parameters = {name: self._parameters[name] for name in needed}
        return TensorProgram(graph, paths, parameters, self._program.outputs)

    # --- activations -----------------------------------------------------------------------------

    def activation(self, index: int) -> None:
        """Whether a node ends the formula of an activation: it gives the same numbers."""
        node = self._nodes[index]
        if index in self._inside or type(node.operator) not in _FUNCTIONS:
            return
        for source, between in self._sources(index):
            operator = self._meant(index, source, between)
            if operator is not None:
                self._nodes[index] = Node(operator, node.name, (source,))
                self._inside.update(between)
                return

    def _sources(self, index: int) -> Iterator[tuple[Value, list[int]]]:
        """Single values that all of what a node gives is made of, nearest first, and the nodes
        between."""
        ahead = {Value(index)}
        between: list[int] = []
        while len(between) < _LONGEST:
            last = max(ahead)
            node = self._nodes[last.node]
            if type(node.operator) not in _FUNCTIONS:
                return
            ahead.remove(last)
            ahead.update(node.inputs)
            between.append(last.node)
            if len(ahead) == 1 and len(between) > 1:
                (source,) = ahead
                yield source, between[::-1]

    def _meant(self, index: int, source: Value, between: list[int]) -> Operator | None:
        if isinstance(self._nodes[source.node].operator, Parameter):
            return None
        known = {source: _POINTS}
        with np.errstate(all="ignore"):
            for place in between:
                node = self._nodes[place]
                run = _FUNCTIONS[type(node.operator)]
                known[Value(place)] = run(node.operator, *(known[each] for each in node.inputs))
            found = known[Value(index)]
            for operator, wanted in _ACTIVATIONS:
                if _same(found, wanted):
                    return operator
        slope = float(found[0] / _POINTS[0])
        if 0 < slope < 1 and _same(found, np.where(_POINTS > 0, _POINTS, slope * _POINTS)):
            return LeakyReLU(float(np.float32(slope)))
        return None

    # --- layers ----------------------------------------------------------------------------------

    def layer_norm(self, index: int) -> None:
        """(x - mean) / sqrt(mean of (x - mean)² + eps) · scale + shift, along the last axes."""
        shift = self._with_parameter(Value(index), Add)
        scale = shift and self._with_parameter(shift[0], Multiply)
        if shift is None or scale is None:
            return
        norm = self._nodes[scale[0].node]
        if not isinstance(norm.operator, Divide):
            return
        centered, root = norm.inputs
        found = self._deviation(root, centered)
        if found is None:
            return
        x, axes, eps = found
        rank = len(self._graph.shape(x))
        sizes = tuple(self._graph.shape(x)[axis] for axis in axes)
        if tuple(axes) != tuple(range(rank - len(axes), rank)):
            return
        learned = [self._reshaped(each[1], sizes) for each in (scale, shift)]
        if all(each is not None for each in learned):
            operator = LayerNorm(tuple(range(-len(axes), 0)), eps)
            inputs = (x, *(each for each in learned if each is not None))
            self._nodes[index] = Node(operator, self._nodes[index].name, inputs)

    def _deviation(
        self, root: Value, centered: Value
    ) -> tuple[Value, tuple[int, ...], float] | None:
        """Of sqrt(mean of centered² + eps): what was centered, along which axes, and eps."""
        (power, safe, mean), values = self._chain(root, 3)
        middle = self._nodes[centered.node]
        if (
            power != Power(0.5)
            or not isinstance(safe, Affine)
            or safe.scale != 1
            or not isinstance(mean, Mean)
            or not isinstance(middle.operator, Subtract)
        ):
            return None
        square = self._nodes[values[-1].node]
        squared = square.operator == Power(2.0) and square.inputs == (centered,)
        squared |= isinstance(square.operator, Multiply) and square.inputs == (centered, centered)
        x, average = middle.inputs
        first = self._nodes[average.node]
        if not squared or first.operator != mean or first.inputs != (x,):
            return None
        return x, mean.axes, safe.shift

    def _chain(self, value: Value, length: int) -> tuple[list[Any], list[Value]]:
        """Operators with one input each, one behind the other, from the last one up."""
        operators: list[Any] = []
        values = []
        for _ in range(length):
            node = self._nodes[value.node]
            operators.append(node.operator)
            if len(node.inputs) == 1:
                (value,) = node.inputs
            values.append(value)
        return operators, values

    def bias(self, index: int) -> None:
        """A layer without a bias, and a sum with one number for each of its features."""
        found = self._with_parameter(Value(index), Add)
        if found is None:
            return
        layer = self._nodes[found[0].node]
        if not isinstance(layer.operator, (Conv2d, Linear)) or len(layer.inputs) != 2:
            return
        if len(self._graph.consumers[found[0]]) > 1:
            return
        if isinstance(layer.operator, Linear):
            bias = self._one_each(found[1], found[0], -1, layer.operator.features)
        else:
            bias = self._one_each(found[1], found[0], 0, layer.operator.channels)
        if bias is not None:
            self._nodes[index] = Node(layer.operator, layer.name, (*layer.inputs, bias))
            both = (*self._paths.get(found[0], ()), *self._paths.get(Value(index), ()))
            self._paths[Value(index)] = both

    def batch_norm(self, index: int) -> None:
        """A convolution whose channels are scaled and shifted, perhaps shifted before, too."""
        shift = self._with_parameter(Value(index), Add)
        scale = shift and self._with_parameter(shift[0], Multiply)
        if shift is None or scale is None:
            return
        mean = self._with_parameter(scale[0], Subtract)
        data = scale[0] if mean is None else mean[0]
        layer = self._nodes[data.node]
        if not isinstance(layer.operator, Conv2d):
            return
        channels = layer.operator.channels
        stored = [scale[1], shift[1], *([] if mean is None else [mean[1]])]
        learned = [self._one_each(each, data, 0, channels) for each in stored]
        if any(each is None for each in learned):
            return
        name = self._nodes[index].name
        fills = (0, 1)[len(learned) - 2 :]  # mean and variance, as far as they are not there
        statistics = (
            self._new_parameter(
                f"{name}.{('mean', 'variance')[fill]}", np.full(channels, fill, np.float32)
            )
            for fill in fills
        )
        inputs = (data, *(each for each in learned if each is not None), *statistics)
        self._nodes[index] = Node(BatchNorm(eps=0.0), name, inputs)

    # --- parameters ------------------------------------------------------------------------------

    def _with_parameter(self, value: Value, kind: type[Operator]) -> tuple[Value, Value] | None:
        """The two operands of an operator of which one is stored, that one last."""
        node = self._nodes[value.node]
        if type(node.operator) is not kind:
            return None
        left, right = node.inputs
        if kind is not Subtract and isinstance(self._nodes[left.node].operator, Parameter):
            left, right = right, left
        if not isinstance(self._nodes[right.node].operator, Parameter):
            return None
        return left, right

    def _one_each(self, stored: Value, data: Value, axis: int, count: int) -> Value | None:
        """A parameter that is stretched from one number for each place of an axis, as (count,)."""
        shape = self._array(stored).shape
        rank = len(self._graph.shape(data))
        shape = (1,) * (rank - len(shape)) + shape
        wanted = [1] * rank
        wanted[axis] = count
        if shape != tuple(wanted):
            return None
        return self._reshaped(stored, (count,))

    def _reshaped(self, stored: Value, shape: tuple[int, ...]) -> Value | None:
        array = self._array(stored)
        if array.size != math.prod(shape):
            return None
        node = self._nodes[stored.node]
        if array.shape == shape:
            return stored
        return self._new_parameter(node.name, array.reshape(shape), instead_of=stored)

    def _array(self, stored: Value) -> npt.NDArray[np.float32]:
        return self._parameters[self._nodes[stored.node].name]

    def _new_parameter(
        self, name: str, array: npt.NDArray[np.float32], instead_of: Value | None = None
    ) -> Value:
        """A parameter; the old one's name if nobody else reads that."""
        if instead_of is not None and len(self._graph.consumers[instead_of]) == 1:
            self._nodes[instead_of.node] = replace(
                self._nodes[instead_of.node], operator=Parameter(array.shape)
            )
            self._parameters[name] = array
            return instead_of
        unique, number = name, 0
        while unique in self._parameters:
            number += 1
            unique = f"{name}.{number}"
        self._nodes.append(Node(Parameter(array.shape), unique))
        self._parameters[unique] = array
        return Value(len(self._nodes) - 1)


def _same(found: Float64, wanted: Float64) -> bool:
    return bool(np.allclose(found, wanted, rtol=1e-5, atol=1e-6))
