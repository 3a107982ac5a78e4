"""How maps become images: what a user may choose, with its defaults.

Importing this is cheap: it takes neither NumPy nor OpenCV before a value is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cnnviz.images.preprocessing import ImageSize
    from cnnviz.types import Float32, RgbImage

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


@dataclass(frozen=True)
class Style:
    """How maps become images.

    Attributes:
        size: of the images, see :func:`cnnviz.images.preprocessing.output_shape`.
        colormap: of the overlays, one of :data:`COLORMAPS`.
        alpha: strength of the overlays, from 0 (image) to 1 (colors).
        overlay: whether heatmaps lie over the image; else their colors stand alone.
    """

    size: ImageSize = "default"
    colormap: str = COLORMAPS[0]
    alpha: float = 0.4
    overlay: bool = True

    def __post_init__(self) -> None:
        """Refuse what could only fail later, at every image."""
        from cnnviz.images.preprocessing import output_shape
        from cnnviz.rendering.render import check_overlay

        output_shape((1, 1), self.size)
        check_overlay(self.colormap, self.alpha)

    @property
    def widest(self) -> int | None:
        """Pixels across a figure: a screen's, unless a size was asked for."""
        from cnnviz.rendering.figures import WIDEST

        return WIDEST if self.size == "default" else None

    def paint(
        self, image: RgbImage, heat: Float32, seen: npt.NDArray[np.bool_] | None = None
    ) -> RgbImage:
        """A heatmap, from 0 to 1, over its image or alone; see :func:`render.heat_color`."""
        from cnnviz.rendering.render import heat_color

        return heat_color(image, heat, self.colormap, self.alpha, seen, overlay=self.overlay)
