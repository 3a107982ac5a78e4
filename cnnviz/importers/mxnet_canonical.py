"""ReLUs in disguise: found by what they compute, and written as ReLUs.

People and converters write max(0, x) in many ways: ``maximum(x, zeros)``, ``x * (x > 0)``,
``where(x > 0, x, 0)``, ``-minimum(-x, 0)``, ``(x + abs(x)) / 2``, ``LeakyReLU(slope=0)``, and ReLU6
as ``minimum(maximum(x, 0), 6)``. A guided rule has to find them all. So that there need be no
pattern for each, small expressions of element-wise operators are computed here, in NumPy, on
numbers of all sizes: what gives exactly what a ReLU gives is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from cnnviz.engines.mxnet.symbol import Entry, Graph, Node
from cnnviz.importers.mxnet_element_wise import (
    STEPS,
    Lookup,
    element_wise,
    number_of,
    plain_name,
)
from cnnviz.types import Float32

#: What follows a chain further up than this is no way to write one activation.
_LONGEST = 12

#: Numbers that are all the same stay so, whatever shape they are brought into.
_SHAPES_ONLY = {
    "Flatten",
    "Reshape",
    "SwapAxis",
    "broadcast_axis",
    "broadcast_like",
    "broadcast_to",
    "expand_dims",
    "repeat",
    "reshape",
    "reshape_like",
    "slice",
    "slice_axis",
    "squeeze",
    "tile",
    "transpose",
}
_FILLED = {
    "zeros": 0.0,
    "zeros_without_dtype": 0.0,
    "zeros_like": 0.0,
    "ones": 1.0,
    "ones_like": 1.0,
}
_FULL = ("full", "full_like")


class Canonical(NamedTuple):
    """A graph whose ReLUs are written as such, and the index in it of each node of the old one.

    What belonged to a disguise, and to nothing else, leads to the ReLU.
    """

    graph: Graph
    moved: Mapping[int, int]


def with_plain_relus(
    graph: Graph, data: str, shapes: Mapping[Entry, tuple[int, ...]], values: Lookup
) -> Canonical:
    """Write every ReLU as ``Activation(relu)`` or ``clip``, and mark those that are no activations.

    What the network computes stays as it is, bit by bit, wherever it is finite. A ReLU that is but
    a part of another activation is marked (:attr:`Node.is_part`): ReLU rules leave it alone, as
    they do the same activation where it is one operator. Such are

    - the gate of hard sigmoid and hard swish, clip(x + 3, 0, 6) / 6, which is 1/2 at 0;
    - what is combined, element by element, with another function of what the ReLU is fed: PReLU
      as relu(x) - a * relu(-x), ELU and softplus by hand, |x| as relu(x) + relu(-x).

    Args:
        graph: in inference form.
        data: name of the input variable.
        shapes: of the entries that depend on the input.
        values: of the graph's variables, where they are known.
    """
    reader = _Reader(graph, data, values)
    nodes = list(graph.nodes)
    before: dict[int, tuple[Node, ...]] = {}
    swallowed: dict[int, int] = {}
    for index in reversed(range(len(nodes))):
        if index in swallowed:
            continue
        if nodes[index].op == "_contrib_BatchNormWithReLU":
            nodes[index], before[index] = _separate(nodes[index])
            continue
        found = _find_relu(reader, shapes, index)
        if found is None:
            continue
        inner = reader.between(Entry(index), found.source)
        mine = {index}
        for one in sorted(inner, reverse=True):
            if reader.readers[one] <= mine:  # nothing else needs it
                mine.add(one)
        swallowed.update(dict.fromkeys(mine - {index}, index))
        nodes[index], before[index] = found.written(nodes[index])
    rebuilt = _rebuilt(graph, nodes, before, swallowed) if before else None
    if rebuilt is None:
        rebuilt = Canonical(graph, {index: index for index in range(len(nodes))})
    return rebuilt._replace(graph=_with_parts_marked(rebuilt.graph, data, values))


class _Relu(NamedTuple):
    """``scale`` * max(0, ``sign`` * source), or min(max(0, source), limit)."""

    source: Entry
    sign: int = 1
    scale: float = 1.0
    limit: float = math.inf

    def written(self, node: Node) -> tuple[Node, tuple[Node, ...]]:
        """The node in its canonical form, and what goes before it, each read by the next."""
        if self.limit < math.inf:
            limits = {"a_min": "0.0", "a_max": repr(self.limit)}
            return replace(node, op="clip", attrs=limits, inputs=(self.source,)), ()
        steps = []
        if self.sign < 0:
            steps.append(Node("negative", f"{node.name}_negative", {}, ()))
        steps.append(Node("Activation", f"{node.name}_relu", {"act_type": "relu"}, ()))
        if self.scale != 1:
            steps.append(Node("_mul_scalar", "", {"scalar": repr(self.scale)}, ()))
        first = replace(steps[0], inputs=(self.source,))
        chain = [first, *(replace(step, inputs=(_JUST_BEFORE,)) for step in steps[1:])]
        return replace(chain[-1], name=node.name), tuple(chain[:-1])


#: Stands for the node that is put just before.
_JUST_BEFORE = Entry(-1)


def _separate(node: Node) -> tuple[Node, tuple[Node, ...]]:
    """A ReLU, and the batch norm that was one operator with it."""
    attrs = {**node.attrs, "use_global_stats": "True"}
    norm = replace(node, op="BatchNorm", name=f"{node.name}_norm", attrs=attrs)
    relu = Node("Activation", node.name, {"act_type": "relu"}, (_JUST_BEFORE,))
    return relu, (norm,)


class _Reader:
    """Small element-wise expressions of a graph, as functions of one value in it.

    Attributes:
        readers: for each node those that read it; -1 where a head does.
    """

    def __init__(self, graph: Graph, data: str, values: Lookup) -> None:
        self.graph = graph
        self._dependent = graph.dependent_on(data)
        self._values = values
        self._constants: dict[Entry, np.float32 | None] = {}
        self.readers: list[set[int]] = [set() for _ in graph.nodes]
        for entry, indices in graph.consumers().items():
            self.readers[entry.node].update(indices)
        for head in graph.heads:
            self.readers[head.node].add(-1)
        self._bases: list[frozenset[Entry]] = []
        for index in range(len(graph.nodes)):
            self._bases.append(self._find_bases(index))

    def bases(self, entry: Entry) -> frozenset[Entry]:
        """Of which entries before it this one is an element-wise function, and of nothing else."""
        return self._bases[entry.node]

    def _find_bases(self, index: int) -> frozenset[Entry]:
        node = self.graph.nodes[index]
        if index not in self._dependent or element_wise(node) is None:
            return frozenset()
        # What stops a gradient is part of a ReLU only where there is none to stop.
        if node.op == "BlockGrad" and not self._is_step(node.inputs[0]):
            return frozenset()
        sources = [self.bases(one) | {one} for one in node.inputs if not self._is_given(one)]
        common = frozenset.intersection(*sources) if sources else frozenset()
        return frozenset(sorted(common)[-_LONGEST:])

    def _is_step(self, entry: Entry) -> bool:
        """Whether a value jumps from one constant to another and has no derivative but 0."""
        node = self.graph.nodes[entry.node]
        while node.op == "Cast":
            node = self.graph.nodes[node.inputs[0].node]
        return plain_name(node.op) in STEPS

    def _is_given(self, entry: Entry) -> bool:
        """Whether a value can be had without the image: a parameter, or what is filled in."""
        filled = plain_name(self.graph.nodes[entry.node].op) in {*_FILLED, *_FULL}
        return filled or entry.node not in self._dependent

    def constant(self, entry: Entry) -> np.float32 | None:
        """The one number that all elements of an entry are; None if they are not, or unknown."""
        if entry not in self._constants:
            self._constants[entry] = self._find_constant(entry)
        return self._constants[entry]

    def _find_constant(self, entry: Entry) -> np.float32 | None:
        node = self.graph.nodes[entry.node]
        name = plain_name(node.op)
        if node.is_variable:
            array = None if entry.node in self._dependent else self._values(node.name)
            if array is None or array.size == 0:
                return None
            first = array.reshape(-1)[0]
            return np.float32(first) if bool((array == first).all()) else None
        if name in _FILLED:
            return np.float32(_FILLED[name])
        if name in _FULL:
            number = number_of(node, "value", "fill_value")
            return None if math.isnan(number) else np.float32(number)
        if entry.node in self._dependent or not node.inputs:
            return None
        if node.op in _SHAPES_ONLY:
            return self.constant(node.inputs[0])
        operator = element_wise(node)
        inputs = [self.constant(source) for source in node.inputs]
        if operator is None or any(value is None for value in inputs):
            return None
        with np.errstate(all="ignore"):
            return np.float32(operator(*inputs))

    def between(self, entry: Entry, base: Entry) -> set[int]:
        """The nodes that lead from one entry to another, a function of it; both left out."""
        found: set[int] = set()
        waiting = list(self.graph.nodes[entry.node].inputs)
        while waiting:
            source = waiting.pop()
            if source != base and source.node not in found and not self._is_given(source):
                found.add(source.node)
                waiting.extend(self.graph.nodes[source.node].inputs)
        return found

    def computed(self, entry: Entry, base: Entry, numbers: Float32) -> Float32 | None:
        """What an entry is where one of its bases is ``numbers``; None if that is not known."""
        known: dict[Entry, Any] = {base: numbers}
        for index in sorted({entry.node, *self.between(entry, base)}):
            node = self.graph.nodes[index]
            operator = element_wise(node)
            inputs = [
                self.constant(one) if self._is_given(one) else known[one] for one in node.inputs
            ]
            if operator is None or any(value is None for value in inputs):
                return None
            with np.errstate(all="ignore"):
                known[Entry(index)] = np.asarray(operator(*inputs), np.float32)
        return np.broadcast_to(known[entry], numbers.shape)


@cache
def _probes() -> Float32:
    """Numbers of either sign and of all sizes whose squares are neither lost nor infinite."""
    sizes = np.float32(2) ** np.arange(-60, 61, dtype=np.float32)
    positive = np.outer(sizes, np.array([1, 1.2000734, 1.5, 1.7654321], np.float32)).ravel()
    return np.concatenate([-positive[::-1], np.zeros(1, np.float32), positive])


def _find_relu(
    reader: _Reader, shapes: Mapping[Entry, tuple[int, ...]], index: int
) -> _Relu | None:
    """The ReLU that a node computes, if it does and is not written so.

    Of the nearest value of which it is one; of one further up if what lies between serves nothing
    else, such as the maximum in minimum(maximum(x, 0), 6).
    """
    entry = Entry(index)
    node = reader.graph.nodes[index]
    numbers = _probes()
    chosen: _Relu | None = None
    scaled = False
    for base in sorted(reader.bases(entry), reverse=True):
        output = reader.computed(entry, base, numbers)
        if output is None or shapes.get(base) != shapes[entry]:
            continue
        multiple = output[numbers == 1]
        if np.array_equal(output, multiple * numbers):
            if multiple == 1:
                break  # the ReLU, if there is one, is that value
            scaled |= bool(multiple > 0)
            continue
        inner = reader.between(entry, base)
        own = all(reader.readers[one] <= inner | {index} for one in inner)
        found = _as_relu(base, output, numbers)
        # A multiple of a multiple of a ReLU is left to the one that it is a multiple of.
        plain = own and found is not None and found.sign == found.scale == 1
        if found and chosen and found.limit == chosen.limit:
            continue  # the ReLU of a ReLU: each is one
        if found and (found.scale == 1 or not scaled) and (chosen is None or plain):
            chosen = found
    if chosen and node.rectifies and node.inputs[0] == chosen.source:
        return None if (chosen.limit < math.inf) == (node.op == "clip") else chosen
    return chosen


def _as_relu(source: Entry, output: Float32, numbers: Float32) -> _Relu | None:
    """What kind of ReLU of ``numbers`` an output is, if it is one."""
    for sign in (1, -1):
        scale = float(output[numbers == sign][0])
        rounds_nothing = scale > 0 and math.frexp(scale)[0] == 0.5  # a power of two
        if rounds_nothing and np.array_equal(output, scale * np.maximum(sign * numbers, 0)):
            return _Relu(source, sign, scale)
    limit = output[-1]
    if 0 < limit < numbers[-1] and np.array_equal(output, np.clip(numbers, 0, limit)):
        return _Relu(source, limit=float(limit))
    return None


def _rebuilt(
    graph: Graph,
    nodes: Sequence[Node],
    before: Mapping[int, Sequence[Node]],
    swallowed: Mapping[int, int],
) -> Canonical:
    """The graph of the nodes that are still needed, in order, and where the old ones went."""
    needed: set[int] = set()
    waiting = [head.node for head in graph.heads]
    while waiting:
        index = waiting.pop()
        if index not in needed:
            needed.add(index)
            first = [*before.get(index, ()), nodes[index]][0]
            waiting.extend(entry.node for entry in first.inputs)
    rebuilt: list[Node] = []
    moved: dict[int, int] = {}
    for index in sorted(needed):
        for node in (*before.get(index, ()), nodes[index]):
            inputs = tuple(
                Entry(len(rebuilt) - 1)
                if one == _JUST_BEFORE
                else Entry(moved[one.node], one.output)
                for one in node.inputs
            )
            rebuilt.append(replace(node, inputs=inputs))
        moved[index] = len(rebuilt) - 1
    heads = tuple(Entry(moved[head.node], head.output) for head in graph.heads)
    for index, relu in swallowed.items():
        moved.setdefault(index, moved[relu])
    return Canonical(Graph(tuple(rebuilt), heads), moved)


def _with_parts_marked(graph: Graph, data: str, values: Lookup) -> Graph:
    """Mark the ReLUs that are parts of other activations."""
    reader = _Reader(graph, data, values)
    parts: set[int] = set()
    leading: list[set[int]] = []  # for each node the ReLUs that lead to it element by element
    for index, node in enumerate(graph.nodes):
        bases = reader.bases(Entry(index))
        led = {relu for entry in node.inputs for relu in leading[entry.node]} if bases else set()
        led = {relu for relu in led if bases & reader.bases(Entry(relu))}
        parts |= {relu for relu in led if Entry(relu) not in bases}
        if node.is_relu:
            led.add(index)
            if node.op == "clip" and _is_half_open(reader, node):
                parts.add(index)
        leading.append(led)
    if not parts:
        return graph
    marked = [replace(node, is_part=i in parts) for i, node in enumerate(graph.nodes)]
    return Graph(tuple(marked), graph.heads)


def _is_half_open(reader: _Reader, clip: Node) -> bool:
    """Whether a clipped ReLU is at half its limit where something it is computed from is 0."""
    (source,) = clip.inputs
    for base in reader.bases(source):
        at_zero = reader.computed(source, base, np.zeros(1, np.float32))
        if at_zero is not None and np.isclose(at_zero[0], number_of(clip, "a_max") / 2, rtol=1e-5):
            return True
    return False
