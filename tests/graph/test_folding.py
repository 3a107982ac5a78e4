"""Which batch norms can be folded into a convolution, and the graph with them folded."""

import dataclasses

import pytest

from cnnviz.graph.builder import Builder
from cnnviz.graph.folding import foldable, folded
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import BatchNorm, Conv2d


def chain():
    """A convolution, its batch norm and a ReLU; their values."""
    builder = Builder((3, 6, 6))
    conv = builder.conv(builder.input, 4, 3)
    norm = builder.batch_norm(conv)
    return builder, conv, norm


def only(graph, operator):
    """The one node of a kind."""
    (index,) = (i for i, node in enumerate(graph.nodes) if isinstance(node.operator, operator))
    return index


def test_a_batch_norm_behind_a_convolution_is_foldable():
    builder, _, norm = chain()
    graph = builder.finish(builder.relu(norm)).graph
    conv, norm = only(graph, Conv2d), only(graph, BatchNorm)
    assert foldable(graph) == {Value(conv): norm}

    found = folded(graph, [Value(conv)])
    assert len(found.nodes) == len(graph.nodes)
    assert found.shapes[norm:] == graph.shapes[norm:]
    node = found.nodes[norm]
    assert (node.operator, node.name) == (graph.nodes[conv].operator, graph.nodes[norm].name)
    assert node.inputs[0] == graph.nodes[conv].inputs[0]
    assert [found.shape(value) for value in node.inputs[1:]] == [(4, 3, 3, 3), (4,)]
    assert Value(conv) not in found.consumers
    assert folded(graph, []) == graph


def test_what_others_read_is_not():
    builder, conv, norm = chain()
    graph = builder.finish(builder.add(conv, norm)).graph
    assert foldable(graph) == {}


def test_what_stands_before_no_convolution_is_not():
    builder = Builder((3, 6, 6))
    data = builder.relu(builder.batch_norm(builder.input))
    graph = builder.finish(builder.batch_norm(data)).graph
    assert foldable(graph) == {}


@pytest.mark.parametrize("change", ["axis", "shared", "computed"])
def test_what_does_not_scale_channels_by_parameters_of_its_own_is_not(change):
    builder, _, norm = chain()
    graph = builder.finish(builder.relu(norm)).graph
    place = only(graph, BatchNorm)
    node = graph.nodes[place]
    nodes = list(graph.nodes)
    if change == "axis":  # the maps are 4×4, and there are as many channels
        nodes[place] = dataclasses.replace(node, operator=BatchNorm(axis=1))
    elif change == "shared":
        inputs = (node.inputs[0], *node.inputs[1:2] * 2, *node.inputs[3:])
        nodes[place] = dataclasses.replace(node, inputs=inputs)
    else:
        inputs = (*node.inputs[:2], node.inputs[0], *node.inputs[3:])
        nodes[place] = dataclasses.replace(node, inputs=inputs)
    assert foldable(Graph(tuple(nodes), graph.output)) == {}
