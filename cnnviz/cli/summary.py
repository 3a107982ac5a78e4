"""``cnnviz summary``: a network's layers, what they cost, and a drawing of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnviz.cli.console import put
from cnnviz.cli.help import SectionedCommand
from cnnviz.cli.option_types import FilePath
from cnnviz.cli.options import model_argument, packed
from cnnviz.runs.request import ModelOptions
from cnnviz.text import joined, printable, shortened

if TYPE_CHECKING:
    from cnnviz.errors import OutputError, ToolMissingError
    from cnnviz.graph.architecture import Architecture
    from cnnviz.inspection.summary import LayerSummary, Summary

_WIDTH = 100
_COLUMNS = ("LAYER", "KIND", "WINDOW", "OUTPUT", "PARAMETERS", "FIXED", "MULTIPLY-ADDS")
_NUMBERS = 4  # the column from which on cells are numbers
_WIDEST_KIND = 16
_NARROWEST_NAME = 20


@click.command(
    name="summary",
    cls=SectionedCommand,
    examples=(
        ("cnnviz summary resnet18_v1", "layers and their costs"),
        ("cnnviz summary resnet18_v1 --diagram resnet18.svg", "a drawing, too"),
    ),
)
@model_argument
@click.option(
    "--diagram",
    type=FilePath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw the network, as .svg, .png, .pdf or .dot; repeated parts are drawn once. "
    "All but .dot need Graphviz's `dot` program; without it a .dot file is written "
    "instead.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@packed(model=ModelOptions)
def command(model: ModelOptions, diagram: Path | None, as_json: bool) -> None:
    """List a network's layers and their costs.

    For each layer its kind, window, output shape, parameters and multiply-adds, and the totals.
    Needs no weights. MODEL is what `explain --model` takes.
    """
    from cnnviz.inspection.summary import summarize
    from cnnviz.models.resolve import find_model

    kind = None if diagram is None else _check_diagram(diagram)
    found = find_model(model.config(), needs_weights=False)
    architecture = found.architecture
    summary = summarize(architecture)
    written, problem = None, None
    if diagram is not None and kind is not None:
        written, problem = _write_diagram(architecture, found.name, diagram, kind)
    if as_json:
        record = _record(found.name, architecture, summary)
        record["diagram"] = None if written is None else str(written)
        put(json.dumps(record, indent=2))
    else:
        put("\n".join(_table(summary)))
    if problem is not None:
        raise type(problem)(f"{problem} The drawing is in {written} as text, for `dot` to draw.")


def _check_diagram(path: Path) -> str:
    """What kind of file a drawing is to be; said before any work if it cannot be written."""
    from cnnviz.errors import UsageError
    from cnnviz.inspection.diagram import FORMATS
    from cnnviz.outputs.files import check_output_file

    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        raise UsageError(
            f"{path} does not say what kind of file the diagram is to be: give a name that ends "
            f"in {joined(f'.{name}' for name in FORMATS)}."
        )
    check_output_file(path)
    return kind


def _write_diagram(
    architecture: Architecture, name: str, path: Path, kind: str
) -> tuple[Path, ToolMissingError | OutputError | None]:
    """Draw a network; which file was written, and what went wrong if that is only its text."""
    from cnnviz.errors import CnnvizError, OutputError, ToolMissingError, UsageError
    from cnnviz.inspection.diagram import render_dot, to_dot
    from cnnviz.outputs.files import OutputFolder
    from cnnviz.outputs.formats import encode_diagram
    from cnnviz.outputs.provenance import Origin

    text = to_dot(architecture, name)
    problem: ToolMissingError | OutputError | None = None
    try:
        data = render_dot(text, kind)
    except (ToolMissingError, OutputError) as error:
        problem = error
        path, kind, data = path.with_suffix(".dot"), "dot", text.encode()
    try:
        provenance = Origin(name).describe("diagram")
        OutputFolder(path.parent).write(Path(path.name), encode_diagram(data, kind, provenance))
    except CnnvizError as error:
        raise UsageError(f"{error}" if problem is None else f"{problem} {error}") from error
    return path, problem


def _record(name: str, architecture: Architecture, summary: Summary) -> dict[str, Any]:
    """All of it for a program."""
    stages = architecture.stages()
    return {
        "model": name,
        "input": list(summary.input_shape),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "shape": list(layer.shape),
                "kernel": list(layer.window.kernel),
                "stride": list(layer.window.stride),
                "dilation": list(layer.window.dilation),
                "groups": layer.window.groups,
                "parameters": layer.parameters,
                "fixed": layer.fixed,
                "shared": list(layer.shared),
                "multiply_adds": layer.multiply_adds,
                "default": own is architecture.default_layer,
                "stage": own in stages,
            }
            for layer, own in zip(summary.layers, architecture.layers, strict=True)
        ],
        "totals": {
            "layers": len(summary.layers),
            "parameters": summary.parameters,
            "fixed": summary.fixed,
            "multiply_adds": summary.multiply_adds,
            "weight_bytes": summary.weight_bytes,
        },
        "multiply_adds_counted_as_none": list(summary.uncounted),
    }


def _table(summary: Summary) -> Iterator[str]:
    """A line a layer, none longer than 100 characters, and the sums."""
    rows = [_COLUMNS, *map(_cells, summary.layers)]
    total = (
        f"{len(summary.layers)} layers",
        *[""] * (_NUMBERS - 1),
        *map(_number, (summary.parameters, summary.fixed, summary.multiply_adds)),
    )
    widths = [max(map(len, column)) for column in zip(*rows, total, strict=True)]
    rest = sum(width + 2 for width in widths[1:])
    widths[0] = min(widths[0], max(_WIDTH - rest, _NARROWEST_NAME))
    # A column that is empty but for its heading says nothing.
    used = [any(row[column] for row in rows[1:]) for column in range(len(_COLUMNS))]
    for row in (*rows, total):
        cells = (
            cell.rjust(width) if place >= _NUMBERS else shortened(cell, width).ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            if used[place]
        )
        yield "  ".join(cells).rstrip()
    yield ""
    for line in _notes(summary):
        yield from textwrap.wrap(line, _WIDTH)


def _cells(layer: LayerSummary) -> tuple[str, ...]:
    from cnnviz.graph.graph import shape_text

    return (
        printable(layer.name),
        shortened(printable(layer.kind), _WIDEST_KIND),
        str(layer.window),
        shape_text(layer.shape),
        _number(layer.parameters) or ("(shared)" if layer.shared else ""),
        _number(layer.fixed),
        _number(layer.multiply_adds),
    )


def _notes(summary: Summary) -> Iterator[str]:
    """What the table's words mean, as far as they occur in it."""
    from cnnviz.graph.graph import shape_text

    yield f"Input: {shape_text(summary.input_shape)} (channels, height, width)."
    yield f"Weights: {summary.weight_bytes / 1e6:,.1f} MB as float32."
    products = any(layer.kind == "MatMul" for layer in summary.layers)
    yield (
        "Multiply-adds: for one image, of convolutions and dense layers without their biases"
        f"{', and of matrix products' if products else ''}. "
        f"Not counted: {', '.join(map(printable, summary.uncounted)) or 'nothing else'}."
    )
    signs = ["kernel/stride, a stride of 1 is omitted"]
    if any("d" in str(layer.window) for layer in summary.layers):
        signs.append("d: dilation")
    if any(layer.window.groups > 1 for layer in summary.layers):
        signs.append("g: groups of channels")
    if any(layer.window.kernel for layer in summary.layers):
        yield f"Window: {'; '.join(signs)}."
    if summary.fixed:
        yield (
            "Fixed: stored but not learned, batch norm's running mean and variance (and scales or "
            "shifts that were not trained)."
        )
    if any(layer.shared for layer in summary.layers):
        yield "Shared parameters count once, where they are first used."


def _number(value: int) -> str:
    return f"{value:,}" if value else ""
