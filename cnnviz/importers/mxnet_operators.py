"""MXNet's operators as typed ones: what each of its attributes means, and what it is when missing.

What has no typed form, or means something else there (a layout with the channels last, a pooling
window that starts in the padding), stays :class:`~cnnviz.graph.operators.Opaque`, which only
MXNet's own engine runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from cnnviz.graph.operators import (
    ELU,
    GELU,
    SELU,
    AdaptiveAvgPool2d,
    Add,
    Affine,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Divide,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    GroupNorm,
    HardSigmoid,
    Identity,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Mean,
    Multiply,
    Operator,
    PReLU,
    ReLU,
    ShapeError,
    Sigmoid,
    Softplus,
    Softsign,
    Subtract,
    Sum,
    Tanh,
    Trait,
    without_batch,
)
from cnnviz.importers import mxnet_layout
from cnnviz.importers.mxnet_attributes import NotTypedError, Place

_Reader = Callable[[Place], Operator | None]


def typed(name: str, place: Place) -> Operator | None:
    """MXNet's operator as a typed one, or None where it has no such form.

    Args:
        name: the operator's, in MXNet.
        place: where it stands.
    """
    try:
        found = _READERS[name](place)
        inputs = () if found is None else without_batch(found, place.inputs, place.constant)
        shapes = () if found is None else found.shapes(*inputs)[:1]
    except (KeyError, NotTypedError, ShapeError):
        return None
    # What MXNet does with it counts: a form that gives another shape is not its form.
    return found if shapes == (place.output,) else None


#: Operators whose output channels are each made of several input channels, by their names.
_MIXES = re.compile(r"conv|fully_?connected|dot|gemm|matmul|einsum|corr|rnn|concat|stack", re.I)
_REARRANGES = re.compile(r"reshape|transpose|swapaxis|expand_dims|squeeze|flatten", re.I)

_KEEPS_CHANNELS = {"Cast", "amp_cast", "_div_scalar"}


def traits(name: str) -> frozenset[Trait]:
    """What is true of an operator that stays opaque; see :class:`cnnviz.graph.operators.Opaque`."""
    found: dict[Trait, bool] = {
        "convolves": name == "Convolution",
        "mixes_channels": _MIXES.search(name) is not None,
        "keeps_channels": name in _KEEPS_CHANNELS,
        "rearranges": _REARRANGES.search(name) is not None,
    }
    return frozenset(trait for trait, holds in found.items() if holds)


def _convolution(place: Place) -> Operator:
    place.check_image()
    a = place.attributes
    return Conv2d(
        a.whole("num_filter"),
        a.pair("kernel", 1),
        a.pair("stride", 1),
        a.pads(),
        a.pair("dilate", 1),
        a.whole("num_group"),
    )


def _transposed(place: Place) -> Operator:
    place.check_image()
    a = place.attributes
    kernel, stride, dilation = a.pair("kernel", 1), a.pair("stride", 1), a.pair("dilate", 1)
    pads, adjusted = a.pads(), a.pair("adj", 0)
    target = a.pair("target_shape", 0)
    if any(target):  # instead of padding; oneDNN does not know of it
        over = [
            (size - 1) * s + d * (k - 1) + 1 - wanted
            for size, s, d, k, wanted in zip(
                place.inputs[0][1:], stride, dilation, kernel, target, strict=True
            )
        ]
        top, left = ((each + 1) // 2 for each in over)
        pads, adjusted = (top, left, top, left), (over[0] % 2, over[1] % 2)
    channels, groups = a.whole("num_filter"), a.whole("num_group")
    return ConvTranspose2d(
        channels, kernel, stride, pads, dilation, groups, output_padding=adjusted
    )


def _dense(place: Place) -> Operator | None:
    return Linear(place.attributes.whole("num_hidden"), place.attributes.flag("flatten", True))


def _batch_norm(default_eps: float) -> _Reader:
    def read(place: Place) -> Operator | None:
        a = place.attributes
        axis = a.whole("axis", 1) % (len(place.inputs[0]) + 1)
        if axis == 0 or not all(place.constant[1:]):
            return None
        return BatchNorm(a.number("eps", default_eps), axis - 1, a.flag("fix_gamma", True))

    return read


def _pooling(place: Place) -> Operator | None:
    place.check_image()
    a = place.attributes
    kind = a.text.get("pool_type", "max")
    if a.flag("global_pool"):
        return {"avg": GlobalAvgPool2d(), "max": GlobalMaxPool2d()}.get(kind)
    convention = a.text.get("pooling_convention", "valid")
    if kind not in ("max", "avg") or convention not in ("valid", "full"):
        return None
    window = (a.pair("kernel", 1), a.pair("stride", 1), a.pads(), convention == "full")
    if kind == "max":
        return MaxPool2d(*window)
    return AvgPool2d(*window, a.flag("count_include_pad", True))


def _adaptive(place: Place) -> Operator | None:
    size = place.attributes.several("output_size") or (1,)
    return AdaptiveAvgPool2d((size[0], size[-1])) if len(size) <= 2 else None


def _activation(place: Place) -> Operator | None:
    kinds: Mapping[str, Operator] = {
        "relu": ReLU(),
        "sigmoid": Sigmoid(),
        "tanh": Tanh(),
        "softrelu": Softplus(),
        "softsign": Softsign(),
    }
    return kinds.get(place.attributes.text.get("act_type", ""))


def _leaky(place: Place) -> Operator | None:
    kind = place.attributes.text.get("act_type", "leaky")
    slope = place.attributes.number("slope", 0.25)
    if kind == "leaky":
        return LeakyReLU(slope)
    if kind == "elu":
        return ELU(slope)
    if kind == "prelu" and place.constant[1]:
        return PReLU()
    return {"selu": SELU(), "gelu": GELU()}.get(kind)


def _clip(place: Place) -> Operator | None:
    a = place.attributes
    upper = a.number("a_max", math.inf)
    return ReLU(upper) if a.number("a_min", math.nan) == 0 and upper > 0 else None


def _response_norm(place: Place) -> Operator | None:
    a = place.attributes
    return LocalResponseNorm(
        a.whole("nsize"), a.number("alpha", 1e-4), a.number("beta", 0.75), a.number("knorm", 2.0)
    )


def _instance_norm(place: Place) -> Operator | None:
    return InstanceNorm(place.attributes.number("eps", 1e-3))


def _layer_norm(place: Place) -> Operator | None:
    a = place.attributes
    axis = a.whole("axis", -1)
    if axis == 0 or a.flag("output_mean_var"):
        return None
    return LayerNorm((axis - 1 if axis > 0 else axis,), a.number("eps", 1e-5))


def _group_norm(place: Place) -> Operator | None:
    a = place.attributes
    if a.flag("output_mean_var"):
        return None
    return GroupNorm(a.whole("num_groups"), a.number("eps", 1e-5))


def _hard_sigmoid(place: Place) -> Operator | None:
    return HardSigmoid(place.attributes.number("alpha", 0.2), place.attributes.number("beta", 0.5))


def _affine(scale: bool, sign: int = 1) -> _Reader:
    def read(place: Place) -> Operator | None:
        number = place.attributes.number("scalar", 0.0)
        return Affine(scale=number**sign) if scale else Affine(shift=sign * number)

    return read


def _less(place: Place) -> Operator | None:
    return Affine(-1.0, place.attributes.number("scalar", 0.0))


def _reduction(operator: type[Mean] | type[Sum]) -> _Reader:
    def read(place: Place) -> Operator | None:
        a = place.attributes
        axes = a.several("axis")
        if not axes or a.flag("exclude"):
            return None
        whole = len(place.inputs[0]) + 1
        places = tuple(sorted(axis % whole - 1 for axis in axes))
        return operator(places, a.flag("keepdims")) if places[0] >= 0 else None

    return read


def _plain(operator: Operator) -> _Reader:
    return lambda place: operator


_READERS: Mapping[str, _Reader] = {
    "Activation": _activation,
    "BatchNorm": _batch_norm(1e-3),
    "BatchNorm_v1": _batch_norm(1e-3),
    "Concat": mxnet_layout.concat,
    "Convolution": _convolution,
    "Convolution_v1": _convolution,
    "Deconvolution": _transposed,
    "Flatten": _plain(Flatten()),
    "FullyConnected": _dense,
    "GroupNorm": _group_norm,
    "InstanceNorm": _instance_norm,
    "LRN": _response_norm,
    "LayerNorm": _layer_norm,
    "LeakyReLU": _leaky,
    "Pooling": _pooling,
    "Pooling_v1": _pooling,
    "Crop": mxnet_layout.crop,
    "Pad": mxnet_layout.pad,
    "Reshape": mxnet_layout.reshape,
    "SliceChannel": mxnet_layout.split,
    "_Plus": _plain(Add()),
    "_contrib_AdaptiveAvgPooling2D": _adaptive,
    "_contrib_SyncBatchNorm": _batch_norm(1e-3),
    "_copy": _plain(Identity()),
    "_minus_scalar": _affine(scale=False, sign=-1),
    "_mul_scalar": _affine(scale=True),
    "_plus_scalar": _affine(scale=False),
    "_rminus_scalar": _less,
    "_split_v2": mxnet_layout.split_v2,
    "broadcast_add": _plain(Add()),
    "broadcast_div": _plain(Divide()),
    "broadcast_mul": _plain(Multiply()),
    "broadcast_sub": _plain(Subtract()),
    "clip": _clip,
    "elemwise_add": _plain(Add()),
    "elemwise_div": _plain(Divide()),
    "elemwise_mul": _plain(Multiply()),
    "elemwise_sub": _plain(Subtract()),
    "expand_dims": mxnet_layout.reshape,
    "hard_sigmoid": _hard_sigmoid,
    "mean": _reduction(Mean),
    "relu": _plain(ReLU()),
    "sigmoid": _plain(Sigmoid()),
    "slice": mxnet_layout.slice_,
    "slice_axis": mxnet_layout.slice_axis,
    "slice_like": mxnet_layout.slice_like,
    "squeeze": mxnet_layout.reshape,
    "softsign": _plain(Softsign()),
    "sum": _reduction(Sum),
    "tanh": _plain(Tanh()),
    "transpose": mxnet_layout.transpose,
}
