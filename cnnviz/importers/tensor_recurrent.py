"""Recurrent layers of a program of tensors: LSTM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import LSTM
from cnnviz.importers.tensor_shapes import concat, sliced
from cnnviz.importers.tensors import (
    Constant,
    Operand,
    Tensor,
    TensorGraph,
    keeping,
    transpose,
)


class Weights(NamedTuple):
    """Of one direction; the gates are in PyTorch's order: i, f, g, o."""

    data: Constant
    recurrent: Constant
    bias: Constant | None = None
    recurrent_bias: Constant | None = None


def lstm(
    graph: TensorGraph, x: Tensor, weights: Sequence[Weights], *, backward: bool = False
) -> Tensor:
    """The output at every step, (sequences, steps, directions · hidden).

    Args:
        graph: the graph.
        x: (sequences, steps, channels).
        weights: of the way forward, and of the way back if there is one, which come side by side.
        backward: whether the only way is back.
    """
    if len(x.shape) != 3:
        raise NetworkError(f"An LSTM goes along steps of channels, and this is {x.shape}.")
    x = keeping(graph, x, [1, 2])
    found = []
    for way, own in enumerate(weights):
        hidden = own.recurrent.shape[-1]
        biases = [each.array for each in (own.bias, own.recurrent_bias) if each is not None]
        bias = Constant(sum(biases, np.zeros(4 * hidden, np.float32)))
        operator = LSTM(hidden, reverse=backward or way == 1)
        stored = [graph.parameter(each) for each in (own.data, own.recurrent, bias)]
        value = graph.add(operator, x.value, *stored)
        found.append(Tensor(value, (*x.shape[:2], hidden), x.omitted))
    return concat(graph, found, 2) if len(found) > 1 else found[0]


def last_states(
    graph: TensorGraph, output: Tensor, directions: int, *, backward: bool = False
) -> Tensor:
    """What :func:`lstm` gives at the end of each way, (directions, sequences, hidden)."""
    hidden = output.shape[2] // directions
    ends = []
    for way in range(directions):
        step = 0 if backward or way == 1 else output.shape[1] - 1
        own = sliced(graph, output, 2, way * hidden, (way + 1) * hidden)
        ends.append(transposed(graph, sliced(graph, own, 1, step, step + 1)))
    return concat(graph, ends, 0) if directions > 1 else ends[0]


def transposed(graph: TensorGraph, x: Tensor) -> Tensor:
    """The first two axes, sequences and steps, in the other order."""
    return transpose(graph, x, (1, 0, 2))


def check_start(states: Sequence[Operand | None]) -> None:
    """Refuse an LSTM that does not begin with 0."""
    for state in states:
        if state is not None and not (isinstance(state, Constant) and not state.array.any()):
            raise NetworkError("An LSTM begins with a state of its own, which cnnviz does not run.")
