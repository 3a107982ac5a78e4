"""Which part of the image a value inside a network speaks of.

A network may cut its input, or a feature map, into parts: two faces in one image, the stripes of a
person. What is computed from a part of the image cannot be laid over all of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from cnnviz.network.graph import Entry, Graph, Node, is_spatial

#: Of the image's area. Layers that are cut to each other's size lose a row or two, which is less.
_WHOLE = 0.75
#: Of the smaller one's area: below that two regions are different parts of the image.
_SAME = 0.5


@dataclass(frozen=True)
class Region:
    """A box in the image, its edges as shares of the sides, from 0 to 1.

    ``stacked``: parts of the image that do not lie on each other were put into one map, a place of
    which speaks of several places in the image.
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


def find_regions(
    graph: Graph, data: str, shapes: Mapping[int, tuple[int, ...]]
) -> dict[Entry, Region]:
    """For each entry that depends on the input the part of the image that it was computed from.

    What a convolution sees beyond the edges of a part is not counted.

    Args:
        graph: in inference form.
        data: name of the input variable.
        shapes: for the input and each node that depends on it its first output's shape without
            batch.
    """
    dependent = graph.dependent_on(data)
    found: dict[Entry, Region] = {}
    for index in sorted(dependent):
        node = graph.nodes[index]
        if node.is_variable:
            found[Entry(index)] = Region()
            continue
        sources = [entry for entry in dict.fromkeys(node.inputs) if entry.node in dependent]
        # What has lost height and width (a gate, say) is the same for all places.
        placed = [entry for entry in sources if is_spatial(shapes[entry.node])]
        regions = [found.get(entry, found[Entry(entry.node)]) for entry in placed or sources]
        together = _joined(regions, beside=not placed or _puts_beside(node))
        found[Entry(index)] = together
        if not placed or not is_spatial(shapes[index]):
            continue
        before, after = shapes[placed[0].node], shapes[index]
        for output in range(_outputs(node)):
            rows, columns = (
                _kept(node, output, axis, before[axis - 1], after[axis - 1]) for axis in (2, 3)
            )
            found[Entry(index, output)] = _cut(together, rows, columns)
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


def _puts_beside(node: Node) -> bool:
    """Whether it puts maps below or beside one another."""
    axis = _read(node, "dim", _read(node, "axis", 1))
    return node.op in ("Concat", "_npi_concatenate") and axis in (2, 3, -1, -2)


def _outputs(node: Node) -> int:
    """How many parts it is cut into."""
    if node.op == "SliceChannel":
        return int(_read(node, "num_outputs", 1))
    if node.op == "_split_v2":
        return int(_read(node, "sections", 0)) or len(_read(node, "indices", (0,)))
    return 1


def _kept(node: Node, output: int, axis: int, before: int, after: int) -> tuple[float, float]:
    """Which part of an axis, 2 for height or 3 for width, an output keeps: from where to where.

    ``before`` and ``after`` are the number of places, after it those of the first output.
    """
    begin, size = 0, after
    if node.op == "slice":
        begin = (*_several(_read(node, "begin", ())), 0, 0, 0, 0)[axis] or 0
        size *= abs((*_several(_read(node, "step", ())), 1, 1, 1, 1)[axis] or 1)
    elif node.op == "slice_axis" and _read(node, "axis", 0) % 4 == axis:
        begin = _read(node, "begin", 0)
    elif node.op == "SliceChannel" and _read(node, "axis", 1) % 4 == axis:
        begin = output * after
    elif node.op == "_split_v2" and _read(node, "axis", 0) % 4 == axis:
        parts = _outputs(node)
        starts = _several(_read(node, "indices", ())) or [part * after for part in range(parts)]
        begin, size = starts[output], (*starts, before)[output + 1] - starts[output]
    elif node.op == "Crop":
        begin = _several(_read(node, "offset", (0, 0)))[axis - 2]
        if str(node.attrs.get("center_crop")).lower() in ("true", "1"):
            begin = (before - after) // 2
    elif node.op not in ("slice_axis", "slice_like", "SliceChannel", "_split_v2"):
        return 0.0, 1.0
    begin %= before
    return begin / before, min(before, begin + size) / before


def _read(node: Node, name: str, default: Any) -> Any:
    """An attribute's value; MXNet writes them as Python does."""
    try:
        value = ast.literal_eval(node.attrs[name])
    except (KeyError, ValueError, SyntaxError):
        return default
    return default if value is None else value


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
