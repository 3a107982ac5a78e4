"""Typed operators as MXNet's: one line each.

What MXNet does in several steps is one of the engine's operators; see ``operators.in_steps``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnnviz.engines.mxnet.operators import Named, Rule, Step, in_steps
from cnnviz.engines.mxnet.recurrent import lstm
from cnnviz.engines.mxnet.stretching import elementwise, expand, matmul, stretching
from cnnviz.engines.mxnet.symbol import VARIABLE, Entry
from cnnviz.engines.mxnet.symbol import Graph as SymbolGraph
from cnnviz.engines.mxnet.symbol import Node as SymbolNode
from cnnviz.engines.mxnet.windows import columns, convolution, global_pool, pool
from cnnviz.errors import NetworkError
from cnnviz.graph import operators as op
from cnnviz.graph.graph import Graph, Value
from cnnviz.types import Shape

#: MXNet slices what has at most so many axes, the batch's among them.
_MOST_AXES = 5


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


def _linear(o: op.Linear, inputs: Sequence[Shape]) -> Named:
    no_bias = len(inputs) < 3
    return "FullyConnected", {
        "num_hidden": o.features,
        "no_bias": no_bias,
        "flatten": o.flatten,
    }


def _batch_norm(o: op.BatchNorm, inputs: Sequence[Shape]) -> Named:
    return "BatchNorm", {
        "eps": o.eps,
        "axis": o.axis + 1,
        "fix_gamma": o.fixed_scale,
        "use_global_stats": True,
    }


def _group_norm(o: op.GroupNorm, inputs: Sequence[Shape]) -> Named:
    if inputs[1] != (o.groups,):
        raise NetworkError(
            f"MXNet's group norm scales each group of channels; this network's scales "
            f"{inputs[1][0]} channels in {o.groups} groups one by one."
        )
    return "GroupNorm", {"num_groups": o.groups, "eps": o.eps}


def _layer_norm(o: op.LayerNorm, inputs: Sequence[Shape]) -> Named:
    if len(o.axes) != 1:
        raise NetworkError(f"MXNet's layer norm goes along one axis; wanted are {len(o.axes)}.")
    return "LayerNorm", {"axis": _behind_batch(o.axes[0]), "eps": o.eps}


def _behind_batch(axis: int) -> int:
    """An axis of the shape without the batch, in that with it."""
    return axis + 1 if axis >= 0 else axis


def _relu(o: op.ReLU, inputs: Sequence[Shape]) -> Named:
    if math.isinf(o.upper):
        return "Activation", {"act_type": "relu"}
    return "clip", {"a_min": 0, "a_max": o.upper}


def _gelu(o: op.GELU, inputs: Sequence[Shape]) -> Named:
    if not o.approximate:
        return "LeakyReLU", {"act_type": "gelu"}
    factor = math.sqrt(2 / math.pi)  # x · (1 + tanh(factor · x · (1 + 0.044715 x²))) / 2
    return in_steps(
        Step("square", {}, (0,)),
        Step("_mul_scalar", {"scalar": repr(0.044715 * factor)}, (1,)),
        Step("_plus_scalar", {"scalar": repr(factor)}, (2,)),
        Step("elemwise_mul", {}, (0, 3)),
        Step("Activation", {"act_type": "tanh"}, (4,)),
        Step("_plus_scalar", {"scalar": 1.0}, (5,)),
        Step("elemwise_mul", {}, (0, 6)),
        Step("_mul_scalar", {"scalar": 0.5}, (7,)),
    )


#: log(1 + exp(x)), and x itself where the exponential would overflow. MXNet's own softrelu has an
#: absolute error of 1e-6, which is all that there is of values far below zero.
_SOFTPLUS = (
    Step("_minimum_scalar", {"scalar": 80.0}, (0,)),
    Step("exp", {}, (1,)),
    Step("log1p", {}, (2,)),
    Step("_minus_scalar", {"scalar": 80.0}, (0,)),
    Step("_maximum_scalar", {"scalar": 0.0}, (4,)),
    Step("elemwise_add", {}, (3, 5)),
)


def _gated(*gate: Step) -> Rule:
    """What is multiplied by a function of its own."""
    return lambda o, inputs: in_steps(*gate, Step("elemwise_mul", {}, (0, len(gate))))


def _activation(kind: str) -> Rule:
    return lambda o, inputs: ("Activation", {"act_type": kind})


def _affine(o: op.Affine, inputs: Sequence[Shape]) -> Named:
    if o.shift == 0:
        return "_mul_scalar", {"scalar": repr(o.scale)}
    if o.scale == -1:
        return "_rminus_scalar", {"scalar": repr(o.shift)}
    if o.scale == 1:
        return "_plus_scalar", {"scalar": repr(o.shift)}
    return in_steps(
        Step("_mul_scalar", {"scalar": repr(o.scale)}, (0,)),
        Step("_plus_scalar", {"scalar": repr(o.shift)}, (1,)),
    )


def _plain(name: str) -> Rule:
    return lambda o, inputs: (name, {})


def _reduction(name: str) -> Rule:
    def rule(o: op.Max | op.Mean | op.Min | op.Sum, inputs: Sequence[Shape]) -> Named:
        axes = tuple(axis + 1 for axis in o.axes)
        return name, {"axis": axes, "keepdims": o.keep_axes}

    return rule


def _concat(o: op.Concat, inputs: Sequence[Shape]) -> Named:
    return "Concat", {"dim": o.axis + 1, "num_args": len(inputs)}


def _slice(o: op.Slice, inputs: Sequence[Shape]) -> Named:
    return _part(list(zip(o.begin, o.end, o.steps, strict=True)), inputs[0][1:])


def _part(parts: Sequence[tuple[int, int, int]], sizes: Shape) -> Named:
    """What lies between begin and end of each axis, by steps."""

    def taken(begin: Sequence[Any], end: Sequence[Any], step: Sequence[Any]) -> Named:
        return "slice", {"begin": (None, *begin), "end": (None, *end), "step": (None, *step)}

    whole = [(0, size, 1) for size in sizes]
    if len(sizes) < _MOST_AXES or parts == whole:
        return taken(*zip(*parts, strict=True))
    # Axes of which all is taken become one with those beside them, the first with the batch.
    found: list[tuple[int, int, int]] = []
    merged: list[int] = [-1]
    for part, all_of_it, size in zip(parts, whole, sizes, strict=True):
        if part != all_of_it:
            merged.append(size)
            found.append(part)
        elif found and found[-1] == (0, merged[-1], 1):
            merged[-1] *= size
            found[-1] = (0, merged[-1], 1)
        elif found:
            merged.append(size)
            found.append(part)
    shape = (-1, *(len(range(*part)) for part in parts))
    return in_steps(
        Step("Reshape", {"shape": tuple(merged)}, (0,)),
        Step(*taken(*zip(*found, strict=True)), (1,)),
        Step("Reshape", {"shape": shape}, (2,)),
    )


def _take(o: op.Take, inputs: Sequence[Shape]) -> Named:
    """As a slice: MXNet reads other indices from an array."""
    first, last = o.indices[0], o.indices[-1]
    step = o.indices[1] - first if len(o.indices) > 1 else 1
    if step < 1 or o.indices != tuple(range(first, last + 1, step)):
        raise NetworkError("MXNet takes what stands evenly, in order.")
    sizes = inputs[0][1:]
    parts = [(0, size, 1) for size in sizes]
    parts[o.axis] = (first, last + 1, step)
    return _part(parts, sizes)


def _split(o: op.Split, inputs: Sequence[Shape]) -> Named:
    edges = (0, *o.cuts, inputs[0][o.axis + 1])
    sizes = {end - begin for begin, end in itertools.pairwise(edges)}
    if len(sizes) > 1:
        return "_split_v2", {"axis": o.axis + 1, "indices": edges[:-1]}
    return "SliceChannel", {"axis": o.axis + 1, "num_outputs": len(o.cuts) + 1}


def _pad(o: op.Pad, inputs: Sequence[Shape]) -> Named:
    padded = [axis for axis, pair in enumerate(o.pads) if any(pair)]
    if o.mode == "wrap" or len(padded) > 2:
        raise NetworkError("MXNet pads two axes, with a number or what stands there.")
    attributes = {"mode": o.mode, "constant_value": repr(o.value)}
    if len(o.pads) == 3 and 0 not in padded:
        return "Pad", {**attributes, "pad_width": (0, 0, *itertools.chain(*o.pads))}
    # It pads the last two of four axes: these two are brought there, all others into the batch.
    others = [axis for axis in range(len(o.pads)) if axis not in padded]
    order = [*others, *padded]
    back = [1 + order.index(axis) for axis in range(len(order))]
    sizes = inputs[0][1:]
    sides = [sizes[axis] for axis in padded]
    wider = [sizes[axis] + sum(o.pads[axis]) for axis in padded]
    idle = 2 - len(padded)
    width = (0,) * (4 + 2 * idle) + tuple(itertools.chain(*(o.pads[axis] for axis in padded)))
    return in_steps(
        Step("transpose", {"axes": (0, *(1 + axis for axis in order))}, (0,)),
        Step("Reshape", {"shape": (-1, *(1,) * (1 + idle), *sides)}, (1,)),
        Step("Pad", {**attributes, "pad_width": width}, (2,)),
        Step("Reshape", {"shape": (-1, *(sizes[axis] for axis in others), *wider)}, (3,)),
        Step("transpose", {"axes": (0, *back)}, (4,)),
    )


_RULES: Mapping[type[op.Operator], Rule] = {
    op.Abs: _plain("abs"),
    op.AdaptiveAvgPool2d: lambda o, inputs: (
        "_contrib_AdaptiveAvgPooling2D",
        {"output_size": o.size},
    ),
    op.Add: elementwise("add"),
    op.Affine: _affine,
    op.AvgPool2d: pool,
    op.BatchNorm: _batch_norm,
    op.Clip: lambda o, inputs: ("clip", {"a_min": repr(o.lower), "a_max": repr(o.upper)}),
    op.Concat: _concat,
    op.Conv2d: convolution,
    op.ConvTranspose2d: convolution,
    op.Cos: _plain("cos"),
    op.Divide: elementwise("div"),
    op.ELU: lambda o, inputs: ("LeakyReLU", {"act_type": "elu", "slope": o.alpha}),
    op.Erf: _plain("erf"),
    op.Exp: _plain("exp"),
    op.Expand: expand,
    op.Fold: columns,
    op.GELU: _gelu,
    op.Flatten: lambda o, inputs: ("Flatten", {}),
    op.GlobalAvgPool2d: global_pool("avg"),
    op.GlobalMaxPool2d: global_pool("max"),
    op.GroupNorm: _group_norm,
    op.HardSigmoid: lambda o, inputs: ("hard_sigmoid", {"alpha": o.slope, "beta": o.offset}),
    op.HardSwish: _gated(
        Step("_plus_scalar", {"scalar": 3.0}, (0,)),
        Step("clip", {"a_min": 0.0, "a_max": 6.0}, (1,)),
        Step("_div_scalar", {"scalar": 6.0}, (2,)),
    ),
    op.Identity: lambda o, inputs: ("_copy", {}),
    op.InstanceNorm: lambda o, inputs: ("InstanceNorm", {"eps": o.eps}),
    op.LSTM: lstm,
    op.LayerNorm: _layer_norm,
    op.LeakyReLU: lambda o, inputs: ("LeakyReLU", {"act_type": "leaky", "slope": o.slope}),
    op.Linear: _linear,
    op.LocalResponseNorm: lambda o, inputs: (
        "LRN",
        {"nsize": o.size, "alpha": o.alpha, "beta": o.beta, "knorm": o.k},
    ),
    op.Log: _plain("log"),
    op.MatMul: matmul,
    op.Max: _reduction("max"),
    op.MaxPool2d: pool,
    op.Maximum: stretching("broadcast_maximum"),
    op.Mean: _reduction("mean"),
    op.Min: _reduction("min"),
    op.Minimum: stretching("broadcast_minimum"),
    op.Mish: _gated(*_SOFTPLUS, Step("Activation", {"act_type": "tanh"}, (len(_SOFTPLUS),))),
    op.Multiply: elementwise("mul"),
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
    op.SiLU: _gated(Step("Activation", {"act_type": "sigmoid"}, (0,))),
    op.Sigmoid: _activation("sigmoid"),
    op.Softplus: lambda o, inputs: in_steps(*_SOFTPLUS),
    op.Softsign: _activation("softsign"),
    op.Subtract: elementwise("sub"),
    op.Sum: _reduction("sum"),
    op.Take: _take,
    op.Tanh: _activation("tanh"),
    op.Transpose: lambda o, inputs: ("transpose", {"axes": (0, *(axis + 1 for axis in o.axes))}),
    op.Unfold: columns,
    op.Where: stretching("_npi_where"),
}
