"""From an image file to the network's input and the canvas for its maps."""

from __future__ import annotations

import os
from collections.abc import Callable

from cnnviz.images.decode import MAX_PIXELS, decode_image, read_reduced
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import (
    Canvas,
    ImageSize,
    Prepared,
    canvas,
    prepare,
    required_decode_size,
)
from cnnviz.images.samples import fit_channels
from cnnviz.storage.stored import Stored


def load_image(
    file: str | os.PathLike[str] | Stored | bytes,
    spec: InputSpec,
    size: ImageSize,
    *,
    max_pixels: int = MAX_PIXELS,
    remark: Callable[[str], None],
) -> tuple[Prepared, Canvas]:
    """Read a file: the network's input, and the canvas for its maps, at the given size.

    Nothing larger is kept, and a JPEG is decoded no larger than these two need.

    Args:
        file: its path, or what is in it.
        spec: the network's input.
        size: of the canvas, see :func:`cnnviz.images.preprocessing.output_shape`.
        max_pixels: an image of more is refused before it is decoded.
        remark: called with the warnings of a decoder that reads a damaged image all the same.

    Raises:
        ImageError: with the reason, see :func:`cnnviz.images.decode.read_image`.
    """

    def required(shape: tuple[int, int]) -> tuple[int, int]:
        return required_decode_size(shape, size, spec)

    if isinstance(file, bytes):
        reading = decode_image(file, required, max_pixels=max_pixels, channels=spec.shape[0])
    else:
        reading = read_reduced(file, required, max_pixels=max_pixels, channels=spec.shape[0])
    if reading.remark is not None:
        remark(reading.remark)
    image = fit_channels(reading.pixels, reading.white, spec)
    prepared = prepare(image, spec, reading.source)
    return prepared, canvas(image, prepared, size)
