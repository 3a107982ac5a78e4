"""The strongest channels of planted activations, and where they are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.errors import ExplanationError, UsageError
from cnnviz.explainer import Explainer
from cnnviz.graph.architecture import Layer
from cnnviz.images.preprocessing import Canvas, InputSpec, canvas
from cnnviz.inspection.activations import channel_arrays, rank_channels, top_channels
from cnnviz.rendering.colormaps import UNSEEN, color_scale
from cnnviz.rendering.style import Style
from tests.support.grids import handed_over
from tests.support.networks import conv, linear, relu, sequential, zeros

LAYER = Layer("features.3", "conv3", "Convolution", (4, 2, 2))
# Means of the positive part: 1, 2, 0, 1; highest values: 4, 2, -1, 1.
PLANTED = np.array(
    [[[4, -9], [0, 0]], [[2, 2], [2, 2]], [[-1, -2], [-3, -4]], [[1, 1], [1, 1]]], np.float32
)


def test_strong_is_the_mean_of_what_is_above_zero():
    found = rank_channels(LAYER, PLANTED)

    assert [channel.index for channel in found.channels] == [1, 0, 3, 2]  # 0 before its equal, 3
    assert [channel.mean for channel in found.channels] == [2, 1, 1, 0]
    assert [channel.highest for channel in found.channels] == [2, 4, 1, -1]
    assert (found.channels[1].values == PLANTED[0]).all()  # raw, what is below zero too
    assert not found.blank
    assert found.record()[1] == {"index": 0, "mean": 1.0, "max": 4.0}


def test_strong_may_be_the_highest_value_instead():
    found = rank_channels(LAYER, PLANTED, by="max", top=3)

    assert [channel.index for channel in found.channels] == [0, 1, 3]


def test_nothing_above_zero_is_blank_and_drawn_as_zero():
    found = rank_channels(LAYER, PLANTED[[2]])
    assert found.blank
    image = np.full((20, 20, 3), 99, np.uint8)
    prepared = explainer(resize="stretch").prepare(image)
    sheet = found.render(canvas(image, prepared, 20), Style(size=20, overlay=False), "net", "it")
    lowest = color_scale(Style.colormap)[0]
    # 400 pixels of the cell and the first of the bar.
    assert (sheet == lowest).all(axis=2).sum() >= 400


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_told(value):
    broken = PLANTED.copy()
    broken[3, 1, 1] = value
    with pytest.raises(ExplanationError, match=r"NaN or infinity in layer features\.3"):
        rank_channels(LAYER, broken, top=1)


def test_senseless_wishes_are_refused():
    with pytest.raises(UsageError, match="mean or max"):
        rank_channels(LAYER, PLANTED, by="median")
    with pytest.raises(UsageError, match="At least one"):
        rank_channels(LAYER, PLANTED, top=0)


def explainer(resize):
    """Takes gray images of 8 x 8; its channels are the image times 1, -1, 2, and 1/2 as it is.

    Black is 0 and white is 1. The last channel is 1/2 everywhere.
    """
    values = {"0.weight": [1, -1, 2, 0], "0.bias": [0, 0, 0, 0.5]}
    network = sequential((1, 8, 8), conv(4), relu(), linear(2), values=values, draw=zeros).network()
    spec = InputSpec(8, 8, (0.0,), (1.0,), resize=resize)
    return Explainer(network, spec, layer=["0", "1"])


@pytest.fixture
def half():
    """Black, the right half white; twice as wide as high."""
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, 8:] = 255
    return image


def test_one_pass_looks_at_all_layers(half):
    explains = explainer("stretch")
    convolution, relu = top_channels(explains, explains.prepare(half))

    assert (convolution.layer.name, relu.layer.name) == ("0", "1")
    for found in (convolution, relu):
        assert [c.index for c in found.channels] == [2, 0, 3, 1]
        assert [c.mean for c in found.channels] == [1, 0.5, 0.5, 0]
        assert [c.highest for c in found.channels] == [2, 1, 0.5, 0]
    assert convolution.channels[3].values.tolist() == [[0] * 4 + [-1] * 4] * 8
    assert relu.channels[3].values.tolist() == [[0] * 8] * 8


def drawn(found, base, style, monkeypatch):
    return handed_over(lambda: found.render(base, style, "net", "half.png"), monkeypatch)


def test_channels_lie_where_the_image_has_them_on_one_scale(half, monkeypatch):
    """Stretched, the 16 x 8 pixels of a column of the network's are 4 of 32 in what is drawn."""
    explains = explainer("stretch")
    prepared = explains.prepare(half)
    style = Style(size=64, colormap="viridis", overlay=False)
    found = top_channels(explains, prepared, top=3)[0]

    seen = drawn(found, canvas(half, prepared, 64), style, monkeypatch)

    assert len(seen["images"]) == 4
    original, doubled, plain, constant = seen["images"]
    assert all(image.shape == (32, 64, 3) for image in seen["images"])
    assert (original[:, :24] == 0).all()
    assert (original[:, 40:] == 255).all()
    bar = seen["bar"].astype(int)
    for image, left, right in ((doubled, 0, 1), (plain, 0, 0.5), (constant, 0.25, 0.25)):
        # Beyond the middle, where enlarging mixes both halves.
        for area, part in ((image[:, :24], left), (image[:, 40:], right)):
            assert np.abs(area - bar[round(255 * part)]).max() <= 2  # the bar has 256 steps
    assert seen["labels"] == ["0", "0.5", "1", "1.5", "2"]
    assert seen["captions"] == [
        "half.png",
        "channel 2: mean 1, max 2",
        "channel 0: mean 0.5, max 1",
        "channel 3: mean 0.5, max 0.5",
    ]
    assert seen["title"].startswith("net, 0 (Convolution, 4×8×8): the 3 strongest of 4 channels")
    assert "mean activation" in seen["title"]
    assert "gray" not in seen["key"]


def test_what_the_network_was_not_shown_is_gray(half, monkeypatch):
    """Cut out is 7/8 of the height, so of 64 columns 32 * 7/8 = 28 in the middle."""
    explains = explainer("crop")
    prepared = explains.prepare(half)
    found = top_channels(explains, prepared, top=1)[0]
    style = Style(size=64, colormap="viridis", overlay=False)

    seen = drawn(found, canvas(half, prepared, 64), style, monkeypatch)

    gray = (seen["images"][1] == UNSEEN).all(axis=2)
    assert gray[:, :17].all()
    assert gray[:, -17:].all()
    assert not gray[4:-4, 20:-20].any()
    assert "gray: what the network was not shown" in seen["key"]


def test_overlays_are_mixed_with_the_image(half, monkeypatch):
    explains = explainer("stretch")
    prepared = explains.prepare(half)
    found = top_channels(explains, prepared, top=1, by="max")[0]
    style = Style(size=64, colormap="viridis", alpha=0.25, overlay=True)

    seen = drawn(found, canvas(half, prepared, 64), style, monkeypatch)

    expected = 0.75 * 255 + 0.25 * seen["bar"][-1].astype(float)
    assert np.abs(seen["images"][1][:, 40:] - expected).max() <= 1
    assert "lie over the image" in seen["key"]
    assert "highest activation" in seen["title"]


def test_sheets_beyond_all_measure_are_refused(half):
    """Five images of 10,000 x 5,000 pixels are all that is drawn; one row more is too much."""
    explains = explainer("stretch")
    prepared = explains.prepare(half)
    pixels = np.broadcast_to(np.uint8(0), (5001, 10000, 3))
    found = top_channels(explains, prepared, top=4)[0]

    with pytest.raises(ExplanationError, match=r"5 images of 10000x5001 .* smaller --size"):
        found.render(Canvas(pixels, prepared.geometry), Style(), "net", "it")


def test_arrays_hold_what_was_put_out(half):
    explains = explainer("stretch")
    both = top_channels(explains, explains.prepare(half), top=2)

    one = channel_arrays(both[:1])
    assert {name: str(value.dtype)[:5] for name, value in one.items()} == {
        "layer": "<U1",
        "channels": "int64",
        "activations": "float",
    }
    assert one["channels"].tolist() == [2, 0]
    np.testing.assert_array_equal(one["activations"][0], [[0] * 4 + [2] * 4] * 8)
    several = channel_arrays(both)
    assert several["layer"].tolist() == ["0", "1"]
    assert set(several) == {
        "layer",
        *("channels@0", "activations@0", "channels@1", "activations@1"),
    }
