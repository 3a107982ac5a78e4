"""Whether a map is one of its class (Sixt et al. 2020)."""

from __future__ import annotations

import zlib
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from cnnviz.attribution.options import option
from cnnviz.attribution.queries import PassCount
from cnnviz.engines.target_functions import ClassLogit
from cnnviz.metrics.base import Case, Measurement, Metric, Subject
from cnnviz.metrics.similarity import similarity


@dataclass(frozen=True)
class RandomLogit(Metric):
    """Similarity to the map of another class, drawn at random (Sixt et al. 2020).

    Spearman's rank correlation of the two maps' magnitudes, equal values sharing the mean of their
    ranks; that of the values themselves and SSIM (of maps scaled to [0, 1], with a Gaussian window
    of 11×11 and σ = 1.5) are among the details. The other class is drawn for each image, the same
    for all of its maps.

    A method that is not class specific has 1: its map says nothing of the class that is asked for.
    A low value is no merit by itself: a map of noise that is drawn anew has 0, and where two
    classes are told by the same object, an honest method may have much. A map that is the same
    everywhere for the other class alone has 0; for the target there is nothing to compare.
    """

    name = "random-logit"
    title = "random logit"
    paper = "Sixt et al. 2020"
    formula = "ρ(rank |S(x; c)|, rank |S(x; c')|), c' ≠ c at random"
    group = "randomization"
    direction = None
    cost = "a run of the method"

    seed: int = option(0, "of the draw of the other class", least=0)

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """The similarity for one other class."""
        if len(case.logits) < 2:
            return Measurement(None, "the network has no other class")
        other = self._draw(case)
        (changed,) = subject.attribute(case.input[None], ClassLogit(other))
        details = {"class": other}
        if not np.isfinite(changed).all():
            return Measurement(None, "the other class's map is not finite", details=details)
        found = similarity(subject.values, changed)
        if found is None:
            return Measurement(None, "the map is the same everywhere", details=details)
        return Measurement(
            found.absolute, details={**details, "spearman": found.spearman, "ssim": found.ssim}
        )

    def passes(
        self, input_shape: tuple[int, int, int], cost: PassCount
    ) -> dict[Hashable, PassCount]:
        """The map of the other class."""
        return {self.name: cost}

    def _draw(self, case: Case) -> int:
        """A class other than the target, by the image: each draws its own."""
        image = zlib.crc32(case.input.tobytes())
        random = np.random.default_rng((self.seed, image))
        if not isinstance(case.target, ClassLogit):
            return int(random.integers(len(case.logits)))
        drawn = int(random.integers(len(case.logits) - 1))
        return drawn + (drawn >= case.target.index)
