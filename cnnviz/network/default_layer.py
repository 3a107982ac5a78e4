"""Which layer is explained when nobody names one, and a network's stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cnnviz.errors import NetworkError
from cnnviz.network.graph import Entry, Graph, is_spatial

#: Operators without parameters of their own that may stand between a convolution that produces one
#: map a class and the logits.
_CLASSIFIER_TAIL = {"Activation", "Pooling", "Flatten", "Reshape", "relu", "mean", "squeeze"}


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
