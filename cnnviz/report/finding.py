"""What the page opens with: the finding in words, and the images most worth a look."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

from cnnviz.labels.predictions import UNCERTAIN
from cnnviz.report.page import PairView
from cnnviz.report.pairs import ConfusionMatrix
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.records import SummaryRecord
from cnnviz.text import ClassNames, counted

PICKS = 6
"""How many images are shown first."""


@dataclass(frozen=True)
class Pick:
    """An image that is worth a look.

    Attributes:
        place: among the images of the run, from 0.
        why: in words.
    """

    place: int
    why: str


@dataclass
class Confidence:
    """How sure the network is of its predictions.

    Attributes:
        images: how many were explained.
        known: of how many there is a probability.
        unsure: of how many it is low.
    """

    images: int = 0
    known: int = 0
    unsure: int = 0

    def add_image(self, image: ImageRecord) -> None:
        """Count an image if it was explained."""
        if image.ok:
            sure = image.prediction.probability
            self.images += 1
            self.known += sure is not None
            self.unsure += sure is not None and sure < UNCERTAIN


def finding(
    summary: SummaryRecord,
    confidence: Confidence,
    confusion: ConfusionMatrix | None,
    pairs: Sequence[PairView],
    names: ClassNames,
) -> list[str]:
    """One to three sentences: how accurate it is, what it confuses, where it looks oddly."""
    said = [_accuracy(summary, confidence)]
    if confusion is not None and confusion.errors:
        truth, predicted, count = confusion.errors[0]
        if count > 1 or len(confusion.errors) == 1:
            said.append(
                f"Confused most often: {names.short(truth)} is predicted as "
                f"{names.short(predicted)}, in {count} of "
                f"{counted(confusion.images_of[truth], 'image')}."
            )
        else:
            said.append("No class is taken for the same other one more than once.")
    odd = next((pair for pair in pairs if pair.sentence), None)
    if odd is not None:
        said.append(f"Look at “{odd.title}”: {odd.sentence}")
    return said


def _accuracy(summary: SummaryRecord, confidence: Confidence) -> str:
    known = summary.correct + summary.incorrect
    if summary.average_precisions:
        if summary.mean_average_precision is None:
            return "An image may belong to several classes or to none. No image has a true class."
        have = "has" if summary.correct == 1 else "have"
        return (
            "An image may belong to several classes or to none. Mean average precision "
            f"{summary.mean_average_precision:.4f}; of {counted(known, 'image')} with known "
            f"classes, {summary.correct} {have} exactly these above 0.5."
        )
    # Images that were selected by their predictions say nothing of the network's accuracy.
    among = summary.scanned or summary
    if among.accuracy is not None:
        verb = "is" if among.correct == 1 else "are"
        return (
            f"Of {among.correct + among.incorrect} with a known true class, {among.correct} {verb} "
            f"classified correctly and {among.incorrect} incorrectly: accuracy "
            f"{among.accuracy:.1%}."
        )
    if not confidence.images:
        return "No image could be explained."
    if not confidence.known:
        return "No true class is known."
    return (
        f"No true class is known; of {counted(confidence.images, 'prediction')}, "
        f"{confidence.unsure} {'has' if confidence.unsure == 1 else 'have'} a probability below "
        f"{UNCERTAIN:.0%}."
    )


class WorthALook:
    """The images most worth a look, each with the reason; images come one by one.

    Wrong predictions come first, with the highest loss or, where there is none, the highest
    confidence; then blank maps; then uncertain predictions, the least certain first.
    """

    def __init__(self) -> None:
        # As many of a kind as are left if all those before it take the same images.
        self._wrong = _Lowest(PICKS)
        self._blank = _Lowest(2 * PICKS)
        self._uncertain = _Lowest(3 * PICKS)

    def add_image(self, place: int, image: ImageRecord) -> None:
        """Consider an image; ``place`` is its place in the run, from 0."""
        if image.correct is False:
            loss, prediction = image.loss, image.prediction
            key = (loss is None, -(prediction.logit if loss is None else loss))
            self._wrong.add((*key, place), Pick(place, _why_wrong(image)))
        if image.blank:
            why = "blank map: the layer holds no evidence for the class"
            self._blank.add((place,), Pick(place, why))
        if image.ok and image.predicted_classes is None:
            sure = image.prediction.probability
            if sure is not None and sure < UNCERTAIN:
                self._uncertain.add((sure, place), Pick(place, f"uncertain: {sure:.1%}"))

    def picks(self) -> list[Pick]:
        """At most :data:`PICKS` of those so far."""
        found: dict[int, Pick] = {}
        for kind in (self._wrong, self._blank, self._uncertain):
            for pick in kind.all():
                found.setdefault(pick.place, pick)
        return list(found.values())[:PICKS]


class _Lowest:
    """So many picks with the lowest keys."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._found: list[tuple[tuple[float, ...], Pick]] = []

    def add(self, key: tuple[float, ...], pick: Pick) -> None:
        if len(self._found) == self._count and key >= self._found[-1][0]:
            return
        insort(self._found, (key, pick), key=lambda entry: entry[0])
        del self._found[self._count :]

    def all(self) -> list[Pick]:
        return [pick for _, pick in self._found]


def _why_wrong(image: ImageRecord) -> str:
    loss = "" if image.loss is None else f", loss {image.loss:.2f}"
    sure = image.prediction.probability
    if image.predicted_classes is not None or sure is None:
        return f"wrong{loss}"
    return f"wrong with {sure:.1%}{loss}"
