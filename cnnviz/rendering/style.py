"""How maps become images: what a user may choose, with its defaults.

Importing this is cheap: it takes neither NumPy nor OpenCV before a value is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

from cnnviz.errors import UsageError

if TYPE_CHECKING:
    from cnnviz.images.preprocessing import ImageSize

COLORMAPS = (
    "jet",
    "turbo",
    "viridis",
    "inferno",
    "magma",
    "plasma",
    "cividis",
    "parula",
    "hot",
    "bone",
)
"""Names of the color maps, the default first."""

SIZES = ("default", "full", "model")
"""Sizes of images that have names; others are numbers of pixels."""

SCREEN_WIDTH = 2560
"""Width in pixels of what a screen shows whole: for figures where no size was asked for."""


@dataclass(frozen=True)
class Style:
    """How maps become images.

    Attributes:
        size: of the images, see :func:`cnnviz.images.preprocessing.output_shape`.
        colormap: of the heatmaps, one of :data:`COLORMAPS`.
        alpha: strength of their colors over the image, from 0 (image) to 1 (colors).
        overlay: whether heatmaps lie over the image; else their colors stand alone.
    """

    size: ImageSize = "default"
    colormap: str = COLORMAPS[0]
    alpha: float = 0.4
    overlay: bool = True

    def __post_init__(self) -> None:
        """Refuse what could only fail later, at every image."""
        if self.size not in SIZES:
            from cnnviz.images.preprocessing import output_shape

            output_shape((1, 1), self.size)
        check_colors(self.colormap, self.alpha)

    @property
    def max_width(self) -> int | None:
        """Pixels across a figure: a screen's, unless a size was asked for."""
        return SCREEN_WIDTH if self.size == "default" else None


def check_colors(colormap: str, alpha: float = 1.0) -> None:
    """Refuse colors that nothing can be rendered in.

    Raises:
        UsageError: an unknown color map, or alpha outside [0, 1].
    """
    if not isinstance(alpha, Real) or not 0 <= alpha <= 1:
        raise UsageError(f"alpha lies between 0 (image) and 1 (colors); got {alpha!r}.")
    if colormap not in COLORMAPS:
        raise UsageError(
            f"There is no color map {colormap!r}; choose one of {', '.join(COLORMAPS)}."
        )
