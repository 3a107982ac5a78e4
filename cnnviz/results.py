"""What :func:`cnnviz.explain` returns: explanations with their images, for notebooks and files."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from cnnviz.explanation import Contrast, Explanation, describe
from cnnviz.images.preprocessing import Canvas
from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import ImageFormat, check_format, encode_image, encode_npz
from cnnviz.outputs.naming import OutputStem
from cnnviz.rendering import figures
from cnnviz.rendering.explanation_images import RenderedExplanation
from cnnviz.rendering.style import SCREEN_WIDTH, Style
from cnnviz.types import RgbImage

#: Explanations of a list that a notebook shows; more would make it slow.
_MOST_SHOWN = 20


@dataclass(frozen=True, repr=False, kw_only=True)
class ImageExplanation(Explanation):
    """An explanation with its image. A notebook shows it as a figure.

    Attributes:
        name: of the image.
        stem: what the names of its files begin with, sub-folder and all; its name if there is none.
        canvas: the image that maps are rendered on.
        style: how they are.
        contrasts: the pairs of classes that were contrasted in this image.
        numbered: whether the class index stands in the files' names.
    """

    name: str
    canvas: Canvas
    stem: str | None = None
    style: Style = field(default_factory=Style)
    contrasts: tuple[Contrast, ...] = ()
    numbered: bool = False

    @classmethod
    def of(cls, explanation: Explanation, **image: Any) -> ImageExplanation:
        """An explanation, with the image that it is of: the attributes above."""
        own = {each.name: getattr(explanation, each.name) for each in fields(Explanation)}
        return cls(**own, **image)

    def __repr__(self) -> str:
        return f"<Explanation of {self.name}: {self.explained.prediction}>"

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

    @cached_property
    def contrast_images(self) -> Mapping[tuple[int, int], RgbImage]:
        """A figure for each of the contrasts, uint8 (H, W, 3), by the indices of its classes."""
        return {(one.a, one.b): one.render(self.canvas, self.style) for one in self.contrasts}

    def save(
        self,
        folder: str | os.PathLike[str],
        name: str | None = None,
        *,
        format: ImageFormat = "png",
        arrays: bool = False,
    ) -> dict[str, Path]:
        """Write the images, as the command does: ``cat_gradcam.png`` and so on.

        Args:
            folder: where to; it is made.
            name: what the files' names begin with; by default the image's own, as the command
                names its files: images of one name from several folders have different ones.
            format: ``png``; or ``jpg`` or ``webp``, which lose something: see ``--format``.
            arrays: whether to write the raw arrays beside them.

        Returns:
            The files, by key; those of contrasts as ``contrast_281-282``.

        Raises:
            UsageError: there is no such format.
            OutputError: a file cannot be written.
            OutputUnavailableError: nothing more can be written.
        """
        check_format(format)
        output = OutputFolder(folder)
        own_stem = self.name if self.stem is None else self.stem
        stem = OutputStem(PurePosixPath(own_stem if name is None else name))
        number = self.file_part if self.numbered and name is None else None
        files = {}
        for key, image in self.images.items():
            own = None if key == "original" else number  # the targets share it
            file = stem.file(f"_{key}.{format}", own)
            files[key] = output.write(file, encode_image(image, format, describe(key, self)))
        if arrays:
            file = stem.file(".npz", number)
            files["arrays"] = output.write(
                file, encode_npz(self.arrays(), describe("arrays", self))
            )
        for contrast in self.contrasts:
            ends = contrast.a, contrast.b
            file = stem.file(f"_contrast.{format}", ends)
            key = f"contrast_{contrast.a}-{contrast.b}"
            image = self.contrast_images[ends]
            files[key] = output.write(file, encode_image(image, format, contrast.describe()))
        return files

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return _png(self.panel)


class Explanations(list[ImageExplanation]):
    """A list of explanations that a notebook shows: their figures, one below the other."""

    def _repr_html_(self) -> str:
        figures = []
        for place, one in enumerate(self[:_MOST_SHOWN]):
            figures.append(_figure(repr(one)[1:-1], one.panel))
            following = self[place + 1].contrasts if place + 1 < len(self) else ()
            if one.contrasts is not following:  # the last of its image
                figures += [
                    _figure(_versus(each), image)
                    for each, image in zip(one.contrasts, one.contrast_images.values(), strict=True)
                ]
        more = len(self) - _MOST_SHOWN
        return "".join(figures) + (f"<p>... and {more} more</p>" if more > 0 else "")

    def _repr_png_(self) -> bytes | None:
        """The figure, if there is one alone."""
        return self[0]._repr_png_() if len(self) == 1 else None


def _versus(contrast: Contrast) -> str:
    a, b = contrast.scores
    return f"{a.short_title} rather than {b.short_title}"


def _figure(caption: str, image: RgbImage) -> str:
    """An image as HTML that needs no file."""
    data = base64.b64encode(_png(image)).decode("ascii")
    text = html.escape(caption)
    return (
        f'<figure style="margin: 0 0 1em"><figcaption>{text}</figcaption>'
        f'<img style="max-width: 100%" alt="{text}" src="data:image/png;base64,{data}"></figure>'
    )


def _png(image: RgbImage) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
