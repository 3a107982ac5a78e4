"""A convolution's filters: their weights as colors or as gray slices.

A filter of a layer that reads the image itself is a small color image: it responds to the colors
that it shows. Deeper filters read hundreds of channels; of these the slices with the largest L2
norms, √Σ w², are shown, and of all filters those with the largest norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cnnviz.engines.network import Network
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.architecture import Architecture, Layer
from cnnviz.graph.graph import Graph, Value, shape_text
from cnnviz.graph.operators import Conv2d
from cnnviz.images.input_spec import CHANNEL_ORDERS
from cnnviz.rendering import grids
from cnnviz.rendering.maps import signed_color
from cnnviz.text import joined
from cnnviz.types import Float32, RgbImage

Scale = Literal["layer", "filter"]

SCALES: tuple[Scale, ...] = ("layer", "filter")
"""What has a color scale in common: all filters of a layer, or each filter for itself."""

TOP = 16
"""Filters shown of a layer that does not read the image itself."""

SLICES = 8
"""Slices shown of a filter that reads more channels than can be colors."""

_COLOR_SIDE = 96  # pixels at least that a filter, or a slice, is enlarged to
_SLICE_SIDE = 48
_GAP = 2  # pixels between two slices
_FRAME = 128  # the gray of a line around each, for white ones would be lost on the paper


@dataclass(frozen=True)
class Filter:
    """One filter of a convolution, and the slices of it that are shown.

    Attributes:
        index: which of the layer's filters, so which channel of its output.
        norm: √Σ w² over all of its weights.
        low: its lowest weight.
        high: its highest weight.
        inputs: the channels of the layer's input whose slices are shown, the one with the largest
            norm first; of a filter in color those of red, green and blue.
        slices: (len(inputs), kh, kw) float32, their weights.
    """

    index: int
    norm: float
    low: float
    high: float
    inputs: tuple[int, ...]
    slices: Float32

    @property
    def scale_limit(self) -> float:
        """The largest magnitude of the weights that are shown."""
        return float(np.abs(self.slices).max())


@dataclass(frozen=True)
class Filters:
    """The filters of a convolution that are shown, those with the largest norms first.

    Attributes:
        layer: the convolution.
        shape: of its weights, (O, I / groups, kh, kw).
        first: whether it reads the image itself, so that its channels are the image's.
        shown: the filters.
    """

    layer: Layer
    shape: tuple[int, ...]
    first: bool
    shown: tuple[Filter, ...]

    @property
    def colored(self) -> bool:
        """Whether a filter is shown as one image in color."""
        return self.first and self.shape[1] == 3

    def record(self) -> list[dict[str, Any]]:
        """The filters shown, as JSON can hold them."""
        return [
            {
                "index": one.index,
                "norm": one.norm,
                "min": one.low,
                "max": one.high,
                "inputs": list(one.inputs),
            }
            for one in self.shown
        ]

    def render(self, scale: Scale = "layer", name: str = "network") -> RgbImage:
        """The filters as a grid, enlarged without smoothing, with a scale of their colors.

        Mid-gray is zero. No weight is beyond the scale.

        Args:
            scale: ``layer`` draws all filters up to the largest magnitude among them, so that they
                can be compared; ``filter`` each up to its own, so that the faint ones are seen.
            name: the network's, for the title.

        Returns:
            uint8 (H, W, 3), RGB.

        Raises:
            UsageError: there is no such scale.
        """
        if scale not in SCALES:
            raise UsageError(f"Filters are drawn to the scale of {joined(SCALES)}.")
        full = max(one.scale_limit for one in self.shown)
        own = scale == "filter"
        cells = [self._cell(one, one.scale_limit if own else full) for one in self.shown]
        captions = [self._caption(one, own) for one in self.shown]
        sheet = grids.grid(cells, captions, self._title(name))
        levels = np.linspace(-1, 1, 256, dtype=np.float32)[None]
        grays = np.repeat(signed_color(levels, vmax=1.0)[0][0][:, None], 3, axis=1)
        ends = ["-max", "0", "max"] if own else [f"{0 - full:.3g}", "0", f"{full:.3g}"]
        size = grids.heading_size(sheet.shape)
        return grids.with_scale(sheet, grays, ends, self._legend(own), size)

    def _cell(self, one: Filter, full: float) -> RgbImage:
        """One filter, enlarged."""
        height, width = self.shape[2:]
        if self.colored:
            pixels, _ = signed_color(np.moveaxis(one.slices, 0, 2), vmax=full)
            return _framed(_enlarged(pixels, _COLOR_SIDE))
        pixels, _ = signed_color(one.slices.reshape(-1, width), vmax=full)
        side = _SLICE_SIDE if len(one.slices) > 1 else _COLOR_SIDE
        tiles = [_framed(_enlarged(tile, side)) for tile in pixels.reshape(-1, height, width)]
        gap = np.full((tiles[0].shape[0], _GAP), 255, np.uint8)
        return np.concatenate([part for tile in tiles for part in (gap, tile)][1:], axis=1)

    def _caption(self, one: Filter, own: bool) -> str:
        words = f"{one.index}: norm {one.norm:.3g}"
        if own:
            words += f", max {one.scale_limit:.3g}"
        if self.first and self.shape[1] in (1, 3):  # all of it is shown
            return words
        channels = ", ".join(map(str, one.inputs))
        return f"{words}, {'channel' if len(one.inputs) == 1 else 'channels'} {channels}"

    def _title(self, name: str) -> str:
        filters, channels = self.shape[:2]
        count = (
            f"all {filters}" if len(self.shown) == filters else f"{len(self.shown)} of {filters}"
        )
        title = (
            f"{name}, {self.layer.name}: {count} filters of {shape_text(self.shape[1:])}, the "
            "largest norm first"
        )
        slices = len(self.shown[0].inputs)
        if slices < channels:
            title += f"; of each the {slices} of its {channels} slices with the largest norms"
        return title

    def _legend(self, own: bool) -> str:
        """What the colors mean."""
        end = "; max is a filter's largest weight shown, of either sign" if own else ""
        if self.colored:
            return (
                f"weight of each of red, green and blue: 0 is mid-gray; the filter looks for the "
                f"colors that it shows{end}"
            )
        return f"weight: 0 is mid-gray, above 0 is lighter, below 0 is darker{end}"


def find_convolution(architecture: Architecture, name: str | None = None) -> Layer:
    """The convolution called ``name``, or whose batch norm is called so; by default the first.

    Raises:
        UsageError: there is no such layer, it has no filters, or the network has no convolution.
    """
    nodes = architecture.graph.nodes
    if name is None:
        first = next((layer for layer in architecture.layers if _convolves(layer)), None)
        if first is None:
            raise UsageError("This network has no convolution, so it has no filters to show.")
        return first
    layer = architecture.find(name)
    if _convolves(layer):
        return layer
    by_index = {layer.index: layer for layer in architecture.layers}
    before = by_index.get(nodes[layer.index].inputs[0].node)
    if layer.kind == "BatchNorm" and before is not None and _convolves(before):
        return before
    if layer.kind == "BatchNorm":
        raise UsageError(
            f"Layer {layer.name} is a batch norm that follows no convolution, so it is not clear "
            "whose filters are meant; name the convolution. `cnnviz layers` lists them."
        )
    raise UsageError(
        f"Layer {layer.name} ({layer.kind}) has no filters: only convolutions have. `cnnviz "
        "layers` lists them."
    )


def read_filters(
    network: Network,
    layer: Layer,
    *,
    top: int | None = None,
    slices: int = SLICES,
    channels: str = CHANNEL_ORDERS[0],
) -> Filters:
    """The filters of a convolution with the largest norms.

    Of equal norms the lower index comes first.

    Args:
        network: the network.
        layer: one of its convolutions (:func:`find_convolution`).
        top: how many filters; None for all that read the image itself, else :data:`TOP`.
        slices: of how many input channels a filter's slices are shown, where they are no colors.
        channels: in which order the network takes red, green and blue, see
            :class:`cnnviz.images.input_spec.InputSpec`.

    Raises:
        NetworkError: weights are not finite, or not those of a convolution in two dimensions.
    """
    weights = network.weights(layer)
    graph = network.architecture.graph
    node = graph.nodes[layer.index]
    if not isinstance(node.operator, Conv2d):
        raise NetworkError(
            f"Layer {layer.name} is no convolution over height and width with channels first; its "
            "filters cannot be shown."
        )
    if not np.isfinite(weights).all():
        raise NetworkError(
            f"The weights of layer {layer.name} hold NaN or infinity: they are damaged."
        )
    first = _sees_image(graph, node.inputs[0])
    count = (len(weights) if first else TOP) if top is None else top
    squares = np.square(weights, dtype=np.float64).sum(axis=(2, 3))
    norms = np.sqrt(squares.sum(axis=1))
    # Filters of a group see that group's channels only.
    groups = node.operator.groups
    shown = []
    for index in _largest(norms, count):
        chosen = np.arange(3) if channels == "rgb" else np.arange(3)[::-1]
        if not (first and weights.shape[1] == 3):
            chosen = _largest(squares[index], slices)
        offset = index // (len(weights) // groups) * weights.shape[1]
        own = weights[index]
        shown.append(
            Filter(
                int(index),
                float(norms[index]),
                float(own.min()),
                float(own.max()),
                tuple(int(offset + channel) for channel in chosen),
                own[chosen],
            )
        )
    return Filters(layer, weights.shape, first, tuple(shown))


def _convolves(layer: Layer) -> bool:
    return layer.kind == "Convolution"


def _sees_image(graph: Graph, value: Value) -> bool:
    """Whether a value is the network's input, at most normalized or padded."""
    dependent = {graph.input.node, *graph.layers}
    while value != graph.input:
        node = graph.nodes[value.node]
        sources = {source for source in node.inputs if source.node in dependent}
        if not node.operator.has("keeps_channels") or len(sources) != 1:
            return False
        (value,) = sources
    return True


def _largest(values: Sequence[float] | npt.NDArray[Any], count: int) -> npt.NDArray[np.intp]:
    """Indices of the largest values, in order; the lower index first among equals."""
    return np.argsort(-np.asarray(values), kind="stable")[:count]


def _enlarged(pixels: RgbImage, side: int) -> RgbImage:
    """Each pixel repeated as often both ways, until the longer side is long enough."""
    times = -(-side // max(pixels.shape[:2]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def _framed(pixels: RgbImage) -> RgbImage:
    """With a line around it."""
    around = ((1, 1), (1, 1), (0, 0))[: pixels.ndim]
    return np.pad(pixels, around, constant_values=_FRAME)
