"""MXNet's operators, or several of them as one, as functions of its arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.engines.mxnet.symbol import Entry, Graph, Node
from cnnviz.types import Shape

#: An operator's name and attributes.
Named = tuple[str, Mapping[str, Any]]
#: They, for a typed operator and the shapes of its inputs, with 0 for the batch.
Rule = Callable[[Any, Sequence[Shape]], Named]
#: What a node is called that stands for several operators in a row; see :func:`in_steps`.
STEPS = "steps"
_INPUT = "input"


class Step(NamedTuple):
    """One of several operators that compute one.

    Attributes:
        name: as MXNet calls it.
        attributes: as it is given to MXNet.
        reads: inputs of the whole, counted from 0, and behind them outputs of steps before it.
    """

    name: str
    attributes: Mapping[str, Any]
    reads: tuple[int, ...]


def in_steps(*steps: Step) -> Named:
    """Name and attributes of a node that stands for several operators; the last one's output."""
    written = [(name, {k: str(v) for k, v in own.items()}, reads) for name, own, reads in steps]
    return STEPS, {"steps": json.dumps(written)}


class Operators:
    """A function for each operator; equal operators share one."""

    def __init__(self) -> None:
        self._functions: dict[Any, Any] = {}

    def run(self, node: Node, arguments: list[Any]) -> list[Any]:
        """All outputs of an operator, whatever its node is called and reads."""
        mx = import_mxnet()
        key = (node.op, tuple(sorted(node.attrs.items())), len(arguments), repr(node.subgraphs))
        if key not in self._functions:
            symbol = _alone(node, len(arguments))
            # MXNet counts inputs as its steps come by them.
            order = [int(name.removeprefix(_INPUT)) for name in symbol.list_inputs()]
            self._functions[key] = mx.nd.CachedOp(symbol), order
        function, order = self._functions[key]
        outputs = function(*(arguments[place] for place in order))
        return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def beside_each_image(parts: Sequence[Any]) -> list[Any]:
    """Values to be put side by side: constants, which lack the batch, once for each image."""
    most = max(parts, key=lambda part: part.ndim)
    return [
        part.reshape((1, *part.shape)).broadcast_to((len(most), *part.shape))
        if part.ndim < most.ndim
        else part
        for part in parts
    ]


def _alone(node: Node, inputs: int) -> Any:
    """The Symbol of one operator that reads variables."""
    mx = import_mxnet()
    variables = tuple(Node("null", f"{_INPUT}{i}", {}, ()) for i in range(inputs))
    reads = tuple(Entry(i) for i in range(inputs))
    if node.op == STEPS:
        return _several(node, variables)
    alone = Node(node.op, "operator", node.attrs, reads, node.subgraphs)
    graph = Graph((*variables, alone), (Entry(inputs),))
    symbol = mx.sym.load_json(graph.to_json())
    outputs = len(symbol.get_internals()) - inputs
    if outputs > 1:
        heads = tuple(Entry(inputs, i) for i in range(outputs))
        symbol = mx.sym.load_json(Graph(graph.nodes, heads).to_json())
    return symbol


def _several(node: Node, variables: Sequence[Node]) -> Any:
    """The Symbol of several operators that read variables, and each other."""
    nodes = list(variables)
    for place, (name, attributes, reads) in enumerate(json.loads(node.attrs["steps"])):
        inputs = tuple(Entry(index) for index in reads)
        nodes.append(Node(name, f"step{place}", attributes, inputs))
    graph = Graph(tuple(nodes), (Entry(len(nodes) - 1),))
    return import_mxnet().sym.load_json(graph.to_json())
