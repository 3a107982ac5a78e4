"""Batch norms that can be folded into the convolution before them, and the graph with them folded.

By the stored statistics a batch norm multiplies each channel and adds to it, which the weights and
the bias of the convolution can do as well. The convolution alone is then not computed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import BatchNorm, Conv2d, Parameter


def foldable(graph: Graph) -> Mapping[Value, int]:
    """Outputs of convolutions that only a batch norm reads, and that batch norm's node."""
    found = {}
    for index, node in enumerate(graph.nodes):
        if not isinstance(node.operator, BatchNorm) or node.operator.axis != 0:
            continue
        data, scale, shift, *_ = node.inputs
        before = graph.nodes[data.node]
        constants = (*before.inputs[1:], *node.inputs[1:])
        if (
            isinstance(before.operator, Conv2d)
            and graph.consumers[data] == (index,)
            and data != graph.output
            and not any(value.node in graph.layers for value in constants)
            and scale != shift
            and all(_is_own_parameter(graph, value, index) for value in (scale, shift))
        ):
            found[data] = index
    return MappingProxyType(found)


def folded(graph: Graph, convolutions: Collection[Value]) -> Graph:
    """The graph with batch norms folded into convolutions, by what :func:`foldable` found.

    All values stand where they stood. The convolution stands in the batch norm's place, with its
    weight where the scale was and its bias where the shift was, under :func:`folded_names`; the
    node of the old one is still there, but nobody reads it.
    """
    nodes = list(graph.nodes)
    norms = foldable(graph)
    for data in convolutions:
        norm = graph.nodes[norms[data]]
        before = graph.nodes[data.node]
        _, scale, shift, *_ = norm.inputs
        weight, bias = folded_names(norm)
        nodes[scale.node] = Node(Parameter(graph.shape(before.inputs[1])), weight)
        nodes[shift.node] = Node(Parameter(graph.shape(data)[:1]), bias)
        inputs = (before.inputs[0], scale, shift)
        nodes[norms[data]] = Node(before.operator, norm.name, inputs)
    return Graph(tuple(nodes), graph.output)


def folded_names(norm: Node) -> tuple[str, str]:
    """What weight and bias are called that a batch norm was folded into."""
    return f"{norm.name}:weight", f"{norm.name}:bias"


def _is_own_parameter(graph: Graph, value: Value, reader: int) -> bool:
    operator = graph.nodes[value.node].operator
    return isinstance(operator, Parameter) and graph.consumers[value] == (reader,)
