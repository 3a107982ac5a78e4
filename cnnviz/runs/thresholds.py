"""What is demanded of the figures of a run, and whether it is met. Pure values and functions.

A figure is a number over images: an accuracy, a share of heatmaps, what a metric says of a method.
A threshold is what somebody demands of it, and a verdict is both together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cnnviz.text import counted

FAIL_UNDER = "--fail-under"
MAX_SHARE = "--max-share"
FAIL_IF_WORSE = "--fail-if-worse"

#: What ``cnnviz explain`` can be held to, by what ``--fail-under`` calls it; for people.
SCORES = {
    "accuracy": "accuracy",
    "top5": "top-5 accuracy",
    "balanced-accuracy": "balanced accuracy",
    "macro-f1": "macro F1",
    "map": "mean average precision",
}
#: The one of them for networks whose classes do not exclude one another, which have no other.
OF_SEVERAL = "map"
#: Likewise by what ``--max-share`` calls it.
SHARES = {"border": "evidence at the border", "corner": "evidence in one corner"}

_DIGITS = 4
_MOST_DIGITS = 17  # which tell any two numbers apart


@dataclass(frozen=True)
class Threshold:
    """What is demanded of a figure.

    Attributes:
        option: how it was demanded, :data:`FAIL_UNDER`, say.
        name: of the figure.
        limit: the worst value that is accepted.
    """

    option: str
    name: str
    limit: float

    @property
    def about(self) -> str:
        """What is demanded: ``accuracy``, or ``drop in accuracy``."""
        return f"drop in {self.name}" if self.option == FAIL_IF_WORSE else self.name

    def __str__(self) -> str:
        """As it was given: ``--fail-under accuracy=0.9``."""
        return f"{self.option} {self.name}={_exactly(self.limit)}"


@dataclass(frozen=True)
class Figure:
    """A number over the images of a run.

    Attributes:
        name: what a threshold calls it.
        title: for people.
        value: the number; None if there is none.
        images: how many images it is over.
        better: which values are good.
        where: which images, where these are not all: ``predicted as ring``.
        reason: why there is no number, in a clause.
    """

    name: str
    title: str
    value: float | None
    images: int
    better: Literal["higher", "lower"] = "higher"
    where: str = ""
    reason: str = ""

    @property
    def over(self) -> str:
        """``16 images predicted as ring``."""
        return f"{counted(self.images, 'image')}{self.where and ' '}{self.where}"

    def meets(self, limit: float) -> bool:
        """Whether it is as good as a limit, or better. What could not be measured is not."""
        if self.value is None or math.isnan(self.value):
            return False
        return self.value >= limit if self.better == "higher" else self.value <= limit


@dataclass(frozen=True)
class Verdict:
    """Whether a figure is what was demanded of it."""

    threshold: Threshold
    figure: Figure

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.figure.meets(self.threshold.limit)

    @property
    def demand(self) -> str:
        """``at least 0.9``."""
        word = "at least" if self.figure.better == "higher" else "at most"
        return f"{word} {_exactly(self.threshold.limit)}"

    @property
    def sentence(self) -> str:
        """What was measured, over how many images, and what was demanded."""
        figure, limit = self.figure, self.threshold.limit
        if figure.value is None:
            measured = f"{figure.title}: could not be measured, because {figure.reason}"
        else:
            measured = f"{figure.title}: {told(figure.value, limit)} over {figure.over}"
        return f"{measured}; {self.demand} was demanded ({self.threshold})"


def judge(thresholds: Iterable[Threshold], figures: Sequence[Figure]) -> tuple[Verdict, ...]:
    """A verdict on the figure that each threshold names."""
    return tuple(
        Verdict(threshold, figure)
        for threshold in thresholds
        for figure in figures
        if threshold.name == figure.name
    )


def needs_truth(threshold: Threshold, cure: str = "give --truth") -> str:
    """Why a figure cannot be computed without true classes, in a sentence; ``cure`` helps."""
    return f"{threshold} needs the images' true classes: {cure}."


def wrong_kind(score: Threshold, *, multi_label: bool) -> str | None:
    """Why a score is not one of such a network, in a sentence; None if it is.

    Args:
        score: named in :data:`SCORES`.
        multi_label: whether an image may belong to several of the network's classes.
    """
    if multi_label is (score.name == OF_SEVERAL):
        return None
    kind, right = (
        ("may belong to several classes", OF_SEVERAL)
        if multi_label
        else ("belongs to one class", "accuracy")
    )
    return f"{score} is not for networks like this: an image {kind}. Use {score.option} {right}."


def told(value: float, limit: float | None = None) -> str:
    """A number in four digits, or in as many as tell it from its limit."""
    for digits in range(_DIGITS, _MOST_DIGITS + 1):
        text = f"{value:.{digits}g}"
        if limit is None or value == limit or float(text) != limit:
            return text
    return repr(value)


def _exactly(number: float) -> str:
    """All digits of a number, and none that says nothing."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)
