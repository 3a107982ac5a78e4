"""How good a network's predictions are, and which images of a folder to look at first."""

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
"""A prediction whose probability is below this one is uncertain."""


@dataclass(frozen=True)
class Prediction:
    """What a network predicts for one image, beside its true class where that is known.

    Attributes:
        predicted: the class with the highest logit.
        confidence: its probability; for a network that outputs numbers of any range, the number.
        margin: how far that lies above the second highest; 1 if there is no other class.
        truth: the true class, or None.
        loss: the cross entropy, -log of the true class's probability, in nats; or None.
    """

    predicted: int
    confidence: float
    margin: float
    truth: int | None = None
    loss: float | None = None

    @property
    def correct(self) -> bool | None:
        """Whether the predicted class is the true one; None where that is not known."""
        return None if self.truth is None else self.predicted == self.truth


def assess(
    logits: npt.NDArray[np.float32], truth: int | None = None, activation: Activation = SOFTMAX
) -> Prediction:
    """The prediction in the logits (K,) of one image; ties go to the lower index."""
    if activation.is_probability:
        logarithms = activation.log_probabilities(logits)
        outputs = np.exp(logarithms)
        loss = None if truth is None else float(-logarithms[truth])
    else:
        outputs, loss = activation.outputs(logits), None
    ranked = np.sort(outputs)[::-1][:2]
    margin = float(ranked[0] - ranked[1]) if len(ranked) > 1 else 1.0
    return Prediction(int(logits.argmax()), float(ranked[0]), margin, truth, loss)


def select_images(
    predictions: Sequence[Prediction | None],
    only: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
) -> list[int]:
    """Select which images to look at, and in which order.

    Args:
        predictions: one per image; None for an image that failed. These come last and are never
            left out, so that the user learns of every failure.
        only: incorrect predictions (``wrong``), correct ones (``right``), or ``uncertain`` ones
            (below :data:`UNCERTAIN`).
        sort: ``loss``, the highest first; ``confidence``, the highest first; ``margin``, the lowest
            first. The sort is stable; images without a loss come behind those that have one.
        limit: at most how many, not counting those that failed.

    Returns:
        Positions in ``predictions``.

    Raises:
        UsageError: ``only`` or ``sort`` is unknown.
    """
    if only not in (None, *ONLY):
        raise UsageError(f"Images are selected by {', '.join(ONLY)}; got '{only}'.")
    if sort not in (None, *SORTS):
        raise UsageError(f"Images are sorted by {', '.join(SORTS)}; got '{sort}'.")
    wanted: list[tuple[int, Prediction]] = []
    failed: list[int] = []
    for position, prediction in enumerate(predictions):
        if prediction is None:
            failed.append(position)
        elif (
            only is None
            or (only == "uncertain" and prediction.confidence < UNCERTAIN)
            or (only == "right" and prediction.correct is True)
            or (only == "wrong" and prediction.correct is False)
        ):
            wanted.append((position, prediction))
    if sort is not None:
        wanted.sort(key=lambda one: _rank(one[1], sort))
    return [position for position, _ in wanted[:limit]] + failed


def _rank(prediction: Prediction, sort: str) -> float:
    """What comes first has the lowest."""
    if sort == "loss":
        return float("inf") if prediction.loss is None else -prediction.loss
    return -prediction.confidence if sort == "confidence" else prediction.margin
