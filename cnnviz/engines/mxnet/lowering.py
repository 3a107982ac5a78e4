"""Typed operators as MXNet's: one line each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cnnviz.engines.mxnet.symbol import VARIABLE, Entry
from cnnviz.engines.mxnet.symbol import Graph as SymbolGraph
from cnnviz.engines.mxnet.symbol import Node as SymbolNode
from cnnviz.errors import NetworkError
from cnnviz.graph import operators as op
from cnnviz.graph.graph import Graph, Value
from cnnviz.types import Shape


class Lowered(NamedTuple):
    """An operator as MXNet knows it."""

    name: str
    attributes: Mapping[str, str]
    extra: Any = None


def lower(operator: op.Operator, inputs: Sequence[Shape]) -> Lowered:
    """A typed operator as MXNet's.

    Args:
        operator: any but inputs and parameters.
        inputs: the shapes of its inputs, with 0 for the batch, which parameters lack.

    Raises:
        NetworkError: MXNet has none that does the same.
    """
    if isinstance(operator, op.Opaque):
        if operator.framework != "mxnet":
            raise NetworkError(
                f"The operator {operator.name} is {operator.framework}'s: MXNet cannot run it."
            )
        return Lowered(operator.name, operator.attributes, operator.extra)
    rule = _RULES.get(type(operator))
    if rule is None:
        raise NetworkError(f"MXNet's engine has no {type(operator).__name__}.")
    name, attributes = rule(operator, inputs)
    return Lowered(name, {key: str(value) for key, value in attributes.items()})


def lowered_graph(graph: Graph) -> SymbolGraph:
    """A graph of typed operators as MXNet's; its nodes keep their places and names.

    Raises:
        NetworkError: MXNet has nothing that does the same.
    """
    nodes = []
    shapes = _input_shapes(graph)
    for index, node in enumerate(graph.nodes):
        operator = node.operator
        inputs = tuple(Entry(value.node, value.output) for value in node.inputs)
        if isinstance(operator, (op.Input, op.Parameter)):
            nodes.append(SymbolNode(VARIABLE, node.name, {}, ()))
            continue
        found = lower(operator, shapes[index])
        extra = tuple(found.extra or ())
        nodes.append(SymbolNode(found.name, node.name, found.attributes, inputs, extra))
    return SymbolGraph(tuple(nodes), (Entry(graph.output.node, graph.output.output),))


def unknown_operators(graph: Graph) -> tuple[str, ...]:
    """The names of a graph's operators that MXNet has nothing for; MXNet is not needed."""
    found: dict[str, None] = {}
    for node, shapes in zip(graph.nodes, _input_shapes(graph), strict=True):
        if not isinstance(node.operator, (op.Input, op.Parameter)):
            try:
                lower(node.operator, shapes)
            except NetworkError:
                found[node.operator.kind] = None
    return tuple(found)


def _input_shapes(graph: Graph) -> list[list[Shape]]:
    """For each node the shapes of its inputs, with 0 for the batch, which parameters lack."""
    batched = {graph.input.node, *graph.layers}

    def whole(value: Value) -> Shape:
        shape = graph.shape(value)
        return (0, *shape) if value.node in batched else shape

    return [[whole(value) for value in node.inputs] for node in graph.nodes]


_Rule = Callable[[Any, Sequence[Shape]], tuple[str, Mapping[str, Any]]]


def _same_pads(pads: op.Pads) -> op.Pair:
    if pads[:2] != pads[2:]:
        raise NetworkError(f"MXNet pads both sides alike; wanted is {pads}.")
    return pads[:2]


def _convolution(
    o: op.Conv2d | op.ConvTranspose2d, inputs: Sequence[Shape]
) -> tuple[str, Mapping[str, Any]]:
    attributes = {
        "kernel": o.kernel,
        "stride": o.stride,
        "dilate": o.dilation,
        "pad": _same_pads(o.padding),
        "num_filter": o.channels,
        "num_group": o.groups,
        "no_bias": len(inputs) < 3,
    }
    if isinstance(o, op.ConvTranspose2d):
        return "Deconvolution", {**attributes, "adj": o.output_padding}
    return "Convolution", attributes


def _linear(o: op.Linear, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    no_bias = len(inputs) < 3
    return "FullyConnected", {
        "num_hidden": o.features,
        "no_bias": no_bias,
        "flatten": o.flatten,
    }


def _batch_norm(o: op.BatchNorm, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    return "BatchNorm", {
        "eps": o.eps,
        "axis": o.axis + 1,
        "fix_gamma": o.fixed_scale,
        "use_global_stats": True,
    }


def _group_norm(o: op.GroupNorm, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    if inputs[1] != (o.groups,):
        raise NetworkError(
            f"MXNet's group norm scales each group of channels; this network's scales "
            f"{inputs[1][0]} channels in {o.groups} groups one by one."
        )
    return "GroupNorm", {"num_groups": o.groups, "eps": o.eps}


def _layer_norm(o: op.LayerNorm, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    if len(o.axes) != 1:
        raise NetworkError(f"MXNet's layer norm goes along one axis; wanted are {len(o.axes)}.")
    return "LayerNorm", {"axis": _behind_batch(o.axes[0]), "eps": o.eps}


def _behind_batch(axis: int) -> int:
    """An axis of the shape without the batch, in that with it."""
    return axis + 1 if axis >= 0 else axis


def _pool(o: op.MaxPool2d | op.AvgPool2d, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    further = {"count_include_pad": o.count_include_pad} if isinstance(o, op.AvgPool2d) else {}
    if isinstance(o, op.MaxPool2d) and o.dilation != (1, 1):
        raise NetworkError("MXNet's max pooling has no dilation.")
    if o.ceil_mode:
        data = inputs[0][-3:]
        padded = zip(data[1:], o.padding[:2], o.padding[2:], o.kernel, o.stride, strict=True)
        places = [1 + -(-(size + a + b - k) // step) for size, a, b, k, step in padded]
        if o.shape(data)[1:] != tuple(places):
            raise NetworkError("MXNet's pooling has a further window, which lies in the padding.")
    return "Pooling", {
        "kernel": o.kernel,
        "stride": o.stride,
        "pad": _same_pads(o.padding),
        "pool_type": "avg" if isinstance(o, op.AvgPool2d) else "max",
        "pooling_convention": "full" if o.ceil_mode else "valid",
        **further,
    }


def _global_pool(kind: str) -> _Rule:
    attributes = {"global_pool": True, "kernel": (1, 1), "pool_type": kind}
    return lambda o, inputs: ("Pooling", attributes)


def _relu(o: op.ReLU, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    if math.isinf(o.upper):
        return "Activation", {"act_type": "relu"}
    return "clip", {"a_min": 0, "a_max": o.upper}


def _gelu(o: op.GELU, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    if o.approximate:
        raise NetworkError("MXNet's GELU is the exact one; wanted is the one by tanh.")
    return "LeakyReLU", {"act_type": "gelu"}


def _activation(kind: str) -> _Rule:
    return lambda o, inputs: ("Activation", {"act_type": kind})


def _stretched(inputs: Sequence[Shape]) -> Sequence[Shape]:
    """The shapes, if MXNet can stretch them: it counts axes from the last, the batch with them."""
    data = {len(shape) for shape in inputs if shape[:1] == (0,)}
    if len(data) > 1 or max(map(len, inputs)) > max(data, default=math.inf):
        raise NetworkError("MXNet stretches values only to as many axes as they have.")
    return inputs


def _elementwise(kind: str) -> _Rule:
    """MXNet's faster operator where nothing is stretched."""

    def rule(o: op.Operator, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
        left, right = _stretched(inputs)
        return (f"elemwise_{kind}" if left == right else f"broadcast_{kind}"), {}

    return rule


def _affine(o: op.Affine, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    if o.shift == 0:
        return "_mul_scalar", {"scalar": repr(o.scale)}
    if o.scale == -1:
        return "_rminus_scalar", {"scalar": repr(o.shift)}
    if o.scale == 1:
        return "_plus_scalar", {"scalar": repr(o.shift)}
    raise NetworkError("MXNet takes a factor or a summand at a time.")


def _stretching(name: str) -> _Rule:
    def rule(o: op.Operator, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
        _stretched(inputs)
        return name, {}

    return rule


def _plain(name: str) -> _Rule:
    return lambda o, inputs: (name, {})


def _reduction(name: str) -> _Rule:
    def rule(
        o: op.Max | op.Mean | op.Min | op.Sum, inputs: Sequence[Shape]
    ) -> tuple[str, Mapping[str, Any]]:
        axes = tuple(axis + 1 for axis in o.axes)
        return name, {"axis": axes, "keepdims": o.keep_axes}

    return rule


def _concat(o: op.Concat, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    if len({shape[:1] == (0,) for shape in inputs}) > 1:
        raise NetworkError("MXNet does not put a constant beside each image.")
    return "Concat", {"dim": o.axis + 1, "num_args": len(inputs)}


def _slice(o: op.Slice, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    return "slice", {
        "begin": (None, *o.begin),
        "end": (None, *o.end),
        "step": (None, *o.steps),
    }


def _take(o: op.Take, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    """As a slice: MXNet reads other indices from an array."""
    first, last = o.indices[0], o.indices[-1]
    step = o.indices[1] - first if len(o.indices) > 1 else 1
    if step < 1 or o.indices != tuple(range(first, last + 1, step)):
        raise NetworkError("MXNet takes what stands evenly, in order.")
    whole = (None,) * (o.axis + 1)
    return "slice", {"begin": (*whole, first), "end": (*whole, last + 1), "step": (*whole, step)}


def _expand(o: op.Expand, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    if len(inputs[0]) != len(o.size) + 1:
        raise NetworkError("MXNet repeats values along the axes that they have.")
    return "broadcast_to", {"shape": (0, *o.size)}


def _split(o: op.Split, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    edges = (0, *o.cuts, inputs[0][o.axis + 1])
    sizes = {end - begin for begin, end in itertools.pairwise(edges)}
    if len(sizes) > 1:
        return "_split_v2", {"axis": o.axis + 1, "indices": edges[:-1]}
    return "SliceChannel", {"axis": o.axis + 1, "num_outputs": len(o.cuts) + 1}


def _pad(o: op.Pad, inputs: Sequence[Shape]) -> tuple[str, Mapping[str, Any]]:
    if o.mode == "wrap" or len(o.pads) != 3 or any(o.pads[0]):
        raise NetworkError("MXNet pads height and width, with a number or what stands there.")
    return "Pad", {
        "mode": o.mode,
        "pad_width": (0, 0, *itertools.chain(*o.pads)),
        "constant_value": repr(o.value),
    }


_RULES: Mapping[type[op.Operator], _Rule] = {
    op.Abs: _plain("abs"),
    op.AdaptiveAvgPool2d: lambda o, inputs: (
        "_contrib_AdaptiveAvgPooling2D",
        {"output_size": o.size},
    ),
    op.Add: _elementwise("add"),
    op.Affine: _affine,
    op.AvgPool2d: _pool,
    op.BatchNorm: _batch_norm,
    op.Clip: lambda o, inputs: ("clip", {"a_min": repr(o.lower), "a_max": repr(o.upper)}),
    op.Concat: _concat,
    op.Conv2d: _convolution,
    op.ConvTranspose2d: _convolution,
    op.Cos: _plain("cos"),
    op.Divide: _elementwise("div"),
    op.ELU: lambda o, inputs: ("LeakyReLU", {"act_type": "elu", "slope": o.alpha}),
    op.Erf: _plain("erf"),
    op.Exp: _plain("exp"),
    op.Expand: _expand,
    op.GELU: _gelu,
    op.Flatten: lambda o, inputs: ("Flatten", {}),
    op.GlobalAvgPool2d: _global_pool("avg"),
    op.GlobalMaxPool2d: _global_pool("max"),
    op.GroupNorm: _group_norm,
    op.HardSigmoid: lambda o, inputs: ("hard_sigmoid", {"alpha": o.slope, "beta": o.offset}),
    op.Identity: lambda o, inputs: ("_copy", {}),
    op.InstanceNorm: lambda o, inputs: ("InstanceNorm", {"eps": o.eps}),
    op.LayerNorm: _layer_norm,
    op.LeakyReLU: lambda o, inputs: ("LeakyReLU", {"act_type": "leaky", "slope": o.slope}),
    op.Linear: _linear,
    op.LocalResponseNorm: lambda o, inputs: (
        "LRN",
        {"nsize": o.size, "alpha": o.alpha, "beta": o.beta, "knorm": o.k},
    ),
    op.Log: _plain("log"),
    op.MatMul: _stretching("_npi_matmul"),
    op.Max: _reduction("max"),
    op.MaxPool2d: _pool,
    op.Maximum: _stretching("broadcast_maximum"),
    op.Mean: _reduction("mean"),
    op.Min: _reduction("min"),
    op.Minimum: _stretching("broadcast_minimum"),
    op.Multiply: _elementwise("mul"),
    op.PReLU: lambda o, inputs: ("LeakyReLU", {"act_type": "prelu"}),
    op.Pad: _pad,
    op.Power: lambda o, inputs: ("_power_scalar", {"scalar": repr(o.exponent)}),
    op.ReLU: _relu,
    op.Reshape: lambda o, inputs: ("Reshape", {"shape": (0, *o.size)}),
    op.SELU: lambda o, inputs: ("LeakyReLU", {"act_type": "selu"}),
    op.Sin: _plain("sin"),
    op.Slice: _slice,
    op.Softmax: lambda o, inputs: ("softmax", {"axis": _behind_batch(o.axis)}),
    op.Split: _split,
    op.Sigmoid: _activation("sigmoid"),
    op.Softplus: _activation("softrelu"),
    op.Softsign: _activation("softsign"),
    op.Subtract: _elementwise("sub"),
    op.Sum: _reduction("sum"),
    op.Take: _take,
    op.Tanh: _activation("tanh"),
    op.Transpose: lambda o, inputs: ("transpose", {"axes": (0, *(axis + 1 for axis in o.axes))}),
    op.Where: _stretching("_npi_where"),
}
