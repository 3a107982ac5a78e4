"""RISE's masks and sums: the same to the last bit, whoever makes them."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.attribution import choose_methods
from cnnviz.attribution.random_masks import RandomMasks
from cnnviz.images.input_spec import InputSpec
from tests.support.attribution import collect_one


@pytest.fixture
def masks():
    return RandomMasks.drawn(count=37, cells=3, open=0.4, seed=2, height=23, width=9)


def with_threads(monkeypatch, count):
    for name in ("threads", "available_cores"):
        monkeypatch.setattr(f"cnnviz.attribution.queries.{name}", lambda: count)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_sums_are_those_of_a_loop(masks, monkeypatch, count):
    """In the order of the masks, with terms in float32; 37 masks are blocks of 16, 16 and 5."""
    with_threads(monkeypatch, count)
    scores = np.random.RandomState(0).randn(len(masks))
    seen, total, squares = (np.zeros((23, 9)) for _ in range(3))
    for mask, score in zip(masks, scores, strict=True):
        term = np.float32(score) * (mask - np.float32(0.4))
        seen += mask
        total += term
        squares += term * term
    for found, expected in zip(masks.sums(scores, 0.4), (seen, total, squares), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_mask_is_the_same_whenever_it_is_made(masks):
    every = list(masks)
    assert len(every) == 37
    assert all(mask.shape == (23, 9) for mask in every)
    np.testing.assert_array_equal(masks[5], every[5])
    again = RandomMasks.drawn(count=37, cells=3, open=0.4, seed=2, height=23, width=9)
    np.testing.assert_array_equal(np.stack(list(again)), np.stack(every))
    assert not np.array_equal(every[5], every[6])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rise", {"masks": 70, "cells": 3}),
        ("rise", {"masks": 70, "cells": 3, "fill": "white"}),
        ("occlusion", {"window": 4, "stride": 1}),
        ("scorecam", {}),
    ],
)
def test_maps_do_not_depend_on_the_number_of_threads(block, truth, monkeypatch, name, options):
    (method,) = choose_methods([name], options)
    network, batch = block.network(), truth["batch"][:2]
    found = []
    for count in (1, 3):
        with_threads(monkeypatch, count)
        context = collect_one(
            network, batch, [0, 1], network.default_layer, [method], InputSpec(8, 10)
        )
        found.append(method.attribute(context))
    assert found[0].any()
    np.testing.assert_array_equal(*found)
