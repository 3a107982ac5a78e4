"""Which part of the image a value inside a network is computed from.

A network may cut its input, or a feature map, into parts: two faces in one image, the stripes of a
person. What is computed from a part of the image cannot be laid over all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.layout import Layout
from cnnviz.graph.operators import Concat, MatMul, Operator, Slice, Split, Take

#: Of the image's area. Layers that are cut to each other's size lose a row or two, which is less.
_WHOLE = 0.75
#: Of the smaller one's area: below that two regions are different parts of the image.
_SAME = 0.5


@dataclass(frozen=True)
class Region:
    """A box in the image, its edges as shares of the sides, from 0 to 1.

    ``stacked``: parts of the image that do not lie on each other were put into one map, a place of
    which belongs to several places in the image.
    """

    top: float = 0.0
    bottom: float = 1.0
    left: float = 0.0
    right: float = 1.0
    stacked: bool = False

    @property
    def height(self) -> float:
        """A share of the image's."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """A share of the image's."""
        return self.right - self.left

    @property
    def is_whole(self) -> bool:
        """Whether a map of it may be laid over the image."""
        return not self.stacked and self.height * self.width >= _WHOLE


def find_regions(graph: Graph, layouts: Mapping[Value, Layout]) -> dict[Value, Region]:
    """For each value that depends on the input the part of the image that it was computed from.

    What a convolution sees beyond the edges of a part is not counted, nor what a token takes from
    others.

    Args:
        graph: the network.
        layouts: what :func:`cnnviz.graph.layout.find_layouts` returned.
    """
    found: dict[Value, Region] = {graph.input: Region()}
    for index in graph.layers:
        node = graph.nodes[index]
        sources = [value for value in dict.fromkeys(node.inputs) if Value(value.node) in found]
        # What has lost height and width (a gate, say) is the same for all places.
        placed = [value for value in sources if value in layouts]
        regions = [found.get(value, found[Value(value.node)]) for value in placed or sources]
        sides = layouts[placed[0]].side_axes if placed else None
        beside = sides is None or _puts_beside(node.operator, sides)
        together = _joined(regions, beside=beside or isinstance(node.operator, MatMul))
        found[Value(index)] = together
        if sides is None or Value(index) not in layouts:
            continue
        before = graph.shape(placed[0])
        for output in range(len(graph.shapes[index])):
            rows, columns = (_kept(node.operator, output, axis, before[axis]) for axis in sides)
            found[Value(index, output)] = _cut(together, rows, columns)
    return found


def _joined(regions: Iterable[Region], *, beside: bool) -> Region:
    """All of them; ``beside``: they were not laid on each other."""
    known = list(dict.fromkeys(regions))
    apart = not beside and any(_overlap(a, b) < _SAME for a, b in combinations(known, 2))
    return Region(
        min(one.top for one in known),
        max(one.bottom for one in known),
        min(one.left for one in known),
        max(one.right for one in known),
        apart or any(one.stacked for one in known),
    )


def _overlap(a: Region, b: Region) -> float:
    """How much of the smaller one both have in common."""
    height = max(0.0, min(a.bottom, b.bottom) - max(a.top, b.top))
    width = max(0.0, min(a.right, b.right) - max(a.left, b.left))
    return height * width / min(a.height * a.width, b.height * b.width)


def _cut(region: Region, rows: tuple[float, float], columns: tuple[float, float]) -> Region:
    """What is left of a region from and to these shares of its own height and width."""
    return Region(
        region.top + region.height * rows[0],
        region.top + region.height * rows[1],
        region.left + region.width * columns[0],
        region.left + region.width * columns[1],
        region.stacked,
    )


def _puts_beside(operator: Operator, sides: tuple[int, int]) -> bool:
    """Whether it puts maps below or beside one another."""
    return isinstance(operator, Concat) and operator.axis in sides


def _kept(operator: Operator, output: int, axis: int, size: int) -> tuple[float, float]:
    """Which part of an axis, that of height or of width, an output keeps: from where to where."""
    begin, end = 0, size
    if isinstance(operator, Slice):
        begin, end = operator.begin[axis], operator.end[axis]
    elif isinstance(operator, Take) and operator.axis == axis:
        begin, end = min(operator.indices), max(operator.indices) + 1
    elif isinstance(operator, Split) and operator.axis == axis:
        edges = (0, *operator.cuts, size)
        begin, end = edges[output], edges[output + 1]
    return begin / size, end / size
