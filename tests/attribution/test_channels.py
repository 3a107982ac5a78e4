"""Every method on networks of any number of channels, that are not square, by every engine.

A network that sees three of its channels alone has to explain these as a color network with the
same weights does, which all other tests of methods are about.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from cnnviz.attribution import choose_methods
from cnnviz.attribution.registry import METHODS
from cnnviz.engines.base import parse_device
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine, installed
from cnnviz.explainer import Explainer
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.samples import fit_channels
from cnnviz.rendering.style import Style
from tests.support import networks

SIZE = (24, 40)
MEAN, STD = (0.5, 0.25, 0.125, 0.0, 0.75), (0.25, 0.5, 0.125, 0.75, 0.375)
FEW = {"samples": 2, "steps": 4, "masks": 8, "window": 8}


def drawn(name, shape):
    """Parameters that depend on nothing but their own name and shape."""
    random = np.random.default_rng(list(name.encode()))
    if len(shape) > 1:
        return random.uniform(-1, 1, shape) * np.sqrt(6 / np.prod(shape[1:]))
    return random.uniform(0.5, 1.5, shape)


def network(channels, engine, first=None):
    """Two convolutions and a dense layer; ``first`` are the weights of the first convolution."""
    found = networks.sequential(
        (channels, *SIZE),
        networks.conv(6, 3, padding=1),
        networks.batch_norm(),
        networks.relu(),
        networks.max_pool(),
        networks.conv(8, 3, padding=1),
        networks.relu(),
        networks.global_avg_pool(),
        networks.flatten(),
        networks.linear(4),
        draw=drawn,
        values={} if first is None else {"0.weight": first},
    )
    built = build_engine(found.architecture.graph, found.parameters, parse_device("cpu"), engine)
    return Network(found.architecture, built)


def explained(values, engine, methods, resize="stretch", first=None, **more):
    """What the methods find in an image of floats (H, W, C); and its images."""
    channels = values.shape[2]
    spec = InputSpec(*SIZE, MEAN[:channels], STD[:channels], range=(-1, 3), resize=resize, **more)
    explainer = Explainer(network(channels, engine, first), spec, methods=methods, name="net")
    image = fit_channels(values, None, spec)
    (found,) = explainer.explain([explainer.prepare(image)], 1)
    return found, found.render(image.displayed(), Style(size="full")).images


def all_methods(*left_out):
    """With few passes each."""
    names = [name for name in METHODS if name not in left_out]
    known = {field.name for name in names for field in fields(METHODS[name])}
    return choose_methods(names, {name: FEW[name] for name in FEW if name in known})


def random_image(channels):
    values = np.random.default_rng(channels).uniform(-1, 3, (30, 70, channels))
    return values.astype(np.float32)


def check(found, expected, key):
    """The same, but that float32 sums in another order: also probabilities, from 0 to 1."""
    atol = 1e-4 * np.abs(expected).max() + 1e-6
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=atol, err_msg=key)


@pytest.mark.parametrize("resize", ["stretch", "crop"])
@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_engines_agree_on_every_method(channels, resize):
    values = random_image(channels)
    (found, images), *others = (
        explained(values, engine, all_methods(), resize) for engine in installed()
    )
    assert found.prepared.input.shape == (channels, *SIZE)
    gradient = found.maps["gradient"]
    assert gradient.shape == (channels, *SIZE)
    # By definition; the engine's gradient itself is compared with finite differences elsewhere.
    np.testing.assert_array_equal(found.maps["input_x_gradient"], gradient * found.prepared.input)
    for key in ("original", "gradcam", "guided_gradcam", "saliency", "input_x_gradient"):
        assert images[key].shape[:2] == (30, 70), key
    for other, _ in others:
        for key, own in found.maps.items():
            check(other.maps[key], own, key)


@pytest.mark.parametrize("engine", installed())
@pytest.mark.parametrize("channels", [4, 5])
def test_channels_without_weights_change_nothing(channels, engine):
    """SmoothGrad is left out: its noise is random numbers for each channel."""
    weights = np.random.default_rng(0).normal(size=(6, 3, 3, 3)).astype(np.float32)
    wider = np.concatenate([weights, np.zeros((6, channels - 3, 3, 3), np.float32)], axis=1)
    values, methods = random_image(channels), all_methods("smoothgrad")
    found, images = explained(values, engine, methods, first=wider)
    color, color_images = explained(values[:, :, :3], engine, methods, first=weights)
    np.testing.assert_allclose(found.logits, color.logits, rtol=1e-5)
    assert set(found.maps) == set(color.maps)
    for key, own in found.maps.items():
        if own.ndim == 3:
            assert not own[3:].any(), key
            own = own[:3]
        check(own, color.maps[key], key)
    for key, shown in images.items():
        # Rendered alike, up to a gray level where float32 rounded otherwise.
        apart = np.abs(shown.astype(int) - color_images[key])
        assert apart.max() <= 1 or key == "occlusion_classes", key


def test_gradients_of_channels_are_rendered_by_those_displayed():
    values = random_image(5)
    methods = choose_methods("gradient")
    engine = installed()[0]
    _, usual = explained(values, engine, methods)
    _, turned = explained(values, engine, methods, display=(2, 1, 0))
    np.testing.assert_array_equal(usual["original"], turned["original"][:, :, ::-1])
    np.testing.assert_array_equal(usual["gradient"], turned["gradient"][:, :, ::-1])
    _, gray = explained(values, engine, methods, display=(4,))
    assert gray["gradient"].ndim == 2
    assert (gray["original"][:, :, 0] == gray["original"][:, :, 1]).all()
