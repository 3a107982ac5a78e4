"""ONNX's images brought to another size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import Pair, Resize2d
from cnnviz.importers.onnx_step import Rule, Step
from cnnviz.importers.tensor_layers import on_images
from cnnviz.importers.tensors import Operand

_MODES: Mapping[str, Literal["nearest", "bilinear", "bicubic"]] = {
    "nearest": "nearest",
    "linear": "bilinear",
    "bilinear": "bilinear",
    "cubic": "bicubic",
}
_COORDINATES: Mapping[str, Literal["half_pixel", "align_corners", "asymmetric"]] = {
    "half_pixel": "half_pixel",
    "half_pixel_symmetric": "half_pixel",  # which differs only where the factor is not the ratio
    "pytorch_half_pixel": "half_pixel",  # which differs only where one row comes out
    "tf_half_pixel_for_nn": "half_pixel",
    "align_corners": "align_corners",
    "asymmetric": "asymmetric",
}
_ROUNDING: Mapping[str, Literal["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]] = {
    "floor": "floor",
    "ceil": "ceil",
    "round_prefer_floor": "round_prefer_floor",
    "round_prefer_ceil": "round_prefer_ceil",
}


def _resize(step: Step) -> Operand:
    x = step.tensor()
    if len(x.shape) != 4:
        raise NetworkError(f"it resizes a value of {x.shape}, and cnnviz images only")
    newer = step.opset >= 11
    size = _size(step, 2 if newer else 1, 3)
    transform = step.text("coordinate_transformation_mode", "half_pixel" if newer else "asymmetric")
    nearest = step.text("nearest_mode", "round_prefer_floor" if newer else "floor")
    mode = step.text("mode", "nearest")
    if transform == "tf_half_pixel_for_nn":
        if nearest != "floor":
            raise NetworkError(f"it takes pixels by {transform} and {nearest}, which is not run")
        nearest = "round_prefer_ceil"  # its places are half a pixel farther
    one_row = transform == "pytorch_half_pixel" and 1 in size
    smaller = size[0] < x.shape[2] or size[1] < x.shape[3]
    if transform not in _COORDINATES or mode not in _MODES or nearest not in _ROUNDING or one_row:
        raise NetworkError(f"it resizes by {mode}, {transform} and {nearest}, which is not run")
    if (step.integer("antialias", 0) and smaller and mode != "nearest") or (
        step.integer("exclude_outside", 0) and mode == "cubic"
    ):
        raise NetworkError("it resizes with weights of its own (antialias or exclude_outside)")
    operator = Resize2d(
        size,
        _MODES[mode],
        _COORDINATES[transform],
        _ROUNDING[nearest],
        step.number("cubic_coeff_a", -0.75),
    )
    return x if size == x.shape[2:] and mode != "nearest" else on_images(step.graph, x, operator)


def _size(step: Step, scales_at: int, sizes_at: int) -> Pair:
    """Height and width of the output."""
    shape = step.tensor().shape
    axes = step.integers("axes") or tuple(range(len(shape)))
    if step.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NetworkError("it keeps the aspect ratio, which is not run")
    whole = list(shape)
    sizes = step.integers("sizes", sizes_at)
    if sizes is not None:
        found: dict[int, int] = dict(zip(axes, sizes, strict=True))
    else:
        scales = _scales(step, scales_at)
        found = {}
        for axis, scale in zip(axes, scales, strict=True):
            exact = shape[axis] * scale
            found[axis] = math.floor(exact + 1e-4)
            if abs(exact - found[axis]) > 1e-3:
                raise NetworkError(
                    f"it makes {exact:g} rows or columns of {shape[axis]}, which are no whole ones"
                )
    for axis, size in found.items():
        whole[axis] = size
    if step.batch > 1 and whole[0] == step.batch:
        whole[0] = 1
    if tuple(whole[:2]) != shape[:2] or min(whole) < 1:
        raise NetworkError(f"it brings a value of {shape} to {tuple(whole)}")
    return whole[2], whole[3]


def _scales(step: Step, place: int) -> list[float]:
    given: Any = step.attributes.get("scales")
    if given is None:
        given = step.constant(place, "scales").array.reshape(-1)
    return [float(each) for each in given]


RULES: Mapping[str, Rule] = {"Resize": _resize, "Upsample": _resize}
