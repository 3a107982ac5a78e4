"""Max-sensitivity: how much does the map change when the image hardly does?"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from cnnviz.attribution.options import option
from cnnviz.attribution.queries import PassCount
from cnnviz.metrics.base import Case, Measurement, Metric, Subject
from cnnviz.metrics.sums import length
from cnnviz.types import Float32

#: Images that are explained together.
_TOGETHER = 10


@dataclass(frozen=True)
class MaxSensitivity(Metric):
    """Max-sensitivity (Yeh et al. 2019, definition 3.1), relative: the map's largest change.

    max over d of ‖S(x + d) - S(x)‖ / ‖S(x)‖, with S the map as it is judged, one value for each
    pixel of the network's input, and Euclidean norms. At least 0, without a unit; low is good. Each
    number of d is drawn from -``radius`` to ``radius``, where pixels go from 0 to 1, and divided by
    ``std`` as the image is; x + d is not cut off where pixels end. The same d serve all maps of an
    image. The target stays that of x. More samples find larger changes, so the value rises with
    them.

    The paper's definition has no denominator; the authors' code divides, as here, for otherwise the
    number measures the map's scale. There is none for a map that is 0 everywhere.

    A map that pays no attention to the image does not change at all: it is won by every constant
    map, and says nothing about whether a map is right. The detail ``class_changed`` counts the
    samples in which another class is the highest than in x: there the network itself sees something
    else, and a good map may change.
    """

    name = "max-sensitivity"
    title = "max-sensitivity"
    paper = "Yeh et al. 2019, definition 3.1"
    formula = "max over d of ‖S(x + d) - S(x)‖ / ‖S(x)‖; won by maps that ignore the image"
    group = "faithfulness"
    direction = "lower"
    cost = "the map anew for each sample, 10 by default, and as many passes shared by all maps"

    radius: float = option(
        0.02, "the most that a pixel changes by, of values from 0 to 1", least=1e-6
    )
    samples: int = option(10, "number of changed images", least=1)
    seed: int = option(0, "of the changes", least=0, most=2**32 - 1)

    def passes(
        self, input_shape: tuple[int, int, int], cost: PassCount
    ) -> dict[Hashable, PassCount]:
        """Those of the map, for each sample."""
        return {self: cost.times(self.samples)}

    def image_passes(self, input_shape: tuple[int, int, int]) -> dict[Hashable, PassCount]:
        """One a sample, which tells the highest class."""
        return {self: PassCount(forwards=self.samples)}

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """Make the map of changed images and compare."""
        values = subject.values.astype(np.float64)
        size = length(values)
        if size == 0:
            return Measurement(None, "the map is 0 everywhere")
        logits = case.queries.logits(self._changed(case), cache_key=self)
        changed = int((logits.argmax(axis=1) != case.logits.argmax()).sum())
        largest = 0.0
        inputs = self._changed(case)
        for start in range(0, self.samples, _TOGETHER):
            count = min(_TOGETHER, self.samples - start)
            maps = subject.attribute(np.stack([next(inputs) for _ in range(count)]), case.target)
            largest = max(largest, *(length(one - values) for one in maps))
        return Measurement(
            largest / size, details={"class_changed": changed, "samples": self.samples}
        )

    def _changed(self, case: Case) -> Iterator[Float32]:
        """The changed images, one at a time."""
        random = np.random.default_rng(self.seed)
        reach = self.radius / np.array(case.spec.std)[:, None, None]
        for _ in range(self.samples):
            drawn = case.spec.swapped(random.uniform(-1, 1, case.input.shape))
            yield (case.input + reach * drawn).astype(np.float32)
