"""The images of an explanation: each map, columns of layers, the cells of a panel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from cnnviz.images.preprocessing import Canvas, to_image
from cnnviz.images.resizing import resize_image
from cnnviz.rendering.class_maps import OTHER, class_map, class_palette
from cnnviz.rendering.colormaps import color_scale
from cnnviz.rendering.figures import Cell
from cnnviz.rendering.grids import strip, with_legend, with_scale
from cnnviz.rendering.maps import (
    SCALED,
    Upsample,
    colorize,
    diverging,
    grayscale,
    normalize_by_max,
    render_heatmap,
    scale_limit,
    signed_color,
)
from cnnviz.rendering.style import SCREEN_WIDTH, Style
from cnnviz.text import format_number
from cnnviz.types import Float32, MapKind, Mask, RgbImage

#: Images beside each other in a figure.
_MOST_IN_ROW = 4


@dataclass(frozen=True)
class NamedMap:
    """A map to be rendered, at one layer or at several.

    Attributes:
        key: ``gradcam``, say.
        title: for people, ``Grad-CAM``.
        kind: how it is rendered.
        values: float32, unnormalized: for each of the layers one, or the only one there is.
            (h, w); of kind ``signed`` (C, h, w), of kind ``diverging`` perhaps; ``classes`` holds
            indices.
    """

    key: str
    title: str
    kind: MapKind
    values: tuple[Float32, ...]


@dataclass(frozen=True)
class ExplanationMaps:
    """What is rendered of an explanation: maps and words.

    Attributes:
        maps: in order.
        layers: the name of each target layer, and the shape of its maps.
        target: the name of the class explained, ``volcano (980)``.
        prediction: that name with its probability or value, ``volcano (980) 0.22``.
        class_title: gives the name of a class, by its index.
        probabilities: whether the network gives probabilities, and not numbers of any range.
    """

    maps: tuple[NamedMap, ...]
    layers: tuple[tuple[str, str], ...]
    target: str
    prediction: str
    class_title: Callable[[int], str]
    probabilities: bool = True


@dataclass(frozen=True)
class RenderedExplanation:
    """The images of one explanation.

    Attributes:
        images: uint8 (H, W, 3) or (H, W), by key: ``original``, ``gradcam``, ...
        blank: the keys of those with nothing to show: their map is zero, or the same everywhere.
        columns: by key, the images for each layer that one with several layers consists of.
    """

    images: Mapping[str, RgbImage]
    blank: tuple[str, ...]
    columns: Mapping[str, tuple[RgbImage, ...]] = field(default_factory=dict)


def scale_limits(maps: Iterable[NamedMap]) -> dict[str, float]:
    """How far each map's own scale reaches, by key, of those kinds that have one.

    Of several layers the farthest. See :func:`cnnviz.rendering.maps.scale_limit`.
    """
    return {
        one.key: max(scale_limit(one.kind, _as_rendered(one.kind, values)) for values in one.values)
        for one in maps
        if one.kind in SCALED
    }


def render(
    explained: ExplanationMaps,
    base: Canvas,
    style: Style,
    limits: Mapping[str, float] | None = None,
) -> RenderedExplanation:
    """Render the original and every map.

    Args:
        explained: the maps.
        base: the image beneath them.
        style: color map and strength of the overlays, size.
        limits: by key, for scales that are common to several explanations
            (:func:`scale_limits`); a map that is not among them has its own.

    Raises:
        MapError: a map is not finite.
    """
    images = {"original": base.image}
    columns: dict[str, tuple[RgbImage, ...]] = {}
    blank = []
    for one in explained.maps:
        renderer = _Renderer(explained, one.kind, base, style, (limits or {}).get(one.key))
        shown, blanks = zip(*map(renderer.render, one.values), strict=True)
        if len(shown) > 1:
            columns[one.key] = shown
            images[one.key] = _strip(shown, explained.layers, style)
        else:
            (images[one.key],) = shown
        if all(blanks):
            blank.append(one.key)
    return RenderedExplanation(images, tuple(blank), columns)


def panel_cells(explained: ExplanationMaps, rendered: RenderedExplanation) -> list[list[Cell]]:
    """What a figure shows of an explanation, in rows: see :func:`cnnviz.rendering.figures.panel`.

    The original, under the target's name, and the maps stand in one row; with several layers,
    maps that differ from layer to layer have rows of their own.
    """
    plain = [[Cell(rendered.images["original"], explained.prediction)]]
    layered = []
    for one in explained.maps:
        if one.key in rendered.columns:
            captions = [f"{one.title}, {layer}" for layer, _ in explained.layers]
            layered.append(list(map(Cell, rendered.columns[one.key], captions)))
            continue
        if len(plain[-1]) == _MOST_IN_ROW:
            plain.append([])
        plain[-1].append(Cell(rendered.images[one.key], one.title))
    return plain + layered


@dataclass(frozen=True)
class _Renderer:
    """Renders maps of one kind."""

    explained: ExplanationMaps
    kind: MapKind
    base: Canvas
    style: Style
    vmax: float | None

    def render(self, values: Float32) -> tuple[RgbImage, bool]:
        """One map's image, and whether it is blank."""

        def upsample(small: Float32) -> Float32:
            return to_image(small, self.base.geometry, self.base.shape)[0]

        values = _as_rendered(self.kind, values)
        if self.kind == "magnitude":
            return grayscale(values, upsample, self.vmax)
        if self.kind == "signed":
            return signed_color(values, upsample, self.vmax)
        upsampled, visible = to_image(values, self.base.geometry, self.base.shape)
        if self.kind == "diverging":
            return diverging(values, upsample, self.vmax, visible)
        if self.kind == "classes":
            return self._classes(values, upsample, visible), False
        if self.kind == "probability":
            return self._outputs(values, upsampled, visible), False
        heatmap, blank = normalize_by_max(upsampled, self.vmax)
        return render_heatmap(self.base.image, heatmap, self.style, visible), blank

    def _outputs(self, values: Float32, upsampled: Float32, visible: Mask) -> RgbImage:
        """A map of what the network says of the target, with a scale below it.

        Mixed with an image its colors would not be those of the scale.
        """
        low, high, ticks = 0.0, 1.0, ["0", "0.25", "0.5", "0.75", "1"]
        if not self.explained.probabilities:
            low, high = float(values.min()), float(values.max())
            high = high if high > low else low + 1
            ticks = [format_number(low), format_number(high)]
        part = (upsampled - low) / np.float32(high - low)
        colors = self.style.colormap
        shown = colorize(normalize_by_max(part, 1.0)[0], colors, visible)
        what = "probability" if self.explained.probabilities else "value"
        title = f"{what} of {self.explained.target}"
        return with_scale(shown, color_scale(colors), ticks, title)

    def _classes(self, values: Float32, upsample: Upsample, visible: Mask) -> RgbImage:
        """A map of classes, and below it which color is which, and how many cells each has."""
        classes = values.astype(np.int64)
        palette = class_palette(classes)
        entries = [
            (color, f"{self.explained.class_title(index)}: {np.count_nonzero(classes == index)}")
            for index, color in palette.items()
        ]
        others = np.count_nonzero(~np.isin(classes, list(palette)))
        if others:
            entries.append((OTHER, f"other classes: {others}"))
        image = class_map(classes, palette, upsample, visible)
        return with_legend(image, entries, "the highest class, and the number of its cells")


def _as_rendered(kind: MapKind, values: Float32) -> Float32:
    """A map in the shape in which it is rendered."""
    if kind == "signed":  # (C, H, W) to (H, W, C), or (H, W) of a gray input
        return values[0] if len(values) == 1 else np.moveaxis(values, 0, 2)
    if kind == "diverging" and values.ndim == 3:
        return np.asarray(values.sum(axis=0), np.float32)
    return values


def _strip(
    cells: tuple[RgbImage, ...], layers: tuple[tuple[str, str], ...], style: Style
) -> RgbImage:
    """One column for each layer.

    Where no size was asked for, the columns are made narrower until the whole fits a screen.
    """
    height, width = cells[0].shape[:2]
    wanted = SCREEN_WIDTH // len(cells)
    if style.size == "default" and width > wanted:
        shape = (max(1, round(height * wanted / width)), wanted)
        cells = tuple(resize_image(cell, shape) for cell in cells)
    return strip(cells, [f"{name}  {shape}" for name, shape in layers])
