"""Which layer is explained when nobody names one, and a network's stages."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.layout import Layout
from cnnviz.graph.operators import (
    GELU,
    Activation,
    Add,
    BatchNorm,
    Divide,
    HardSwish,
    Mish,
    Multiply,
    Operator,
    Reshape,
    SiLU,
    Subtract,
    Transpose,
)
from cnnviz.graph.regions import Region
from cnnviz.types import Shape

#: What adds a bias apart from the convolution, or scales its channels, if the rest is constant.
_AFFINE = (Add, Subtract, Multiply, Divide)
#: Activations that all but vanish below zero and come back to it from there. What is far below zero
#: before one of these does not reach the logits, and would outweigh in a map what does.
_GATES = (GELU, HardSwish, Mish, SiLU)
#: Grids whose sides differ by less are one level of a network: convolutions may cut the border off.
_ONE_LEVEL = 1.5


@dataclass(frozen=True)
class Places:
    """Where a graph's values have places in the image.

    Attributes:
        graph: in inference form.
        layouts: what :func:`cnnviz.graph.layout.find_layouts` returned.
        regions: what :func:`cnnviz.graph.regions.find_regions` returned.
        unread: what :func:`cnnviz.graph.reach.unread_places` returned.
    """

    graph: Graph
    layouts: Mapping[Value, Layout]
    regions: Mapping[Value, Region]
    unread: Collection[int] = ()


def default_target(places: Places) -> int:
    """The layer to explain when nobody names one: index of a node of an inference graph.

    The last convolution that every path from the input to the logits passes and that still has
    height and width, with its batch norm where it has one, before a ReLU: VGG's last
    convolution. Where branches join after it (residual, concatenating, dense networks) it is the
    output of the last join, with the batch norm and activation that belong to it: what the global
    pooling reads. A convolution that itself makes the class maps (SqueezeNet's last) is part of
    the classifier, and what feeds it is taken.

    Height and width may be lost in several places: in levels that are pooled one by one, in towers,
    in heads beside each other. Then the one behind the most convolutions counts, and with it the
    others that are as fine: it is the last convolution or join, as above and no coarser or finer,
    that all paths to these pass; of such the last that sees the whole image. Where none is on all
    of these paths (towers) it is that of the deepest; among equals of the coarsest, then the last.

    Tokens and channels last count as well. A join within windows, which have no height and width of
    the image's, counts where the windows are put together again. In a vision transformer whose
    logits are read from a class token, the other tokens are of no consequence behind the last
    attention: the last join before it is taken, which the last block's first normalization reads.

    Raises:
        NetworkError: nothing that depends on the input has height and width.
    """
    return _Search(places).default


def stage_targets(places: Places) -> tuple[int, ...]:
    """What a network has made of the image at each of its resolutions: node indices, in order.

    For each height and width the last layer at it that every path to the last stage passes: in
    networks whose branches join such a join, elsewhere a convolution, each with the batch norm (and
    after a join the activation) that belongs to it. The last one is :func:`default_target`. VGG has
    five, the ends of its blocks; ResNet four.

    Errors are those of :func:`default_target`.
    """
    search = _Search(places)
    last = search.default
    before = search.on_every_path(last)
    candidates = [index for index in before if search.joins(index)] or [
        index for index in before if places.graph.nodes[index].operator.has("convolves")
    ]
    stages = {search.sides(index): search.completed(index) for index in candidates}
    stages[search.sides(last)] = last
    return tuple(sorted(stages.values()))


class _Search:
    """A graph with what has to be known of it to choose layers."""

    def __init__(self, places: Places) -> None:
        graph = self._graph = places.graph
        self._regions = places.regions
        self._layouts = places.layouts
        self._unread = places.unread
        self._dependent = frozenset({graph.input.node, *graph.layers})
        self._readers: dict[int, set[int]] = {index: set() for index in self._dependent}
        for value, indices in graph.consumers.items():
            if value.node in self._dependent:
                self._readers[value.node].update(indices)

    @cached_property
    def default(self) -> int:
        """See :func:`default_target`."""
        candidates = {end: self._candidates(end) for end in self._ends()}
        candidates = {end: found for end, found in candidates.items() if found}
        if not candidates:
            return self._last_resort()
        depths = self._depths()
        deepest = max(
            candidates,
            key=lambda end: (depths[end], -math.prod(self._grid(candidates[end][-1])), end),
        )
        last = candidates[deepest][-1]
        level = [found for found in candidates.values() if self._one_level(found[-1], last)]
        common = [
            index
            for index in candidates[deepest]
            if self._one_level(index, last) and all(index in found for found in level)
        ]
        whole = [index for index in common if self._regions[Value(index)].is_whole]
        return self.completed((whole or common or [last])[-1])

    def on_every_path(self, end: int) -> list[int]:
        """The operators with height and width that every path from input to ``end`` passes."""
        before = {end}
        for index in reversed(self._graph.layers):
            if not before.isdisjoint(self._readers[index]):
                before.add(index)
        # In topological order a node is on every path if and only if no edge jumps over it.
        found: list[int] = []
        reach = -1
        for index in (index for index in sorted(self._dependent) if index <= end):
            if index not in before and index != self._graph.input.node:
                continue
            if reach <= index and index in before and self._is_spatial(index):
                found.append(index)
            reach = max([reach, *(self._readers[index] & before)])
        return found

    def joins(self, index: int) -> bool:
        """Whether branches of the way from the input meet in an operator."""
        return len(self._sources(index)) > 1

    def completed(self, chosen: int) -> int:
        """The last of the operators that belong to a convolution or a join.

        That is a convolution's bias, if it stands apart, and batch norm; a join's activation, too;
        and a convolution's where that is a gate (:data:`_GATES`).
        """
        convolves = self._operator(chosen).has("convolves")
        while True:
            after = self._graph.consumers.get(Value(chosen), ())
            if len(after) != 1 or self._shape(after[0]) != self._shape(chosen):
                return chosen
            operator = self._operator(after[0])
            if not (
                isinstance(operator, BatchNorm)
                or (isinstance(operator, _AFFINE) and not self.joins(after[0]))
                or (not convolves and isinstance(operator, Activation))
                or isinstance(operator, _GATES)
            ):
                return chosen
            chosen = after[0]

    def _operator(self, index: int) -> Operator:
        return self._graph.nodes[index].operator

    def _shape(self, index: int) -> Shape:
        return self._graph.shape(Value(index))

    def sides(self, index: int) -> tuple[int, int]:
        """Height and width of an operator's maps."""
        layout = self._layouts[Value(index)]
        return layout.height, layout.width

    def _is_spatial(self, index: int) -> bool:
        """Whether it has height and width, which are the image's."""
        layout = self._layouts.get(Value(index))
        return layout is not None and layout.known

    def _sources(self, index: int) -> set[Value]:
        """What an operator reads of what depends on the input."""
        return {value for value in self._graph.nodes[index].inputs if value.node in self._dependent}

    def _ends(self) -> list[int]:
        """Where height and width are lost for good: the last operators that have them."""
        lost: set[int] = set()
        for index in reversed(self._graph.layers):
            if not self._is_spatial(index) and self._readers[index] <= lost:
                lost.add(index)
        return [
            index
            for index in self._graph.layers
            if self._is_spatial(index) and (self._readers[index] & lost or not self._readers[index])
        ]

    def _candidates(self, end: int) -> list[int]:
        """The convolutions and joins that every path to ``end`` passes, before the classifier."""
        return [
            index
            for index in self.on_every_path(end)
            if (self._operator(index).has("convolves") or self._ends_join(index))
            and not self._makes_class_maps(index)
            and index not in self._unread
        ]

    def _ends_join(self, index: int) -> bool:
        """Whether it joins, or puts what a join made in windows back to its places in the image."""
        while isinstance(self._operator(index), (Reshape, Transpose)):
            (index,) = (value.node for value in self._sources(index))
            if self._is_spatial(index):
                return False
        return self.joins(index)

    def _makes_class_maps(self, index: int) -> bool:
        """Whether it makes one map a class: a convolution, or several put together."""
        channels = self._layouts[Value(index)].channels
        return (channels,) == self._classes and index in self._classifiers

    @cached_property
    def _classes(self) -> Shape:
        return self._graph.shape(self._graph.output)[:1]

    @cached_property
    def _classifiers(self) -> frozenset[int]:
        """The classifier: where channels stay apart afterward and, up to convolutions, before."""
        found: set[int] = set()
        for index in self._graph.layers:
            if index in self._unmixed and (
                self._operator(index).has("convolves")
                or all(value.node in found for value in self._sources(index))
            ):
                found.add(index)
        return frozenset(found)

    @cached_property
    def _unmixed(self) -> frozenset[int]:
        """Operators after which channels stay apart up to the logits."""
        found: set[int] = set()
        for index in reversed(self._graph.layers):
            readers = self._readers[index]
            if all(
                one in found and not self._operator(one).has("mixes_channels") for one in readers
            ):
                found.add(index)
        return frozenset(found)

    def _depths(self) -> dict[int, int]:
        """For each operator the number of convolutions on the longest way to it."""
        depths: dict[int, int] = {}
        for index in self._graph.layers:
            before = [depths.get(value.node, 0) for value in self._sources(index)]
            depths[index] = max(before) + self._operator(index).has("convolves")
        return depths

    def _one_level(self, a: int, b: int) -> bool:
        """Whether two layers look at the image through an equally fine grid."""
        return all(
            max(one, other) < _ONE_LEVEL * min(one, other)
            for one, other in zip(self._grid(a), self._grid(b), strict=True)
        )

    def _grid(self, index: int) -> tuple[float, float]:
        """How many places the whole image would have, down and across."""
        region = self._regions[Value(index)]
        height, width = self.sides(index)
        return height / region.height, width / region.width

    def _last_resort(self) -> int:
        """The last layer with height and width: a convolution, or a join of tokens, if any."""
        spatial = [index for index in self._graph.layers if self._is_spatial(index)]
        if not spatial:
            raise NetworkError(
                "No layer of this network has height and width, so there is nowhere to look: "
                "cnnviz explains networks that keep places of the image: convolutional networks, "
                "vision transformers, token mixers."
            )
        read = [index for index in spatial if index not in self._unread] or spatial
        chosen = [index for index in read if self._operator(index).has("convolves")]
        # Behind the convolution that makes tokens, what follows is no less deep.
        chosen += [
            index for index in read if self._layouts[Value(index)].as_tokens and self.joins(index)
        ]
        return max(chosen, default=read[-1])
