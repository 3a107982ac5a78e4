"""MXNet's symbols as graphs of typed operators.

A symbol is read into its own form (:mod:`cnnviz.engines.mxnet.symbol`), where it is brought into
inference form, its shapes are worked out, its end is found, and every ReLU is written as one. Last
each operator becomes a typed one, or stays opaque.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnnviz.engines.mxnet.symbol import Entry, pruned
from cnnviz.engines.mxnet.symbol import Graph as SymbolGraph
from cnnviz.engines.mxnet.symbol import Node as SymbolNode
from cnnviz.errors import NetworkError
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import Input, Opaque, Operator, Parameter, ReLU
from cnnviz.importers.mxnet_attributes import Attributes, Place
from cnnviz.importers.mxnet_canonical import with_plain_relus
from cnnviz.importers.mxnet_checks import DATA, check_operators
from cnnviz.importers.mxnet_element_wise import Lookup
from cnnviz.importers.mxnet_ends import read_end
from cnnviz.importers.mxnet_operators import traits, typed
from cnnviz.importers.mxnet_shapes import Shaped, shaped
from cnnviz.types import Shape


def architecture_of(
    graph: SymbolGraph,
    input_shape: tuple[int, int, int],
    paths: Mapping[Entry, Sequence[str]],
    hints: Mapping[str, Shape] | None = None,
    values: Lookup = lambda _name: None,
    activation: str | None = None,
) -> Architecture:
    """A network as it can be explained, of its symbol.

    Args:
        graph: what :func:`cnnviz.engines.mxnet.symbol.for_inference` returned; its input is the
            variable ``data``.
        input_shape: (C, H, W).
        paths: names of nodes' outputs, first choice first; nodes without have their own.
        hints: shapes of parameters, for those that do not follow from the input's shape.
        values: of the graph's variables by name, None where they are not known: for constants
            by which ReLUs are known.
        activation: what makes probabilities of the logits, one of
            :data:`cnnviz.graph.ends.ACTIVATIONS`; None for what the graph ends with.

    Raises:
        NetworkError: it is not a classifier of images.
        UsageError: the activation does not go with it.
    """
    if len(graph.heads) != 1:
        raise NetworkError(
            f"The network has {len(graph.heads)} outputs; cnnviz explains networks with one, "
            "the logits."
        )
    if graph.heads[0].node not in graph.dependent_on(DATA):
        raise NetworkError(f"The network's output does not depend on its input '{DATA}'.")
    check_operators(graph)
    known = shaped(graph, DATA, input_shape, hints or {})
    head, end = read_end(known.graph, known.shapes, DATA, activation)
    kept, shapes, first, named = _cut(known, head, paths)
    canonical, moved = with_plain_relus(kept, DATA, shapes, values)
    names: dict[Value, list[str]] = {}
    for old, new in sorted(moved.items(), reverse=True):  # what was part of a layer after it
        own = kept.nodes[old].name
        others = [] if own == canonical.nodes[new].name else [own]
        names.setdefault(Value(new), []).extend((*named.get(Entry(old), ()), *others))
    new_shapes: dict[Entry, Shape] = {}
    leading: set[Entry] = set()
    for entry, shape in sorted(shapes.items(), reverse=True):
        place = Entry(moved.get(entry.node, -1), entry.output)
        if place.node >= 0 and place not in new_shapes:
            new_shapes[place] = shape
            if entry in first:
                leading.add(place)
    dependent = canonical.dependent_on(DATA)
    for index in sorted(dependent, reverse=True):  # what was put before a layer
        if Entry(index) not in new_shapes:
            new_shapes[Entry(index)] = new_shapes[Entry(index + 1)]
            if Entry(index + 1) in leading:
                leading.add(Entry(index))
    converter = _Typed(canonical, input_shape, new_shapes, leading, known.parameters)
    return Architecture(converter.graph(), names, end, takes_batches=known.takes_batches)


class _Typed:
    """A symbol's graph, becoming one of typed operators node by node."""

    def __init__(
        self,
        graph: SymbolGraph,
        input_shape: Shape,
        shapes: Mapping[Entry, Shape],
        leading: set[Entry],
        parameters: Mapping[str, Shape],
    ) -> None:
        self._graph = graph
        self._input_shape = input_shape
        self._shapes = shapes
        self._leading = leading
        self._parameters = parameters
        self._dependent = graph.dependent_on(DATA)
        self._outputs: dict[int, int] = {}
        for entry in (*graph.heads, *(one for node in graph.nodes for one in node.inputs)):
            self._outputs[entry.node] = max(entry.output, self._outputs.get(entry.node, 0))

    def graph(self) -> Graph:
        """The whole of it."""
        nodes = []
        for index, node in enumerate(self._graph.nodes):
            operator = self._operator(index, node)
            inputs = tuple(Value(entry.node, entry.output) for entry in node.inputs)
            if not operator.inputs or not operator.inputs[-1].endswith("..."):
                inputs = inputs[: len(operator.inputs)]
            nodes.append(Node(operator, node.name, inputs))
        (head,) = self._graph.heads
        return Graph(tuple(nodes), Value(head.node, head.output))

    def _operator(self, index: int, node: SymbolNode) -> Operator:
        if node.is_variable:
            if node.name == DATA:
                return Input(self._input_shape)
            return Parameter(self._parameters.get(node.name, ()))
        place = Place(
            Attributes(node.attrs),
            [self._shape(entry) for entry in node.inputs],
            self._shape(Entry(index)),
            [entry.node not in self._dependent for entry in node.inputs],
        )
        if self._keeps_the_batch(index, node):
            found = typed(node.op, place)
            if isinstance(found, ReLU):
                return ReLU(found.upper, not node.is_part)
            if found is not None:
                return found
        outputs = range(self._outputs.get(index, 0) + 1)
        shapes = tuple(self._shape(Entry(index, output)) for output in outputs)
        extra = node.subgraphs or None
        return Opaque("mxnet", node.op, node.attrs, shapes, extra, traits(node.op))

    def _shape(self, entry: Entry) -> Shape:
        """Without the batch; whole if it is computed from parameters alone."""
        shape = self._shapes.get(entry, ())
        if entry.node not in self._dependent:
            return shape or self._parameters.get(self._graph.nodes[entry.node].name, ())
        if entry in self._graph.heads:  # which may lack an axis for the batch, or for classes
            return (shape[1:] or (1,)) if entry in self._leading else shape
        return shape[1:]

    def _keeps_the_batch(self, index: int, node: SymbolNode) -> bool:
        """Whether the batch stands first in what an operator reads and in what it gives."""
        if index not in self._dependent:
            return False
        inputs = [entry for entry in node.inputs if entry.node in self._dependent]
        return all(entry in self._leading for entry in (*inputs, Entry(index)))


def _cut(
    known: Shaped, head: Entry, paths: Mapping[Entry, Sequence[str]]
) -> tuple[SymbolGraph, dict[Entry, Shape], set[Entry], dict[Entry, Sequence[str]]]:
    """What of a graph an entry needs, with the shapes in it, where the batch leads, and names."""
    kept = pruned(SymbolGraph(known.graph.nodes, (head,)))

    def moved(entry: Entry) -> Entry:
        return Entry(kept.moved[Entry(entry.node)].node, entry.output)

    inside = [entry for entry in known.shapes if Entry(entry.node) in kept.moved]
    shapes = {moved(entry): known.shapes[entry] for entry in inside}
    leading = {moved(entry) for entry in inside if entry in known.batch_first}
    named = {kept.moved[entry]: names for entry, names in paths.items() if entry in kept.moved}
    return kept.graph, shapes, leading, named
