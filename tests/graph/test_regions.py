"""Which part of the image operators of tokens are computed from, by hand."""

from __future__ import annotations

import pytest

from cnnviz.graph.axes import find_axes
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.layout import find_layouts
from cnnviz.graph.operators import (
    Input,
    LayerNorm,
    Parameter,
    Softmax,
    Take,
)
from cnnviz.graph.regions import Region, find_regions

IMAGE = (3, 8, 8)


def region(*nodes: Node) -> Region:
    graph = Graph((Node(Input(IMAGE), "data"), *nodes), Value(len(nodes)))
    layouts = find_layouts(graph, find_axes(graph))
    return find_regions(graph, layouts)[graph.output]


@pytest.mark.parametrize(
    ("operator", "found"),
    [
        (Softmax(0), Region()),
        (LayerNorm((0,)), Region()),
        (Take(1, (4, 5)), Region(top=0.5, bottom=0.75)),
        (Take(2, (7, 0)), Region()),
        (Take(0, (2,)), Region()),
    ],
)
def test_of_one_value(operator, found):
    constants = [Node(Parameter((3,)), name) for name in operator.inputs[1:]]
    nodes = (*constants, Node(operator, "operator", tuple(map(Value, range(len(constants) + 1)))))
    assert region(*nodes) == found
