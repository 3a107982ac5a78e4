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
    from cnnviz.models.catalog import ModelEntry

_COLUMNS = ("NAME", "PARAMETERS", "DOWNLOAD", "INPUT", "DEFAULT LAYER", "WEIGHTS")
_RIGHT_ALIGNED = {"PARAMETERS", "DOWNLOAD"}


@click.command(name="models")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
def command(as_json: bool) -> None:
    """List the networks: parameters, download size, input, default layer, weights.

    The last column has the file that would be used, or "not here"; `cnnviz download` fetches it.
    """
    from cnnviz.models import catalog

    entries = catalog.entries()
    if as_json:
        put(json.dumps([_record(entry) for entry in entries], indent=2))
        return
    title, *lines = _table([_COLUMNS, *(_row(entry) for entry in entries)])
    put(title)
    for index, (entry, line) in enumerate(zip(entries, lines, strict=True)):
        if index and entry.family != entries[index - 1].family:
            put("")
        put(line)


def _cached(entry: ModelEntry) -> Path | None:
    from cnnviz.weights import store

    return store.cached(entry.name)


def _record(entry: ModelEntry) -> dict[str, Any]:
    path = _cached(entry)
    return {**dataclasses.asdict(entry), "weights": None if path is None else str(path)}


def _row(entry: ModelEntry) -> tuple[str, ...]:
    path = _cached(entry)
    size = entry.download_bytes
    return (
        entry.name,
        f"{entry.parameters:,}",
        "embedded" if size is None else f"{size / 1e6:.0f} MB",
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
