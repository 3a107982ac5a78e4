"""MXNet's symbols as plain graphs, and the inference rewrite."""

from __future__ import annotations

import pytest

from cnnviz.engines.mxnet.symbol import Entry, Graph, Node, for_inference, limits, numbers
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
vision = mx.gluon.model_zoo.vision


def variable(name):
    return Node("null", name, {}, ())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("(3, 3)", (3, 3)),
        ("(3L, 3L)", (3, 3)),  # Python 2 wrote this
        ("[3,-1]", (3, -1)),
        ("(1,)", (1,)),
        ("7", (7,)),
        ("()", ()),
        ("(0, None)", (0, None)),
        ("(None,)", (None,)),
    ],
)
def test_tuples_among_the_attributes(text, meant):
    assert limits({"pad": text}, "pad") == meant
    assert numbers({"pad": text}, "pad") == tuple(one for one in meant if one is not None)
    assert numbers({}, "pad") == numbers({"pad": "None"}, "pad") == ()


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
