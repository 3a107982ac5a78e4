"""What a network expects of its input: size, normalization, channels. Needs no NumPy, no OpenCV."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnviz.errors import UsageError
from cnnviz.text import joined

if TYPE_CHECKING:
    import numpy.typing as npt

RESIZE_MODES = ("stretch", "crop")
"""How an image comes to the size of a network's input."""

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
        mean: of pixels in [0, 1]; three values, or one for a gray network, in the order in which
            the network takes its channels; ImageNet's by default.
        std: their standard deviation, likewise.
        channels: the order of a color network's channels, ``rgb`` or ``bgr``.
    """

    height: int = 224
    width: int = 224
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels: str = CHANNEL_ORDERS[0]

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
        if len(self.mean) not in (1, 3) or len(self.mean) != len(self.std):
            raise UsageError(
                "mean and std need the same number of values, three (RGB) or one (gray); got "
                f"mean {self.mean} and std {self.std}."
            )
        if not all(value > 0 for value in self.std):
            raise UsageError(f"Every value of std must be above zero; got {self.std}.")
        if len(self.mean) == 1 and self.channels != CHANNEL_ORDERS[0]:
            raise UsageError(
                f"A gray network has one channel, and no order of channels: leave out channels "
                f"{self.channels} (--channels)."
            )

    def ordered(self, rgb: tuple[float, ...]) -> tuple[float, ...]:
        """Values of red, green and blue in the order of the network's channels."""
        return rgb[::-1] if self.channels == "bgr" else rgb

    def swapped(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array (..., C, H, W) from RGB to the order of the network's channels, or back."""
        return values[..., ::-1, :, :] if self.channels == "bgr" else values

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one network input."""
        return len(self.mean), self.height, self.width


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
