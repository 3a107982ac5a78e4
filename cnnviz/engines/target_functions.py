"""What is explained of an image: one number that follows from a network's logits.

Methods do not know what it is. Those that go back through the network start from its gradient;
those that cover parts of the image or change activations measure how it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cnnviz.errors import UsageError
from cnnviz.graph.ends import Activation
from cnnviz.types import Float32, Float64

_EPSILON = float(np.finfo(np.float64).eps)

#: Why there is no similarity of images for which a network outputs one number.
SINGLE_NUMBER = (
    "A similarity is the cosine between what a network outputs for two images, and needs two "
    "numbers or more; this network outputs one."
)

Logits = npt.NDArray[np.floating[Any]]


class TargetFunction(Protocol):
    """A differentiable function of the logits: the score y that is explained."""

    def score(self, logits: Logits) -> npt.NDArray[np.floating[Any]]:
        """y, (...), of logits (..., K)."""
        ...

    def gradient(self, logits: Float32) -> Float32:
        """∂y/∂logits, (K,) float32, at logits (K,)."""
        ...

    def terms(self, logits: Float32) -> float:
        """The size of what cancels in :meth:`gradient`, Σ_k |term · logit|; 0 if nothing does.

        See :attr:`cnnviz.engines.base.GradientResult.terms`.
        """
        ...

    def score_rounding(self, logits: Float32, bounds: Float64) -> float:
        """How far y may be off if logits (K,) are off by up to ``bounds`` (K,)."""
        ...

    def output(self, logits: Logits, activation: Activation) -> Float64:
        """What the network says of it, (...): a class's probability where there is one, or y."""
        ...

    def output_rounding(self, logits: Logits, bounds: Float64, activation: Activation) -> Float64:
        """How far :meth:`output` may be off if logits (..., K) are off by ``bounds`` (K,)."""
        ...


@dataclass(frozen=True)
class ClassLogit:
    """One class's logit.

    Attributes:
        index: the class.
    """

    index: int

    def score(self, logits: Logits) -> npt.NDArray[np.floating[Any]]:
        """The logit."""
        found: npt.NDArray[np.floating[Any]] = logits[..., self.index]
        return found

    def gradient(self, logits: Float32) -> Float32:
        """1 for the class, 0 for the others."""
        gradient = np.zeros_like(logits)
        gradient[self.index] = 1
        return gradient

    def terms(self, _logits: Float32) -> float:
        """Nothing cancels."""
        return 0.0

    def score_rounding(self, _logits: Float32, bounds: Float64) -> float:
        """As far as the logit."""
        return float(bounds[self.index])

    def output(self, logits: Logits, activation: Activation) -> Float64:
        """The class's probability, or the number that the network gives."""
        return activation.outputs(logits)[..., self.index]

    def output_rounding(self, logits: Logits, bounds: Float64, activation: Activation) -> Float64:
        """How far the probability goes when this logit moves against all others."""
        toward = bounds.copy()
        toward[self.index] *= -1
        here = self.output(logits, activation)
        off = (self.output(logits + way, activation) - here for way in (toward, -toward))
        # A probability near 1 is known no better than float64 has it.
        found: Float64 = np.maximum(*map(np.abs, off)) + 4 * _EPSILON * np.abs(here)
        return found


@dataclass(frozen=True, eq=False)
class CosineSimilarity:
    """The cosine between an image's logits and those of another image, its embedding.

    y = e · r / (|e| |r|), with e the image's logits and r the other's; 0 where e is zero.

    Attributes:
        reference: r, (K,), not zero; K is at least 2, for a cosine of single numbers is a sign.
        name: what the other image is called.
        sha256: of its file, if it is from one.
        file_part: what stands for it in names of files.
    """

    reference: Float32
    name: str = "another image"
    sha256: str | None = None
    file_part: str = "similarity"

    def __post_init__(self) -> None:
        """Refuse what has no direction.

        Raises:
            UsageError: it is zero, not finite, or a single number.
        """
        if np.asarray(self.reference).size < 2:
            raise UsageError(SINGLE_NUMBER)
        if not np.isfinite(self.reference).all() or not np.any(self.reference):
            raise UsageError(
                f"The network outputs nothing for {self.name} that another image can be compared "
                "with: all numbers are zero, or some are not finite."
            )

    @cached_property
    def _direction(self) -> Float64:
        reference = self.reference.astype(np.float64)
        direction: Float64 = reference / np.linalg.norm(reference)
        return direction

    def score(self, logits: Logits) -> Float64:
        """The cosine, from -1 to 1."""
        embeddings = logits.astype(np.float64)
        lengths = np.linalg.norm(embeddings, axis=-1)
        cosines: Float64 = np.clip(
            embeddings @ self._direction / np.where(lengths > 0, lengths, 1), -1, 1
        )
        return cosines

    def gradient(self, logits: Float32) -> Float32:
        """(r/|r| - y · e/|e|) / |e|, which is at right angles to e; 0 where e is zero."""
        aligned, turned = self._parts(logits)
        return (aligned - turned).astype(np.float32)

    def terms(self, logits: Float32) -> float:
        """Those of the two parts of the gradient, which cancel where the images are alike."""
        return max(float(np.abs(part * logits).sum()) for part in self._parts(logits))

    def score_rounding(self, logits: Float32, bounds: Float64) -> float:
        """To first order, Σ_k |∂y/∂e_k| · bound_k."""
        return float(self._off(logits, bounds))

    def output(self, logits: Logits, _activation: Activation) -> Float64:
        """The cosine: no activation makes anything else of it."""
        return self.score(logits)

    def output_rounding(self, logits: Logits, bounds: Float64, _activation: Activation) -> Float64:
        """As far as the score."""
        rows = logits.reshape(-1, logits.shape[-1])
        found = np.array([self._off(row, bounds) for row in rows]).reshape(logits.shape[:-1])
        return found + 4 * _EPSILON

    def _parts(self, logits: Logits) -> tuple[Float64, Float64]:
        embedding = logits.astype(np.float64)
        length = float(np.linalg.norm(embedding))
        if length == 0:
            return np.zeros_like(embedding), np.zeros_like(embedding)
        cosine = float(self.score(logits))
        return self._direction / length, cosine * embedding / length**2

    def _off(self, logits: Logits, bounds: Float64) -> float:
        aligned, turned = self._parts(logits)
        return float(np.abs(aligned - turned) @ bounds)


def as_target_function(target: int | TargetFunction) -> TargetFunction:
    """The same, with the logit of a class that is given by its index."""
    return ClassLogit(int(target)) if isinstance(target, (int, np.integer)) else target


def seeds(targets: Sequence[TargetFunction | None], logits: Float32) -> tuple[Float32, Float32]:
    """Where gradients of each image's target begin.

    Args:
        targets: one an image; None for an image without, whose gradients are 0.
        logits: (N, K).

    Returns:
        ∂y/∂logits, (N, K) float32, and the terms that canceled in it, (N,) float32.
    """
    gradients = np.zeros_like(logits)
    terms = np.zeros(len(logits), np.float32)
    for place, target in enumerate(targets):
        if target is not None:
            gradients[place] = target.gradient(logits[place])
            terms[place] = target.terms(logits[place])
    return gradients, terms
