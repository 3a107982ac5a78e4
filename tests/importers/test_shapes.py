"""A batch of one that is written into a network: any number of images gives what each one gives.

What each image gives alone is MXNet's own word, which runs the network as it was written, with
the batch that it was written for.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from cnnviz.engines.base import GradientRequest
from cnnviz.engines.mxnet.lowering import lowered_graph
from cnnviz.models.config import ModelConfig
from cnnviz.models.files import SymbolModel
from tests.support.engines import ON_CPU
from tests.support.gradients import differentiate
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
sym = mx.sym
SHAPE = (3, 8, 8)
CLASSES = 3


def body(pool=(6, 6)):
    """4x1x1, or 4x3x3 with a pool of 2x2."""
    x = sym.Convolution(sym.var("data"), kernel=(3, 3), num_filter=4, name="conv0")
    return sym.Pooling(sym.relu(x, name="relu0"), kernel=pool, stride=pool, pool_type="avg")


def dense(x, **options):
    return sym.FullyConnected(x, num_hidden=CLASSES, name="dense", **options)


def maps():
    return sym.Convolution(body(), kernel=(1, 1), num_filter=CLASSES, name="maps")


def shuffled():
    x = sym.Reshape(body((2, 2)), shape=(1, 2, 2, 3, 3))
    x = sym.Reshape(sym.swapaxes(x, 1, 2), shape=(1, 4, 3, 3))
    return dense(sym.Reshape(x, shape=(1, -1)))


def over_all():
    x = sym.Flatten(body())
    return dense(sym.broadcast_div(x, sym.reshape(sym.sum(x), shape=(1, 1))))


def lstm():
    x = sym.transpose(sym.Reshape(body((2, 2)), shape=(0, 0, -1)), (2, 0, 1))  # 9, N, 4
    states = [sym.zeros((1, 0, 5)), sym.zeros((1, 0, 5))]
    x = sym.RNN(x, sym.var("weights"), *states, state_size=5, num_layers=1, mode="lstm")
    return dense(sym.mean(x, axis=0))


def renamed(symbol):
    """With the reshape that mx.np has."""
    document = json.loads(symbol.tojson())
    for node in document["nodes"]:
        if node["op"] == "Reshape":
            node["op"], node["attrs"] = "_np_reshape", {"newshape": node["attrs"]["shape"]}
    return mx.sym.load_json(json.dumps(document))


#: Networks that take several images once they are rewritten.
REWRITTEN = {
    "(1, 4)": lambda: dense(sym.Reshape(body(), shape=(1, 4))),
    "(1, 36)": lambda: dense(sym.Reshape(body((2, 2)), shape=(1, 36))),
    "(1, -1)": lambda: dense(sym.Reshape(body((2, 2)), shape=(1, -1))),
    "(1, -3, -2)": lambda: dense(sym.Reshape(body((2, 2)), shape=(1, -3, -2))),
    "(1, 0, 9)": lambda: dense(sym.Reshape(body((2, 2)), shape=(1, 0, 9))),
    "reversed": lambda: dense(sym.Reshape(body((2, 2)), shape=(1, -1, 0), reverse=True)),
    "(-1, 4)": lambda: dense(sym.Reshape(body(), shape=(-1, 4))),
    "numpy": lambda: renamed(dense(sym.Reshape(body(), shape=(1, -1)))),
    "two": lambda: dense(sym.Reshape(sym.Reshape(body(), shape=(1, 2, 2)), shape=(1, 4))),
    "shuffle": shuffled,
    "logits": lambda: sym.Reshape(maps(), shape=(1, CLASSES)),
    "logits, the rest": lambda: sym.Reshape(maps(), shape=(1, -1)),
    "logits without batch": lambda: sym.Reshape(maps(), shape=(CLASSES,)),
    "logits in a row": lambda: sym.Reshape(maps(), shape=(-1,)),
    "squeezed": lambda: sym.squeeze(maps()),
    "squeezed batch": lambda: sym.squeeze(maps(), axis=(0, 2, 3)),
    "broadcast": lambda: dense(sym.broadcast_to(sym.Flatten(body()), shape=(1, 4))),
    "sliced": lambda: dense(sym.slice(body(), begin=(0, 0), end=(1, 3))),
    "sliced axis": lambda: dense(sym.slice_axis(body(), axis=0, begin=0, end=1)),
    "softmax after": lambda: sym.softmax(dense(sym.Reshape(body(), shape=(1, 4)))),
}
#: Networks that are run one image at a time.
ONE_BY_ONE = {
    "filled": lambda: dense(sym.elemwise_add(sym.Flatten(body()), sym.ones((1, 4)))),
    "batch lost inside": lambda: dense(
        sym.expand_dims(sym.Reshape(body(), shape=(4,)) * 2, axis=0)
    ),
    "batch in front of nothing": lambda: dense(
        sym.Reshape(sym.transpose(sym.Flatten(body()), (1, 0)), shape=(1, 4))
    ),
    "sum over all": over_all,
    "lstm": lstm,
}


def loaded(symbol, folder):
    shapes, _, _ = symbol.infer_shape(data=(1, *SHAPE))
    random = np.random.RandomState(3)
    arrays = {
        name: mx.nd.array(random.normal(0, 1, shape))
        for name, shape in zip(symbol.list_arguments(), shapes, strict=True)
    }
    del arrays["data"]
    symbol.save(str(folder / "net-symbol.json"))
    mx.nd.save(str(folder / "net-0000.params"), {f"arg:{n}": a for n, a in arrays.items()})
    config = ModelConfig(
        str(folder / "net-symbol.json"), input_size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3
    )
    network, _ = SymbolModel(config).load(ON_CPU)
    return network, arrays


@pytest.mark.parametrize("form", [*REWRITTEN, *ONE_BY_ONE])
def test_several_images_give_what_each_gives(form, tmp_path):
    symbol = {**REWRITTEN, **ONE_BY_ONE}[form]()
    network, arrays = loaded(symbol, tmp_path)
    assert network.architecture.takes_batches == (form in REWRITTEN)
    batch = np.random.RandomState(4).normal(0, 1, (3, *SHAPE)).astype(np.float32)
    targets = np.array([0, 2, 1])
    layer = network.layer("conv0")
    recorded = network.run(batch, [layer], record=True)
    result = recorded.gradients(targets, [GradientRequest(at=(layer.value,))])[0]
    logits = network.logits(batch)
    activations = network.run(batch, [layer]).activations(layer)
    again = network.logits_from(layer, activations, context=batch[0])
    at_once = differentiate(network, batch, targets, relu_rule="standard")
    np.testing.assert_array_equal(at_once.input_gradients, result.input)
    ends = symbol.list_outputs()[0].startswith("softmax")
    before = symbol.get_internals()["dense_output"] if ends else symbol
    for place, image in enumerate(batch):
        given = {**arrays, "data": mx.nd.array(image[None])}
        gradients = {"data": mx.nd.zeros((1, *SHAPE))}
        executor = before.bind(mx.cpu(), given, args_grad=gradients, grad_req={"data": "write"})
        (output,) = executor.forward(is_train=True)
        seed = np.eye(CLASSES, dtype=np.float32)[targets[place]].reshape(output.shape)
        executor.backward(mx.nd.array(seed))
        # Sums of some dozen products, in another order.
        close = {"rtol": 1e-4, "atol": 1e-5}
        expected = output.asnumpy().reshape(-1)
        for several in (logits, recorded.logits, again):
            np.testing.assert_allclose(several[place], expected, **close)
        np.testing.assert_allclose(result.input[place], gradients["data"].asnumpy()[0], **close)
        np.testing.assert_array_equal(recorded.activations(layer)[place], activations[place])
    seeds = result.at[layer.value]
    np.testing.assert_allclose(recorded.input_vjp(layer, seeds), result.input, rtol=1e-4, atol=1e-5)


def test_another_batch_that_is_written_in(tmp_path):
    """With one image MXNet would make eight rows, and write beyond its memory."""
    batch = np.random.RandomState(4).normal(0, 1, (3, *SHAPE)).astype(np.float32)
    logits = []
    for rows in (8, -1):
        (tmp_path / str(rows)).mkdir()
        x = sym.Reshape(sym.Reshape(body(), shape=(rows, 2, 2)), shape=(rows, 4))
        symbol = dense(x)
        network, _ = loaded(symbol, tmp_path / str(rows))
        logits.append(network.logits(batch))
    np.testing.assert_array_equal(*logits)


def test_a_network_for_batches_is_left_as_it_is(tmp_path):
    symbol = dense(sym.Reshape(sym.Reshape(body((2, 2)), shape=(-3, -2)), shape=(-1, 36)))
    network, _ = loaded(symbol, tmp_path)
    nodes = lowered_graph(network.architecture.graph).nodes
    shapes = [n.attrs["shape"] for n in nodes if n.op == "Reshape"]
    assert shapes == ["(-3, -2)", "(-1, 36)"]
    assert network.architecture.takes_batches


def test_shapes_that_need_the_parameters(tmp_path):
    x = body((2, 2))
    scale = sym.expand_dims(sym.expand_dims(sym.var("scale"), axis=1), axis=2)
    x = sym.Pad(sym.broadcast_mul(x, scale), mode="edge", pad_width=(0, 0, 0, 0, 0, 1, 0, 1))
    symbol = dense(x)
    shapes, _, _ = symbol.infer_shape(data=(1, *SHAPE), scale=(4,))
    arrays = {
        f"arg:{name}": mx.nd.ones(shape)
        for name, shape in zip(symbol.list_arguments(), shapes, strict=True)
        if name != "data"
    }
    symbol.save(str(tmp_path / "net-symbol.json"))
    mx.nd.save(str(tmp_path / "net-0000.params"), arrays)
    config = ModelConfig(
        str(tmp_path / "net-symbol.json"), input_size=8, mean=(0.0,) * 3, std=(1.0,) * 3
    )
    network, _ = SymbolModel(config.updated(input_size=(8, 8))).load(ON_CPU)
    assert network.logits(np.ones((2, *SHAPE), np.float32)).shape == (2, CLASSES)
