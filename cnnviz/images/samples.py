"""Images at their full depth: any number of channels, of any kind of number.

Color and gray images of 8 bits are uint8 RGB everywhere in cnnviz. What has more bits, is of floats
or has another number of channels stays as it lies in its file until its channels are resized, one
by one, in float32: nothing of it goes through 8 bits but what is displayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cnnviz.errors import ImageError
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.pixels import to_rgb8
from cnnviz.text import counted
from cnnviz.types import Array, Float32, RgbImage

_WHITE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
#: What an image of 8 bits needs no other treatment for.
_BYTES = (None, (0.0, 255.0))


@dataclass(frozen=True)
class Samples:
    """An image before its values are scaled.

    Attributes:
        values: (H, W, C), real numbers of any kind, all finite; C as the network has it, or three
            colors for a gray network.
        low: the value that becomes 0.
        high: the value that becomes 1.
        shown: the indices of the channels displayed, one or three.
    """

    values: Array
    low: float
    high: float
    shown: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def channels(self) -> int:
        """How many there are."""
        return int(self.values.shape[2])

    def plane(self, channel: int) -> Float32:
        """One channel, float32 (H, W), scaled; below 0 and above 1 where the values are beyond."""
        values = self.values[:, :, channel]
        # Float32 holds each number of 16 bits; of others the difference is taken before it rounds.
        wide = values.dtype.itemsize > 2 and values.dtype != np.float32
        kind: Any = np.float64 if wide else np.float32
        with np.errstate(over="ignore"):  # refused once it is resized
            scaled = (values.astype(kind) - kind(self.low)) / kind(self.high - self.low)
            return np.asarray(scaled, np.float32)

    def displayed(self) -> RgbImage:
        """What people are shown of it: uint8 (H, W, 3), clipped to 0 and 1."""
        planes = [to_levels(self.plane(channel)) for channel in self.shown]
        return np.ascontiguousarray(np.stack(planes * (3 // len(planes)), axis=2))


def to_levels(plane: Float32) -> RgbImage:
    """Values from 0 to 1 as uint8 from 0 to 255, rounded; what is beyond is clipped."""
    return np.asarray(np.rint(np.clip(plane, 0, 1) * np.float32(255)), np.uint8)


def as_gray(planes: Float32) -> Float32:
    """Colors (3, H, W) as gray (1, H, W), with the weights that 8 bits have in OpenCV."""
    return np.asarray(cv2.cvtColor(planes.transpose(1, 2, 0), cv2.COLOR_RGB2GRAY))[None]


def default_white(values: Array) -> float | None:
    """The value that means white where nothing else is said; None if nothing says so."""
    return _WHITE.get(values.dtype)


def fit_channels(values: Array, white: float | None, spec: InputSpec) -> RgbImage | Samples:
    """An image for a network: uint8 RGB, or samples with as many channels as it takes.

    Gray images suit color networks, and color images gray ones.

    Args:
        values: real numbers (H, W, C).
        white: the value that becomes 1, as 0 becomes 0; None if nothing says so.
        spec: of the network. Its range comes first.

    Raises:
        ImageError: it has another number of channels, no range, or values that are not finite.
    """
    found, wanted = values.shape[2], len(spec.mean)
    if found != wanted and not (found in (1, 3) and wanted in (1, 3)):
        raise ImageError(
            f"it has {counted(found, 'channel')}, and the network takes {wanted}: give images with "
            "as many"
        )
    usual = found in (1, 3) and wanted in (1, 3) and spec.range in _BYTES
    if usual and values.dtype == np.uint8 and white == 255:
        return to_rgb8(values, premultiplied=False)
    given = spec.range or (None if white is None else (0.0, white))
    if given is None:
        raise ImageError(
            f"its values are {values.dtype}, and nothing says which of them are black and white: "
            "give their range, --range LOW:HIGH"
        )
    _check_finite(values)
    shown = spec.displayed
    if found < wanted:
        values = np.broadcast_to(values, (*values.shape[:2], wanted))
    elif found > wanted:
        shown = (0, 1, 2)
    return Samples(values, *given, shown)


def _check_finite(values: Array) -> None:
    if values.dtype.kind != "f":
        return
    wrong = sum(
        int(np.count_nonzero(~np.isfinite(values[:, :, channel])))
        for channel in range(values.shape[2])
    )
    if wrong:
        raise ImageError(
            f"{wrong:,} of its {values.size:,} values {'is' if wrong == 1 else 'are'} NaN or "
            "infinite; replace what has no data before you explain it"
        )
