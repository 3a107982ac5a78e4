"""Images that Python holds already: arrays, Pillow's images and tensors."""

from __future__ import annotations

import sys
import threading
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
from PIL import Image

from cnnviz.errors import ImageError
from cnnviz.images.arrays import channels_last
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.pixels import orient, over_white
from cnnviz.images.samples import Samples, default_white, fit_channels
from cnnviz.types import Array, RgbImage


class Tensor(Protocol):
    """A PyTorch tensor, as far as it is used here."""

    def detach(self) -> Any:
        """The same without its gradient."""


Held: TypeAlias = "Array | Image.Image | Tensor"
_ORIENTATION = 0x0112  # in EXIF
_LOADING = threading.Lock()  # Pillow reads no image twice at once, and several threads may have it


def is_held(value: Any) -> TypeGuard[Held]:
    """Whether this is an array, a Pillow image or a tensor, whatever it holds."""
    return isinstance(value, (np.ndarray, Image.Image)) or _is_tensor(value)


def held_image(image: Held, spec: InputSpec) -> RgbImage | Samples:
    """The pixels of an array, a Pillow image or a tensor, for a network as those of a file.

    Args:
        image: one of these:

            * an array, (H, W, C) or (C, H, W) with as many channels as the network takes, or
              (H, W); gray and color networks take each other's images. Where both orders fit,
              channels come last. Of uint8 and uint16 the whole range counts, of floats 0 to 1, if
              the network has no range of its own; any other kind of numbers needs that;
            * a PyTorch tensor, likewise, but channels come first where both orders fit;
            * a Pillow image, of any mode that has a black and a white; or of mode I or F, if the
              network has a range. A rotation noted in it (EXIF) is applied, and transparency is
              laid over white unless the network takes it as a channel: as in files.
        spec: of the network.

    Returns:
        uint8 (H, W, 3), C-contiguous; or samples, where there is more than fits into that.

    Raises:
        ImageError: an array of another kind, or an image that cannot be read or shown in colors.
    """
    if isinstance(image, Image.Image):
        return _of_image(image, spec)
    first = not isinstance(image, np.ndarray)
    array = image if isinstance(image, np.ndarray) else _array_of_tensor(image)
    values = channels_last(array, spec.shape[0], first=first)
    if values.dtype.kind == "f" and spec.range is None:
        return fit_channels(*_from_0_to_1(values), spec)
    if values.dtype.kind not in "uif":
        raise ImageError(
            f"an image is an array of whole numbers or floats; this one is of {values.dtype}"
        )
    return fit_channels(values, default_white(values), spec)


def _is_tensor(value: Any) -> bool:
    """Whether this is a PyTorch tensor, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _array_of_tensor(tensor: Tensor) -> Array:
    """The same numbers."""
    values = tensor.detach().cpu()
    try:
        return np.asarray(values.numpy())
    except TypeError:  # bfloat16, which NumPy does not know
        return np.asarray(values.float().numpy())


def _from_0_to_1(values: Array) -> tuple[Array, float]:
    """Floats as they are, or as the 8 bits that they were made of; and what is white of them."""
    lowest, highest = values.min(), values.max()
    if not (lowest >= 0 and highest <= 1):
        raise ImageError(
            "floats are an image where they go from 0 to 1, or in a range that is given; these go "
            f"from {lowest:.3g} to {highest:.3g}: give the image as it was before it was "
            "normalized, or its range"
        )
    # So that a tensor made of an image, as ToTensor makes it, is explained as the image is.
    scaled = values * values.dtype.type(255)
    levels = np.rint(scaled)
    if (np.abs(scaled - levels) <= 255 * np.finfo(values.dtype).eps).all():
        return levels.astype(np.uint8), 255.0
    return values, 1.0


def _of_image(image: Image.Image, spec: InputSpec) -> RgbImage | Samples:
    try:
        with _LOADING:
            image.load()
        pixels = _samples(image, spec)
    except (AssertionError, AttributeError) as error:  # by version
        raise ImageError("this image's file was closed before Pillow had read it") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise
        raise ImageError(f"Pillow cannot read this image of mode {image.mode}: {error}") from error
    if 0 in pixels.shape:
        raise ImageError(f"an image has pixels; this image's size is {image.size}")
    white = default_white(pixels)
    if white is not None and spec.shape[0] in (1, 3):
        pixels = over_white(pixels, int(white), premultiplied=False)
    upright = np.ascontiguousarray(orient(pixels, _orientation(image)))
    return fit_channels(upright, white, spec)


def _samples(image: Image.Image, spec: InputSpec) -> Array:
    """(H, W, C): gray of any depth, RGB or RGBA, or gray with alpha for two channels."""
    # Some versions of Pillow call a PNG's 16 bits I, which may be anything.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        gray = np.asarray(image).astype(np.uint16)[:, :, None]
        hidden = image.info.get("transparency")
        return np.where(gray == hidden, np.uint16(0xFFFF), gray) if hidden is not None else gray
    if image.mode in ("I", "F"):
        if spec.range is not None:
            return np.asarray(image)[:, :, None]
        raise ImageError(
            f"an image of mode {image.mode} does not say what its black and white are; convert it "
            "to L, RGB or I;16, or give their range"
        )
    if image.mode == "La":  # which converts only to this
        image = image.convert("LA")
    if image.mode == "LA" and spec.shape[0] == 2:
        return np.asarray(image)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _orientation(image: Image.Image) -> int:
    """What EXIF says of it; upright if that cannot be read, as of a file."""
    try:
        noted = image.getexif().get(_ORIENTATION)
    except (OSError, SyntaxError, ValueError):
        return 1
    return noted if noted in range(1, 9) else 1
