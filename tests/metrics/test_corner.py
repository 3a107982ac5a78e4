"""The corner alone: by hand on a linear network."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.metrics.corner import CORNERS, CornerAlone, corner_places
from cnnviz.metrics.fills import BLUR, blurred
from tests.support.judged import case_for, linear_network, passes_told, subject_of

SIZE = 20
PLACES = corner_places(SIZE, SIZE)


def test_corners_are_a_fifth_of_each_side():
    for place in PLACES:
        covered = np.zeros((SIZE, SIZE))
        covered[place] = 1
        assert covered.mean() == pytest.approx(0.04)
    rows, columns = PLACES[CORNERS.index("bottom right")]
    assert (rows.start, rows.stop, columns.start, columns.stop) == (16, 20, 16, 20)


@pytest.mark.parametrize("best", range(4))
def test_the_corner_of_most_evidence_is_shown(best):
    rng = np.random.default_rng(3)
    weights, image = rng.normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    values = np.full((SIZE, SIZE), 0.1)
    values[PLACES[best]] = 2
    values[8:12, 8:12] = -5  # what speaks against the target is no evidence
    found = CornerAlone().measure(case_for(linear_network(weights), image), subject_of(values))
    shown = blurred(image, BLUR)
    shown[:, PLACES[best][0], PLACES[best][1]] = image[:, PLACES[best][0], PLACES[best][1]]
    logit = float((weights.astype(np.float64) * shown).sum())
    # A logit of some 35 in float32: 1e-5 of it; a probability moves by a quarter of that at most.
    assert found.value == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)
    assert found.details["corner"] == CORNERS[best]
    positive = np.maximum(values, 0)
    share = positive[PLACES[best]].sum() / positive.sum()
    assert found.details["share"] == pytest.approx(share, rel=1e-6)


def test_restored_is_what_the_blurred_image_has_not():
    # The weights see a fine pattern in one corner, which the blur takes away.
    weights = np.zeros((1, SIZE, SIZE), np.float32)
    pattern = np.indices((4, 4)).sum(axis=0) % 2 * 2 - 1
    weights[0, 16:, 16:] = pattern
    image = np.zeros_like(weights)
    image[0, 16:, 16:] = pattern
    weights[0, 5:8, 5:8], image[0, 5:8, 5:8] = -0.5, 1  # against it, blurred or not
    network = linear_network(weights)
    values = np.zeros((SIZE, SIZE))
    values[17, 18] = 1
    found = CornerAlone(blur=3.0).measure(case_for(network, image), subject_of(values))
    assert found.details["restored"] is True
    values[17, 18], values[2, 2] = 0, 1  # another corner does not
    found = CornerAlone(blur=3.0).measure(case_for(network, image), subject_of(values))
    assert found.details["restored"] is False


def test_a_map_that_is_positive_nowhere_has_no_corner():
    network = linear_network(np.ones((1, SIZE, SIZE)))
    image = np.ones((1, SIZE, SIZE), np.float32)
    found = CornerAlone().measure(case_for(network, image), subject_of(np.zeros((SIZE, SIZE))))
    assert found.value is None
    assert "nowhere" in found.reason


def test_it_costs_what_it_says():
    network = linear_network(np.ones((1, SIZE, SIZE)))
    case = case_for(network, np.ones((1, SIZE, SIZE), np.float32))
    made = []
    case.queries._on_progress = made.append
    values = np.zeros((SIZE, SIZE))
    for number, place in enumerate(PLACES[:2]):
        values[place] = number + 1
        CornerAlone().measure(case, subject_of(values))
    assert sum(made) == passes_told(CornerAlone(), (1, SIZE, SIZE), 2, None) == 5
