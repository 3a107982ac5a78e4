"""Images that Python holds already, arrays, Pillow's images and tensors, as RGB pixels."""

from __future__ import annotations

import sys
import threading
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnviz.errors import ImageError
from cnnviz.images.pixels import check_pixels, orient, to_rgb8


class Tensor(Protocol):
    """A PyTorch tensor, as far as it is used here."""

    def detach(self) -> Any:
        """The same without its gradient."""


Held: TypeAlias = "npt.NDArray[np.uint8] | Image.Image | Tensor"
_ORIENTATION = 0x0112  # in EXIF
_LOADING = threading.Lock()  # Pillow reads no image twice at once, and several threads may have it


def is_held(value: Any) -> TypeGuard[Held]:
    """Whether this is an array, a Pillow image or a tensor, whatever it holds."""
    return isinstance(value, (np.ndarray, Image.Image)) or _is_tensor(value)


def rgb_pixels(image: Held) -> npt.NDArray[np.uint8]:
    """The pixels of an array, a Pillow image or a tensor, as those of a file are read.

    Args:
        image: one of these:

            * an array, uint8 (H, W, 3), RGB, or (H, W), gray;
            * a PyTorch tensor, (C, H, W) or (H, W, C) with 1 or 3 channels, or (H, W): uint8,
              or floats from 0 to 1. Where both orders fit, channels come first;
            * a Pillow image, of any mode that has a black and a white. A rotation noted in it
              (EXIF) is applied, transparency is laid over white, 16 bits become 8: as in
              :func:`cnnviz.read_image`.

    Returns:
        uint8 (H, W, 3), C-contiguous.

    Raises:
        ImageError: an array of another kind, or an image that cannot be read or shown in colors.
    """
    if isinstance(image, Image.Image):
        return _of_image(image)
    return _of_array(image if isinstance(image, np.ndarray) else _array_of_tensor(image))


def _is_tensor(value: Any) -> bool:
    """Whether this is a PyTorch tensor, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _array_of_tensor(tensor: Tensor) -> npt.NDArray[Any]:
    """uint8 (H, W, 3) or (H, W), if it is an image."""
    values = tensor.detach().cpu()
    if values.is_floating_point():
        values = values.float()  # NumPy does not know all of them
    array = np.asarray(values.numpy())
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = np.moveaxis(array, 0, 2)
    if array.shape[2:] == (1,):
        array = array[:, :, 0]
    if array.dtype != np.float32:
        return array  # uint8, or refused with the arrays
    lowest, highest = array.min(initial=0.0), array.max(initial=0.0)
    if not (lowest >= 0 and highest <= 1):
        raise ImageError(
            "an image is a tensor of uint8, or of floats from 0 to 1; this one goes from "
            f"{lowest:.3g} to {highest:.3g}: give the image as it was before it was normalized"
        )
    return np.asarray(np.rint(array * np.float32(255)), np.uint8)


def _of_array(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    check_pixels(array, gray=True)
    return to_rgb8(array, premultiplied=False)


def _of_image(image: Image.Image) -> npt.NDArray[np.uint8]:
    try:
        with _LOADING:
            image.load()
        pixels = _samples(image)
    except (AssertionError, AttributeError) as error:  # by version
        raise ImageError("this image's file was closed before Pillow had read it") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise
        raise ImageError(f"Pillow cannot read this image of mode {image.mode}: {error}") from error
    if 0 in pixels.shape:
        raise ImageError(f"an image has pixels; this image's size is {image.size}")
    upright = orient(to_rgb8(pixels, premultiplied=False), _orientation(image))
    return np.ascontiguousarray(upright)


def _samples(image: Image.Image) -> npt.NDArray[np.generic]:
    """Gray of 16 bits, RGB or RGBA."""
    # Some versions of Pillow call a PNG's 16 bits I, which may be anything.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        gray = np.asarray(image).astype(np.uint16)
        hidden = image.info.get("transparency")
        return np.where(gray == hidden, np.uint16(0xFFFF), gray) if hidden is not None else gray
    if image.mode in ("I", "F"):
        raise ImageError(
            f"an image of mode {image.mode} does not say what its black and white are; convert it "
            "to L, RGB or I;16"
        )
    if image.mode == "La":  # which converts only to this
        image = image.convert("LA")
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _orientation(image: Image.Image) -> int:
    """What EXIF says of it; upright if that cannot be read, as of a file."""
    try:
        noted = image.getexif().get(_ORIENTATION)
    except (OSError, SyntaxError, ValueError):
        return 1
    return noted if noted in range(1, 9) else 1
