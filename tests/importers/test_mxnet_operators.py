"""MXNet's operators as typed ones, and back."""

from __future__ import annotations

import pytest

from cnnviz.engines.mxnet.lowering import lower
from cnnviz.engines.mxnet.symbol import Entry, Graph, Node
from cnnviz.errors import NetworkError
from cnnviz.graph.operators import LSTM, GlobalAvgPool2d, LeakyReLU, MaxPool2d, ReLU, Sigmoid
from cnnviz.importers.mxnet_attributes import Attributes, Place
from cnnviz.importers.mxnet_operators import typed
from tests.support.mxnet import import_mxnet

mx = import_mxnet()


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


def test_a_sequence_that_is_too_long_is_the_other_engine_s():
    weights = [(8, 4), (8, 2), (8,)]
    assert lower(LSTM(2), [(0, 256, 4), *weights]).name == "steps"
    with pytest.raises(NetworkError, match="at most 256 steps; this one has 257"):
        lower(LSTM(2), [(0, 257, 4), *weights])
