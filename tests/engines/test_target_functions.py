"""What is explained, as functions of logits: against finite differences and plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.engines.target_functions import ClassLogit, CosineSimilarity, seeds
from cnnviz.errors import UsageError
from cnnviz.graph.ends import SOFTMAX, Activation

LOGITS = np.array([[1.5, -2, 0.25], [0, 3, 4]], np.float32)
REFERENCE = np.array([2, 1, -2], np.float32)


def cosines(rows):
    """The definition, in float64."""
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=-1) * np.linalg.norm(REFERENCE)
    return rows @ REFERENCE.astype(np.float64) / lengths


def test_a_cosine_and_its_gradient():
    target = CosineSimilarity(REFERENCE)
    np.testing.assert_allclose(target.score(LOGITS), cosines(LOGITS), rtol=1e-14)
    np.testing.assert_array_equal(target.output(LOGITS, SOFTMAX), target.score(LOGITS))
    for row in LOGITS:
        step = 1e-6
        around = row.astype(np.float64) + step * np.concatenate([np.eye(3), -np.eye(3)])
        ahead, behind = cosines(around).reshape(2, 3)
        # Central differences of float64: errors of step² and of 1e-16 / step.
        np.testing.assert_allclose(target.gradient(row), (ahead - behind) / (2 * step), atol=1e-7)


def test_a_cosine_does_not_depend_on_lengths():
    target = CosineSimilarity(REFERENCE * np.float32(4))
    np.testing.assert_allclose(target.score(LOGITS * np.float32(8)), cosines(LOGITS), rtol=1e-14)
    assert target.score(REFERENCE) == 1
    assert target.score(-REFERENCE) == -1


def test_where_nothing_is_output_there_is_no_direction():
    target, nothing = CosineSimilarity(REFERENCE), np.zeros(3, np.float32)
    assert target.score(nothing) == 0
    np.testing.assert_array_equal(target.gradient(nothing), 0)


def test_the_gradient_of_an_image_with_itself_is_rounding_far_below_its_terms():
    target = CosineSimilarity(REFERENCE)
    gradient = target.gradient(REFERENCE)
    # Both parts are r/|r|² here: Σ |r_k · r_k| / |r|² = 1.
    assert target.terms(REFERENCE) == pytest.approx(1)
    assert np.abs(gradient * REFERENCE).sum() < 1e-15
    assert ClassLogit(1).terms(REFERENCE) == 0


@pytest.mark.parametrize("wrong", [[1.0], [0.0, 0.0], [1.0, np.nan]])
def test_what_cannot_be_compared_is_refused(wrong):
    with pytest.raises(UsageError, match=r"needs two numbers|outputs nothing for cat\.jpg"):
        CosineSimilarity(np.array(wrong, np.float32), "cat.jpg")


def test_rounding_moves_a_cosine_no_farther_than_its_bound():
    target, bounds = CosineSimilarity(REFERENCE), np.array([1e-4, 2e-4, 3e-4])
    bound = target.output_rounding(LOGITS, bounds, SOFTMAX)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    for row, own in zip(LOGITS.astype(np.float64), bound, strict=True):
        moved = np.abs(cosines(row + signs * bounds) - cosines(row[None])).max()
        # To first order it is the largest move: what is left is the bounds' square.
        assert moved == pytest.approx(own, rel=1e-3)
    assert target.score_rounding(LOGITS[0], bounds) == pytest.approx(bound[0], rel=1e-9)


def test_a_class_is_its_logit():
    target = ClassLogit(2)
    np.testing.assert_array_equal(target.score(LOGITS), LOGITS[:, 2])
    np.testing.assert_array_equal(target.gradient(LOGITS[0]), [0, 0, 1])
    expected = 1 / (1 + np.exp(-LOGITS[:, 2].astype(np.float64)))
    np.testing.assert_allclose(target.output(LOGITS, Activation(("sigmoid",))), expected)
    gradients, terms = seeds([target, None], LOGITS)
    np.testing.assert_array_equal(gradients, [[0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(terms, [0, 0])
