"""PyTorch's recurrent layers: LSTM."""

from __future__ import annotations

from collections.abc import Sequence

from cnnviz.errors import NetworkError
from cnnviz.importers.tensor_recurrent import Weights, check_start, last_states, lstm, transposed
from cnnviz.importers.tensor_shapes import concat
from cnnviz.importers.tensors import Constant, Operand, Tensor, TensorGraph
from cnnviz.importers.torch_table import Table, images

RECURRENT = Table()


@RECURRENT.named("lstm")
def _lstm(
    graph: TensorGraph,
    x: Operand,
    start: Sequence[Operand],
    parameters: Sequence[Constant],
    has_biases: bool,
    layers: int,
    _dropout: float,
    _train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> list[Tensor | None]:
    """The output of the last layer, and the last state of each."""
    check_start(start)
    ways, each = 2 if bidirectional else 1, 4 if has_biases else 2
    if len(parameters) != layers * ways * each:
        raise NetworkError("an LSTM projects its states, which cnnviz does not run")
    found = images(x) if batch_first else transposed(graph, images(x))
    weights = [
        Weights(*parameters[begin : begin + each]) for begin in range(0, len(parameters), each)
    ]
    states = []
    for begin in range(0, len(weights), ways):
        found = lstm(graph, found, weights[begin : begin + ways])
        states.append(last_states(graph, found, ways))
    last = concat(graph, states, 0) if layers > 1 else states[0]
    return [found if batch_first else transposed(graph, found), last, None]
