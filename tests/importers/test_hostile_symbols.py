"""Symbol files out of hands that are not to be trusted: MXNet itself believes all that they say."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from cnnviz.errors import NetworkError, WeightsError
from cnnviz.importers.mxnet_checks import read_symbol
from cnnviz.models.config import ModelConfig
from cnnviz.models.files import SymbolModel
from cnnviz.weights.params_file import write_params
from tests.support import hostile
from tests.support.capabilities import SLOW
from tests.support.engines import ON_CPU
from tests.support.mxnet import import_mxnet

mx = import_mxnet()

COLOR = {"input_size": (16, 12), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@pytest.mark.subprocess
@pytest.mark.hostile
def test_mutated_symbols_run_or_are_refused():
    """Loaded and asked once, there and back: never a crash, another exception, or much memory."""
    result = hostile.attack("symbols", 0, 20_000 if SLOW else 150, timeout=1800)

    assert result["read"] > 7
    assert result["refused"] > 75


@pytest.fixture
def network(tmp_path):
    """Writes a symbol with random parameters; returns its path and its document."""

    def write(symbol, change=lambda document: None):
        document = json.loads(symbol.tojson())
        change(document)
        path = tmp_path / "net-symbol.json"
        path.write_text(json.dumps(document))
        shapes, _, states = symbol.infer_shape(data=(1, 3, 16, 12))
        names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
        rng = np.random.default_rng(7)
        arrays = {
            n: rng.random(s).astype("f4") for n, s in zip(names, [*shapes, *states], strict=True)
        }
        del arrays["data"]
        write_params(tmp_path / "net-0000.params", arrays)
        return path, arrays

    return write


def convolution(kernel=1, pad=0, filters=4):
    return mx.sym.Convolution(
        *(mx.sym.var("data"), mx.sym.var("w"), mx.sym.var("b")),
        kernel=(kernel, kernel),
        pad=(pad, pad),
        num_filter=filters,
    )


def classifier(features):
    return mx.sym.FullyConnected(mx.sym.mean(features, axis=(2, 3)), num_hidden=3, name="fc")


@pytest.mark.parametrize("output", [1, 7, 2**31 - 1])
@pytest.mark.parametrize("where", ["head", "data", "weights", "variable"])
def test_an_output_that_a_node_does_not_have_is_refused(network, output, where):
    """MXNet indexes its own memory with such a number, and the process dies."""

    def change(document):
        last = document["nodes"][-1]
        if where == "head":
            document["heads"][0][1] = output
        elif where == "variable":
            document["nodes"][3]["inputs"][0][1] = output
        else:
            last["inputs"][0 if where == "data" else 1][1] = output

    path, _arrays = network(classifier(convolution()), change)
    with pytest.raises(NetworkError, match=rf"reads output {output} of the node \w+, which"):
        SymbolModel(ModelConfig(str(path), **COLOR)).load(ON_CPU)


def test_operators_of_several_outputs_are_taken(network):
    halves = mx.sym.split(convolution(), num_outputs=2, axis=1)
    path, arrays = network(classifier(halves[0] - 2 * halves[1]))
    batch = np.random.default_rng(8).random((1, 3, 16, 12)).astype("f4")

    loaded, _ = SymbolModel(ModelConfig(str(path), **COLOR)).load(ON_CPU)

    maps = np.einsum("nchw,fc->nfhw", batch, arrays["w"][:, :, 0, 0]) + arrays["b"][:, None, None]
    mixed = (maps[:, :2] - 2 * maps[:, 2:]).mean((2, 3))
    expected = mixed @ arrays["fc_weight"].T + arrays["fc_bias"]
    np.testing.assert_allclose(loaded.logits(batch), expected, rtol=1e-5)


def test_an_inner_symbols_outputs_are_checked_too(tmp_path):
    inner = {
        "nodes": [{"op": "null", "name": "x", "inputs": []}],
        "arg_nodes": [0],
        "heads": [[0, 5, 0]],
    }
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "_foreach", "name": "loop", "inputs": [[0, 0, 0]], "subgraphs": [inner]},
    ]
    path = tmp_path / "net-symbol.json"
    path.write_text(json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[1, 0, 0]]}))
    model = SymbolModel(ModelConfig(str(path), **COLOR), needs_weights=False)
    with pytest.raises(NetworkError, match="reads output 5 of the node x"):
        _ = model.architecture


def test_an_operator_that_reads_nothing_is_refused(network):
    def change(document):
        document["nodes"][-1]["inputs"] = []

    path, _arrays = network(mx.sym.softmax(classifier(convolution()), name="last"), change)
    with pytest.raises(NetworkError, match=r"its node last \(softmax\) reads nothing"):
        read_symbol(path)


def test_a_network_that_would_take_all_memory_is_refused_before_it_does(network):
    path, _arrays = network(classifier(convolution(pad=200_000)))
    began = time.process_time()  # of this process: neighbors do not count
    with pytest.raises(NetworkError, match=r"takes [\d,]+\.\d GB, and \d+\.\d GB are free on cpu"):
        SymbolModel(ModelConfig(str(path), **COLOR)).load(ON_CPU)
    assert time.process_time() - began < 5


def test_memory_is_counted_for_what_follows_from_parameters_alone(network):
    huge = mx.sym.tile(mx.sym.mean(mx.sym.var("w2", shape=(1, 1))), reps=(100_000, 100_000))
    path, _arrays = network(mx.sym.broadcast_add(classifier(convolution()), mx.sym.max(huge)))
    with pytest.raises(NetworkError, match=r"takes 4\d\.\d GB"):
        SymbolModel(ModelConfig(str(path), **COLOR)).load(ON_CPU)


@pytest.mark.parametrize("name", ["\x1b[2J", "two\nlines", "x" * 300])
def test_names_that_cannot_be_shown_are_refused(tmp_path, name):
    path = tmp_path / "net-symbol.json"
    nodes = [{"op": "null", "name": name, "inputs": []}]
    path.write_text(json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[0, 0, 0]]}))
    with pytest.raises(NetworkError, match="is JSON, but no network") as caught:
        read_symbol(path)
    assert name not in str(caught.value)


@pytest.mark.parametrize("depth", [50, 5_000])
def test_nesting_without_end(tmp_path, depth):
    text = '{"nodes": [{"op": "null", "name": "x", "inputs": [], "subgraphs": ['
    whole = text * depth + "]}]" + ', "heads": [[0, 0, 0]]}' + ']}], "heads": [[0, 0, 0]]}' * depth
    path = tmp_path / "net-symbol.json"
    path.write_text(whole)
    with pytest.raises(NetworkError):
        SymbolModel(ModelConfig(str(path), **COLOR), needs_weights=False).architecture  # noqa: B018


def test_an_operator_of_the_users_process_is_not_run(tmp_path):
    """Even if this process has registered one of that name."""
    ran = []

    @mx.operator.register("cnnviz_hostile")
    class Hostile(mx.operator.CustomOpProp):
        def __init__(self):
            ran.append("made")
            super().__init__()

    # MXNet makes it as soon as a symbol is built with it.
    mx.sym.Custom(mx.sym.var("data"), op_type="cnnviz_hostile")
    assert ran
    ran.clear()
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {
            "op": "Custom",
            "name": "evil",
            "attrs": {"op_type": "cnnviz_hostile"},
            "inputs": [[0, 0, 0]],
        },
    ]
    path = tmp_path / "net-symbol.json"
    path.write_text(json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[1, 0, 0]]}))
    with pytest.raises(NetworkError, match=r"operator Custom \(node evil\), which runs code"):
        SymbolModel(ModelConfig(str(path), **COLOR), needs_weights=False)
    assert ran == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_no_numbers_are_named(network, value):
    path, arrays = network(classifier(convolution()))
    weights = path.with_name("net-0000.params")
    arrays["w"].flat[2] = value
    write_params(weights, arrays)
    with pytest.raises(WeightsError, match=r"net-0000\.params: w holds 1 of 12 numbers"):
        SymbolModel(ModelConfig(str(path), **COLOR)).load(ON_CPU)


def test_doubles_too_large_for_singles_are_named(network):
    path, arrays = network(classifier(convolution()))
    arrays["w"] = arrays["w"].astype("f8")
    arrays["w"].flat[2] = 1e300
    write_params(path.with_name("net-0000.params"), arrays)
    with pytest.raises(WeightsError, match="w holds 1 of 12 numbers that are not finite"):
        SymbolModel(ModelConfig(str(path), **COLOR)).load(ON_CPU)


def test_the_command_ends_with_3_and_one_sentence(cnnviz, network, write_image, tmp_path):
    def change(document):
        document["heads"][0][1] = 7

    write_image(tmp_path / "cat.png")
    path, _arrays = network(classifier(convolution()), change)

    status, out, err = cnnviz(
        *("explain", "cat.png", "--model", path, "--input-size", "16x12"),
        *("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "-o", "out"),
    )

    assert (status, out) == (3, "")
    assert err.count("\n") == 1
    assert "is damaged: something in it reads output 7 of the node fc" in err


@pytest.mark.parametrize(
    "operator",
    ["_sample_uniform", "_random_normal_like", "shuffle", "sgd_update", "_split_v2_backward"],
)
def test_operators_that_no_answer_needs_are_refused(network, operator):
    """Several of them crash on inputs that they do not expect; and answers must be repeatable."""

    def change(document):
        document["nodes"][-1]["op"] = operator

    path, _arrays = network(mx.sym.softmax(classifier(convolution())), change)
    with pytest.raises(
        NetworkError, match=rf"operator {operator} \(node .*draws random numbers or"
    ):
        read_symbol(path)


@pytest.mark.parametrize("shape", ["0", "1"])
def test_a_reshape_that_loses_numbers_is_refused(network, shape):
    """MXNet runs it, writes beyond its memory, and the process dies some time later."""

    def change(document):
        (node,) = (node for node in document["nodes"] if node["name"] == "lossy")
        node["attrs"]["shape"] = shape

    lossy = mx.sym.reshape(mx.sym.mean(convolution(), axis=(2, 3)), shape=(0, -1), name="lossy")
    head = mx.sym.broadcast_add(lossy, mx.sym.var("offset", shape=(1, 4)))
    path, _arrays = network(head, change)
    with pytest.raises(NetworkError, match=r"node lossy \(Reshape\) makes 1 out of 1×4"):
        SymbolModel(ModelConfig(str(path), **COLOR)).load(ON_CPU)


@pytest.mark.parametrize("value", ["0", "-1", "00", "", "x", 0])
def test_no_groups_are_refused(network, value):
    """MXNet divides by their number, and the process dies of it."""

    def change(document):
        (node,) = (node for node in document["nodes"] if node["op"] == "Convolution")
        node["attrs"]["num_group"] = value

    path, _arrays = network(classifier(convolution()), change)
    with pytest.raises(
        NetworkError, match=rf"num_group of its node \w+ \(Convolution\) is {value}"
    ):
        read_symbol(path)
