"""Layers of tokens and channels last as maps: conversions both ways, and what methods make of them.

PyTorch's own functions and its autograd are the reference.
"""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz import Explainer, InputSpec
from cnnviz.attribution import METHODS, ModelQueries, choose_methods, collect
from cnnviz.attribution.cam import grad_cam
from cnnviz.engines.base import GUIDED, STANDARD, GradientRequest
from cnnviz.engines.maps import from_maps, to_maps
from cnnviz.engines.network import choose_targets
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.axes import find_axes
from cnnviz.graph.layout import Layout
from cnnviz.graph.reach import unread_places
from cnnviz.inspection.activations import rank_channels
from cnnviz.inspection.objectives import ChannelObjective
from tests.support.attribution import collect_one
from tests.support.networks import random_parameters
from tests.support.transformers import (
    CHANNELS,
    SIZE,
    images,
    mixer,
    network,
    swin,
    torch_logits,
    vision_transformer,
)

needs_torch = pytest.mark.needs("torch")

#: float32 sums of some tens of terms near 1, in two orders, through two blocks.
CLOSE = {"rtol": 2e-5, "atol": 1e-5}


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout(5, 2, 3), (5, 2, 3)),
        (Layout(5, 2, 3, 2), (2, 3, 5)),
        (Layout(5, 2, 3, 1, as_tokens=True), (6, 5)),
        (Layout(5, 2, 3, 0, as_tokens=True), (5, 6)),
        (Layout(5, 2, 3, 1, as_tokens=True, before=2, after=1), (9, 5)),
        (Layout(5, 2, 3, 0, as_tokens=True, before=1), (5, 7)),
    ],
)
def test_maps_and_back(layout, shape):
    values = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    maps = to_maps(values, layout)
    assert maps.shape == (4, 5, 2, 3)
    for channel, row, column in np.ndindex(5, 2, 3):
        place = [row, column]
        if layout.as_tokens:
            place = [layout.before + row * 3 + column]
        place.insert(layout.channel_axis, channel)
        np.testing.assert_array_equal(maps[:, channel, row, column], values[(slice(None), *place)])
    # Other tokens are the same for all, those of one image.
    others = values[2:3]
    back = from_maps(maps, layout, others)
    assert back.shape == values.shape
    np.testing.assert_array_equal(to_maps(back, layout), maps)
    np.testing.assert_array_equal(back[2], values[2])
    if layout.has_other_tokens:
        seed = from_maps(maps, layout)
        tokens = np.moveaxis(seed, 1 + layout.channel_axis, 2)
        assert not tokens[:, : layout.before].any()
        assert not tokens[:, layout.places.stop :].any()


def in_torch(pool="token", prefix=1):
    """A vision transformer here and in PyTorch: network, tensors of its parameters."""
    import torch

    graph = vision_transformer(pool=pool, prefix=prefix)
    tensors = {name: torch.tensor(a) for name, a in random_parameters(graph).items()}
    return network(graph), tensors


@needs_torch
@pytest.mark.parametrize(("pool", "prefix"), [("token", 1), ("token", 3), ("mean", 0), ("mean", 1)])
def test_grad_cam_of_a_vision_transformer_is_that_of_pytorch(pool, prefix):
    import torch

    ours, tensors = in_torch(pool, prefix)
    batch = images(3)
    inputs = torch.tensor(batch, requires_grad=True)
    logits, entering = torch_logits(tensors, inputs, prefix, pool)
    tokens = entering[1 if pool == "token" else 2]  # the default layer
    classes = logits.argmax(1)
    at_tokens, at_input = torch.autograd.grad(
        logits.gather(1, classes[:, None]).sum(), [tokens, inputs]
    )

    methods = choose_methods(["gradcam", "gradient"], has_relu=False)
    context = collect_one(ours, batch, classes.tolist(), ours.default_layer, methods)
    np.testing.assert_allclose(context.logits, logits.detach(), **CLOSE)

    def maps(values):
        return values.detach()[:, prefix:].mT.reshape(3, CHANNELS, 3, 4)

    np.testing.assert_allclose(context.activations, maps(tokens), **CLOSE)
    np.testing.assert_allclose(context.layer_gradients[STANDARD], maps(at_tokens), **CLOSE)
    np.testing.assert_allclose(context.input_gradients[STANDARD], at_input, **CLOSE)
    weights = maps(at_tokens).mean((2, 3), keepdim=True)
    expected = (weights * maps(tokens)).sum(1).relu()
    assert expected.any()
    np.testing.assert_allclose(choose_methods("gradcam")[0].attribute(context), expected, **CLOSE)


@needs_torch
def test_logits_from_tokens_leave_the_class_token_alone():
    """Channel by channel set to 0 at the places, as Ablation-CAM does."""
    import torch
    from torch.nn import functional as F

    ours, tensors = in_torch(prefix=2)
    (image,) = images(1)
    layer = ours.default_layer
    maps = ours.run(image[None], [layer]).activations(layer)
    ablated = np.repeat(maps, CHANNELS, axis=0)
    ablated[np.arange(CHANNELS), np.arange(CHANNELS)] = 0
    found = ours.logits_from(layer, ablated, context=image)

    _, entering = torch_logits(tensors, torch.tensor(image[None]), 2)
    tokens = entering[1].repeat(CHANNELS, 1, 1)
    for channel in range(CHANNELS):
        tokens[channel, 2:, channel] = 0
    # What follows is a transformer of one block without patches.
    behind = {key: value for key, value in tensors.items() if not key.startswith("block0")}
    behind["position"] = tokens
    behind["patch.weight"] = torch.zeros_like(behind["patch.weight"])
    behind["patch.bias"] = torch.zeros_like(behind["patch.bias"])
    behind["prefix"] = torch.zeros_like(behind["prefix"])
    expected, _ = torch_logits(behind, torch.zeros(CHANNELS, *SIZE), 2)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert F.mse_loss(expected[0], expected[1]) > 0.01
    with pytest.raises(NetworkError, match="is 8×3×4 for each image"):
        ours.logits_from(layer, np.zeros((1, 14, 8), np.float32), context=image)


@needs_torch
@pytest.mark.parametrize("graph", [vision_transformer(prefix=2), swin(), mixer()])
def test_a_channels_mean_has_the_gradient_of_finite_differences(graph):
    """What activation maximization follows, along one direction."""
    ours = network(graph)
    batch = images(2, graph.input_size)
    objective = ChannelObjective(ours.default_layer, (1, 4))
    values, gradients = objective.gradients(ours, batch)
    direction = images(1, graph.input_size, seed=5)
    step = np.float32(1e-3)
    ahead, _ = objective.values(ours, batch + step * direction)
    behind, _ = objective.values(ours, batch - step * direction)
    slopes = (ahead - behind) / (2 * step)
    expected = (gradients * direction).sum(axis=(1, 2, 3))
    # Differences of float32 values near 1, each rounded by 6e-8 at every operator, by 2e-3.
    np.testing.assert_allclose(slopes, expected, rtol=2e-3, atol=2e-3)
    maps = ours.run(batch, [ours.default_layer]).activations(ours.default_layer)
    np.testing.assert_allclose(values, maps.mean(axis=(2, 3))[[0, 1], [1, 4]], **CLOSE)


@needs_torch
@pytest.mark.parametrize("pool", ["token", "mean"])
def test_gradients_at_places_are_zero_where_the_graph_says_so(pool):
    graph = vision_transformer(pool=pool, prefix=2)
    ours = network(graph)
    layers = [layer for layer in ours.layers if layer.is_spatial]
    forward = ours.run(images(1), layers, record=True)
    targets = choose_targets(None, forward.logits)
    request = GradientRequest(at=tuple(layer.value for layer in layers), to_input=False)
    (result,) = forward.gradients(targets, [request])
    zero = {layer.name for layer in layers if not result.at[layer.value].any()}
    unread = unread_places(graph, find_axes(graph))
    assert zero == {layer.name for layer in layers if layer.index in unread}
    assert ("norm" in zero) == (pool == "token")
    assert ours.default_layer.name not in zero


@needs_torch
@pytest.mark.parametrize("graph", [vision_transformer(), swin(), mixer()])
def test_every_method_without_a_relu_rule_explains_them(graph):
    ours = network(graph)
    _, height, width = graph.input_size
    options = {
        "occlusion.window": 8,
        "occlusion.stride": 4,
        "rise.masks": 8,
        "samples": 2,
        "steps": 3,
    }
    unguided = [name for name in METHODS if not choose_methods(name, has_relu=False)[0].guided]
    methods = choose_methods(unguided, options, has_relu=False)
    explainer = Explainer(ours, InputSpec(height, width, (0.5,) * 3, (0.25,) * 3), methods=methods)
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    (found,) = explainer.explain([explainer.prepare(pixels)])
    layer = ours.default_layer
    assert {method.key for method in methods} <= set(found.maps)
    assert all(np.isfinite(values).all() for values in found.maps.values())
    sides = layer.map_shape[1:]
    for name in ("gradcam", "gradcam_plusplus", "layercam", "hirescam", "eigencam", "scorecam"):
        assert found.maps[name].shape == sides
    assert found.maps["ablationcam"].shape == sides


@needs_torch
def test_without_relus_guided_rules_are_refused_with_the_reason():
    ours = network(vision_transformer())
    with pytest.raises(UsageError, match="has no ReLU, so nothing can be guided: leave out"):
        Explainer(ours, methods=choose_methods("guided-gradcam"))
    forward = ours.run(images(1), record=True)
    with pytest.raises(NetworkError, match="has no ReLU for the guided rule to act on"):
        forward.gradients(np.zeros(1, np.int64), [GradientRequest(GUIDED)])


@needs_torch
def test_strongest_channels_are_maps():
    ours = network(vision_transformer())
    layer = ours.default_layer
    (maps,) = ours.run(images(1), [layer]).activations(layer)
    found = rank_channels(layer, maps, top=3)
    assert [channel.values.shape for channel in found.channels] == [(3, 4)] * 3


@needs_torch
@pytest.mark.parametrize("graph", [vision_transformer(), swin()])
def test_a_network_run_image_by_image_gives_the_same_maps(graph):
    """As one that does not take batches is."""
    together = network(graph)
    apart = network(graph)
    apart.architecture.takes_batches = False
    batch = images(3, graph.input_size)
    methods = choose_methods("gradcam", has_relu=False)
    layer = together.default_layer
    ((one,),) = collect(ModelQueries(together), batch, [None], [layer], methods)
    ((other,),) = collect(ModelQueries(apart), batch, [None], [layer], methods)
    expected = grad_cam(one.activations, one.layer_gradients[STANDARD])
    found = grad_cam(other.activations, other.layer_gradients[STANDARD])
    np.testing.assert_allclose(found, expected, **CLOSE)
