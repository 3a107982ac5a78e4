"""The zoo's networks as graphs, against what Gluon builds and traces."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cnnviz.graph.architecture import Architecture
from cnnviz.models import zoo
from tests.support.zoo import block_shapes, traced


def described(architecture):
    """Each layer: what it is called, what it does, and which layers it reads."""
    graph = architecture.graph
    dependent = {graph.input.node, *graph.layers}
    rows = []
    for layer in architecture.layers:
        node = graph.nodes[layer.index]
        before = [graph.nodes[v.node].name for v in node.inputs if v.node in dependent]
        further = len(node.inputs) - len(before)
        rows.append((layer.name, layer.aliases, layer.node, layer.shape, node.operator))
        rows.append((before, further))
    return rows


@pytest.mark.parametrize("name", zoo.names())
def test_a_graph_is_what_gluon_builds(name):
    entry = zoo.get(name)
    block, architecture = traced(name)
    built = Architecture(*zoo.build(entry))

    assert described(built) == described(architecture)
    assert built.default_layer.name == architecture.default_layer.name == entry.default_layer
    stages = [layer.name for layer in architecture.stages()]
    assert [layer.name for layer in built.stages()] == stages
    assert dict(built.graph.parameters) == block_shapes(block, entry.input.shape)


COMMANDS = """
import sys
from cnnviz.cli import run

heavy = {"mxnet", "torch", "cv2", "PIL", "cnnviz.engines.mxnet.engine", "cnnviz.explainer"}
for command in (
    ["layers", "resnet50_v1"],
    ["layers", "demo", "--json"],
    ["summary", "inceptionv3"],
    ["summary", "mobilenetv2_0.25", "--diagram", "net.dot"],
    ["models"],
):
    assert run(command) == 0
    assert not heavy & set(sys.modules), (command, heavy & set(sys.modules))
"""


def test_describing_a_network_needs_no_framework(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "features.7.2" in done.stdout
    assert (tmp_path / "net.dot").read_text().startswith("digraph")
