"""Images and maps for metrics that ask no network."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from cnnviz.attribution.queries import ModelQueries
from cnnviz.engines.target_functions import ClassLogit, TargetFunction
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import prepare
from cnnviz.metrics.base import Case, Subject
from cnnviz.types import Float32, Mask


def case_of(
    source: tuple[int, int],
    region: Mask | None = None,
    *,
    network: tuple[int, int] | None = None,
    resize: str = "stretch",
    target: int = 3,
) -> Case:
    """A black image of (H, W) pixels, explained for one class of ten.

    Args:
        source: (H, W) of the image.
        region: where the class's objects are, bool of this size.
        network: (h, w) of the input; the image's size by default.
        resize: how the image comes to that size.
        target: the class.
    """
    spec = InputSpec(*(network or source))
    prepared = prepare(np.zeros((*source, 3), np.uint8), spec, resize)
    unasked = cast(ModelQueries, None)
    return Case(prepared, np.zeros(10, np.float32), ClassLogit(target), spec, unasked, region)


def subject_of(values: npt.ArrayLike, *, key: str = "drawn") -> Subject:
    """A drawn map, (H, W)."""
    drawn = np.asarray(values, np.float32)

    def attribute(inputs: Float32, _target: TargetFunction) -> Float32:
        return np.broadcast_to(drawn, (len(inputs), *drawn.shape))

    return Subject(key, key, drawn, attribute)
