"""A network as a graph of typed operators: immutable, in topological order, of no framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import Input, Operator, Parameter, ShapeError, without_batch
from cnnviz.types import Shape


class Value(NamedTuple):
    """One output of one node."""

    node: int
    output: int = 0


@dataclass(frozen=True)
class Node:
    """An operator at its place.

    Attributes:
        operator: what it does.
        name: unique in the graph; a :class:`Parameter`'s is that of the array.
        inputs: what it reads, as its operator names it, of nodes before it.
    """

    operator: Operator
    name: str
    inputs: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Graph:
    """The nodes, each behind all that it reads, and the value that leaves: the logits.

    Exactly one node is an :class:`Input`.
    """

    nodes: tuple[Node, ...]
    output: Value

    @cached_property
    def input(self) -> Value:
        """The images."""
        (index,) = (
            index for index, node in enumerate(self.nodes) if isinstance(node.operator, Input)
        )
        return Value(index)

    @cached_property
    def shapes(self) -> tuple[tuple[Shape, ...], ...]:
        """For each node the shapes of its outputs, without the batch (a parameter's is whole).

        Raises:
            NetworkError: the shapes do not fit together.
        """
        found: list[tuple[Shape, ...]] = []
        dependent = {self.input.node, *self.layers}
        for node in self.nodes:
            inputs = [found[value.node][value.output] for value in node.inputs]
            constant = [value.node not in dependent for value in node.inputs]
            try:
                found.append(node.operator.shapes(*without_batch(node.operator, inputs, constant)))
            except ShapeError as error:
                raise NetworkError(
                    f"The network does not take images of {shape_text(self.input_size)}: {error} "
                    f"({node.operator.kind} {node.name})."
                ) from error
        return tuple(found)

    def shape(self, value: Value) -> Shape:
        """The shape of one value, without the batch."""
        return self.shapes[value.node][value.output]

    @property
    def input_size(self) -> Shape:
        """(C, H, W)."""
        operator = self.nodes[self.input.node].operator
        assert isinstance(operator, Input)
        return operator.size

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Indices of the operators whose output depends on the images, in order."""
        dependent = {self.input.node}
        for index, node in enumerate(self.nodes):
            if any(value.node in dependent for value in node.inputs):
                dependent.add(index)
        return tuple(sorted(dependent - {self.input.node}))

    @cached_property
    def parameters(self) -> Mapping[str, Shape]:
        """The shape of each parameter, by name, in order."""
        return {
            node.name: node.operator.size
            for node in self.nodes
            if isinstance(node.operator, Parameter)
        }

    @cached_property
    def consumers(self) -> Mapping[Value, tuple[int, ...]]:
        """For each value the nodes that read it, in order, each once."""
        readers: dict[Value, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for value in dict.fromkeys(node.inputs):
                readers.setdefault(value, []).append(index)
        return {value: tuple(indices) for value, indices in readers.items()}

    def between(self, start: Value) -> list[int]:
        """What has to be run to get from a value to the output, in order."""
        layers = frozenset(self.layers)
        needed: set[int] = set()
        waiting = [self.output]
        while waiting:
            value = waiting.pop()
            if value != start and value.node in layers and value.node not in needed:
                needed.add(value.node)
                waiting.extend(self.nodes[value.node].inputs)
        return sorted(needed)


def in_order(nodes: Sequence[Node], output: Value) -> tuple[Graph, Mapping[int, int]]:
    """The graph of what an output needs, depth first: each node behind its inputs, in their order.

    Frameworks list the operators of a traced network like this, so that it does not matter in
    which order somebody wrote them down.

    Returns:
        The graph, and for each node that is in it its old index to its new one.
    """
    moved: dict[int, int] = {}
    ordered: list[Node] = []
    waiting = [(output.node, iter(nodes[output.node].inputs))]
    while waiting:
        index, inputs = waiting[-1]
        below = next((value.node for value in inputs if value.node not in moved), None)
        if below is not None:
            waiting.append((below, iter(nodes[below].inputs)))
            continue
        waiting.pop()
        if index not in moved:
            moved[index] = len(ordered)
            node = nodes[index]
            inputs_moved = tuple(Value(moved[v.node], v.output) for v in node.inputs)
            ordered.append(Node(node.operator, node.name, inputs_moved))
    return Graph(tuple(ordered), Value(moved[output.node], output.output)), moved


def is_spatial(shape: Shape) -> bool:
    """Whether a shape without the batch, ``(C, h, w)``, still has height and width."""
    return len(shape) == 3 and shape[1] * shape[2] > 1


def shape_text(shape: Shape) -> str:
    """A shape as people write it: ``512×14×14``."""
    return "×".join(map(str, shape)) or "a single number"
