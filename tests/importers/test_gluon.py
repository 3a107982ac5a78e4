"""Gluon blocks as graphs: tracing, names of layers, stages, shapes, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cnnviz.demo.architecture import build as demo
from cnnviz.engines.mxnet.lowering import lowered_graph
from cnnviz.engines.mxnet.symbol import Graph, for_inference
from cnnviz.errors import NetworkError, UsageError
from cnnviz.importers.gluon import architecture_of_block, from_gluon
from cnnviz.importers.mxnet_symbol import architecture_of
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn
vision = mx.gluon.model_zoo.vision


def test_network_of_one_resolution_has_one_stage():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, padding=1), nn.Conv2D(5, 3, padding=1), nn.GlobalAvgPool2D())
    net.add(nn.Flatten(), nn.Dense(3))
    architecture = architecture_of_block(net, (3, 8, 8))
    assert architecture.stages() == (architecture.default_layer,)
    assert architecture.default_layer.name == "1"


def test_shapes_of_parameters_follow_from_the_input():
    net = nn.HybridSequential(prefix="")
    net.add(nn.Conv2D(4, 3, prefix="conv0_"), nn.BatchNorm(prefix="batchnorm0_"))
    net.add(nn.Dense(5, prefix="dense0_"))
    architecture = architecture_of_block(net, (3, 10, 9))
    assert architecture.parameter_shapes == {
        "conv0_weight": (4, 3, 3, 3),
        "conv0_bias": (4,),
        **{f"batchnorm0_{p}": (4,) for p in ("gamma", "beta", "running_mean", "running_var")},
        "dense0_weight": (5, 4 * 8 * 7),
        "dense0_bias": (5,),
    }
    assert (architecture.output_shape, architecture.classes) == ((5,), 5)


@pytest.fixture(scope="module")
def vgg16():
    return architecture_of_block(vision.vgg16())


def test_layers_are_named_after_blocks_wherever_one_stands_for_them(vgg16):
    names = [layer.name for layer in vgg16.layers]
    assert names[:5] == ["features.0", "features.1", "features.2", "features.3", "features.4"]
    assert "features.31" in names  # the dense layer ...
    assert "features.31.act" in names  # ... and the ReLU inside it
    assert names[-1] == "output"
    assert len(set(names)) == len(names)


def test_names_do_not_depend_on_what_was_traced_before():
    def names():
        return [(x.name, x.kind, x.shape) for x in architecture_of_block(resnet).layers]

    resnet = vision.resnet18_v1(prefix="")
    assert names() == names()


@pytest.mark.parametrize(
    "spelling", ["features.28", "features[28]", ".features[28]", " features.28"]
)
def test_layer_is_found_as_it_is_written_in_python(vgg16, spelling):
    assert vgg16.layer(spelling) is vgg16.default_layer


def test_unknown_layer_gets_suggestions(vgg16):
    with pytest.raises(UsageError, match=r"no layer 'feature\.27'.*features\.27"):
        vgg16.layer("feature.27")


def test_layer_without_height_and_width_is_refused(vgg16):
    with pytest.raises(UsageError, match=r"output \(Dense\) gives 1000, without height and width"):
        vgg16.layer("output")


def test_dropout_is_not_a_layer_but_its_name_still_leads_to_its_input():
    net = vision.squeezenet1_1()
    architecture = architecture_of_block(net)
    assert architecture.layer("features.13") is architecture.default_layer
    assert all(layer.kind != "Dropout" for layer in architecture.layers)


def test_tracing_leaves_the_block_as_it_was():
    net = vision.squeezenet1_1()
    before = {name: len(child._forward_hooks) for name, child in _descendants(net)}
    architecture_of_block(net)
    assert {name: len(child._forward_hooks) for name, child in _descendants(net)} == before


def _descendants(block, prefix=""):
    for name, child in block._children.items():
        yield prefix + name, child
        yield from _descendants(child, f"{prefix}{name}.")


def test_block_that_cannot_be_traced_says_why():
    class Branching(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return x if x.sum().asscalar() > 0 else -x

    with pytest.raises(NetworkError, match="hybridizable"):
        architecture_of_block(Branching())
    with pytest.raises(NetworkError, match="HybridBlock is needed"):
        architecture_of_block(SimpleNamespace())


def test_network_without_height_and_width_is_refused():
    net = nn.HybridSequential()
    net.add(nn.Flatten(), nn.Dense(3))
    with pytest.raises(NetworkError, match="nowhere to look"):
        architecture_of_block(net, (3, 8, 8))


def test_wrong_input_shape_is_said():
    with pytest.raises(NetworkError, match=r"does not take images of shape 3×2×2"):
        architecture_of_block(vision.alexnet(), (3, 2, 2))


def test_uninitialized_network_is_refused():
    with pytest.raises(NetworkError, match="has no value"):
        from_gluon(vision.squeezenet1_1())


def test_layers_in_another_case_and_several_of_a_name():
    architecture = architecture_of_block(demo(), (3, 224, 224))
    assert architecture.find("Features.26") is architecture.find("features.26")
    first, second = architecture.layers[:2]
    architecture.__dict__["_by_name"] = {"Conv_1": first, "conv-1": second, "a,b": second}
    assert architecture.find("conv-1") is second
    with pytest.raises(UsageError, match="fits 2 layers, Conv_1 and conv-1: write it as"):
        architecture.find("conv 1")
    assert architecture.split_names("a,b") == ["a,b"]
    assert architecture.split_names("Conv_1, conv-1") == ["Conv_1", "conv-1"]


def test_a_parameter_as_large_as_what_it_is_added_to_has_no_batch():
    """Keras adds biases apart: (N, 3) + (3,) is no sum of equal shapes."""
    sym = mx.sym
    x = sym.Convolution(sym.var("data"), kernel=(3, 3), num_filter=2, name="convolution")
    x = sym.broadcast_add(x, sym.var("map"), name="shifted")
    x = sym.FullyConnected(x, num_hidden=3, no_bias=True, name="dense")
    x = sym.broadcast_add(x, sym.var("bias"), name="sum")
    hints = {"map": (1, 2, 4, 4), "bias": (3,)}
    graph = for_inference(Graph.from_symbol(x)).graph
    architecture = architecture_of(graph, (3, 6, 6), {}, hints)
    names = [node.op for node in lowered_graph(architecture.graph).nodes]
    assert names.count("broadcast_add") == 2
    assert "elemwise_add" not in names
