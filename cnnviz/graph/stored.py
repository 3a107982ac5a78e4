"""Which of the arrays that are stored with a network a layer reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import BatchNorm, Parameter


def constant_inputs(graph: Graph, index: int) -> Mapping[int, Value]:
    """The inputs of a node that do not depend on the images, by their place."""
    return {
        place: value
        for place, value in enumerate(graph.nodes[index].inputs)
        if value.node not in graph.layers and value != graph.input
    }


def read_by(graph: Graph, index: int) -> Mapping[str, bool]:
    """The names of all parameters that a layer reads, and whether they are learned."""
    found: dict[str, bool] = {}
    operator = graph.nodes[index].operator
    for place, value in constant_inputs(graph, index).items():
        fixed = isinstance(operator, BatchNorm) and operator.inputs[place] not in operator.learned
        for name in stored(graph, value):
            found[name] = found.get(name, False) or not fixed
    return found


def stored(graph: Graph, value: Value) -> Iterator[str]:
    """The parameters that a value is made of: the value itself, or what a cast or reshape reads."""
    waiting, seen = [value.node], set()
    while waiting:
        index = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        node = graph.nodes[index]
        if isinstance(node.operator, Parameter):
            yield node.name
        waiting.extend(value.node for value in node.inputs)
