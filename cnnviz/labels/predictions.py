"""How good a network's predictions are, and which images of a folder to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnviz.errors import UsageError
from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.labels.label_sets import LabelSet, Truth

ONLY = ("wrong", "right", "uncertain")
SORTS = ("loss", "confidence", "margin")

THRESHOLD = 0.5
"""A class with a probability above this one is predicted, where classes do not exclude others."""

TOP = 5
"""How many of the highest classes are recorded."""

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
        in_top5: whether the true class is among the :data:`TOP` highest; or None.
    """

    predicted: int
    confidence: float
    margin: float
    truth: int | None = None
    loss: float | None = None
    in_top5: bool | None = None

    @property
    def correct(self) -> bool | None:
        """Whether the predicted class is the true one; None where that is not known."""
        return None if self.truth is None else self.predicted == self.truth


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiLabelPrediction(Prediction):
    """The same of a network whose classes do not exclude one another.

    Attributes:
        loss: the mean over the classes of the binary cross entropy, in nats; or None.
        logits: (K,) float32.
        assigned: the classes whose probability is above :data:`THRESHOLD`, the highest first.
        label_set: the true classes, or None.
    """

    logits: npt.NDArray[np.float32]
    assigned: tuple[int, ...]
    label_set: LabelSet | None

    @property
    def correct(self) -> bool | None:
        """Whether exactly the true classes are assigned, of those that are known."""
        if self.label_set is None:
            return None
        known = set(self.assigned) - set(self.label_set.unknown)
        return known == set(self.label_set.positive)


def assess_multi_label(
    logits: npt.NDArray[np.float32], truth: Truth, activation: Activation
) -> MultiLabelPrediction:
    """The same where classes do not exclude one another: ``truth`` is a :class:`LabelSet`."""
    assert not isinstance(truth, int)  # ground truth is read for this kind of network
    highest = assess(logits, None, activation)
    loss = None
    if truth is not None and len(truth.unknown) < len(logits):
        positive = np.isin(np.arange(len(logits)), truth.positive)
        # 1 - σ(y) is σ(-y), so that -log(1 - p) is exact where p rounds to 1.
        losses = -activation.log_probabilities(np.where(positive, logits, -logits))
        loss = float(np.delete(losses, list(truth.unknown)).mean())
    order = np.argsort(-logits, kind="stable")
    above = activation.outputs(logits)[order] > THRESHOLD
    return MultiLabelPrediction(
        predicted=highest.predicted,
        confidence=highest.confidence,
        margin=highest.margin,
        loss=loss,
        logits=logits,
        assigned=tuple(map(int, order[above])),
        label_set=truth,
    )


def assess(
    logits: npt.NDArray[np.float32],
    truth: Truth = None,
    activation: Activation = SOFTMAX,
) -> Prediction:
    """The prediction in the logits (K,) of one image; ties go to the lower index."""
    assert not isinstance(truth, LabelSet)  # that is for assess_multi_label()
    if activation.is_probability:
        logarithms = activation.log_probabilities(logits)
        outputs = np.exp(logarithms)
        loss = None if truth is None else float(-logarithms[truth])
    else:
        outputs, loss = activation.outputs(logits), None
    ranked = np.sort(outputs)[::-1][:2]
    margin = float(ranked[0] - ranked[1]) if len(ranked) > 1 else 1.0
    in_top5 = None if truth is None else truth in np.argsort(-logits, kind="stable")[:TOP]
    return Prediction(int(logits.argmax()), float(ranked[0]), margin, truth, loss, in_top5)


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
