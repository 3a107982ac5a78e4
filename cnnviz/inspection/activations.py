"""The most active channels of a layer for one image, and where they are active.

Channels are ranked by the mean of their positive part, mean(max(0, A)), over all positions, or by
their highest value. Negative values, which a ReLU would cut off, are shown as zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cnnviz.errors import ExplanationError, UsageError
from cnnviz.explainer import Explainer
from cnnviz.graph.architecture import Layer
from cnnviz.images.preprocessing import Canvas, Prepared, to_image
from cnnviz.rendering import grids
from cnnviz.rendering.colormaps import color_scale
from cnnviz.rendering.maps import normalize_by_max, render_heatmap
from cnnviz.rendering.style import Style
from cnnviz.text import joined
from cnnviz.types import Float32, RgbImage

Ranking = Literal["mean", "max"]

RANKINGS: tuple[Ranking, ...] = ("mean", "max")
"""How channels are ranked: by the mean of their positive part, or by their highest value."""

TOP = 16
"""Channels shown of a layer."""

LARGEST_SHEET = 250_000_000
"""Pixels of all images of a grid together, at most; drawing them takes 12 bytes each."""


@dataclass(frozen=True)
class Channel:
    """One channel of a layer's output for one image.

    Attributes:
        index: which.
        mean: of its positive part, mean(max(0, A)).
        highest: its highest value.
        values: (h, w) float32, A as the layer outputs it.
    """

    index: int
    mean: float
    highest: float
    values: Float32


@dataclass(frozen=True)
class TopChannels:
    """The most active channels of a layer for one image, in order.

    Attributes:
        layer: the layer.
        by: how they are ranked.
        channels: the channels.
    """

    layer: Layer
    by: Ranking
    channels: tuple[Channel, ...]

    @property
    def blank(self) -> bool:
        """Whether no channel is anywhere above zero."""
        return all(channel.highest <= 0 for channel in self.channels)

    @property
    def indices(self) -> list[int]:
        """Which channels these are."""
        return [channel.index for channel in self.channels]

    def record(self) -> list[dict[str, Any]]:
        """The channels, as JSON can hold them."""
        return [
            {"index": channel.index, "mean": channel.mean, "max": channel.highest}
            for channel in self.channels
        ]

    def render(self, canvas: Canvas, style: Style, network: str, image: str) -> RgbImage:
        """The image and then the channels as a grid, with a scale of their colors.

        All channels are on one scale, from zero to the highest value among them, and lie in the
        image's own geometry.

        Args:
            canvas: the image to draw on.
            style: color map, overlay and its strength.
            network: what the network is called.
            image: what the image is called.

        Returns:
            uint8 (H, W, 3), RGB.

        Raises:
            ExplanationError: the grid would be larger than :data:`LARGEST_SHEET`.
        """
        height, width = canvas.shape
        if (len(self.channels) + 1) * height * width > LARGEST_SHEET:
            raise ExplanationError(
                f"{len(self.channels) + 1} images of {width}x{height} pixels are too much for "
                "one sheet; choose a smaller --size, or a smaller --top"
            )
        highest = max(0.0, *(channel.highest for channel in self.channels))
        cells, captions = [canvas.image], [image]
        visible = np.ones(canvas.shape, np.bool_)
        for channel in self.channels:
            positive = np.maximum(channel.values, 0)
            upsampled, visible = to_image(positive, canvas.geometry, canvas.shape)
            heatmap, _ = normalize_by_max(upsampled, highest)
            cells.append(render_heatmap(canvas.image, heatmap, style, visible))
            captions.append(
                f"channel {channel.index}: mean {channel.mean:.3g}, max {channel.highest:.3g}"
            )
        sheet = grids.grid(cells, captions, self._title(network))
        return grids.with_scale(
            sheet,
            color_scale(style.colormap),
            [f"{highest * part:.3g}" for part in (0, 0.25, 0.5, 0.75, 1)],
            self._legend(style, seen=bool(visible.all())),
            grids.heading_size(sheet.shape),
        )

    def _legend(self, style: Style, *, seen: bool) -> str:
        """What the colors mean."""
        legend = "activation; what is below 0 has the color of 0"
        if style.overlay:
            legend += "; the colors lie over the image"
        if not seen:
            legend += "; gray: what the network was not shown"
        return legend

    def _title(self, network: str) -> str:
        layer = self.layer
        order = {
            "mean": "by mean activation (below 0 counts as 0)",
            "max": "by highest activation (in the mean, below 0 counts as 0)",
        }
        return (
            f"{network}, {layer.name} ({layer.kind}, {layer.shape_title}): the "
            f"{len(self.channels)} strongest of {layer.map_shape[0]} channels, {order[self.by]}"
        )


def rank_channels(
    layer: Layer, activations: Float32, *, top: int = TOP, by: Ranking = "mean"
) -> TopChannels:
    """The most active channels of a layer's output for one image.

    Of channels that are equally active, the lower index comes first.

    Args:
        layer: the layer.
        activations: (C, h, w) float32, the output.
        top: how many; fewer if the layer has fewer.
        by: ``mean`` of the positive part, or ``max``.

    Raises:
        UsageError: there is no such ranking, or ``top`` is below 1.
        ExplanationError: an activation is not finite.
    """
    if by not in RANKINGS:
        raise UsageError(f"Channels are ordered by {joined(RANKINGS)}; got {by!r}.")
    if top < 1:
        raise UsageError(f"At least one channel is shown; got {top}.")
    if not np.isfinite(activations).all():
        raise ExplanationError(
            f"the network gave NaN or infinity in layer {layer.name}; its weights are damaged, or "
            "do not belong to this preprocessing"
        )
    means = np.maximum(activations, 0).mean(axis=(1, 2), dtype=np.float64)
    peaks = activations.max(axis=(1, 2))
    order = np.argsort(-(means if by == "mean" else peaks), kind="stable")[:top]
    return TopChannels(
        layer,
        by,
        tuple(
            Channel(int(index), float(means[index]), float(peaks[index]), activations[index])
            for index in order
        ),
    )


def top_channels(
    explainer: Explainer, prepared: Prepared, *, top: int = TOP, by: Ranking = "mean"
) -> tuple[TopChannels, ...]:
    """The most active channels of each of an explainer's layers, with one forward pass.

    Args:
        explainer: the network and its layers.
        prepared: the image (:meth:`cnnviz.explainer.Explainer.prepare`).
        top: see :func:`rank_channels`.
        by: likewise.

    Raises:
        UsageError: see :func:`rank_channels`.
        ExplanationError: likewise.
        NetworkError: the engine fails (out of memory, say).
    """
    forward = explainer.network.run(prepared.input[None], explainer.layers)
    return tuple(
        rank_channels(layer, forward.activations(layer)[0], top=top, by=by)
        for layer in explainer.layers
    )


def channel_arrays(found: tuple[TopChannels, ...]) -> dict[str, Any]:
    """The raw activations of the channels shown, by name, for a file.

    ``layer`` is the layer's name, ``channels`` (N,) their indices, ``activations`` (N, h, w)
    float32 their values. With several layers ``layer`` holds all names, and the others are
    there once for each, as ``activations@features.28``.
    """
    several = len(found) > 1
    names = [one.layer.name for one in found]
    result: dict[str, Any] = {"layer": np.array(names) if several else np.str_(names[0])}
    for one in found:
        at = f"@{one.layer.name}" if several else ""
        result[f"channels{at}"] = np.array(one.indices)
        result[f"activations{at}"] = np.stack([channel.values for channel in one.channels])
    return result
