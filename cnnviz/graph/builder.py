"""Writing networks down: a graph made layer by layer, with the names that Gluon gives them.

Layers stand in blocks, blocks in blocks. A layer's path (``features.4.0.body.1``) says where; its
parameters are called after it (``features.4.0.body.1.gamma``). Its node's name is the one that
Gluon's tracer would give it (``stage1_batchnorm0_fwd``): people know these from exported networks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from cnnviz.graph.graph import Graph, Node, Value, in_order
from cnnviz.graph.operators import (
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Input,
    Linear,
    MaxPool2d,
    Operator,
    Pair,
    Parameter,
    ReLU,
)
from cnnviz.types import Shape


@dataclass
class _Block:
    """A block that is being written: where it stands, and how many children it has."""

    path: str
    children: int = 0

    def child(self) -> str:
        """The path of the next child."""
        number = self.children
        self.children += 1
        return f"{self.path}.{number}" if self.path else str(number)


class NamedGraph(NamedTuple):
    """A graph, and the paths that its values go by, first choice first."""

    graph: Graph
    paths: Mapping[Value, Sequence[str]]


@dataclass
class Builder:
    """A graph under construction. Methods add a layer behind a value and return what it gives.

    Args:
        size: of the images, (C, H, W).
    """

    size: Shape
    _nodes: list[Node] = field(default_factory=list, init=False)
    _shapes: list[Shape] = field(default_factory=list, init=False)
    _paths: dict[Value, list[str]] = field(default_factory=dict, init=False)
    _blocks: list[_Block] = field(default_factory=lambda: [_Block("")], init=False)
    _prefix: str = field(default="", init=False)
    _counts: dict[str, Counter[str]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Begin with the images."""
        self.input = self._add(Input(self.size), "data")

    # --- where layers stand ----------------------------------------------------------------------

    @contextmanager
    def block(self, name: str | None = None) -> Iterator[None]:
        """What is added inside stands in a block, which is numbered if it has no name."""
        self._blocks.append(_Block(self._child(name)))
        try:
            yield
        finally:
            self._blocks.pop()

    @contextmanager
    def scope(self, prefix: str, *, numbered: bool = False) -> Iterator[None]:
        """What is added inside has this in front of its node's name, and counts from 0."""
        before = self._prefix
        self._prefix = f"{self._number(prefix)}_" if numbered else f"{before}{prefix}_"
        try:
            yield
        finally:
            self._prefix = before

    def ends(self, value: Value) -> Value:
        """The block that is being written ends with this value, which goes by its path, too."""
        self._call(value, self._blocks[-1].path)
        return value

    def passes(self, value: Value) -> Value:
        """A layer that does nothing when the network is used: dropout. It has a path of its own."""
        self._call(value, self._child())
        return value

    # --- layers ----------------------------------------------------------------------------------

    def conv(
        self,
        data: Value,
        channels: int,
        kernel: int | Pair,
        stride: int = 1,
        padding: int | Pair = 0,
        *,
        groups: int = 1,
        bias: bool = False,
        name: str | None = None,
        node: str | None = None,
    ) -> Value:
        """A convolution; ``name`` is its own in the block, ``node`` its node's."""
        operator = Conv2d(
            channels,
            _pair(kernel),
            (stride, stride),
            _pair(padding) * 2,
            groups=groups,
        )
        path = self._child(name)
        weights = [self._parameter(path, "weight", operator.weight_shape(self._shape(data)))]
        if bias:
            weights.append(self._parameter(path, "bias", (channels,)))
        return self._layer(operator, path, node or self._count("conv"), data, *weights)

    def batch_norm(
        self,
        data: Value,
        *,
        eps: float = 1e-5,
        affine: bool = True,
        name: str | None = None,
    ) -> Value:
        """A batch norm; one that is not ``affine`` learns neither scale nor shift."""
        path = self._child(name)
        channels = self._shape(data)[:1]
        stored = [
            self._parameter(path, role, channels)
            for role in ("gamma", "beta", "running_mean", "running_var")
        ]
        operator = BatchNorm(eps, fixed_scale=not affine, learns_shift=affine)
        return self._layer(operator, path, self._count("batchnorm"), data, *stored)

    def linear(self, data: Value, features: int, *, name: str | None = None) -> Value:
        """A dense layer with a bias."""
        operator = Linear(features)
        path = self._child(name)
        weight = self._parameter(path, "weight", operator.weight_shape(self._shape(data)))
        bias = self._parameter(path, "bias", (features,))
        return self._layer(operator, path, self._count("dense"), data, weight, bias)

    def relu(self, data: Value, upper: float | None = None) -> Value:
        """A ReLU, or a clipped one; a layer of its block."""
        if upper is None:
            return self._layer(ReLU(), self._child(), self._count("relu"), data)
        name = f"{self._number('relu6')}_relu6"
        return self._layer(ReLU(upper), self._child(), name, data)

    def own_relu(self, data: Value) -> Value:
        """The ReLU that belongs to the layer before it."""
        before = self._nodes[data.node].name.removesuffix("_fwd")
        path = f"{self._paths[data][0]}.act"
        return self._layer(ReLU(), path, f"{before}_relu_fwd", data)

    def bare_relu(self, data: Value) -> Value:
        """A ReLU that is no layer of its own."""
        return self._add(ReLU(), self._number("activation"), data)

    def max_pool(
        self, data: Value, kernel: int, stride: int, padding: int = 0, *, ceil_mode: bool = False
    ) -> Value:
        """A max pooling."""
        operator = MaxPool2d(_pair(kernel), _pair(stride), _pair(padding) * 2, ceil_mode)
        return self._layer(operator, self._child(), self._count("pool"), data)

    def avg_pool(self, data: Value, kernel: int, stride: int, padding: int = 0) -> Value:
        """An average pooling over whole windows, padding included."""
        operator = AvgPool2d(_pair(kernel), _pair(stride), _pair(padding) * 2)
        return self._layer(operator, self._child(), self._count("pool"), data)

    def global_avg_pool(self, data: Value, *, name: str | None = None) -> Value:
        """The mean over height and width."""
        return self._layer(GlobalAvgPool2d(), self._child(name), self._count("pool"), data)

    def flatten(self, data: Value) -> Value:
        """All values of an image in a row."""
        name = f"{self._number('flatten')}_flatten0"
        return self._layer(Flatten(), self._child(), name, data)

    def add(self, left: Value, right: Value, node: str = "_plus") -> Value:
        """The sum; no layer of its own. ``node`` is how its node's name begins."""
        return self._add(Add(), self._number(node), left, right)

    def concat(self, *values: Value) -> Value:
        """Channels side by side; no layer of its own."""
        return self._add(Concat(), self._number("concat"), *values)

    # --- the end ---------------------------------------------------------------------------------

    def finish(self, output: Value) -> NamedGraph:
        """The graph, in the order in which Gluon's tracer lists it."""
        graph, moved = in_order(self._nodes, output)
        paths = {
            Value(moved[value.node], value.output): tuple(paths)
            for value, paths in self._paths.items()
            if value.node in moved
        }
        return NamedGraph(graph, paths)

    def _child(self, name: str | None = None) -> str:
        """The path of a layer or block that is added now."""
        block = self._blocks[-1]
        if name is None:
            return block.child()
        return f"{block.path}.{name}" if block.path else name

    def _number(self, kind: str) -> str:
        """``stage1_conv`` with the number that it has in the scope."""
        counts = self._counts.setdefault(self._prefix, Counter())
        counts[kind] += 1
        return f"{self._prefix}{kind}{counts[kind] - 1}"

    def _count(self, kind: str) -> str:
        return f"{self._number(kind)}_fwd"

    def _shape(self, value: Value) -> Shape:
        return self._shapes[value.node]

    def _parameter(self, path: str, role: str, shape: Shape) -> Value:
        return self._add(Parameter(shape), f"{path}.{role}")

    def _layer(self, operator: Operator, path: str, name: str, *inputs: Value) -> Value:
        value = self._add(operator, name, *inputs)
        self._call(value, path)
        return value

    def _add(self, operator: Operator, name: str, *inputs: Value) -> Value:
        self._shapes.append(operator.shape(*(self._shape(value) for value in inputs)))
        self._nodes.append(Node(operator, name, inputs))
        return Value(len(self._nodes) - 1)

    def _call(self, value: Value, path: str) -> None:
        paths = self._paths.setdefault(value, [])
        if path and path not in paths:
            paths.append(path)


def _pair(size: int | Pair) -> Pair:
    return (size, size) if isinstance(size, int) else size
