"""What an explainer says of itself and of images that it is given as arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import cnnviz
from cnnviz.demo import CLASSES
from cnnviz.errors import ExplanationError, ImageError, UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def explainer():
    return cnnviz.load("demo")


@pytest.fixture(scope="module")
def batch(explainer):
    return [explainer.prepare(image) for image in IMAGES]


def test_it_says_what_it_is(explainer):
    assert repr(explainer) == (
        "<Explainer of demo: 8 classes; at features.26; gradcam, guided-gradcam, saliency>"
    )


def test_what_cannot_be_prepared_is_told_in_keywords(explainer):
    cropping = cnnviz.Explainer(explainer.network, replace(explainer.spec, resize="crop"))
    with pytest.raises(ImageError, match="to cut its center out: use resize='stretch'"):
        cropping.prepare(np.zeros((1, 60_000, 3), np.uint8))


def test_a_replaced_one_has_the_same_network(explainer):
    other = explainer.replace(layer=["features.5", "features.26"], methods=["layercam"])
    assert other.network is explainer.network
    assert [layer.name for layer in other.layers] == ["features.5", "features.26"]
    assert other.layer.name == "features.26"
    assert [method.name for method in other.methods] == ["layercam"]
    assert explainer.replace().methods == explainer.methods


def test_targets_are_indices_functions_or_the_highest(explainer, batch):
    logits = np.stack([one.logits for one in explainer.explain(batch)])
    assert [one.target for one in explainer.explain(batch)] == logits.argmax(axis=1).tolist()
    assert [one.target for one in explainer.explain(batch, 3)] == [3, 3, 3]
    lowest = explainer.explain(batch, lambda logits: logits.argmin(axis=1))
    assert [one.target for one in lowest] == logits.argmin(axis=1).tolist()
    with pytest.raises(UsageError):
        explainer.explain(batch, len(CLASSES))


def test_a_class_that_several_targets_come_down_to_is_explained_once(explainer, batch):
    first, *_ = explainer.explain_targets(batch, [None, 2, lambda logits: logits.argmax(axis=1)])
    best = int(first.explanations[0].logits.argmax())
    assert [one.target for one in first.explanations] == list(dict.fromkeys([best, 2]))


def test_contrasts_of_a_class_with_itself_are_left_out(explainer, batch):
    results = explainer.explain_targets(batch, [None], contrasts=[(None, 4), (1, 2), (2, 2)])
    for result in results:
        best = result.explanations[0].target
        pairs = [(best, 4)] * (best != 4) + [(1, 2)]
        assert [(one.a, one.b) for one in result.contrasts] == list(dict.fromkeys(pairs))
        assert [score.index for score in result.contrasts[-1].scores] == [1, 2]


def test_a_difference_is_zero_where_both_maps_speak_alike(explainer, batch):
    """Of maps without their ReLU; where both are above zero it is what they differ by."""
    (result, *_) = explainer.explain_targets(batch, [1], contrasts=[(1, 2)])
    (contrast,) = result.contrasts
    np.testing.assert_array_equal(contrast.cam_a, result.explanations[0].maps["gradcam"])
    both = (contrast.cam_a > 0) & (contrast.cam_b > 0)
    np.testing.assert_allclose(
        contrast.difference[both],
        (contrast.cam_a - contrast.cam_b)[both],
        atol=1e-5 * np.abs(contrast.difference).max(),
    )


def test_one_images_overflow_leaves_the_others_alone(explainer, batch):
    huge = replace(batch[1], input=batch[1].input * np.float32(1e37))
    spoiled = [batch[0], huge, batch[2]]
    first, error, last = explainer.explain(spoiled)
    assert isinstance(error, ExplanationError)
    assert "NaN or infinity" in str(error)
    alone = explainer.explain([batch[0], batch[2]])
    for one, other in zip((first, last), alone, strict=True):
        np.testing.assert_allclose(one.maps["gradcam"], other.maps["gradcam"], atol=1e-6)


def test_passes_of_methods_that_ask_for_their_own(explainer):
    assert explainer.passes() == {}
    counted = explainer.replace(
        layer=["features.5", "features.26"], methods=cnnviz.choose_methods(["scorecam"])
    ).passes()
    channels = [
        layer.shape[0]
        for layer in explainer.network.layers
        if layer.name in ("features.5", "features.26")
    ]
    assert counted["scorecam"].forwards >= sum(channels)
