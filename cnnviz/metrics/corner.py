"""A corner by itself: whether a watermark, a date or a logo there is all that the network needs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cnnviz.attribution.options import option
from cnnviz.attribution.queries import PassCount
from cnnviz.engines.target_functions import ClassLogit
from cnnviz.metrics.base import Case, Measurement, Metric, Subject
from cnnviz.metrics.fills import BLUR, BLUR_HELP, blurred, fill_key
from cnnviz.metrics.location import CORNER
from cnnviz.types import Float32

CORNERS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class CornerAlone(Metric):
    """The target's probability when only a corner is shown, and all else is blurred.

    The corner is the one of the four, a fifth of each side, in which the map has most of its
    positive evidence. It covers 4 % of the image, and objects are seldom there: if it restores the
    prediction, the network has learned something that lies there. Neither high nor low values are
    good: the map is right if it found such a corner, and the network is not. Where the image is
    wide and its object reaches into a corner, or the blurred image is still recognized, the
    probability is high for another reason: ``blurred`` says what the blurred image alone has.

    There is none for a map that is positive nowhere. The details: ``corner``, by name; ``share``,
    the part of the map's positive evidence in it (0.04 if even); ``restored``, whether the target
    is the highest class with the corner and is not without it; ``blurred``, the probability of the
    image all blurred.
    """

    name = "corner"
    title = "the corner alone"
    paper = "none: insertion of one region"
    formula = "p(the blurred image with the corner of most evidence as it was)"
    group = "faithfulness"
    direction = None
    cost = "five forward passes an image, whatever the number of maps"

    blur: float = option(BLUR, BLUR_HELP, least=0.1)

    def image_passes(self, input_shape: tuple[int, int, int]) -> dict[Hashable, PassCount]:
        """The blurred image, and that with each of the corners."""
        return {self._key: PassCount(forwards=1 + len(CORNERS))}

    @property
    def _key(self) -> tuple[Hashable, ...]:
        return "corners", fill_key("blur", self.blur)

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """Show the corner in which the map has most."""
        evidence = np.maximum(subject.values, 0)
        total = float(evidence.sum(dtype=np.float64))
        if not total > 0:
            return Measurement(None, "the map is positive nowhere")
        places = corner_places(*evidence.shape)
        shares = [float(evidence[place].sum(dtype=np.float64)) / total for place in places]
        best = int(np.argmax(shares))
        without, *with_corners = case.queries.logits(
            self._shown(case.input, places), cache_key=self._key
        )
        logits = with_corners[best]
        restored = None
        if isinstance(case.target, ClassLogit):
            index = case.target.index
            restored = int(logits.argmax()) == index and int(without.argmax()) != index
        return Measurement(
            float(case.scores(logits)),
            details={
                "corner": CORNERS[best],
                "share": shares[best],
                "restored": restored,
                "blurred": float(case.scores(without)),
            },
        )

    def _shown(self, image: Float32, places: Sequence[tuple[slice, slice]]) -> Iterator[Float32]:
        """The image blurred, and then with each corner as it was."""
        fill = blurred(image, self.blur)
        yield fill
        for rows, columns in places:
            shown = fill.copy()
            shown[:, rows, columns] = image[:, rows, columns]
            yield shown


def corner_places(height: int, width: int) -> tuple[tuple[slice, slice], ...]:
    """Rows and columns of the four corners, in the order of :data:`CORNERS`."""
    down, across = max(1, round(CORNER * height)), max(1, round(CORNER * width))
    top, bottom = slice(0, down), slice(height - down, height)
    left, right = slice(0, across), slice(width - across, width)
    return tuple((row, column) for row in (top, bottom) for column in (left, right))
