"""Tracing, layer names, the default target layer and the inference rewrite."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cnnviz.demo.architecture import build as demo
from cnnviz.engines.mxnet.lowering import lower, lowered_graph
from cnnviz.engines.mxnet.symbol import Entry, Graph, Node, for_inference
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.operators import GlobalAvgPool2d, LeakyReLU, MaxPool2d, ReLU, Sigmoid
from cnnviz.importers.gluon import architecture_of_block, from_gluon
from cnnviz.importers.mxnet_attributes import Attributes, Place
from cnnviz.importers.mxnet_operators import typed
from cnnviz.importers.mxnet_symbol import architecture_of
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn
vision = mx.gluon.model_zoo.vision

# Position of the last convolution in torchvision's and Gluon's `features`, and of its batch norm:
# counted from the tables of the VGG paper (a ReLU after each, five max pools).
VGG_LAYERS = {
    "vgg11": ("features.18", "Convolution"),
    "vgg13": ("features.22", "Convolution"),
    "vgg16": ("features.28", "Convolution"),
    "vgg19": ("features.34", "Convolution"),
    "vgg11_bn": ("features.26", "BatchNorm"),
    "vgg13_bn": ("features.32", "BatchNorm"),
    "vgg16_bn": ("features.41", "BatchNorm"),
    "vgg19_bn": ("features.50", "BatchNorm"),
}


@pytest.mark.parametrize("name", VGG_LAYERS)
def test_default_layer_of_the_vggs_is_the_tutorials(name):
    layer = architecture_of_block(getattr(vision, name)()).default_layer
    assert (layer.name, layer.kind) == VGG_LAYERS[name]
    assert layer.shape == (512, 14, 14)


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        ("alexnet", "Convolution", (256, 13, 13)),
        ("resnet18_v1", "ReLU", (512, 7, 7)),
        ("resnet18_v2", "ReLU", (512, 7, 7)),
        ("densenet121", "ReLU", (1024, 7, 7)),
        ("squeezenet1_1", "Concat", (512, 13, 13)),
        ("mobilenet0_25", "BatchNorm", (256, 7, 7)),
        ("mobilenet_v2_0_25", "BatchNorm", (1280, 7, 7)),
    ],
)
def test_default_layer_of_other_families(name, kind, shape):
    """The last block's output where branches join; SqueezeNet's is what feeds its classifier."""
    layer = architecture_of_block(getattr(vision, name)()).default_layer
    assert (layer.kind, layer.shape) == (kind, shape)


# (channels, side) of each stage. VGG: what each block ends with (Simonyan and Zisserman 2015, table
# 1). ResNet: conv2_x to conv5_x (He et al. 2016, table 1). DenseNet-121: each block ends with 64 +
# 6 * 32, 128 + 12 * 32, 256 + 24 * 32 and 512 + 16 * 32 channels (Huang et al. 2017, table 1).
# SqueezeNet 1.1: fire3, fire5 and fire9. Inception v3: its three grids (Szegedy et al. 2016, table
# 1, with Gluon's 35x35x288, 17x17x768, 8x8x2048). MobileNet: Howard et al. 2017, table 1; v2:
# Sandler et al. 2018, table 2: residual blocks from 56x56 on, and the last convolution.
STAGES = {
    "alexnet": [(64, 55), (192, 27), (256, 13)],
    "vgg11_bn": [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14)],
    "vgg16": [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14)],
    "resnet18_v1": [(64, 56), (128, 28), (256, 14), (512, 7)],
    "resnet34_v1": [(64, 56), (128, 28), (256, 14), (512, 7)],
    "resnet50_v1": [(256, 56), (512, 28), (1024, 14), (2048, 7)],
    "resnet18_v2": [(64, 56), (128, 28), (256, 14), (512, 7)],
    "densenet121": [(256, 56), (512, 28), (1024, 14), (1024, 7)],
    "squeezenet1_1": [(128, 55), (256, 27), (512, 13)],
    "inception_v3": [(288, 35), (768, 17), (2048, 8)],
    "mobilenet1_0": [(64, 112), (128, 56), (256, 28), (512, 14), (1024, 7)],
    "mobilenet_v2_1_0": [(24, 56), (32, 28), (96, 14), (1280, 7)],
}


@pytest.mark.parametrize("name", STAGES)
def test_stages(name):
    side = 299 if name == "inception_v3" else 224
    architecture = architecture_of_block(getattr(vision, name)(), (3, side, side))
    stages = architecture.stages()
    assert [layer.shape for layer in stages] == [(c, s, s) for c, s in STAGES[name]]
    assert stages[-1] is architecture.default_layer


def test_stages_are_what_each_block_of_layers_ends_with(vgg16):
    """The index before each max pool but its ReLU's, counted in torchvision's `features`."""
    assert [layer.name for layer in vgg16.stages()] == [
        f"features.{index}" for index in (2, 7, 14, 21, 28)
    ]
    resnet = architecture_of_block(vision.resnet34_v1())  # 3, 4, 6 and 3 blocks
    assert [layer.name for layer in resnet.stages()] == [
        *("features.4.2", "features.5.3", "features.6.5", "features.7.2")
    ]


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


def variable(name):
    return Node("null", name, {}, ())


def test_inference_rewrite():
    """Dropout goes, batch norm is frozen, rrelu gets its mean slope, the loss loses its label."""
    graph = Graph(
        (
            variable("data"),
            Node("Dropout", "drop", {"p": "0.5"}, (Entry(0),)),
            *(variable(f"bn_{p}") for p in ("gamma", "beta", "mean", "var")),
            Node("BatchNorm", "bn", {"eps": "1e-5"}, tuple(Entry(i) for i in (1, 2, 3, 4, 5))),
            Node(
                "LeakyReLU",
                "rrelu",
                {"act_type": "rrelu", "lower_bound": "0.25", "upper_bound": "0.75"},
                (Entry(6),),
            ),
            variable("label"),
            Node("SoftmaxOutput", "softmax", {}, (Entry(7), Entry(8))),
        ),
        (Entry(9),),
    )
    rewritten, moved = for_inference(graph)
    assert [node.name for node in rewritten.nodes] == [
        *("data", "bn_gamma", "bn_beta", "bn_mean", "bn_var", "bn", "rrelu", "softmax")
    ]
    assert rewritten.nodes[5].attrs == {"eps": "1e-5", "use_global_stats": "True"}
    assert rewritten.nodes[5].inputs[0] == Entry(0)
    assert rewritten.nodes[6].attrs == {"act_type": "leaky", "slope": "0.5"}
    assert (rewritten.nodes[7].op, rewritten.nodes[7].inputs) == ("softmax", (Entry(6),))
    assert rewritten.heads == (Entry(7),)
    assert moved[Entry(1)] == Entry(0)


def test_softmax_inside_a_network_stays():
    graph = Graph(
        (
            variable("data"),
            Node("softmax", "attention", {}, (Entry(0),)),
            Node("elemwise_mul", "out", {}, (Entry(0), Entry(1))),
        ),
        (Entry(2),),
    )
    assert for_inference(graph).graph == graph


def test_half_precision_becomes_single():
    graph = Graph(
        (variable("data"), Node("Cast", "half", {"dtype": "float16"}, (Entry(0),))), (Entry(1),)
    )
    assert for_inference(graph).graph.nodes[1].attrs == {"dtype": "float32"}


def test_graph_survives_mxnets_format():
    symbol = vision.squeezenet1_1()(mx.sym.var("data"))
    graph = Graph.from_symbol(symbol)
    again = Graph.from_symbol(mx.sym.load_json(graph.to_json()))
    assert again == graph


@pytest.mark.parametrize(
    ("name", "attributes", "operator", "kind"),
    [
        ("Activation", {"act_type": "relu"}, ReLU(), "ReLU"),
        ("Activation", {"act_type": "sigmoid"}, Sigmoid(), "Sigmoid"),
        ("clip", {"a_min": "0.0", "a_max": "6.0"}, ReLU(6), "ReLU6"),
        ("clip", {"a_min": "-1", "a_max": "1"}, None, None),
        ("_maximum_scalar", {"scalar": "0.1"}, None, None),
        ("LeakyReLU", {"act_type": "leaky"}, LeakyReLU(0.25), "LeakyReLU"),
        ("Pooling", {"pool_type": "max", "kernel": "(2, 2)"}, MaxPool2d((2, 2)), "MaxPool"),
        (
            "Pooling",
            {"global_pool": "True", "pool_type": "avg"},
            GlobalAvgPool2d(),
            "GlobalAvgPool",
        ),
        # 3 windows each way in MXNet, of which the last ones would start in the padding.
        (
            "Pooling",
            {"kernel": "(2,2)", "stride": "(2,2)", "pad": "(1,1)", "pooling_convention": "full"},
            None,
            None,
        ),
        ("Convolution", {"kernel": "(1, 1)", "num_filter": "2", "layout": "NHWC"}, None, None),
    ],
)
def test_mxnets_operators_become_typed_ones(name, attributes, operator, kind):
    output = (2, 3, 3)
    if "layout" not in attributes:  # which MXNet would not take with these shapes
        nodes = (Node("null", "x", {}, ()), Node(name, "y", attributes, (Entry(0),)))
        symbol = mx.sym.load_json(Graph(nodes, (Entry(1),)).to_json())
        output = symbol.infer_shape(x=(1, 2, 3, 3))[1][0][1:]
    found = typed(name, Place(Attributes(attributes), [(2, 3, 3)], output, [False]))
    assert found == operator
    if found is not None:
        assert found.kind == kind
        assert lower(found, [(0, 2, 3, 3)]).name == name


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
