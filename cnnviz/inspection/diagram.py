"""A network's architecture as a drawing, in the language of Graphviz.

A box is a convolution, pooling, dense layer or join together with the normalization and activation
that follow it. What is repeated is drawn once: equal boxes in a row become one, and a row of equal
blocks one block in a frame, both with the number of times.
"""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnnviz.errors import OutputError, ToolMissingError
from cnnviz.graph.architecture import Architecture, Layer, shape_text
from cnnviz.graph.graph import Node
from cnnviz.graph.operators import (
    Activation,
    AdaptiveAvgPool2d,
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
from cnnviz.inspection.summary import summarize, window

FORMATS = ("svg", "png", "pdf", "dot")  #: endings of the files that a drawing can be written to

_COLORS = {
    "input": "#ffffff",
    "convolution": "#c9def4",
    "pooling": "#d3eacb",
    "dense": "#fbdfc0",
    "join": "#e3d3ef",
    "other": "#e8e8e8",
}
_LEGEND = {
    "convolution": "convolution",
    "pooling": "pooling",
    "dense": "dense layer",
    "join": "branches join",
    "other": "other",
}
_MARK = "#c00000"  # of the layer that is explained by default
_SKIP = "#d07000"
_FAINT = "#555555"
_LONGEST_PERIOD = 24  # pieces in a frame
_LONGEST = 48  # characters of a layer's name
_WIDEST = 46  # characters of a line in a box

_POOLINGS = (
    AdaptiveAvgPool2d,
    AvgPool2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    MaxPool2d,
    Mean,
)


@dataclass(frozen=True)
class _Box:
    """Layers that are drawn as one, ``times`` over.

    ``text`` says what they do; ``before`` are the boxes that it reads, by position, -1 being the
    image.
    """

    kind: str
    text: str
    layers: tuple[Layer, ...]
    before: tuple[int, ...]
    times: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layers[-1].shape


@dataclass(frozen=True)
class _Row:
    """Boxes up to one that all ways pass, or a row of such pieces that comes ``times`` over.

    ``boxes`` has for each box that is drawn the positions of all that it stands for.
    """

    boxes: tuple[tuple[int, ...], ...]
    times: int = 1


def draw(architecture: Architecture, name: str) -> str:
    """A network as a Graphviz drawing, from top to bottom.

    Shapes stand below what a box does. The layer that is explained by default and the stages are
    named, skip connections colored. The same network gives the same text.

    Args:
        architecture: the network.
        name: what it is called; stands above it.

    Returns:
        the text of a ``.dot`` file.
    """
    boxes = _runs(_boxes(architecture))
    rows = _folded(_segments(boxes), boxes)
    nodes = {index: f"box{box[0]}" for row in rows for box in row.boxes for index in box}
    nodes[-1] = "input"
    skips = _skips(boxes)
    lines = [
        "digraph network {",
        "  rankdir=TB; nodesep=0.2; ranksep=0.2; pad=0.2; bgcolor=white;",
        '  fontname="Arial"; fontsize=11; labelloc=t;',
        f"  label=<{_heading(architecture, name, boxes, rows, bool(skips))}>;",
        '  node [shape=box, style="rounded,filled", fontname="Arial", fontsize=11, '
        'margin="0.12,0.03", height=0.3, color="#888888"];',
        '  edge [arrowsize=0.6, color="#444444"];',
        f"  input [label=<{_lines(['input', _small(shape_text(architecture.input_shape))])}>, "
        f'fillcolor="{_COLORS["input"]}"];',
    ]
    for number, row in enumerate(rows):
        drawn = [
            _node(architecture, nodes[box[0]], [boxes[index] for index in box]) for box in row.boxes
        ]
        if row.times == 1:
            lines += [f"  {node}" for node in drawn]
            continue
        lines += [
            f"  subgraph cluster{number} {{",
            f"    label=<<b>{row.times} ×</b>>; labeljust=l; labelloc=t; fontsize=13;",
            '    style="rounded,dashed"; color="#666666"; bgcolor="#f7f7f7"; margin=8;',
            *(f"    {node}" for node in drawn),
            "  }",
        ]
    for row in rows:
        for first, *_ in row.boxes:
            for source in boxes[first].before:
                skip = f' [color="{_SKIP}", penwidth=1.8]' if (source, first) in skips else ""
                lines.append(f"  {nodes[source]} -> {nodes[first]}{skip};")
    return "\n".join([*lines, "}", ""])


def render(text: str, kind: str) -> bytes:
    """Have Graphviz's program ``dot`` make a file of a drawing.

    Args:
        text: what :func:`draw` returned.
        kind: one of :data:`FORMATS`.

    Raises:
        ToolMissingError: the program is not installed.
        OutputError: it does not draw this text.
    """
    if kind == "dot":
        return text.encode()
    import graphviz

    try:
        drawn: bytes = graphviz.pipe("dot", kind, text.encode(), quiet=True)
    except graphviz.ExecutableNotFound as error:
        raise ToolMissingError(
            f"A diagram as {kind.upper()} needs Graphviz's program `dot`, which is not installed "
            "(on Debian and Ubuntu: `apt-get install graphviz`)."
        ) from error
    except subprocess.CalledProcessError as error:
        raise OutputError(
            f"Graphviz's program `dot` does not draw this network as {kind.upper()} (exit status "
            f"{error.returncode})."
        ) from error
    # Without the time of day the same network gives the same file. Offsets stay as they are.
    return re.sub(rb"(/CreationDate \(D:)\d{14}", rb"\g<1>19700101000000", drawn)


# From layers to boxes.


def _boxes(architecture: Architecture) -> list[_Box]:
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
        _Box(
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
        channels = source.shape[0] if source else architecture.input_shape[0]
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


_SHORT = {
    "Add": "add",
    "AdaptiveAvgPool": "adaptive average pool",
    "AvgPool": "average pool",
    "Concat": "concatenate",
    "Flatten": "flatten",
    "GlobalAvgPool": "global average pool",
    "GlobalMaxPool": "global max pool",
    "MaxPool": "max pool",
    "Multiply": "multiply",
    "Reshape": "reshape",
}


# What is repeated.


def _runs(boxes: Sequence[_Box]) -> list[_Box]:
    """With equal boxes that follow one another, and nothing else, as one."""
    readers = _readers(boxes)
    merged: list[_Box] = []
    place = {-1: -1}
    for index, box in enumerate(boxes):
        before = tuple(place[source] for source in box.before)
        if len(before) == 1 and before[0] >= 0 and readers[box.before[0]] == 1:
            above = merged[before[0]]
            if (above.text, above.kind, above.shape) == (box.text, box.kind, box.shape):
                merged[before[0]] = _Box(
                    box.kind, box.text, above.layers + box.layers, above.before, above.times + 1
                )
                place[index] = before[0]
                continue
        place[index] = len(merged)
        merged.append(_Box(box.kind, box.text, box.layers, before))
    return merged


def _readers(boxes: Sequence[_Box]) -> Mapping[int, int]:
    readers: dict[int, int] = {}
    for box in boxes:
        for source in box.before:
            readers[source] = readers.get(source, 0) + 1
    return readers


def _segments(boxes: Sequence[_Box]) -> list[range]:
    """The positions in pieces, each ending in a box that every way to the output passes."""
    last_reader = {-1: -1}
    for index, box in enumerate(boxes):
        for source in box.before:
            last_reader[source] = index
    segments = []
    start, reach = 0, last_reader[-1]
    for index in range(len(boxes)):
        if reach <= index:  # nothing jumps over this one
            segments.append(range(start, index + 1))
            start = index + 1
        reach = max(reach, last_reader.get(index, -1))
    return segments


def _signature(boxes: Sequence[_Box], segment: range) -> tuple[object, ...]:
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


def _folded(segments: Sequence[range], boxes: Sequence[_Box]) -> list[_Row]:
    """The pieces, with a row of pieces that is repeated as one."""
    signatures = [_signature(boxes, segment) for segment in segments]
    rows: list[_Row] = []
    start = 0
    while start < len(segments):
        period, times = _repetition(signatures, start)
        positions: list[tuple[int, ...]] = []
        for offset in range(period):
            same = [segments[start + offset + period * turn] for turn in range(times)]
            positions += zip(*same, strict=True)
        rows.append(_Row(tuple(positions), times))
        start += period * times
    return rows


def _repetition(signatures: Sequence[tuple[object, ...]], start: int) -> tuple[int, int]:
    """How many pieces from ``start`` on are repeated, and how often: what saves most."""
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


def _skips(boxes: Sequence[_Box]) -> frozenset[tuple[int, int]]:
    """The edges into joins beside which there is a longer way."""
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


# From boxes to Graphviz. Layers' names come from files that somebody sent: they are escaped, and
# never used as identifiers.


def _node(architecture: Architecture, identifier: str, instances: Sequence[_Box]) -> str:
    """A box as Graphviz's statement."""
    box = instances[0]
    times = f"{box.times} × " if box.times > 1 else ""
    shapes = list(dict.fromkeys((instances[0].shape, instances[-1].shape)))
    label = [
        times + "<br/>".join(map(escape, _wrapped(box.text))),
        _small(" to ".join(map(shape_text, shapes))),
    ]
    layers = [layer for instance in instances for layer in instance.layers]
    stages = architecture.stages()
    border = ""
    for layer in layers:
        if layer is architecture.default_layer:
            border = f', color="{_MARK}", penwidth=2.5'
            label.append(_small(f"explained by default: {_cut(layer.name)}", _MARK))
        elif layer in stages:
            number = stages.index(layer) + 1
            label.append(_small(f"end of stage {number}: {_cut(layer.name)}"))
    ends = [layers[0].name, layers[-1].name] if len(layers) > 1 else [layers[0].name]
    tip = escape(" to ".join(map(_cut, ends)))
    return (
        f'{identifier} [label=<{_lines(label)}>, tooltip="{tip}", '
        f'fillcolor="{_COLORS[box.kind]}"{border}];'
    )


def _heading(
    architecture: Architecture,
    name: str,
    boxes: Sequence[_Box],
    rows: Sequence[_Row],
    skips: bool,
) -> str:
    """Name, size and what the colors mean, as a table in Graphviz's kind of HTML."""
    summary = summarize(architecture)
    facts = (
        f"input {shape_text(summary.input_shape)}, {summary.parameters:,} parameters, "
        f"{summary.multiply_adds / 1e9:,.2f} G multiply-adds"
    )
    present = {box.kind for box in boxes}
    colors = [
        f'<td bgcolor="{color}">{_LEGEND[kind]}</td>'
        for kind, color in _COLORS.items()
        if kind in present and kind in _LEGEND
    ]
    signs = ["3×3/2: kernel 3×3, stride 2"]
    if any(row.times > 1 for row in rows) or any(box.times > 1 for box in boxes):
        signs.append("N ×: N such in a row")
    marks = [f'<font color="{_MARK}">red border: explained by default</font>']
    if skips:
        marks.append(f'<font color="{_SKIP}">orange: skip connection</font>')
    lines = [
        f"<b>{escape(_cut(name))}</b>",
        facts,
        f'<table border="0" cellspacing="4" cellpadding="2"><tr>{"".join(colors)}</tr></table>',
        ",  ".join(signs),
        ",  ".join(marks),
    ]
    return _lines(lines, padding=2)


def escape(text: str) -> str:
    """Text as it may stand in Graphviz's labels and tooltips, what cannot be printed as `�`."""
    printable = "".join(c if c.isprintable() else "\ufffd" for c in text)
    # A backslash begins an escape, even as an entity (`\N`, the box's name): so a word joiner,
    # which has no width, stands between it and the next letter.
    return html.escape(printable).replace("\\", "\\\u2060")


def _lines(lines: Sequence[str], padding: int = 0) -> str:
    """Lines below one another. (With `<br/>` they would stand too high where sizes differ.)"""
    return (
        f'<table border="0" cellspacing="0" cellpadding="{padding}">'
        + "".join(f"<tr><td>{line}</td></tr>" for line in lines)
        + "</table>"
    )


def _small(text: str, color: str = _FAINT) -> str:
    return f'<font point-size="9" color="{color}">{escape(text)}</font>'


def _cut(name: str) -> str:
    """A name that is not too long: its beginning and its end."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def _wrapped(text: str) -> list[str]:
    """A box's text in as few lines as it takes, of much the same length, ending before a plus."""
    parts = text.split(" + ")
    narrowest = max(map(len, parts)) + 2
    fewest = len(_filled(parts, max(_WIDEST, narrowest)))
    widths = range(narrowest, max(_WIDEST, narrowest) + 1)
    return next(lines for width in widths if len(lines := _filled(parts, width)) == fewest)


def _filled(parts: Sequence[str], width: int) -> list[str]:
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 3 + len(part) <= width:
            lines[-1] += f" + {part}"
        else:
            lines.append(f"+ {part}")
    return lines
