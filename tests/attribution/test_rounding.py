"""What is nothing but rounding is blank, what is real is not, however small or large it is."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.attribution import METHODS, choose_methods, options_of, rounding
from cnnviz.explainer import Explainer
from cnnviz.images.preprocessing import InputSpec
from cnnviz.importers.gluon import from_gluon
from tests.support.attribution import collect_one
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn
SIDE = 24
SPEC = InputSpec(SIDE, SIDE)
FEW = {"samples": 3, "steps": 5, "window": 8, "stride": 8, "masks": 30, "cells": 4}
#: Those that look at what the network answers; the others look at a gradient, EigenCAM at neither.
SCORES = ("scorecam", "ablationcam", "occlusion", "rise")
#: Logits as they are, and as other networks have them: no power of two, which would round alike.
SCALES = (1.0, 1e-6, 1e6)


class Function(mx.gluon.HybridBlock):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def hybrid_forward(self, F, x):
        return self.function(F, x)


def centerd(F, x):
    return F.broadcast_sub(x, F.mean(x, axis=(2, 3), keepdims=True))


def standardized(F, x):
    own = centerd(F, x)
    variance = F.mean(own * own, axis=(2, 3), keepdims=True)
    return F.broadcast_mul(own, F.rsqrt(variance + 1e-5))


def shares(F, x):
    return F.softmax(x.reshape((0, 0, -1)), axis=2).reshape((0, 6, SIDE // 2, SIDE // 2))


#: What is behind the layer explained; its mean over the places does not depend on the image.
LEVEL = {
    "instance norm": nn.InstanceNorm,
    "group norm": lambda: nn.GroupNorm(6),
    "centerd": lambda: Function(centerd),
    "standardized by hand": lambda: Function(standardized),
    "softmax over places": lambda: Function(shares),
}


def network(*behind, scale=1.0, classes=4, bias=0.0, seed=1):
    """Layer ``seen`` and what is behind it, averaged over the places, and a dense layer."""
    mx.random.seed(seed)
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(6, 3, padding=1, activation="relu"),
        nn.MaxPool2D(2),
        nn.Conv2D(6, 3, padding=1),
        nn.Activation("relu", prefix="seen_"),
        *behind,
        nn.GlobalAvgPool2D(),
        nn.Flatten(),
        nn.Dense(classes),
    )
    net.initialize(mx.init.Xavier(magnitude=3))
    net(mx.nd.zeros((1, 3, SIDE, SIDE)))
    net[-1].weight.set_data(net[-1].weight.data() * scale)
    net[-1].bias.set_data(mx.nd.array(np.arange(classes) * bias * scale))
    return from_gluon(net, (3, SIDE, SIDE))


def photo(seed=3):
    return np.random.RandomState(seed).randint(0, 256, (SIDE, SIDE, 3), np.uint8)


def choose(names):
    chosen = []
    for name in names:
        own = {key: FEW[key] for key in options_of(METHODS[name]) if key in FEW}
        chosen += choose_methods([name], own)
    return chosen


def layer_of(net):
    return [layer.name for layer in net.layers if layer.kind == "ReLU"][1]


def explained(net, names, image=None, target=1, layer=None):
    """One image's explanation."""
    explainer = Explainer(net, SPEC, layer=layer or layer_of(net), methods=choose(names))
    prepared = explainer.prepare(photo() if image is None else image)
    (found,) = explainer.explain([prepared], target)
    return found


def shown(found, names):
    """Which of the methods' own maps are not blank."""
    return {name for name in names if found.maps[choose([name])[0].key].any()}


EVERY = sorted(set(METHODS) - {"eigencam"})


@pytest.mark.parametrize(
    ("bias", "scale"),
    [
        *((0.0, 1.0), (0.0, 1e6), (1.0, 1.0), (1.0, 1e-6)),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((0.0, 1e-6), (1.0, 1e6))),
    ],
)
@pytest.mark.parametrize("kind", LEVEL)
def test_every_map_of_a_constant_network_is_blank(kind, bias, scale):
    """Without a bias the logits themselves are rounding: they are no scale to go by."""
    net = network(LEVEL[kind](), scale=scale, bias=bias)
    assert shown(explained(net, EVERY), EVERY) == set()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["instance norm", "group norm", "centerd", "standardized by hand"])
def test_grad_cam_before_a_norm_is_blank_and_the_gradient_is_not(kind, scale):
    """A gradient through an instance norm sums to zero over the places of each channel.

    Under the deconvnet's rule each place gets the same from the ReLU, and the norm leaves nothing.
    """
    net = network(LEVEL[kind](), nn.Activation("relu"), scale=scale)
    names = [name for name in EVERY if name not in SCORES]  # probabilities may be 1 exactly
    blank = {"gradcam", "guided-gradcam", "saliency", "deconvnet"}
    assert shown(explained(net, names), names) == set(names) - blank


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("mode", "blank"), [("channel", "hirescam"), ("spatial", "xgradcam")])
def test_gradient_times_activation_before_an_l2_norm_is_blank(mode, blank, scale):
    """Longer vectors have the same norm: Σ A ∂y/∂A is 0 over what is normalized together."""
    net = network(Function(lambda F, x: F.L2Normalization(x, mode=mode)), scale=scale)
    names = ["gradcam", "xgradcam", "layercam", "hirescam", "gradient", "saliency"]
    assert shown(explained(net, names), names) == set(names) - {blank}


@pytest.mark.parametrize("scale", [*SCALES, 1e-12])
def test_real_maps_are_as_they_were_at_every_scale(scale):
    net = network(scale=scale)
    found = explained(net, EVERY, target=2)
    gradients = {name for name in EVERY if name not in ("occlusion", "rise")}
    assert shown(found, gradients) == gradients
    for index in range(2):  # and bit for bit what the methods make of the context
        image = Explainer(net, SPEC).prepare(photo(index)).input[None]
        for method in choose(gradients):
            context = collect_one(net, image, [2], net.layer(layer_of(net)), [method], SPEC)
            settled, plain = method.explain_checked(context), method.explain(context)
            for key, values in plain.maps.items():
                np.testing.assert_array_equal(settled.maps[key], values)


def test_a_real_map_far_below_its_terms_is_drawn():
    """The mean over the places is subtracted, but for a hundred-thousandth of it."""
    part = 1e-5

    def nearly(F, x):
        return F.broadcast_sub(x, (1 - part) * F.mean(x, axis=(2, 3), keepdims=True))

    near, without = network(Function(nearly)), network(scale=part)
    found, expected = (explained(net, ["gradcam"]).maps["gradcam"] for net in (near, without))
    assert found.max() > 0
    # What is left of the difference is known to 1e-7 / 1e-5 of it.
    np.testing.assert_allclose(found, expected, atol=0.05 * expected.max())


def test_integrated_gradients_of_the_baseline_are_blank():
    """In float32 a normalized black pixel is 1e-8 beside (0 - mean) / std."""
    black, white = (np.full((SIDE, SIDE, 3), value, np.uint8) for value in (0, 255))
    net = network()
    (method,) = choose_methods(["integrated-gradients"], {"baseline": "white", "steps": 5})
    explainer = Explainer(net, SPEC, methods=[method])
    for image, own in ((black, False), (white, True)):
        (found,) = explainer.explain([explainer.prepare(image)], 1)
        assert found.maps["integrated_gradients"].any() is np.bool_(not own)
    names = ["integrated-gradients"]
    assert shown(explained(net, names, black), names) == set()
    faint = black.copy()
    faint[5, 7, 1] = 1  # a real difference, of one pixel by one step
    assert shown(explained(net, names, faint), names) == set(names)


@pytest.mark.parametrize(("value", "real"), [(3e-9, False), (0.02, True)])
def test_input_times_gradient_of_a_rounded_zero_is_blank(value, real):
    """What a mean leaves that is a pixel's value but for its last digits: 0.498039217 of 127."""
    (method,) = choose(["input-x-gradient"])
    image = np.full((1, 3, SIDE, SIDE), value, np.float32)
    net = network()
    found = method.explain_checked(collect_one(net, image, [1], net.default_layer, [method], SPEC))
    assert found.maps["input_x_gradient"].any() is np.bool_(real)


def test_activations_that_are_rounding_are_blank():
    """A norm of an image of one color: nothing is left but what rounding makes of it."""
    mx.random.seed(4)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(6, 1, activation="relu"), nn.InstanceNorm(epsilon=1e-12))
    net.add(nn.Activation("relu"), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(3))
    net.initialize(mx.init.Xavier(magnitude=3))
    net(mx.nd.zeros((1, 3, SIDE, SIDE)))
    traced = from_gluon(net, (3, SIDE, SIDE))
    names = ["eigencam", "gradcam", "layercam", "scorecam", "ablationcam"]
    layer = layer_of(traced)
    gray = np.full((SIDE, SIDE, 3), 77, np.uint8)
    found = explained(traced, names, gray, layer=layer)
    assert shown(found, names) == set()
    real = explained(traced, ["eigencam"], layer=layer)
    assert shown(real, ["eigencam"]) == {"eigencam"}


def contrast_of(net):
    explainer = Explainer(net, SPEC, layer=layer_of(net), methods=choose(["gradcam"]))
    (findings,) = explainer.explain_targets([explainer.prepare(photo())], [0], None, [(0, 1)])
    (contrast,) = findings.contrasts
    assert contrast.cam_a.max() > 0
    return contrast


def test_contrast_of_equal_classes_is_none():
    """Each has units of its own, with the same weights in another order: sums round otherwise."""
    mx.random.seed(1)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(6, 3, padding=1, activation="relu"), nn.MaxPool2D(2))
    net.add(nn.Activation("relu", prefix="seen_"), nn.Flatten(), nn.Dense(40), nn.Dense(2))
    net.initialize(mx.init.Xavier(magnitude=3))
    net(mx.nd.zeros((1, 3, SIDE, SIDE)))
    order = np.random.RandomState(0).permutation(20)
    units = net[-2].weight.data().asnumpy()
    units[20:] = units[order]
    classes = np.zeros((2, 40))
    classes[0, :20] = np.random.RandomState(1).randn(20)
    classes[1, 20:] = classes[0, order]
    net[-2].weight.set_data(mx.nd.array(units))
    net[-1].weight.set_data(mx.nd.array(classes))
    assert not contrast_of(from_gluon(net, (3, SIDE, SIDE))).difference.any()


def test_contrast_of_classes_that_differ_is_drawn():
    assert contrast_of(network()).difference.any()


def test_the_verdict_does_not_depend_on_neighbors_and_comes_again():
    net = network(LEVEL["instance norm"](), nn.Activation("relu"))
    explainer = Explainer(net, SPEC, layer=layer_of(net), methods=choose(["gradcam", "layercam"]))
    batch = [explainer.prepare(photo(seed)) for seed in range(3)]
    together = explainer.explain(batch, 1)
    for prepared, one in zip(batch, together, strict=True):
        (alone,) = explainer.explain([prepared], 1)
        assert not alone.maps["gradcam"].any()
        assert not one.maps["gradcam"].any()
        assert alone.maps["layercam"].any()
        assert one.maps["layercam"].any()


def test_nothing_is_asked_twice_where_nothing_is_suspected(monkeypatch):
    """The usual image costs no pass more, whatever the logits' scale is."""
    asked = []
    monkeypatch.setattr(rounding, "jittered", lambda *arguments: asked.append(arguments))
    names = [name for name in EVERY if name not in SCORES]
    for scale in SCALES:
        explained(network(scale=scale), [*names, "eigencam"])
    assert asked == []


def test_scores_count_from_64_times_what_rounding_changes():
    """Covering changes the logit by 1e-5 of a large bias, where float32 knows 6e-8 of it."""
    weights = np.zeros((2, 6, SIDE // 2, SIDE // 2), np.float32)
    found = {}
    for signal in (1e-9, 1e-2):
        net = nn.HybridSequential()
        net.add(nn.Conv2D(6, 3, padding=1, activation="relu"), nn.MaxPool2D(2))
        net.add(nn.Conv2D(6, 3, padding=1), nn.Activation("relu"), nn.Flatten(), nn.Dense(2))
        mx.random.seed(1)
        net.initialize(mx.init.Xavier(magnitude=3))
        net(mx.nd.zeros((1, 3, SIDE, SIDE)))
        weights[0, :, 4:8, 4:8] = signal
        net[-1].weight.set_data(mx.nd.array(weights.reshape(2, -1)))
        net[-1].bias.set_data(mx.nd.array([100.0, 100.0]))
        traced = from_gluon(net, (3, SIDE, SIDE))
        found[signal] = shown(explained(traced, SCORES, target=0), SCORES)
    assert found[1e-9] == set()
    assert found[1e-2] == set(SCORES)
