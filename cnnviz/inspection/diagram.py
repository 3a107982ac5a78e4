"""A network's architecture as a Graphviz drawing.

A box is a convolution, pooling, dense layer or join together with the normalization and activation
that follow it. What is repeated is drawn once: equal boxes in a row become one, and a row of equal
blocks one block in a frame, both with the number of times.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
from collections.abc import Sequence

from cnnviz.errors import OutputError, ToolMissingError
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.graph import shape_text
from cnnviz.inspection.boxes import (
    Box,
    Row,
    boxes_of,
    fold_repeats,
    merge_runs,
    segments_of,
    skip_connections,
)
from cnnviz.inspection.summary import summarize
from cnnviz.text import printable, shortened

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
_LONGEST = 48  # characters of a layer's name
_WIDEST = 46  # characters of a line in a box


def to_dot(architecture: Architecture, name: str) -> str:
    """A network as a Graphviz drawing, from top to bottom.

    Shapes stand below what a box does. The layer that is explained by default and the stages are
    named, skip connections colored. The same network gives the same text.

    Args:
        architecture: the network.
        name: what it is called; stands above it.

    Returns:
        the text of a ``.dot`` file.
    """
    boxes = merge_runs(boxes_of(architecture))
    rows = fold_repeats(segments_of(boxes), boxes)
    nodes = {index: f"box{box[0]}" for row in rows for box in row.boxes for index in box}
    nodes[-1] = "input"
    skips = skip_connections(boxes)
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


def render_dot(text: str, kind: str) -> bytes:
    """Have Graphviz's program ``dot`` make a file of a drawing.

    Args:
        text: what :func:`to_dot` returned.
        kind: one of :data:`FORMATS`.

    Raises:
        ToolMissingError: the program is not installed.
        OutputError: it does not draw this text.
    """
    if kind == "dot":
        return text.encode()
    # Without the time of day the same network gives the same file: programs of today ask for that
    # by this variable, and what older ones write is put right below.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    command = ["dot", f"-T{kind}"]
    try:
        drawn = subprocess.run(
            command, input=text.encode(), capture_output=True, check=True, env=environment
        ).stdout
    except FileNotFoundError as error:
        raise ToolMissingError(
            f"A diagram as {kind.upper()} needs Graphviz's program `dot`, which is not installed "
            "(on Debian and Ubuntu: `apt-get install graphviz`)."
        ) from error
    except subprocess.CalledProcessError as error:
        raise OutputError(
            f"Graphviz's program `dot` does not draw this network as {kind.upper()} (exit status "
            f"{error.returncode})."
        ) from error
    # Offsets stay as they are.
    return re.sub(rb"(/CreationDate \(D:)\d{14}", rb"\g<1>19700101000000", drawn)


# Names of layers come from files that somebody sent: they are escaped, and never used as
# identifiers.


def _node(architecture: Architecture, identifier: str, instances: Sequence[Box]) -> str:
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
            label.append(_small(f"explained by default: {shortened(layer.name, _LONGEST)}", _MARK))
        elif layer in stages:
            number = stages.index(layer) + 1
            label.append(_small(f"end of stage {number}: {shortened(layer.name, _LONGEST)}"))
    ends = [layers[0].name, layers[-1].name] if len(layers) > 1 else [layers[0].name]
    tip = escape(" to ".join(shortened(name, _LONGEST) for name in ends))
    return (
        f'{identifier} [label=<{_lines(label)}>, tooltip="{tip}", '
        f'fillcolor="{_COLORS[box.kind]}"{border}];'
    )


def _heading(
    architecture: Architecture,
    name: str,
    boxes: Sequence[Box],
    rows: Sequence[Row],
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
        f"<b>{escape(shortened(name, _LONGEST))}</b>",
        facts,
        f'<table border="0" cellspacing="4" cellpadding="2"><tr>{"".join(colors)}</tr></table>',
        ",  ".join(signs),
        ",  ".join(marks),
    ]
    return _lines(lines, padding=2)


def escape(text: str) -> str:
    """Text as it may stand in Graphviz's labels and tooltips."""
    # A backslash begins an escape, even as an entity (`\N`, the box's name): so a word joiner,
    # which has no width, stands between it and the next letter.
    return html.escape(printable(text)).replace("\\", "\\\u2060")


def _lines(lines: Sequence[str], padding: int = 0) -> str:
    """Lines below one another. (With `<br/>` they would stand too high where sizes differ.)"""
    return (
        f'<table border="0" cellspacing="0" cellpadding="{padding}">'
        + "".join(f"<tr><td>{line}</td></tr>" for line in lines)
        + "</table>"
    )


def _small(text: str, color: str = _FAINT) -> str:
    return f'<font point-size="9" color="{color}">{escape(text)}</font>'


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
