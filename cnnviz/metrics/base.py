"""What a metric is: a measure of one map of one image.

A metric is one frozen dataclass: its name, paper and formula, what it says (is the map faithful, is
it where the object is, ...), which direction is good, its options as fields, and
:meth:`Metric.measure`. It is given a :class:`Case`, the image, and a :class:`Subject`, the map that
is judged, and returns a :class:`Measurement`. Each image is measured by itself, so that no result
depends on the images beside it; over the images there are means with intervals
(:mod:`cnnviz.metrics.statistics`).

Maps reach a metric as their method made them, enlarged to the network's input and with one value
for each pixel, and are never stretched between 0 and 1: whoever needs a scale says which.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from cnnviz.attribution.options import Configurable
from cnnviz.attribution.queries import ModelQueries, PassCount
from cnnviz.engines.target_functions import TargetFunction
from cnnviz.graph.ends import Activation
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import Prepared
from cnnviz.metrics.seen_region import SeenRegion
from cnnviz.types import Float32, Float64, Mask

#: What a metric asks of a map. Complexity and agreement say nothing about whether it is right.
Group = Literal["faithfulness", "randomization", "localization", "complexity"]
Direction = Literal["higher", "lower"]
#: What is measured of the target: its probability, or its logit before any softmax.
SCORES = ("probability", "logit")

#: Whoever breaks ties by chance takes this for a seed: see :attr:`Subject.order`.
_TIES = 20_180_630


@dataclass(frozen=True)
class Case:
    """One image whose maps are judged.

    Attributes:
        prepared: what the network was fed, and where that lies in the image.
        logits: (K,) float32, of the image.
        target: what was explained: the same in all that is measured, whatever class is highest
            after a change of the image.
        spec: what the network expects as input.
        queries: the network, for passes of its own on this image; inputs with the same cache key
            go through it once, whichever metric asks.
        region: bool, of the size of the image (``prepared.geometry.source``): true where the
            target's objects are. None where nobody knows.
    """

    prepared: Prepared
    logits: Float32
    target: TargetFunction
    spec: InputSpec
    queries: ModelQueries
    region: Mask | None = None

    @cached_property
    def seen_region(self) -> SeenRegion | None:
        """The region as far as the network saw it, in the pixels of its input."""
        geometry = self.prepared.geometry
        return None if self.region is None else SeenRegion(self.region, geometry)

    @property
    def input(self) -> Float32:
        """(C, H, W) float32, as fed to the network."""
        return self.prepared.input

    @property
    def activation(self) -> Activation:
        """What makes probabilities of logits."""
        return self.queries.network.architecture.activation

    def scores(self, logits: Float32, score: str = "probability") -> Float64:
        """The target's probability, or its logit, for logits (..., K): (...) float64.

        ``score`` is one of :data:`SCORES`.
        """
        if score == "logit":
            return np.asarray(self.target.score(logits), np.float64)
        return self.target.output(logits, self.activation)


@dataclass(frozen=True)
class Subject:
    """A map that is judged: a method's at one layer, or a baseline's.

    Attributes:
        key: a name that no other one of the same image has: ``gradcam``, ``gradcam@features.28``,
            ``random``.
        title: for people.
        values: (H, W) float32, finite, of the size of the network's input: the more, the more it
            speaks for the target. Signed where the method's is; nothing is stretched.
        gradient: (C, H, W) float32, in the order of the input's channels, where the method says how
            much the score changes for a unit of the input (a gradient, under any ReLU rule); None
            otherwise.
        contributions: (C, H, W) float32, likewise, where the method gives each number of the input
            its share of the score (input × gradient, integrated gradients); None otherwise.
        baseline: whether no method made it.
        attribute: makes the map anew: values (M, H, W) for M inputs (M, C, H, W) and a target.
        cost: of making one map anew, with all passes.
    """

    key: str
    title: str
    values: Float32
    attribute: Callable[[Float32, TargetFunction], Float32] = field(repr=False, compare=False)
    gradient: Float32 | None = None
    contributions: Float32 | None = None
    baseline: bool = False
    cost: PassCount = field(default_factory=PassCount)

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """The pixels from the highest to the lowest value, (H·W,), as places in the raveled map.

        Many maps have the same value in many places: a Grad-CAM is 0 on most of them. Equal values
        stand in an order that chance made, one for all maps of this size: no corner comes first
        because the sorting began there, and what two maps leave open they leave open alike.
        """
        flat = self.values.ravel()
        by_chance = np.random.default_rng(_TIES).permutation(flat.size)
        return by_chance[np.argsort(-flat[by_chance], kind="stable")]

    @cached_property
    def ranks(self) -> npt.NDArray[np.int64]:
        """The place of each pixel in :attr:`order`, (H, W): 0 for the first."""
        ranks = np.empty(self.values.size, np.int64)
        ranks[self.order] = np.arange(ranks.size)
        return ranks.reshape(self.values.shape)


@dataclass(frozen=True)
class Measurement:
    """What a metric says of a map.

    Attributes:
        value: the number; None where there is none.
        reason: then why, in a clause: ``no box of the class is known for it``.
        curve: for metrics that are areas or means of a curve, its values at equal steps.
        group: the class it counts for, in metrics that are means over classes.
        details: more, by name, in values that JSON can hold.
    """

    value: float | None
    reason: str | None = None
    curve: tuple[float, ...] = ()
    group: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric(Configurable):
    """One measure of a map."""

    noun = "metric"
    title: ClassVar[str]
    paper: ClassVar[str]
    formula: ClassVar[str]
    group: ClassVar[Group]
    #: Which values are good; None where neither is.
    direction: ClassVar[Direction | None]
    cost: ClassVar[str] = "none"  #: in words, for one map of one image
    #: Whether ``explain --evaluate`` takes it: it needs no more than a few passes.
    cheap: ClassVar[bool] = False
    #: Whether it has to be known where the target's objects are.
    needs_region: ClassVar[bool] = False
    #: Whether the mean over images is that of the classes' means (:attr:`Measurement.group`).
    mean_over_classes: ClassVar[bool] = False
    #: What the values of :attr:`Measurement.curve` stand over, for people: ``share removed``.
    curve_over: ClassVar[str] = ""

    @abstractmethod
    def measure(self, case: Case, subject: Subject) -> Measurement:
        """Measure one map of one image."""

    def unmeasurable(self, activation: Activation, *, of_class: bool) -> str | None:
        """Why there is no value for any map of any image, in a clause; None if there may be one.

        Args:
            activation: what makes probabilities of logits.
            of_class: whether the target is a class, and not a similarity.
        """
        return None

    def passes(
        self, input_shape: tuple[int, int, int], cost: PassCount
    ) -> dict[Hashable, PassCount]:
        """The passes that measuring one map takes, beyond :meth:`image_passes`.

        Args:
            input_shape: (C, H, W) of the network's input.
            cost: of making the map anew once.

        Returns:
            Their count by what they are for: metrics that share passes give these the same key.
        """
        return {}

    def image_passes(self, input_shape: tuple[int, int, int]) -> dict[Hashable, PassCount]:
        """The passes that it takes once for an image, however many of its maps are measured.

        Args:
            input_shape: (C, H, W) of the network's input.

        Returns:
            As of :meth:`passes`.
        """
        return {}
