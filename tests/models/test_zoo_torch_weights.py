"""Facts about the zoo's networks: what is explained in each, and whose weights fit."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import cnnviz
from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.errors import WeightsError
from cnnviz.importers.gluon import architecture_of_block
from cnnviz.models import zoo
from cnnviz.models.zoo_weights import load_weights
from cnnviz.weights.matching import Expected, fits_network, match
from cnnviz.weights.params_file import write_params
from tests.support.zoo import assign, build_block, traced

REFERENCE = Path(__file__).parent.parent / "reference"


def load_seeds():
    sys.path.insert(0, str(REFERENCE))
    try:
        return importlib.import_module("family_seeds")
    finally:
        sys.path.remove(str(REFERENCE))


seeds = load_seeds()

# Default layers -----------------------------------------------------------------------------------

# Name, kind and shape (channels, height, width) for images of the network's size, from the papers
# and the order in which Gluon lists the layers.
DEFAULT_LAYERS = {
    # The fifth and last convolution, before its ReLU and the last pooling (13 -> 6).
    "alexnet": ("features.6", "Convolution", (256, 13, 13)),
    # The last of 8, 10, 13 and 16 convolutions, or its batch norm, before ReLU and pooling.
    "vgg11": ("features.18", "Convolution", (512, 14, 14)),
    "vgg13": ("features.22", "Convolution", (512, 14, 14)),
    "vgg16": ("features.28", "Convolution", (512, 14, 14)),
    "vgg19": ("features.34", "Convolution", (512, 14, 14)),
    "vgg11_bn": ("features.26", "BatchNorm", (512, 14, 14)),
    "vgg13_bn": ("features.32", "BatchNorm", (512, 14, 14)),
    "vgg16_bn": ("features.41", "BatchNorm", (512, 14, 14)),
    "vgg19_bn": ("features.50", "BatchNorm", (512, 14, 14)),
    # The last block of the last stage, after the addition and its ReLU: the second of two or the
    # third of three, in the stage that follows four layers of stem and three stages.
    "resnet18_v1": ("features.7.1", "ReLU", (512, 7, 7)),
    "resnet34_v1": ("features.7.2", "ReLU", (512, 7, 7)),
    "resnet50_v1": ("features.7.2", "ReLU", (2048, 7, 7)),
    "resnet101_v1": ("features.7.2", "ReLU", (2048, 7, 7)),
    "resnet152_v1": ("features.7.2", "ReLU", (2048, 7, 7)),
    # What the global pooling (features.11) reads: batch norm and ReLU come after the last addition.
    "resnet18_v2": ("features.10", "ReLU", (512, 7, 7)),
    "resnet34_v2": ("features.10", "ReLU", (512, 7, 7)),
    "resnet50_v2": ("features.10", "ReLU", (2048, 7, 7)),
    "resnet101_v2": ("features.10", "ReLU", (2048, 7, 7)),
    "resnet152_v2": ("features.10", "ReLU", (2048, 7, 7)),
    # What the 7x7 pooling (features.13) reads. The channels are those of the paper's table 1:
    # 121 ends with 512 + 16 * 32, 161 with 1056 + 24 * 48, and so on.
    "densenet121": ("features.12", "ReLU", (1024, 7, 7)),
    "densenet161": ("features.12", "ReLU", (2208, 7, 7)),
    "densenet169": ("features.12", "ReLU", (1664, 7, 7)),
    "densenet201": ("features.12", "ReLU", (1920, 7, 7)),
    # The last fire module, two expansions of 256 joined: it feeds the classifier's convolution.
    "squeezenet1.0": ("features.12.1", "Concat", (512, 13, 13)),
    "squeezenet1.1": ("features.12.1", "Concat", (512, 13, 13)),
    # The last of eleven modules: 320 + 2 * 384 + 2 * 384 + 192 channels.
    "inceptionv3": ("features.17", "Concat", (2048, 8, 8)),
    # 27 convolutions with batch norm and ReLU, three entries each; the last batch norm.
    "mobilenet1.0": ("features.79", "BatchNorm", (1024, 7, 7)),
    "mobilenet0.75": ("features.79", "BatchNorm", (768, 7, 7)),
    "mobilenet0.5": ("features.79", "BatchNorm", (512, 7, 7)),
    "mobilenet0.25": ("features.79", "BatchNorm", (256, 7, 7)),
    # Stem (three entries), 17 bottlenecks, then the convolution to 1280 whatever the width.
    "mobilenetv2_1.0": ("features.21", "BatchNorm", (1280, 7, 7)),
    "mobilenetv2_0.75": ("features.21", "BatchNorm", (1280, 7, 7)),
    "mobilenetv2_0.5": ("features.21", "BatchNorm", (1280, 7, 7)),
    "mobilenetv2_0.25": ("features.21", "BatchNorm", (1280, 7, 7)),
}


def test_the_table_has_every_network():
    assert set(DEFAULT_LAYERS) == set(zoo.names()) - {"demo"}


@pytest.mark.parametrize("name", DEFAULT_LAYERS)
def test_default_layers(name):
    _, architecture = traced(name)
    layer = architecture.default_layer
    assert (layer.name, layer.kind, layer.shape) == DEFAULT_LAYERS[name]
    assert architecture.classes == 1000


# As many classes as the layer before has channels: then the classifier looks least like one.
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("alexnet", 256),
        ("vgg11", 512),
        ("resnet18_v1", 512),
        ("resnet18_v2", 512),
        ("densenet121", 1024),
        ("squeezenet1.0", 512),
        ("squeezenet1.1", 1),
        ("inceptionv3", 2048),
        ("mobilenet0.25", 256),
        ("mobilenetv2_0.25", 1280),
    ],
)
def test_other_numbers_of_classes_have_the_same_layer(name, classes):
    entry = zoo.get(name)
    block = build_block(name, classes)
    architecture = architecture_of_block(block, entry.input.shape)
    layer = architecture.default_layer
    assert (layer.name, layer.kind, layer.shape) == DEFAULT_LAYERS[name]
    assert architecture.classes == classes


REAL = Path(__file__).parents[3] / "shared" / "real"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real")
def test_a_trained_squeezenet_names_its_photos():
    explainer = cnnviz.load_explainer("squeezenet1.1", weights=REAL / "squeezenet1.1.params")
    for name, index in (("hummingbird", 94), ("jellyfish", 107), ("snow_leopard", 289)):
        image = cnnviz.read_image(REAL / "photos" / f"{name}.jpg")
        (explanation,) = explainer.explain([explainer.prepare(image)])
        top = explanation.top()[0]
        assert top.index == index
        assert top.probability > 0.95


# Weights of torchvision and timm ------------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign():
    with np.load(REFERENCE / "foreign.npz") as file:
        return dict(file)


def fill(name, state, notify=None):
    """The zoo's network with ten classes and a state dict's weights; what an image gives."""
    entry = zoo.get(name)
    block = build_block(name, seeds.CLASSES)
    shapes = zoo.parameter_shapes(entry, seeds.CLASSES)
    assign(block, match(state, Expected(shapes, family=entry.family), notify=notify))
    mx = import_mxnet()
    image = seeds.image(0, entry.input.shape)[None]
    return block(mx.nd.array(image)).asnumpy()[0]


def relative(value, truth):
    return np.linalg.norm(value - truth) / np.linalg.norm(truth)


SAME = ("alexnet", "resnet18_v1", "resnet34_v1", "densenet121", "squeezenet1.0", "squeezenet1.1")


@pytest.mark.parametrize("name", SAME)
def test_torchvisions_weights_give_torchvisions_logits(foreign, name):
    state = seeds.torch_state(seeds.unpack(foreign[f"torchvision {name}"]))
    # Float32's rounding is a few times 1e-7 here: padding, strides, epsilon are all the same.
    assert relative(fill(name, state), foreign[f"logits {name}"]) < 1e-5


def test_inception_with_second_classifier_wants_torchvisions_images(foreign):
    """torchvision's published weights come with ``transform_input``; the fold gives the same."""
    state = seeds.torch_state(seeds.unpack(foreign["torchvision inceptionv3"]))
    said = []
    logits = fill("inceptionv3", state, said.append)
    assert relative(logits, foreign["logits inceptionv3 transform_input"]) < 1e-5
    assert len(said) == 1
    assert "images from -1 to 1" in said[0]


def test_inception_without_second_classifier_is_taken_as_it_is(foreign):
    shapes = seeds.unpack(foreign["timm inception_v3"])
    assert not any(name.startswith("AuxLogits") for name in shapes)
    said = []
    logits = fill("inceptionv3", seeds.torch_state(shapes), said.append)
    assert relative(logits, foreign["logits inceptionv3"]) < 1e-5
    assert len(said) == 1
    assert "does not say how its images were normalized" in said[0]


def test_inception_stays_as_it_is_where_the_user_says_how_images_are_made(foreign):
    entry = zoo.get("inceptionv3")
    arrays = empty(seeds.unpack(foreign["torchvision inceptionv3"]))
    first = seeds.torch_parameter("Conv2d_1a_3x3.conv.weight", (32, 3, 3, 3))
    arrays["Conv2d_1a_3x3.conv.weight"] = first
    shapes = zoo.parameter_shapes(entry, seeds.CLASSES)
    said = []
    matched = match(
        arrays, Expected(shapes, family=entry.family), as_given=True, notify=said.append
    )
    np.testing.assert_array_equal(matched["features.0.0.weight"], first)
    assert said == []


def test_gluons_own_inception_says_nothing():
    entry = zoo.get("inceptionv3")
    shapes = zoo.parameter_shapes(entry, seeds.CLASSES)
    adapted = ("features.0.0.weight", "features.0.1.running_mean")
    own = {name: seeds.gluon_parameter(name, shapes[name]) for name in adapted}
    said = []
    matched = match(
        {**empty(shapes), **own}, Expected(shapes, family=entry.family), notify=said.append
    )
    assert said == []
    for name, array in own.items():
        np.testing.assert_array_equal(matched[name], array)


def empty(shapes):
    """Arrays of these shapes that need no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("timm resnet18", "resnet18_v1"),
        ("timm resnet34", "resnet34_v1"),
        ("timm inception_v3", "inceptionv3"),
        *((f"timm densenet{depth}", f"densenet{depth}") for depth in (121, 161, 169, 201)),
    ],
)
def test_timms_names_and_shapes_fit(foreign, theirs, ours):
    entry = zoo.get(ours)
    arrays = empty(seeds.unpack(foreign[theirs]))
    shapes = zoo.parameter_shapes(entry, seeds.CLASSES)
    assert fits_network(arrays, Expected(shapes, family=entry.family))


def test_timms_names_are_torchvisions(foreign):
    """So that equal logits of the one prove the other."""
    for ours, theirs in (
        ("resnet18_v1", "resnet18"),
        ("resnet34_v1", "resnet34"),
        ("densenet121", "densenet121"),
    ):
        torchvision = seeds.unpack(foreign[f"torchvision {ours}"])
        assert seeds.unpack(foreign[f"timm {theirs}"]) == torchvision


def test_densenets_older_names(foreign):
    """torchvision's published files say ``norm.1`` where its code says ``norm1``."""
    state = seeds.torch_state(seeds.unpack(foreign["torchvision densenet121"]))
    older = {}
    for name, array in state.items():
        if "denselayer" in name:
            for kind in ("norm", "conv"):
                name = name.replace(f".{kind}1.", f".{kind}.1.").replace(
                    f".{kind}2.", f".{kind}.2."
                )
        older[name] = array
    assert set(older) != set(state)
    shapes = zoo.parameter_shapes(zoo.get("densenet121"), seeds.CLASSES)
    expected = Expected(shapes, family="densenet")
    ours, matched = match(state, expected), match(older, expected)
    for name, array in ours.items():
        np.testing.assert_array_equal(matched[name], array)


def load(tmp_path, name, arrays, classes=seeds.CLASSES):
    """What ``--weights FILE`` does."""
    path = tmp_path / "theirs.params"
    write_params(path, {key: np.ascontiguousarray(array) for key, array in arrays.items()})
    entry = zoo.get(name)
    return load_weights(entry, zoo.build(entry, classes).graph, path)


@pytest.mark.parametrize(
    ("theirs", "ours", "why"),
    [
        ("torchvision resnet50", "resnet50_v1", "the stride in each block's 3x3 convolution"),
        ("torchvision resnet101", "resnet101_v1", "the stride in each block's 3x3 convolution"),
        ("torchvision resnet152", "resnet152_v1", "the stride in each block's 3x3 convolution"),
        ("timm resnet50", "resnet50_v1", "the stride in each block's 3x3 convolution"),
        ("torchvision resnet50", "resnet50_v2", "the stride in each block's 3x3 convolution"),
        ("timm resnetv2_18", "resnet18_v2", "without the batch norms that Gluon's"),
        ("timm resnetv2_50", "resnet50_v2", "without the batch norms that Gluon's"),
        ("torchvision mobilenet_v2", "mobilenetv2_1.0", "without the expansion in the first"),
        ("timm mobilenetv2_100", "mobilenetv2_1.0", "without the expansion in the first"),
        ("timm mobilenetv2_050", "mobilenetv2_0.5", "without the expansion in the first"),
        ("timm mobilenetv1_100", "mobilenet1.0", "with ReLU6 for Gluon's ReLU"),
    ],
)
def test_networks_that_only_seem_the_same_are_refused(foreign, theirs, ours, why):
    entry = zoo.get(ours)
    shapes = zoo.parameter_shapes(entry, seeds.CLASSES)
    arrays = {f"module.{k}": v for k, v in empty(seeds.unpack(foreign[theirs])).items()}
    with pytest.raises(WeightsError) as caught:
        match(arrays, Expected(shapes, ours, entry.family), source="a.pth")
    text = str(caught.value)
    assert text.startswith(f"a.pth does not fit {ours}: it holds a ")
    assert why in text
    assert text.endswith(f"use the weights of Gluon's own store (`cnnviz download {ours}`).")
    assert text.count(". ") == 0  # one sentence


@pytest.mark.parametrize(
    ("theirs", "asked", "fitting"),
    [
        ("torchvision resnet18_v1", "resnet50_v1", "resnet18_v1"),
        ("torchvision resnet18_v1", "resnet18_v2", "resnet18_v1"),
        ("torchvision squeezenet1.1", "squeezenet1.0", "squeezenet1.1"),
        ("timm densenet169", "mobilenet1.0", "densenet169"),
        ("torchvision inceptionv3", "resnet34_v1", "inceptionv3"),
    ],
)
def test_another_familys_weights_are_recognized(foreign, tmp_path, theirs, asked, fitting):
    arrays = empty(seeds.unpack(foreign[theirs]))
    with pytest.raises(WeightsError, match=rf"look like {fitting}'s: try --model {fitting}\."):
        load(tmp_path, asked, arrays)


def test_gluons_own_weights_of_another_network_are_recognized(tmp_path):
    shapes = zoo.parameter_shapes(zoo.get("mobilenetv2_0.25"))
    with pytest.raises(WeightsError, match=r"look like mobilenetv2_0\.25's"):
        load(tmp_path, "mobilenet0.25", empty(shapes), 1000)


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "resnet18_v1",
        "resnet18_v2",
        "densenet121",
        "squeezenet1.1",
        "inceptionv3",
        "mobilenet0.25",
        "mobilenetv2_0.25",
    ],
)
def test_other_classes_are_told_and_taken(name):
    entry = zoo.get(name)
    arrays = empty(zoo.parameter_shapes(entry, 7))
    with pytest.raises(WeightsError, match="these weights are for 7, whose names --labels takes"):
        match(arrays, Expected(zoo.parameter_shapes(entry), family=entry.family))
    assert build_block(name, 7)._collect_params_with_prefix().keys() == arrays.keys()
