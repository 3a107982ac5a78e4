"""MXNet's symbols as plain graphs, and the inference rewrite.

MXNet's Symbol is read once, through its JSON; from there on a network is an immutable
:class:`Graph` of :class:`Node` values that can be inspected and rewritten without MXNet. Nodes
stand in topological order: an input's index is lower than its consumer's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

VARIABLE = "null"  #: the operator name that MXNet's JSON gives to inputs and parameters


class Entry(NamedTuple):
    """One output of one node."""

    node: int
    output: int = 0


@dataclass(frozen=True)
class Node:
    """An operator with its attributes and inputs, or a variable (``op == VARIABLE``)."""

    op: str
    name: str
    attrs: Mapping[str, str]
    inputs: tuple[Entry, ...]
    subgraphs: tuple[Any, ...] = ()  # of control-flow operators, carried along unread
    is_part: bool = False  # of an activation that takes several operators

    @property
    def is_variable(self) -> bool:
        """Whether this is an input or a parameter rather than an operator."""
        return self.op == VARIABLE

    @property
    def rectifies(self) -> bool:
        """Whether this computes max(0, x), or clips it from above as ReLU6 does.

        As ``Activation(relu)`` or ``clip``, which :mod:`cnnviz.importers.mxnet_canonical` makes of
        every other way to write it.
        """
        if self.op == "clip":
            try:
                return float(self.attrs["a_min"]) == 0.0 < float(self.attrs["a_max"])
            except (KeyError, ValueError):  # None is no limit
                return False
        return self.op == "Activation" and self.attrs.get("act_type") == "relu"

    @property
    def is_relu(self) -> bool:
        """Whether this is a ReLU that is an activation of its own, for ReLU rules to act on."""
        return self.rectifies and not self.is_part


#: What a symbol made for training ends with, which reads a label, and what it computes going
#: forward; going back it gives the gradient of a loss.
_TRAINING_OUTPUTS = {
    "LinearRegressionOutput": "_copy",
    "LogisticRegressionOutput": "sigmoid",
    "MAERegressionOutput": "_copy",
    "SVMOutput": "_copy",
    "SoftmaxOutput": "softmax",
}
LOSS = "__loss__"  #: the attribute that keeps the name of such an operator


def limits(attrs: Mapping[str, str], name: str) -> tuple[int | None, ...]:
    """A tuple among the attributes, some of whose places may be empty: ``(0, None)`` of a slice.

    MXNet takes ``(3, 3)``, ``[3, 3]``, ``(3L, 3L)`` of old files, and ``3``, which has one place.
    Nothing is in it where the attribute is not given.
    """
    places = (place.strip(" L") for place in attrs.get(name, "").strip("()[] ").split(","))
    return tuple(None if place == "None" else int(place) for place in places if place)


def numbers(attrs: Mapping[str, str], name: str) -> tuple[int, ...]:
    """A tuple of whole numbers among the attributes; empty where it is None or not given."""
    return tuple(number for number in limits(attrs, name) if number is not None)


def is_true(attrs: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """A yes or no among the attributes, ``True`` or ``1``."""
    return attrs.get(name, str(default)).lower() in ("true", "1")


@dataclass(frozen=True)
class Graph:
    """Operators in topological order and the entries that leave the graph."""

    nodes: tuple[Node, ...]
    heads: tuple[Entry, ...]

    @classmethod
    def from_symbol(cls, symbol: Any) -> Graph:
        """Read an MXNet Symbol."""
        document = json.loads(symbol.tojson())
        nodes = tuple(
            Node(
                op=node["op"],
                name=node["name"] or f"{node['op'].lower()}{index}",  # to be asked for by
                attrs=node.get("attrs", {}),
                inputs=tuple(Entry(entry[0], entry[1]) for entry in node["inputs"]),
                subgraphs=tuple(node.get("subgraphs", ())),
            )
            for index, node in enumerate(document["nodes"])
        )
        return cls(nodes, tuple(Entry(head[0], head[1]) for head in document["heads"]))

    def to_json(self) -> str:
        """The graph in MXNet's symbol format, for ``mxnet.symbol.load_json``."""
        nodes = [
            {
                "op": node.op,
                "name": node.name,
                "attrs": dict(node.attrs),
                "inputs": [[entry.node, entry.output, 0] for entry in node.inputs],
                **({"subgraphs": list(node.subgraphs)} if node.subgraphs else {}),
            }
            for node in self.nodes
        ]
        return json.dumps(
            {
                "nodes": nodes,
                "arg_nodes": [i for i, node in enumerate(self.nodes) if node.is_variable],
                "heads": [[entry.node, entry.output, 0] for entry in self.heads],
                # Without the version MXNet takes the text for an ancient one and says so on stderr.
                "attrs": {"mxnet_version": ["int", 10901]},
            },
            ensure_ascii=False,  # MXNet does not read \u escapes
        )

    def dependent_on(self, variable: str) -> frozenset[int]:
        """Indices of all nodes whose value depends on the variable called ``variable``."""
        found: set[int] = set()
        for index, node in enumerate(self.nodes):
            if (node.is_variable and node.name == variable) or any(
                entry.node in found for entry in node.inputs
            ):
                found.add(index)
        return frozenset(found)

    def consumers(self) -> Mapping[Entry, tuple[int, ...]]:
        """For each entry the nodes that read it, in order, each once."""
        readers: dict[Entry, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for entry in dict.fromkeys(node.inputs):
                readers.setdefault(entry, []).append(index)
        return {entry: tuple(indices) for entry, indices in readers.items()}


class Rewritten(NamedTuple):
    """A rewritten graph, and where each entry of the old one is found in it."""

    graph: Graph
    moved: Mapping[Entry, Entry]


def for_inference(graph: Graph) -> Rewritten:
    """Rewrite a traced graph so that it infers, and differentiates right, when run for training.

    MXNet's max pooling keeps what its backward pass needs only in training mode, so the engine has
    to record in training mode; this takes out what training mode would change:

    - Dropout becomes nothing, between the layers of an RNN too;
    - batch norm uses (and leaves alone) its running statistics;
    - randomized leaky ReLU gets its mean slope;
    - an operator that stands for a loss becomes what it computes of its input, without the label.

    Whatever is computed in half or double precision is computed in float32, as everything is here.

    Nodes that no head needs any more are dropped.
    """
    nodes = tuple(_inferring(_without_label(node)) for node in graph.nodes)
    return pruned(Graph(nodes, graph.heads), ("Dropout",))


def pruned(graph: Graph, skipped: Collection[str] = ()) -> Rewritten:
    """The graph without the nodes that no head needs, and without the operators ``skipped``.

    What reads an operator that is skipped reads its first input instead.
    """
    nodes: list[Node] = []
    moved: dict[Entry, Entry] = {}
    for index in sorted(_ancestors(graph, graph.heads)):
        node = graph.nodes[index]
        inputs = tuple(_moved(moved, entry) for entry in node.inputs)
        if node.op in skipped:
            moved[Entry(index)] = inputs[0]
            continue
        moved[Entry(index)] = Entry(len(nodes))
        nodes.append(replace(node, inputs=inputs))
    return Rewritten(Graph(tuple(nodes), tuple(_moved(moved, head) for head in graph.heads)), moved)


def _moved(moved: Mapping[Entry, Entry], entry: Entry) -> Entry:
    first = moved[Entry(entry.node)]
    return Entry(first.node, first.output + entry.output)


def _ancestors(graph: Graph, heads: Iterable[Entry]) -> set[int]:
    found: set[int] = set()
    waiting = [head.node for head in heads]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(entry.node for entry in graph.nodes[index].inputs)
    return found


def _without_label(node: Node) -> Node:
    forward = _TRAINING_OUTPUTS.get(node.op)
    if forward is None:
        return node
    attrs = {LOSS: node.op}
    if forward == "softmax":
        attrs["axis"] = "-1" if is_true(node.attrs, "preserve_shape") else "1"
    return Node(forward, node.name, attrs, node.inputs[:1])


def _inferring(node: Node) -> Node:
    """The node with attributes under which training mode computes what inference does."""
    rewrite = _REWRITES.get(node.op)
    attrs = rewrite(node.attrs) if rewrite else node.attrs
    if attrs.get("dtype") in ("float16", "bfloat16", "float64"):
        attrs = {**attrs, "dtype": "float32"}
    return replace(node, attrs=attrs)


def _frozen_statistics(attrs: Mapping[str, str]) -> Mapping[str, str]:
    return {**attrs, "use_global_stats": "True"}


def _mean_slope(attrs: Mapping[str, str]) -> Mapping[str, str]:
    if attrs.get("act_type") != "rrelu":
        return attrs
    lower, upper = float(attrs.get("lower_bound", 0.125)), float(attrs.get("upper_bound", 0.334))
    return {"act_type": "leaky", "slope": repr((lower + upper) / 2)}


def _without_dropout(attrs: Mapping[str, str]) -> Mapping[str, str]:
    return {**attrs, "p": "0"}


_REWRITES: Mapping[str, Callable[[Mapping[str, str]], Mapping[str, str]]] = {
    "BatchNorm": _frozen_statistics,
    "BatchNorm_v1": _frozen_statistics,
    "_contrib_SyncBatchNorm": _frozen_statistics,
    "LeakyReLU": _mean_slope,
    "RNN": _without_dropout,
}
