"""The last operators of a graph: how they hang together, and what comes out for random numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.engines.mxnet.symbol import Entry, Graph, Node
from cnnviz.types import Float32, Float64, Shape

#: What changes no number.
KEEPS = {
    *("BlockGrad", "MakeLoss", "make_loss", "_copy", "_np_copy", "identity"),
    *("Cast", "cast", "amp_cast", "_npx_cast"),
    *("Flatten", "flatten", "Reshape", "reshape", "expand_dims", "squeeze"),
    *("_np_reshape", "_npx_reshape", "_np_squeeze", "_npi_squeeze", "_npi_expand_dims"),
    "_npx_batch_flatten",
}
#: What makes no probabilities of scores: sums, and numbers that are added or multiplied.
SUMS = {
    *KEEPS,
    *("elemwise_add", "broadcast_add", "_Plus", "_plus", "_npi_add", "add_n", "ElementWiseSum"),
    *("elemwise_sub", "broadcast_sub", "_Minus", "_minus", "_npi_subtract", "negative"),
    *("_plus_scalar", "_minus_scalar", "_rminus_scalar", "_mul_scalar", "_div_scalar"),
    *("_npi_add_scalar", "_npi_subtract_scalar", "_npi_rsubtract_scalar"),
    *("_npi_multiply_scalar", "_npi_true_divide_scalar", "_npi_negative"),
    *("Concat", "concat", "stack", "_npi_concatenate", "_npi_stack", "mean", "sum"),
    *("_npi_mean", "_np_sum", "_npi_sum", "slice", "slice_axis", "transpose", "SwapAxis"),
    *("Pooling", "_contrib_AdaptiveAvgPooling2D"),
}
CLIPS = {"clip", "_npi_clip"}
#: Operators that may stand between logits and output; no network has more there.
_MOST_BEHIND = 40


class Tail:
    """The last operators of a graph.

    Attributes:
        graph: in inference form.
        shapes: of all its values.
    """

    def __init__(self, graph: Graph, shapes: Mapping[Entry, Shape], data: str) -> None:
        self.graph = graph
        self.shapes = shapes
        self._dependent = graph.dependent_on(data)
        # What is computed from parameters has no value yet.
        self._unknown: set[int] = set()
        for index, node in enumerate(graph.nodes):
            if node.is_variable or any(entry.node in self._unknown for entry in node.inputs):
                self._unknown.add(index)

    def candidates(self, head: Entry) -> Iterator[Entry]:
        """What the output depends on the input through alone, from the head down."""
        reading: set[Entry] = {head}
        for _ in range(_MOST_BEHIND):
            latest = max(reading)
            node = self.graph.nodes[latest.node]
            if node.is_variable:
                return
            if len(reading) == 1 and latest != head:
                yield latest
            reading = {entry for entry in reading if entry.node != latest.node}
            if self.has_parameters(latest):
                return  # scores come out of it
            reading |= {entry for entry in node.inputs if entry.node in self._dependent}

    def frontier(self, head: Entry) -> list[Entry]:
        """Where the last operators with parameters stand."""
        found: dict[Entry, None] = {}
        waiting = [head]
        seen = set()
        while waiting:
            entry = waiting.pop()
            if entry in seen or entry.node not in self._dependent:
                continue
            seen.add(entry)
            if self.op(entry) == "Pooling" or self.has_parameters(entry):
                found[entry] = None
            else:
                waiting.extend(self.node(entry).inputs)
        return list(found)

    def between(self, head: Entry, atoms: Collection[Entry]) -> list[int]:
        """The operators that lead from some entries to another, in order."""
        found: set[int] = set()
        waiting = [head]
        while waiting:
            entry = waiting.pop()
            if entry not in atoms and entry.node not in found:
                found.add(entry.node)
                waiting.extend(self.graph.nodes[entry.node].inputs)
        return sorted(found)

    def last_word(self, head: Entry) -> Entry:
        """What says most about the output: the last that does more than to add numbers up."""
        while self.op(head) in SUMS and not self.has_parameters(head):
            head = max(entry for entry in self.node(head).inputs if entry.node in self._dependent)
        return head

    def has_parameters(self, entry: Entry) -> bool:
        """Whether an operator reads what is not computed from the input."""
        return self.node(entry).is_variable or any(
            source.node in self._unknown and source.node not in self._dependent
            for source in self.node(entry).inputs
        )

    def node(self, entry: Entry) -> Node:
        """What computes an entry."""
        return self.graph.nodes[entry.node]

    def op(self, entry: Entry) -> str:
        """The name of the operator that computes an entry."""
        return self.node(entry).op

    def input(self, entry: Entry) -> Entry:
        """The first of what an entry is computed from."""
        return self.node(entry).inputs[0]

    def points(self, entry: Entry, seed: int = 0) -> list[Float32]:
        """Numbers to try, in the entry's shape."""
        random = np.random.default_rng(seed)
        shape = self.shapes[entry]
        return [random.normal(0, scale, shape).astype(np.float32) for scale in (1, 1, 3, 0.3)]

    def trials(self, atoms: Sequence[Entry], head: Entry, *, clips: bool = True) -> Float64 | None:
        """What is output, a row for each trial, when some entries have values at random.

        Without ``clips`` bounds near 0 and 1 are left out. None if it is unknown: parameters are
        needed, or MXNet fails.
        """
        between = self.between(head, atoms)
        nodes = [self.graph.nodes[index] for index in between]
        if len(nodes) > _MOST_BEHIND or any(node.is_variable for node in nodes):
            return None
        variables = [Node("null", f"atom{number}", {}, ()) for number in range(len(atoms))]
        place = {index: number for number, index in enumerate(between, len(atoms))}

        def moved(entry: Entry) -> Entry:
            if entry in atoms:
                return Entry(list(atoms).index(entry))
            return Entry(place[entry.node], entry.output)

        tail = []
        for node in nodes:
            if not clips and node.op in CLIPS and _hardly_clips(node):
                node = replace(node, op="_copy", attrs={})
            tail.append(replace(node, inputs=tuple(map(moved, node.inputs))))
        mx = import_mxnet()
        try:
            symbol = mx.sym.load_json(Graph((*variables, *tail), (moved(head),)).to_json())
            run = mx.nd.CachedOp(symbol)
            order = [int(name[len("atom") :]) for name in symbol.list_inputs()]
            rows = [
                run(*(mx.nd.array(values[number]) for number in order)).asnumpy().reshape(-1)
                for values in zip(
                    *(self.points(atom, seed) for seed, atom in enumerate(atoms)), strict=True
                )
            ]
        except mx.base.MXNetError:
            return None
        return np.array(rows, np.float64)


def _hardly_clips(node: Node) -> bool:
    """Whether bounds keep probabilities from 0 and 1, and do nothing else to them."""
    low, high = float(node.attrs.get("a_min", "nan")), float(node.attrs.get("a_max", "nan"))
    return 0 <= low <= 0.05 and high >= 0.95
