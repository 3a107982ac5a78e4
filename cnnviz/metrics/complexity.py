"""How few pixels a map comes down to. That says nothing about whether it is right.

A map with one bright pixel in the wrong place is as simple as can be. Both measures take the map's
magnitude, of evidence for and against the target alike, and neither depends on its scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cnnviz.metrics.base import Case, Measurement, Metric, Subject
from cnnviz.metrics.sums import inner
from cnnviz.types import Float64

#: Why there is no number: magnitudes without a sum have no shares.
_BLANK = Measurement(None, "the map is 0 everywhere")


@dataclass(frozen=True)
class Sparseness(Metric):
    """Gini index of the map's magnitudes (Chalasani et al. 2020; Hurley & Rickard 2009).

    With the N magnitudes |s| in ascending order, k = 1..N, it is
    1 - 2 Σ_k |s|_(k) (N - k + 1/2) / (N Σ |s|), which for magnitudes is Σ_k (2k - N - 1) |s|_(k) /
    (N Σ |s|). From 0, where all are equal, to 1 - 1/N, where all but one are 0. A random map of
    values from 0 to 1 has 1/3. There is none for a map that is 0 everywhere.
    """

    name = "sparseness"
    title = "sparseness"
    paper = "Chalasani et al. 2020; Hurley & Rickard 2009"
    formula = "Σ_k (2k - N - 1) |s|_(k) / (N Σ|s|)"
    group = "complexity"
    direction = None
    cheap = True

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """The Gini index."""
        magnitudes = np.sort(_magnitudes(subject))
        total = magnitudes.sum()
        if not total:
            return _BLANK
        count = magnitudes.size
        ranks = 2.0 * np.arange(1, count + 1) - count - 1
        return Measurement(inner(ranks, magnitudes) / float(count * total))


@dataclass(frozen=True)
class Complexity(Metric):
    """Entropy of the map's magnitudes as shares of their sum, in nats (Bhatt et al. 2020).

    With p = |s| / Σ|s| it is -Σ p ln p. From 0, where all but one pixel are 0, to ln N, where all
    N magnitudes are equal: 10.8 for 224 x 224. Networks with inputs of different sizes are compared
    by the detail ``of_highest``, the entropy divided by ln N. There is none for a map that is 0
    everywhere.
    """

    name = "complexity"
    title = "complexity"
    paper = "Bhatt et al. 2020"
    formula = "-Σ p ln p, p = |s| / Σ|s|"
    group = "complexity"
    direction = None
    cheap = True

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """The entropy."""
        magnitudes = _magnitudes(subject)
        total = magnitudes.sum()
        if not total:
            return _BLANK
        shares = magnitudes[magnitudes > 0] / total
        # Never -0.0, and nothing below 0 by rounding.
        entropy = max(0.0, float(-(shares * np.log(shares)).sum()))
        highest = math.log(magnitudes.size)
        return Measurement(entropy, details={"of_highest": entropy / highest if highest else 0.0})


def _magnitudes(subject: Subject) -> Float64:
    """The magnitudes of all pixels, (H·W,): in float64, where no sum of float32 overflows."""
    return np.abs(subject.values.ravel().astype(np.float64))
