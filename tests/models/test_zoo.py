"""Named networks and their weights."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from cnnviz.engines.base import Device
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine
from cnnviz.errors import UsageError, WeightsError
from cnnviz.graph.architecture import Architecture
from cnnviz.images.preprocessing import InputSpec
from cnnviz.models import zoo
from cnnviz.models.zoo import vgg
from cnnviz.models.zoo.table import ZOO
from cnnviz.models.zoo_weights import cached_weights, load_weights, old_names
from cnnviz.weights import store
from cnnviz.weights.info import LocatedWeights
from cnnviz.weights.params_file import write_params

# Values in the weights file, as the documentation of Gluon's model zoo gives them ("number of
# parameters", which has the running statistics and the two fixed parameters of ResNet v2).
STORED = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_874_344,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_059_624,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_374_440,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_689_256,
    "resnet18_v1": 11_699_112,
    "resnet34_v1": 21_814_696,
    "resnet50_v1": 25_629_032,
    "resnet101_v1": 44_695_144,
    "resnet152_v1": 60_404_072,
    "resnet18_v2": 11_695_796,
    "resnet34_v2": 21_811_380,
    "resnet50_v2": 25_595_060,
    "resnet101_v2": 44_639_412,
    "resnet152_v2": 60_329_140,
    "densenet121": 8_062_504,
    "densenet161": 28_900_936,
    "densenet169": 14_307_880,
    "densenet201": 20_242_984,
    "squeezenet1.0": 1_248_424,
    "squeezenet1.1": 1_235_496,
    "inceptionv3": 23_869_000,
    "mobilenet1.0": 4_253_864,
    "mobilenet0.75": 2_601_976,
    "mobilenet0.5": 1_342_536,
    "mobilenet0.25": 475_544,
    "mobilenetv2_1.0": 3_539_136,
    "mobilenetv2_0.75": 2_653_864,
    "mobilenetv2_0.5": 1_983_104,
    "mobilenetv2_0.25": 1_526_856,
}
# Learned parameters as torchvision's documentation gives them (num_params of the weights), where
# its network is the same; Inception v3 without its second classifier, which has 3,326,696.
LEARNED = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "resnet18_v1": 11_689_512,
    "resnet34_v1": 21_797_672,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "squeezenet1.0": 1_248_424,
    "squeezenet1.1": 1_235_496,
    "inceptionv3": 27_161_264 - 3_326_696,
}


def test_lists_gluons_zoo_and_the_demo():
    assert zoo.names() == (*STORED, "demo")
    assert [entry.name for entry in zoo.entries()] == list(zoo.names())


def test_families_stand_together():
    families = [entry.family for entry in zoo.entries()]
    assert len(list(itertools.groupby(families))) == len(set(families))


@pytest.mark.parametrize("name", LEARNED)
def test_parameter_counts(name):
    assert zoo.get(name).parameters == LEARNED[name]


@pytest.mark.parametrize("name", STORED)
def test_the_table_is_what_the_network_is(name):
    """Built and counted, and given more classes."""
    entry = zoo.get(name)
    architecture = Architecture(*zoo.build(entry))
    assert architecture.default_layer.name == entry.default_layer
    shapes = zoo.parameter_shapes(entry)
    assert sum(map(math.prod, shapes.values())) == STORED[name]
    assert entry.published.size == 4 * STORED[name]
    more = zoo.parameter_shapes(entry, classes=1003)
    assert list(more) == list(shapes)
    values = sum(map(math.prod, more.values()))
    assert values == STORED[name] + 3 * entry.per_class


def test_input_sizes():
    for entry in zoo.entries():
        size = 299 if entry.name == "inceptionv3" else 224
        assert entry.input == InputSpec(size, size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_the_tutorials_layer():
    assert zoo.get("vgg16").default_layer == "features.28"


def test_layers_are_numbered_from_zero_whatever_was_built_before():
    first, second = (zoo.build(zoo.get("resnet18_v1")) for _ in range(2))
    assert first == second
    old = old_names(first.graph)
    assert old["conv0"] == "features.0"
    assert old["stage1_conv0"] == "features.4.0.body.0"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vgg17", "vgg1"),
        ("vgg-16", "here it is called vgg16: --model vgg16"),
        ("nothing", "'nothing'. `cnnviz models`"),
        ("resnet50", "resnet50_v"),
    ],
)
def test_unknown_names_get_suggestions(name, told):
    with pytest.raises(UsageError, match=told) as caught:
        zoo.get(name)
    assert repr(name) in str(caught.value)


def test_labels_are_as_many_as_outputs():
    assert len(zoo.labels(zoo.get("vgg19_bn"))) == 1000
    assert len(zoo.labels(zoo.get("demo"))) == 8


@pytest.mark.subprocess
def test_listing_imports_neither_mxnet_nor_the_hub():
    program = (
        "import sys\n"
        "from cnnviz.labels.classes import Classes\n"
        "from cnnviz.models import zoo, zoo_weights\n"
        "[zoo_weights.cached_weights(entry) for entry in zoo.entries()]\n"
        "Classes(zoo.labels(zoo.get('vgg16')), 1000).find('tabby')\n"
        "print(sorted({'mxnet', 'huggingface_hub', 'torch', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


SMALL = {
    "features.0.weight": (4, 3, 3, 3),
    "features.0.bias": (4,),
    "features.1.weight": (6, 36),
    "features.1.bias": (6,),
    "output.weight": (5, 6),
    "output.bias": (5,),
}


def load(entry, path=None, classes=None, **options):
    """The weights as they come, the network with them, and what is told of them."""
    graph, paths = zoo.build(entry, classes)
    arrays, info = load_weights(entry, graph, path, **options)
    engine = build_engine(graph, arrays, Device("cpu"))
    return arrays, Network(Architecture(graph, paths), engine), info


@pytest.fixture
def small(monkeypatch):
    """vgg16, but small: two dense layers on a 3x3 grid."""

    def build(b, name, classes):
        with b.block("features"):
            x = b.ends(b.linear(b.conv(b.input, 4, 3, bias=True), 6))
        return b.linear(x, classes, name="output")

    entry = dataclasses.replace(zoo.get("vgg16"), input=InputSpec(5, 5))
    vgg13 = zoo.get("vgg13").published
    monkeypatch.setitem(ZOO, "vgg16", entry)
    monkeypatch.setitem(ZOO, "vgg13", dataclasses.replace(entry, name="vgg13", published=vgg13))
    monkeypatch.setattr(zoo, "labels", lambda entry: tuple("abcde"))
    monkeypatch.setattr(vgg, "build", build)
    rng = np.random.default_rng(0)
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in SMALL.items()}


def test_loads_a_file(tmp_path, small):
    path = tmp_path / "w.params"
    write_params(path, small)
    arrays, network, info = load(zoo.get("vgg16"), path)
    for name, array in small.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert info.path == path
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    # The same network in NumPy: one convolution on a 3x3 input, then two dense layers.
    x = np.random.default_rng(1).standard_normal((1, 3, 5, 5)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(1, 2))
    conv = np.einsum("cyxij,fcij->fyx", windows, small["features.0.weight"])
    conv += small["features.0.bias"][:, None, None]
    hidden = small["features.1.weight"] @ conv.ravel() + small["features.1.bias"]
    logits = small["output.weight"] @ hidden + small["output.bias"]
    np.testing.assert_allclose(network.logits(x)[0], logits, rtol=1e-4, atol=1e-4)


def test_without_a_file_asks_the_store(tmp_path, small, monkeypatch):
    path = tmp_path / "found.params"
    write_params(path, small)
    asked = []

    def ensure(published, shapes, **options):
        asked.append((published.network, shapes, options["progress"]))
        return LocatedWeights(path, "somewhere")

    monkeypatch.setattr(store, "ensure_weights", ensure)
    *_, info = load(zoo.get("vgg13"), progress=False)
    assert asked == [("vgg13", SMALL, False)]
    assert (info.path, info.source) == (path, "somewhere")


def test_weights_for_other_classes_need_their_number(tmp_path, small):
    path = tmp_path / "two.params"
    fine = {**small, "output.weight": small["output.weight"][:2], "output.bias": np.zeros(2, "f4")}
    write_params(path, fine)
    with pytest.raises(
        WeightsError, match=r"output\.weight \(2, 6\) instead of \(5, 6\).*--labels"
    ):
        load(zoo.get("vgg16"), path)
    _, network, _ = load(zoo.get("vgg16"), path, classes=2)
    assert network.logits(np.zeros((1, 3, 5, 5), "f4")).shape == (1, 2)


def test_a_wrong_file_is_told(tmp_path, small):
    path = tmp_path / "w.params"
    write_params(path, {"features.0.weight": small["features.0.weight"]})
    with pytest.raises(WeightsError, match=r"w\.params does not fit vgg16: 5 of 6 parameters"):
        load(zoo.get("vgg16"), path)


def test_the_demo():
    from cnnviz import demo

    entry = zoo.get("demo")
    arrays, network, info = load(entry)
    learned = sum(array.size for name, array in arrays.items() if ".running_" not in name)
    assert entry.parameters == learned
    assert info.path == demo.weights_path() == cached_weights(entry)
    kinds = {layer.name: layer.kind for layer in network.layers}
    *_, last = (name for name, kind in kinds.items() if kind in ("Convolution", "BatchNorm"))
    assert last == entry.default_layer
    assert kinds[last] == "BatchNorm"
    assert network.logits(np.zeros((1, 3, 224, 224), "f4")).shape == (1, len(demo.CLASSES))


def test_one_name_is_that_of_yes():
    """Weights trained for one output say yes or no, unless they are said to give a number."""
    from cnnviz.models.config import ModelConfig
    from cnnviz.models.resolve import find_model

    model = find_model(ModelConfig("mobilenetv2_0.25", labels=("cat",)))
    assert (model.labels, model.classes) == (("not cat", "cat"), 2)
    model = find_model(ModelConfig("mobilenetv2_0.25", labels=("age",), activation="none"))
    assert (model.labels, model.classes) == (("age",), 1)


COMMANDS = """
import sys
from cnnviz.cli import run

heavy = {"mxnet", "torch", "numpy", "cv2", "PIL", "cnnviz.engines", "cnnviz.explainer"}
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


@pytest.mark.subprocess
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
