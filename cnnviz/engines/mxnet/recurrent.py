"""LSTM layers in steps of MXNet's: its own goes back only through what ran as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnviz.engines.mxnet.operators import Named, Step, in_steps
from cnnviz.errors import NetworkError
from cnnviz.graph import operators as op
from cnnviz.types import Shape

#: Each is a dozen operators; MXNet takes seconds to bring more of them into an order.
_MOST_STEPS = 256


def lstm(o: op.LSTM, inputs: Sequence[Shape]) -> Named:
    """Every step of the sequence written down."""
    count = inputs[0][-2]
    if count > _MOST_STEPS:
        raise NetworkError(
            f"MXNet's engine runs an LSTM of at most {_MOST_STEPS} steps; this one has {count}."
        )
    steps: list[Step] = []

    def add(name: str, reads: Sequence[int], **attributes: Any) -> int:
        steps.append(Step(name, attributes, tuple(reads)))
        return 3 + len(steps)  # behind the four inputs

    def gate(of: int, place: int, kind: str) -> int:
        cut = add("slice_axis", [of], axis=1, begin=place * o.hidden, end=(place + 1) * o.hidden)
        return add("Activation", [cut], act_type=kind)

    dense: Mapping[str, Any] = {"num_hidden": 4 * o.hidden, "flatten": False}
    rows = add("Reshape", [0], shape=(-1, *inputs[0][-2:]))
    taken = add("FullyConnected", [rows, 1, 3], **dense)
    hidden = cell = -1
    found: dict[int, int] = {}
    for place in reversed(range(count)) if o.reverse else range(count):
        own = add("slice_axis", [taken], axis=1, begin=place, end=place + 1)
        total = add("Reshape", [own], shape=(-1, 4 * o.hidden))
        if found:
            remembered = add("FullyConnected", [hidden, 2], no_bias=True, **dense)
            total = add("elemwise_add", [total, remembered])
        enters, kept, given = (gate(total, place, "sigmoid") for place in (0, 1, 3))
        new = add("elemwise_mul", [enters, gate(total, 2, "tanh")])
        if found:
            new = add("elemwise_add", [new, add("elemwise_mul", [kept, cell])])
        cell = new
        hidden = add("elemwise_mul", [given, add("Activation", [cell], act_type="tanh")])
        found[place] = hidden
    joined = add("stack", [found[place] for place in range(count)], axis=1, num_args=count)
    shape = (*inputs[0][1:-1], o.hidden)
    add("Reshape", [joined], shape=(-1, *shape))
    return in_steps(*steps)
