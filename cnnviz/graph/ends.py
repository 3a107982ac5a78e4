"""How a network's logits follow from what it outputs, and what makes probabilities of them.

NumPy is imported by what computes: a network is described without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cnnviz.errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from cnnviz.types import Float32, Float64

#: What ``--activation`` takes.
ACTIVATIONS = ("softmax", "sigmoid", "none")


@dataclass(frozen=True)
class Activation:
    """What a network does to its logits in the end.

    Attributes:
        steps: ``softmax`` over the classes or ``sigmoid`` of each logit by itself, in the order in
            which they are taken: one as a rule; two softmaxes in a row do occur. None at all in a
            network whose outputs are numbers of any range (regression).
    """

    steps: tuple[str, ...] = ("softmax",)

    @classmethod
    def named(cls, name: str) -> Activation:
        """That of the name, one of :data:`ACTIVATIONS`.

        Raises:
            UsageError: there is none of this name.
        """
        if name not in ACTIVATIONS:
            raise UsageError(f"There is no activation '{name}': use {', '.join(ACTIVATIONS)}.")
        return cls(() if name == "none" else (name,))

    @property
    def name(self) -> str:
        """``softmax``, ``sigmoid``, ``none`` or, of several steps, ``softmax of softmax``."""
        return " of ".join(reversed(self.steps)) or "none"

    @property
    def is_probability(self) -> bool:
        """Whether it makes probabilities."""
        return bool(self.steps)

    def outputs(self, logits: npt.NDArray[Any]) -> Float64:
        """What the network says of each class: its probability, or the number itself.

        Args:
            logits: (..., K).

        Returns:
            Of the same shape, float64.
        """
        import numpy as np

        values = logits.astype(np.float64)
        for step in self.steps:
            values = _softmax(values) if step == "softmax" else _sigmoid(values)
        return values

    def log_probabilities(self, logits: npt.NDArray[Any]) -> Float64:
        """The natural logarithm of :meth:`outputs`, exact where these round to 0.

        Args:
            logits: (..., K).
        """
        import numpy as np

        values = logits.astype(np.float64)
        if self.steps == ("softmax",):
            # log Σ exp, with the highest taken out so that nothing overflows.
            highest = values.max(axis=-1, keepdims=True)
            shared = highest + np.log(np.exp(values - highest).sum(axis=-1, keepdims=True))
            found: Float64 = values - shared
            return found
        if self.steps == ("sigmoid",):
            return -np.logaddexp(0, -values)
        with np.errstate(divide="ignore"):
            return np.log(self.outputs(logits))

    def slope(self, output: float) -> float:
        """How fast an output changes with its own logit, ∂p/∂y, at most."""
        return output * (1 - output) if self.steps else 1.0


SOFTMAX = Activation()

_LEAST = 1e-37  # of which the logarithm is still finite, in float32


def _softmax(values: Float64) -> Float64:
    import numpy as np

    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    probabilities: Float64 = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _sigmoid(values: Float64) -> Float64:
    import numpy as np

    small = np.exp(-np.abs(values))  # which cannot overflow
    probabilities: Float64 = np.where(values >= 0, 1, small) / (1 + small)
    return probabilities


@dataclass(frozen=True)
class End:
    """How the logits follow from what a graph outputs, and what follows from them.

    Attributes:
        activation: what makes probabilities of the logits.
        factors: what the graph's output is multiplied by. One number for all of it; or one for
            each of two classes, if the graph has one output and it says yes or no: the logit of the
            one class is minus that of the other.
        logarithm: whether the graph's output is a distribution, whose logarithm is taken.
        binary: whether the network itself has one output only, a yes or no. Class 0 is no.
        remark: a sentence about what was recognized, or assumed, where that is worth saying.
    """

    activation: Activation = SOFTMAX
    factors: tuple[float, ...] = (1.0,)
    logarithm: bool = False
    binary: bool = False
    remark: str | None = None

    def settled(self, outputs: int, wanted: str | None) -> End:
        """This end as the user would have it, with two classes for a yes or no.

        Args:
            outputs: how many numbers the graph outputs.
            wanted: one of :data:`ACTIVATIONS`, which then holds whatever the graph says; or None.

        Raises:
            UsageError: ``wanted`` does not go with the number of outputs.
        """
        end = self
        if wanted is not None:
            end = replace(end, activation=Activation.named(wanted), remark=None)
            if outputs == 1 and wanted == "softmax":
                raise UsageError(
                    "The network has one output, of which a softmax is always 1: its activation is "
                    "sigmoid (yes or no) or none (a number)."
                )
        if outputs == 1 and end.activation.steps == ("sigmoid",):
            (factor,) = end.factors
            end = replace(end, factors=(-factor, factor), binary=True)
        return end

    @property
    def multi_label(self) -> bool:
        """Whether an image may belong to several classes, or none: a sigmoid of each logit."""
        return self.activation.steps == ("sigmoid",) and not self.binary

    def classes(self, outputs: int) -> int:
        """The number of logits, for this number of outputs."""
        return max(outputs, len(self.factors))

    def logits(self, rows: Float32) -> Float32:
        """(N, K), of the (N, outputs) that the graph outputs."""
        import numpy as np

        if self.logarithm:
            rows = np.log(np.maximum(rows, _LEAST))
        return rows if self.factors == (1.0,) else rows * np.array(self.factors, np.float32)

    def seed(self, gradients: Float32, rows: Float32) -> Float32:
        """A gradient at the logits, (N, K), as one at what the graph outputs, (N, outputs).

        ``rows`` are what it outputs, (N, outputs).
        """
        import numpy as np

        seed = gradients
        if self.factors != (1.0,):
            seed = gradients * np.array(self.factors, np.float32)
        if len(self.factors) > 1:
            seed = seed.sum(axis=1, keepdims=True)
        return seed / np.maximum(rows, _LEAST) if self.logarithm else seed

    def names(self, labels: Sequence[str], classes: int, network: str) -> tuple[str, ...]:
        """The classes' names.

        Args:
            labels: those given; of a network that says yes or no also one, that of yes.
            classes: how many there are.
            network: what it is called in the error.

        Raises:
            UsageError: there are more or fewer names than classes.
        """
        if self.binary and not labels:
            return "negative", "positive"
        if self.binary and len(labels) == 1:
            return f"not {labels[0]}", labels[0]
        if labels and len(labels) != classes:
            raise UsageError(
                f"{len(labels)} class names were given, but {network} has {classes} "
                f"class{'es' if classes > 1 else ''}."
            )
        return tuple(labels)


#: What is assumed of a single output that nothing squashes.
ONE_OUTPUT = (
    "The network has one output, which is taken as the logit of a yes or no; --activation none "
    "takes it as a number."
)


def bare_end(outputs: int, wanted: str | None = None) -> End:
    """The end of a network that is known to output its logits; see :meth:`End.settled`."""
    end = End(Activation(("sigmoid",)), remark=ONE_OUTPUT) if outputs == 1 else End()
    return end.settled(outputs, wanted)
