"""The shapes inside a network, for one image and for several.

A network that was exported, or converted, with a batch of one often has that one written into its
reshapes. MXNet does not mind: run with two images, it writes beyond its memory. So shapes are
worked out for two images as well, and such operators rewritten, or the network is run one image
at a time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnnviz.engines.mxnet.runtime import arrays_of, first_line, import_mxnet
from cnnviz.engines.mxnet.symbol import Entry, Graph, Node, limits
from cnnviz.errors import NetworkError
from cnnviz.graph.graph import shape_text
from cnnviz.types import Shape

Shapes = Mapping[Entry, Shape]

#: What MXNet calls operators that keep all numbers, in order.
RESHAPES = {"Flatten", "Reshape", "_np_reshape", "_npx_reshape", "flatten", "reshape"}
#: What reads nothing of its input but the shape.
_READ_SHAPES_ONLY = {"_contrib_arange_like", "shape_array", "size_array"}


@dataclass(frozen=True)
class Shaped:
    """A graph and the shapes in it.

    Attributes:
        graph: the one asked about; where a batch of one was written into it, for any batch.
        shapes: with a batch of one, of all entries that are read or are an operator's first output.
        parameters: the shapes of its variables but the input, by name.
        takes_batches: whether it may be run with several images at a time.
        batch_first: the entries whose first axis is the batch.
    """

    graph: Graph
    shapes: Shapes
    parameters: Mapping[str, Shape]
    takes_batches: bool
    batch_first: frozenset[Entry]


def shaped(
    graph: Graph, data: str, input_shape: tuple[int, int, int], hints: Mapping[str, Shape]
) -> Shaped:
    """Work out the shapes in a network, and see to it that it takes batches.

    Args:
        graph: in inference form.
        data: name of the input variable.
        input_shape: (C, H, W).
        hints: shapes of parameters. They are taken only where nothing follows from the input, so
            that parameters of another shape can be distinguished from these.

    Raises:
        NetworkError: the network does not take such images, or MXNet cannot tell.
    """
    # PReLU has a slope for each channel, which follows from the input, or one for all.
    slopes = {
        name: (1,)
        for node in graph.nodes
        if node.op == "LeakyReLU"
        and len(node.inputs) > 1
        and hints.get(name := graph.nodes[node.inputs[1].node].name) == (1,)
    }
    failure = import_mxnet().base.MXNetError
    try:
        inference = _Inference(graph)
        shapes, parameters = inference.of({data: (1, *input_shape), **slopes}, hints)
        while other := _without_other_batch(graph, shapes):
            graph = other
            inference = _Inference(graph)
            shapes, parameters = inference.of({data: (1, *input_shape), **slopes}, hints)
    except failure as error:
        raise NetworkError(
            f"The network does not take images of shape {shape_text(input_shape)} "
            f"({first_line(error)})."
        ) from error
    dependent = graph.dependent_on(data)
    if not all(_complete(shape) for entry, shape in shapes.items() if entry.node in dependent):
        raise NetworkError(
            f"The shapes inside the network do not follow from an input of "
            f"{shape_text(input_shape)}."
        )
    del parameters[data]
    _check_reshapes(graph, shapes)

    def for_batches(inference: _Inference) -> Shaped | None:
        try:
            one, two = (
                inference.of({data: (images, *input_shape), **parameters}, {})[0]
                for images in (1, 2)
            )
        except failure:
            return None
        first = _batch_first(inference.graph, data, one, two)
        return None if first is None else Shaped(inference.graph, one, parameters, True, first)

    filled = _with_filled_shapes(graph, shapes)
    found = for_batches(inference if filled is graph else _Inference(filled))
    if found is None:
        found = for_batches(_Inference(_without_batch_of_one(filled, dependent, shapes)))
    if found is not None:
        return found
    alone = frozenset(e for e, shape in shapes.items() if shape[:1] == (1,))
    return _for_one(Shaped(filled, shapes, parameters, False, alone))


def _for_one(shaped: Shaped) -> Shaped:
    """With an axis for the image before the logits, where they lack it."""
    graph, (head,) = shaped.graph, shaped.graph.heads
    if len(shaped.shapes[head]) != 1:
        return shaped
    row = Node("Reshape", f"{graph.nodes[head.node].name}_row", {"shape": "(1, -1)"}, (head,))
    last = Entry(len(graph.nodes))
    return replace(
        shaped,
        graph=Graph((*graph.nodes, row), (last,)),
        shapes={**shaped.shapes, last: (1, *shaped.shapes[head])},
        batch_first=shaped.batch_first | {last},
    )


class _Inference:
    """MXNet's knowledge of the shapes in a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        operators = {i for i, node in enumerate(graph.nodes) if not node.is_variable}
        read = {entry for node in graph.nodes for entry in node.inputs if entry.node in operators}
        self._entries = sorted({*read, *(Entry(index) for index in operators), *graph.heads})
        everything = Graph(graph.nodes, tuple(self._entries))
        self._symbol = import_mxnet().sym.load_json(everything.to_json())

    def of(
        self, known: Mapping[str, Shape], hints: Mapping[str, Shape]
    ) -> tuple[dict[Entry, Shape], dict[str, Shape]]:
        """The shapes of a graph's entries, and those of its variables by name.

        Raises:
            MXNetError: they contradict each other.
        """
        mx = import_mxnet()
        arguments = self._symbol.list_arguments()

        def infer(**shapes: Shape) -> Any:
            # After npx.set_np() unknown lengths would be -1. infer_shape() prints what it raises.
            with arrays_of(numpy=False):
                return self._symbol.infer_shape_partial(**shapes)

        given = None
        try:
            given, shapes, states = infer(**known)
            missing = [
                name
                for name, shape in zip(arguments, given or (), strict=False)
                if not _complete(shape)
            ]
        except mx.base.MXNetError:
            # An operator may raise for what it does not know yet.
            missing = [name for name in arguments if name not in known]
            if not any(name in hints for name in missing):
                raise
        open_ones = {name: hints[name] for name in missing if name in hints}
        if open_ones:
            given, shapes, states = infer(**known, **open_ones)
        inferred = {
            entry: tuple(shape) for entry, shape in zip(self._entries, shapes or (), strict=False)
        }
        for index, node in enumerate(self.graph.nodes):
            if node.is_variable and node.name in known:
                inferred[Entry(index)] = known[node.name]
        names = [*arguments, *self._symbol.list_auxiliary_states()]
        found = [*(given or ()), *(states or ())]
        return inferred, {name: tuple(shape) for name, shape in zip(names, found, strict=True)}


def _complete(shape: Sequence[int]) -> bool:
    """Whether MXNet, which writes 0 for what it does not know, has found a shape."""
    return bool(shape) and 0 not in shape


def _batch_first(graph: Graph, data: str, one: Shapes, two: Shapes) -> frozenset[Entry] | None:
    """Where the batch is the first axis, by the shapes for one image and for two.

    None if the graph does not keep several images apart.
    """
    numbers = _without_shape_readers(graph).dependent_on(data)
    axes = {entry: _batch_axis(one[entry], two[entry]) for entry in one if entry.node in numbers}
    if None in axes.values():
        return None
    for index in numbers:
        node = graph.nodes[index]
        if node.op not in RESHAPES or node.inputs[0] not in axes:
            continue
        source, output = node.inputs[0], Entry(index)
        if math.prod(two[source]) != math.prod(two[output]):
            return None
        # A row of images stays one, whatever axes of length 1 stand before it.
        stands_first = one[source][0] == one[output][0] == 1
        alone = math.prod(one[source][: axes[source]]) == 1
        if stands_first and not (alone and axes[output] == 0):
            return None
    if any(two[head] != (2, *one[head][1:]) for head in graph.heads):
        return None
    return frozenset(entry for entry, axis in axes.items() if axis == 0)


def _batch_axis(one: Shape, two: Shape) -> int | None:
    """The axis that is twice as long for two images, if that is all that changes."""
    if len(one) != len(two):
        return None
    longer = [
        axis for axis, (before, after) in enumerate(zip(one, two, strict=True)) if before != after
    ]
    return longer[0] if len(longer) == 1 and two[longer[0]] == 2 * one[longer[0]] else None


def _without_shape_readers(graph: Graph) -> Graph:
    """The graph without what leads on from operators that read shapes only."""
    cut = (
        replace(node, inputs=()) if node.op in _READ_SHAPES_ONLY else node for node in graph.nodes
    )
    return Graph(tuple(cut), graph.heads)


def _with_filled_shapes(graph: Graph, shapes: Shapes) -> Graph:
    """The graph with what is filled in (an LSTM's first state) as large as it is used.

    A 0 in its shape means as many as there are images; run alone, MXNet cannot know them.
    """
    filled: dict[int, Node] = {}
    for index, node in enumerate(graph.nodes):
        known = shapes.get(Entry(index), ())
        made = not node.inputs and not node.is_variable
        if made and 0 in limits(node.attrs, "shape") and _complete(known):
            filled[index] = replace(node, attrs={**node.attrs, "shape": str(known)})
    if not filled:
        return graph
    return Graph(tuple(filled.get(i, node) for i, node in enumerate(graph.nodes)), graph.heads)


def _without_other_batch(graph: Graph, shapes: Shapes) -> Graph | None:
    """The graph without the first reshape that says how many images there are, and is wrong.

    MXNet makes eight rows of one image, if that is what the reshape says, and writes beyond its
    memory.
    """
    for index, node in enumerate(graph.nodes):
        if node.op not in RESHAPES or node.inputs[0] not in shapes:
            continue
        before, after = shapes[node.inputs[0]], shapes[Entry(index)]
        other = before[:1] == (1,) and len(after) > 1 and after[0] > 1
        if other and math.prod(before) == math.prod(after[1:]):
            nodes = [*graph.nodes]
            nodes[index] = replace(node, op="Reshape", attrs={"shape": str((-1, *after[1:]))})
            return Graph(tuple(nodes), graph.heads)
    return None


def _check_reshapes(graph: Graph, shapes: Shapes) -> None:
    """Refuse a reshape that loses numbers, or makes some up: MXNet runs it beyond its memory."""
    for index, node in enumerate(graph.nodes):
        if node.op not in RESHAPES or node.inputs[0] not in shapes:
            continue
        before, after = shapes[node.inputs[0]], shapes[Entry(index)]
        if _complete(before) and _complete(after) and math.prod(before) != math.prod(after):
            raise NetworkError(
                f"The network is damaged: its node {node.name} ({node.op}) makes "
                f"{shape_text(after)} out of {shape_text(before)}."
            )


def _without_batch_of_one(graph: Graph, dependent: Collection[int], shapes: Shapes) -> Graph:
    """The graph with what was written for one image written for any number of them.

    Only where the image's own axis is the first one, before and after. Where it is lost (a
    reshape to the K classes), it is brought back if nothing but the logits follow.
    """
    readers = graph.consumers()
    nodes = list(graph.nodes)
    for index in sorted(dependent):
        node = nodes[index]
        if node.is_variable or not shapes.get(node.inputs[0], ()) or Entry(index) not in shapes:
            continue
        before, after = shapes[node.inputs[0]], shapes[Entry(index)]
        if before[0] != 1:
            continue
        kept = after[:1] == (1,)
        row = math.prod(after) == max(after)
        lost = row and Entry(index) in graph.heads and Entry(index) not in readers
        if node.op in RESHAPES | {"squeeze"} and (kept or lost) and node.op != "Flatten":
            shape = (-1, *after[1:]) if kept else (-1, *after)
            nodes[index] = replace(node, op="Reshape", attrs={"shape": str(shape)})
        elif kept and node.op in ("broadcast_to", "_npi_broadcast_to"):
            nodes[index] = replace(node, op="broadcast_to", attrs={"shape": str((0, *after[1:]))})
        elif kept and node.op == "slice":
            starts, stops = (limits(node.attrs, key) for key in ("begin", "end"))
            if starts and stops and starts[0] in (None, 0) and stops[0] == 1:
                every = {"begin": str((None, *starts[1:])), "end": str((None, *stops[1:]))}
                nodes[index] = replace(node, attrs={**node.attrs, **every})
        elif kept and node.op == "slice_axis" and node.attrs.get("axis") == "0":
            # One image's axis is 0 to 1; any other part of it would be empty.
            nodes[index] = replace(node, attrs={**node.attrs, "begin": "0", "end": "None"})
    return Graph(tuple(nodes), graph.heads)
