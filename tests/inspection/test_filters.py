"""Filters of planted weights: which are shown, in which order, and in which colors."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.errors import NetworkError, UsageError
from cnnviz.inspection.filters import Filters, find_convolution, read_filters
from tests.support.grids import handed_over
from tests.support.networks import batch_norm, conv, linear, max_pool, relu, sequential, zeros

GRAY = 128


def network(*layers, size=(3, 8, 8), **values):
    """Layers and a dense one, with parameters of zero but for those given."""
    return sequential(size, *layers, linear(2), values=values, draw=zeros).network()


def planted(weights, *, groups=1, inputs=3):
    """A network that begins with a convolution of these weights, and that convolution."""
    weights = np.asarray(weights, np.float32)
    convolution = conv(len(weights), weights.shape[2:], groups=groups, bias=False)
    whole = network(convolution, size=(inputs, 8, 8), **{"0.weight": weights})
    return whole, find_convolution(whole.architecture)


@pytest.fixture
def colors():
    """Four filters of 2 x 2 that see colors.

    0: nothing. 1: red above, -2 of green below (norm √(1 + 1 + 4 + 4) = √10). 2: 3 of blue at one
    place (norm 3). 3: the same as 2, so that it comes after it.
    """
    weights = np.zeros((4, 3, 2, 2))
    weights[1, 0, 0] = 1
    weights[1, 1, 1] = -2
    weights[2, 2, 0, 1] = weights[3, 2, 0, 1] = 3
    return planted(weights)


def test_filters_are_told_largest_first_with_their_numbers(colors):
    filters = read_filters(*colors)

    assert [one.index for one in filters.shown] == [1, 2, 3, 0]
    norms = [one.norm for one in filters.shown]
    np.testing.assert_allclose(norms, [10**0.5, 3, 3, 0], rtol=1e-12)
    assert [(one.low, one.high) for one in filters.shown] == [(-2, 1), (0, 3), (0, 3), (0, 0)]
    assert all(one.inputs == (0, 1, 2) for one in filters.shown)
    assert filters.first
    assert filters.colored
    assert filters.shape == (4, 3, 2, 2)
    assert filters.record()[1] == {
        "index": 2,
        "norm": 3.0,
        "min": 0.0,
        "max": 3.0,
        "inputs": [0, 1, 2],
    }


def cells(filters, scale, monkeypatch):
    return handed_over(lambda: filters.render(scale, "net"), monkeypatch)


def test_colors_are_of_one_scale_and_zero_is_mid_gray(colors, monkeypatch):
    """Of 3, the largest: 128 + 127 is full, 1 is a third of 127 above gray, -2 two thirds below."""
    seen = cells(read_filters(*colors), "layer", monkeypatch)

    inner = [image[1:-1, 1:-1] for image in seen["images"]]
    assert all(image.shape == (96, 96, 3) for image in inner)
    # Enlarged without smoothing: every 48 pixels are alike.
    first, second, _, last = (image[24::48, 24::48] for image in inner)
    assert (np.kron(first[..., 0], np.ones((48, 48))) == inner[0][..., 0]).all()
    third, two_thirds = round(128 + 127 / 3), round(128 - 127 * 2 / 3)
    assert first.tolist() == [[[third, GRAY, GRAY]] * 2, [[GRAY, two_thirds, GRAY]] * 2]
    assert second.tolist() == [[[GRAY] * 3, [GRAY, GRAY, 255]], [[GRAY] * 3] * 2]
    assert (last == GRAY).all()
    assert seen["captions"] == ["1: norm 3.16", "2: norm 3", "3: norm 3", "0: norm 0"]
    assert seen["labels"] == ["-3", "0", "3"]
    assert seen["title"].startswith("net, 0: all 4 filters of 3×2×2")
    # The bar is what the weights are drawn with, from the lowest to the highest.
    assert seen["bar"][0].tolist() == [1, 1, 1]
    assert seen["bar"][-1].tolist() == [255, 255, 255]
    assert (np.diff(seen["bar"][:, 0].astype(int)) >= 0).all()


def test_each_filter_on_its_own_scale(colors, monkeypatch):
    seen = cells(read_filters(*colors), "filter", monkeypatch)

    first = seen["images"][0][1:-1, 1:-1][24::48, 24::48]
    # Of 2, its own largest, which is negative: -2 is 128 - 127, and 1 is half way up, 191.5.
    assert (first[1, :, 1] == 1).all()
    assert set(first[0, :, 0].tolist()) <= {191, 192}
    assert seen["captions"][0] == "1: norm 3.16, max 2"
    assert seen["labels"] == ["-max", "0", "max"]
    assert "max is" in seen["key"]
    assert (seen["images"][3][1:-1, 1:-1] == GRAY).all()  # nothing divided by nothing


def test_top_cuts_after_the_largest(colors):
    assert [one.index for one in read_filters(*colors, top=2).shown] == [1, 2]
    assert len(read_filters(*colors, top=99).shown) == 4


@pytest.fixture
def deep():
    """A second convolution: 20 filters of 3 x 1 over 5 channels.

    Filter f weighs f + 1 at one place of channel f % 5, and half of it, negative, of the next one.
    """
    weights = np.zeros((20, 5, 3, 1), np.float32)
    for index in range(20):
        weights[index, index % 5, 1] = index + 1
        weights[index, (index + 1) % 5, 0] = -(index + 1) / 2
    layers = (conv(5), batch_norm(), relu(), conv(20, (3, 1)), batch_norm())
    return network(*layers, **{"3.weight": weights})


def test_deeper_filters_are_gray_slices_with_the_largest_norms(deep, monkeypatch):
    layer = find_convolution(deep.architecture, "3")
    filters = read_filters(deep, layer, slices=2)

    assert not filters.first
    assert [one.index for one in filters.shown] == list(range(19, 3, -1))  # 16 of them
    assert filters.shown[0].inputs == (4, 0)
    assert filters.shown[0].norm == pytest.approx(20 * 1.25**0.5, rel=1e-12)
    seen = cells(filters, "layer", monkeypatch)
    # 1 + 48 x 16 + 1 for the slice (three high, enlarged 16 times), 2 between, and the next.
    image = seen["images"][0]
    assert image.shape == (50, 18 + 2 + 18)
    assert image[[9, 25, 41], 9].tolist() == [GRAY, 255, GRAY]
    half = 128 - 127 / 2
    assert image[[9, 25, 41], 29].tolist() == [pytest.approx(half, abs=0.5), GRAY, GRAY]
    assert (image[:, 18:20] == 255).all()
    assert seen["captions"][0] == "19: norm 22.4, channels 4, 0"
    assert "16 of 20 filters of 5×3×1" in seen["title"]
    assert "2 of its 5 slices" in seen["title"]
    assert seen["labels"] == ["-20", "0", "20"]


def test_filters_of_groups_name_the_channels_that_they_see():
    """Two groups of two channels each: filters 2 and 3 see channels 2 and 3."""
    weights = np.zeros((4, 2, 1, 1))
    weights[:, 1] = 1
    weights[3, 0] = 5
    filters = read_filters(*planted(weights, groups=2, inputs=4), slices=1)

    assert {one.index: one.inputs for one in filters.shown} == {3: (2,), 0: (1,), 1: (1,), 2: (3,)}


def test_gray_networks_see_gray(monkeypatch):
    seen = cells(read_filters(*planted(np.ones((20, 1, 3, 3)), inputs=1)), "layer", monkeypatch)

    assert len(seen["images"]) == 20  # all of what sees the image itself
    assert all((image[1:-1, 1:-1] == 255).all() for image in seen["images"])
    assert seen["captions"][0] == "0: norm 3"


def test_colors_are_the_images_own_only_where_it_is_at_most_normalized():
    """Behind a batch norm there are still red, green and blue; behind a mixture there are not."""
    normalized = network(batch_norm(), conv(4, 3))
    assert read_filters(normalized, find_convolution(normalized.architecture)).colored

    mixed = network(conv(3, 1), conv(4, 3))
    filters = read_filters(mixed, find_convolution(mixed.architecture, "1"))
    assert filters.shape[1] == 3
    assert not filters.colored


def test_a_batch_norm_means_the_convolution_that_it_follows(deep):
    architecture = deep.architecture
    assert find_convolution(architecture, "4").name == "3"
    assert find_convolution(architecture, "[1]").name == "0"
    assert find_convolution(architecture).name == "0"


def test_what_has_no_filters_is_told(deep):
    for name, reason in (
        ("5", r"5 \(Dense\) has no filters"),
        ("2", r"2 \(ReLU\) has no filters"),
        ("9", "no layer '9'"),
    ):
        with pytest.raises(UsageError, match=reason):
            find_convolution(deep.architecture, name)
    alone = network(batch_norm(), conv(4, 3))
    with pytest.raises(UsageError, match="follows no convolution"):
        find_convolution(alone.architecture, "0")
    without = network(max_pool())
    with pytest.raises(UsageError, match="no convolution"):
        find_convolution(without.architecture)


def test_damaged_weights_are_told():
    weights = np.zeros((2, 3, 1, 1))
    weights[1, 2] = np.nan
    with pytest.raises(NetworkError, match="NaN or infinity"):
        read_filters(*planted(weights))


def test_unknown_scales_are_refused(colors):
    filters = read_filters(*colors)
    assert isinstance(filters, Filters)
    with pytest.raises(UsageError, match="layer or filter"):
        filters.render("all")


def test_weights_of_the_network_are_a_copy(deep):
    layer = find_convolution(deep.architecture, "3")
    weights = deep.weights(layer)
    weights[:] = 77

    assert deep.weights(layer).max() == 20
    assert deep.weights(deep.architecture.find("5")).shape == (2, 20 * 6 * 8)
    with pytest.raises(UsageError, match=r"Layer 2 \(ReLU\) has no weights"):
        deep.weights(deep.architecture.find("2"))
