"""What :func:`cnnviz.explain` returns: explanations with their images, for notebooks and files."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePath

from PIL import Image

from cnnviz.explanation import Explanation, describe
from cnnviz.images.preprocessing import Canvas
from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import encode_npz, encode_png
from cnnviz.rendering import figures
from cnnviz.rendering.explanation_images import RenderedExplanation
from cnnviz.rendering.style import SCREEN_WIDTH, Style
from cnnviz.types import RgbImage


@dataclass(frozen=True, repr=False, kw_only=True)
class ImageExplanation(Explanation):
    """An explanation with its image. A notebook shows it as a figure.

    Attributes:
        name: of the image; files are called after it.
        canvas: the image that maps are rendered on.
        style: how they are.
    """

    name: str
    canvas: Canvas
    style: Style = field(default_factory=Style)

    @classmethod
    def of(
        cls, explanation: Explanation, name: str, canvas: Canvas, style: Style
    ) -> ImageExplanation:
        """An explanation, with the image that it is of."""
        own = {each.name: getattr(explanation, each.name) for each in fields(Explanation)}
        return cls(**own, name=name, canvas=canvas, style=style)

    def __repr__(self) -> str:
        return f"<Explanation of {self.name}: {self.score(self.target).prediction}>"

    @cached_property
    def rendered(self) -> RenderedExplanation:
        """The images, and which of them are blank."""
        return self.render(self.canvas, self.style)

    @property
    def images(self) -> Mapping[str, RgbImage]:
        """The original and the maps: uint8 (H, W, 3) or (H, W), by their keys."""
        return self.rendered.images

    @property
    def panel(self) -> RgbImage:
        """All of them in one figure, uint8 (H, W, 3)."""
        return figures.panel("", self.panel_cells(self.rendered), SCREEN_WIDTH)

    def save(
        self, folder: str | os.PathLike[str], name: str | None = None, *, arrays: bool = False
    ) -> dict[str, Path]:
        """Write the images as PNG, as the command does: ``cat_gradcam.png`` and so on.

        Args:
            folder: where to; it is made.
            name: what the files' names begin with; the image's own by default.
            arrays: whether to write the raw arrays beside them.

        Returns:
            The files, by key.

        Raises:
            OutputError: a file cannot be written.
            OutputUnavailableError: nothing more can be written.
        """
        output = OutputFolder(folder)
        stem = self.name if name is None else name
        files = {
            key: output.write(PurePath(f"{stem}_{key}.png"), encode_png(image, describe(key, self)))
            for key, image in self.images.items()
        }
        if arrays:
            told = describe("arrays", self)
            files["arrays"] = output.write(PurePath(f"{stem}.npz"), encode_npz(self.arrays(), told))
        return files

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        buffer = io.BytesIO()
        Image.fromarray(self.panel).save(buffer, "PNG")
        return buffer.getvalue()
