"""MXNet's operators as functions of its arrays."""

from __future__ import annotations

from typing import Any

from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.engines.mxnet.symbol import Entry, Graph, Node


class Operators:
    """A function for each operator; equal operators share one."""

    def __init__(self) -> None:
        self._functions: dict[Any, Any] = {}

    def run(self, node: Node, arguments: list[Any]) -> list[Any]:
        """All outputs of an operator, whatever its node is called and reads."""
        mx = import_mxnet()
        key = (node.op, tuple(sorted(node.attrs.items())), len(arguments), repr(node.subgraphs))
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = mx.nd.CachedOp(_alone(node, len(arguments)))
        outputs = function(*arguments)
        return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _alone(node: Node, inputs: int) -> Any:
    """The Symbol of one operator that reads variables."""
    mx = import_mxnet()
    variables = tuple(Node("null", f"input{i}", {}, ()) for i in range(inputs))
    reads = tuple(Entry(i) for i in range(inputs))
    alone = Node(node.op, "operator", node.attrs, reads, node.subgraphs)
    graph = Graph((*variables, alone), (Entry(inputs),))
    symbol = mx.sym.load_json(graph.to_json())
    outputs = len(symbol.get_internals()) - inputs
    if outputs > 1:
        heads = tuple(Entry(inputs, i) for i in range(outputs))
        symbol = mx.sym.load_json(Graph(graph.nodes, heads).to_json())
    return symbol
