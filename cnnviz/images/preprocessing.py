"""From an image to what the network is fed, and from the network's pixels back to the image.

Pixel coordinates are continuous here: pixel *i* covers [i, i + 1) and its center lies at i + 0.5.
Every resize in cnnviz keeps that convention, so that a map lies on the pixels it belongs to.
OpenCV writes sizes as (width, height); everything here is (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.errors import ImageError, MapError, UsageError
from cnnviz.images.input_spec import AREA, InputSpec
from cnnviz.images.pixels import check_pixels
from cnnviz.images.placing import Geometry, Placing, scaled_size
from cnnviz.images.resizing import resize_image
from cnnviz.images.samples import Samples, as_gray, to_levels

DEFAULT_LONG_SIDE = 1024
"""Long side, in pixels, of the images written when no size is asked for."""

LARGEST_SIDE = 32768
"""Largest long side that ``size`` accepts; beyond it an image alone would take gigabytes."""

ImageSize = str | int
"""``"default"``, ``"full"``, ``"model"``, or the long side in pixels."""


@dataclass(frozen=True)
class Prepared:
    """An image ready for the network.

    Attributes:
        input: float32 (C, h, w), normalized, exactly as fed to the network.
        seen: uint8 (h, w, 3) RGB, the same image before normalization.
        geometry: where it lies in the original.
        displayed: the indices of the channels that people are shown, one or three.
    """

    input: npt.NDArray[np.float32]
    seen: npt.NDArray[np.uint8]
    geometry: Geometry
    displayed: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class Canvas:
    """The image that results are drawn on.

    Attributes:
        image: uint8 (Ho, Wo, 3) RGB.
        geometry: where the network's input lies in it; for :func:`to_image`, with ``shape``.
    """

    image: npt.NDArray[np.uint8]
    geometry: Geometry

    @property
    def shape(self) -> tuple[int, int]:
        """(Ho, Wo)."""
        return self.image.shape[0], self.image.shape[1]


def prepare(
    image: npt.NDArray[np.uint8] | Samples,
    spec: InputSpec | None = None,
    source: tuple[int, int] | None = None,
) -> Prepared:
    """Resize and normalize an image for a network.

    ``stretch`` brings the whole image to the network's size and gives up its aspect, as the
    Grad-CAM tutorial of MXNet does. ``crop`` keeps the aspect: it scales the image until it just
    covers 256/224 of the network's size (for a square network: short side 256 for 224) and cuts
    the center out. Another crop fraction f replaces 224/256, in ``stretch`` likewise: the image is
    stretched to 1/f of the network's size, and the center cut out. No interpolation but
    ``nearest`` has aliasing where an image shrinks.

    Args:
        image: uint8 (H, W, 3), RGB; or samples with as many channels as the network takes, whose
            channels are resized one by one, in float32.
        spec: what the network expects; the default suits ImageNet networks.
        source: (H, W) of the original if the image was read at a reduced size
            (:func:`cnnviz.images.decode.read_reduced`); the geometry is that of the original.

    Raises:
        ImageError: it is not an RGB image, its values are too far from their range, or it would
            have to be scaled to too many pixels.
    """
    spec = InputSpec() if spec is None else spec
    if not isinstance(image, Samples):
        check_pixels(image)
    placing = Placing.of(source or (image.shape[0], image.shape[1]), spec)
    if isinstance(image, Samples):
        planes = np.stack([placing.place(image.plane(one)) for one in range(image.channels)])
        if len(planes) > len(spec.mean):
            planes = as_gray(planes)
        levels = [to_levels(planes[one]) for one in spec.displayed]
        seen = np.ascontiguousarray(np.stack(levels * (3 // len(levels)), axis=2))
        channels = spec.swapped(planes)
    else:
        seen = placing.place(image)
        if len(spec.mean) == 1:
            gray = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)
            seen = np.ascontiguousarray(np.repeat(gray[:, :, None], 3, axis=2))
            channels = gray[None]
        else:
            channels = spec.swapped(seen.transpose(2, 0, 1))
        channels = channels.astype(np.float32) / np.float32(255)
    mean = np.asarray(spec.mean, np.float32)[:, None, None]
    std = np.asarray(spec.std, np.float32)[:, None, None]
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        network_input = (channels - mean) / std
    if isinstance(image, Samples) and not np.isfinite(network_input).all():
        raise ImageError(
            f"its values are too far from {image.low:g} and {image.high:g}, which become 0 and 1: "
            "give another --range"
        )
    fed = np.ascontiguousarray(network_input)
    return Prepared(fed, seen, placing.geometry, spec.displayed)


def output_shape(
    source: tuple[int, int], size: ImageSize = "default", spec: InputSpec | None = None
) -> tuple[int, int]:
    """Say how large the written images of a source of (H, W) pixels are.

    * ``"default"``: the source's shape, its long side brought down to 1024 if it is longer.
    * ``"full"``: the source's shape.
    * ``"model"``: the network's input size, from ``spec``.
    * a whole number N: the source's aspect with a long side of exactly N, enlarged if need be, so
      that all images of a run can be had at one scale.

    Raises:
        UsageError: another word, or a number outside 1 to 32768.
    """
    height, width = source
    if size == "full":
        return height, width
    if size == "model":
        spec = InputSpec() if spec is None else spec
        return spec.height, spec.width
    long_side = max(height, width)
    if size == "default":
        wanted = min(long_side, DEFAULT_LONG_SIDE)
    elif isinstance(size, Integral) and not isinstance(size, bool) and 1 <= size <= LARGEST_SIDE:
        wanted = int(size)
    else:
        raise UsageError(
            f"The image size is default, full, model, or a long side from 1 to {LARGEST_SIDE} "
            f"pixels; got {size!r}."
        )
    return max(1, round(height * wanted / long_side)), max(1, round(width * wanted / long_side))


def required_decode_size(
    source: tuple[int, int],
    size: ImageSize = "default",
    spec: InputSpec | None = None,
) -> tuple[int, int]:
    """Say how many pixels (h, w) of a source of (H, W) pixels a run can make use of.

    That is what is written, and twice what the network is fed, so that its pixels are still
    averages of several: an image read at this size or above
    (:func:`cnnviz.images.decode.read_reduced`)
    gives :func:`prepare` and :func:`canvas` all they need. Pillow's interpolations are for those
    who want the very pixels that others feed the network, so that they are given all there are.

    Raises:
        UsageError: an unknown ``size``.
    """
    spec = InputSpec() if spec is None else spec
    if spec.interpolation != AREA:
        return source
    fed = scaled_size(source, spec)
    # The network's own size is drawn on what it is fed.
    written = (1, 1) if size == "model" else output_shape(source, size)
    return max(written[0], 2 * fed[0]), max(written[1], 2 * fed[1])


def canvas(
    image: npt.NDArray[np.uint8] | Samples, prepared: Prepared, size: ImageSize = "default"
) -> Canvas:
    """Make the image that results are drawn on, at the size asked for.

    With ``"model"`` it is the image as the network saw it, so in ``crop`` mode the center alone;
    otherwise the whole image (see :func:`output_shape`).

    Args:
        image: the image that ``prepared`` came from, uint8 (H, W, 3) or samples, reduced or not.
        prepared: what :func:`prepare` returned.
        size: see :func:`output_shape`.
    """
    if size == "model":
        height, width = prepared.geometry.network
        whole = (0.0, 0.0, float(height), float(width))
        return Canvas(prepared.seen, Geometry((height, width), whole, (height, width)))
    rgb = image.displayed() if isinstance(image, Samples) else image
    return Canvas(
        resize_image(rgb, output_shape(prepared.geometry.source, size)), prepared.geometry
    )


def to_image(
    array: npt.NDArray[np.floating[Any]],
    geometry: Geometry,
    shape: tuple[int, int],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Bring a map of what the network saw back onto the image.

    The array covers ``geometry.box``, at whatever resolution (a layer's 14 x 14 or the input's
    224 x 224); the result covers the whole image. Bilinear between pixel centers, constant beyond
    the outermost centers, in float; where the result is coarser than the array, the same triangle
    widened to the coarser pixel, so that nothing falls between two samples.

    Args:
        array: float (h, w) or (h, w, C).
        geometry: where the array lies in the image.
        shape: (Ho, Wo) of the result.

    Returns:
        float32 (Ho, Wo) or (Ho, Wo, C), 0 in pixels that the network did not see; and a bool
        (Ho, Wo) that is true where the pixel's center was seen by the network.
    """
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise MapError(
            f"A map has shape (h, w) or (h, w, channels) and no empty side; got {array.shape}."
        )
    values = np.ascontiguousarray(array, np.float32)
    (height, width), (y0, x0, y1, x1) = geometry.source, geometry.box
    enlarged = shape[0] >= array.shape[0] and shape[1] >= array.shape[1]
    if enlarged and (y0, x0, y1, x1) == (0, 0, height, width):
        result = cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
        return result.reshape(*shape, *array.shape[2:]), np.ones(shape, np.bool_)

    rows, seen_rows = _axis_weights(array.shape[0], height, (y0, y1), shape[0])
    columns, seen_columns = _axis_weights(array.shape[1], width, (x0, x1), shape[1])
    # Only what was seen is computed: the seen rows and columns are one stretch each.
    top, bottom = _stretch(seen_rows)
    left, right = _stretch(seen_columns)
    down, across = rows[top:bottom], np.ascontiguousarray(columns[left:right].T)
    planes = np.atleast_3d(values)
    result = np.zeros((*shape, planes.shape[2]), np.float32)
    for channel in range(planes.shape[2]):
        # Copied, for BLAS takes no strides of three.
        window = down @ np.ascontiguousarray(planes[:, :, channel]) @ across
        result[top:bottom, left:right, channel] = window
    result = result.reshape(*shape, *array.shape[2:])
    return result, seen_rows[:, None] & seen_columns[None, :]


def _stretch(seen: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """First and one past the last true value; what lies between is true as well."""
    indices = np.flatnonzero(seen)
    return (int(indices[0]), int(indices[-1]) + 1) if indices.size else (0, 0)


def _axis_weights(
    length: int, source: int, box: tuple[float, float], out: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Weights (out, length) of one axis, rows summing to one, and which results lie in the box."""
    centers = (np.arange(out) + 0.5) * (source / out)  # in image coordinates
    per_sample = (box[1] - box[0]) / length
    positions = (centers - box[0]) / per_sample - 0.5  # in the array's own samples
    # Beyond the outermost centers the outermost sample goes on.
    positions = np.clip(positions, 0.0, length - 1.0)
    width = max(1.0, source / out / per_sample)
    distance = np.abs(positions[:, None] - np.arange(length)[None, :])
    weights = np.maximum(0.0, 1.0 - distance / width)
    weights /= weights.sum(axis=1, keepdims=True)
    # The edges come out of a division; a center exactly on one must not depend on its rounding.
    margin = 1e-9 * source
    seen = (centers >= box[0] - margin) & (centers < box[1] - margin)
    return weights.astype(np.float32), seen
