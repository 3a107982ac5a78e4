"""Programs of tensors, batch and all, as typed graphs of images.

ONNX files and exported PyTorch modules say what is done to a batch: shapes have a batch in them, it
may stand anywhere, and be merged with other axes on the way (attention heads, windows). The graph
says what is done to one image, and engines do it to any number. So a program is read for a batch of
one: whatever it does to that, the graph does to each image. A :class:`Tensor` remembers the whole
shape that the program sees, and which of its axes of size 1 the graph does without.

Functions here and beside (:mod:`cnnviz.importers.tensor_arithmetic`,
:mod:`cnnviz.importers.tensor_functions`, :mod:`cnnviz.importers.tensor_layers`,
:mod:`cnnviz.importers.tensor_products`, :mod:`cnnviz.importers.tensor_shapes`) are called as both
kinds of program mean them: axes are of whole shapes, negative ones count from behind, and shapes
stretch as in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Graph, Node, Value, in_order
from cnnviz.graph.operators import (
    Flatten,
    Input,
    Operator,
    Parameter,
    Reshape,
    ShapeError,
    Transpose,
)
from cnnviz.types import Shape


@dataclass(frozen=True)
class Tensor:
    """What a program computes of the images.

    Attributes:
        value: where it stands in the graph.
        shape: as the program sees it, for a batch of one.
        omitted: the axis, of size 1, that the graph's shape does without: the batch, as a rule.
            None if the graph has all of them.
    """

    value: Value
    shape: Shape
    omitted: int | None

    def axis(self, axis: int) -> int:
        """An axis of the whole shape as one of the graph's; it must not be the omitted one."""
        axis = whole_axis(axis, len(self.shape))
        if self.omitted is None or axis < self.omitted:
            return axis
        assert axis != self.omitted
        return axis - 1


@dataclass(frozen=True, eq=False)
class Constant:
    """An array that does not depend on the images: stored, or computed from what is.

    Attributes:
        array: the numbers, of any dtype.
        name: what it is stored as; empty if it was computed.
    """

    array: npt.NDArray[Any]
    name: str = ""

    @property
    def shape(self) -> Shape:
        """Of the array."""
        return self.array.shape

    @property
    def number(self) -> float | None:
        """Its only number; None if it has several."""
        return float(self.array.reshape(())) if self.array.size == 1 else None


def number(value: float) -> Constant:
    """A number as a constant."""
    return Constant(np.asarray(value, np.float32))


Operand = Tensor | Constant
#: The axes of (C, h, w) in the order (h, w, C).
_LAST = (1, 2, 0)


@dataclass(frozen=True)
class TensorProgram:
    """A program that was read.

    Attributes:
        graph: down to its output.
        paths: names of values, first choice first.
        parameters: by name, float32.
        outputs: how many outputs the file has, of which this is one.
    """

    graph: Graph
    paths: Mapping[Value, Sequence[str]]
    parameters: Mapping[str, npt.NDArray[np.float32]]
    outputs: int = 1


@dataclass
class TensorGraph:
    """A graph under construction.

    Args:
        size: of the images, (C, H, W).
    """

    size: Shape
    _nodes: list[Node] = field(default_factory=list, init=False)
    _shapes: list[tuple[Shape, ...]] = field(default_factory=list, init=False)
    _paths: dict[Value, list[str]] = field(default_factory=dict, init=False)
    _parameters: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict, init=False)
    _stored: dict[tuple[int, Shape], Value] = field(default_factory=dict, init=False)
    _kept: list[Constant] = field(default_factory=list, init=False)
    _names: set[str] = field(default_factory=set, init=False)
    _scope: str = field(default="", init=False)

    def __post_init__(self) -> None:
        """Begin with the images."""
        value = self._append(Input(self.size), "data", ())
        self.images = Tensor(value, (1, *self.size), 0)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """What is added inside stands for one step of the program, and is called after it."""
        before, self._scope = self._scope, name
        try:
            yield
        finally:
            self._scope = before

    def call(self, tensor: Tensor, *names: str) -> None:
        """People know a value by these names, first choice first."""
        node = self.node(tensor.value)
        if isinstance(node.operator, (Flatten, Reshape, Transpose)) and (
            node.inputs[0] not in self._paths
        ):
            # What a step did to another shape of it: see channels_first().
            self._paths[node.inputs[0]] = list(filter(None, names))
        self._paths.setdefault(tensor.value, []).extend(filter(None, names))

    def finish(self, output: Tensor, outputs: int = 1) -> TensorProgram:
        """The graph of what an output needs, which is one of several perhaps."""
        graph, moved = in_order(self._nodes, output.value)
        if self.images.value.node not in moved:
            raise NetworkError("The network's output does not depend on the images.")
        paths = {
            Value(moved[value.node], value.output): tuple(dict.fromkeys(names))
            for value, names in self._paths.items()
            if value.node in moved
        }
        needed = graph.parameters
        parameters = {name: self._parameters[name] for name in needed}
        return TensorProgram(graph, paths, parameters, outputs)

    # --- nodes -----------------------------------------------------------------------------------

    def add(self, operator: Operator, *inputs: Value) -> Value:
        """A node, and its first output."""
        return self._append(operator, self._scope or operator.kind.lower(), inputs)

    def shape_of(self, value: Value) -> Shape:
        """As the graph has it."""
        return self._shapes[value.node][value.output]

    def node(self, value: Value) -> Node:
        """What gives a value."""
        return self._nodes[value.node]

    def parameter(self, constant: Constant, shape: Shape | None = None) -> Value:
        """A constant as a node; the same for the same one.

        Args:
            constant: it.
            shape: another shape for the same numbers.
        """
        shape = constant.shape if shape is None else shape
        key = (id(constant.array), shape)
        if key not in self._stored:
            self._kept.append(constant)  # an id means nothing once its array is gone
            array = np.asarray(constant.array, np.float32).reshape(shape)
            value = self._append(Parameter(shape), constant.name or f"{self._scope}.constant", ())
            self._parameters[self._nodes[value.node].name] = array
            self._stored[key] = value
        return self._stored[key]

    def _append(self, operator: Operator, name: str, inputs: tuple[Value, ...]) -> Value:
        unique, number = name, 0
        while unique in self._names:
            number += 1
            unique = f"{name}.{number}"
        self._names.add(unique)
        try:
            shapes = operator.shapes(*(self.shape_of(value) for value in inputs))
        except ShapeError as error:
            raise NetworkError(
                f"The network does not take images of {'×'.join(map(str, self.size))}: {error} "
                f"({operator.kind} {unique})."
            ) from error
        self._nodes.append(Node(operator, unique, inputs))
        self._shapes.append(shapes)
        return Value(len(self._nodes) - 1)


def whole_axis(axis: int, rank: int) -> int:
    """An axis counted from the front.

    Raises:
        NetworkError: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise NetworkError(f"A value with {rank} axes has no axis {axis}.")
    return axis % rank


def without(shape: Shape, omitted: int | None) -> Shape:
    """A whole shape as the graph has it."""
    return shape if omitted is None else (*shape[:omitted], *shape[omitted + 1 :])


def formed(graph: TensorGraph, x: Tensor, shape: Shape, omitted: int | None) -> Tensor:
    """The same numbers in the same order, in another whole shape, less another axis."""
    wanted = without(shape, omitted)
    if math.prod(shape) != math.prod(x.shape):
        raise NetworkError(f"A value of {x.shape} does not fit into {shape}.")
    source = x.value
    if graph.shape_of(source) != wanted:
        while isinstance(graph.node(source).operator, (Reshape, Flatten)):
            (source,) = graph.node(source).inputs
    if graph.shape_of(source) != wanted:
        source = graph.add(Flatten() if len(wanted) == 1 else Reshape(wanted), source)
    return Tensor(source, shape, omitted)


def omitting(graph: TensorGraph, x: Tensor, axis: int | None) -> Tensor:
    """The same tensor, with another axis (of size 1) omitted in the graph, or none."""
    if axis is not None and x.shape[axis] != 1:
        raise NetworkError(
            f"A step works on {x.shape[axis]} parts of an image as on a batch, which cnnviz "
            "cannot follow."
        )
    return x if x.omitted == axis else formed(graph, x, x.shape, axis)


def keeping(graph: TensorGraph, x: Tensor, axes: Sequence[int]) -> Tensor:
    """The same tensor, with none of these axes omitted in the graph."""
    axes = [whole_axis(axis, len(x.shape)) for axis in axes]
    if x.omitted not in axes:
        return x
    spare = (axis for axis, size in enumerate(x.shape) if size == 1 and axis not in axes)
    return omitting(graph, x, next(spare, None))


def reshape(graph: TensorGraph, x: Tensor, shape: Sequence[int]) -> Tensor:
    """In another whole shape; -1 stands for whatever is left."""
    sizes = list(shape)
    if sizes.count(-1) == 1:
        rest = -math.prod(sizes)
        if rest == 0 or math.prod(x.shape) % rest:
            raise NetworkError(f"A value of {x.shape} does not fit into {tuple(shape)}.")
        sizes[sizes.index(-1)] = math.prod(x.shape) // rest
    wanted = tuple(sizes)
    # What was the batch stays it, where an axis of size 1 stands behind as many numbers.
    before = math.prod(x.shape[: x.omitted]) if x.omitted is not None else 1
    places = [
        axis for axis, size in enumerate(wanted) if size == 1 and math.prod(wanted[:axis]) == before
    ]
    omitted = x.omitted if x.omitted in places else next(iter(places), None)
    return formed(graph, x, wanted, omitted)


def transpose(graph: TensorGraph, x: Tensor, order: Sequence[int]) -> Tensor:
    """The axes in another order; two in a row that undo each other vanish."""
    axes = [whole_axis(axis, len(x.shape)) for axis in order]
    shape = tuple(x.shape[axis] for axis in axes)
    omitted = None if x.omitted is None else axes.index(x.omitted)
    moved = tuple(x.axis(axis) for axis in axes if axis != x.omitted)
    source = x.value
    before = graph.node(source).operator
    if isinstance(before, Transpose):
        (source,) = graph.node(source).inputs
        moved = tuple(before.axes[axis] for axis in moved)
    if moved == tuple(range(len(moved))):
        return Tensor(source, shape, omitted)
    # Axes of size 1 may change places without a number changing its own.
    sizes = graph.shape_of(source)
    if [axis for axis in moved if sizes[axis] > 1] == [
        a for a, size in enumerate(sizes) if size > 1
    ]:
        alike = formed(graph, Tensor(source, sizes, None), without(shape, omitted), None)
        return Tensor(alike.value, shape, omitted)
    return Tensor(graph.add(Transpose(moved), source), shape, omitted)


def channels_first(graph: TensorGraph, x: Tensor) -> Tensor | None:
    """The (1, C, h, w) that x, (1, h, w, C), was made of by a transpose; None if it was not.

    What can be done to either is done to this one, so that transposes of programs that keep
    channels last come to lie beside those that their layers undo them with, and vanish.
    """
    operator = graph.node(x.value).operator
    if x.omitted != 0 or len(x.shape) != 4 or not isinstance(operator, (Transpose, Reshape)):
        return None
    (source,) = graph.node(x.value).inputs
    shape = graph.shape_of(source)
    # Of one row and column no number moves.
    moved = operator.axes == _LAST if isinstance(operator, Transpose) else shape[1:] == (1, 1)
    return Tensor(source, (1, *shape), 0) if moved and x.shape[3:] == shape[:1] else None


def channels_last(graph: TensorGraph, x: Tensor) -> Tensor:
    """(1, h, w, C) of (1, C, h, w)."""
    return transpose(graph, x, (0, 2, 3, 1))
