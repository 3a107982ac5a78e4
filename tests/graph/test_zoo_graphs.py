"""The zoo's networks as graphs, against what Gluon builds and traces."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cnnviz.graph.graph import Value
from cnnviz.models import catalog
from cnnviz.models.zoo import build
from cnnviz.network import Architecture


@pytest.mark.parametrize("name", catalog.names())
def test_a_graph_is_what_gluon_builds(name):
    entry = catalog.get(name)
    classes = len(catalog.labels(entry))
    block = catalog.build_block(entry, classes)
    traced = Architecture.from_block(block, entry.input.shape)
    named = build(entry.family, name, entry.input.shape, classes)

    graph, taken = named.graph, set()
    layers = []
    for index in graph.layers:
        node = graph.nodes[index]
        free = [path for path in named.paths.get(Value(index), ()) if path not in taken]
        own, *others = free or [node.name]
        taken.add(own)
        layers.append(
            (own, tuple(others), node.name, node.operator.kind, graph.shape(Value(index)))
        )

    assert layers == [
        (layer.name, layer.aliases, layer.node, layer.kind, layer.shape) for layer in traced.layers
    ]
    # Each reads what it reads there, in the same order.
    old = {layer.node: traced.graph.nodes[layer.index] for layer in traced.layers}
    for index in graph.layers:
        node = graph.nodes[index]
        dependent = {*graph.layers, graph.input.node}
        mine = [graph.nodes[value.node].name for value in node.inputs if value.node in dependent]
        theirs = [
            traced.graph.nodes[entry.node].name
            for entry in old[node.name].inputs
            if entry.node in traced.dependent
        ]
        assert mine == theirs
    assert dict(graph.parameters) == catalog.parameter_shapes(entry, classes)


def test_a_graph_needs_no_framework():
    code = (
        "import sys; from cnnviz.models import zoo; "
        "zoo.build('resnet_v1', 'resnet50_v1', (3, 224, 224), 1000).graph.shapes; "
        "print(sorted({'mxnet', 'torch', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
