"""The programs of an engine: its graph as it is, and with batch norms folded into convolutions.

Half of a residual network's kernels are batch norms, each of which reads and writes all
activations. A pass folds all but those of which somebody wants to know what comes before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from cnnviz.engines.torch.program import Program
from cnnviz.engines.torch.runtime import import_torch
from cnnviz.graph.folding import foldable, folded, folded_names
from cnnviz.graph.graph import Value
from cnnviz.graph.operators import BatchNorm, Parameter

#: Programs beyond the whole one. They share their weights; most runs need one.
_MOST = 4


class Programs:
    """One program for every set of values that must be there.

    Attributes:
        whole: nothing folded.
    """

    def __init__(self, whole: Program) -> None:
        """Fold nothing yet."""
        self.whole = whole
        self._norms = foldable(whole.graph)
        self._weights: dict[str, Any] = {}
        self._found: dict[frozenset[Value], Program] = {}

    def with_values(self, wanted: Collection[Value]) -> Program:
        """The program with as much folded as leaves some values of the graph in it."""
        hidden = frozenset(self._norms.keys() - set(wanted))
        if not hidden:
            return self.whole
        if hidden not in self._found:
            if len(self._found) >= _MOST:
                self._found.pop(next(iter(self._found)))
            self._found[hidden] = self._fold(hidden)
        return self._found[hidden]

    def _fold(self, hidden: frozenset[Value]) -> Program:
        whole = self.whole
        with whole.running(record=False):
            for data in hidden:
                self._fold_weights(data)
        graph = folded(whole.graph, hidden)
        arrays = dict(self._weights)
        for index, node in enumerate(graph.nodes):
            if isinstance(node.operator, Parameter) and node.name not in arrays:
                arrays[node.name] = whole.constants[Value(index)]
        return Program(graph, arrays, whole.device, whole.precision, hidden)

    def _fold_weights(self, data: Value) -> None:
        """Work a convolution's weight and bias out, once for all programs.

        In float64, so that each is rounded once; not every device has that, but the host has.
        """
        torch = import_torch()
        graph = self.whole.graph
        norm = graph.nodes[self._norms[data]]
        names = folded_names(norm)
        if names[0] in self._weights:
            return
        assert isinstance(norm.operator, BatchNorm)  # as it was found

        def exact(values: Sequence[Value]) -> list[Any]:
            return [self.whole.constants[value].cpu().double() for value in values]

        scale, shift, mean, variance = exact(norm.inputs[1:])
        weight, *bias = exact(graph.nodes[data.node].inputs[1:])
        factor = (variance + norm.operator.eps).rsqrt()
        if not norm.operator.fixed_scale:
            factor = factor * scale
        before = bias[0] - mean if bias else -mean
        both = (weight * factor[:, None, None, None], before * factor + shift)
        for name, values in zip(names, both, strict=True):
            self._weights[name] = self.whole.array(values.to(torch.float32))
