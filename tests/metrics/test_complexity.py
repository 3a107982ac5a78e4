"""Sparseness and complexity: values known by hand, and the papers' formulas term by term."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnviz.metrics.baselines import baselines
from cnnviz.metrics.complexity import Complexity, Sparseness
from tests.support.judged import case_of, subject_of


def measured(metric, values):
    return metric.measure(case_of((10, 10)), subject_of(values))


@pytest.mark.parametrize("scale", [1, -3, 1e-38, 2e38])
def test_equal_values_are_not_sparse_and_as_complex_as_can_be(scale):
    even = np.full((8, 4), scale)
    assert measured(Sparseness(), even).value == pytest.approx(0, abs=1e-12)
    found = measured(Complexity(), even)
    assert found.value == pytest.approx(math.log(32), abs=1e-12)
    assert found.details == {"of_highest": pytest.approx(1, abs=1e-12)}


@pytest.mark.parametrize("value", [1, -1, 1e-40])
def test_one_pixel_is_as_sparse_as_can_be_and_not_complex(value):
    values = np.zeros((8, 4))
    values[3, 2] = value
    assert measured(Sparseness(), values).value == pytest.approx(1 - 1 / 32, abs=1e-12)
    found = measured(Complexity(), values)
    assert found.value == 0
    assert math.copysign(1, found.value) == 1
    assert found.details == {"of_highest": 0}


def test_four_values_by_hand():
    """0, 1, 2, 5 have ranks -3, -1, 1, 3: (-1 + 2 + 15) / (4 · 8) = 1/2. Signs do not count."""
    values = np.array([[2, -5], [0, 1]])
    assert measured(Sparseness(), values).value == pytest.approx(0.5, abs=1e-12)
    expected = math.log(8) - (2 * math.log(2) + 5 * math.log(5)) / 8
    found = measured(Complexity(), values)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.details["of_highest"] == pytest.approx(expected / math.log(4), abs=1e-12)


def test_the_papers_formulas_term_by_term():
    values = np.random.RandomState(4).standard_normal((9, 7)).astype(np.float32)
    magnitudes = sorted(abs(float(value)) for value in values.ravel())
    count, total = len(magnitudes), math.fsum(magnitudes)
    gini = 1 - 2 * math.fsum(
        one / total * (count - rank + 0.5) / count for rank, one in enumerate(magnitudes, 1)
    )
    entropy = -math.fsum(one / total * math.log(one / total) for one in magnitudes)
    # Sums of some sixty terms in double precision.
    assert measured(Sparseness(), values).value == pytest.approx(gini, abs=1e-13)
    assert measured(Complexity(), values).value == pytest.approx(entropy, abs=1e-13)


def test_even_random_values_have_a_third():
    """The Gini index of the uniform distribution on 0 to 1; its error falls with the pixels."""
    random = next(one for one in baselines(224, 224) if one.key == "random")
    assert Sparseness().measure(case_of((10, 10)), random).value == pytest.approx(1 / 3, abs=0.003)


@pytest.mark.parametrize("metric", [Sparseness(), Complexity()])
def test_a_blank_map_has_no_value_and_a_pixel_alone_has_none_to_differ_from(metric):
    blank = measured(metric, np.zeros((3, 3)))
    assert blank.value is None
    assert blank.reason == "the map is 0 everywhere"
    assert measured(metric, np.ones((1, 1))).value == 0
