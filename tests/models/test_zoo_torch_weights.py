"""Weights of torchvision and timm in the zoo's networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cnnviz
from cnnviz.engines.base import Device
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine
from cnnviz.errors import WeightsError
from cnnviz.graph.architecture import Architecture
from cnnviz.models import zoo
from cnnviz.models.zoo_weights import load_weights
from cnnviz.weights.matching import Expected, fits_network, match
from cnnviz.weights.params_file import write_params
from tests.support.seeded import REFERENCE, family_seeds, relative_error

REAL = Path(__file__).parents[3] / "shared" / "real"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real")
def test_a_trained_squeezenet_names_its_photos():
    explainer = cnnviz.load("squeezenet1.1", weights=REAL / "squeezenet1.1.params")
    for name, index in (("hummingbird", 94), ("jellyfish", 107), ("snow_leopard", 289)):
        image = cnnviz.read_image(REAL / "photos" / f"{name}.jpg")
        (explanation,) = explainer.explain([explainer.prepare(image)])
        top = explanation.top()[0]
        assert top.index == index
        assert top.probability > 0.95


@pytest.fixture(scope="module")
def foreign():
    with np.load(REFERENCE / "foreign.npz") as file:
        return dict(file)


def fill(name, state, notify=None):
    """The zoo's network with ten classes and a state dict's weights; what an image gives."""
    entry = zoo.get(name)
    graph, paths = zoo.build(entry, family_seeds.CLASSES)
    weights = match(state, Expected(graph.parameters, family=entry.family), notify=notify)
    network = Network(Architecture(graph, paths), build_engine(graph, weights, Device("cpu")))
    return network.logits(family_seeds.image(0, entry.input.shape)[None])[0]


SAME = ("alexnet", "resnet18_v1", "resnet34_v1", "densenet121", "squeezenet1.0", "squeezenet1.1")


@pytest.mark.parametrize("name", SAME)
def test_torchvisions_weights_give_torchvisions_logits(foreign, name):
    state = family_seeds.torch_state(family_seeds.unpack(foreign[f"torchvision {name}"]))
    # Float32's rounding is a few times 1e-7 here: padding, strides, epsilon are all the same.
    assert relative_error(fill(name, state), foreign[f"logits {name}"]) < 1e-5


def test_inception_with_second_classifier_wants_torchvisions_images(foreign):
    """torchvision's published weights come with ``transform_input``; the fold gives the same."""
    state = family_seeds.torch_state(family_seeds.unpack(foreign["torchvision inceptionv3"]))
    said = []
    logits = fill("inceptionv3", state, said.append)
    assert relative_error(logits, foreign["logits inceptionv3 transform_input"]) < 1e-5
    assert len(said) == 1
    assert "images from -1 to 1" in said[0]


def test_inception_without_second_classifier_is_taken_as_it_is(foreign):
    shapes = family_seeds.unpack(foreign["timm inception_v3"])
    assert not any(name.startswith("AuxLogits") for name in shapes)
    said = []
    logits = fill("inceptionv3", family_seeds.torch_state(shapes), said.append)
    assert relative_error(logits, foreign["logits inceptionv3"]) < 1e-5
    assert len(said) == 1
    assert "does not say how its images were normalized" in said[0]


def test_inception_stays_as_it_is_where_the_user_says_how_images_are_made(foreign):
    entry = zoo.get("inceptionv3")
    arrays = empty(family_seeds.unpack(foreign["torchvision inceptionv3"]))
    first = family_seeds.torch_parameter("Conv2d_1a_3x3.conv.weight", (32, 3, 3, 3))
    arrays["Conv2d_1a_3x3.conv.weight"] = first
    shapes = zoo.parameter_shapes(entry, family_seeds.CLASSES)
    said = []
    matched = match(
        arrays, Expected(shapes, family=entry.family), as_given=True, notify=said.append
    )
    np.testing.assert_array_equal(matched["features.0.0.weight"], first)
    assert said == []


def test_gluons_own_inception_says_nothing():
    entry = zoo.get("inceptionv3")
    shapes = zoo.parameter_shapes(entry, family_seeds.CLASSES)
    adapted = ("features.0.0.weight", "features.0.1.running_mean")
    own = {name: family_seeds.gluon_parameter(name, shapes[name]) for name in adapted}
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
    arrays = empty(family_seeds.unpack(foreign[theirs]))
    shapes = zoo.parameter_shapes(entry, family_seeds.CLASSES)
    assert fits_network(arrays, Expected(shapes, family=entry.family))


def test_timms_names_are_torchvisions(foreign):
    """So that equal logits of the one prove the other."""
    for ours, theirs in (
        ("resnet18_v1", "resnet18"),
        ("resnet34_v1", "resnet34"),
        ("densenet121", "densenet121"),
    ):
        torchvision = family_seeds.unpack(foreign[f"torchvision {ours}"])
        assert family_seeds.unpack(foreign[f"timm {theirs}"]) == torchvision


def test_densenets_older_names(foreign):
    """torchvision's published files say ``norm.1`` where its code says ``norm1``."""
    state = family_seeds.torch_state(family_seeds.unpack(foreign["torchvision densenet121"]))
    older = {}
    for name, array in state.items():
        if "denselayer" in name:
            for kind in ("norm", "conv"):
                name = name.replace(f".{kind}1.", f".{kind}.1.").replace(
                    f".{kind}2.", f".{kind}.2."
                )
        older[name] = array
    assert set(older) != set(state)
    shapes = zoo.parameter_shapes(zoo.get("densenet121"), family_seeds.CLASSES)
    expected = Expected(shapes, family="densenet")
    ours, matched = match(state, expected), match(older, expected)
    for name, array in ours.items():
        np.testing.assert_array_equal(matched[name], array)


def load(tmp_path, name, arrays, classes=family_seeds.CLASSES):
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
    shapes = zoo.parameter_shapes(entry, family_seeds.CLASSES)
    arrays = {f"module.{k}": v for k, v in empty(family_seeds.unpack(foreign[theirs])).items()}
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
    arrays = empty(family_seeds.unpack(foreign[theirs]))
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
