"""The boxes of a network's drawing: which layers share one, and what is repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnnviz.graph.architecture import Architecture, Layer
from cnnviz.graph.graph import Node
from cnnviz.graph.operators import (
    Activation,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    Linear,
    MaxPool2d,
    Mean,
    Multiply,
    Normalization,
    Operator,
    Reshape,
)
from cnnviz.inspection.summary import window
from cnnviz.types import Shape

_LONGEST_PERIOD = 24  # pieces in a frame

_POOLINGS = (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    MaxPool2d,
    Mean,
)
_SHORT = {
    "Add": "add",
    "AdaptiveAvgPool": "adaptive average pool",
    "AdaptiveMaxPool": "adaptive max pool",
    "AvgPool": "average pool",
    "Concat": "concatenate",
    "Flatten": "flatten",
    "GlobalAvgPool": "global average pool",
    "GlobalMaxPool": "global max pool",
    "MaxPool": "max pool",
    "Multiply": "multiply",
    "Reshape": "reshape",
}


@dataclass(frozen=True)
class Box:
    """Layers that are drawn as one.

    Attributes:
        kind: of the first that counts: convolution, dense, pooling, join or other.
        text: what they do.
        layers: the layers, in order.
        before: positions of the boxes that it reads; -1 is the image.
        times: how many equal boxes in a row this one stands for.
    """

    kind: str
    text: str
    layers: tuple[Layer, ...]
    before: tuple[int, ...]
    times: int = 1

    @property
    def shape(self) -> Shape:
        """Of the output, without the batch."""
        return self.layers[-1].shape


@dataclass(frozen=True)
class Row:
    """Boxes up to one that every path passes, or a sequence of such pieces that is repeated.

    Attributes:
        boxes: for each box that is drawn, the positions of all that it stands for.
        times: how often the sequence occurs in a row.
    """

    boxes: tuple[tuple[int, ...], ...]
    times: int = 1


def boxes_of(architecture: Architecture) -> list[Box]:
    """The network in boxes, in order."""
    graph = architecture.graph
    nodes = graph.nodes
    layers = {layer.index: layer for layer in architecture.layers}
    dependent = {graph.input.node, *graph.layers}
    sources = {
        index: tuple(dict.fromkeys(v.node for v in nodes[index].inputs if v.node in dependent))
        for index in layers
    }
    readers: dict[int, list[int]] = {}
    for index, read in sources.items():
        for source in read:
            readers.setdefault(source, []).append(index)

    groups: list[list[int]] = []
    home: dict[int, int] = {}
    for index in layers:
        read = sources[index]
        follows = len(read) == 1 and read[0] in layers and readers[read[0]] == [index]
        if follows and _belong(nodes, groups[home[read[0]]], nodes[index]):
            group = home[read[0]]
            groups[group].append(index)
        else:
            group = len(groups)
            groups.append([index])
        home[index] = group
    # A box's place is its last layer's, so that it comes after all that it reads.
    order = sorted(range(len(groups)), key=lambda group: groups[group][-1])
    place = {group: position for position, group in enumerate(order)}
    return [
        Box(
            _kind(nodes, groups[group]),
            _text(architecture, groups[group]),
            tuple(layers[index] for index in groups[group]),
            tuple(
                dict.fromkeys(
                    place[home[source]] if source in home else -1
                    for source in sources[groups[group][0]]
                )
            ),
        )
        for group in order
    ]


def _belong(nodes: Sequence[Node], group: Sequence[int], node: Node) -> bool:
    """Whether an operator that alone reads a box's output is drawn in that box."""
    main = [nodes[i].operator for i in group if not _follows(nodes[i].operator)]
    if not main:  # normalization before what it normalizes for
        return _follows(node.operator) or _is_heavy(node.operator)
    # Networks that normalize before they convolve go on after a join with what is the next
    # block's.
    if isinstance(node.operator, Normalization):
        return _is_heavy(main[0])
    return _follows(node.operator)


def _follows(operator: Operator) -> bool:
    return isinstance(operator, (Activation, Normalization, Flatten, Reshape))


def _is_heavy(operator: Operator) -> bool:
    return isinstance(operator, (Conv2d, ConvTranspose2d, Linear))


def _kind(nodes: Sequence[Node], group: Sequence[int]) -> str:
    for index in group:
        operator = nodes[index].operator
        if isinstance(operator, (Conv2d, ConvTranspose2d)):
            return "convolution"
        if isinstance(operator, Linear):
            return "dense"
        if isinstance(operator, _POOLINGS):
            return "pooling"
        if isinstance(operator, (Add, Concat, Multiply)):
            return "join"
    return "other"


def _text(architecture: Architecture, group: Sequence[int]) -> str:
    """What a box does, in words."""
    layers = {layer.index: layer for layer in architecture.layers}
    parts = []
    for index in group:
        node = architecture.graph.nodes[index]
        source = layers.get(node.inputs[0].node)
        channels = source.shape[-3:][0] if source else architecture.input_shape[0]
        parts.append(_words(node.operator, channels))
    return " + ".join(parts)


def _words(operator: Operator, channels: int) -> str:
    over = window(operator)
    size = str(over).split(" ")[0]
    if isinstance(operator, (Conv2d, ConvTranspose2d)):
        name = "transposed conv" if isinstance(operator, ConvTranspose2d) else "conv"
        groups = over.groups
        if 1 < groups == channels:
            name, groups = f"depthwise {name}", 1
        return (
            f"{name} {size}, {operator.channels}"
            + (f", dilated {max(over.dilation)}" if max(over.dilation) > 1 else "")
            + (f", {groups} groups" if groups > 1 else "")
        )
    if isinstance(operator, Linear):
        return f"dense {operator.features}"
    if isinstance(operator, BatchNorm):
        return "batch norm"
    return f"{_SHORT.get(operator.kind, operator.kind)} {size}".strip()


# --- repetition ---------------------------------------------------------------------------------


def merge_runs(boxes: Sequence[Box]) -> list[Box]:
    """The boxes, with equal ones that directly follow one another merged."""
    readers = _readers(boxes)
    merged: list[Box] = []
    place = {-1: -1}
    for index, box in enumerate(boxes):
        before = tuple(place[source] for source in box.before)
        if len(before) == 1 and before[0] >= 0 and readers[box.before[0]] == 1:
            above = merged[before[0]]
            if (above.text, above.kind, above.shape) == (box.text, box.kind, box.shape):
                merged[before[0]] = Box(
                    box.kind, box.text, above.layers + box.layers, above.before, above.times + 1
                )
                place[index] = before[0]
                continue
        place[index] = len(merged)
        merged.append(Box(box.kind, box.text, box.layers, before))
    return merged


def _readers(boxes: Sequence[Box]) -> Mapping[int, int]:
    readers: dict[int, int] = {}
    for box in boxes:
        for source in box.before:
            readers[source] = readers.get(source, 0) + 1
    return readers


def segments_of(boxes: Sequence[Box]) -> list[range]:
    """The positions in pieces, each ending in a box that every path to the output passes."""
    last_reader = {-1: -1}
    for index, box in enumerate(boxes):
        for source in box.before:
            last_reader[source] = index
    segments = []
    start, reach = 0, last_reader[-1]
    for index in range(len(boxes)):
        if reach <= index:  # no edge bypasses this box
            segments.append(range(start, index + 1))
            start = index + 1
        reach = max(reach, last_reader.get(index, -1))
    return segments


def _signature(boxes: Sequence[Box], segment: range) -> tuple[object, ...]:
    """What two pieces have in common if they can be drawn as one.

    Numbers of channels count where a convolution says them; those of joins may grow.
    """
    return tuple(
        (
            boxes[index].text,
            boxes[index].times,
            boxes[index].shape[1:],
            tuple(max(source - segment.start, -1) for source in boxes[index].before),
        )
        for index in segment
    )


def fold_repeats(segments: Sequence[range], boxes: Sequence[Box]) -> list[Row]:
    """The pieces, with each repeated sequence of them as one row."""
    signatures = [_signature(boxes, segment) for segment in segments]
    rows: list[Row] = []
    start = 0
    while start < len(segments):
        period, times = _repetition(signatures, start)
        positions: list[tuple[int, ...]] = []
        for offset in range(period):
            same = [segments[start + offset + period * turn] for turn in range(times)]
            positions += zip(*same, strict=True)
        rows.append(Row(tuple(positions), times))
        start += period * times
    return rows


def _repetition(signatures: Sequence[tuple[object, ...]], start: int) -> tuple[int, int]:
    """Length and count of the repetition from ``start`` on that saves most pieces."""
    best, best_saved = (1, 1), 0
    longest = min((len(signatures) - start) // 2, _LONGEST_PERIOD)
    for period in range(1, longest + 1):
        pattern = signatures[start : start + period]
        times = 1
        while signatures[start + times * period : start + (times + 1) * period] == pattern:
            times += 1
        if period * (times - 1) > best_saved:
            best, best_saved = (period, times), period * (times - 1)
    return best


def skip_connections(boxes: Sequence[Box]) -> frozenset[tuple[int, int]]:
    """The edges into joins that bypass a longer path."""
    above: list[int] = []  # for each box the set of boxes before it, the image included, as bits
    found = set()
    for index, box in enumerate(boxes):
        ways = [(source, above[source] if source >= 0 else 0) for source in box.before]
        own = 0
        for source, behind in ways:
            bit = 1 << (source + 1)
            own |= bit | behind
            if any(other & bit for _, other in ways):
                found.add((source, index))
        above.append(own)
    return frozenset(found)
