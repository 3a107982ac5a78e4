"""A network as a plain graph: layers, shapes, the default target layer, the inference rewrite.

MXNet's Symbol is read once, through its JSON; from there on a network is an immutable
:class:`Graph` of :class:`Node` values that can be inspected and rewritten without MXNet. Nodes
stand in topological order: an input's index is lower than its consumer's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cnnviz.errors import NetworkError

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

    @property
    def is_variable(self) -> bool:
        """Whether this is an input or a parameter rather than an operator."""
        return self.op == VARIABLE

    @property
    def is_relu(self) -> bool:
        """Whether this is a ReLU in any of the forms that Gluon and users write it.

        ``Activation(relu)``, ``relu``, ``maximum(x, 0)`` and the clipped ReLU (``clip`` from 0,
        ReLU6 above all).
        """
        if self.op == "Activation":
            return self.attrs.get("act_type") == "relu"
        if self.op == "clip":
            return float(self.attrs.get("a_min", "nan")) == 0.0
        if self.op == "_maximum_scalar":
            return float(self.attrs.get("scalar", "nan")) == 0.0
        return self.op == "relu"

    @property
    def kind(self) -> str:
        """What a person calls this layer: ``Convolution``, ``ReLU``, ``MaxPool``, ..."""
        if self.is_relu:
            return "ReLU" if self.op != "clip" else f"ReLU{float(self.attrs['a_max']):g}"
        if self.op == "Activation":
            return self.attrs.get("act_type", "Activation").capitalize()
        if self.op == "Pooling":
            reach = "Global" if _is_true(self.attrs.get("global_pool")) else ""
            return f"{reach}{self.attrs.get('pool_type', 'max').capitalize()}Pool"
        return _KINDS.get(self.op, self.op)


_KINDS = {
    "FullyConnected": "Dense",
    "elemwise_add": "Add",
    "broadcast_add": "Add",
    "_Plus": "Add",
    "elemwise_mul": "Multiply",
    "broadcast_mul": "Multiply",
    "_contrib_AdaptiveAvgPooling2D": "AdaptiveAvgPool",
}

_SOFTMAXES = {"softmax", "log_softmax", "SoftmaxActivation", "SoftmaxOutput", "Softmax"}

#: What symbols made for training end with. Going forward they do nothing, or (the logistic one)
#: squash each logit by itself; going back they give the gradient of a loss, and read a label.
_LOSSES = {
    "BlockGrad",
    "LinearRegressionOutput",
    "LogisticRegressionOutput",
    "MAERegressionOutput",
    "MakeLoss",
    "SVMOutput",
    "_copy",
    "make_loss",
}

#: What may follow a softmax without telling it apart from the network's end.
_AFTER_SOFTMAX = {"Cast", "Flatten", "Reshape", "_copy", "BlockGrad", "amp_cast", "log"}

#: Operators without parameters of their own that may stand between a convolution that produces one
#: map a class and the logits.
_CLASSIFIER_TAIL = {"Activation", "Pooling", "Flatten", "Reshape", "relu", "mean", "squeeze"}


def _is_true(attribute: str | None) -> bool:
    return attribute is not None and attribute.lower() in ("true", "1")


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
                name=node["name"],
                attrs=node.get("attrs", {}),
                inputs=tuple(Entry(entry[0], entry[1]) for entry in node["inputs"]),
                subgraphs=tuple(node.get("subgraphs", ())),
            )
            for node in document["nodes"]
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


class Inference(NamedTuple):
    """The inference form of a graph, and where each entry of the old one is found in it."""

    graph: Graph
    moved: Mapping[Entry, Entry]


def for_inference(graph: Graph) -> Inference:
    """Rewrite a traced graph so that it infers, and differentiates right, when run for training.

    MXNet's max pooling keeps what its backward pass needs only in training mode, so the engine has
    to record in training mode; this takes out what training mode would change:

    - Dropout becomes nothing;
    - batch norm uses (and leaves alone) its running statistics;
    - randomised leaky ReLU gets its mean slope;
    - a softmax or loss at the very end is looked through, so that the heads are logits.

    Whatever is computed in half precision is computed in float32, as everything here is.

    Nodes that no head needs any more are dropped.
    """
    nodes: list[Node] = []
    moved: dict[Entry, Entry] = {}
    heads = tuple(_before_softmax(graph, head) for head in graph.heads)
    needed = _ancestors(graph, heads)
    for index, node in enumerate(graph.nodes):
        if index not in needed:
            continue
        inputs = tuple(_moved(moved, entry) for entry in node.inputs)
        if node.op == "Dropout":
            moved[Entry(index)] = inputs[0]
            continue
        rewrite = _REWRITES.get(node.op)
        attrs = rewrite(node.attrs) if rewrite else node.attrs
        if attrs.get("dtype") in ("float16", "bfloat16"):
            attrs = {**attrs, "dtype": "float32"}
        moved[Entry(index)] = Entry(len(nodes))
        nodes.append(replace(node, attrs=attrs, inputs=inputs))
    return Inference(Graph(tuple(nodes), tuple(_moved(moved, head) for head in heads)), moved)


def _moved(moved: Mapping[Entry, Entry], entry: Entry) -> Entry:
    first = moved[Entry(entry.node)]
    return Entry(first.node, first.output + entry.output)


def _before_softmax(graph: Graph, head: Entry) -> Entry:
    while True:
        below = head
        while graph.nodes[below.node].op in _AFTER_SOFTMAX:
            below = graph.nodes[below.node].inputs[0]
        if graph.nodes[below.node].op in _SOFTMAXES:
            head = graph.nodes[below.node].inputs[0]
        elif graph.nodes[head.node].op in _LOSSES:
            head = graph.nodes[head.node].inputs[0]
        else:
            return head


def _ancestors(graph: Graph, heads: Iterable[Entry]) -> set[int]:
    found: set[int] = set()
    waiting = [head.node for head in heads]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(entry.node for entry in graph.nodes[index].inputs)
    return found


def _frozen_statistics(attrs: Mapping[str, str]) -> Mapping[str, str]:
    return {**attrs, "use_global_stats": "True"}


def _mean_slope(attrs: Mapping[str, str]) -> Mapping[str, str]:
    if attrs.get("act_type") != "rrelu":
        return attrs
    lower, upper = float(attrs.get("lower_bound", 0.125)), float(attrs.get("upper_bound", 0.334))
    return {"act_type": "leaky", "slope": repr((lower + upper) / 2)}


_REWRITES: Mapping[str, Callable[[Mapping[str, str]], Mapping[str, str]]] = {
    "BatchNorm": _frozen_statistics,
    "BatchNorm_v1": _frozen_statistics,
    "_contrib_SyncBatchNorm": _frozen_statistics,
    "LeakyReLU": _mean_slope,
}


def is_spatial(shape: Sequence[int]) -> bool:
    """Whether a shape without batch, ``(C, h, w)``, still has height and width."""
    return len(shape) == 3 and shape[1] * shape[2] > 1


def default_target(graph: Graph, data: str, shapes: Mapping[int, tuple[int, ...]]) -> int:
    """The layer to explain when nobody names one: index of a node of an inference graph.

    The last convolution that every path from the input to the logits passes and that still has
    height and width, with its batch norm where it has one, before the activation: VGG's last
    convolution. Where branches join after it (residual, concatenating, dense networks) it is the
    output of the last join, with the batch norm and activation that belong to it: what the global
    pooling reads. A convolution that itself makes the class maps (SqueezeNet's last) is part of
    the classifier, and what feeds it is taken.

    Args:
        graph: in inference form, with one head.
        data: name of the input variable.
        shapes: for each node that depends on the input its first output's shape without batch.

    Raises:
        NetworkError: nothing that depends on the input has height and width.
    """
    dependent = graph.dependent_on(data)
    path = [index for index in sorted(dependent) if not graph.nodes[index].is_variable]
    classes = shapes[graph.heads[0].node][0]

    def makes_class_maps(index: int) -> bool:
        after = [graph.nodes[i] for i in path if i > index]
        return shapes[index][0] == classes and all(
            node.op in _CLASSIFIER_TAIL or node.is_relu for node in after
        )

    chosen = None
    for index in reversed(_bottlenecks(graph, dependent, shapes)):
        convolves = graph.nodes[index].op == "Convolution"
        if _joins(graph, dependent, index) or (convolves and not makes_class_maps(index)):
            chosen = index
            break
    if chosen is None:
        spatial = [
            i for i in path if graph.nodes[i].op == "Convolution" and is_spatial(shapes[i])
        ] or [i for i in path if is_spatial(shapes[i])]
        if not spatial:
            raise NetworkError(
                "No layer of this network has height and width, so there is nowhere to look: "
                "cnnviz explains convolutional networks on pictures."
            )
        return spatial[-1]
    return _completed(graph, shapes, chosen)


def stage_targets(
    graph: Graph, data: str, shapes: Mapping[int, tuple[int, ...]]
) -> tuple[int, ...]:
    """What a network has made of the picture at each of its resolutions: node indices, in order.

    For each height and width the last layer at it that every path passes: in networks whose
    branches join such a join, elsewhere a convolution, each with the batch norm (and after a join
    the activation) that belongs to it. The last one is :func:`default_target`. VGG has five, the
    ends of its blocks; ResNet four.

    Args and errors are those of :func:`default_target`.
    """
    dependent = graph.dependent_on(data)
    last = default_target(graph, data, shapes)
    before = [index for index in _bottlenecks(graph, dependent, shapes) if index <= last]
    candidates = [index for index in before if _joins(graph, dependent, index)] or [
        index for index in before if graph.nodes[index].op == "Convolution"
    ]
    stages = {shapes[index][1:]: _completed(graph, shapes, index) for index in candidates}
    stages[shapes[last][1:]] = last
    return tuple(sorted(stages.values()))


def _bottlenecks(
    graph: Graph, dependent: Collection[int], shapes: Mapping[int, tuple[int, ...]]
) -> list[int]:
    """The operators with height and width that every path from input to logits passes, in order."""
    last_reader: dict[int, int] = {}
    for entry, indices in graph.consumers().items():
        last_reader[entry.node] = max(last_reader.get(entry.node, -1), *indices)
    # In topological order a node is on every path if and only if no edge jumps over it.
    found: list[int] = []
    reach = -1
    for index in sorted(dependent):
        if reach <= index and not graph.nodes[index].is_variable and is_spatial(shapes[index]):
            found.append(index)
        reach = max(reach, last_reader.get(index, -1))
    return found


def _joins(graph: Graph, dependent: Collection[int], index: int) -> bool:
    """Whether branches of the way from the input meet in an operator."""
    return len({entry for entry in graph.nodes[index].inputs if entry.node in dependent}) > 1


def _completed(graph: Graph, shapes: Mapping[int, tuple[int, ...]], chosen: int) -> int:
    """The last of the operators that belong to a convolution or a join.

    That is a convolution's batch norm, and a join's batch norm and activation.
    """
    follow = (
        {"BatchNorm"} if graph.nodes[chosen].op == "Convolution" else {"BatchNorm", "Activation"}
    )
    readers = graph.consumers()
    while True:
        after = readers.get(Entry(chosen), ())
        if len(after) != 1 or shapes[after[0]] != shapes[chosen]:
            return chosen
        node = graph.nodes[after[0]]
        if not (node.op in follow or (node.is_relu and "Activation" in follow)):
            return chosen
        chosen = after[0]
        if node.op == "BatchNorm" and "Activation" not in follow:
            return chosen


def normal_layer_name(name: str) -> str:
    """``features[28]``, as one writes it in Python, as the layer is listed: ``features.28``."""
    return re.sub(r"\[(\d+)\]", r".\1", name.strip()).lstrip(".")
