"""What every method promises, and what each one is, against its paper's formula."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest

from cnnviz.attribution import (
    DEFAULT_METHODS,
    METHODS,
    ModelQueries,
    choose_methods,
    collect,
    options_of,
)
from cnnviz.attribution.cam import grad_cam
from cnnviz.attribution.gradients import Saliency
from cnnviz.engines.base import RELU_RULES, STANDARD
from cnnviz.engines.network import Network
from cnnviz.errors import UsageError
from cnnviz.types import MapKind
from tests.support.attribution import collect_one
from tests.support.gradients import differentiate
from tests.support.networks import (
    conv,
    conv_relu,
    flatten,
    linear,
    linear_relu,
    max_pool,
    relu,
    sequential,
)

SHAPE = (3, 16, 20)


def small_network(seed=0):
    return sequential(
        SHAPE,
        conv_relu(6, 3, padding=1),
        max_pool(),
        conv(8, 3, padding=1),
        relu(),
        flatten(),
        linear_relu(12),
        linear(4),
        seed=seed,
    )


@pytest.fixture(scope="module")
def network():
    return small_network().network()


@pytest.fixture(scope="module")
def batch():
    return np.random.RandomState(1).randn(3, *SHAPE).astype(np.float32)


#: Enough for an image of 16×20.
FEW = {"occlusion": {"window": 6, "stride": 3}, "rise": {"masks": 40, "cells": 4}}


def attribute(method, network, batch, targets):
    return method.attribute(collect_one(network, batch, targets, network.default_layer, [method]))


@pytest.fixture(params=sorted(METHODS))
def method(request):
    (method,) = choose_methods([request.param], FEW.get(request.param))
    return method


def test_every_method_is_documented_and_named_once(method):
    assert METHODS[method.name] is type(method)
    assert method.title
    assert method.paper
    assert method.formula
    assert type(method).__doc__
    assert method.cost
    assert method.kind in get_args(MapKind)
    assert method.map_kinds[method.key] == method.kind
    for own in options_of(type(method)).values():
        assert own.metadata["help"]


def test_map_has_its_drawings_shape_and_is_finite(method, network, batch):
    maps = attribute(method, network, batch, [0, 1, 2])
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    if method.uses_layer and method.kind in ("heat", "diverging"):
        assert maps.shape == (3, 8, 10)
    elif method.kind in ("signed", "diverging"):
        assert maps.shape == (3, *SHAPE)
    elif method.kind == "magnitude":
        assert maps.shape == (3, *SHAPE[1:])
    else:
        assert maps.ndim == 3
        assert len(maps) == 3
    assert np.abs(maps).max() > 0
    if method.kind not in ("signed", "diverging"):
        assert maps.min() >= 0


def test_same_answer_twice_to_the_bit(method, network, batch):
    first, second = (attribute(method, network, batch, [0, 1, 2]) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_batch_equals_singles(method, network, batch):
    together = attribute(method, network, batch, [0, 1, 2])
    for index in range(3):
        alone = attribute(method, network, batch[index : index + 1], [index])
        # A map may be the difference of larger numbers, by which rounding counts.
        atol = 2e-6 * np.abs(together[index]).max()
        np.testing.assert_allclose(alone[0], together[index], rtol=1e-5, atol=atol)


def test_another_class_gives_another_map_if_the_method_knows_classes(method, network, batch):
    if not method.class_specific:
        first, second = (attribute(method, network, batch, [target] * 3) for target in (0, 1))
        np.testing.assert_array_equal(first, second)
        return
    maps = [attribute(method, network, batch, [target] * 3) for target in (0, 1)]
    assert np.linalg.norm(maps[0] - maps[1]) > 0.05 * np.linalg.norm(maps[0])


def test_constant_score_gives_a_constant_map(method, batch):
    """Zero or, where the map shows the score itself, that everywhere."""
    if not method.class_specific:
        pytest.skip("the method does not look at scores")
    net = small_network()
    net.parameters["6.weight"] *= 0
    net.parameters["6.bias"] *= 0
    maps = attribute(method, net.network(), batch, [0, 1, 2])
    expected = 1 / 4 if method.kind == "probability" else 0
    np.testing.assert_allclose(maps, expected, rtol=1e-6, atol=1e-12)


def test_passes_are_as_many_as_announced(method, network, batch, monkeypatch):
    """Counted where they are made: rows that go through the network beyond the shared pass."""
    rows = {"logits": 0, "logits_from": 0, "recorded": 0}

    run, logits_from = Network.run, Network.logits_from

    def counted_run(self, batch, layers=(), *, record=False):
        rows["recorded" if record else "logits"] += len(batch)
        return run(self, batch, layers, record=record)

    def counted_from(self, layer, activations, *, context):
        rows["logits_from"] += len(activations)
        return logits_from(self, layer, activations, context=context)

    monkeypatch.setattr(Network, "run", counted_run)
    monkeypatch.setattr(Network, "logits_from", counted_from)
    done = []
    ((context,),) = collect(
        ModelQueries(network, done.append),
        batch,
        [[0, 1, 2]],
        [network.default_layer],
        [method],
    )
    shared = dict(rows)
    method.explain(context)
    each = method.passes(SHAPE, network.default_layer)
    assert rows["logits"] - shared["logits"] == 3 * each.forwards
    assert rows["logits_from"] == 3 * each.partial
    assert rows["recorded"] - shared["recorded"] == 3 * each.backwards
    assert sum(done) == 3 * each.total()


def test_forward_passes_answer_for_all_targets(method, network, batch):
    done = []
    rows = collect(
        ModelQueries(network, done.append),
        batch,
        [[0, 1, 2], [1, 2, 3]],
        [network.default_layer],
        [method],
    )
    maps = [method.attribute(context) for (context,) in rows]
    assert sum(done) == 3 * method.passes(SHAPE, network.default_layer).total(targets=2)
    for targets, together in zip(([0, 1, 2], [1, 2, 3]), maps, strict=True):
        np.testing.assert_array_equal(together, attribute(method, network, batch, targets))


def test_explains_with_parts_and_facts(method, network, batch):
    """What is drawn is there, parts are as if asked alone, and facts can be written as JSON."""
    context = collect_one(network, batch, [0, 1, 2], network.default_layer, [method])
    found = method.explain(context)
    assert set(method.map_kinds) <= set(found.maps)
    np.testing.assert_array_equal(found.maps[method.key], method.attribute(context))
    for part in method.components:
        np.testing.assert_array_equal(found.maps[part.key], part.attribute(context))
    for values in found.diagnostics.values():
        assert len(values) == 3
        assert json.loads(json.dumps(values[0])) == values[0]


def test_flat_image_gives_a_finite_map(method, network):
    maps = attribute(method, network, np.zeros((1, *SHAPE), np.float32), [0])
    assert np.isfinite(maps).all()


def test_network_is_untouched(method, batch):
    network = small_network().network()
    before = network.logits(batch).tobytes()
    attribute(method, network, batch, None)
    with pytest.raises(UsageError, match="no class 4"):
        attribute(method, network, batch, [0, 4, 0])
    assert network.logits(batch).tobytes() == before


def test_grad_cam_is_the_papers_formula():
    """Eq. 1 and 2 of Selvaraju et al. 2017, written out with loops."""
    random = np.random.RandomState(0)
    activations = random.randn(2, 3, 4, 5).astype(np.float32)
    gradients = random.randn(2, 3, 4, 5).astype(np.float32)
    expected = np.zeros((2, 4, 5))
    for n in range(2):
        for i in range(4):
            for j in range(5):
                total = 0.0
                for k in range(3):
                    alpha = 0.0
                    for a in range(4):
                        for b in range(5):
                            alpha += float(gradients[n, k, a, b]) / (4 * 5)
                    total += alpha * float(activations[n, k, i, j])
                expected[n, i, j] = max(0.0, total)
    assert (expected == 0).any()
    assert (expected > 0).any()
    # Computed in float64 and rounded once to float32: half a unit in the last place.
    np.testing.assert_allclose(grad_cam(activations, gradients), expected, rtol=1e-7, atol=1e-9)


def test_guided_grad_cam_is_the_product_with_the_enlarged_map(network, batch):
    """Bilinear between pixel centers, constant beyond them, by hand for one pixel an image."""
    methods = choose_methods(["gradcam", "guided-backprop", "guided-gradcam"])
    context = collect_one(network, batch, [0, 1, 2], network.default_layer, methods)
    cam, guided, product = (method.attribute(context) for method in methods)
    # Output row 5 (center 5.5) lies at 5.5 / 2 - 0.5 = 2.25 on the map's rows, column 8 (8.5) at
    # 3.75: weights 3/4, 1/4 and 1/4, 3/4.
    enlarged = (
        0.75 * 0.25 * cam[:, 2, 3]
        + 0.75 * 0.75 * cam[:, 2, 4]
        + 0.25 * 0.25 * cam[:, 3, 3]
        + 0.25 * 0.75 * cam[:, 3, 4]
    )
    expected = guided[:, :, 5, 8] * enlarged[:, None]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(product[:, :, 5, 8], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("source", Saliency.SOURCES)
def test_saliency_is_the_sum_of_magnitudes_of_its_source(network, batch, source):
    (method,) = choose_methods(["saliency"], {"source": source})
    if source == "guided-gradcam":
        (origin,) = choose_methods(["guided-gradcam"])
        signed = attribute(origin, network, batch, [0, 1, 2])
    else:
        rule = {"gradient": "standard"}.get(source, source)
        signed = differentiate(network, batch, [0, 1, 2], relu_rule=rule).input_gradients
    expected = np.abs(signed[:, 0]) + np.abs(signed[:, 1]) + np.abs(signed[:, 2])
    maps = attribute(method, network, batch, [0, 1, 2])
    np.testing.assert_allclose(maps, expected, rtol=1e-6, atol=1e-9)


def test_methods_share_one_forward_pass(network, batch, monkeypatch):
    passes = []
    run = Network.run
    monkeypatch.setattr(
        Network,
        "run",
        lambda self, *given, **more: passes.append(1) or run(self, *given, **more),
    )
    methods = [
        *choose_methods(DEFAULT_METHODS),
        *choose_methods(["saliency"], {"source": "gradient"}),
    ]
    context = collect_one(network, batch, None, network.default_layer, methods)
    assert len(passes) == 1
    # What one shared forward gives is what each rule gives alone.
    for rule in ("standard", "guided"):
        alone = differentiate(network, batch, relu_rule=rule)
        np.testing.assert_array_equal(
            context.input_gradients[RELU_RULES[rule]], alone.input_gradients
        )
        np.testing.assert_array_equal(context.layer_gradients[STANDARD], alone.layer_gradients)
        assert context.relus_guided.get(RELU_RULES[rule], 0) == alone.relus_changed


def test_each_relu_rule_makes_a_method_of_its_own(network, batch):
    methods = choose_methods(["gradcam"], relu=["standard", "guided", "deconvnet", "guided"])
    assert [method.key for method in methods] == ["gradcam", "gradcam_guided", "gradcam_deconvnet"]
    # Side by side in a figure or a report they are told apart by nothing else.
    assert [method.full_title for method in methods] == [
        *("Grad-CAM", "Grad-CAM with guided ReLUs", "Grad-CAM with deconvnet ReLUs")
    ]
    context = collect_one(network, batch, [0, 1, 2], network.default_layer, methods)
    plain, guided, deconvnet = (method.attribute(context) for method in methods)
    assert (plain != guided).any()
    assert (guided != deconvnet).any()


def test_several_targets_and_layers_share_one_forward_pass(network, batch, monkeypatch):
    passes = []
    run = Network.run
    monkeypatch.setattr(
        Network,
        "run",
        lambda self, *given, **more: passes.append(1) or run(self, *given, **more),
    )
    methods = choose_methods(DEFAULT_METHODS)
    layers = [network.layer("0"), network.default_layer]
    grid = collect(ModelQueries(network), batch, [None, [2, 0, 1]], layers, methods)
    assert len(passes) == 1
    for targets, row in zip((None, [2, 0, 1]), grid, strict=True):
        for layer, context in zip(layers, row, strict=True):
            alone = collect_one(network, batch, targets, layer, methods)
            for method in methods:
                np.testing.assert_array_equal(
                    method.attribute(context), method.attribute(alone), err_msg=method.name
                )
