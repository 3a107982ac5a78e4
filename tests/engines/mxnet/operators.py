"""Every MXNet operator that can stand in a network, its gradient against differences.

Run by hand for the table of all of them, or of some::

    python tests/engines/mxnet/operators.py [OPERATOR ...] [--every N] [--fast]

Each operator stands in a small network: a convolution before it or something else, so that its
input lies in oneDNN's order or in the plain one, and a convolution, a concatenation, a pooling or
a dense layer behind it, so that its gradient does. The engine's gradient (float32) is held against
central differences of the same network, run by MXNet in float64, where oneDNN has no part, along
random directions; what MXNet computes in float32 even then is computed in NumPy. Before each trial
memory of the sizes in question is filled with NaN and given back, so that what is not written
shows; each gradient is asked for twice.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import math
import multiprocessing
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnnviz.engines.base import Device, GradientRequest
from cnnviz.engines.mxnet.derivatives import DERIVATIVES, PASSED_ONCE, needs_plain_order
from cnnviz.engines.mxnet.lowering import lowered_graph
from cnnviz.engines.mxnet.symbol import Entry, Graph, Node, for_inference
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine
from cnnviz.errors import NetworkError
from cnnviz.graph.architecture import Architecture
from cnnviz.importers.mxnet_symbol import architecture_of
from tests.support.mxnet import import_mxnet

#: Relative L2, float32 against differences in float64.
TOLERANCE = 1e-4
#: The same for operators whose differences are known no better, and why that is so.
LOOSE_TOLERANCE = 1e-2
FLOAT32_ONLY = "float32 only"
LOOSE: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "_contrib_interleaved_matmul_encdec_qk",
            "_contrib_interleaved_matmul_encdec_valatt",
            "_contrib_interleaved_matmul_selfatt_qk",
            "_contrib_interleaved_matmul_selfatt_valatt",
        ),
        FLOAT32_ONLY,
    ),
    **dict.fromkeys(
        ("_npi_solve", "linalg_det", "linalg_inverse", "linalg_slogdet"),
        "matrices near to singular ones",
    ),
}
#: What compares a thousand values, or holds them against a bound: now and then two are so near to
#: each other (5e-7 was seen) that float32, or a step, puts them in another order. What is wrong
#: here has to be so twice.
COMPARE = {
    *("Activation", "LeakyReLU", "Pooling", "Pooling_v1", "RNN", "_np_max", "_np_min", "clip"),
    *("max", "min", "relu", "sort", "topk"),
}
CLASSES = 3
#: Operators through which the engine does not let MXNet lead back as it would.
OURS = {*DERIVATIVES, *PASSED_ONCE}
CHANNELS = (3, 8, 12, 20, 32)
BATCHES = (1, 2)
#: What stands before the operator and behind it.
AROUND = (
    ("conv", "conv"),
    ("plain", "dense"),
    ("conv", "concat"),
    ("pool", "pool"),
    ("plain", "conv"),
)
#: What differences are taken over: in float64 so little that no kink lies between.
STEP = 1e-7
#: In float32 short steps drown in rounding, and long ones cross kinks: the best of several.
LOOSE_STEPS = (1e-5, 1e-3, 2e-2)
RANDOM = np.random.RandomState(0)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Constant:
    """An argument that does not depend on the image; its shape and values from those of "x"."""

    make: Callable[[Shape, np.random.RandomState], np.ndarray]


Input = str | Constant


@dataclass(frozen=True)
class Case:
    """An operator with its attributes, and what it is given.

    Attributes:
        inputs: "x" and "y" are two feature maps (N, C, h, w); the rest is constant.
        domain: into what interval the feature maps are brought first.
        size: (h, w) of the feature maps.
        outputs: how many of the outputs are read.
        shape: what "x" and "y" are reshaped to first; 0 keeps an axis.
        relu: whether a ReLU follows; the highest of no values at all is -3.4e38.
    """

    op: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ("x",)
    domain: tuple[float, float] | None = None
    size: tuple[int, int] = (7, 6)
    outputs: int = 1
    shape: str | None = None
    relu: bool = False

    @property
    def is_for_one(self) -> bool:
        """Whether a constant has the size of the batch, or the first axis is none."""
        return not (self.shape or "(0").startswith("(0") or any(
            np.shape(given.make((1, 9, 9, 9), RANDOM)) != np.shape(given.make((2, 9, 9, 9), RANDOM))
            for given in self.inputs
            if isinstance(given, Constant)
        )

    def __str__(self) -> str:
        attrs = ", ".join(f"{key}={value}" for key, value in self.attrs.items())
        more = f" of {self.shape}" if self.shape else ""
        return f"{self.op}({attrs}){more}"


# -- operators whose values MXNet computes in float32 only, in float64 ----------------------------


def _leaky(attrs: Mapping[str, str], x: np.ndarray, *gamma: np.ndarray) -> np.ndarray:
    kind = attrs.get("act_type", "leaky")
    if kind == "gelu":
        return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    if kind == "selu":
        return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))
    slope: Any = float(attrs.get("slope", 0.25))
    if kind == "elu":
        return np.where(x > 0, x, slope * np.expm1(x))
    if kind == "rrelu":
        slope = (
            float(attrs.get("lower_bound", 0.125)) + float(attrs.get("upper_bound", 1 / 3))
        ) / 2
    if kind == "prelu":
        slope = gamma[0].reshape(-1, *(1,) * (x.ndim - 2))
    return np.where(x > 0, x, slope * x)


def _response_norm(attrs: Mapping[str, str], x: np.ndarray) -> np.ndarray:
    size = int(attrs["nsize"])
    places = np.arange(x.shape[1])
    near = np.abs(np.subtract.outer(places, places)) <= size // 2
    squares = np.einsum("ij,nj...->ni...", near, x**2)
    share = float(attrs.get("alpha", 1e-4)) / size
    return x * (float(attrs.get("knorm", 2)) + share * squares) ** -float(attrs.get("beta", 0.75))


def _softmax_over(axis: int, x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _softmax_activation(attrs: Mapping[str, str], x: np.ndarray) -> np.ndarray:
    """Not over a whole image, as MXNet's documentation has it: oneDNN takes the last axis."""
    return _softmax_over(1 if attrs.get("mode") == "channel" else -1, x)


def _instance_norm(
    attrs: Mapping[str, str], x: np.ndarray, gamma: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    axes = tuple(range(2, x.ndim))
    wide = (-1, *(1,) * len(axes))
    away = x - x.mean(axes, keepdims=True)
    scaled = away / np.sqrt(x.var(axes, keepdims=True) + float(attrs.get("eps", 1e-3)))
    return scaled * gamma.reshape(wide) + beta.reshape(wide)


def _grid(attrs: Mapping[str, str], x: np.ndarray) -> np.ndarray:
    if attrs["transform_type"] == "warp":
        height, width = x.shape[2:]
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        half = np.array([width - 1, height - 1]).reshape(2, 1, 1) / 2
        return (x + np.stack([columns, rows])) / half - 1
    height, width = map(int, re.findall(r"\d+", attrs["target_shape"]))
    columns, rows = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    places = np.stack([columns, rows, np.ones_like(rows)])
    return np.einsum("nij,jhw->nihw", x.reshape(-1, 2, 3), places)


def _rectified_rnn(
    attrs: Mapping[str, str], x: np.ndarray, weights: np.ndarray, state: np.ndarray
) -> np.ndarray:
    """h' = relu(W x + b + U h + c), of (T, N, I); all W and U lie before all b and c."""
    size, ways = int(attrs["state_size"]), 1 + (attrs.get("bidirectional") == "True")
    layers = int(attrs["num_layers"])
    *_, biases = np.split(weights, [len(weights) - layers * ways * 2 * size])
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            w, u, weights = np.split(weights, np.cumsum([size * x.shape[2], size * size]))
            b, c, biases = np.split(biases, [size, 2 * size])
            h, steps = state[layer * ways + way], []
            for step in x[::-1] if way else x:
                inner = step @ w.reshape(size, -1).T + b + h @ u.reshape(size, size).T + c
                h = np.maximum(inner, 0)
                steps.append(h)
            outputs.append(np.stack(steps[::-1] if way else steps))
        x = np.concatenate(outputs, axis=2)
    return x


#: By the name of the operator, and of an RNN by its mode.
REFERENCES: Mapping[str, Callable[..., np.ndarray]] = {
    "GridGenerator": _grid,
    "IdentityAttachKLSparseReg": lambda attrs, x, average: x,
    "InstanceNorm": _instance_norm,
    "LRN": _response_norm,
    "LeakyReLU": _leaky,
    "SoftmaxActivation": _softmax_activation,
    "rnn_relu": _rectified_rnn,
}


# -- the operators --------------------------------------------------------------------------------


def normal(*axes: int) -> Constant:
    """A constant as large as these axes of "x"; -1 stands for an axis of one."""
    return Constant(
        lambda x, random: random.normal(size=[1 if axis < 0 else x[axis] for axis in axes])
    )


def fixed(shape: Sequence[int] | Callable[[Shape], Sequence[int]], scale: float = 1.0) -> Constant:
    return Constant(
        lambda x, random: scale * random.normal(size=shape(x) if callable(shape) else shape)
    )


def exactly(values: Callable[[Shape], Any]) -> Constant:
    return Constant(lambda x, _random: np.asarray(values(x), np.float32))


def each(names: str) -> list[str]:
    return names.split()


PER_CHANNEL = normal(1)
POSITIVE = Constant(lambda x, random: random.uniform(0.5, 2, x[1]))


def elementwise() -> Iterator[Case]:
    for name in each(
        "BlockGrad MakeLoss _contrib_div_sqrt_dim _copy _np_copy abs _npi_absolute arctan "
        "_npi_arctan arcsinh _npi_arcsinh cos _npi_cos cosh _npi_cosh degrees "
        "_npi_degrees erf exp _npi_exp expm1 _npi_expm1 hard_sigmoid log_softmax make_loss "
        "negative _npi_negative _npx_relu _npx_sigmoid radians _npi_radians relu sigmoid sin "
        "_npi_sin sinh _npi_sinh softmax softmin softsign square _npi_square tanh _npi_tanh "
        "_npi_nan_to_num amp_cast Cast"
    ):
        attrs = {"dtype": "float32"} if name in ("amp_cast", "Cast") else {}
        yield Case(name, attrs)
    for name in [
        "_npi_tan",
        "arcsin",
        "_npi_arcsin",
        "arccos",
        "_npi_arccos",
        "arctanh",
        "_npi_arctanh",
        "erfinv",
    ]:
        yield Case(name, domain=(-0.8, 0.8))
    yield Case("tan", domain=(-0.8, 0.8))
    for name in each(
        "cbrt _npi_cbrt gamma gammaln log _npi_log log10 _npi_log10 log1p _npi_log1p log2 "
        "_npi_log2 rcbrt reciprocal _npi_reciprocal rsqrt sqrt _npi_sqrt"
    ):
        yield Case(name, domain=(0.4, 2.5))
    for name in ("arccosh", "_npi_arccosh"):
        yield Case(name, domain=(1.2, 3))
    for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign"):
        yield Case("Activation", {"act_type": kind})
    for kind in ("leaky", "elu", "gelu", "selu"):
        for slope in (0.25, 1.3):
            yield Case("LeakyReLU", {"act_type": kind, "slope": slope})
    yield Case("LeakyReLU", {"act_type": "rrelu"})
    yield Case("LeakyReLU", {"act_type": "prelu"}, ("x", PER_CHANNEL))
    yield Case("LeakyReLU", {"act_type": "prelu"}, ("x", fixed((1,))))
    yield Case(
        "IdentityAttachKLSparseReg", {}, ("x", PER_CHANNEL), domain=(0.1, 0.9), shape="(0, -1)"
    )
    yield Case("clip", {"a_min": -0.3, "a_max": 0.4})
    yield Case("clip", {"a_min": 0, "a_max": 6})
    yield Case("hard_sigmoid", {"alpha": 0.5, "beta": 0.2})
    yield Case("smooth_l1", {"scalar": 1.0})
    yield Case("smooth_l1", {"scalar": 3.0})
    yield Case("_contrib_quadratic", {"a": 2, "b": 3, "c": 1})
    yield Case("_contrib_gradientmultiplier", {"scalar": -2})
    yield from softmaxes()
    for name in each("LinearRegressionOutput LogisticRegressionOutput MAERegressionOutput"):
        yield Case(name, {}, ("x", normal(0, 1, 2, 3)))
    yield Case("SVMOutput", {}, ("x", exactly(lambda x: np.zeros(x[0]))), shape="(0, -1)")


def softmaxes() -> Iterator[Case]:
    for name in each("softmax log_softmax softmin _npx_softmax _npx_log_softmax"):
        for axis in (1, 2, 3, -1, -2, -3):
            yield Case(name, {"axis": axis})
        yield Case(name, {"axis": 1, "temperature": 3})
        yield Case(name, {"axis": -1, "temperature": 0.7})
        yield Case(name, {"axis": 1, "dtype": "float32"})
        yield Case(name, {}, shape="(0, -1)", size=(2, 1))
        yield Case(name, {"axis": 1}, shape="(0, 0, -1)")
    for mode in ("channel", "instance"):
        for size in ((7, 6), (2, 1)):
            yield Case("SoftmaxActivation", {"mode": mode}, size=size)
    yield Case("SoftmaxActivation", {"mode": "instance"}, shape="(0, -1)", size=(1, 2))
    for attrs in (
        {},
        {"grad_scale": 3},
        {"use_ignore": True, "ignore_label": 0},
        {"normalization": "batch"},
        {"normalization": "valid", "use_ignore": True, "ignore_label": 0},
        {"out_grad": True},
        {"smooth_alpha": 0.1},
    ):
        by_place = exactly(lambda x: np.zeros((x[0], *x[2:])))
        yield Case("SoftmaxOutput", {"multi_output": True, **attrs}, ("x", by_place))
        by_row = exactly(lambda x: np.zeros(x[:-1]))
        yield Case("SoftmaxOutput", {"preserve_shape": True, **attrs}, ("x", by_row))
        by_image = exactly(lambda x: np.zeros(x[0]))
        yield Case("SoftmaxOutput", attrs, ("x", by_image), shape="(0, -1)")
        yield Case("SoftmaxOutput", attrs, ("x", by_row))


def with_numbers() -> Iterator[Case]:
    """Operators of one array and one number, or of two arrays of one shape."""
    for name in each("div hypot maximum minimum minus mod mul plus rminus"):
        yield Case(f"_{name}_scalar", {"scalar": 0.37})
    for name in each(
        "add subtract rsubtract multiply true_divide mod arctan2 rarctan2 ldexp rldexp"
    ):
        yield Case(f"_npi_{name}_scalar", {"scalar": 1.37})
    for name in each("power rpower rdiv rmod"):
        yield Case(f"_{name}_scalar", {"scalar": 1.7}, domain=(0.4, 2.5))
    for name in each("power rpower rtrue_divide rmod"):
        yield Case(f"_npi_{name}_scalar", {"scalar": 1.7}, domain=(0.4, 2.5))
    yield Case("_power_scalar", {"scalar": 2})
    yield Case("_power_scalar", {"scalar": 3})
    yield Case("_scatter_plus_scalar", {"scalar": 2})
    yield Case("_scatter_minus_scalar", {"scalar": 2})
    for name in each("_maximum _minimum elemwise_add elemwise_mul elemwise_sub _hypot"):
        yield Case(name, {}, ("x", "y"))
        yield Case(name, {}, ("x", "x"))
        yield Case(name, {}, ("x", normal(0, 1, 2, 3)))
    for name in each("elemwise_div _power _mod _scatter_elemwise_div"):
        yield Case(name, {}, ("x", "y"), domain=(0.4, 2.5))
        yield Case(name, {}, ("y", "x"), domain=(0.4, 2.5))
    for name in each(
        "broadcast_add broadcast_sub broadcast_mul broadcast_maximum broadcast_minimum "
        "broadcast_hypot _npi_add _npi_subtract _npi_multiply _npi_maximum _npi_minimum "
        "_npi_hypot _npi_copysign"
    ):
        yield Case(name, {}, ("x", "y"))
        yield Case(name, {}, ("x", normal(-1, 1, -1, -1)))
        yield Case(name, {}, (normal(0, 1, -1, 3), "x"))
        yield Case(name, {}, (normal(-1, -1, -1, -1), "x"))
    for name in each(
        "broadcast_div broadcast_power broadcast_mod _npi_true_divide _npi_power _npi_mod "
        "_npi_arctan2 _npi_ldexp"
    ):
        yield Case(name, {}, ("x", "y"), domain=(0.4, 2.5))
        positive = Constant(lambda x, random: random.uniform(0.5, 2, (1, x[1], 1, 1)))
        yield Case(name, {}, ("x", positive), domain=(0.4, 2.5))
        yield Case(name, {}, (positive, "x"), domain=(0.4, 2.5))
    for count in (2, 3):
        yield Case("add_n", {"num_args": count}, ("x", "y", "x")[:count])
    condition = Constant(lambda x, random: (random.normal(size=x) > 0).astype(np.float32))
    yield Case("where", {}, (condition, "x", "y"))
    yield Case("where", {}, (condition, "x", normal(0, 1, 2, 3)))
    yield Case("_npi_where", {}, (condition, "x", "y"))
    yield Case("_npi_where_lscalar", {"scalar": 0.3}, (condition, "x"))
    yield Case("_npi_where_rscalar", {"scalar": 0.3}, (condition, "x"))
    yield Case("amp_multicast", {"num_outputs": 2}, ("x", "y"), outputs=2)
    yield Case("_identity_with_attr_like_rhs", {}, ("x", "y"))


def layers() -> Iterator[Case]:
    for nsize in (1, 3, 5, 7, 11):
        yield Case("LRN", {"nsize": nsize, "alpha": 0.5, "beta": 0.75, "knorm": 1})
    yield Case("LRN", {"nsize": 5, "alpha": 2.0, "beta": 0.5, "knorm": 2})
    yield Case("LRN", {"nsize": 5})
    for kernel, more in (
        ((1, 1), {}),
        ((3, 3), {"pad": (1, 1)}),
        ((3, 3), {"stride": (2, 2)}),
        ((3, 3), {"pad": (1, 1), "stride": (2, 2)}),
        ((3, 2), {"dilate": (2, 1), "pad": (2, 0)}),
        ((1, 1), {"stride": (2, 2)}),
        ((1, 1), {"pad": (1, 1)}),
    ):
        for filters in (4, 16, 21):
            weights = fixed(lambda x, k=kernel, f=filters: (f, x[1], *k), 0.3)
            attrs = {"kernel": kernel, "num_filter": filters, **more}
            yield Case("Convolution", {**attrs, "no_bias": True}, ("x", weights))
            yield Case("Convolution", attrs, ("x", weights, fixed((filters,))))
    depthwise = fixed(lambda x: (x[1], 1, 3, 3), 0.3)
    for stride in (1, 2):
        yield PerChannels(
            lambda c, s=stride: Case(
                "Convolution",
                {
                    "kernel": (3, 3),
                    "num_filter": c,
                    "num_group": c,
                    "pad": (1, 1),
                    "stride": (s, s),
                    "no_bias": True,
                },
                ("x", depthwise),
            )
        )
    for kernel, more in (
        ((2, 2), {"stride": (2, 2)}),
        ((3, 3), {"stride": (2, 2), "pad": (1, 1), "adj": (1, 1)}),
        ((3, 3), {"pad": (1, 1)}),
        ((3, 3), {"dilate": (2, 2)}),
    ):
        weights = fixed(lambda x, k=kernel: (x[1], 5, *k), 0.3)
        attrs = {"kernel": kernel, "num_filter": 5, "no_bias": True, **more}
        yield Case("Deconvolution", attrs, ("x", weights))
    yield Case(
        "Deconvolution",
        {"kernel": (2, 2), "num_filter": 16, "no_bias": False, "stride": (2, 2)},
        ("x", fixed(lambda x: (x[1], 16, 2, 2), 0.3), fixed((16,))),
    )
    for flatten in (True, False):
        for bias in (True, False):
            units = fixed(lambda x, flat=flatten: (5, x[1] * x[2] * x[3] if flat else x[3]), 0.3)
            attrs = {"num_hidden": 5, "no_bias": not bias, "flatten": flatten}
            yield Case("FullyConnected", attrs, ("x", units, *([fixed((5,))] if bias else [])))
    for attrs in ({"fix_gamma": False}, {"fix_gamma": True}, {"fix_gamma": False, "eps": 0.1}):
        four = ("x", PER_CHANNEL, PER_CHANNEL, PER_CHANNEL, POSITIVE)
        yield Case("BatchNorm", attrs, four)
        yield Case("BatchNorm_v1", attrs, four)
        yield Case("_contrib_SyncBatchNorm", {**attrs, "key": "a"}, four)
    for axis in (1, 2, 3, -1, -2, -3):
        positive = Constant(lambda x, r, a=axis: r.uniform(0.5, 2, x[a]))
        for fixed_scale in (False, True):
            yield Case(
                "BatchNorm",
                {"axis": axis, "fix_gamma": fixed_scale},
                ("x", *[normal(axis % 4)] * 3, positive),
            )
    yield Case(
        "BatchNorm",
        {"fix_gamma": False, "axis": -1},
        ("x", *[PER_CHANNEL] * 3, POSITIVE),
        shape="(0, -1)",
    )
    yield Case("InstanceNorm", {}, ("x", PER_CHANNEL, PER_CHANNEL))
    yield Case("InstanceNorm", {"eps": 0.1}, ("x", PER_CHANNEL, PER_CHANNEL))
    for axis in (1, 2, 3, -1, -3):
        yield Case("LayerNorm", {"axis": axis}, ("x", normal(axis % 4), normal(axis % 4)))
    yield Case("LayerNorm", {}, ("x", normal(1), normal(1)), shape="(0, -1)")
    yield Case("GroupNorm", {"num_groups": 1}, ("x", fixed((1,)), fixed((1,))))
    yield PerChannels(
        lambda c: Case(
            "GroupNorm",
            {"num_groups": 3 if c % 3 == 0 else 4},
            ("x", *[fixed((3 if c % 3 == 0 else 4,))] * 2),
        )
    )
    for mode in ("instance", "channel", "spatial"):
        yield Case("L2Normalization", {"mode": mode})
    for kind in ("max", "avg", "sum"):
        yield Case("Pooling", {"pool_type": kind, "global_pool": True, "kernel": (1, 1)})
        yield Case(
            "Pooling",
            {
                "pool_type": kind,
                "global_pool": True,
                "kernel": (7, 7),
                "pooling_convention": "full",
            },
        )
        yield Case("Pooling_v1", {"pool_type": kind, "kernel": (2, 2), "stride": (2, 2)})
        yield Case(
            "Pooling_v1",
            {
                "pool_type": kind,
                "kernel": (3, 3),
                "stride": (2, 2),
                "pad": (1, 1),
                "pooling_convention": "full",
            },
        )
    yield Case(
        "Deconvolution",
        {"kernel": (4, 4), "num_filter": 6, "stride": (2, 2), "target_shape": (14, 12)},
        ("x", fixed(lambda x: (x[1], 6, 4, 4), 0.3)),
    )
    yield PerChannels(
        lambda c: Case(
            "Deconvolution",
            {"kernel": (4, 4), "num_filter": c, "num_group": c, "stride": (2, 2), "pad": (1, 1)},
            ("x", fixed(lambda x: (x[1], 1, 4, 4), 0.3)),
        )
    )
    line = "(0, 0, -1)"
    yield Case(
        "Convolution",
        {"kernel": (3,), "num_filter": 8, "pad": (1,), "no_bias": True},
        ("x", fixed(lambda x: (8, x[1], 3), 0.3)),
        shape=line,
    )
    for convention, kind, pad in itertools.product(
        ("valid", "full"), ("max", "avg", "sum"), ((0,), (1,))
    ):
        attrs = {"kernel": (3,), "stride": (2,), "pad": pad, "pooling_convention": convention}
        for size in ((7, 6), (7, 5)):
            yield Case("Pooling", {**attrs, "pool_type": kind}, shape=line, size=size)
    for p, convention in itertools.product((1, 2, 3), ("valid", "full")):
        yield Case(
            "Pooling",
            {
                "pool_type": "lp",
                "p_value": p,
                "kernel": (3, 3),
                "stride": (2, 2),
                "pad": (1, 1),
                "pooling_convention": convention,
            },
            domain=(0.4, 2.5),
            size=(8, 7),
        )
    for p in (1, 2, 3):
        yield Case(
            "Pooling",
            {"pool_type": "lp", "p_value": p, "global_pool": True, "kernel": (1, 1)},
            domain=(0.4, 2.5),
        )
        yield Case(
            "Pooling",
            {"pool_type": "lp", "p_value": p, "kernel": (2, 2), "stride": (2, 2)},
            domain=(0.4, 2.5),
        )
    for convention, kernel, stride, pad, size in itertools.product(
        ("valid", "full"),
        ((2, 2), (3, 3), (3, 2)),
        ((1, 1), (2, 2), (3, 3), (2, 3)),
        ((0, 0), (1, 1)),
        ((7, 6), (8, 15)),
    ):
        attrs = {"kernel": kernel, "stride": stride, "pad": pad, "pooling_convention": convention}
        yield Case("Pooling", {**attrs, "pool_type": "max"}, size=size, relu=convention == "full")
        for kind in ("avg", "sum"):
            yield Case("Pooling", {**attrs, "pool_type": kind}, size=size)
        yield Case("Pooling", {**attrs, "pool_type": "avg", "count_include_pad": False}, size=size)
    for size in ((1, 1), (2, 2), (3, 3), (5, 4), (14, 12)):
        yield Case("_contrib_AdaptiveAvgPooling2D", {"output_size": size})
    for attrs in (
        {"height": 14, "width": 12},
        {"height": 4, "width": 3},
        {"height": 7, "width": 6},
        {"height": 14, "width": 12, "align_corners": False},
        {"scale_height": 2, "scale_width": 2, "mode": "odd_scale"},
        {"scale_height": 2, "scale_width": 2, "mode": "to_even_up"},
    ):
        yield Case("_contrib_BilinearResize2D", attrs)
    larger = fixed(lambda x: (x[0], x[1], 9, 11))
    yield Case("_contrib_BilinearResize2D", {"mode": "like"}, ("x", larger))
    yield Case("_contrib_BilinearResize2D", {"mode": "like"}, ("x", "y"))
    yield Case("_contrib_BilinearResize2D", {"mode": "like"}, ("x", "x"))
    for scale in (2, 3):
        yield Case("UpSampling", {"scale": scale, "sample_type": "nearest", "num_args": 1})
    for mode in ("concat", "sum"):
        yield Case(
            "UpSampling",
            {"scale": 2, "sample_type": "nearest", "num_args": 2, "multi_input_mode": mode},
            ("x", "y"),
        )
    yield PerChannels(
        lambda c: Case(
            "UpSampling",
            {"scale": 2, "sample_type": "bilinear", "num_args": 2, "num_filter": c},
            ("x", fixed(lambda x: (x[1], 1, 4, 4))),
        )
    )
    yield Case("Correlation", {"kernel_size": 1, "max_displacement": 1, "pad_size": 1}, ("x", "y"))
    yield Case(
        "Correlation",
        {"kernel_size": 1, "max_displacement": 1, "pad_size": 1, "is_multiply": False},
        ("x", "y"),
    )
    grid = Constant(lambda x, random: random.uniform(-0.9, 0.9, (x[0], 2, 5, 4)))
    yield Case("BilinearSampler", {}, ("x", grid))
    affine = exactly(lambda x: np.tile([0.8, 0.1, 0.05, -0.1, 0.7, 0.1], (x[0], 1)))
    yield Case(
        "SpatialTransformer",
        {"transform_type": "affine", "sampler_type": "bilinear", "target_shape": (5, 4)},
        ("x", affine),
    )
    yield Case(
        "GridGenerator", {"transform_type": "warp"}, ("x",), shape="(0, 2, -1, 6)", size=(8, 6)
    )
    yield Case(
        "GridGenerator",
        {"transform_type": "affine", "target_shape": (5, 4)},
        ("x",),
        shape="(-1, 6)",
    )
    offsets = fixed(lambda x: (x[0], 18, x[2], x[3]), 0.3)
    deform = {"kernel": (3, 3), "pad": (1, 1), "num_filter": 4, "no_bias": True}
    weights = fixed(lambda x: (4, x[1], 3, 3), 0.3)
    yield Case("_contrib_DeformableConvolution", deform, ("x", offsets, weights))
    boxes = exactly(lambda x: [[b, 0.6, 0.7, 4.2, 4.9] for b in range(x[0])])
    yield Case("ROIPooling", {"pooled_size": (2, 2), "spatial_scale": 1}, ("x", boxes))
    for aligned in (False, True):
        yield Case(
            "_contrib_ROIAlign",
            {"pooled_size": (2, 2), "spatial_scale": 1, "aligned": aligned},
            ("x", boxes),
        )
    heads = {"heads": 1}
    yield Case("_contrib_interleaved_matmul_selfatt_qk", heads, shape="(-1, 1, 6)")
    yield Case(
        "_contrib_interleaved_matmul_selfatt_valatt",
        heads,
        ("x", fixed(lambda x: (1, x[0], x[0]))),
        shape="(-1, 1, 6)",
    )
    keys = fixed((5, 1, 12))
    yield Case("_contrib_interleaved_matmul_encdec_qk", heads, ("x", keys), shape="(-1, 1, 6)")
    yield Case(
        "_contrib_interleaved_matmul_encdec_valatt",
        heads,
        (keys, "x"),
        shape="(1, -1, 5)",
        size=(5, 6),
    )
    yield Case("im2col", {"kernel": (3, 3), "pad": (1, 1)})
    yield Case("im2col", {"kernel": (2, 2), "stride": (2, 2)})
    yield Case(
        "col2im",
        {"output_size": (4, 4), "kernel": (2, 2), "stride": (2, 2)},
        shape="(0, -1, 4)",
        size=(4, 4),
    )
    for mode, layers, ways in itertools.product(
        ("lstm", "gru", "rnn_tanh", "rnn_relu"), (1, 2), (1, 2)
    ):
        gates = {"lstm": 4, "gru": 3}.get(mode, 1)
        states = [fixed((layers * ways, 1, 4))] * (2 if mode == "lstm" else 1)
        first, further = (6 + 4 + 2, 4 * ways + 4 + 2)
        weights = gates * 4 * ways * (first + (layers - 1) * further)
        yield Case(
            "RNN",
            {"mode": mode, "state_size": 4, "num_layers": layers, "bidirectional": ways == 2},
            ("x", fixed((weights,), 0.3), *states),
            shape="(-1, 1, 6)",
        )


def shapes() -> Iterator[Case | PerChannels]:
    """Operators that only move numbers."""
    yield Case("Flatten")
    for shape in ("(0, -1)", "(0, 0, -1)", "(0, -1, 2, 3)"):
        yield Case("Reshape", {"shape": shape})
    yield Case("_npx_reshape", {"newshape": "(-2, -1)"})
    yield Case("reshape_like", {}, ("x", fixed(lambda x: (x[0], x[1] * x[2], x[3]))))
    for axes in ("(0, 2, 3, 1)", "(0, 1, 3, 2)", "(0, 3, 1, 2)"):
        yield Case("transpose", {"axes": axes})
        yield Case("_np_transpose", {"axes": axes})
    yield Case("SwapAxis", {"dim1": 1, "dim2": 3})
    yield Case("_np_moveaxis", {"source": 1, "destination": 3})
    yield Case("expand_dims", {"axis": 2})
    yield Case("squeeze", {"axis": 4}, shape="(0, 0, 0, 0, 1)")
    yield Case("_np_squeeze", {"axis": 4}, shape="(0, 0, 0, 0, 1)")
    for axis in (1, 2, 3):
        yield Case("slice_axis", {"axis": axis, "begin": 1, "end": 3})
        yield Case("SliceChannel", {"axis": axis, "num_outputs": 1}, outputs=1)
        yield Case("flip", {"axis": axis})
        yield Case("_npi_flip", {"axis": (axis,)})
        yield Case("repeat", {"repeats": 2, "axis": axis})
    for axis, parts in ((3, 2), (3, 3)):
        for squeeze in (False, True) if parts == 6 else (False,):
            yield Case(
                "SliceChannel",
                {"axis": axis, "num_outputs": parts, "squeeze_axis": squeeze},
                outputs=parts,
            )
    yield PerChannels(
        lambda c: Case("SliceChannel", {"axis": 1, "num_outputs": c // 4 or c}, outputs=c // 4 or c)
    )
    yield from axes_from_the_end()
    yield Case("_split_v2", {"indices": "(0, 2)", "axis": 1}, outputs=2)
    yield Case("_npi_hsplit", {"indices": "(0,)", "axis": 1, "sections": 1})
    yield Case("slice", {"begin": "(None, 1, 2, 0)", "end": "(None, 3, 6, 5)"})
    yield Case(
        "slice",
        {"begin": "(None, None, 1, 0)", "end": "(None, None, 7, 6)", "step": "(1, 1, 2, 2)"},
    )
    yield Case(
        "slice", {"begin": "(None, None, 6)", "end": "(None, None, 1)", "step": "(1, 1, -1)"}
    )
    yield Case("slice_like", {"axes": "(2, 3)"}, ("x", fixed(lambda x: (x[0], x[1], 4, 3))))
    yield Case("Crop", {"num_args": 1, "h_w": (4, 3), "offset": (1, 2)})
    yield Case(
        "Crop", {"num_args": 2, "center_crop": True}, ("x", fixed(lambda x: (x[0], x[1], 4, 3)))
    )
    for mode in ("constant", "edge", "reflect"):
        yield Case("Pad", {"mode": mode, "pad_width": "(0,0,0,0,1,2,2,1)", "constant_value": 0.5})
        yield Case("Pad", {"mode": mode, "pad_width": "(0,0,0,0,3,3,3,3)"})
        yield Case(
            "Pad",
            {"mode": mode, "pad_width": "(0,0,0,0,0,0,1,2,2,1)"},
            shape="(0, 0, 1, 7, 6)",
        )
    yield Case("_npi_pad", {"mode": "constant", "pad_width": "((0,0),(0,0),(1,2),(2,1))"})
    for name in ("Concat", "_npi_concatenate", "stack", "_npi_stack"):
        for axis in (1, 2, 3):
            key = "dim" if name == "Concat" else "axis"
            yield Case(name, {key: axis, "num_args": 2}, ("x", "y"))
            yield Case(name, {key: axis, "num_args": 3}, ("y", "x", "x"))
    yield Case(
        "Concat", {"dim": 1, "num_args": 3}, ("x", fixed(lambda x: (x[0], 5, x[2], x[3])), "y")
    )
    yield Case("space_to_depth", {"block_size": 2}, size=(4, 6))
    yield PerChannels(lambda c: Case("depth_to_space", {"block_size": 2 if c % 4 == 0 else 1}))
    yield Case("tile", {"reps": "(1, 2, 1, 2)"})
    for name in ("broadcast_axis", "broadcast_axes"):
        yield Case(name, {"axis": "(4,)", "size": "(3,)"}, shape="(0, 0, 0, 0, 1)")
    yield Case("broadcast_to", {"shape": "(0, 0, 0, 0, 3)"}, shape="(0, 0, 0, 0, 1)")
    yield Case("broadcast_like", {}, ("x", fixed(lambda x: (*x[:4], 3))), shape="(0, 0, 0, 0, 1)")
    yield Case("_np_roll", {"shift": 2, "axis": 3})
    yield Case("_npi_rot90", {"k": 1, "axes": "(2, 3)"})
    yield Case("_np_diagonal", {"axis1": 2, "axis2": 3})
    yield Case("diag", {"axis1": 2, "axis2": 3})
    yield Case("_npi_tril", {})
    yield Case("_np_trace", {"axis1": 2, "axis2": 3})
    yield Case("_npi_diff", {"n": 1, "axis": 3})
    yield Case("_np_cumsum", {"axis": 1})
    yield Case("cumsum", {"axis": 3})
    yield Case("linalg_extractdiag", {}, size=(6, 6))
    yield Case("linalg_extracttrian", {}, size=(6, 6))
    yield Case("linalg_makediag", {})
    yield Case("linalg_maketrian", {}, size=(7, 6))
    for axis in (1, 3):
        picked = exactly(lambda x: [0, 2, 1, 1])
        yield Case("take", {"axis": axis, "mode": "clip"}, ("x", picked))
        yield Case("take", {"axis": axis, "mode": "wrap"}, ("x", picked))
        beyond = exactly(lambda x: [[-1, 2], [1, 40]])
        yield Case("take", {"axis": axis, "mode": "clip"}, ("x", beyond))
        yield Case("take", {"axis": axis, "mode": "wrap"}, ("x", beyond))
    for axis in (1, 3):
        places = Constant(
            lambda x, random, a=axis: random.randint(0, 3, [n for i, n in enumerate(x) if i != a])
        )
        yield Case("pick", {"axis": axis}, ("x", places))
        yield Case("pick", {"axis": axis, "keepdims": True}, ("x", places))
    yield Case("gather_nd", {}, ("x", exactly(lambda x: [[0] * 4, [0, 2, 1, 1]])))
    lengths = exactly(lambda x: [2, 3][: x[0]])
    yield Case("SequenceMask", {"use_sequence_length": True, "axis": 1}, ("x", lengths))
    steps = exactly(lambda x: [3] * x[1])
    turned = "(-1, 1, 6)"
    masked = {"use_sequence_length": True, "value": 0.5}
    yield Case("SequenceMask", masked, ("x", steps), shape=turned)
    yield Case("SequenceMask", {}, ("x",), shape=turned)
    yield Case("SequenceReverse", {"use_sequence_length": True}, ("x", steps), shape=turned)
    yield Case("SequenceLast", {"use_sequence_length": True}, ("x", steps), shape=turned)
    yield Case("SequenceLast", {}, ("x",), shape=turned)
    last = {"use_sequence_length": True, "axis": 1}
    yield Case("SequenceLast", last, ("x", lengths))
    yield Case("SequenceLast", {"axis": 1})
    yield Case("SequenceReverse", {}, ("x",), shape="(-1, 1, 6)")
    yield Case("cast_storage", {"stype": "default"})
    yield Case("_np_atleast_3d", {"num_args": 1})
    for axis in (1, 3):
        yield Case("sort", {"axis": axis})
        yield Case("sort", {"axis": axis, "is_ascend": False})
        yield Case("topk", {"axis": axis, "k": 2, "ret_typ": "value"})
    yield Case("topk", {"axis": 1, "k": 2, "ret_typ": "both"}, outputs=1)


def axes_from_the_end() -> Iterator[Case | PerChannels]:
    """What oneDNN and MXNet do along axis 1 is not always what they do along axis -3."""
    for axis in (-3, -1):
        yield Case("Concat", {"dim": axis, "num_args": 2}, ("x", "y"))
        yield Case("stack", {"axis": axis, "num_args": 2}, ("x", "y"))
        yield Case("slice_axis", {"axis": axis, "begin": 1, "end": 3})
        yield Case("slice_axis", {"axis": axis, "begin": -2, "end": "None"})
        yield Case("expand_dims", {"axis": axis})
        yield Case("repeat", {"repeats": 2, "axis": axis})
        yield Case("_split_v2", {"indices": "(0, 2)", "axis": axis}, outputs=2)
        yield Case("sum", {"axis": axis})
        yield Case("mean", {"axis": axis, "keepdims": True})
        yield Case("max", {"axis": axis})
        yield Case("norm", {"axis": axis})
        yield Case("take", {"axis": axis}, ("x", exactly(lambda x: [0, 2, 1, 1])))
    yield PerChannels(
        lambda c: Case(
            "SliceChannel", {"axis": -3, "num_outputs": c // 4 or c}, outputs=c // 4 or c
        )
    )
    yield Case("SliceChannel", {"axis": -1, "num_outputs": 2}, outputs=2)
    yield Case("SwapAxis", {"dim1": -3, "dim2": -1})


def sums() -> Iterator[Case]:
    for name in each("sum mean nansum _np_sum _npi_mean max min _np_max _np_min"):
        for attrs in (
            {"axis": "(2, 3)"},
            {"axis": "(1,)"},
            {"axis": "(2,)", "keepdims": True},
            {"axis": "(2, 3)", "keepdims": True},
        ):
            yield Case(name, attrs)
        if not name.startswith("_np"):  # a number without axes is no MXNet array yet
            yield Case(name)
    for name in ("sum", "mean", "max"):
        yield Case(name, {"axis": "(1,)", "exclude": True})
    for name in each("prod nanprod _np_prod"):
        yield Case(name, {"axis": "(3,)"}, domain=(0.4, 2.5))
        yield Case(name, {"axis": "(3,)", "keepdims": True}, domain=(-2.5, -0.4))
    for order in (1, 2):
        for attrs in ({}, {"axis": "(2, 3)"}, {"axis": "(1,)", "keepdims": True}):
            yield Case("norm", {"ord": order, **attrs})
    for attrs in ({"axes": "(2, 3)"}, {"axes": "(1,)", "keepdims": True}):
        yield Case("moments", attrs, outputs=2)
    for name in ("_npi_std", "_npi_var"):
        yield Case(name, {"axis": "(2, 3)"})


def products() -> Iterator[Case]:
    flat = "(0, -1)"
    weights = fixed(lambda x: (x[1], 5), 0.3)
    for name in ("dot", "_np_dot"):
        yield Case(name, {}, ("x", weights), shape=flat)
    yield Case(
        "dot",
        {"transpose_b": True},
        ("x", fixed(lambda x: (5, x[1]), 0.3)),
        shape=flat,
    )
    yield Case("dot", {}, ("x", fixed((6, 4))))
    three = "(0, 0, -1)"
    yield Case("batch_dot", {"transpose_b": True}, ("x", "y"), shape=three)
    yield Case("batch_dot", {"transpose_a": True}, ("x", "x"), shape=three)
    yield Case("batch_dot", {}, ("x", fixed(lambda x: (x[0], x[2], 5))), shape=three)
    yield Case("_npi_matmul", {}, ("x", fixed((6, 4))))
    yield Case("_npi_matmul", {}, (fixed((5, 7)), "x"))
    yield Case("_npi_matmul", {}, ("x", "y"), size=(6, 6))
    yield Case(
        "_npi_tensordot", {"a_axes_summed": "(3,)", "b_axes_summed": "(0,)"}, ("x", fixed((6, 4)))
    )
    yield Case("_npi_tensordot_int_axes", {"axes": 1}, ("x", fixed((6, 4))))
    yield Case("_npi_einsum", {"num_args": 2, "subscripts": "nchw,wk->nchk"}, ("x", fixed((6, 4))))
    yield Case("_npi_einsum", {"num_args": 2, "subscripts": "nchw,nkhw->nck"}, ("x", "y"))
    yield Case("linalg_gemm2", {"transpose_b": True, "alpha": 2}, ("x", "y"))
    yield Case("linalg_gemm2", {}, ("x", "x"), size=(6, 6))
    yield Case(
        "linalg_gemm",
        {"transpose_b": True, "alpha": 2, "beta": 3},
        ("x", "y", fixed(lambda x: (x[0], x[1], 7, 7))),
    )
    for transpose in (False, True):
        yield Case("linalg_syrk", {"transpose": transpose, "alpha": 2})
    triangle = Constant(lambda x, r: np.tril(r.uniform(0.5, 2, (x[0], x[1], 6, 6))))
    for name in ("linalg_trmm", "linalg_trsm"):
        yield Case(name, {}, (triangle, "x"), size=(6, 5))


def matrices() -> Iterator[Case]:
    """Of square matrices."""
    for name in each("linalg_det linalg_inverse linalg_sumlogdiag"):
        yield Case(name, {}, domain=(0.4, 2.5), size=(3, 3))
    yield Case("linalg_slogdet", {}, domain=(0.4, 2.5), size=(3, 3), outputs=2)
    yield Case(
        "_npi_solve", {}, ("x", fixed(lambda x: (x[0], x[1], 3, 2))), domain=(0.4, 2.5), size=(3, 3)
    )


@dataclass(frozen=True)
class PerChannels:
    """A case whose attributes depend on the number of channels."""

    make: Callable[[int], Case]


def all_cases() -> list[Case | PerChannels]:
    families = (elementwise, with_numbers, layers, shapes, sums, products, matrices)
    return list(itertools.chain.from_iterable(family() for family in families))


#: What is not tried, and why: names as regular expressions.
LEFT_OUT = {
    "steps of training, randomness, reading of images, graphs of nodes": (
        r".*_update(_phase\d)?|multi_lars|reset_arrays|_?(random|sample|shuffle)_?.*|_npi_(bernoulli|"
        r"choice|exponential|gamma|gumbel|logistic|multinomial|normal(_n)?|pareto|rayleigh|shuffle|"
        r"uniform(_n)?|weibull|percentile)|normal|uniform|_(npx_)*_?image_.*|_(npi_)?cv.*|_imdecode|"
        r"_contrib_(dgl_.*|edge_id|getnnz)"
    ),
    "derivatives themselves": r".*backward.*|_grad_add",
    "constant, of whole numbers, or flat between jumps: no derivative to speak of": (
        r".*(equal|greater|less|logical|bitwise|isfinite|isinf|isnan|isneginf|isposinf|lcm|around|"
        r"arg(max|min|sort)|nonzero|unique|bincount|histogram|indices|window|shape_array|size_array|"
        r"one_?hot|unravel_index|ravel_multi_index|all_finite|allclose).*|_np_(all|any|sometrue)|"
        r"(_npi_|_sparse_)?(ceil|fix|floor|rint|round|sign|trunc)|_contrib_(round|sign)_ste|"
        r"_(npi_)?(arange|eye|full|linspace|ones|zeros|zeros_without_dtype|identity|hanning|hamming|"
        r"blackman|logspace|indices|full_like)|(_sparse_)?zeros_like|ones_like|_contrib_(arange_like|"
        r"index_array|boolean_mask|calibrate_entropy)|_npx_(arange_like|constraint_check)|"
        r"_npi_boolean_mask"
    ),
    "MXNet has no derivative, or cannot run it on a CPU: said when it is met": (
        r"_?slice_assign(_scalar)?|_crop_assign.*|_npi_slice_assign.*|_set_value|multi_sum_sq|"
        r"_square_sum|batch_take|khatri_rao|_npi_(copysign_scalar|rcopysign_scalar|average|insert_.*|"
        r"boolean_mask_assign_.*|delete|ediff1d|polyval|share_memory|where_scalar2|eig.*)|"
        r"fill_element_0index|_copyto|_npi_copyto|_scatter_set_nd|_npi_scatter_set_nd|"
        r"_contrib_(ModulatedDeformable.*|DeformablePSROI.*|PSROI.*|RROIAlign|count_sketch|fft|ifft)"
    ),
    "of detectors, sequences of text, processes in time: no image classifier has them": (
        r".*(MultiBox|multibox|Proposal|bipartite|box_|CTC|ctc_loss|hawkesll|Embedding|embedding|"
        r"softmax_cross_entropy).*"
    ),
    "control flow, other people's code, quantized and fused networks: refused": (
        r"_cond|_foreach|_while_loop|_?(npi_)?Custom.*|_(CachedOp.*|CustomFunction|CrossDeviceCopy|"
        r"NDArray|Native|NoGradient)|_contrib_.*quantize.*|_sg_mkldnn_.*|_contrib_BatchNormWithReLU|"
        r"_sparse_retain|_npi_cast_.*"
    ),
    "of symmetric matrices, whose derivative is symmetric, or unique but for signs": (
        r"_?linalg_(potrf|potri|gelqf|syevd)|_npi_(cholesky|svd|pinv.*|tensorinv|tensorsolve)"
    ),
    "taken out of every network, or the same as another that is tried": (
        r"_?(npx_)?[Dd]ropout|Convolution_v1|_np_(atleast_[12]d|diag|diagflat|reshape)|_npi_(norm|"
        r"powerd|broadcast_to|rnn_param_concat)|_rnn_param_concat|scatter_nd"
    ),
    "along the batch, or of shapes that MXNet does not infer": (
        r"_npi_(vstack|hstack|dstack|dsplit|column_stack|diag_indices_from)|_contrib_index_copy"
    ),
}


def registered() -> list[set[str]]:
    """The names of every operator that MXNet has; aliases stand together."""
    base = import_mxnet().base
    count, names = ctypes.c_uint(), ctypes.POINTER(ctypes.c_char_p)()
    base.check_call(base._LIB.MXListAllOpNames(ctypes.byref(count), ctypes.byref(names)))
    found: dict[int, set[str]] = {}
    for name in names[: count.value]:
        handle = ctypes.c_void_p()
        base.check_call(base._LIB.NNGetOpHandle(name, ctypes.byref(handle)))
        found.setdefault(handle.value or 0, set()).add(name.decode())
    return list(found.values())


def not_accounted_for() -> list[str]:
    """Operators that are neither tried nor left out for a reason."""
    tried = {made.op for made in (c if isinstance(c, Case) else c.make(8) for c in all_cases())}
    reasons = re.compile("|".join(f"(?:{names})" for names in LEFT_OUT.values()))
    return sorted(
        "=".join(sorted(names))
        for names in registered()
        if not names & tried and not any(reasons.fullmatch(name) for name in names)
    )


# -- the networks ---------------------------------------------------------------------------------


class _Builder:
    """A graph under construction, with values for its variables."""

    def __init__(self, shape: Shape, random: np.random.RandomState) -> None:
        self.nodes: list[Node] = [Node("null", "data", {}, ())]
        self.values: dict[str, np.ndarray] = {}
        self.random = random
        self._shape = shape

    def constant(self, values: np.ndarray) -> Entry:
        name = f"constant{len(self.values)}"
        self.values[name] = np.asarray(values, np.float32)
        self.nodes.append(Node("null", name, {}, ()))
        return Entry(len(self.nodes) - 1)

    def add(self, op: str, inputs: Sequence[Entry], **attrs: Any) -> Entry:
        written = {key: str(value) for key, value in attrs.items()}
        self.nodes.append(Node(op, f"{op.lower()}{len(self.nodes)}", written, tuple(inputs)))
        return Entry(len(self.nodes) - 1)

    def shape(self, entry: Entry) -> Shape:
        mx = import_mxnet()
        symbol = mx.sym.load_json(Graph(tuple(self.nodes), (entry,)).to_json())
        known = {name: value.shape for name, value in self.values.items()}
        arguments = {*symbol.list_arguments(), *symbol.list_auxiliary_states()}
        known = {name: shape for name, shape in known.items() if name in arguments}
        found = symbol.infer_shape_partial(data=self._shape, **known)[1]
        return tuple(found[0])

    def conv(self, entry: Entry, channels: int, filters: int, kernel: int = 3) -> Entry:
        scale = 1 / np.sqrt(channels * kernel**2)
        weights = self.constant(
            scale * self.random.normal(size=(filters, channels, kernel, kernel))
        )
        return self.add(
            "Convolution",
            [entry, weights],
            kernel=(kernel, kernel),
            num_filter=filters,
            pad=(kernel // 2, kernel // 2),
            no_bias=True,
        )

    def pool(self, entry: Entry) -> Entry:
        return self.add("Pooling", [entry], kernel=(3, 3), pad=(1, 1), pool_type="avg")

    def dense(self, entry: Entry, units: int) -> Entry:
        inputs = int(np.prod(self.shape(entry)[1:]))
        weights = self.constant(self.random.normal(size=(units, inputs)) / np.sqrt(inputs))
        return self.add("FullyConnected", [entry, weights], num_hidden=units, no_bias=True)

    def before(self, kind: str, channels: int) -> Entry:
        entry = self.conv(Entry(0), 3, channels)
        if kind == "plain":
            return self.add("_mul_scalar", [entry], scalar=1)
        return self.pool(entry) if kind == "pool" else entry

    def behind(self, kind: str, outputs: list[Entry], batch: int, aside: Entry) -> Entry:
        """The logits, from an operator's outputs; ``aside`` is a feature map for what lacks any."""
        if len(outputs) > 1:
            flat = [self._as_batch(output, batch) for output in outputs]
            return self.dense(self.add("Concat", flat, dim=1, num_args=len(flat)), CLASSES)
        (output,) = outputs
        shape = self.shape(output)
        if shape[:1] != (batch,) or len(shape) < 2:
            output = self._as_batch(output, batch)
            if self.shape(output)[0] != batch:
                logits = self.dense(aside, CLASSES)
                return self.add("broadcast_mul", [logits, self.dense(output, CLASSES)])
        elif len(shape) == 4:
            if kind == "conv":
                output = self.conv(output, shape[1], 8)
            elif kind == "concat":
                other = self.conv(output, shape[1], shape[1], 1)
                joined = self.add("Concat", [output, other], dim=1, num_args=2)
                output = self.conv(joined, 2 * shape[1], 8)
            elif kind == "pool":
                output = self.conv(self.pool(output), shape[1], 8)
        return self.dense(output, CLASSES)

    def _as_batch(self, output: Entry, batch: int) -> Entry:
        """(N, ...) made (N, K), anything else (1, K)."""
        first = 0 if self.shape(output)[:1] == (batch,) else 1
        return self.add("Reshape", [output], shape=(first, -1))


@dataclass(frozen=True)
class Trial:
    """One case at one number of channels, batch size and place."""

    case: Case
    channels: int
    batch: int
    around: tuple[str, str]

    def __str__(self) -> str:
        before, behind = self.around
        return f"{self.case}, {self.channels} channels, batch of {self.batch}, {before} → {behind}"

    def run(self) -> float:
        """The relative error of the engine's gradient; infinite if it is no number."""
        error = self._run(0)
        if error > self.tolerance and (self.case.op in COMPARE or self.case.op in LOOSE):
            return min(error, self._run(1))
        return error

    @property
    def tolerance(self) -> float:
        """How large an error is none."""
        return LOOSE_TOLERANCE if self.case.op in LOOSE else TOLERANCE

    def _run(self, seed: int) -> float:
        case = self.case
        random = np.random.RandomState(zlib.crc32(f"{self} {seed}".encode()))
        data = random.normal(size=(self.batch, 3, *case.size)).astype(np.float32)
        built = _Builder(data.shape, random)
        maps, ready = {}, {}
        for name in ("x", "y"):
            if name not in case.inputs:
                continue
            maps[name] = entry = built.before(self.around[0], self.channels)
            if case.domain is not None:
                low, high = case.domain
                squashed = built.add("sigmoid", [entry])
                scaled = built.add("_mul_scalar", [squashed], scalar=high - low)
                entry = built.add("_plus_scalar", [scaled], scalar=low)
            if case.shape is not None:
                entry = built.add("Reshape", [entry], shape=case.shape)
            ready[name] = entry
        x = built.shape(next(iter(ready.values())))
        inputs = [
            ready[given] if isinstance(given, str) else built.constant(given.make(x, random))
            for given in case.inputs
        ]
        node = built.add(case.op, inputs, **case.attrs)
        outputs = [Entry(node.node, output) for output in range(case.outputs)]
        if case.relu:
            outputs = [built.add("relu", outputs)]
        logits = built.behind(self.around[1], outputs, self.batch, next(iter(maps.values())))
        written = Graph(tuple(built.nodes), (logits,)).to_json()
        # As it is read from a symbol, where operators have but one name.
        graph = Graph.from_symbol(import_mxnet().sym.load_json(written))
        targets = np.arange(self.batch) % CLASSES
        steps = LOOSE_STEPS if case.op in LOOSE else (STEP,)
        return _error(graph, data, built.values, targets, random, steps)


def _error(
    graph: Graph,
    data: np.ndarray,
    values: Mapping[str, np.ndarray],
    targets: np.ndarray,
    random: np.random.RandomState,
    steps: Sequence[float],
) -> float:
    hints = {name: value.shape for name, value in values.items()}
    architecture = architecture_of(for_inference(graph).graph, data.shape[1:], {}, hints)
    network = Network(
        architecture, build_engine(architecture.graph, values, Device("cpu"), "mxnet")
    )
    _poison(len(data), architecture)
    recorded = network.run(data, record=True)
    results = recorded.gradients(targets, [GradientRequest(), GradientRequest()])
    found = [result.input for result in results]
    score = _Score(lowered_graph(architecture.graph), values, targets)
    logits = recorded.logits[range(len(data)), targets].astype(np.float64).sum()
    if not abs(score(data) - logits) <= 1e-3 * (1 + abs(logits)):
        return np.inf
    directions = [random.normal(size=data.shape) for _ in range(3)]
    ours = np.asarray([[(each * along).sum() for along in directions] for each in found])
    return min(_off(score, data, directions, ours, step) for step in steps)


def _off(
    score: Callable[[np.ndarray], float],
    data: np.ndarray,
    directions: Sequence[np.ndarray],
    ours: np.ndarray,
    step: float,
) -> float:
    """How far off gradients are along directions: relative L2, infinite if it is no number."""
    truth = []
    for along in directions:
        wide, narrow = (
            (score(data + h * along) - score(data - h * along)) / (2 * h) for h in (step, step / 2)
        )
        truth.append((4 * narrow - wide) / 3)
    error = np.sqrt(np.square(ours - truth).mean(axis=1)).max()
    scale = np.sqrt(np.square(truth).mean())
    error = error / scale if scale > 0 else error
    return float(error) if np.isfinite(error) else np.inf


def _poison(batch: int, architecture: Architecture) -> None:
    """Leave NaN behind in freed memory of the sizes that a pass will ask for."""
    mx = import_mxnet()
    shapes = {architecture.input_shape, *(layer.shape for layer in architecture.layers)}
    arrays = [mx.nd.full((batch, *shape), np.nan) for shape in shapes for _ in range(4)]
    mx.nd.waitall()
    arrays.clear()


class _Score:
    """The sum of the targets' logits, each image alone, operator by operator in float64.

    Some take float32 only.
    """

    def __init__(self, graph: Graph, values: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        mx = import_mxnet()
        self._graph = graph
        self._targets = targets
        self._constants = {
            Entry(index): mx.nd.array(values[node.name], dtype="float64")
            for index, node in enumerate(graph.nodes)
            if node.is_variable and node.name in values
        }
        read = [*graph.heads, *(entry for node in graph.nodes for entry in node.inputs)]
        self._runs = {
            index: self._run_of(node, max(e.output for e in read if e.node == index))
            for index, node in enumerate(graph.nodes)
            if not node.is_variable
        }

    def _run_of(self, node: Node, last: int) -> Callable[..., list[Any]]:
        """An operator as a function of arrays, with its outputs up to one."""
        mx = import_mxnet()
        reference = REFERENCES.get(node.attrs["mode"] if node.op == "RNN" else node.op)
        if reference is not None:

            def refer(*inputs: Any) -> list[Any]:
                output = reference(node.attrs, *(array.asnumpy() for array in inputs))
                return [mx.nd.array(output, dtype="float64")]

            return refer
        kind = "float32" if LOOSE.get(node.op) == FLOAT32_ONLY else "float64"
        attrs = {**node.attrs, "dtype": kind} if "dtype" in node.attrs else node.attrs
        count = len(node.inputs)
        inputs = tuple(Entry(i) for i in range(count))
        variables = tuple(Node("null", f"input{i}", {}, ()) for i in range(count))
        heads = tuple(Entry(count, output) for output in range(last + 1))
        alone = Graph((*variables, Node(node.op, "operator", attrs, inputs)), heads)
        run = mx.nd.CachedOp(mx.sym.load_json(alone.to_json()))

        def call(*inputs: Any) -> list[Any]:
            outputs = run(*(array.astype(kind, copy=False) for array in inputs))
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            return [array.astype("float64", copy=False) for array in outputs]

        return call

    def __call__(self, data: np.ndarray) -> float:
        mx = import_mxnet()
        total = 0.0
        entrance = Entry(next(i for i, n in enumerate(self._graph.nodes) if n.name == "data"))
        for image, target in zip(data, self._targets, strict=True):
            found = {**self._constants, entrance: mx.nd.array(image[None], dtype="float64")}
            for index, run in self._runs.items():
                inputs = [found[entry] for entry in self._graph.nodes[index].inputs]
                found.update((Entry(index, i), array) for i, array in enumerate(run(*inputs)))
            total += float(found[self._graph.heads[0]].asnumpy().reshape(-1)[target])
        return total


def trials(case: Case | PerChannels) -> Iterator[Trial]:
    """All trials of a case."""
    for channels, batch, around in itertools.product(CHANNELS, BATCHES, AROUND):
        made = case if isinstance(case, Case) else case.make(channels)
        if batch == 1 or not made.is_for_one:
            yield Trial(made, channels, batch, around)


def sample() -> Iterator[Trial]:
    """A few trials of operators whose derivative is ours, one of every eighth of the others."""
    tried = Counter[str]()
    for number, case in enumerate(all_cases()):
        every = list(trials(case))
        trial = every[7 * number % len(every)]
        op = trial.case.op
        tried[op] += 1
        if tried[op] % 6 == 1 if op in OURS else tried[op] == 1 and len(tried) % 8 == 0:
            yield trial


@dataclass(frozen=True)
class Outcome:
    """How a trial went: the relative error, not finite if it failed, and then why."""

    trial: Trial
    error: float
    problem: str = ""

    @property
    def is_right(self) -> bool:
        return self.error <= self.trial.tolerance

    def __str__(self) -> str:
        return f"{self.problem or f'{self.error:.1e}'}: {self.trial}"


def outcome(trial: Trial) -> Outcome:
    """Run a trial in this process."""
    try:
        return Outcome(trial, trial.run())
    except (NetworkError, import_mxnet().base.MXNetError) as problem:
        return Outcome(trial, np.nan, str(problem).strip().splitlines()[-1][:150])


def outcomes(trials: Sequence[Trial]) -> Iterator[Outcome]:
    """Run trials in a process of their own, and in another one after each crash.

    MXNet, which does not survive a fork, is imported there and not here.
    """
    context = multiprocessing.get_context("fork")
    done = 0
    while done < len(trials):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_send_errors, args=(trials[done:], sender))
        process.start()
        sender.close()
        try:
            while done < len(trials):
                error, problem = receiver.recv()
                yield Outcome(trials[done], error, problem)
                done += 1
        except EOFError:
            process.join()
            yield Outcome(trials[done], np.inf, f"crashed ({process.exitcode})")
            done += 1
        process.join()


def _send_errors(trials: Sequence[Trial], sender: Any) -> None:
    for trial in trials:
        found = outcome(trial)
        sender.send((found.error, found.problem))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("operators", nargs="*", metavar="OPERATOR")
    parser.add_argument("--fast", action="store_true", help="only what the tests try by default")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th trial only")
    arguments = parser.parse_args()
    whole = itertools.chain.from_iterable(map(trials, all_cases()))
    chosen = [
        trial
        for trial in (sample() if arguments.fast else whole)
        if not arguments.operators or trial.case.op in arguments.operators
    ][:: arguments.every]
    rows: dict[str, list[Outcome]] = {}
    for found in outcomes(chosen):
        rows.setdefault(found.trial.case.op, []).append(found)
        if not found.is_right:
            print(f"wrong: {found}", file=sys.stderr, flush=True)
    print(f"{'operator':42s} settings trials   worst  what is done")
    wrong = 0
    for op, row in sorted(rows.items()):
        settings = len({str(found.trial.case) for found in row})
        worst = max(np.nan_to_num(found.error, nan=np.inf) for found in row)
        print(f"{op:42s} {settings:8d} {len(row):6d} {worst:7.1e}  {what_is_done(op)}")
        bad = [found for found in row if not found.is_right]
        wrong += len(bad)
        for found in bad[:6]:
            print(f"    {found}")
        if len(bad) > 6:
            print(f"    ... {len(bad)} in all")
    print(f"{len(chosen)} trials of {len(rows)} operators, {wrong} wrong or failed")
    return wrong > 0


def what_is_done(op: str) -> str:
    """About an operator's derivative, in a few words."""
    found = []
    if op in DERIVATIVES:
        found.append("own derivative where MXNet's is wrong")
    if op in PASSED_ONCE:
        found.append("recorded anew for each walk")
    if needs_plain_order(Node(op, op, {"axis": "2"}, ())):
        found.append("reads plain memory")
    if op in LOOSE:
        found.append(f"to {LOOSE_TOLERANCE}, twice: {LOOSE[op]}")
    if op in COMPARE:
        found.append("wrong only if twice so: near ties")
    return "; ".join(found) or "MXNet's"


if __name__ == "__main__":
    sys.exit(main())
