"""What pixels one of MXNet's symbols takes, where it says so itself by its first operators."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.engines.mxnet.symbol import Entry, Graph, Node
from cnnviz.importers.input_scale import Line, Recognized, by_line, by_statistics
from cnnviz.importers.mxnet_element_wise import Lookup, element_wise

_Vector = npt.NDArray[np.float64]

#: Of these operators a straight line remains a straight line.
_STRAIGHT = {
    *("broadcast_add", "broadcast_sub", "broadcast_mul", "broadcast_div"),
    *("elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div"),
    *("_npi_add", "_npi_subtract", "_npi_multiply", "_npi_true_divide"),
    *("_plus_scalar", "_minus_scalar", "_rminus_scalar", "_mul_scalar", "_div_scalar"),
    *("_npi_add_scalar", "_npi_subtract_scalar", "_npi_rsubtract_scalar"),
    *("_npi_multiply_scalar", "_npi_true_divide_scalar", "negative", "_npi_negative"),
}
#: These change no number.
_SAME = {"BlockGrad", "Cast", "Crop", "_copy", "amp_cast", "slice", "slice_axis"}
_NORMALIZE = {"_image_normalize", "_npx__image_normalize"}


def recognize_scale(graph: Graph, data: str, channels: int, values: Lookup) -> Recognized | None:
    """What a network's first operators say about its pixels; None if they say nothing.

    Args:
        graph: in inference form.
        data: the name of its input.
        channels: of the image.
        values: of the graph's variables, where they are known.
    """
    entry = next(Entry(i) for i, node in enumerate(graph.nodes) if node.name == data)
    start = Line(np.ones(1), np.zeros(1))
    ends = list(_ends(graph, graph.consumers(), entry, start, values, channels))
    (line, _), *others = ends or [(start, graph.nodes[0])]
    if any(not line.equals(other) for other, _ in others):
        return None
    if line.equals(start):
        norms = [node for _, node in ends if node.op.startswith("BatchNorm")]
        return _by_statistics(graph, norms[0], channels, values) if len(norms) == 1 else None
    return by_line(line, channels)


def _ends(
    graph: Graph,
    readers: Mapping[Entry, tuple[int, ...]],
    entry: Entry,
    line: Line,
    values: Lookup,
    channels: int,
) -> Iterator[tuple[Line, Node]]:
    """What has become of the pixels where the network begins in earnest, and the node there."""
    for index in readers.get(entry, ()):
        node = graph.nodes[index]
        after = line if node.op in _SAME else _after(graph, node, entry, line, values, channels)
        if after is None:
            yield line, node
        else:
            yield from _ends(graph, readers, Entry(index), after, values, channels)


def _after(
    graph: Graph, node: Node, entry: Entry, line: Line, values: Lookup, channels: int
) -> Line | None:
    if node.op in _NORMALIZE:
        mean, std = (
            _numbers(node.attrs.get(key, usual)) for key, usual in (("mean", "0"), ("std", "1"))
        )
        return Line(line.scale / std, (line.offset - mean) / std)
    operator = element_wise(node) if node.op in _STRAIGHT else None
    if operator is None:
        return None
    others: list[_Vector] = []
    for source in node.inputs:
        if source == entry:
            continue
        variable = graph.nodes[source.node]
        array = values(variable.name) if variable.is_variable else None
        if array is None or array.size not in (1, channels):
            return None
        others.append(np.asarray(array, np.float64).reshape(-1))

    def at(x: _Vector) -> _Vector:
        rest = iter(others)
        return np.asarray(operator(*(x if e == entry else next(rest) for e in node.inputs)))

    zero = at(line.offset)
    one = at(line.offset + line.scale)
    return Line(one - zero, zero)


def _by_statistics(graph: Graph, norm: Node, channels: int, values: Lookup) -> Recognized | None:
    """What the batch norm that a network begins with saw in training."""
    kept = [values(graph.nodes[entry.node].name) for entry in norm.inputs[3:5]]
    if len(kept) != 2 or kept[0] is None or kept[1] is None:
        return None
    return by_statistics(norm.name, kept[0], kept[1], channels)


def _numbers(text: str) -> Any:
    try:
        return np.asarray(ast.literal_eval(text), np.float64)
    except (ValueError, SyntaxError):
        return np.float64("nan")
