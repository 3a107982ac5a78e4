"""MXNet's operators that move, take or join numbers and change none, as typed ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cnnviz.graph.operators import Concat, Operator, Pad, Reshape, Slice, Split, Transpose
from cnnviz.importers.mxnet_attributes import Place
from cnnviz.types import Shape


def concat(place: Place) -> Operator | None:
    """Along any axis but the batch."""
    axis = place.attributes.whole("dim", 1) % (len(place.inputs[0]) + 1)
    return Concat(axis - 1) if axis > 0 and not any(place.constant) else None


def pad(place: Place) -> Operator | None:
    """Height and width, with a number or what stands there."""
    a = place.attributes
    widths = a.several("pad_width")
    if len(widths) != 8 or any(widths[:4]):
        return None
    top, bottom, left, right = widths[4:]
    pads = ((0, 0), (top, bottom), (left, right))
    kinds: Mapping[str, Operator] = {
        "constant": Pad(pads, "constant", a.number("constant_value", 0.0)),
        "edge": Pad(pads, "edge"),
        "reflect": Pad(pads, "reflect"),
    }
    return kinds.get(a.text.get("mode", ""))


def reshape(place: Place) -> Operator | None:
    """Whatever keeps the batch and the values' order: what it gives says all."""
    return Reshape(place.output) if math.prod(place.inputs[0]) == math.prod(place.output) else None


def slice_(place: Place) -> Operator | None:
    """``slice``: limits on several axes, the batch among them."""
    a = place.attributes
    limits = [(a.limits(key), usual) for key, usual in (("begin", 0), ("end", None), ("step", 1))]
    sizes = place.inputs[0]
    begins, ends, steps = (
        (*values, *(usual,) * (len(sizes) + 1 - len(values))) for values, usual in limits
    )
    if begins[0] not in (None, 0) or ends[0] is not None or steps[0] not in (None, 1):
        return None  # a part of the batch
    return _taken(sizes, begins[1:], ends[1:], steps[1:])


def slice_axis(place: Place) -> Operator | None:
    """Limits on one axis."""
    a = place.attributes
    sizes = place.inputs[0]
    axis = a.whole("axis", 0) % (len(sizes) + 1) - 1
    end = a.text.get("end", "None")
    if axis < 0:
        return None
    begins, ends = [0] * len(sizes), [None] * len(sizes)
    return _taken(
        sizes,
        [a.whole("begin", 0) if i == axis else one for i, one in enumerate(begins)],
        [int(end) if i == axis and end != "None" else one for i, one in enumerate(ends)],
        [1] * len(sizes),
    )


def _taken(
    sizes: Shape,
    begins: Sequence[int | None],
    ends: Sequence[int | None],
    steps: Sequence[int | None],
) -> Operator | None:
    """A slice with limits as Python writes them, negative ones from the end."""
    if any((step or 1) < 0 for step in steps):
        return None
    spans = [
        slice(begin, end, step).indices(size)
        for size, begin, end, step in zip(sizes, begins, ends, steps, strict=True)
    ]
    begin, end, step = zip(*spans, strict=True)
    return Slice(begin, end, step)


def slice_like(place: Place) -> Operator | None:
    """A part from the beginning, as large as another value or, of some axes only, smaller."""
    sizes = place.inputs[0]
    return Slice((0,) * len(sizes), place.output, (1,) * len(sizes))


def crop(place: Place) -> Operator | None:
    """Height and width, from a corner or around the center."""
    a = place.attributes
    channels, *sizes = place.inputs[0]
    kept = place.output[1:]
    first = a.pair("offset", 0)
    if a.flag("center_crop"):
        first = ((sizes[0] - kept[0]) // 2, (sizes[1] - kept[1]) // 2)
    end = (channels, first[0] + kept[0], first[1] + kept[1])
    return Slice((0, *first), end, (1, 1, 1))


def split(place: Place) -> Operator | None:
    """Into equal parts."""
    a = place.attributes
    axis = a.whole("axis", 1) % (len(place.inputs[0]) + 1) - 1
    parts = a.whole("num_outputs", 1)
    if axis < 0 or a.flag("squeeze_axis") or place.inputs[0][axis] % parts:
        return None
    size = place.inputs[0][axis] // parts
    return Split(axis, tuple(size * part for part in range(1, parts)))


def split_v2(place: Place) -> Operator | None:
    """Into equal parts, or where indices say."""
    a = place.attributes
    axis = a.whole("axis", 0) % (len(place.inputs[0]) + 1) - 1
    sections, indices = a.whole("sections", 0), a.several("indices")
    if axis < 0 or a.flag("squeeze_axis"):
        return None
    if sections:
        size = place.inputs[0][axis] // sections
        indices = tuple(size * part for part in range(sections))
    return Split(axis, tuple(indices[1:]))


def transpose(place: Place) -> Operator | None:
    """The axes in another order, the batch first as before."""
    axes = place.attributes.several("axes")
    if not axes or axes[0] != 0:
        return None
    return Transpose(tuple(axis - 1 for axis in axes[1:]))
