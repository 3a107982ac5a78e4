"""What brings height and width to another size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from cnnviz.graph.operators.base import Operator, Pair, Trait, image_shape
from cnnviz.types import Shape


@dataclass(frozen=True)
class Resize2d(Operator):
    """Height and width interpolated to another size, each by itself; no anti-aliasing.

    Among the h rows that there were, row i of h' lies at (i + 1/2) · h / h' - 1/2
    (``half_pixel``), at i · h / h' (``asymmetric``), or at i · (h - 1) / (h' - 1)
    (``align_corners``; at 0 if there is one). Rows beyond the first and the last are as these.
    That is how ONNX has it; the first and the last of the three are PyTorch's, too.

    Attributes:
        size: (height, width) of the output.
        mode: from the row at this place, the two around it, or four (Keys 1981).
        coordinates: where that is.
        rounding: of a place to a row, in mode ``nearest``: ``floor`` with ``asymmetric`` is
            PyTorch's ``nearest``, ``round_prefer_ceil`` with ``half_pixel`` its ``nearest-exact``.
        cubic: the parameter a of mode ``bicubic``; PyTorch's and ONNX's is -0.75, others' -0.5.
    """

    NAME: ClassVar[str] = "Resize"
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"keeps_channels"})

    size: Pair
    mode: Literal["nearest", "bilinear", "bicubic"] = "nearest"
    coordinates: Literal["half_pixel", "align_corners", "asymmetric"] = "half_pixel"
    rounding: Literal["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"] = "floor"
    cubic: float = -0.75

    def shape(self, *inputs: Shape) -> Shape:
        """(C, *size)."""
        return (image_shape(inputs[0])[0], *self.size)

    def place(self, size: int, axis: int) -> tuple[int, int, int]:
        """Where the rows (axis 0) or columns (axis 1) of the output lie among ``size`` of them.

        Returns:
            Three numbers a, b, c: the i-th lies at (a · i + b) / c.
        """
        wanted = self.size[axis]
        if self.coordinates == "half_pixel":
            return 2 * size, size - wanted, 2 * wanted
        if self.coordinates == "asymmetric":
            return size, 0, wanted
        return size - 1, 0, max(wanted - 1, 1)
