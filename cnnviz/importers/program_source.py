"""What every file or module that is read as a program of tensors can tell, whatever its format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

from cnnviz.types import Float32, Shape

if TYPE_CHECKING:
    from cnnviz.importers.tensors import TensorProgram


#: By how much what else runs a network may differ, relative to the largest number: float32 sums in
#: another order differ by 1e-5 at most in what was tried, a wrong operator by far more than this.
MOST_APART = 1e-3
#: The same where that rounds to half precision: 4.5e-4 at most in seven networks of torchvision.
MOST_APART_HALF = 2e-2
#: Where that rounds so coarsely that a difference is told, and never refused.
MOST_APART_QUANTIZED = math.inf
#: The smallest number that half precision holds with all its digits.
LEAST_HALF = 2.0**-14


def in_float32(whose: str) -> str:
    """What is said of a network in half precision, as a clause."""
    return f"{whose} computes in less than float32, cnnviz in float32"


@dataclass(frozen=True)
class InputHint:
    """What is known of the images that a network takes. None, or empty: nothing is known.

    Attributes:
        channels: how many.
        size: (height, width).
        mean: of pixels in [0, 1], a number a channel.
        std: likewise.
        reason: why these, in a clause: ``the file normalizes pixels itself``.
        resize: ``stretch`` or ``crop``.
        crop_fraction: the part of the resized image's short side that is kept.
        interpolation: how pixels are computed, see :class:`cnnviz.images.input_spec.InputSpec`.
        validation: the options with which its package's own validation feeds it at another size.
        labels: the classes' names.
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    reason: str = ""
    resize: str | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    validation: str = ""
    labels: tuple[str, ...] = ()


class ProgramSource(Protocol):
    """A network that is read as a program of tensors, with its weights in it.

    Attributes:
        name: what it is called.
        file: where its weights come from; None for a module that somebody made in Python.
        origin: how that file came to be there, in words: ``the network's own file``.
    """

    name: str
    file: Path | None
    origin: str

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that its weights come from, :attr:`file` first; none of a module."""

    @property
    def hint(self) -> InputHint:
        """What it says of its images."""

    def program(self, size: Shape, head: str | None) -> TensorProgram:
        """The whole of it, for images of a size (C, H, W), down to an output.

        Raises:
            NetworkError: it has operators that are not run, or does not take such images.
            UsageError: there is no output, or inner value, that is called ``head``; or there are
                several outputs and none was chosen.
        """

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about what was assumed or changed in reading it; last after the program."""

    @property
    def reference(self) -> str | None:
        """What else runs it here, ``onnxruntime 1.27``; None if nothing does."""

    @property
    def most_apart(self) -> float:
        """By how much that may differ, relative to the largest number."""

    @property
    def takes_bytes(self) -> bool:
        """Whether the images that this is given have to be whole numbers."""

    @property
    def unchecked(self) -> str:
        """A sentence that says why there is no comparison, if the network itself prevents it."""

    def reference_output(self, images: Float32, head: str | None) -> npt.NDArray[Any]:
        """What that gives for one image, (1, C, H, W), at the same output."""
