"""Values of an explanation: names of arrays, the map that says where."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.attribution import choose_methods
from cnnviz.explanation import Explanation
from cnnviz.graph.architecture import Layer
from cnnviz.graph.ends import Activation
from cnnviz.graph.layout import Layout
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import prepare

LAYERS = (
    Layer("early", "conv1", "Convolution", (8, 8, 10)),
    Layer("late", "conv2", "Convolution", (16, 4, 5)),
)


#: 4·5 of them behind a class token.
TOKENS = Layout(16, 4, 5, channel_axis=1, as_tokens=True, before=1)


def explanation(methods=("gradcam", "gradient"), layers=LAYERS, **more):
    """With maps made up: Grad-CAM at each layer, the gradient once."""
    image = np.zeros((20, 30, 3), np.uint8)
    gradient = np.ones((3, 16, 20), np.float32)
    maps = tuple(
        {"gradcam": np.full(layer.map_shape[1:], place, np.float32), "gradient": gradient}
        for place, layer in enumerate(layers, 1)
    )
    logits = np.log(np.array([0.1, 0.2, 0.7], np.float32))
    chosen = choose_methods(methods)
    return Explanation(
        prepare(image, InputSpec(16, 20)), logits, 2, layers, chosen, maps, {}, None, **more
    )


def test_the_highest_classes_come_first():
    found = explanation(labels=("a", "b", "c"))
    assert [(one.index, one.name) for one in found.top(2)] == [(2, "c"), (1, "b")]
    assert found.top()[0].probability == pytest.approx(0.7)
    assert found.probabilities == pytest.approx([0.1, 0.2, 0.7])
    assert repr(found) == "<Explanation: c (2) 0.70>"


def test_numbers_have_no_probability():
    found = explanation(activation=Activation.named("none"))
    assert found.score(2).probability is None
    assert repr(found) == "<Explanation: output 2: -0.3567>"  # ln 0.7


def test_what_depends_on_the_layer_is_there_for_each():
    found = explanation()
    assert set(found.arrays()) == {
        *("input", "logits", "target", "layer"),
        *("gradcam@early", "gradcam@late", "gradient"),
    }
    assert found.arrays()["layer"].tolist() == ["early", "late"]
    assert found.maps is found.maps_by_layer[1]
    alone = explanation(layers=LAYERS[:1])
    assert set(alone.all_maps()) == {"gradcam", "gradient"}
    assert alone.arrays()["layer"] == "early"


def test_captions_of_tokens_have_the_size_of_their_maps():
    tokens = Layer("block", "norm", "LayerNorm", (21, 16), layout=TOKENS)
    assert explanation(layers=(LAYERS[0], tokens))._maps.layers == (
        ("early", "8×8×10"),
        ("block", "16×4×5"),
    )


def test_the_map_that_says_where():
    assert (explanation().heatmap == 2).all()  # of the last layer
    assert explanation(methods=("gradient",)).heatmap is None


def test_a_scale_reaches_as_far_as_the_farthest_layer():
    assert explanation().scale_limits() == {"gradcam": 2.0, "gradient": 1.0}
