"""Average drop, increase and gain: the target's probability when the image is seen by the map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from cnnviz.attribution.options import option
from cnnviz.attribution.queries import PassCount
from cnnviz.engines.target_functions import ClassLogit
from cnnviz.graph.ends import Activation
from cnnviz.metrics.base import Case, Measurement, Metric, Subject
from cnnviz.metrics.fills import BLUR, BLUR_HELP, FILLS, fill_image, fill_key
from cnnviz.types import Float32

#: What float32 may make of a logit in another batch, as a part of the largest logit.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class MaskedConfidence(Metric):
    """What the three share: one pass of the image seen through the map."""

    group = "faithfulness"
    cost = "a forward pass that average-drop, increase and average-gain share"
    cheap = True

    fill: str = option(
        "mean",
        "what stands for what is not seen: the network's mean color, the image blurred, or black",
        choices=FILLS,
    )
    blur: float = option(BLUR, BLUR_HELP, least=0.1)

    def passes(
        self, input_shape: tuple[int, int, int], cost: PassCount
    ) -> dict[Hashable, PassCount]:
        """One, for all three."""
        return {self._key: PassCount(forwards=1)}

    def unmeasurable(self, activation: Activation, *, of_class: bool) -> str | None:
        """There is a probability of a class only, and only of some networks."""
        return None if activation.is_probability and of_class else "the target has no probability"

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """Compare the probability of what the map shows with that of the image."""
        missing = self.unmeasurable(case.activation, of_class=isinstance(case.target, ClassLogit))
        if missing is not None:
            return Measurement(None, missing)
        key = (*self._key, subject.key, case.target)
        (logits,) = case.queries.logits([self._seen(case, subject)], cache_key=key)
        clean, seen = float(case.scores(case.logits)), float(case.scores(logits))
        # Another batch rounds otherwise; a map that hides nothing must neither win nor lose by it.
        bounds = np.full(len(logits), _ROUNDING * float(np.abs(case.logits).max()))
        if abs(seen - clean) <= case.target.output_rounding(case.logits, bounds, case.activation):
            seen = clean
        value, reason = self._compared(clean, seen)
        return Measurement(value, reason, details={"clean": clean, "seen": seen})

    @abstractmethod
    def _compared(self, clean: float, seen: float) -> tuple[float | None, str | None]:
        """The value, or why there is none."""

    @property
    def _key(self) -> tuple[Hashable, ...]:
        """A name for the pass, the same for all three."""
        return "seen", fill_key(self.fill, self.blur)

    def _seen(self, case: Case, subject: Subject) -> Float32:
        """The image through the map: m · x + (1 - m) · fill, with m from 0 to 1."""
        shown = np.maximum(subject.values, 0)
        highest = shown.max()
        if highest > 0:
            shown = shown / highest
        fill = fill_image(self.fill, case.input, case.spec, self.blur)
        return np.asarray(shown * case.input + (1 - shown) * fill, np.float32)


@dataclass(frozen=True)
class AverageDrop(MaskedConfidence):
    """Average drop (Chattopadhay et al. 2018, section 4.1): how much of the probability is lost.

    max(0, p(x) - p(seen)) / p(x), with p the target's probability: from 0, nothing is lost, to 1;
    low is good. The paper gives percents. *Seen* is the image through the map: each pixel is mixed
    with ``fill``, in the proportion m to 1 - m, where m is the map divided by its maximum, and 0
    where it is negative; of a map that is positive nowhere, nothing is seen. This scale is the
    metric's own. It is mixed in the image's pixels, which comes to the same before and after
    normalization.

    The paper multiplies image and map, so that what is not seen is black; ``fill=mean`` takes the
    network's mean color, as is usual where normalized inputs are multiplied; black parts are
    something to be recognized, too.

    A map that is 1 everywhere hides nothing and has no drop, the best value there is: read it
    beside that baseline, and beside a metric that large maps do not win. There is none for targets
    without a probability. The details: ``clean`` and ``seen``, both probabilities.
    """

    name = "average-drop"
    title = "average drop"
    paper = "Chattopadhay et al. 2018, section 4.1"
    formula = "max(0, p(x) - p(seen)) / p(x); won by a map of ones"
    direction = "lower"

    def _compared(self, clean: float, seen: float) -> tuple[float | None, str | None]:
        if not clean > 0:
            return None, "the target's probability is 0, and cannot drop"
        return max(0.0, clean - seen) / clean, None


@dataclass(frozen=True)
class Increase(MaskedConfidence):
    """Increase in confidence (Chattopadhay et al. 2018, section 4.1): is the probability higher?

    1 if p(seen) > p(x), 0 if not, so that the mean over images is a share of them; high is good.
    What is seen is that of ``average-drop``. Differences within the rounding of the logits are
    none.

    It counts images, however little there is to gain. A map that is nearly 1 everywhere changes
    the image by next to nothing, which raises the probability about as often as not: it gets about
    a half. (One that is exactly 1 everywhere changes nothing and gets 0.) Maps that show the object
    alone often do no better. The details: ``clean`` and ``seen``, both probabilities.
    """

    name = "increase"
    title = "increase in confidence"
    paper = "Chattopadhay et al. 2018, section 4.1"
    formula = "1 if p(seen) > p(x), else 0; a map of nearly ones does well"
    direction = "higher"

    def _compared(self, clean: float, seen: float) -> tuple[float | None, str | None]:
        return float(seen > clean), None


@dataclass(frozen=True)
class AverageGain(MaskedConfidence):
    """Average gain (Zhang et al. 2024, Opti-CAM): how much of the missing probability is gained.

    max(0, p(seen) - p(x)) / (1 - p(x)), from 0 to 1; high is good. It is to ``average-drop`` what
    a gain is to a loss, and is meant to be read beside it: a map of ones has neither. What is seen
    is that of ``average-drop``. Where p(x) is 1, nothing can be gained and there is no value. A
    method that optimizes what is seen, as Opti-CAM does, wins it by construction. The details:
    ``clean`` and ``seen``, both probabilities.
    """

    name = "average-gain"
    title = "average gain"
    paper = "Zhang et al. 2024"
    formula = "max(0, p(seen) - p(x)) / (1 - p(x)); beside the average drop"
    direction = "higher"

    def _compared(self, clean: float, seen: float) -> tuple[float | None, str | None]:
        if not clean < 1:
            return None, "the target's probability is 1, and cannot rise"
        return max(0.0, seen - clean) / (1 - clean), None
