"""Typed operators as PyTorch's functions: one line each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from cnnviz.engines.torch import windows
from cnnviz.engines.torch.recurrent import lstm
from cnnviz.engines.torch.resizing import resizing
from cnnviz.engines.torch.runtime import import_torch
from cnnviz.engines.torch.windows import Function
from cnnviz.errors import NetworkError
from cnnviz.graph import operators as op
from cnnviz.graph.graph import Graph


def function(operator: op.Operator) -> Function:
    """What computes a typed operator.

    Raises:
        NetworkError: PyTorch has none that does the same, or it is another framework's own.
    """
    if isinstance(operator, op.Opaque):
        raise NetworkError(
            f"The operator {operator.name} is {operator.framework}'s own: PyTorch's engine cannot "
            "run it."
        )
    rule = _RULES.get(type(operator))
    if rule is None:
        raise NetworkError(f"PyTorch's engine has no {type(operator).__name__}.")
    return rule(operator)


def unknown_operators(graph: Graph) -> tuple[str, ...]:
    """The names of a graph's operators that there is no function for; PyTorch is not needed."""
    known = (op.Input, op.Parameter, *_RULES)
    unknown = (node.operator for node in graph.nodes if type(node.operator) not in known)
    return tuple(dict.fromkeys(operator.kind for operator in unknown))


def _linear(o: op.Linear) -> Function:
    linear = import_torch().nn.functional.linear

    def run(data: Any, weight: Any, bias: Any = None) -> Any:
        return linear(data.flatten(1) if o.flatten else data, weight, bias)

    return run


def _batch_norm(o: op.BatchNorm) -> Function:
    torch = import_torch()

    def run(data: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> Any:
        if o.fixed_scale:
            scale = torch.ones_like(scale)
        if o.axis != 0:
            data = data.movedim(o.axis + 1, 1)
        found = torch.nn.functional.batch_norm(
            data, mean, variance, scale, shift, training=False, eps=o.eps
        )
        if found.requires_grad and not data.is_cuda:
            # PyTorch's derivative on CPUs is wrong (seen up to 2.14) where the gradient does not
            # lie in memory as the data do: behind a transposition to channels last.
            channels_last = not data.is_contiguous() and data.ndim == 4
            layout = torch.channels_last if channels_last else torch.contiguous_format
            found.register_hook(lambda gradient: gradient.contiguous(memory_format=layout))
        return found if o.axis == 0 else found.movedim(1, o.axis + 1)

    return run


def _behind_batch(axis: int) -> int:
    """An axis of the shape without the batch, in that with it."""
    return axis + 1 if axis >= 0 else axis


def _layer_norm(o: op.LayerNorm) -> Function:
    layer_norm = import_torch().nn.functional.layer_norm
    axes = tuple(map(_behind_batch, o.axes))
    last = tuple(range(-len(axes), 0))

    def run(data: Any, scale: Any, shift: Any) -> Any:
        moved = data.movedim(axes, last)
        sizes = moved.shape[-len(axes) :]
        found = layer_norm(moved, sizes, scale.reshape(sizes), shift.reshape(sizes), o.eps)
        return found.movedim(last, axes)

    return run


def _group_norm(groups: Callable[[int], int], eps: float) -> Function:
    torch = import_torch()

    def run(data: Any, scale: Any, shift: Any) -> Any:
        channels = data.shape[1]
        count = groups(channels)
        if len(scale) != channels:  # one for each group
            scale, shift = (each.repeat_interleave(channels // count) for each in (scale, shift))
        return torch.group_norm(data, count, scale, shift, eps)

    return run


def _pad(o: op.Pad) -> Function:
    torch = import_torch()
    if o.mode == "constant":
        widths = [width for around in reversed(o.pads) for width in around]
        return lambda data: torch.nn.functional.pad(data, widths, value=o.value)

    def border(data: Any, axis: int, width: int, *, behind: bool) -> Any:
        size = data.shape[axis]
        if o.mode == "wrap":
            return data.narrow(axis, 0 if behind else size - width, width)
        if o.mode == "edge":
            sizes = [-1 if place != axis else width for place in range(data.dim())]
            return data.narrow(axis, size - 1 if behind else 0, 1).expand(sizes)
        return data.narrow(axis, size - 1 - width if behind else 1, width).flip(axis)

    def run(data: Any) -> Any:
        for axis, (before, after) in enumerate(o.pads, start=1):
            first = [border(data, axis, before, behind=False)] if before else []
            last = [border(data, axis, after, behind=True)] if after else []
            if first or last:
                data = torch.cat([*first, data, *last], axis)
        return data

    return run


def _prelu(_: op.PReLU) -> Function:
    prelu = import_torch().nn.functional.prelu
    return lambda data, slope: prelu(data, slope.flatten())


def _take(o: op.Take) -> Function:
    indices = import_torch().tensor(o.indices)  # on the program's device: see there
    return lambda data: data.index_select(o.axis + 1, indices)


def _expand(o: op.Expand) -> Function:
    def run(data: Any) -> Any:
        missing = (1,) * (len(o.size) + 1 - data.dim())
        return data.reshape(len(data), *missing, *data.shape[1:]).expand(-1, *o.size)

    return run


def _relu(o: op.ReLU) -> Function:
    torch = import_torch()
    if o.upper == float("inf"):
        return lambda data: torch.relu(data)
    return lambda data: torch.nn.functional.hardtanh(data, 0.0, o.upper)


def _named(name: str, *arguments: Any, **options: Any) -> Function:
    """One of PyTorch's functions, with what comes behind its data."""
    run = getattr(import_torch().nn.functional, name)
    return lambda data: run(data, *arguments, **options)


def _elementwise(name: str) -> Callable[[op.Operator], Function]:
    def rule(_: op.Operator) -> Function:
        return getattr(import_torch(), name)  # type: ignore[no-any-return]

    return rule


def _split(o: op.Split) -> Function:
    def run(data: Any) -> list[Any]:
        edges = (0, *o.cuts, data.shape[o.axis + 1])
        sizes = [end - begin for begin, end in itertools.pairwise(edges)]
        return list(data.split(sizes, o.axis + 1))

    return run


def _slice(o: op.Slice) -> Function:
    places = (slice(None), *map(slice, o.begin, o.end, o.steps))
    return lambda data: data[places]


def _reduction(name: str) -> Callable[[op.Mean | op.Sum], Function]:
    def rule(o: op.Mean | op.Sum) -> Function:
        axes = tuple(axis + 1 for axis in o.axes)
        return lambda data: getattr(data, name)(axes, keepdim=o.keep_axes)

    return rule


def _extreme(sign: int) -> Callable[[op.Max | op.Min], Function]:
    """The highest value, or, with the sign -1, the lowest."""

    def rule(o: op.Max | op.Min) -> Function:
        axes = tuple(axis + 1 for axis in o.axes)
        last = tuple(range(-len(axes), 0))

        def run(data: Any) -> Any:
            together = data.movedim(axes, last).flatten(-len(axes))
            # max() with an axis, and not amax(): of equals the first passes the gradient on.
            found = (together.max(-1) if sign > 0 else together.min(-1)).values
            if not o.keep_axes:
                return found
            return found.reshape(
                [1 if axis in axes else size for axis, size in enumerate(data.shape)]
            )

        return run

    return rule


def _greater(sign: int) -> Function:
    """The greater of two, or, with the sign -1, the lesser; of equals the left."""
    torch = import_torch()

    def run(left: Any, right: Any) -> Any:
        return torch.where(left >= right if sign > 0 else left <= right, left, right)

    return run


def _where(condition: Any, left: Any, right: Any) -> Any:
    return import_torch().where(condition != 0, left, right)


def _concat(o: op.Concat) -> Function:
    torch = import_torch()

    def run(*parts: Any) -> Any:
        most = max(part.dim() for part in parts)
        images = max(len(part) for part in parts if part.dim() == most)
        whole = [
            part.expand(images, *part.shape[-(most - 1) :])  # a constant is put beside each image
            if part.dim() < most or len(part) < images
            else part
            for part in parts
        ]
        return torch.cat(whole, o.axis + 1)

    return run


_RULES: Mapping[type[op.Operator], Callable[[Any], Function]] = {
    op.Abs: _elementwise("abs"),
    op.AdaptiveAvgPool2d: lambda o: _named("adaptive_avg_pool2d", o.size),
    op.AdaptiveMaxPool2d: lambda o: _named("adaptive_max_pool2d", o.size),
    op.Add: _elementwise("add"),
    op.Affine: lambda o: lambda data: data * o.scale + o.shift,
    op.AvgPool2d: windows.average_pool,
    op.BatchNorm: _batch_norm,
    op.Clip: lambda o: lambda data: data.clamp(o.lower, o.upper),
    op.Concat: _concat,
    op.Conv2d: windows.convolution,
    op.ConvTranspose2d: windows.transposed_convolution,
    op.Cos: _elementwise("cos"),
    op.Divide: _elementwise("div"),
    op.ELU: lambda o: _named("elu", o.alpha),
    op.Erf: _elementwise("erf"),
    op.Exp: _elementwise("exp"),
    op.Expand: _expand,
    op.Flatten: lambda o: lambda data: data.reshape(len(data), -1),
    op.Fold: windows.fold,
    op.GELU: lambda o: _named("gelu", approximate="tanh" if o.approximate else "none"),
    op.GlobalAvgPool2d: lambda o: lambda data: data.mean((2, 3), keepdim=True),
    # Of equals the first passes the gradient on, as in every other max pooling.
    op.GlobalMaxPool2d: lambda o: (
        lambda data: import_torch().nn.functional.max_pool2d(data, tuple(data.shape[2:]))
    ),
    op.GroupNorm: lambda o: _group_norm(lambda channels: o.groups, o.eps),
    op.HardSigmoid: lambda o: lambda data: (data * o.slope + o.offset).clamp(0, 1),
    op.HardSwish: lambda o: _named("hardswish"),
    op.Identity: lambda o: lambda data: data,
    op.InstanceNorm: lambda o: _group_norm(lambda channels: channels, o.eps),
    op.LSTM: lstm,
    op.LayerNorm: _layer_norm,
    op.LeakyReLU: lambda o: _named("leaky_relu", o.slope),
    op.Linear: _linear,
    op.LocalResponseNorm: lambda o: _named("local_response_norm", o.size, o.alpha, o.beta, o.k),
    op.Log: _elementwise("log"),
    op.MatMul: _elementwise("matmul"),
    op.Max: _extreme(1),
    op.MaxPool2d: windows.max_pool,
    op.Maximum: lambda o: _greater(1),
    op.Mean: _reduction("mean"),
    op.Min: _extreme(-1),
    op.Minimum: lambda o: _greater(-1),
    op.Mish: lambda o: _named("mish"),
    op.Multiply: _elementwise("mul"),
    op.PReLU: _prelu,
    op.Pad: _pad,
    op.Power: lambda o: lambda data: data**o.exponent,
    op.ReLU: _relu,
    op.Resize2d: resizing,
    op.Reshape: lambda o: lambda data: data.reshape(-1, *o.size),
    op.SELU: lambda o: _named("selu"),
    op.SiLU: lambda o: _named("silu"),
    op.Sigmoid: _elementwise("sigmoid"),
    op.Sin: _elementwise("sin"),
    op.Slice: _slice,
    op.Softmax: lambda o: lambda data: data.softmax(_behind_batch(o.axis)),
    op.Softplus: lambda o: _named("softplus"),
    op.Softsign: lambda o: _named("softsign"),
    op.Split: _split,
    op.Subtract: _elementwise("sub"),
    op.Sum: _reduction("sum"),
    op.Take: _take,
    op.Tanh: _elementwise("tanh"),
    op.Transpose: lambda o: lambda data: data.permute(0, *(axis + 1 for axis in o.axes)),
    op.Unfold: windows.unfold,
    op.Where: lambda o: (
        lambda condition, left, right: import_torch().where(condition != 0, left, right)
    ),
}


def stretched(value: Any, axes: int) -> Any:
    """A value with the batch as an operator stretches it: axes are missing behind the batch."""
    missing = axes - value.dim() + 1
    if missing <= 0:
        return value
    return value.reshape(value.shape[0], *(1,) * missing, *value.shape[1:])
