"""What a network expects of its input: size, normalization, channels. Needs no NumPy, no OpenCV."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnviz.errors import UsageError
from cnnviz.text import joined

if TYPE_CHECKING:
    import numpy.typing as npt

RESIZE_MODES = ("stretch", "crop")
"""How an image comes to the size of a network's input."""

CROP_FRACTIONS = {"stretch": 1.0, "crop": 224 / 256}
"""By mode the part that is kept of a resized image's short side: the usual 224 out of 256."""

AREA = "area"
INTERPOLATIONS = (AREA, "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""How pixels are computed: cnnviz's own way, and Pillow's filters, by Pillow's names."""

CHANNEL_ORDERS = ("rgb", "bgr")
"""The order in which networks take colors: ``bgr``, blue first, is OpenCV's, and Caffe's."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green and blue from 0 to 1."""


@dataclass(frozen=True)
class InputSpec:
    """What a network expects of its input.

    Attributes:
        height: in pixels.
        width: in pixels.
        mean: of pixels in [0, 1]; as many values as the network takes channels, three for a color
            network, one for a gray one, in the order in which it takes them; ImageNet's by default.
        std: their standard deviation, likewise.
        channels: the order of a color network's channels, ``rgb`` or ``bgr``.
        range: (low, high), the values in images that become 0 and 1 before mean and std are
            applied; values beyond them are kept. None for what whole numbers of 8 and 16 bits can
            hold; floats and others have no such range of their own.
        display: which channels are displayed as red, green and blue, or which one as gray, by their
            indices; empty for all of one or three, the first of two, and the first three of more.
        resize: how an image comes to that size, ``stretch`` or ``crop``
            (:func:`cnnviz.images.preprocessing.prepare`).
        crop_fraction: the part of the resized image's short side that is kept, above 0 and at most
            1, as timm's ``crop_pct``; None for all of it where images are stretched, and 224/256
            where they are cropped.
        interpolation: ``area`` averages where an image shrinks and is bilinear where it grows;
            ``nearest``, ``box``, ``bilinear``, ``hamming``, ``bicubic`` and ``lanczos`` are
            Pillow's, with sizes rounded as in torchvision and timm.
    """

    height: int = 224
    width: int = 224
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels: str = CHANNEL_ORDERS[0]
    range: tuple[float, float] | None = None
    display: tuple[int, ...] = ()
    resize: str = RESIZE_MODES[0]
    crop_fraction: float | None = None
    interpolation: str = AREA

    def __post_init__(self) -> None:
        if self.channels not in CHANNEL_ORDERS:
            raise UsageError(
                f"A network takes its channels as {joined(CHANNEL_ORDERS)}; got '{self.channels}'."
            )
        for name, usual in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            if not getattr(self, name):
                object.__setattr__(self, name, self.ordered(usual))
        if self.height < 1 or self.width < 1:
            raise UsageError(
                f"A network's input has at least one pixel each way; got height {self.height}, "
                f"width {self.width}."
            )
        if len(self.mean) != len(self.std):
            raise UsageError(
                "mean and std need the same number of values, one for each channel; got mean "
                f"{self.mean} and std {self.std}."
            )
        if not all(value > 0 for value in self.std):
            raise UsageError(f"Every value of std must be above zero; got {self.std}.")
        self._check_order()
        if self.range is not None:
            check_range(self.range)
        self._check_display()
        self._check_resizing()

    def _check_resizing(self) -> None:
        if self.resize not in RESIZE_MODES:
            raise UsageError(
                f"There is no resize mode {self.resize!r}; choose one of {', '.join(RESIZE_MODES)}."
            )
        if self.crop_fraction is not None:
            check_crop_fraction(self.crop_fraction)
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(
                f"There is no interpolation {self.interpolation!r}; choose one of "
                f"{', '.join(INTERPOLATIONS)}."
            )

    def _check_order(self) -> None:
        if len(self.mean) == 3 or self.channels == CHANNEL_ORDERS[0]:
            return
        kind = (
            "A gray network has one channel, and no order of channels"
            if len(self.mean) == 1
            else f"A network of {len(self.mean)} channels takes no colors in any order"
        )
        raise UsageError(f"{kind}: leave out channels {self.channels} (--channels).")

    def _check_display(self) -> None:
        if not self.display:
            return
        if len(self.mean) in (1, 3):
            kind = "gray" if len(self.mean) == 1 else "color"
            raise UsageError(
                f"Images for a {kind} network are displayed as they are: leave out "
                "--display-channels."
            )
        if len(self.display) not in (1, 3):
            raise UsageError(
                "An image is displayed by one channel or three; got "
                f"{option_value(self.display)} (--display-channels)."
            )
        last = len(self.mean) - 1
        for index in self.display:
            if not 0 <= index <= last:
                raise UsageError(
                    f"There is no channel {index} to display (--display-channels): the network's "
                    f"channels are 0 to {last}."
                )

    def ordered(self, rgb: tuple[float, ...]) -> tuple[float, ...]:
        """Values of red, green and blue in the order of the network's channels."""
        return rgb[::-1] if self.channels == "bgr" else rgb

    def swapped(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array (..., C, H, W) from RGB to the order of the network's channels, or back."""
        return values[..., ::-1, :, :] if self.channels == "bgr" else values

    @property
    def kept(self) -> float:
        """The part of the resized image's short side that is kept, from :attr:`crop_fraction`."""
        own = self.crop_fraction
        return CROP_FRACTIONS[self.resize] if own is None else own

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one network input."""
        return len(self.mean), self.height, self.width

    @property
    def displayed(self) -> tuple[int, ...]:
        """The indices of the channels displayed, one as gray or three as red, green and blue."""
        if self.display:
            return self.display
        return (0, 1, 2) if len(self.mean) >= 3 else (0,)

    @property
    def display_note(self) -> str | None:
        """By which of its channels an image is displayed, where that says something."""
        count, shown = len(self.mean), self.displayed
        if count in (1, 3):
            return None
        how = (
            f"by channel {shown[0]}, in gray"
            if len(shown) == 1
            else f"by channels {joined(map(str, shown), 'and')} as red, green and blue"
        )
        return f"Of {count} channels, images are displayed {how} (--display-channels)."


def check_crop_fraction(fraction: float) -> None:
    """Refuse a crop fraction that is none.

    Raises:
        UsageError: it is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"A crop fraction is above 0 and at most 1; got {fraction:g}.")


def check_range(low_and_high: tuple[float, float]) -> None:
    """Refuse a range that is empty, or not finite.

    Raises:
        UsageError: the range is none.
    """
    low, high = low_and_high
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(
            f"A range goes from a lower to a higher number, such as 0:4095; got {low:g}:{high:g}."
        )


def check_scale(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    """Refuse a mean and std of pixels that run to 255, and a std that is not above zero.

    Raises:
        UsageError: with the numbers to give instead.
    """
    if std is not None and min(std) <= 0:
        raise UsageError(f"Every value of std has to be above zero; {option_value(std)} was given.")
    if mean is not None and max(map(abs, mean)) > 1:
        instead = f"--mean {option_value(value / 255 for value in mean)}"
        if std is not None:
            instead += f" --std {option_value(value / 255 for value in std)}"
        raise UsageError(
            f"The mean {option_value(mean)} belongs to pixels from 0 to 255; here they run from 0 "
            f"to 1. Divide mean and std by 255: {instead}."
        )


def option_value(values: Iterable[float]) -> str:
    """Numbers as the command line takes them: ``0.485,0.456,0.406``."""
    return ",".join(f"{value:.4g}" for value in values)
