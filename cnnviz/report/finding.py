"""What the page opens with: the finding in words, and the images most worth a look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnviz.labels.predictions import UNCERTAIN
from cnnviz.report.page import PairView
from cnnviz.report.pairs import ConfusionMatrix
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.records import Manifest
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


def finding(
    manifest: Manifest,
    confusion: ConfusionMatrix | None,
    pairs: Sequence[PairView],
    names: ClassNames,
) -> list[str]:
    """One to three sentences: how accurate it is, what it confuses, where it looks oddly."""
    said = [_accuracy(manifest)]
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


def _accuracy(manifest: Manifest) -> str:
    summary = manifest.summary
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
    sure = [one.prediction.probability for one in manifest.images if one.ok]
    unsure = sum(one is not None and one < UNCERTAIN for one in sure)
    if not sure:
        return "No image could be explained."
    if all(one is None for one in sure):
        return "No true class is known."
    return (
        f"No true class is known; of {counted(len(sure), 'prediction')}, {unsure} "
        f"{'has' if unsure == 1 else 'have'} a probability below {UNCERTAIN:.0%}."
    )


def worth_a_look(images: Sequence[ImageRecord]) -> list[Pick]:
    """The images most worth a look, each with the reason, at most :data:`PICKS`.

    Wrong predictions come first, with the highest loss or, where there is none, the highest
    confidence; then blank maps; then uncertain predictions, the least certain first.
    """
    picks: dict[int, Pick] = {}
    for pick in (*_wrong(images), *_blank(images), *_uncertain(images)):
        picks.setdefault(pick.place, pick)
    return list(picks.values())[:PICKS]


def _wrong(images: Sequence[ImageRecord]) -> Iterator[Pick]:
    found = [(place, one) for place, one in enumerate(images) if one.correct is False]

    def least_expected(entry: tuple[int, ImageRecord]) -> tuple[bool, float]:
        one = entry[1]
        return (one.loss is None, -(one.prediction.logit if one.loss is None else one.loss))

    for place, one in sorted(found, key=least_expected):
        loss = "" if one.loss is None else f", loss {one.loss:.2f}"
        sure = one.prediction.probability
        if one.predicted_classes is not None:
            yield Pick(place, f"wrong{loss}")
        else:
            yield Pick(place, f"wrong{'' if sure is None else f' with {sure:.1%}'}{loss}")


def _blank(images: Sequence[ImageRecord]) -> Iterator[Pick]:
    for place, one in enumerate(images):
        if one.blank:
            yield Pick(place, "blank map: the layer holds no evidence for the class")


def _uncertain(images: Sequence[ImageRecord]) -> Iterator[Pick]:
    found = [
        (one.prediction.probability, place)
        for place, one in enumerate(images)
        if one.ok
        and one.predicted_classes is None
        and one.prediction.probability is not None
        and one.prediction.probability < UNCERTAIN
    ]
    for sure, place in sorted(found):
        yield Pick(place, f"uncertain: {sure:.1%}")
