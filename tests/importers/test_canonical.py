"""ReLUs in every disguise, what only looks like one, and which of them are activations.

A guided map is told right if it is that of the same network with ``Activation(relu)``; that the
disguised network computes the same is MXNet's own word, which runs it as it was written.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from cnnviz.engines.mxnet.symbol import Entry, Graph, Node
from cnnviz.importers.gluon import from_gluon
from cnnviz.importers.mxnet_element_wise import element_wise
from cnnviz.models.config import ModelConfig
from cnnviz.models.files import SymbolModel
from tests.support.engines import ON_CPU
from tests.support.gradients import differentiate
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
sym = mx.sym
SHAPE = (3, 8, 8)
CHANNELS = 4


def renamed(symbol, old, new, **attrs):
    """A symbol whose operators of one name have another; for those that only mx.np can write."""
    document = json.loads(symbol.tojson())
    for node in document["nodes"]:
        if node["op"] == old:
            node["op"] = new
            node["attrs"] = {key: str(value) for key, value in attrs.items()}
    return mx.sym.load_json(json.dumps(document))


def zero(x):
    return sym.zeros_like(x)


#: Ways to write a ReLU.
RELUS = {
    "activation": lambda x: sym.Activation(x, act_type="relu"),
    "relu": sym.relu,
    "npx relu": lambda x: renamed(sym.relu(x), "relu", "_npx_relu"),
    "npx activation": lambda x: renamed(
        sym.Activation(x, act_type="relu"), "Activation", "_npx_activation", act_type="relu"
    ),
    "maximum": lambda x: sym.maximum(x, 0),
    "maximum of maximum": lambda x: sym.maximum(sym.maximum(x, 0), 0),
    "relu of relu": lambda x: sym.relu(sym.relu(x)),
    "np maximum": lambda x: renamed(
        sym.maximum(x, 0), "_maximum_scalar", "_npi_maximum_scalar", scalar=0
    ),
    "leaky 0": lambda x: sym.LeakyReLU(x, act_type="leaky", slope=0.0),
    "npx leaky 0": lambda x: renamed(
        sym.LeakyReLU(x), "LeakyReLU", "_npx_leaky_relu", act_type="leaky", slope=0
    ),
    "elu 0": lambda x: sym.LeakyReLU(x, act_type="elu", slope=0.0),
    "prelu 0": lambda x: sym.LeakyReLU(x, sym.var("zero", shape=(CHANNELS,)), act_type="prelu"),
    "maximum of zeros": lambda x: sym.broadcast_maximum(x, zero(x)),
    "zeros first": lambda x: sym.maximum(zero(x), x),
    "maximum of one zero": lambda x: sym.broadcast_maximum(x, sym.zeros((1, 1, 1, 1))),
    "maximum of parameters": lambda x: sym.broadcast_maximum(sym.var("zero", shape=(1,)), x),
    "np maximum of zeros": lambda x: renamed(
        sym.broadcast_maximum(x, zero(x)), "broadcast_maximum", "_npi_maximum"
    ),
    "maximum of nothing of it": lambda x: sym.maximum(x, 0 * x),
    "mask": lambda x: x * (x > 0),
    "mask first": lambda x: (x >= 0) * x,
    "cast mask": lambda x: x * sym.cast(sym.cast(x > 0, "int32"), "float32"),
    "stopped mask": lambda x: x * sym.BlockGrad(x > 0),
    "stopped cast mask": lambda x: x * sym.BlockGrad(sym.cast(x > 0, "float32")),
    "broadcast mask": lambda x: sym.broadcast_mul(x, sym.broadcast_greater(x, zero(x))),
    "mask of the others": lambda x: x * (1 - (x < 0)),
    "mask not": lambda x: x * sym.logical_not(x <= 0),
    "without the others": lambda x: x - x * (x < 0),
    "where": lambda x: sym.where(x > 0, x, zero(x)),
    "where not": lambda x: sym.where(x < 0, 0 * x, x),
    "np where": lambda x: renamed(sym.where(x > 0, x, zero(x)), "where", "_npi_where"),
    "np where number": lambda x: renamed(
        sym.broadcast_add(x > 0, x), "broadcast_add", "_npi_where_rscalar", scalar=0
    ),
    "np where number first": lambda x: renamed(
        sym.broadcast_add(x < 0, x), "broadcast_add", "_npi_where_lscalar", scalar=0
    ),
    "minus minimum": lambda x: -sym.minimum(-x, 0),
    "less minimum": lambda x: x - sym.minimum(x, 0),
    "plus the other side": lambda x: x + sym.relu(-x),
    "half the sum": lambda x: 0.5 * (x + sym.abs(x)),
    "sum by two": lambda x: (sym.abs(x) + x) / 2,
    "two halves": lambda x: 0.5 * x + 0.5 * sym.abs(x),
    "sum of several": lambda x: sym.add_n(x, sym.abs(x)) / 2,
    "root of the square": lambda x: (x + sym.sqrt(sym.square(x))) / 2,
    "sign": lambda x: x * (sym.sign(x) + 1) / 2,
    "clip": lambda x: sym.clip(x, 0, float("inf")),
    "clip far up": lambda x: sym.clip(x, 0, 3e38),
}
#: Ways to write a ReLU6.
RELU6S = {
    "clip": lambda x: sym.clip(x, 0, 6),
    "np clip": lambda x: renamed(sym.clip(x, 0, 6), "clip", "_npi_clip", a_min=0, a_max=6),
    "minimum of maximum": lambda x: sym.minimum(sym.maximum(x, 0), 6),
    "maximum of minimum": lambda x: sym.maximum(sym.minimum(x, 6), 0),
    "minimum of relu": lambda x: sym.minimum(sym.relu(x), 6),
    "minimum of parameters": lambda x: sym.broadcast_minimum(
        sym.relu(x), sym.var("six", shape=(1,))
    ),
    "clip of maximum": lambda x: sym.clip(sym.maximum(x, 0), 0, 6),
    "clip of relu from below": lambda x: sym.clip(sym.relu(x), -1, 6),
}
#: Two ReLUs of which the second does nothing, and both are guided.
TWICE = {"clip of maximum", "maximum of maximum", "relu of relu"}
#: What has no ReLU in it that is an activation of its own.
OTHERS = {
    "leaky": lambda x: sym.LeakyReLU(x, act_type="leaky", slope=0.1),
    "leaky by hand": lambda x: sym.maximum(x, 0.1 * x),
    "elu": lambda x: sym.LeakyReLU(x, act_type="elu", slope=1.0),
    "threshold": lambda x: x * (x > 0.001),
    "hard tanh": lambda x: sym.clip(x, -1, 1),
    "absolute": sym.abs,
    "minimum": lambda x: sym.minimum(x, 0),
    # Gates: symmetric about 0.
    "hard swish": lambda x: x * sym.clip(x + 3, 0, 6) / 6,
    "hard swish of minimum": lambda x: x * (sym.minimum(sym.maximum(x + 3, 0), 6) / 6),
    "hard swish of 1": lambda x: x * sym.clip(x / 6 + 0.5, 0, 1),
    "hard sigmoid": lambda x: sym.clip(0.2 * x + 0.5, 0, 1),
    # Parts of other activations.
    "prelu by hand": lambda x: (
        sym.relu(x) - sym.broadcast_mul(sym.var("slopes", shape=(1, CHANNELS, 1, 1)), sym.relu(-x))
    ),
    "prelu by halves": lambda x: (
        sym.relu(x)
        + sym.broadcast_mul(sym.var("slopes", shape=(1, CHANNELS, 1, 1)), x - sym.abs(x)) / 2
    ),
    "softplus by hand": lambda x: sym.relu(x) + sym.log1p(sym.exp(-sym.abs(x))),
    "elu by hand": lambda x: sym.relu(x) - sym.relu(1 - sym.exp(x)),
    "absolute by hand": lambda x: sym.relu(x) + sym.relu(-x),
    "gated by itself": lambda x: sym.sigmoid(x) * sym.relu(x),
}


def classifier(activation):
    """Two convolutions; a ReLU after the first, the activation after the second."""
    data = sym.var("data")
    x = sym.Convolution(data, kernel=(3, 3), num_filter=CHANNELS, name="conv0")
    x = sym.Convolution(sym.relu(x, name="relu0"), kernel=(3, 3), num_filter=CHANNELS, name="conv1")
    x = sym.Pooling(activation(x), kernel=(2, 2), stride=(2, 2), pool_type="avg")
    return sym.FullyConnected(x, num_hidden=3, name="dense")


def saved(symbol, folder):
    """Save a symbol with parameters that depend on their names alone; its model, and them."""
    shapes, _, _ = symbol.infer_shape(data=(1, *SHAPE))
    arrays = {}
    for name, shape in zip(symbol.list_arguments(), shapes, strict=True):
        random = np.random.RandomState(sum(map(ord, name)))
        filled = {"zero": 0.0, "six": 6.0}.get(name)
        values = random.normal(0, 2, shape) if filled is None else np.full(shape, filled)
        arrays[name] = mx.nd.array(values)
    del arrays["data"]
    symbol.save(str(folder / "net-symbol.json"))
    mx.nd.save(str(folder / "net-0000.params"), {f"arg:{n}": a for n, a in arrays.items()})
    config = ModelConfig(
        str(folder / "net-symbol.json"), input_size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3
    )
    return SymbolModel(config), arrays


def guided(activation, folder):
    """The logits and guided gradients of two images, the network, and MXNet's own logits."""
    symbol = classifier(activation)
    model, arrays = saved(symbol, folder)
    network, _ = model.load(ON_CPU)
    x = np.random.RandomState(0).normal(0, 2, (2, *SHAPE)).astype(np.float32)
    result = differentiate(network, x, [1, 2], relu_rule="guided")
    executor = symbol.bind(mx.cpu(), {**arrays, "data": mx.nd.array(x)})
    return result, network, executor.forward()[0].asnumpy()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The results of a ReLU and of a ReLU6 that are written as such."""
    return {
        kind: guided(next(iter(forms.values())), tmp_path_factory.mktemp(kind))[0]
        for kind, forms in (("ReLU", RELUS), ("ReLU6", RELU6S))
    }


@pytest.mark.parametrize(
    ("kind", "form"),
    [("ReLU", name) for name in RELUS] + [("ReLU6", name) for name in RELU6S],
)
def test_relus_are_guided_however_they_are_written(kind, form, plain, tmp_path):
    forms = RELUS if kind == "ReLU" else RELU6S
    result, network, logits = guided(forms[form], tmp_path)
    relus = 3 if form in TWICE else 2
    assert (result.relus_changed, result.relus_total) == (relus, relus)
    same = relus - 1 if kind == "ReLU" else 0
    assert [layer.kind for layer in network.layers].count(kind) == 1 + same
    assert network.default_layer.name == "conv1"
    # Rewriting rounds nothing: the same numbers go through the same operators.
    np.testing.assert_array_equal(result.logits, plain[kind].logits)
    np.testing.assert_array_equal(result.input_gradients, plain[kind].input_gradients)
    np.testing.assert_allclose(result.logits, logits, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("form", OTHERS)
def test_what_is_no_relu_is_left_alone(form, tmp_path):
    result, _, logits = guided(OTHERS[form], tmp_path)
    assert (result.relus_changed, result.relus_total) == (1, 1)
    np.testing.assert_allclose(result.logits, logits, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("form", "sign"), [(lambda x: x + sym.abs(x), 1), (lambda x: sym.abs(x) - x, -1)]
)
def test_twice_a_relu(form, sign, tmp_path):
    result, network, _ = guided(form, tmp_path)
    plain, _, _ = guided(lambda x: 2 * sym.relu(sign * x), tmp_path)
    assert (result.relus_changed, result.relus_total) == (2, 2)
    np.testing.assert_array_equal(result.input_gradients, plain.input_gradients)
    assert len({layer.node for layer in network.layers}) == len(network.layers)


def test_the_gate_of_a_channel_attention_is_no_activation(tmp_path):
    def attention(x):
        gate = sym.FullyConnected(sym.mean(x, axis=(2, 3)), num_hidden=CHANNELS, name="gate")
        gate = sym.clip(gate + 3, 0, 6) / 6
        return sym.broadcast_mul(sym.relu(x), sym.expand_dims(sym.expand_dims(gate, 2), 3))

    result, _, _ = guided(attention, tmp_path)
    assert result.relus_total == 2


def test_a_residual_relu_is_an_activation(tmp_path):
    def residual(x):
        return sym.relu(
            x + sym.Convolution(sym.relu(x), kernel=(1, 1), num_filter=CHANNELS, name="conv2")
        )

    result, _, _ = guided(residual, tmp_path)
    assert result.relus_total == 3


def test_a_maximum_that_others_read_too_stays(tmp_path):
    def shared(x):
        positive = sym.maximum(x, 0)
        return sym.concat(positive, sym.minimum(positive, 6), dim=1)

    result, network, logits = guided(shared, tmp_path)
    assert result.relus_total == 3
    assert [layer.kind for layer in network.layers].count("ReLU6") == 1
    np.testing.assert_allclose(result.logits, logits, rtol=1e-5, atol=1e-4)


def test_what_was_a_relu_s_part_leads_to_the_relu(tmp_path):
    _, network, _ = guided(lambda x: sym.clip(sym.relu(x, name="low"), -1, 6), tmp_path)
    assert network.layer("low").kind == "ReLU6"


def test_batch_norm_that_is_one_operator_with_its_relu(tmp_path):
    def normalized(x):
        return sym.contrib.BatchNormWithReLU(
            x, sym.var("g"), sym.var("b"), sym.var("m"), sym.var("v"), fix_gamma=False, name="norm"
        )

    symbol = classifier(normalized)
    shapes, _, states = symbol.infer_shape(data=(1, *SHAPE))
    random = np.random.RandomState(1)
    arrays = {
        name: mx.nd.array(random.uniform(0.5, 1.5, shape))
        for name, shape in [
            *zip(symbol.list_arguments(), shapes, strict=True),
            *zip(symbol.list_auxiliary_states(), states, strict=True),
        ]
    }
    block = mx.gluon.SymbolBlock(symbol, sym.var("data"))
    for name, parameter in block.collect_params().items():
        parameter._load_init(arrays[name], mx.cpu())
    network = from_gluon(block, SHAPE)
    x = random.normal(0, 1, (2, *SHAPE)).astype(np.float32)
    assert differentiate(network, x, [0, 1]).relus_changed == 2
    np.testing.assert_allclose(network.logits(x), block(mx.nd.array(x)).asnumpy(), rtol=1e-4)


def test_the_formulas_are_mxnet_s():
    random = np.random.RandomState(2)
    x = np.concatenate([random.normal(0, 2, 50), [0, -1, 1, 2]]).astype(np.float32)
    y = np.concatenate([random.normal(0, 2, 50), [0, 1, 1, -2]]).astype(np.float32)
    numbers = {"scalar": "1.5"}
    cases = [
        ("broadcast_maximum", {}, 2), ("_minimum", {}, 2), ("elemwise_sub", {}, 2),
        ("broadcast_div", {}, 2), ("broadcast_greater", {}, 2), ("_lesser_equal", {}, 2),
        ("_npi_multiply", {}, 2), ("where", {}, 3), ("add_n", {"num_args": "3"}, 3),
        ("_rminus_scalar", numbers, 1), ("_rdiv_scalar", numbers, 1), ("_minus_scalar", numbers, 1),
        ("_npi_rsubtract_scalar", numbers, 1), ("_npi_less_scalar", numbers, 1),
        ("_npi_where_lscalar", numbers, 2), ("_npi_where_rscalar", numbers, 2),
        ("_npi_where_scalar2", {"x": "2", "y": "3"}, 1),
        ("clip", {"a_min": "-1", "a_max": "2"}, 1), ("sign", {}, 1), ("softsign", {}, 1),
        ("Activation", {"act_type": "softrelu"}, 1), ("sigmoid", {}, 1), ("expm1", {}, 1),
        ("LeakyReLU", {}, 1), ("LeakyReLU", {"act_type": "elu", "slope": "0.5"}, 1),
        ("Cast", {"dtype": "int32"}, 1), ("Cast", {"dtype": "bool"}, 1),
        ("logical_not", {}, 1), ("negative", {}, 1), ("reciprocal", {}, 1),
    ]  # fmt: skip
    for operator, attrs, count in cases:
        inputs = [x, y, x * y][:count] if count < 3 or operator != "where" else [x > 0, x, y]
        inputs = [np.asarray(one, np.float32) for one in inputs]
        node = Node(operator, "node", attrs, tuple(Entry(i) for i in range(count)))
        variables = tuple(Node("null", f"input{i}", {}, ()) for i in range(count))
        symbol = mx.sym.load_json(Graph((*variables, node), (Entry(count),)).to_json())
        (output,) = symbol.bind(
            mx.cpu(), {f"input{i}": mx.nd.array(one) for i, one in enumerate(inputs)}
        ).forward()
        with np.errstate(all="ignore"):
            mine = np.asarray(element_wise(node)(*inputs), np.float32)
        # Within a few roundings of what MXNet's C++ makes of the same formula.
        np.testing.assert_allclose(
            mine, output.asnumpy().astype(np.float32), rtol=1e-6, atol=1e-6, err_msg=operator
        )


def test_a_relu_inside_what_others_read_too_is_found(tmp_path):
    def shared(x):
        copied = sym.identity(sym.maximum(x, 0))
        return sym.concat(copied, sym.minimum(copied, 6), dim=1)

    result, _, _ = guided(shared, tmp_path)
    assert result.relus_total == 3
