"""What a network's answers are worth, and which images of a folder to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnviz.errors import UsageError
from cnnviz.graph.ends import SOFTMAX, Activation

ONLY = ("wrong", "right", "uncertain")
SORTS = ("loss", "confidence", "margin")

UNCERTAIN = 0.5
"""A highest probability below this one is an uncertain answer."""


@dataclass(frozen=True)
class Verdict:
    """A network's answer to one image, beside the truth where that is known.

    Attributes:
        predicted: the class with the highest logit.
        confidence: its probability; of a network that gives numbers of any range the number.
        margin: how far that lies above the second highest; 1 if there is no other class.
        truth: the true class, or None.
        loss: the cross entropy of the truth, -log of its probability, in nats; or None.
    """

    predicted: int
    confidence: float
    margin: float
    truth: int | None = None
    loss: float | None = None

    @property
    def right(self) -> bool | None:
        """Whether the answer is the truth; None where that is not known."""
        return None if self.truth is None else self.predicted == self.truth


def judge(
    logits: npt.NDArray[np.float32], truth: int | None = None, activation: Activation = SOFTMAX
) -> Verdict:
    """The verdict on the logits (K,) of one image; among equal ones the lower index is it."""
    if activation.is_probability:
        logarithms = activation.log_probabilities(logits)
        outputs = np.exp(logarithms)
        loss = None if truth is None else float(-logarithms[truth])
    else:
        outputs, loss = activation.outputs(logits), None
    ranked = np.sort(outputs)[::-1][:2]
    margin = float(ranked[0] - ranked[1]) if len(ranked) > 1 else 1.0
    return Verdict(int(logits.argmax()), float(ranked[0]), margin, truth, loss)


def choose(
    verdicts: Sequence[Verdict | None],
    only: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
) -> list[int]:
    """Which images to look at, in which order.

    Args:
        verdicts: one an image; None for an image that failed. These come last and are never left
            out: a failure is never kept from the user.
        only: ``wrong`` or ``right`` answers, or ``uncertain`` ones (below :data:`UNCERTAIN`).
        sort: ``loss``, the highest first; ``confidence``, the highest first; ``margin``, the lowest
            first. Equal ones, and those without a truth where a loss is asked for, keep their order
            and the latter come behind.
        limit: of those how many.

    Returns:
        Positions in ``verdicts``.

    Raises:
        UsageError: there is no such choice or order.
    """
    if only not in (None, *ONLY):
        raise UsageError(f"Images can be only {', '.join(ONLY)}; got '{only}'.")
    if sort not in (None, *SORTS):
        raise UsageError(f"Images are sorted by {', '.join(SORTS)}; got '{sort}'.")
    wanted: list[tuple[int, Verdict]] = []
    failed: list[int] = []
    for position, verdict in enumerate(verdicts):
        if verdict is None:
            failed.append(position)
        elif (
            only is None
            or (only == "uncertain" and verdict.confidence < UNCERTAIN)
            or (only == "right" and verdict.right is True)
            or (only == "wrong" and verdict.right is False)
        ):
            wanted.append((position, verdict))
    if sort is not None:
        wanted.sort(key=lambda one: _rank(one[1], sort))
    return [position for position, _ in wanted[:limit]] + failed


def _rank(verdict: Verdict, sort: str) -> float:
    """What comes first has the lowest."""
    if sort == "loss":
        return float("inf") if verdict.loss is None else -verdict.loss
    return -verdict.confidence if sort == "confidence" else verdict.margin
