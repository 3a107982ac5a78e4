"""Sums of products do not depend on the number of threads, and are right."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from cnnviz.metrics.sums import inner, length

PRINTS = """
import numpy as np
from cnnviz.metrics.similarity import rank_correlation
from cnnviz.metrics.sums import inner, length

rng = np.random.RandomState(0)
a, b = rng.randn(2, 300, 300)
one, other = rng.randn(2, 300, 300).astype(np.float32)
found = inner(a, b), length(a), inner(one, other), rank_correlation(one, other)
print([value.hex() for value in found])
"""


@pytest.mark.parametrize("shape", [(7,), (300, 300), (3, 50, 60)])
def test_against_exact_sums(shape):
    a, b = np.random.RandomState(1).randn(2, *shape)
    exact = math.fsum((a * b).ravel().tolist())
    assert inner(a, b) == pytest.approx(exact, rel=1e-12, abs=1e-12)
    squares = math.fsum((a * a).ravel().tolist())
    assert length(a) == pytest.approx(math.sqrt(squares), rel=1e-14)


@pytest.mark.subprocess
def test_the_number_of_threads_changes_no_bit(monkeypatch):
    printed = set()
    for threads in "12":
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        run = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, check=True)
        printed.add(run.stdout)
    assert len(printed) == 1
