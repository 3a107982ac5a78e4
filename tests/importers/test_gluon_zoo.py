"""What cnnviz knows of Gluon's model zoo, against what Gluon builds, traces and looks for."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from cnnviz.graph.architecture import Architecture
from cnnviz.models import zoo
from cnnviz.models.zoo_weights import old_names
from cnnviz.weights import store
from cnnviz.weights.cache import cache_folder, candidates
from cnnviz.weights.info import PublishedWeights
from cnnviz.weights.matching import Expected, match
from tests.support.gluon_zoo import block_shapes, traced
from tests.support.mxnet import import_mxnet

#: One of each kind of block, and the smallest that has it.
FAMILIES = {entry.family: entry.name for entry in reversed(zoo.entries())}
del FAMILIES["demo"]
FAMILY_NAMES = sorted(
    {*FAMILIES.values(), "resnet18_v1", "resnet50_v2", "mobilenetv2_1.0", "densenet121"}
)
TRACED = {"demo", *FAMILY_NAMES}


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


@pytest.mark.subprocess
@pytest.mark.parametrize(
    "name",
    [
        # Gluon is slow at tracing the others, which have more of the same blocks.
        name if name in TRACED else pytest.param(name, marks=pytest.mark.slow)
        for name in zoo.names()
    ],
)
def test_a_graph_is_what_gluon_builds(name):
    entry = zoo.get(name)
    block, architecture = traced(name)
    built = Architecture(*zoo.build(entry))

    assert described(built) == described(architecture)
    assert built.default_layer.name == architecture.default_layer.name == entry.default_layer
    stages = [layer.name for layer in architecture.stages()]
    assert [layer.name for layer in built.stages()] == stages
    shapes = dict(built.graph.parameters)
    assert shapes == block_shapes(block, entry.input.shape)
    owned = block._collect_params_with_prefix().items()
    learned = [key for key, parameter in owned if parameter.grad_req != "null"]
    assert sum(math.prod(shapes[key]) for key in learned) == entry.parameters


def test_checksums_and_names_are_mxnets():
    model_store = import_mxnet().gluon.model_zoo.model_store
    published = [entry.published for entry in zoo.entries() if entry.published is not None]
    assert model_store._model_sha1 == {one.network: one.sha1 for one in published}
    assert model_store.apache_repo_url == store.GLUON_REPO
    assert {one.network for one in published} == set(zoo.names()) - {"demo"}


def test_mxnet_looks_for_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    published = PublishedWeights("tinynet", "vgg", 5, hashlib.sha1(b"whole").hexdigest())
    path = candidates(published)[0].path
    path.parent.mkdir()
    path.write_bytes(b"whole")
    model_store = import_mxnet().gluon.model_zoo.model_store
    monkeypatch.setitem(model_store._model_sha1, "tinynet", published.sha1)
    assert model_store.get_model_file("tinynet", root=str(cache_folder())) == str(path)


def shrunk(name):
    """A real network's names, with a size of one everywhere."""
    shapes = zoo.parameter_shapes(zoo.get(name))
    return {key: (1,) * len(shape) for key, shape in shapes.items()}


VGGS = [name for name in zoo.names() if name.startswith("vgg")]


def prefix_style(name, **options):
    """A zoo's network in Gluon's older names, filled with numbers, and what is to come of it."""
    block = import_mxnet().gluon.model_zoo.vision.get_model(name, **options)
    # What a parameter is called in both styles, from Gluon itself: the object is the same.
    structural = {id(p): key for key, p in block._collect_params_with_prefix().items()}
    shapes = shrunk(name)
    numbers = {key: float(number) for number, key in enumerate(shapes)}
    state = {
        prefixed: np.full(shapes[structural[id(p)]], numbers[structural[id(p)]], np.float32)
        for prefixed, p in block.collect_params().items()
    }
    assert all("." not in key for key in state)
    return state, shapes, numbers


@pytest.mark.parametrize("name", VGGS)
def test_gluons_own_prefix_style_names(name):
    state, shapes, numbers = prefix_style(name)
    matched = match(state, Expected(shapes))
    assert {key: array.item() for key, array in matched.items()} == numbers


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("options", [{}, {"prefix": "my_net7_"}, {"prefix": ""}], ids=str)
def test_prefix_style_names_of_every_family(name, options):
    """Layers are numbered anew in each stage, and not in the order of the names."""
    state, shapes, numbers = prefix_style(name, **options)
    state = {("aux:" if "running" in key else "arg:") + key: state[key] for key in sorted(state)}
    state = {key.replace("running_", "moving_"): array for key, array in state.items()}
    matched = match(state, Expected(shapes, old_names=old_names(zoo.build(zoo.get(name)).graph)))
    assert {key: array.item() for key, array in matched.items()} == numbers
