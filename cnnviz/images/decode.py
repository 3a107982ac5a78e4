"""Decode image files to RGB pixels, upright, 8 bits a channel, transparency over white."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz import system
from cnnviz.errors import ImageError
from cnnviz.images import tiff
from cnnviz.images.arrays import channels_last, npy_of_npz, read_npy
from cnnviz.images.bitmaps import read_masked, read_pnm
from cnnviz.images.containers import Container, damaged, probe
from cnnviz.images.files import read_bytes
from cnnviz.images.kinds import HEAD, kind_read
from cnnviz.images.pixels import orient, over_white, to_rgb8
from cnnviz.images.remarks import listening, sentences
from cnnviz.images.samples import default_white
from cnnviz.images.tiff_samples import read_bands, read_samples
from cnnviz.storage.stored import Stored
from cnnviz.text import printable_path

# FFmpeg, which decodes GIFs here, would report damaged ones on stderr. OpenCV reads this variable
# when it first opens a video; -8 is FFmpeg's level "quiet".
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True)
class Reading:
    """An image that may have been read at less than its full size.

    Attributes:
        pixels: uint8 (h, w, 3) RGB, C-contiguous; at full depth (h, w, C) of any kind of number.
        source: (H, W) of the image in the file, upright.
        remarks: what the decoder said of it, if anything.
        white: the value that is white, where black is 0; None if nothing says so.
    """

    pixels: npt.NDArray[Any]
    source: tuple[int, int]
    remarks: tuple[str, ...] = ()
    white: float | None = 255

    @property
    def remark(self) -> str | None:
        """A sentence, without the path, about what the decoder said, if it said anything."""
        if not self.remarks:
            return None
        return f"it was read, but its decoder reports: {'; '.join(self.remarks)}"


RequiredSize = Callable[[tuple[int, int]], tuple[int, int]]
"""From an image's (H, W) to the least (h, w) that it has to be read at."""


MAX_PIXELS = 200_000_000
"""The most pixels that an image may have if nothing else is said.

The largest sensors of cameras and telephones have 200 million. Each takes 3 bytes, and up to 16
while an image with 16 bits and transparency is decoded, so that more than this is more likely a
damaged header, or malice, than an image that fits into memory.
"""

_BYTES_A_PIXEL = 8  # at most, uncompressed: four channels of 16 bits
_BYTES_A_SAMPLE = 4  # of more channels: floats
_OTHER_BYTES = 1 << 24  # for whatever else a file carries


def read_image(
    path: str | os.PathLike[str] | Stored, *, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Read an image file as RGB pixels.

    Gray, palette and CMYK images become RGB; 16-bit samples are scaled to 8 bits, rounded; a
    rotation or mirroring noted in the file (EXIF) is applied; of several frames the first is taken.
    Transparency is laid over white, the ground that cut-out images are usually shown on: the
    colors hidden below transparent pixels are arbitrary, and often black. Color profiles are not
    applied. What the decoder says of an image that it reads all the same is a warning.

    Returns:
        uint8 (H, W, 3), C-contiguous.

    Raises:
        ImageError: with the reason, but not the path, which the caller names as the user did. A
            JPEG, PNG, WebP or GIF that ends early is refused even where a part could be shown, and
            so is one with more than ``max_pixels``, before it is decoded. Pipes and devices are
            refused without waiting for them.
    """
    reading = read_reduced(path, max_pixels=max_pixels)
    if reading.remark is not None:
        shown = str(path) if isinstance(path, Stored) else printable_path(path)
        warnings.warn(f"{shown}: {reading.remark}", stacklevel=2)
    return reading.pixels


def read_reduced(
    path: str | os.PathLike[str] | Stored,
    required: RequiredSize | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    channels: int | None = None,
) -> Reading:
    """Read an image file as :func:`read_image` does, but no larger than makes a difference.

    A JPEG can be decoded at a half, a quarter or an eighth, each pixel an average of the original's
    that it covers, in a fraction of the time and memory. That is done where it leaves as many
    pixels as are needed both ways and both sides divide by it. Other files are read in full.

    Args:
        path: the file.
        required: for the upright image's (H, W) the least (h, w) needed, for instance
            :func:`cnnviz.images.preprocessing.required_decode_size`; None for all pixels.
        max_pixels: see :data:`MAX_PIXELS`.
        channels: of the network that it is read for, which gets samples of more than 8 bits as they
            are, and any number of channels. Of color and gray images for a color or gray network
            alpha is laid over white. None for RGB of 8 bits.

    Raises:
        ImageError: see :func:`read_image`.
    """
    try:
        data = read_bytes(path, _most_bytes(max_pixels, channels) + _OTHER_BYTES)
        return decode_image(data, required, max_pixels=max_pixels, channels=channels)
    except MemoryError as error:
        raise ImageError("its pixels do not fit into memory; scale it down") from error


def decode_image(
    data: bytes,
    required: RequiredSize | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    channels: int | None = None,
) -> Reading:
    """Decode the bytes of an image file; see :func:`read_reduced`."""
    if not data:
        raise ImageError("the file is empty")
    if kind_read(data[:HEAD]) == "NPZ":
        data = npy_of_npz(data, _most_bytes(max_pixels, channels) + _OTHER_BYTES)
    container = probe(data)
    if container.pixels > max_pixels:
        height, width = container.size
        raise ImageError(
            f"it is {width} pixels wide and {height} high, {_amount(container.pixels)} in all, and "
            f"the limit is {_amount(max_pixels)}: scale it down, or raise --max-pixels"
        )
    if container.kind == "GIF":
        frame = _first_frame_of_gif(data)
        return Reading(frame, (frame.shape[0], frame.shape[1]))

    with listening() as heard:
        try:
            stored = _decode(data, container, required, max_pixels, channels)
        except _Undecodable as error:
            raise damaged(container.kind, sentences(heard)) from error
    size = _turned(stored.size, stored.orientation)
    upright = orient(_for_network(stored, channels), stored.orientation)
    return Reading(np.ascontiguousarray(upright), size, sentences(heard), stored.white)


def _for_network(stored: _Stored, channels: int | None) -> npt.NDArray[Any]:
    """RGB of 8 bits, or what a network with so many channels can use of the samples."""
    if channels is not None and (stored.plain or channels not in (1, 3)):
        return _with_channels(stored.pixels)
    if stored.pixels.dtype == np.uint8 or channels is None:
        return to_rgb8(stored.pixels, premultiplied=stored.premultiplied)
    pixels = _with_channels(stored.pixels)
    if stored.white is None:
        return pixels
    return over_white(pixels, int(stored.white), premultiplied=stored.premultiplied)


def _with_channels(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(H, W, C), gray included."""
    return pixels.reshape(*pixels.shape[:2], -1)


def _most_bytes(max_pixels: int, channels: int | None) -> int:
    """What an image may take, in its file or decoded."""
    return max(_BYTES_A_PIXEL, _BYTES_A_SAMPLE * (channels or 1)) * max_pixels


def _amount(pixels: int) -> str:
    return f"{pixels / 1e6:,.0f} million" if pixels >= 10_000_000 else f"{pixels:,}"


def _turned(shape: tuple[int, int], orientation: int) -> tuple[int, int]:
    """From the stored image's (H, W) to the upright one's, and back."""
    return (shape[1], shape[0]) if orientation >= 5 else shape


def _reduction(stored: tuple[int, int], needed: tuple[int, int]) -> int:
    """The largest of 8, 4, 2 and 1 that divides a JPEG's sides and leaves as much as is needed.

    Where a side does not divide, its last pixel would stand for less than the others, and the
    image would be off by a part of a pixel at the far edge.
    """
    for factor in (8, 4, 2):
        if all(
            side % factor == 0 and side // factor >= n
            for side, n in zip(stored, needed, strict=True)
        ):
            return factor
    return 1


def _first_frame_of_gif(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode a GIF's first frame by the FFmpeg that OpenCV carries for video.

    OpenCV's own decoders know GIF only in versions that want NumPy 2. FFmpeg shows white where the
    frame is transparent, as we do everywhere, and the file's background where it does not reach.
    """
    with system.named(data) as path:  # FFmpeg opens files by name
        with _quiet_opencv():
            video = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        try:
            done, frame = video.read()
        finally:
            video.release()
    if not done or frame is None:
        raise ImageError("the GIF's first frame cannot be decoded: it is damaged or cut short")
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


#: What has OpenCV's ``getLogLevel`` and ``setLogLevel``: OpenCV itself up to 4.11.
opencv_log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging


class _QuietOpenCV:
    """Keeps OpenCV from writing to stderr why it cannot decode: the reason goes into our error.

    OpenCV's level is one for the whole process, so that the first of several threads sets it and
    the last one puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._level = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._level = opencv_log.setLogLevel(0)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    opencv_log.setLogLevel(self._level)


_quiet_opencv = _QuietOpenCV()


# A JPEG has neither alpha nor 16 bits, so that it can be had as RGB at once, and smaller: each side
# divided by the number, rounded up.
_JPEG = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# OpenCV's flags for reduced colors ask for BGR, too, which later ones than 4.11
# refuse together with RGB; those for reduced gray differ from them in nothing but that.
_JPEG_FLAGS = {
    1: _JPEG,
    2: _JPEG | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: _JPEG | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: _JPEG | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@dataclass(frozen=True)
class _Stored:
    """An image as it lies in its file: gray or RGB, of 8 or 16 bits, alpha last if there is any.

    For networks of other channels than these it may be anything. ``size`` is the file's (H, W)
    where the image was decoded smaller; ``white`` is None where nothing says what is; ``plain``
    are channels none of which is alpha.
    """

    pixels: npt.NDArray[Any]
    orientation: int
    premultiplied: bool
    size: tuple[int, int]
    white: float | None
    plain: bool = False


class _Undecodable(Exception):
    """OpenCV does not say why."""


def _decode(
    data: bytes,
    container: Container,
    required: RequiredSize | None,
    max_pixels: int,
    channels: int | None,
) -> _Stored:
    data = data if container.content is None else container.content
    if container.kind == "TIFF":
        return _tiff(data, container, _most_bytes(max_pixels, channels), channels)
    if container.kind == "NPY":
        values = channels_last(read_npy(data), channels or 3)
        if channels is None and values.dtype not in (np.uint8, np.uint16):
            raise ImageError(f"its values are {values.dtype}, whose black and white nothing says")
        return _Stored(values, 1, False, (len(values), len(values[0])), default_white(values), True)
    if container.plain:
        return _by_opencv(data, container, required)
    if container.kind == "BMP":
        return _Stored(read_masked(data), 1, False, container.size, 255)
    pixels, white = read_pnm(data, full_depth=channels is not None)
    return _Stored(pixels, 1, False, container.size, white)


def _tiff(data: bytes, container: Container, most: int, channels: int | None) -> _Stored:
    first = tiff.Directory(data)
    pages = [] if channels is None else tiff.gray_pages(data, channels)
    unnamed = channels is not None and tiff.Layout.of(first).unnamed
    plain = bool(pages) or unnamed or channels not in (None, 1, 3)
    if plain:
        image = read_bands(data, pages or [first], most)
    else:
        if container.plain:
            try:
                return _by_opencv(data, container)
            except _Undecodable:
                if not tiff.may_be_read(data):
                    raise
        image = read_samples(data, most, full_depth=channels is not None)
    layout = image.layout
    return _Stored(
        image.samples,
        container.orientation,
        layout.premultiplied,
        layout.size,
        image.white,
        plain,
    )


def _by_opencv(data: bytes, container: Container, required: RequiredSize | None = None) -> _Stored:
    stored, orientation = container.reducible, container.orientation
    reduction, flags = 1, cv2.IMREAD_UNCHANGED
    jpeg = container.kind == "JPEG"
    if jpeg:
        if stored is not None and required is not None:
            needed = required(_turned(stored, orientation))
            reduction = _reduction(stored, _turned(needed, orientation))
        flags = _JPEG_FLAGS[reduction]

    pixels = _pixels(data, flags, container)
    if stored is None or reduction == 1:
        stored = (pixels.shape[0], pixels.shape[1])
    if container.hidden is not None and pixels.ndim == 2:
        pixels = np.where(pixels == container.hidden, np.iinfo(pixels.dtype).max, pixels)
    if container.inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if pixels.ndim == 3 and not jpeg:  # OpenCV's order is blue, green, red
        code = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        pixels = cv2.cvtColor(pixels, code)
        pixels = pixels[:, :, :3] if container.opaque else pixels
        pixels = pixels[:, :, 2:] if container.gray_alpha else pixels
    white = float(np.iinfo(pixels.dtype).max)
    return _Stored(pixels, orientation, container.premultiplied, stored, white)


def _pixels(data: bytes, flags: int, container: Container) -> npt.NDArray[Any]:
    """Pixels as stored: any depth, alpha kept, not rotated except for TIFF.

    Only IMREAD_UNCHANGED keeps 16 bits and alpha, and it leaves EXIF alone; the color modes drop
    alpha and the low bytes (by truncation).
    """
    try:
        with _quiet_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise ImageError(
                "it has more pixels than OpenCV decodes (2^30, or 2^20 along a side); scale it down"
            ) from error
        if "nsufficient memory" in str(error):
            raise ImageError("its pixels do not fit into memory; scale it down") from error
        raise ImageError(f"OpenCV cannot decode it: {getattr(error, 'err', error)}") from error
    if pixels is None or pixels.shape[0] * pixels.shape[1] > container.pixels:
        raise _Undecodable  # ... or more was found than the file declares
    return np.asarray(pixels)
