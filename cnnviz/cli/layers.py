"""``cnnviz layers``: what ``--layer`` can name."""

from __future__ import annotations

import json

import click


@click.command(name="layers")
@click.argument("model", metavar="MODEL")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
def command(model: str, as_json: bool) -> None:
    """List a network's layers: name, kind and output shape.

    The arrow marks the layer that is explained by default; `explain --layer` takes any that still
    has height and width. Needs no weights.
    """
    from cnnviz.models import catalog
    from cnnviz.network import Architecture
    from cnnviz.network.architecture import shape_text

    entry = catalog.get(model)
    architecture = Architecture.from_block(catalog.build_block(entry), entry.input.shape)
    default = architecture.default_layer
    if as_json:
        records = [
            {
                "name": layer.name,
                "kind": layer.kind,
                "shape": list(layer.shape),
                "spatial": layer.is_spatial,
                "default": layer is default,
            }
            for layer in architecture.layers
        ]
        click.echo(json.dumps(records, indent=2))
        return
    rows = [
        (layer.name, layer.kind, shape_text(layer.shape), "<- default" if layer is default else "")
        for layer in architecture.layers
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
