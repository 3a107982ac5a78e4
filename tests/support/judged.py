"""Images and maps for metrics, and what networks say of them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from cnnviz.attribution.queries import ModelQueries, PassCount
from cnnviz.engines.network import Network
from cnnviz.engines.target_functions import ClassLogit, TargetFunction
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import Geometry, Prepared, prepare
from cnnviz.metrics.base import Case, Metric, Subject
from cnnviz.types import Float32, Mask
from tests.support.networks import conv, flatten, linear, sequential

#: Of small images, (C, H, W).
SHAPE = (3, 12, 14)


def softmax(logits: Float32) -> npt.NDArray[np.float64]:
    """Probabilities of logits (..., K), in double precision."""
    powers = np.exp(logits.astype(np.float64))
    found: npt.NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return found


def case_of(
    source: tuple[int, int],
    region: Mask | None = None,
    *,
    network: tuple[int, int] | None = None,
    target: int = 3,
    **way: Any,
) -> Case:
    """A black image of (H, W) pixels, explained for one class of ten.

    Args:
        source: (H, W) of the image.
        region: where the class's objects are, bool of this size.
        network: (h, w) of the input; the image's size by default.
        target: the class.
        way: how the image comes to that size, as an input's specification says it.
    """
    spec = InputSpec(*(network or source), **way)
    prepared = prepare(np.zeros((*source, 3), np.uint8), spec)
    unasked = cast(ModelQueries, None)
    return Case(prepared, np.zeros(10, np.float32), ClassLogit(target), spec, unasked, region)


def case_for(
    network: Network,
    image: Float32,
    target: int | TargetFunction = 0,
    spec: InputSpec | None = None,
) -> Case:
    """An input (C, H, W) of a network, explained for a class; pixels are fed as they are."""
    size = image.shape[1:]
    spec = spec or InputSpec(*size, (0.0,) * len(image), (1.0,) * len(image))
    seen = np.zeros((*size, 3), np.uint8)
    prepared = Prepared(image, seen, Geometry(size, (0, 0, *size), size))
    function = ClassLogit(target) if isinstance(target, int) else target
    logits = network.logits(image[None])[0]
    return Case(prepared, logits, function, spec, ModelQueries(network))


def linear_network(weights: npt.ArrayLike) -> Network:
    """Of weights (C, H, W): two logits, the weights times the input, and 0."""
    drawn = np.asarray(weights, np.float32)
    channels = len(drawn)
    values = {
        "0.weight": np.eye(channels),
        "0.bias": np.zeros(channels),
        "2.weight": np.stack([drawn.ravel(), 0 * drawn.ravel()]),
        "2.bias": [0, 0],
    }
    layers = (conv(channels), flatten(), linear(2))
    return sequential(drawn.shape, *layers, values=values).network()


def passes_told(metric: Metric, shape: tuple[int, int, int], maps: int, cost: PassCount) -> int:
    """How many passes a metric says that it makes for one image with several maps."""
    once = metric.image_passes(shape).values()
    each = metric.passes(shape, cost).values()
    return sum(one.total() for one in once) + maps * sum(one.total() for one in each)


def subject_of(values: npt.ArrayLike, *, key: str = "drawn") -> Subject:
    """A drawn map, (H, W)."""
    drawn = np.asarray(values, np.float32)

    def attribute(inputs: Float32, _target: TargetFunction) -> Float32:
        return np.broadcast_to(drawn, (len(inputs), *drawn.shape))

    return Subject(key, key, drawn, attribute)
