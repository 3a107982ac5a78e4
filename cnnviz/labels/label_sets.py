"""The true classes of an image that may belong to several, or to none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class LabelSet:
    """What is known of an image whose classes do not exclude one another.

    Attributes:
        positive: the classes that it belongs to, in ascending order.
        unknown: classes of which nothing is known, likewise; it belongs to no other one.
    """

    positive: tuple[int, ...]
    unknown: tuple[int, ...] = ()


#: An image's true class, or classes; None where nothing is known.
Truth: TypeAlias = int | LabelSet | None
