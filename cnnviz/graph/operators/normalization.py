"""Batch norm and its kind, which stand behind a layer, or before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from cnnviz.graph.operators.base import Operator, Trait


class Normalization(Operator):
    """What brings values to a common scale; it stands behind a layer, or before it."""


@dataclass(frozen=True)
class BatchNorm(Normalization):
    """Batch norm by the stored statistics: (x - mean) / sqrt(var + eps) · scale + shift.

    Attributes:
        eps: keeps the root from 0.
        axis: of the channels, in the shape without the batch.
        fixed_scale: whether the scale is taken for 1, whatever is stored.
        learns_shift: whether training changes the shift. It is added in either case, so that two
            operators that differ in this alone compute the same and are equal.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data", "scale", "shift", "mean", "variance")
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels"})

    eps: float = 1e-5
    axis: int = 0
    fixed_scale: bool = False
    learns_shift: bool = field(default=True, compare=False)

    @property
    def learned(self) -> tuple[str, ...]:
        """The names of the inputs that training changes."""
        learned = {"scale": not self.fixed_scale, "shift": self.learns_shift}
        return tuple(name for name, is_learned in learned.items() if is_learned)


@dataclass(frozen=True)
class LocalResponseNorm(Normalization):
    """x / (k + alpha / size · Σ x²)^beta over ``size`` neighboring channels (AlexNet)."""

    NAME: ClassVar[str] = "LRN"

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0


@dataclass(frozen=True)
class InstanceNorm(Normalization):
    """Mean 0 and variance 1 over height and width, then scale and shift for each channel."""

    inputs: ClassVar[tuple[str, ...]] = ("data", "scale", "shift")

    eps: float = 1e-5


@dataclass(frozen=True)
class LayerNorm(Normalization):
    """Mean 0 and variance 1 along axes of the shape without the batch, then scale and shift.

    These have the sizes of the axes, which are in order.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data", "scale", "shift")

    axes: tuple[int, ...] = (-1,)
    eps: float = 1e-5


@dataclass(frozen=True)
class GroupNorm(Normalization):
    """Mean 0 and variance 1 over groups of channels, then scale and shift.

    These are there for each channel, (C,), or, as MXNet has it, for each group, (groups,).
    """

    inputs: ClassVar[tuple[str, ...]] = ("data", "scale", "shift")

    groups: int = 1
    eps: float = 1e-5
