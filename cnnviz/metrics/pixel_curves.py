"""Deletion and insertion: the target's score as pixels go, or come, in the order of the map."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from cnnviz.attribution.options import option
from cnnviz.attribution.queries import MadeInputs, PassCount
from cnnviz.metrics.base import SCORES, Case, Measurement, Metric, Subject
from cnnviz.metrics.fills import BLUR, BLUR_HELP, FILLS, fill_image, fill_key
from cnnviz.metrics.imputation import impute
from cnnviz.types import Float32, Float64

#: These two also take what ROAD fills with: pixels made up from those that are there.
CURVE_FILLS = (*FILLS, "inpaint")
_FILL_HELP = (
    "what stands for pixels that are not there: the network's mean color, the image blurred, "
    "black, or what their neighbors suggest (inpaint)"
)


@dataclass(frozen=True)
class PixelCurve(Metric):
    """What deletion and insertion share: the curve between the image and one without any pixel."""

    group = "faithfulness"
    cost = "a forward pass a step, 28 by default, of which one is shared by all maps of an image"
    #: Whether pixels come in the order of the map, or go.
    inserts: ClassVar[bool]

    score: str = option(
        "probability",
        "what is measured of the target: its probability, or its logit",
        choices=SCORES,
    )
    steps: int = option(28, "number of equal steps in which all pixels go or come", least=1)
    fill: str = option("mean", _FILL_HELP, choices=CURVE_FILLS)
    blur: float = option(BLUR, BLUR_HELP, least=0.1)

    def passes(
        self, input_shape: tuple[int, int, int], cost: PassCount
    ) -> dict[Hashable, PassCount]:
        """One a step, but for the last: both ends of the curve are there already."""
        return {self: PassCount(forwards=len(self._reached(*input_shape[1:])) - 2)}

    def image_passes(self, input_shape: tuple[int, int, int]) -> dict[Hashable, PassCount]:
        """That of the image without any pixel."""
        return {self._filled_key: PassCount(forwards=1)}

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """The curve and the area under it."""
        reached = self._reached(*subject.values.shape)
        filled = self._filled(case)
        between = case.queries.logits(self._changed(case, subject, filled, reached[1:-1]))
        (without,) = case.queries.logits([filled], cache_key=self._filled_key)
        ends = [case.logits, without]
        if self.inserts:
            ends.reverse()
        curve = case.scores(np.stack([ends[0], *between, ends[1]]), self.score)
        shares = reached / reached[-1]
        clean, empty = (curve[-1], curve[0]) if self.inserts else (curve[0], curve[-1])
        return Measurement(
            area(shares, curve),
            curve=tuple(curve.tolist()),
            details={
                "shares": shares.tolist(),
                "clean": float(clean),
                "filled": float(empty),
                "fill": self.fill,
                "score": self.score,
            },
        )

    @property
    def _filled_key(self) -> Hashable:
        return "filled", fill_key(self.fill, self.blur)

    def _reached(self, height: int, width: int) -> npt.NDArray[np.int64]:
        """How many pixels are reached after each step, from 0 to all; no step is without any."""
        pixels = height * width
        steps = min(self.steps, pixels)
        reached: npt.NDArray[np.int64] = np.rint(np.linspace(0, pixels, steps + 1)).astype(np.int64)
        return reached

    def _filled(self, case: Case) -> Float32:
        """The image without any of its pixels."""
        if self.fill == "inpaint":
            return impute(case.input, np.ones(case.input.shape[1:], np.bool_))
        return fill_image(self.fill, case.input, case.spec, self.blur)

    def _changed(
        self, case: Case, subject: Subject, filled: Float32, reached: npt.NDArray[np.int64]
    ) -> MadeInputs:
        """The image with so many pixels gone, or come."""
        ranks = subject.ranks

        def write(number: int, out: Float32) -> None:
            gone = (ranks < reached[number]) != self.inserts
            if self.fill == "inpaint":
                out[:] = impute(case.input, gone)
            else:
                out[:] = case.input
                np.copyto(out, filled, where=gone)

        return MadeInputs(len(reached), case.input.shape, write)


def area(places: Float64, curve: Float64) -> float:
    """The area under straight lines between a curve's points, by the trapezoids' widths."""
    return float((np.diff(places) * (curve[1:] + curve[:-1])).sum() / 2)


@dataclass(frozen=True)
class Deletion(PixelCurve):
    """Deletion (Petsiuk et al. 2018, section 4.2): the area under the score as pixels go.

    The pixels of the network's input, all channels at once, are replaced by ``fill`` in the order
    of the map, highest first, in ``steps`` equal steps; y_k is the target's score when the share
    k/steps is gone. The area Σ (y_k + y_{k+1}) / 2 · 1/steps is low if the pixels that the map
    ranks first are those that the score needs. (Where the steps do not divide the pixels, each
    trapezoid has its own width.) A probability's area lies from 0 to 1; a logit's has the logit's
    unit and no bounds.

    Only the order of the values counts. Equal values stand in an order that chance made once for
    all maps; the authors leave it to the sorting. ``fill=mean`` is the authors' (0 after
    normalization). Images with holes are like no image the network has learned: how fast the score
    falls is as much about that as about the map (Gomez et al. 2022), more so with ``black``; with
    ``inpaint`` the holes are filled as in ROAD, without noise, and all holes together are the
    image's mean color. It favors maps that scatter their highest values all over the object, whose
    every part is thereby destroyed early. Where p(x) is near 1, the probability hides what the
    logit shows: choose ``score=logit``.

    The details: ``shares``, of the pixels gone at each point of the curve; ``clean`` and
    ``filled``, the score of the image and of one without any pixel.
    """

    name = "deletion"
    title = "deletion"
    paper = "Petsiuk et al. 2018, section 4.2"
    formula = "area under the score of the image without its first k pixels"
    direction = "lower"
    curve_over = "share of pixels removed"
    inserts = False


@dataclass(frozen=True)
class Insertion(PixelCurve):
    """Insertion (Petsiuk et al. 2018, section 4.2): the area under the score as pixels come.

    As ``deletion`` the other way round: it begins with an image without any pixel and puts them
    in, highest first. The area is high if the pixels that the map ranks first are enough for the
    score. A probability's area lies from 0 to 1; a logit's has the logit's unit and no bounds.

    It begins with the blurred image (``fill=blur``), as the authors' does, for pixels on a plain
    color are mostly edges. They blur with a Gaussian of 5 pixels that is cut off 5 pixels from its
    center (so that its standard deviation is 2.9) and take the image as 0 beyond its borders, which
    darkens them; here it is whole and the image goes on as its mirror image. What is said of ties,
    of ``inpaint`` and of images like no others holds as there. It favors maps whose highest values
    lie close together.

    The details: ``shares``, of the pixels that are there at each point of the curve; ``clean`` and
    ``filled``, the score of the image and of one without any pixel.
    """

    name = "insertion"
    title = "insertion"
    paper = "Petsiuk et al. 2018, section 4.2"
    formula = "area under the score of the image's first k pixels"
    direction = "higher"
    curve_over = "share of pixels inserted"
    inserts = True

    fill: str = option("blur", _FILL_HELP, choices=CURVE_FILLS)
