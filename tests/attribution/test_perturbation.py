"""Occlusion and RISE against slow loops, exact expectations and planted context."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from cnnviz.attribution import ModelQueries, choose_methods, collect
from cnnviz.engines.network import Network
from cnnviz.errors import UsageError
from cnnviz.images.preprocessing import Geometry, InputSpec, to_image
from tests.support.attribution import collect_one
from tests.support.networks import conv, conv_relu, flatten, linear, max_pool, sequential

SHAPE = (3, 14, 17)
SPEC = InputSpec(14, 17, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def network():
    # One whose highest class depends on what is covered, whatever covers it.
    layers = (conv_relu(4, 3), max_pool(), flatten(), linear(5))
    return sequential(SHAPE, *layers, seed=1).network()


@pytest.fixture(scope="module")
def batch():
    return np.random.RandomState(2).randn(2, *SHAPE).astype(np.float32)


def linear_network(weights):
    """Logits: the weights (C, H, W) times the input, and 0: so p = sigmoid of the sum."""
    values = {
        "0.weight": 1,
        "0.bias": 0,
        "2.weight": np.stack([weights.ravel(), 0 * weights.ravel()]),
        "2.bias": [0, 0],
    }
    return sequential(weights.shape, conv(1), flatten(), linear(2), values=values).network()


def gray(height, width):
    """The specification of one channel that is fed as it is."""
    return InputSpec(height, width, (0.0,), (1.0,))


def explain(name, options, network, batch, targets, spec=SPEC):
    (method,) = choose_methods([name], options)
    return method.explain(
        collect_one(network, batch, targets, network.default_layer, [method], spec)
    )


def softmax(logits):
    powers = [math.exp(float(logit)) for logit in logits]
    return [power / sum(powers) for power in powers]


def fill_of(word):
    """By hand from SPEC: (value - mean) / std for each channel."""
    return {
        "mean": [0, 0, 0],
        "gray": [0.1 / 0.2, 0 / 0.25, -0.1 / 0.3],
        "black": [-0.4 / 0.2, -0.5 / 0.25, -0.6 / 0.3],
        "white": [0.6 / 0.2, 0.5 / 0.25, 0.4 / 0.3],
    }[word]


@pytest.mark.parametrize("fill", ["mean", "gray", "black", "white"])
def test_occlusion_covers_one_window_after_another(network, batch, fill):
    """14 × 17 pixels in steps of at most 5: rows of 14/3 pixels, columns of 17/4.

    The middles lie at 7/3, 7, 35/3 and at 17/8, 51/8, 85/8, 119/8; windows of 6 begin 3 before,
    rounded: at -1, 4, 9 and at -1, 3, 8, 12.
    """
    rows = [(0, 5), (4, 10), (9, 14)]
    columns = [(0, 5), (3, 9), (8, 14), (12, 17)]
    options = {"window": 6, "stride": 5, "fill": fill}
    found = explain("occlusion", options, network, batch, [1, 3])
    for n, target in enumerate((1, 3)):
        before = softmax(network.logits(batch[n : n + 1])[0])[target]
        assert found.diagnostics["probability"][n] == pytest.approx(before, rel=1e-5)
        counts = {}
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                covered = batch[n].copy()
                for c in range(3):
                    for y in range(top, bottom):
                        for x in range(left, right):
                            covered[c, y, x] = fill_of(fill)[c]
                logits = network.logits(covered[None])[0]
                after = softmax(logits)[target]
                winner = max(range(5), key=lambda k, logits=logits: logits[k])
                counts[str(winner)] = counts.get(str(winner), 0) + 1
                # Logits of another batch size differ in their last bits.
                assert found.maps["occlusion_probability"][n, i, j] == pytest.approx(
                    after, rel=1e-5
                )
                assert found.maps["occlusion"][n, i, j] == pytest.approx(
                    max(0, before - after), rel=1e-4, abs=1e-6
                )
                assert found.maps["occlusion_classes"][n, i, j] == winner
        assert found.maps["occlusion"].shape == (2, 3, 4)
        assert found.diagnostics["counts"][n] == counts
        frequencies = list(found.diagnostics["counts"][n].values())
        assert frequencies == sorted(frequencies, reverse=True)
        assert found.diagnostics["grid"][n] == [3, 4]
        assert (found.diagnostics["window"][n], found.diagnostics["stride"][n]) == (6, 5)
        assert found.diagnostics["largest_drop"][n] == found.maps["occlusion"][n].max() > 0.001
    assert any(len(counts) > 1 for counts in found.diagnostics["counts"])


@pytest.mark.parametrize(
    ("shape", "window", "stride"), [((40, 40), 0, 0), ((30, 50), 7, 3), ((50, 31), 9, 4)]
)
@pytest.mark.parametrize("place", [(0.1, 0.15), (0.5, 0.5), (0.8, 0.3), (0.93, 0.95)])
def test_occlusion_finds_a_planted_patch(shape, window, stride, place):
    """Where the enlarged map is highest, and where its weight lies, is within half a stride."""
    height, width = shape
    y, x = (int(part * side) for part, side in zip(place, shape, strict=True))
    weights = np.zeros((1, *shape), np.float32)
    weights[0, y : y + 2, x : x + 2] = 1
    network = linear_network(weights)
    image = np.ones((1, 1, *shape), np.float32)
    options = {"window": window, "stride": stride, "fill": "black"}
    found = explain("occlusion", options, network, image, [0], gray(*shape))
    (drop,) = found.maps["occlusion"]
    # p falls from sigmoid(4) to sigmoid(0) when all of the patch is covered.
    assert drop.max() == pytest.approx(1 / (1 + math.exp(-4)) - 0.5, rel=1e-6)
    assert (drop == 0).mean() > 0.7
    enlarged, _ = to_image(drop, Geometry(shape, (0, 0, height, width), shape), shape)
    half_stride = found.diagnostics["stride"][0] / 2
    peak = np.argwhere(enlarged > 0.999 * enlarged.max()).mean(axis=0) + 0.5
    middle = np.array([y + 1, x + 1])
    # Windows on the border are cut off, and what lies beyond the outermost middles is level.
    assert (np.abs(peak - middle) <= half_stride + 0.5).all()


def test_occlusion_covers_everything_evenly():
    """No pixel is left out, and inside the border each is under as many windows as another."""
    (method,) = choose_methods(["occlusion"])
    for side in (224, 227, 299, 32, 28, 7, 1):
        rows, columns = method.grid(side, side)
        assert rows == columns
        window, stride = method.sizes(side, side)
        assert window == max(1, round(side / 7))
        covers = np.zeros(side, int)
        for first, last in rows:
            covers[first:last] += 1
        assert covers.min() >= 1
        assert len(rows) == math.ceil(side / stride)
    assert method.grid(224, 224)[0] == [
        (max(0, 16 * i - 8), min(224, 16 * i + 24)) for i in range(14)
    ]


def test_covering_something_else_is_no_evidence():
    """A drop is never negative; the map of probabilities tells what was in the way."""
    weights = np.zeros((1, 8, 8), np.float32)
    weights[0, :4] = 1
    weights[0, 4:] = -1
    image = np.full((1, 1, 8, 8), 0.1, np.float32)
    options = {"window": 4, "stride": 4, "fill": "black"}
    found = explain("occlusion", options, linear_network(weights), image, [0], gray(8, 8))
    # 16 pixels of 0.1 for and against, in each of two windows: p = sigmoid(∓1.6).
    low, high = 1 / (1 + math.exp(1.6)), 1 / (1 + math.exp(-1.6))
    np.testing.assert_allclose(
        found.maps["occlusion_probability"][0], [[low, low], [high, high]], rtol=1e-6
    )
    np.testing.assert_allclose(
        found.maps["occlusion"][0], [[0.5 - low, 0.5 - low], [0, 0]], rtol=1e-6
    )
    np.testing.assert_array_equal(found.maps["occlusion_classes"][0], [[1, 1], [0, 0]])


@pytest.mark.parametrize(("name", "options"), [("occlusion", {}), ("rise", {"masks": 70})])
def test_covering_an_image_with_what_it_shows_changes_nothing(network, name, options):
    """However float32 rounds in batches of other sizes."""
    image = np.empty((1, *SHAPE), np.float32)
    image[0] = np.array(fill_of("gray"), np.float32)[:, None, None]
    found = explain(name, {**options, "fill": "gray"}, network, image, [2])
    assert not found.maps[name].any()
    expected = softmax(network.logits(image)[0])[2]
    # Of RISE's the masks' mean is known only as well as 70 masks can tell.
    np.testing.assert_allclose(
        found.maps[f"{name}_probability"].mean(),
        expected,
        rtol=1e-5 if name == "occlusion" else 0.1,
    )


def test_a_probability_of_1_is_known_no_better_than_float64_has_it():
    """Covering takes 1 to 5 of 36.5 logits: of 1 - p, between 1e-16 and 2e-14, some is rounding."""
    for height, blank in ((36.5, True), (30.0, False)):
        weights = np.zeros((1, 8, 8), np.float32)
        weights[0, :4] = height / 32 - 0.01
        weights[0, 4:] = 0.01
        options = {"window": 1, "stride": 1, "fill": "black"}
        ones = np.ones((1, 1, 8, 8), np.float32)
        found = explain("occlusion", options, linear_network(weights), ones, [0], gray(8, 8))
        assert found.maps["occlusion"].any() is np.bool_(not blank)


def recorded_masks(network, options, shape):
    """The masks themselves are what an image of ones becomes where zeros cover it."""
    (method,) = choose_methods(["rise"], options)
    ones = np.ones((1, *shape), np.float32)
    context = collect_one(network, ones, [0], network.default_layer, [method], gray(*shape[1:]))
    asked = []

    def listen(batch):
        asked.append(batch.copy())
        return network.run(batch)

    context.model.network = SimpleNamespace(run=listen, layers=network.layers)
    found = method.explain(context)
    masked = np.concatenate(asked)[: method.masks]  # the others are for what rounding does
    return masked[:, 0], found


def test_rise_is_the_papers_formula():
    """Eq. 6 with loops, and what it adds to the mean, over the masks that were really used."""
    shape, count, p = (1, 9, 11), 60, 0.3
    weights = np.random.RandomState(0).randn(*shape).astype(np.float32) / 3
    network = linear_network(weights)
    options = {"masks": count, "cells": 3, "open": p, "seed": 5}
    masks, found = recorded_masks(network, options, shape)
    assert masks.shape == (count, *shape[1:])
    scores = [softmax(network.logits(mask[None, None])[0])[0] for mask in masks]
    mean = sum(scores) / count
    assert max(scores) - min(scores) > 0.2
    for y in range(9):
        for x in range(11):
            eq_6 = sum(f * float(m[y, x]) for f, m in zip(scores, masks, strict=True)) / (count * p)
            above = sum((f - mean) * float(m[y, x]) for f, m in zip(scores, masks, strict=True))
            added = max(0.0, above / ((count - 1) * p))
            assert found.maps["rise_probability"][0, y, x] == pytest.approx(eq_6, rel=1e-5)
            assert found.maps["rise"][0, y, x] == pytest.approx(added, rel=1e-4, abs=1e-6)
    assert (found.maps["rise"] == 0).any()
    assert found.diagnostics["mean_probability"][0] == pytest.approx(mean, rel=1e-5)
    assert found.diagnostics["highest"][0] == found.maps["rise"].max() > 0


def line(cell, shift, length):
    """One axis of a mask, what it takes of 2 values: enlarged to 3 cells, bilinear, cut out."""
    values = []
    for pixel in range(length):
        place = (pixel + shift + 0.5) * 2 / (3 * cell) - 0.5
        part = min(max(place, 0.0), 1.0)
        values.append([1 - part, part])
    return np.array(values)


def test_rise_comes_to_the_exact_expectation():
    """All 16 masks of 2 × 2 cells in all their shifts, each as likely as its open cells.

    What 3000 random ones give lies within what the fact ``standard_error`` says of the truth.
    """
    height, width, p = 4, 6, 0.4
    weights = np.zeros((1, height, width), np.float32)
    weights[0, 0, 1] = 3
    weights[0, 3, 4] = -2
    exact = {"f": 0.0, "m": np.zeros((height, width)), "fm": np.zeros((height, width))}
    tall, wide = 2, 3
    for shift_y in range(tall + 1):
        for shift_x in range(wide + 1):
            down = line(tall, shift_y, height)
            across = line(wide, shift_x, width)
            for bits in itertools.product((0, 1), repeat=4):
                chance = p ** sum(bits) * (1 - p) ** (4 - sum(bits)) / (tall + 1) / (wide + 1)
                mask = down @ np.reshape(bits, (2, 2)) @ across.T
                score = 1 / (1 + math.exp(-float((weights[0] * mask).sum())))
                exact["f"] += chance * score
                exact["m"] += chance * mask
                exact["fm"] += chance * score * mask
    np.testing.assert_allclose(exact["m"], p, rtol=1e-12)  # eq. 6 divides by E[M] = p
    added = exact["fm"] / p - exact["f"]
    options = {"masks": 3000, "cells": 2, "open": p}
    image = np.ones((1, 1, height, width), np.float32)
    found = explain("rise", options, linear_network(weights), image, [0], gray(height, width))
    (error,) = found.diagnostics["standard_error"]
    off = found.maps["rise"][0] - np.maximum(added, 0)
    assert 0 < error < 0.1 * added.max()
    # Errors of neighboring pixels go together, so their mean square scatters: a factor of 2.
    assert np.sqrt((off**2).mean()) < 2 * error
    assert added[0, 1] > 0 > added[3, 4]
    assert found.maps["rise"][0, 3, 4] == 0


def test_rise_error_is_the_scatter_of_other_seeds():
    weights = np.random.RandomState(3).randn(1, 8, 8).astype(np.float32) / 2
    network = linear_network(weights)
    image = np.ones((1, 1, 8, 8), np.float32)
    heats, errors = [], []
    for seed in range(30):
        options = {"masks": 100, "cells": 3, "seed": seed}
        # Both classes: what is clipped of the one's map is there in the other's.
        for_it, against = (
            explain("rise", options, network, image, [target], gray(8, 8)) for target in (0, 1)
        )
        heats.append(for_it.maps["rise"][0] - against.maps["rise"][0])
        errors.append(for_it.diagnostics["standard_error"][0])
    scatter = np.sqrt(np.var(heats, axis=0, ddof=1).mean())
    # 30 seeds know a scatter to about 1 / sqrt(2 · 30) = 13 %, here less, for pixels average out.
    assert np.mean(errors) == pytest.approx(scatter, rel=0.2)


def test_rise_masks_are_soft_shifted_and_open_as_often_as_asked():
    (method,) = choose_methods(["rise"], {"masks": 2000, "open": 0.3})
    masks = np.stack(list(method.drawn(28, 30)))
    assert masks.dtype == np.float32
    assert masks.min() >= 0
    assert masks.max() <= 1
    # Four standard errors of a mean of 2000 values whose variance is at most p (1 - p), and more
    # where 840 pixels are looked at.
    assert np.abs(masks.mean(axis=0) - 0.3).max() < 4.5 * math.sqrt(0.3 * 0.7 / 2000)
    # Cells of 4 pixels in the first direction, enlarged by 8/7: the steepest slope is one cell's.
    assert np.abs(np.diff(masks, axis=1)).max() == pytest.approx(7 / (8 * 4), rel=1e-4)
    assert np.abs(np.diff(masks, axis=2)).max() == pytest.approx(7 / (8 * 5), rel=1e-4)


def test_rise_of_one_cell_sees_all_or_nothing():
    """Then every pixel tells the same: Cov(f, M) / p = (1 - p) (f(x) - f(nothing))."""
    weights = np.full((1, 3, 3), 0.5, np.float32)
    image = np.ones((1, 1, 3, 3), np.float32)
    options = {"masks": 2000, "cells": 1, "open": 0.5}
    found = explain("rise", options, linear_network(weights), image, [0], gray(3, 3))
    (heat,) = found.maps["rise"]
    assert heat.min() == heat.max()
    # p (1 - p) is estimated from 2000 masks, and hardly varies near p = 1/2.
    assert heat[0, 0] == pytest.approx(0.5 * (1 / (1 + math.exp(-4.5)) - 0.5), rel=0.01)


@pytest.mark.parametrize(
    ("name", "options"), [("occlusion", {"window": 4}), ("rise", {"masks": 9})]
)
def test_one_gray_channel(name, options):
    network = linear_network(np.ones((1, 12, 10), np.float32) / 50)
    image = np.random.RandomState(0).rand(2, 1, 12, 10).astype(np.float32)
    for fill in ("gray", "mean"):
        spec = InputSpec(12, 10, (0.4,), (0.5,))
        found = explain(name, {**options, "fill": fill}, network, image, [0, 1], spec)
        assert np.isfinite(found.maps[name]).all()
        assert found.maps[name].max() > 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("occlusion", {"window": 15}, "window of 15 pixels covers all .* 14×17"),
        ("occlusion", {"window": -1}, "window of occlusion is at least 0"),
        ("occlusion", {"fill": "pink"}, "fill of occlusion is one of gray"),
        ("rise", {"cells": 15}, "15×15 cells is finer than the 14×17"),
        ("rise", {"masks": 1}, "masks of rise is at least 2"),
        ("rise", {"open": 1}, "open of rise is at most 0.99"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_begins(network, name, options, message):
    with pytest.raises(UsageError, match=message):
        choose_methods([name], options)[0].passes(SHAPE, network.default_layer)


@pytest.mark.parametrize(
    ("name", "options"), [("occlusion", {"window": 6}), ("rise", {"masks": 30})]
)
def test_several_targets_share_their_passes(network, batch, monkeypatch, name, options):
    (method,) = choose_methods([name], options)
    rows, done = [], []
    own = Network.run
    targets = [[0, 1], [2, 2], [4, 0]]
    columns = collect(
        ModelQueries(network, done.append), batch, targets, [network.default_layer], [method], SPEC
    )

    def counted(self, inputs):
        rows.append(len(inputs))
        return own(self, inputs)

    with monkeypatch.context() as patched:
        patched.setattr(Network, "run", counted)
        together = [method.explain(context) for (context,) in columns]
    each = method.passes(SHAPE, network.default_layer).forwards
    assert sum(rows) == 2 * each
    assert sum(done) == 2 * each
    for found, wanted in zip(together, targets, strict=True):
        alone = explain(name, options, network, batch, wanted)
        for key in alone.maps:
            np.testing.assert_array_equal(found.maps[key], alone.maps[key])
        assert found.diagnostics == alone.diagnostics
