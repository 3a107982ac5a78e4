"""ONNX's recurrent layers: LSTM."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.importers.onnx_step import Given, Rule, Step
from cnnviz.importers.tensor_recurrent import Weights, check_start, last_states, lstm, transposed
from cnnviz.importers.tensors import Constant, reshape, transpose

#: Where PyTorch's gates (i, f, g, o) are among ONNX's (i, o, f, c).
_GATES = (0, 2, 3, 1)
_WAYS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def _lstm(step: Step) -> Given:
    graph, x = step.graph, step.tensor()
    direction = step.text("direction", "forward")
    if direction not in _WAYS:
        raise NetworkError(f"its direction is {direction!r}, which ONNX does not have")
    _check(step)
    ways, backward = _WAYS[direction], direction == "reverse"
    batch_first = bool(step.integer("layout", 0))
    rows = x if batch_first else transposed(graph, x)
    found = lstm(graph, rows, [_weights(step, way) for way in range(ways)], backward=backward)
    last = last_states(graph, found, ways, backward=backward)
    sequences, steps, width = found.shape
    apart = reshape(graph, found, (sequences, steps, ways, width // ways))
    if batch_first:
        return [apart, transposed(graph, last)]
    return [transpose(graph, apart, (1, 2, 0, 3)), last]


def _weights(step: Step, way: int) -> Weights:
    data, recurrent = (_ordered(step.constant(place, "weights"), way) for place in (1, 2))
    if step.optional(3) is None:
        return Weights(data, recurrent)
    both = np.split(step.constant(3, "bias").array[way], 2)
    return Weights(data, recurrent, *(_ordered(Constant(each[None]), 0) for each in both))


def _ordered(gates: Constant, way: int) -> Constant:
    parts = np.split(gates.array[way], 4)
    return Constant(np.concatenate([parts[place] for place in _GATES]), gates.name)


def _check(step: Step) -> None:
    """Refuse what an LSTM of PyTorch and Keras does not do."""
    usual = ["Sigmoid", "Tanh", "Tanh"]
    given = [each.decode() for each in step.attributes.get("activations", ())] or usual
    if given not in (usual, usual * 2) or "clip" in step.attributes:
        raise NetworkError("it has activations of its own, which is not run")
    if step.optional(4) is not None or step.optional(7) is not None:
        raise NetworkError("it has lengths of its own, or peepholes, which is not run")
    if step.integer("input_forget", 0):
        raise NetworkError("its forget gate follows its input gate, which is not run")
    check_start([step.optional(5), step.optional(6)])


RULES: Mapping[str, Rule] = {"LSTM": _lstm}
