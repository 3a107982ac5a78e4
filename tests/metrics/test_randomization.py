"""Parameter randomization: maps that must not change, maps that must, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cnnviz.attribution import ModelQueries, choose_methods, collect
from cnnviz.demo.scenes.held_out import one_object_scenes
from cnnviz.engines.base import GradientRequest
from cnnviz.engines.target_functions import ClassLogit
from cnnviz.errors import UsageError
from cnnviz.images.preprocessing import prepare
from cnnviz.metrics.randomization import Randomization
from cnnviz.metrics.randomization_networks import Drawing, find_levels, randomized
from cnnviz.metrics.randomization_result import UNCHANGED, LevelSimilarity, RandomizationResult
from cnnviz.metrics.similarity import similarity
from cnnviz.models.config import ModelConfig
from cnnviz.models.resolve import find_model
from cnnviz.structure import decode, encode, parse
from tests.support.engines import ON_CPU
from tests.support.networks import conv, flatten, linear, ones, relu, sequential

SIZE = (2, 12, 14)
TARGETS = [ClassLogit(1), ClassLogit(0)]
SAME = LevelSimilarity(
    "", 0, 2, pytest.approx(1, abs=1e-12), pytest.approx(1, abs=1e-12), pytest.approx(1, abs=1e-12)
)


def images(size=SIZE, count=2):
    return np.random.default_rng(3).standard_normal((count, *size)).astype(np.float32)


def gradients(network, inputs, targets):
    """The first channel of the gradient."""
    recorded = network.run(inputs, record=True)
    (found,) = recorded.gradients(targets, [GradientRequest()])
    return {"gradient": found.input[:, 0]}


def edges(_network, inputs, _targets):
    """What every network sees: the differences of neighbors."""
    return {"edges": np.abs(np.gradient(inputs[:, 0], axis=2))}


def small(draw=None):
    return sequential(SIZE, conv(3, 3), relu(), conv(4, 3), relu(), flatten(), linear(3), draw=draw)


def values(curve):
    return [(one.spearman, one.absolute, one.ssim, one.images) for one in curve]


@pytest.mark.parametrize("how", ["permute", "he"])
def test_maps_that_ignore_the_network_do_not_change(how):
    test = Randomization(how=how, order="both")
    result = test.measure(small().network(), images(), TARGETS, edges)
    for curves in (result.cascade, result.independent):
        assert values(curves["edges"]) == 3 * values([SAME])
    assert result.unchanged == ("edges",)


def test_a_permutation_of_equal_weights_is_the_same_network():
    result = Randomization(order="both").measure(small(ones).network(), images(), TARGETS, products)
    for curves in (result.cascade, result.independent):
        assert values(curves["products"]) == 3 * values([SAME])


def products(network, inputs, targets):
    """Input × gradient: equal weights have a gradient that is nearly the same everywhere."""
    return {"products": gradients(network, inputs, targets)["gradient"] * inputs[:, 0]}


@pytest.mark.parametrize("how", ["permute", "he"])
def test_a_linear_networks_gradient_is_that_of_its_random_weights(how):
    linear_network = sequential(SIZE, conv(2), flatten(), linear(3))
    network = linear_network.network()
    result = Randomization(how=how, seed=5, order="both").measure(
        network, images(), TARGETS, gradients
    )
    conv_level, head = find_levels(network.architecture)
    drawn = {
        level.layer: randomized(network, level.parameters, Drawing(how, 5))
        for level in (conv_level, head)
    }

    def expected(*levels):
        arrays = dict(linear_network.parameters)
        for level in levels:
            arrays.update(drawn[level.layer])
        # A 1×1 convolution and a dense layer: the product of their weights.
        mixing, dense = (
            arrays[level.parameters[0]].astype(np.float64) for level in (conv_level, head)
        )
        dense = dense.reshape(3, *SIZE)
        return [np.tensordot(mixing[:, 0, 0, 0], dense[one.index], 1) for one in TARGETS]

    trained = expected()
    for curve, states in (
        (result.cascade["gradient"], [(head,), (head, conv_level)]),
        (result.independent["gradient"], [(head,), (conv_level,)]),
    ):
        assert [one.layer for one in curve] == [head.layer, conv_level.layer]
        for one, state in zip(curve, states, strict=True):
            found = [
                similarity(np.float32(a), np.float32(b))
                for a, b in zip(trained, expected(*state), strict=True)
            ]
            # Ranks may change places where values differ by the rounding of float32.
            assert one.spearman == pytest.approx(np.mean([s.spearman for s in found]), abs=1e-4)
            assert one.absolute == pytest.approx(np.mean([s.absolute for s in found]), abs=1e-4)
            assert one.ssim == pytest.approx(np.mean([s.ssim for s in found]), abs=1e-5)
    assert abs(result.cascade["gradient"][0].spearman) < 0.4  # 168 independent weights an image


def test_shares_count_the_numbers_of_the_network():
    result = Randomization(order="both").measure(small().network(), images(), TARGETS, edges)
    sizes = np.array([3 * (4 * 8 * 10 + 1), 4 * (3 * 9 + 1), 3 * (2 * 9 + 1)])
    parts = sizes / sizes.sum()
    assert [one.share for one in result.cascade["edges"]] == pytest.approx(np.cumsum(parts))
    assert [one.share for one in result.independent["edges"]] == pytest.approx(parts)


def test_the_target_stays_and_every_network_is_asked_once():
    network, asked, steps = small().network(), [], []

    def attribute(other, inputs, targets):
        asked.append((other, targets))
        return edges(other, inputs, targets)

    test = Randomization(order="both", levels=2)
    result = test.measure(network, images(), TARGETS, attribute, steps.append)
    assert all(targets is TARGETS for _, targets in asked)
    assert asked[0][0] is network
    assert len({id(other) for other, _ in asked}) == len(asked) == 1 + 4
    assert steps == [1] * (1 + test.networks(network.architecture))
    assert (result.levels, result.images) == (3, 2)
    assert len(result.cascade["edges"]) == 2


@pytest.mark.parametrize(("order", "networks"), [("cascade", 3), ("independent", 3), ("both", 6)])
def test_only_what_was_asked_for_is_made(order, networks):
    test, network = Randomization(order=order), small().network()
    assert test.networks(network.architecture) == networks
    result = test.measure(network, images(), TARGETS, edges)
    assert bool(result.cascade) == (order != "independent")
    assert bool(result.independent) == (order != "cascade")


def test_maps_that_say_nothing_do_not_count():
    network = small().network()
    inputs = images(count=4)

    def attribute(other, _inputs, _targets):
        drawn = np.random.default_rng(7).random((4, *SIZE[1:])).astype(np.float32)
        if other is network:
            drawn[0] = 0.5  # nothing to be lost
        else:
            drawn[1] = 0  # lost
            drawn[2, 3, 4] = np.nan
        return {"drawn": drawn, "blank": np.zeros_like(drawn)}

    result = Randomization(levels=1).measure(network, inputs, [ClassLogit(0)] * 4, attribute)
    (drawn,) = result.cascade["drawn"]
    assert values([drawn]) == [(pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5), 2)]
    (blank,) = result.cascade["blank"]
    assert values([blank]) == [(None, None, None, 0)]
    assert result.unchanged == ()


def explained(network, inputs, targets):
    """Guided backpropagation, summed by magnitude, and Grad-CAM, enlarged to the input."""
    methods = choose_methods(["guided-backprop", "gradcam"])
    ((context,),) = collect(
        ModelQueries(network),
        inputs,
        lambda _logits: [[target] for target in targets],
        [network.default_layer],
        methods,
    )
    guided, cams = (method.explain_checked(context).maps[method.key] for method in methods)
    return {
        "guided_backprop": np.abs(guided).sum(axis=1),
        "gradcam": np.stack([cv2.resize(cam, inputs.shape[:1:-1]) for cam in cams]),
    }


@pytest.mark.parametrize("how", ["permute", "he"])
def test_on_the_demo_guided_backpropagation_stays_and_grad_cam_does_not(how):
    model = find_model(ModelConfig("demo"))
    network, _ = model.load(ON_CPU)
    scenes = one_object_scenes(4)
    inputs = np.stack([prepare(scene.image, model.spec).input for scene in scenes])
    targets = [ClassLogit(int(index)) for index in network.logits(inputs).argmax(axis=1)]
    result = Randomization(how=how, levels=4).measure(network, inputs, targets, explained)
    assert result.unchanged == ("guided_backprop",)
    guided, cam = result.upper["guided_backprop"], result.upper["gradcam"]
    assert guided.share > 0.7  # of all parameters are random
    assert guided.ssim > 0.7
    assert cam.absolute < UNCHANGED - 0.1
    assert cam.ssim < 0.5


def test_options_are_checked():
    with pytest.raises(UsageError, match="option how of randomization is one of permute, he"):
        Randomization(how="zero")
    with pytest.raises(UsageError, match="option levels of randomization is at least 1"):
        Randomization(levels=0)


def result_of(**uppers: float | None) -> RandomizationResult:
    """Curves of four levels: 1, this one, 0, 0."""
    curves = {}
    for key, absolute in uppers.items():
        images = 0 if absolute is None else 4
        second = LevelSimilarity("conv3", 0.6, images, absolute, absolute, absolute)
        curves[key] = tuple(
            replace(second, layer=layer, absolute=None if absolute is None else other)
            for layer, other in (("head", 1.0), ("conv3", absolute), ("conv2", 0.0), ("conv1", 0.0))
        )
    return RandomizationResult("permute", 0, 5, 4, curves, {})


def test_what_does_not_change_is_said():
    result = result_of(gradcam=0.1, guided_backprop=UNCHANGED, deconvnet=0.9, blank=None)
    assert result.unchanged == ("guided_backprop", "deconvnet")
    titles = {"guided_backprop": "guided backpropagation", "deconvnet": "deconvnet"}
    assert result.sentence(titles) == (
        "Not changed by random parameters: guided backpropagation, deconvnet. From the logits down "
        "to conv3 all layers are random, and the maps are still much the same: they show the image "
        "more than what the network learned."
    )
    assert result_of(gradcam=UNCHANGED - 0.01).sentence({}) == (
        "All maps change when the network's upper layers are made random."
    )
    assert result_of(gradcam=None).sentence({}) is None
    assert result_of().sentence({}) is None


def test_results_survive_json():
    result = result_of(gradcam=0.25, blank=None)
    assert decode(RandomizationResult, parse(encode(result)), "here") == result
