"""``cnnviz layers``: what ``--layer`` can name."""

from __future__ import annotations

import json

import click

from cnnviz.cli.console import put
from cnnviz.cli.help import SectionedCommand
from cnnviz.cli.options import model_argument, packed
from cnnviz.runs.request import ModelOptions

_COLUMNS = ("layer", "kind", "output", "used by explain")


@click.command(
    name="layers",
    cls=SectionedCommand,
    examples=(
        ("cnnviz layers vgg16", "a named network"),
        ("cnnviz layers net-symbol.json --input-size 32", "an exported one"),
    ),
)
@model_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
@packed(model=ModelOptions)
def command(model: ModelOptions, as_json: bool) -> None:
    """List a network's layers: name, kind and output shape; of tokens the size of their maps, too.

    `explain` uses the default layer; `explain --layer` takes any that still has height and width,
    channels first or last, or as a transformer's tokens, and `explain --layer stages` takes the
    stages and the default. Needs no weights.
    MODEL is what `explain --model` takes.
    """
    from cnnviz.models.resolve import find_model

    architecture = find_model(model.config(), needs_weights=False).architecture
    stages = architecture.stages()
    default = architecture.default_layer
    if as_json:
        records = [
            {
                "name": layer.name,
                "kind": layer.kind,
                "shape": list(layer.shape),
                "spatial": layer.is_spatial,
                "maps": list(layer.map_shape) if layer.is_spatial else None,
                "default": layer is default,
                "stage": layer in stages,
            }
            for layer in architecture.layers
        ]
        put(json.dumps(records, indent=2))
        return
    rows = [
        (
            layer.name,
            layer.kind,
            layer.shape_title,
            "default" if layer is default else "stage" if layer in stages else "",
        )
        for layer in architecture.layers
    ]
    rows.insert(0, _COLUMNS)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        put("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
