"""ROAD: remove and debias."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from cnnviz.attribution.options import option
from cnnviz.attribution.queries import MadeInputs, PassCount
from cnnviz.engines.target_functions import ClassLogit
from cnnviz.graph.ends import Activation
from cnnviz.metrics.base import Case, Measurement, Metric, Subject
from cnnviz.metrics.imputation import impute
from cnnviz.types import Float32, Float64

#: The shares of pixels that are removed, as in the authors' experiments.
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)

#: Which pixels go first: those that the map ranks highest (MoRF), or lowest (LeRF).
_Order = Literal["morf", "lerf"]


@dataclass(frozen=True)
class _Removed:
    """What the network says of an image with more and more of its pixels removed.

    Attributes:
        probability: the target's, for each of :data:`SHARES`.
        kept: 1 where the network still decides for the target, 0 where not; None for what is no
            class.
    """

    probability: Float64
    kept: Float64 | None


@dataclass(frozen=True)
class RoadCurve(Metric):
    """What the three of ROAD share."""

    group = "faithfulness"
    curve_over = "share of pixels removed"
    #: The orders that it needs.
    orders: ClassVar[tuple[_Order, ...]]

    score: str = option(
        "probability",
        "what is measured: the target's probability, or, as in the paper, whether the network "
        "still decides for it (accuracy)",
        choices=("probability", "accuracy"),
    )
    noise: float = option(
        0.01, "standard deviation of the noise in removed pixels, of values from 0 to 1", least=0.0
    )
    seed: int = option(0, "of the noise", least=0, most=2**32 - 1)

    def passes(
        self, input_shape: tuple[int, int, int], cost: PassCount
    ) -> dict[Hashable, PassCount]:
        """One a share, in each order."""
        return {self._key(order): PassCount(forwards=len(SHARES)) for order in self.orders}

    def unmeasurable(self, activation: Activation, *, of_class: bool) -> str | None:
        """A network decides for a class."""
        if self.score == "accuracy" and not of_class:
            return "the target is no class that a network could decide for"
        return None

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """The mean of its curve."""
        missing = self.unmeasurable(case.activation, of_class=isinstance(case.target, ClassLogit))
        if missing is not None:
            return Measurement(None, missing)
        found = {order: self._removed(case, subject, order) for order in self.orders}
        curves = [
            one.probability if self.score == "probability" or one.kept is None else one.kept
            for one in found.values()
        ]
        # LeRF - MoRF where there are both.
        curve = (curves[1] - curves[0]) / 2 if len(curves) > 1 else curves[0]
        details: dict[str, Any] = {
            order: {
                "probability": one.probability.tolist(),
                "kept": None if one.kept is None else one.kept.astype(int).tolist(),
            }
            for order, one in found.items()
        }
        return Measurement(
            float(curve.mean()),
            curve=tuple(curve.tolist()),
            details={"shares": list(SHARES), "score": self.score, **details},
        )

    def _key(self, order: _Order) -> tuple[Hashable, ...]:
        """A name for the passes of an order, the same for all three."""
        return "road", order, self.noise, self.seed

    def _removed(self, case: Case, subject: Subject, order: _Order) -> _Removed:
        """What an order does to the image."""
        key = (*self._key(order), subject.key, case.target)
        logits = case.queries.logits(self._imputed(case, subject, order), cache_key=key)
        kept = None
        if isinstance(case.target, ClassLogit):
            index = case.target.index
            if case.activation.steps == ("sigmoid",):  # each class by itself: yes or no
                kept = (logits[:, index] > 0).astype(np.float64)
            else:
                kept = (logits.argmax(axis=1) == index).astype(np.float64)
        return _Removed(case.scores(logits), kept)

    def _imputed(self, case: Case, subject: Subject, order: _Order) -> MadeInputs:
        """The image without more and more of its pixels."""
        image = case.input
        random = np.random.default_rng(self.seed)
        drawn = case.spec.swapped(random.standard_normal(image.shape, np.float32))
        noise = drawn * np.float32(self.noise) / np.array(case.spec.std, np.float32)[:, None, None]
        ranks = subject.ranks if order == "morf" else subject.ranks.size - 1 - subject.ranks

        def write(number: int, out: Float32) -> None:
            removed = ranks < round(SHARES[number] * ranks.size)
            out[:] = impute(image, removed)
            np.add(out, noise, out=out, where=removed)

        return MadeInputs(len(SHARES), image.shape, write)


@dataclass(frozen=True)
class RoadMorf(RoadCurve):
    """ROAD, most relevant first (Rong et al. 2022): the target as the highest pixels are removed.

    The shares 0.1, 0.2, 0.3, 0.4, 0.5, 0.7 and 0.9 of the pixels of the network's input are
    removed, those that the map ranks highest, all channels at once; the value is the mean over
    these shares of the target's probability, or (``score=accuracy``) of whether the network still
    decides for the target: 1 where it is the highest class, 0 where not. (In a network whose
    classes do not exclude each other: where its probability is above a half.) From 0 to 1; low is
    good. Over the images the curve is that of the mean probability, or of the accuracy, at each
    share.

    A removed pixel becomes the weighted mean of its eight neighbors, 1/6 for those at its sides
    and 1/12 for those at its corners, removed ones included; then noise is added, independent and
    normal, by default with a standard deviation of 0.01 where pixels go from 0 to 1. So the shape
    of the removed region shows less than with a plain color, and tells the network less about the
    class (the paper's aim). Large regions come out as smooth patches, which are like no photo
    either.

    Differences from the paper: it shows the accuracy, over data sets; a probability says more
    about a single image, and is there for targets that the network did not decide for. The noise
    is the same for every image, map and share of a size, so that it cancels where maps are
    compared. Equal values stand in an order that chance made once for all maps; the paper draws it
    anew for each data set. The details hold, for each share, ``probability`` and ``kept``.
    """

    name = "road-morf"
    title = "ROAD (most relevant first)"
    paper = "Rong et al. 2022"
    formula = "mean over q of the score without the highest q of the pixels"
    direction = "lower"
    cost = "7 forward passes, which road shares"
    orders = ("morf",)


@dataclass(frozen=True)
class RoadLerf(RoadCurve):
    """ROAD, least relevant first (Rong et al. 2022): the target as the lowest pixels are removed.

    As ``road-morf``, with the pixels removed that the map ranks lowest. From 0 to 1; high is good:
    what the map ranks low is not needed.
    """

    name = "road-lerf"
    title = "ROAD (least relevant first)"
    paper = "Rong et al. 2022"
    formula = "mean over q of the score without the lowest q of the pixels"
    direction = "higher"
    cost = "7 forward passes, which road shares"
    orders = ("lerf",)


@dataclass(frozen=True)
class Road(RoadCurve):
    """ROAD, both orders (Rong et al. 2022; combined as in pytorch-grad-cam): (LeRF - MoRF) / 2.

    Half the difference of ``road-lerf`` and ``road-morf``, from -0.5 to 0.5. A map that says
    nothing about the image has about 0, whatever the network does with removed pixels; high is
    good. The curve is the half difference at each share.

    pytorch-grad-cam takes other shares and adds the noise after normalization, where it is about
    a fifth of the paper's.
    """

    name = "road"
    title = "ROAD"
    paper = "Rong et al. 2022"
    formula = "(LeRF - MoRF) / 2"
    direction = "higher"
    cost = "14 forward passes, which road-morf and road-lerf share"
    orders = ("morf", "lerf")
