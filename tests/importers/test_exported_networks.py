"""Exported networks: Gluon's, Module's and old ones, what is found out about them, what is refused.

Expected logits come from MXNet itself, which runs the networks as they were before the export.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from cnnviz.errors import NetworkError, UsageError, WeightsError
from cnnviz.images.input_spec import check_scale
from cnnviz.importers.mxnet_checks import read_symbol
from cnnviz.models.config import ModelConfig
from cnnviz.models.files import SymbolModel, weights_beside
from cnnviz.weights.params_file import read_params, write_params
from tests.support.engines import ON_CPU
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn

GRAY = {"input_size": (16, 12), "mean": (0.0,), "std": (1.0,)}
COLOR = {"input_size": (16, 12), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def batch(channels, seed=0, size=(16, 12)):
    return np.random.RandomState(seed).rand(2, channels, *size).astype(np.float32)


def convolutional(channels, prefix="net_"):
    """A small Gluon classifier with all that inference changes: batch norm, dropout."""
    net = nn.HybridSequential(prefix=prefix)
    with net.name_scope():
        net.add(nn.Conv2D(4, 3, padding=1, in_channels=channels), nn.BatchNorm())
        net.add(nn.Activation("relu"), nn.MaxPool2D(), nn.Conv2D(6, 3, padding=1))
        net.add(nn.Activation("relu"), nn.Dropout(0.5), nn.GlobalAvgPool2D(), nn.Dense(3))
    mx.random.seed(3)
    net.initialize(mx.init.Xavier(magnitude=3))
    net.hybridize()
    with mx.autograd.record():  # statistics that are not 0 and 1
        net(mx.nd.array(batch(channels, 9)))
    return net


def load(config, **options):
    model = SymbolModel(config, **options)
    network, weights = model.load(ON_CPU)
    return model, network, weights


@pytest.fixture
def gray(tmp_path):
    """A gray-scale network exported by Gluon: (path of its symbol, the network)."""
    net = convolutional(1)
    net(mx.nd.array(batch(1)))
    net.export(str(tmp_path / "gray"), epoch=7)
    return tmp_path / "gray-symbol.json", net


def test_gluon_export(gray):
    symbol, net = gray
    model, network, weights = load(ModelConfig(str(symbol), **GRAY))
    x = batch(1)
    # The same operators on the same numbers; only the order of sums may differ.
    np.testing.assert_allclose(network.logits(x), net(mx.nd.array(x)).asnumpy(), rtol=1e-5)
    assert (model.name, model.classes, model.labels) == ("gray", 3, ())
    assert weights.path == symbol.with_name("gray-0007.params")
    assert weights.source == "beside the symbol"
    assert len(weights.sha256) == 64
    assert [layer.name for layer in network.architecture.stages()] == [
        "net_batchnorm0_fwd",
        "net_conv1_fwd",
    ]
    # Dropout is no layer, yet its name leads to what it was fed.
    assert network.layer("net_dropout0_fwd").name == "net_relu1_fwd"


def training_symbol(head="SoftmaxOutput"):
    data = mx.sym.var("image")
    x = mx.sym.Convolution(data, num_filter=4, kernel=(3, 3), name="conv1")
    x = mx.sym.BatchNorm(x, fix_gamma=False, name="bn1")
    x = mx.sym.Activation(x, act_type="relu", name="relu1")
    x = mx.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max", name="pool1")
    x = mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=5, name="fc1")
    if head == "log":
        return mx.sym.log(mx.sym.softmax(x))
    return getattr(mx.sym, head)(x, name="softmax")


def parameters_of(symbol, **shapes):
    given, _, states = symbol.infer_shape(**shapes)
    random = np.random.RandomState(4)
    arrays = {
        name: mx.nd.array(random.uniform(-1, 1, shape))
        for name, shape in zip(symbol.list_arguments(), given, strict=True)
        if name not in shapes and not name.endswith("label")
    }
    aux = {
        name: mx.nd.array(random.uniform(0.5, 1.5, shape))
        for name, shape in zip(symbol.list_auxiliary_states(), states, strict=True)
    }
    return arrays, aux


@pytest.fixture
def module(tmp_path):
    """A symbol with its training loss, as Module.save_checkpoint writes it; and its parameters."""
    symbol = training_symbol()
    arguments, states = parameters_of(symbol, image=(2, 3, 16, 12))
    mx.model.save_checkpoint(str(tmp_path / "mod"), 3, symbol, arguments, states)
    return tmp_path / "mod-symbol.json", {**arguments, **states}


def run(symbol, arrays, **inputs):
    """What MXNet's own executor makes of a symbol in inference."""
    arguments = symbol.list_arguments()
    executor = symbol.bind(
        mx.cpu(),
        args={name: value for name, value in {**arrays, **inputs}.items() if name in arguments},
        aux_states={name: arrays[name] for name in symbol.list_auxiliary_states()},
        grad_req="null",
    )
    return executor.forward(is_train=False)[0].asnumpy()


def test_module_checkpoint_is_looked_through_to_the_logits(module):
    path, arrays = module
    model, network, _ = load(ModelConfig(str(path), **COLOR, labels=tuple("abcde")))
    x = batch(3)
    expected = run(training_symbol().get_internals()["fc1_output"], arrays, image=mx.nd.array(x))
    np.testing.assert_allclose(network.logits(x), expected, rtol=1e-5)
    assert model.architecture.default_layer.name == "bn1"
    assert model.labels == tuple("abcde")


@pytest.mark.parametrize("head", ["softmax", "log_softmax", "LogisticRegressionOutput", "log"])
def test_other_ends_give_the_same_logits(module, head):
    path, _ = module
    _, before, _ = load(ModelConfig(str(path), **COLOR))
    path.write_text(training_symbol(head).tojson())
    _, network, _ = load(ModelConfig(str(path), **COLOR))
    np.testing.assert_array_equal(network.logits(batch(3)), before.logits(batch(3)))


@pytest.mark.parametrize("prefixes", [("", ""), ("arg:", "aux:")])
def test_parameters_may_have_prefixes_and_others_beside_them(module, prefixes):
    path, arrays = module
    _, before, _ = load(ModelConfig(str(path), **COLOR))
    other = path.with_name("other.params")
    contents = {
        prefixes["_moving_" in name] + name: array.asnumpy() for name, array in arrays.items()
    }
    contents["arg:optimizer_state"] = np.ones((3, 3), np.float32)
    write_params(other, contents)
    _, network, weights = load(ModelConfig(str(path), weights=other, **COLOR))
    np.testing.assert_array_equal(network.logits(batch(3)), before.logits(batch(3)))
    assert (weights.path, weights.source) == (other, "file given by the user")


def test_symbol_of_an_old_mxnet(module):
    """Before 1.0 attributes stood under "param" or "attr", without a version."""
    path, _ = module
    _, before, _ = load(ModelConfig(str(path), **COLOR))
    document = json.loads(path.read_text())
    del document["attrs"]
    for node in document["nodes"]:
        node["param"] = node.pop("attrs", {})
        node["inputs"] = [entry[:2] for entry in node["inputs"]]
        node["backward_source_id"] = -1
    document["heads"] = [head[:2] for head in document["heads"]]
    path.write_text(json.dumps(document))
    _, network, _ = load(ModelConfig(str(path), **COLOR))
    np.testing.assert_array_equal(network.logits(batch(3)), before.logits(batch(3)))


def test_half_precision_runs_in_single(tmp_path):
    """Weights are those of the float16 network; MXNet runs them in float32 for comparison."""
    single = convolutional(3)
    single(mx.nd.array(batch(3)))
    for parameter in single.collect_params().values():
        parameter.set_data(parameter.data().astype("float16").astype("float32"))
    data = mx.sym.var("data")
    half = single(mx.sym.Cast(data, dtype="float16"))
    half = mx.sym.softmax(mx.sym.Cast(half, dtype="float32"))
    half.save(str(tmp_path / "half-symbol.json"))
    write_params(
        tmp_path / "half-0000.params",
        {
            name: parameter.data().asnumpy().astype(np.float16)
            for name, parameter in single.collect_params().items()
        },
    )
    _, network, _ = load(ModelConfig(str(tmp_path / "half-symbol.json"), **COLOR))
    x = batch(3)
    np.testing.assert_allclose(network.logits(x), single(mx.nd.array(x)).asnumpy(), rtol=1e-5)


class TwoHeads(mx.gluon.HybridBlock):
    def __init__(self):
        super().__init__(prefix="two_")
        with self.name_scope():
            self.trunk = nn.Conv2D(4, 3, in_channels=3)
            self.animals = nn.Dense(3, prefix="animals_")
            self.colors = nn.Dense(2, prefix="colors_")

    def hybrid_forward(self, F, x):
        x = F.relu(self.trunk(x))
        return self.animals(x), F.softmax(self.colors(x), name="colors_softmax")


@pytest.fixture
def two_heads(tmp_path):
    net = TwoHeads()
    mx.random.seed(5)
    net.initialize()
    net.hybridize()
    net(mx.nd.array(batch(3)))
    net.export(str(tmp_path / "two"))
    return tmp_path / "two-symbol.json", net


@pytest.mark.parametrize(
    ("head", "classes"),
    [
        ("two_animals_fwd_output", 3),
        ("two_animals_fwd", 3),
        ("two_colors_softmax", 2),
        ("two_colors_fwd", 2),  # an inner node
    ],
)
def test_head_is_chosen_by_its_own_or_its_nodes_name(two_heads, head, classes):
    path, net = two_heads
    model, network, _ = load(ModelConfig(str(path), head=head, **COLOR))
    assert model.classes == classes
    x = mx.nd.array(batch(3))
    features = mx.nd.relu(net.trunk(x))
    expected = (net.animals if classes == 3 else net.colors)(features).asnumpy()
    np.testing.assert_allclose(network.logits(x.asnumpy()), expected, rtol=1e-4, atol=1e-6)


def test_heads_are_listed_and_suggested(two_heads):
    path, _ = two_heads
    with pytest.raises(UsageError, match=r"2 outputs.*--head \(two_animals_fwd_output, two_col"):
        load(ModelConfig(str(path), **COLOR))
    with pytest.raises(UsageError, match=r"no output or node 'animals_fwd'\. Did you mean two_an"):
        load(ModelConfig(str(path), head="animals_fwd", **COLOR))
    with pytest.raises(UsageError, match="Its outputs are two_animals_fwd_output, "):
        load(ModelConfig(str(path), head="zzz", **COLOR))
    with pytest.raises(UsageError, match="no output or node 'two_animals_weight'"):
        load(ModelConfig(str(path), head="two_animals_weight", **COLOR))
    with pytest.raises(NetworkError, match=r"gives 4×14×10 for an image.*--head"):
        load(ModelConfig(str(path), head="two_conv0_fwd", **COLOR))


# What is found out


def test_size_and_channels_that_the_symbol_declares(module):
    path, _ = module
    document = json.loads(path.read_text())
    document["nodes"][0]["attrs"] = {"__shape__": "(1, 3, 16, 12)"}
    path.write_text(json.dumps(document))
    notes = []
    model = SymbolModel(ModelConfig(str(path)), notify=notes.append)
    assert model.spec.shape == (3, 16, 12)
    # The figures that all of Gluon's zoo is trained with.
    assert model.spec.mean == (0.485, 0.456, 0.406)
    assert notes == [
        "No mean and std were given for mod; ImageNet's are assumed: --mean 0.485,0.456,0.406 "
        "--std 0.229,0.224,0.225."
    ]
    # What is asked for wins, and is checked against the weights.
    asked = SymbolModel(ModelConfig(str(path), input_size=(20, 12)))
    with pytest.raises(WeightsError, match="another --input-size than 20×12"):
        asked.load(ON_CPU)


def test_gray_networks_are_known_by_their_first_convolution(gray):
    symbol, _ = gray
    notes = []
    model = SymbolModel(ModelConfig(str(symbol), input_size=(16, 12)), notify=notes.append)
    assert (model.spec.shape, model.spec.mean, model.spec.std) == ((1, 16, 12), (0.0,), (1.0,))
    assert notes == [
        "No mean and std were given for gray; pixels from 0 to 1 are assumed: --mean 0 --std 1."
    ]


def test_size_that_nobody_knows(module):
    path, _ = module
    for declared in ({}, {"__shape__": "(0, 3, 0, 0)"}, {"__shape__": "nonsense"}):
        document = json.loads(path.read_text())
        document["nodes"][0]["attrs"] = declared
        path.write_text(json.dumps(document))
        with pytest.raises(UsageError, match=r"does not say how large.*--input-size"):
            _ = SymbolModel(ModelConfig(str(path))).architecture


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": (0.5,) * 3, "std": (1.0,) * 3}, r"gray image \(1 channel\), and mean .* 3 num"),
        ({"mean": (0.5,) * 3, "std": (1.0,)}, "Mean has 3 numbers and std 1 number:"),
        ({"mean": (0.5,)}, "no std was given"),
        ({"std": (0.5,)}, "no mean was given"),
        ({"mean": (0.5,), "std": (0.0,)}, "has to be above zero; 0 was given"),
        ({"mean": (127.5,), "std": (63.75,)}, r"by 255: --mean 0\.5 --std 0\.25\."),
        ({"labels": ("cat", "dog")}, "2 class names were given, but gray has 3 classes"),
    ],
)
def test_what_does_not_suit_the_network(gray, given, said):
    symbol, _ = gray
    with pytest.raises(UsageError, match=said):
        _ = SymbolModel(ModelConfig(str(symbol), input_size=(16, 12), **given)).architecture


def test_color_network_is_not_fed_gray(module):
    path, _ = module
    with pytest.raises(UsageError, match=r"takes color \(3 channels\), and .* 1 number: give 3"):
        _ = SymbolModel(ModelConfig(str(path), **GRAY)).architecture


def test_scale_that_is_right_passes():
    check_scale((-1.0, 0.0, 1.0), (1e-3, 1.0, 2.0))
    check_scale(None, None)


def test_network_of_other_channels(tmp_path):
    symbol = mx.sym.FullyConnected(
        mx.sym.Convolution(mx.sym.var("data"), num_filter=2, kernel=(3, 3), num_group=2, name="c"),
        num_hidden=2,
        name="d",
    )
    arrays, _ = parameters_of(symbol, data=(1, 4, 8, 8))
    mx.model.save_checkpoint(str(tmp_path / "four"), 0, symbol, arrays, {})
    said: list[str] = []
    config = ModelConfig(str(tmp_path / "four-symbol.json"), input_size=(8, 8))
    model = SymbolModel(config, notify=said.append)
    assert model.architecture.input_shape == (4, 8, 8)
    assert (model.spec.mean, model.spec.std) == ((0,) * 4, (1,) * 4)
    assert "pixels from 0 to 1 are assumed: --mean 0,0,0,0 --std 1,1,1,1." in said[0]
    with pytest.raises(UsageError, match=r"takes 4 channels, and .* 3 numbers: give 4 each"):
        _ = SymbolModel(config.updated(mean=(0, 0, 0), std=(1, 1, 1))).architecture


# Parameters


def test_highest_number_is_taken_and_said(gray):
    symbol, _ = gray
    for name in ("gray-0003.params", "gray-0010.params", "gray-12.params", "grayer-0099.params"):
        symbol.with_name(name).write_bytes(symbol.with_name("gray-0007.params").read_bytes())
    assert [path.name[5:9] for path in weights_beside(symbol)] == ["0003", "0007", "0010"]
    notes = []
    model = SymbolModel(ModelConfig(str(symbol), **GRAY), notify=notes.append)
    assert model.weights == symbol.with_name("gray-0010.params")
    assert len(notes) == 1
    assert "the last is taken: gray-0010.params" in notes[0]


def test_symbol_without_parameters(gray):
    symbol, _ = gray
    symbol.with_name("gray-0007.params").unlink()
    with pytest.raises(WeightsError, match=r"no parameters beside .*gray-NNNN.params.*--weights"):
        SymbolModel(ModelConfig(str(symbol), **GRAY))
    # Layers can be listed all the same: a Gluon export declares its parameters' shapes.
    model = SymbolModel(ModelConfig(str(symbol), input_size=(16, 12)), needs_weights=False)
    assert model.architecture.default_layer.shape == (6, 8, 6)
    assert model.spec.shape == (1, 16, 12)


def test_module_symbol_without_parameters(module):
    path, _ = module
    path.with_name("mod-0003.params").unlink()
    model = SymbolModel(ModelConfig(str(path), input_size=(16, 12)), needs_weights=False)
    assert model.architecture.default_layer.shape == (4, 14, 10)


def test_parameters_of_another_network(gray, module):
    symbol, _ = gray
    other = module[0].with_name("mod-0003.params")
    with pytest.raises(WeightsError, match=r"(\d+) of \1 parameters are missing.*export\(\)"):
        load(ModelConfig(str(symbol), weights=other, **GRAY))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda arrays: arrays.pop("arg:fc1_bias"),
            r"1 of 8 parameters are missing \(fc1_bias\)\.",
        ),
        (
            lambda arrays: arrays.update({"arg:fc1_bias": np.ones(6, np.float32)}),
            r"1 has another shape \(fc1_bias \(6,\) instead of \(5,\)\)",
        ),
        (
            lambda arrays: arrays.update({"arg:fc1_bias": np.ones(5, np.int8)}),
            r"1 are not floating point \(fc1_bias int8\)",
        ),
    ],
)
def test_parameters_that_do_not_fit(module, change, said):
    path, _ = module
    file = path.with_name("mod-0003.params")
    arrays = {name: array.copy() for name, array in read_params(file).items()}
    change(arrays)
    write_params(file, arrays)
    with pytest.raises(WeightsError, match=said):
        load(ModelConfig(str(path), **COLOR))


def test_parameter_whose_shape_does_not_follow_from_the_input(tmp_path):
    """A bare scale: nothing but the file says how large it is."""
    data = mx.sym.var("data")
    x = mx.sym.broadcast_mul(
        mx.sym.Convolution(data, num_filter=2, kernel=(3, 3), name="c"), mx.sym.var("scale")
    )
    symbol = mx.sym.FullyConnected(x, num_hidden=2, name="d")
    path = tmp_path / "scaled-symbol.json"
    path.write_text(symbol.tojson())
    random = np.random.RandomState(0)
    arrays = {
        "scale": random.rand(1, 2, 1, 1).astype(np.float32),
        "c_weight": random.rand(2, 3, 3, 3).astype(np.float32),
        "c_bias": random.rand(2).astype(np.float32),
        "d_weight": random.rand(2, 2 * 6 * 6).astype(np.float32),
        "d_bias": random.rand(2).astype(np.float32),
    }
    write_params(tmp_path / "scaled-0000.params", arrays)
    color = {**COLOR, "input_size": (8, 8)}
    _, network, _ = load(ModelConfig(str(path), **color))
    x = batch(3, size=(8, 8))
    expected = run(symbol, {k: mx.nd.array(v) for k, v in arrays.items()}, data=mx.nd.array(x))
    np.testing.assert_allclose(network.logits(x), expected, rtol=1e-5)
    # Without its value it might as well be a second input.
    del arrays["scale"]
    write_params(tmp_path / "scaled-0000.params", arrays)
    with pytest.raises(NetworkError, match=r"has 2 inputs \(data, scale\)"):
        load(ModelConfig(str(path), **color))


def test_network_without_input(gray):
    symbol, _ = gray
    file = symbol.with_name("gray-0007.params")
    write_params(file, {**read_params(file), "data": np.ones((1, 1, 16, 12), np.float32)})
    with pytest.raises(NetworkError, match="has no input"):
        load(ModelConfig(str(symbol), **GRAY))


# Files that are no network, or not one to run


def symbol_of(*operators, **attributes):
    nodes = [{"op": "null", "name": "data", "inputs": []}]
    for op in operators:
        nodes.append(
            {"op": op, "name": "n", "attrs": attributes, "inputs": [[len(nodes) - 1, 0, 0]]}
        )
    return {"nodes": nodes, "arg_nodes": [0], "heads": [[len(nodes) - 1, 0, 0]]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\xff", "is not JSON"),
        ("[1, 2]", "JSON, but no network"),
        ('{"nodes": [], "heads": []}', "JSON, but no network"),
        (symbol_of("Custom", op_type="mine"), r"operator Custom \(node n\), which runs code"),
        (symbol_of("_Native", info="0x1234"), "operator _Native"),
        (symbol_of("_NDArray", info="0x1234"), "operator _NDArray"),
        (symbol_of("_npi_cvimread", filename="/etc/passwd"), "reads files"),
        (symbol_of("_backward_Convolution"), "operator _backward_Convolution"),
        (symbol_of("_contrib_quantize_v2"), "is quantized"),
        (symbol_of("Convolution", layout="NHWC"), "channels last"),
        (
            {
                **symbol_of("_foreach"),
                "nodes": [
                    *symbol_of()["nodes"],
                    {
                        "op": "_foreach",
                        "name": "loop",
                        "inputs": [[0, 0, 0]],
                        "subgraphs": [symbol_of("Custom")],
                    },
                ],
            },
            "operator Custom",
        ),
        ({**symbol_of("relu"), "heads": [[7, 0, 0]]}, "JSON, but no network"),
        ({**symbol_of(), "nodes": [{"op": "null", "name": 3, "inputs": []}]}, "but no network"),
        (
            {**symbol_of(), "nodes": [{"op": "relu", "name": "r", "inputs": [[0, 0, 0]]}]},
            "JSON, but no network",  # it reads itself
        ),
    ],
)
def test_file_that_is_no_network_to_run(tmp_path, content, said):
    path = tmp_path / "bad-symbol.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(NetworkError, match=said):
        read_symbol(path)


def test_operator_that_mxnet_does_not_have(tmp_path):
    path = tmp_path / "new-symbol.json"
    path.write_text(json.dumps(symbol_of("Hologram")))
    model = SymbolModel(ModelConfig(str(path), **COLOR), needs_weights=False)
    with pytest.raises(NetworkError, match=r"operator Hologram \(node n\), which MXNet 1\.9\.1"):
        _ = model.architecture


def test_symbol_that_mxnet_does_not_take(tmp_path):
    path = tmp_path / "odd-symbol.json"
    path.write_text(json.dumps(symbol_of("Convolution", kernel="round")))
    model = SymbolModel(ModelConfig(str(path), **COLOR), needs_weights=False)
    with pytest.raises(NetworkError, match=r"MXNet does not take .*odd-symbol\.json \(.*kernel"):
        _ = model.architecture


def test_lost_file(tmp_path):
    with pytest.raises(NetworkError, match="cannot be read: No such file"):
        read_symbol(tmp_path / "lost-symbol.json")


def exported(symbol, folder, size=16, **arrays):
    """The configuration of a symbol with random parameters, but for those given."""
    random = np.random.RandomState(5)
    shapes, _, states = symbol.infer_shape(data=(1, 3, size, size))
    saved = {
        f"{kind}:{name}": mx.nd.array(arrays.get(name, random.uniform(0.5, 1.5, shape)))
        for kind, names, found in (
            ("arg", symbol.list_arguments(), shapes),
            ("aux", symbol.list_auxiliary_states(), states),
        )
        for name, shape in zip(names, found, strict=True)
        if name != "data"
    }
    symbol.save(str(folder / "net-symbol.json"))
    mx.nd.save(str(folder / "net-0000.params"), saved)
    return ModelConfig(str(folder / "net-symbol.json"), input_size=(size, size))


def rest(x):
    x = mx.sym.Convolution(x, kernel=(3, 3), num_filter=4, name="conv")
    return mx.sym.FullyConnected(mx.sym.relu(x), num_hidden=3, name="dense")


MEAN = np.array([123.7, 116.3, 103.5]).reshape(1, 3, 1, 1)
PIXELS, PARTS, USUAL = (0.0, 1 / 255), (0.0, 1.0), (0.485, 0.229)


@pytest.mark.parametrize(
    ("first", "expected", "said"),
    [
        (lambda x: (x - 127.5) * 0.0078125, PIXELS, r"\(x - 127.5\) \* 0.007812 itself"),
        (lambda x: (mx.sym.identity(x) - 128) / 128, PIXELS, "from 0 to 255"),
        (lambda x: x - 127.5, PIXELS, "from 0 to 255"),
        (lambda x: x * 0.0078125 - 1, PIXELS, "from 0 to 255"),
        (lambda x: x / 255, PIXELS, "from 0 to 255"),
        (lambda x: x * (1 / 255) * 2 - 1, PIXELS, "from 0 to 255"),
        (lambda x: mx.sym.broadcast_sub(x, mx.sym.var("mean", shape=MEAN.shape)), PIXELS, "255"),
        (lambda x: (x - 0.5) / 0.5, PARTS, "from 0 to 1"),
        (lambda x: 2 * x - 1, PARTS, "from 0 to 1"),
        (lambda x: x * 255 - 127.5, PARTS, "from 0 to 1"),
        (lambda x: mx.sym.slice_axis(x - 127.5, axis=2, begin=0, end=8), PIXELS, "from 0 to 255"),
        (lambda x: x, USUAL, "ImageNet's are assumed"),
        (lambda x: x * 0.458 - 0.03, USUAL, "ImageNet's are assumed"),
        (lambda x: mx.sym.tanh(x) - 127.5, USUAL, "ImageNet's are assumed"),
    ],
)
def test_a_scale_that_is_built_in_is_recognized(first, expected, said, tmp_path):
    told = []
    config = exported(rest(first(mx.sym.var("data"))), tmp_path, mean=MEAN)
    spec = SymbolModel(config, notify=told.append).spec
    assert (spec.mean[0], spec.std[0]) == expected
    assert len(told) == 1
    assert re.search(said, told[0])
    given = config.updated(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert SymbolModel(given, notify=told.append).spec.std == (0.25,) * 3
    assert len(told) == 1


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [
        ([120, 110, 100], [4900, 4800, 5000], PIXELS),
        ([3, -2, 1], [4900, 4800, 5000], (0.485, 1 / 255)),
        ([0.5, 0.45, 0.4], [0.08, 0.07, 0.08], PARTS),
        ([0.02, -0.01, 0.1], [1.0, 1.1, 1.2], USUAL),
        ([0, 0, 0], [1, 1, 1], USUAL),
    ],
)
def test_a_first_batch_norm_says_what_it_saw(mean, variance, expected, tmp_path):
    symbol = rest(mx.sym.BatchNorm(mx.sym.var("data"), fix_gamma=True, name="bn_data"))
    config = exported(symbol, tmp_path, bn_data_moving_mean=mean, bn_data_moving_var=variance)
    spec = SymbolModel(config).spec
    assert (spec.mean[0], spec.std[0]) == expected


def test_only_heads_that_can_be_explained_are_offered(tmp_path):
    maps = mx.sym.Convolution(mx.sym.var("data"), kernel=(3, 3), num_filter=4, name="maps")
    scores = mx.sym.FullyConnected(maps, num_hidden=3, name="scores")
    config = exported(mx.sym.Group([scores, maps]), tmp_path)
    with pytest.raises(UsageError, match=r"--head \(scores_output; the other is not scores"):
        SymbolModel(config).load(ON_CPU)
    config = exported(mx.sym.Group([maps, mx.sym.relu(maps, name="more")]), tmp_path)
    with pytest.raises(NetworkError, match=r"not an image classifier.* none of its 2 outputs"):
        SymbolModel(config).load(ON_CPU)


def test_a_network_that_takes_bytes_is_refused_with_the_reason(tmp_path):
    data = mx.sym.image.to_tensor(mx.sym.image.resize(mx.sym.var("data"), size=16))
    rest(data).save(str(tmp_path / "net-symbol.json"))
    config = ModelConfig(str(tmp_path / "net-symbol.json"), input_size=(16, 16))
    with pytest.raises(NetworkError, match="as bytes, height × width × channels"):
        assert SymbolModel(config, needs_weights=False).classes


def test_dropout_that_never_stops_is_left_out_and_told(tmp_path):
    told = []
    x = mx.sym.Dropout(mx.sym.var("data"), p=0.5, mode="always", name="always")
    config = exported(rest(x), tmp_path).updated(mean=(0.0,) * 3, std=(1.0,) * 3)
    network, _ = SymbolModel(config, notify=told.append).load(ON_CPU)
    assert "drops values at random even in inference" in told[0]
    x = batch(3, size=(16, 16))
    np.testing.assert_array_equal(network.logits(x), network.logits(x))


def test_layers_without_a_name_can_be_asked_for(tmp_path):
    symbol = rest(mx.sym.var("data"))
    document = json.loads(symbol.tojson())
    for node in document["nodes"]:
        if node["op"] == "relu":
            node["name"] = ""
    config = exported(mx.sym.load_json(json.dumps(document)), tmp_path)
    architecture = SymbolModel(config).architecture
    assert all(layer.name for layer in architecture.layers)
    (relu,) = (layer for layer in architecture.layers if layer.kind == "ReLU")
    assert architecture.layer(relu.name) == relu
