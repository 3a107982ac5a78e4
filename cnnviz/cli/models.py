"""``cnnviz models``: the networks that ``--model`` knows by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnviz.cli.console import put

if TYPE_CHECKING:
    from cnnviz.models.zoo import ZooEntry

_COLUMNS = ("NAME", "PARAMETERS", "DOWNLOAD", "INPUT", "DEFAULT LAYER", "WEIGHTS")
#: Of an input's fields those that no named network has of its own.
_OF_IMAGES = ("range", "display", "resize", "crop_fraction", "interpolation")
_RIGHT_ALIGNED = {"PARAMETERS", "DOWNLOAD"}


@click.command(name="models")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
def command(as_json: bool) -> None:
    """List the networks: parameters, download size, input, default layer, weights.

    The last column shows the weights file that would be used, or "not here"; `cnnviz download`
    fetches it.
    """
    from cnnviz.models import zoo

    entries = zoo.entries()
    if as_json:
        put(json.dumps([_record(entry) for entry in entries], indent=2))
        return
    title, *lines = _table([_COLUMNS, *(_row(entry) for entry in entries)])
    put(title)
    for index, (entry, line) in enumerate(zip(entries, lines, strict=True)):
        if index and entry.family != entries[index - 1].family:
            put("")
        put(line)


def _cached(entry: ZooEntry) -> Path | None:
    from cnnviz.models.zoo_weights import cached_weights

    return cached_weights(entry)


def _record(entry: ZooEntry) -> dict[str, Any]:
    path = _cached(entry)
    published = entry.published
    return {
        "name": entry.name,
        "family": entry.family,
        "parameters": entry.parameters,
        "download_bytes": None if published is None else published.size,
        "input": {
            name: value
            for name, value in dataclasses.asdict(entry.input).items()
            if name not in _OF_IMAGES
        },
        "default_layer": entry.default_layer,
        "labels": entry.labels,
        "hub": None if published is None else published.hub,
        "weights": None if path is None else str(path),
    }


def _row(entry: ZooEntry) -> tuple[str, ...]:
    path = _cached(entry)
    published = entry.published
    return (
        entry.name,
        f"{entry.parameters:,}",
        "embedded" if published is None else f"{published.size / 1e6:.0f} MB",
        f"{entry.input.width}x{entry.input.height}",
        entry.default_layer,
        "not here" if path is None else str(path),
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if title in _RIGHT_ALIGNED else cell.ljust(width)
            for cell, width, title in zip(row, widths, _COLUMNS, strict=True)
        ).rstrip()
        for row in rows
    ]
