"""Names for types that many modules speak of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    #: Of any type.
    Array = npt.NDArray[Any]
    #: Pixels, (H, W, 3), from 0 to 255.
    RgbImage = npt.NDArray[np.uint8]
    #: (H, W), true for the pixels that are meant.
    Mask = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

#: Takes a sentence for the user: something is assumed, or there is something to wait for.
Notify = Callable[[str], None]

#: Of an array. A network's shapes are without the batch: ``(C, h, w)``.
Shape = tuple[int, ...]

#: Of a network's parameters, by name.
Shapes = Mapping[str, Shape]

#: Red, green and blue, each from 0 to 255.
Color = tuple[int, int, int]

#: How a map is rendered: ``heat``, at least 0, as a color overlay; ``signed``, three channels
#: around 0, in color on mid-gray; ``diverging``, around 0, (h, w) or the sum over (C, h, w), from
#: blue over white to red; ``magnitude``, at least 0, in gray; ``probability``, from 0 to 1, in
#: colors that mean the same in all images; ``classes``, indices of classes, with a legend.
MapKind = Literal["heat", "signed", "diverging", "magnitude", "probability", "classes"]

_ELEMENTS = {
    "Array": "generic",
    "RgbImage": "uint8",
    "Mask": "bool_",
    "Float32": "float32",
    "Float64": "float64",
}


def __getattr__(name: str) -> object:
    """The types of arrays, on first use: listing a network's layers needs no NumPy."""
    if name not in _ELEMENTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import numpy as np
    import numpy.typing as npt

    arrays: Any = npt.NDArray
    array: object = arrays[getattr(np, _ELEMENTS[name])]
    return array
