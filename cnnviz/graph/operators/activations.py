"""Functions of each value by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from cnnviz.graph.operators.base import Operator


class Activation(Operator):
    """A function of each value by itself, such as stands behind a layer."""


@dataclass(frozen=True)
class ReLU(Activation):
    """min(max(x, 0), upper); ReLU6 is the one with 6.

    Attributes:
        upper: what values are cut at.
        standalone: whether it is an activation of its own, for ReLU rules to act on, and not a part
            of another that is written down in several operators (the gate of a hard swish).
    """

    upper: float = math.inf
    standalone: bool = True

    @property
    def kind(self) -> str:
        """``ReLU``, ``ReLU6``."""
        return "ReLU" if math.isinf(self.upper) else f"ReLU{self.upper:g}"


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """x above 0, slope · x below."""

    slope: float = 0.01


@dataclass(frozen=True)
class ELU(Activation):
    """x above 0, alpha · (exp x - 1) below."""

    alpha: float = 1.0


class SELU(Activation):
    """λ x above 0, λ α (exp x - 1) below (Klambauer et al. 2017)."""


@dataclass(frozen=True)
class GELU(Activation):
    """x · Φ(x), with the normal distribution's Φ (Hendrycks & Gimpel 2016).

    Attributes:
        approximate: whether Φ is (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2.
    """

    approximate: bool = False


class SiLU(Activation):
    """x / (1 + exp -x), also called swish (Ramachandran et al. 2017)."""


@dataclass(frozen=True)
class Clip(Activation):
    """min(max(x, lower), upper); what begins at 0 and is an activation is a :class:`ReLU`."""

    lower: float = -math.inf
    upper: float = math.inf


class PReLU(Activation):
    """x above 0, below it a learned slope times x: one for each channel, or one for all."""

    inputs: ClassVar[tuple[str, ...]] = ("data", "slope")


class Sigmoid(Activation):
    """1 / (1 + exp -x)."""


@dataclass(frozen=True)
class HardSigmoid(Activation):
    """min(max(slope · x + offset, 0), 1)."""

    slope: float = 0.2
    offset: float = 0.5


class HardSwish(Activation):
    """x · min(max(x + 3, 0), 6) / 6 (Howard et al. 2019)."""


class Mish(Activation):
    """x · tanh(log(1 + exp x)) (Misra 2019)."""


class Tanh(Activation):
    """The hyperbolic tangent."""


class Softsign(Activation):
    """x / (1 + |x|)."""


class Softplus(Activation):
    """log(1 + exp x)."""

    NAME: ClassVar[str] = "Softrelu"
