"""Where an MXNet operator stands, and its attributes, which are text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnnviz.engines.mxnet.symbol import is_true, limits, numbers
from cnnviz.graph.operators import Pads, Pair
from cnnviz.types import Shape


class NotTypedError(Exception):
    """An operator has no typed form with these attributes."""


@dataclass(frozen=True)
class Attributes:
    """The attributes of one node, which MXNet writes as text."""

    text: Mapping[str, str]

    def flag(self, name: str, default: bool = False) -> bool:
        """``True`` and ``1`` are."""
        return is_true(self.text, name, default=default)

    def number(self, name: str, default: float) -> float:
        """A number; None is none."""
        text = self.text.get(name)
        return default if text in (None, "None") else float(str(text))

    def whole(self, name: str, default: int = 1) -> int:
        """A whole number."""
        return int(self.text.get(name, default))

    def several(self, name: str) -> tuple[int, ...]:
        """Whole numbers, ``(3, 3)`` or ``3``; empty if they are not given."""
        return numbers(self.text, name)

    def limits(self, name: str) -> tuple[int | None, ...]:
        """Whole numbers of which some may be missing, ``(0, None)``."""
        return limits(self.text, name)

    def pair(self, name: str, default: int) -> Pair:
        """Two whole numbers: of what goes over height and width."""
        values = self.several(name) or (default, default)
        if len(values) != 2:
            raise NotTypedError
        return values[0], values[1]

    def pads(self) -> Pads:
        """Of both sides, as MXNet pads."""
        pair = self.pair("pad", 0)
        return (*pair, *pair)


@dataclass(frozen=True)
class Place:
    """A node where it stands: its attributes, and the shapes around it, without the batch.

    A parameter's shape is whole. ``constant`` says which inputs are parameters, or made of some.
    """

    attributes: Attributes
    inputs: Sequence[Shape]
    output: Shape
    constant: Sequence[bool]

    def check_image(self) -> None:
        """Make sure that this goes over (C, h, w)."""
        plain = self.attributes.text.get("layout", "None") in ("None", "NCHW")
        if not plain or len(self.inputs[0]) != 3:
            raise NotTypedError
