"""Activation maximization: parts against loops and limiting cases, and the demo's images.

What the demo network's images must be is measured against scenes that it was never trained on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from cnnviz.demo import CLASSES
from cnnviz.demo.scenes import scene
from cnnviz.engines.network import Network
from cnnviz.errors import NetworkError, UsageError
from cnnviz.images.preprocessing import InputSpec, prepare
from cnnviz.inspection.maximize import AscentOptions, Progress, maximize, random_views
from cnnviz.inspection.objectives import ChannelObjective, ClassObjective
from cnnviz.inspection.spectrum import (
    SpectralParameterization,
    cosines,
    resampling,
    variation_gradient,
)
from cnnviz.outputs.files import write_file
from cnnviz.outputs.formats import encode_png
from tests.support.networks import conv, demo_network, linear, ones, relu, sequential, zeros

HARDEST = CLASSES.index("butterfly")
HELD_OUT = 5_000_000  # seeds of scenes that neither training nor any other check uses


@pytest.fixture(scope="module")
def demo() -> Network:
    return demo_network()


def reached(demo: Network, index: int, scenes: int = 100) -> float:
    """The 99th percentile of a class's logit among scenes of it."""
    drawn = [scene(HELD_OUT + i, [CLASSES[index]]).image for i in range(scenes)]
    logits = [
        demo.logits(np.stack([prepare(image).input for image in drawn[i : i + 10]]))[:, index]
        for i in range(0, scenes, 10)
    ]
    return float(np.percentile(np.concatenate(logits), 99))


def check_demo(
    demo: Network, indices: tuple[int, ...], tmp_path: Any, ascent: AscentOptions, scenes: int = 100
) -> None:
    results = maximize(demo, InputSpec(), ClassObjective(indices), ascent)
    for index, result in zip(indices, results, strict=True):
        assert result.prediction == index
        assert result.probabilities[index] > 0.99
        assert result.value > reached(demo, index, scenes)
        assert result.value == result.logits[index]
        # The file says the same to the network as the image that was reported.
        write_file(tmp_path / f"{index}.png", encode_png(result.image))
        read = cv2.cvtColor(cv2.imread(str(tmp_path / f"{index}.png")), cv2.COLOR_BGR2RGB)
        logits = demo.logits(prepare(read).input[None])[0]
        np.testing.assert_allclose(logits, result.logits, rtol=1e-4, atol=1e-3)


def test_a_demo_image_beats_real_ones(demo: Network, tmp_path: Any) -> None:
    """A quarter of the usual steps does for the hardest class; the next test has all of both."""
    check_demo(demo, (HARDEST,), tmp_path, AscentOptions(steps=26), scenes=20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_all_demo_images_beat_real_ones(demo: Network, tmp_path: Any, seed: int) -> None:
    check_demo(demo, tuple(range(len(CLASSES))), tmp_path, AscentOptions(seed=seed))


def test_same_seed_same_image_whatever_stands_beside_it(demo: Network) -> None:
    few = AscentOptions(steps=3)
    alone = maximize(demo, InputSpec(), ClassObjective((4,)), few)[0]
    again = maximize(demo, InputSpec(), ClassObjective((4,)), few)[0]
    beside = maximize(demo, InputSpec(), ClassObjective((2, 4)), few)[1]
    other = maximize(demo, InputSpec(), ClassObjective((4,)), AscentOptions(steps=3, seed=1))[0]
    np.testing.assert_array_equal(alone.image, again.image)
    # A batch of two may round differently, and Adam makes a whole step of a gradient next to zero.
    difference = np.abs(alone.image.astype(int) - beside.image)
    assert difference.mean() < 0.5
    assert np.abs(alone.image.astype(int) - other.image).mean() > 10 * difference.mean() + 1


# --- networks whose answer is known --------------------------------------------------------------


def linear_network(weights: np.ndarray) -> Network:
    """Logit k is the sum of the input times ``weights[k]``, (K, C, H, W).

    Networks have a layer with height and width: here a convolution that changes nothing.
    """
    channels = weights.shape[1]
    values = {"0.weight": np.eye(channels), "1.weight": weights}
    layers = (conv(channels, bias=False), linear(len(weights)))
    return sequential(weights.shape[1:], *layers, values=values, draw=zeros).network()


def test_a_linear_network_gets_light_where_it_weighs_it() -> None:
    weights = np.full((2, 1, 8, 8), -1.0)
    weights[0, :, :, 4:] = weights[1, :, :4] = 1
    spec = InputSpec(8, 8, (0.5,), (0.25,))
    ascent = AscentOptions(steps=200, rate=0.02, jitter=0, zoom=1, window=0, tv=0, l2=0, blur=0)
    right, top = maximize(linear_network(weights), spec, ClassObjective((0, 1)), ascent)
    assert right.image.shape == (8, 8)  # gray
    # Adam moves all waves alike, so a few pixels first run the wrong way: in such a plain network
    # they reach black or white, from where the sigmoid lets none back.
    assert np.mean(right.image[:, 4:] > 230) >= 0.8
    assert np.mean(right.image[:, :4] < 25) >= 0.8
    assert np.mean(top.image[:4] > 230) >= 0.8
    assert np.mean(top.image[4:] < 25) >= 0.8
    for result, signs in ((right, weights[0, 0]), (top, weights[1, 0])):
        assert result.value == pytest.approx((signs * (result.image / 255 - 0.5) / 0.25).sum())
        # White is 2 after normalization, black -2: no image has more than 64 times 2.
        assert result.value > 0.75 * 128
        assert result.initial_value < 0.1 * 128


def test_of_many_channels_those_displayed_are_shown() -> None:
    """All of them are maximized: a linear network gets light where it weighs it."""
    weights = np.zeros((1, 5, 8, 8))
    weights[0, 4], weights[0, 1] = 1, -1
    network = linear_network(weights)
    ascent = AscentOptions(steps=100, rate=0.02, jitter=0, zoom=1, window=0, tv=0, l2=0, blur=0)
    for display, bright, dark in (((4, 0, 1), 0, 2), ((1, 4, 2), 1, 0)):
        spec = InputSpec(8, 8, (0.5,) * 5, (0.25,) * 5, display=display)
        (result,) = maximize(network, spec, ClassObjective((0,)), ascent)
        assert result.image.shape == (8, 8, 3)
        assert np.mean(result.image[:, :, bright] > 200) >= 0.8
        assert np.mean(result.image[:, :, dark] < 55) >= 0.8
    (gray,) = maximize(network, replace(spec, display=(4,)), ClassObjective((0,)), ascent)
    assert gray.image.shape == (8, 8)
    assert np.mean(gray.image > 200) >= 0.8


def test_a_strong_pull_to_the_mean_leaves_the_mean() -> None:
    weights = np.random.default_rng(0).standard_normal((1, 3, 8, 8))
    mean = (0.3, 0.5, 0.7)
    spec = InputSpec(8, 8, mean, (0.2, 0.2, 0.2))
    for held in (AscentOptions(steps=80, l2=1e4), AscentOptions(steps=80, tv=1e4, blur=0)):
        (result,) = maximize(linear_network(weights), spec, ClassObjective((0,)), held)
        near = np.abs(result.image.reshape(-1, 3) / 255 - result.image.mean((0, 1)) / 255)
        assert near.mean() < 0.06  # of one color; left alone it is 0.2
    (pulled,) = maximize(
        linear_network(weights), spec, ClassObjective((0,)), AscentOptions(steps=80, l2=1e4)
    )
    np.testing.assert_allclose(pulled.image.mean((0, 1)) / 255, mean, atol=0.05)


def channels(bias: float = 0.0) -> Network:
    """Layer 0 has the image and its negative, layer 1 these after a ReLU; then a classifier."""
    values = {"0.weight": [1, -1], "0.bias": [bias, bias]}
    return sequential((1, 8, 8), conv(2), relu(), linear(2), values=values, draw=ones).network()


@pytest.mark.parametrize("place", ["mean", "middle"])
def test_channels_of_a_layer(place: str) -> None:
    network = channels()
    spec = InputSpec(8, 8, (0.5,), (0.25,))
    goals = ChannelObjective(network.architecture.find("0"), (1, 0), place)
    ascent = AscentOptions(steps=100, jitter=0, zoom=1, window=0, tv=0, l2=0, blur=0)
    dark, light = maximize(network, spec, goals, ascent)
    assert light.has_gradient
    assert dark.has_gradient
    seen = (light.image / 255 - 0.5) / 0.25
    if place == "middle":
        assert dark.image[4, 4] < 5
        assert light.image[4, 4] > 250
        assert light.value == pytest.approx(seen[4, 4], rel=1e-5)
        others = np.arange(64).reshape(8, 8) != 4 * 8 + 4
        assert 50 < np.median(dark.image[others]) < 200  # nothing pulls at them
    else:
        assert light.value > 0.65 * 2  # see above
        assert np.median(light.image) > 230
        assert np.median(dark.image) < 25
        assert light.value == pytest.approx(seen.mean(), rel=1e-5)


def test_a_relu_shut_in_the_middle_gives_nothing_to_follow() -> None:
    network = channels()
    goals = ChannelObjective(network.architecture.find("1"), (1, 0), "middle")
    ascent = AscentOptions(steps=100, jitter=0, zoom=1, window=0, tv=0, l2=0, blur=0)
    results = maximize(network, InputSpec(8, 8, (0.5,), (0.25,)), goals, ascent)
    # One of the two sees its sign in the noise, the other never will without shifts.
    shut, open_ = sorted(results, key=lambda result: result.has_gradient)
    assert not shut.has_gradient
    assert shut.value == 0
    assert open_.has_gradient
    assert open_.value > 1.9  # of 2


def test_a_channel_that_never_answers_is_told() -> None:
    network = channels(bias=-100.0)
    spec = InputSpec(8, 8, (0.5,), (0.25,))
    goals = ChannelObjective(network.architecture.find("1"), (0,))
    stands: list[Progress] = []
    (result,) = maximize(network, spec, goals, AscentOptions(steps=5), stands.append)
    assert not result.has_gradient
    assert result.value == result.initial_value == 0
    np.testing.assert_array_equal(stands[0].images, stands[-1].images)


def test_broken_weights_are_told() -> None:
    weights = np.full((1, 3, 8, 8), np.nan)
    with pytest.raises(NetworkError, match="not finite in step 1"):
        maximize(
            linear_network(weights), InputSpec(8, 8), ClassObjective((0,)), AscentOptions(steps=2)
        )


def test_every_step_is_observed() -> None:
    network = linear_network(np.ones((1, 3, 8, 6)))
    stands: list[Progress] = []
    (result,) = maximize(
        network, InputSpec(8, 6), ClassObjective((0,)), AscentOptions(steps=4), stands.append
    )
    assert [stand.step for stand in stands] == [0, 1, 2, 3, 4]
    for stand in stands:
        assert stand.images.shape == (1, 8, 6, 3)
        assert 0 <= stand.images.min() <= stand.images.max() <= 1
    np.testing.assert_array_equal(stands[-1].pixels()[0], result.image)


# --- the parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 7, 32])
def test_cosines_are_orthonormal_and_are_the_cosine_transform(length: int) -> None:
    matrix = cosines(length)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(length), atol=1e-6)
    if length % 2 == 0:  # OpenCV has no others
        line = np.random.default_rng(0).random((1, length)).astype(np.float32)
        np.testing.assert_allclose(matrix @ line[0], cv2.dct(line)[0], atol=1e-5)


def test_resampling_moves_and_shrinks() -> None:
    line = np.arange(8.0)
    np.testing.assert_array_equal(resampling(8, 1, 0), np.eye(8))
    np.testing.assert_array_equal(resampling(8, 1, 2) @ line, [2, 3, 4, 5, 6, 7, 0, 0])
    np.testing.assert_allclose(
        resampling(8, 1, 0.5) @ line, [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 3.5]
    )
    # Half as large about the middle: triangles of 1, 3, 3, 1 eighths around every second edge.
    half = resampling(8, 2, 0) @ line
    np.testing.assert_allclose(half[3:5], [(1 * 1 + 3 * 2 + 3 * 3 + 1 * 4) / 8, 4.5])
    np.testing.assert_allclose(half[[0, 1, 6, 7]], [0, half[1], half[6], 0])
    # Light is kept where all of it is in sight: an image at half its size has half of each side.
    assert resampling(64, 2, 0).sum() == pytest.approx(32, rel=1e-6)


def test_variation_gradient_is_that_of_the_sum() -> None:
    images = np.random.default_rng(1).random((1, 2, 4, 5))

    def variation(x: np.ndarray) -> float:
        total = 0.0
        for channel in x[0]:
            for i in range(4):
                for j in range(5):
                    down = channel[i + 1, j] - channel[i, j] if i < 3 else 0
                    across = channel[i, j + 1] - channel[i, j] if j < 4 else 0
                    total += (down**2 + across**2 + 1e-4) ** 0.5
        return total

    expected = np.zeros_like(images)
    for place in np.ndindex(*images.shape):
        step = np.zeros_like(images)
        step[place] = 1e-5
        expected[place] = (variation(images + step) - variation(images - step)) / 2e-5
    np.testing.assert_allclose(variation_gradient(images), expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_at_spectra_are_those_of_the_images(channels: int) -> None:
    """Central differences of a weighted sum of all pixels, in every coefficient."""
    spec = InputSpec(6, 5, (0.4, 0.5, 0.6)[:channels], (0.2,) * channels)
    canvas = SpectralParameterization(spec, 1.2, 0.4)
    random = np.random.default_rng(2)
    spectra = random.standard_normal((1, *spec.shape)).astype(np.float32)
    weights = random.standard_normal(spectra.shape).astype(np.float32)
    found = canvas.spectrum_gradients(weights, canvas.images(spectra))
    expected = np.zeros_like(spectra)
    for place in np.ndindex(*spectra.shape):
        step = np.zeros_like(spectra)
        step[place] = 1 / 64
        both = [
            float((canvas.images(spectra + sign * step) * weights).sum(dtype=np.float64))
            for sign in (1, -1)
        ]
        expected[place] = (both[0] - both[1]) * 32
    # float32 images: an error of about 1e-6 in a sum of 90 pixels, over a step of 1/32.
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_a_spectrum_of_nothing_is_the_mean_color() -> None:
    canvas = SpectralParameterization(InputSpec(6, 5), 1.2, 0.4)
    images = canvas.images(np.zeros((1, 3, 6, 5), np.float32))
    np.testing.assert_allclose(canvas.normalize(images), 0, atol=1e-5)


def test_the_window_fades_toward_the_corners() -> None:
    """Of waves alone, without the sigmoid: its inverse is taken."""
    spec = InputSpec(40, 40, (0.3,), (1.0,))
    spectra = np.random.default_rng(3).standard_normal((1, 1, 40, 40)).astype(np.float32)

    def waves(window: float) -> np.ndarray:
        seen = SpectralParameterization(spec, 1.0, window).images(spectra)[0, 0].astype(np.float64)
        return np.log(seen / (1 - seen)) - np.log(0.3 / 0.7)

    share = waves(0.45) / waves(0)
    for y, x in ((20, 20), (5, 12), (0, 0), (39, 20)):
        distance = np.hypot(y + 0.5 - 20, x + 0.5 - 20) / 40
        assert share[y, x] == pytest.approx(np.exp(-0.5 * (distance / 0.45) ** 4), rel=1e-2)


def test_views_of_a_step_are_spread_over_the_sizes() -> None:
    spec = InputSpec(100, 80)
    ascent = AscentOptions(zoom=4, views=3, jitter=0.1)
    for _ in range(20):
        views = random_views(spec, ascent, np.random.default_rng())
        for number, (rows, columns) in enumerate(views):
            assert rows.shape == (100, 100)
            assert columns.shape == (80, 80)
            # Light is kept but for what a shift pushes out of sight, at most a tenth.
            for matrix, length in ((rows, 100), (columns, 80)):
                factor = length / matrix.sum()
                assert 0.98 * 4 ** (number / 3) <= factor <= 1.15 * 4 ** ((number + 1) / 3)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"steps": 0}, "steps is at least 1; got 0"),
        ({"rate": 0}, "rate is above 0"),
        ({"rate": float("nan")}, "rate is above 0"),
        ({"tv": -1}, "tv is at least 0"),
        ({"l2": float("inf")}, "l2 is at least 0"),
        ({"jitter": 1.5}, "0 to 1; got 1.5"),
        ({"zoom": 0.5}, "between 1 and 16"),
        ({"views": 0}, "views is at least 1"),
        ({"window": -1}, "window is at least 0"),
        ({"seed": -1}, "seed is at least 0"),
    ],
)
def test_wrong_options_are_told(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        AscentOptions(**wrong)


def test_wrong_channels_are_told() -> None:
    layer = channels().architecture.find("1")
    with pytest.raises(UsageError, match="no channel 2: it has 2, numbered from 0 to 1"):
        ChannelObjective(layer, (0, 2))
    with pytest.raises(UsageError, match="no place 'edge': use mean or middle"):
        ChannelObjective(layer, (0,), "edge")
