"""``cnnviz metrics``: what ``--metric`` and ``--metric-option`` can name."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from cnnviz.cli.console import json_line, put
from cnnviz.cli.methods import all_option_lines, description_of, in_full, table_row

if TYPE_CHECKING:
    from cnnviz.metrics.registry import AnyMetric

_WIDTH = 100
_COLUMNS = ("NAME", "GOOD", "COST", "PAPER")
_WIDEST = (18, 8, 42, 26)
_BETTER = {"higher": "high", "lower": "low", None: "neither"}


@click.command(name="metrics")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
def command(name: str | None, as_json: bool) -> None:
    """List the metrics: which values are good, costs, papers, options.

    With a NAME, describe that one. `evaluate --metric NAME --metric-option NAME=VALUE` takes what
    is listed here.
    """
    from cnnviz.metrics.registry import METRICS, choose_metrics

    metrics = choose_metrics(list(METRICS) if name is None else [name], regions=True)
    if as_json:
        put(json_line([record(metric) for metric in metrics], indent=2))
    elif name is None:
        put("\n".join(_overview(metrics)))
    else:
        put("\n".join(_in_full(metrics[0])))


def record(metric: AnyMetric) -> dict[str, Any]:
    """All that is known of a metric, as JSON holds it."""
    return {
        "name": metric.name,
        "title": metric.title,
        "group": metric.group,
        "direction": metric.direction,
        "paper": metric.paper,
        "formula": metric.formula,
        "cost": metric.cost,
        "cheap": metric.cheap,
        "needs_region": metric.needs_region,
        "options": [
            {"name": own.name, "default": own.default, **own.metadata}
            for own in dataclasses.fields(metric)
        ],
        "description": description_of(metric),
    }


def _overview(metrics: tuple[AnyMetric, ...]) -> Iterator[str]:
    """A table of all by group, and the options of those that have some."""
    for group in dict.fromkeys(metric.group for metric in metrics):
        yield from table_row((group.upper(), *_COLUMNS[1:]), _WIDEST)
        for metric in metrics:
            if metric.group == group:
                paper = metric.paper.split(",")[0]
                cells = (metric.name, _BETTER[metric.direction], metric.cost, paper)
                yield from table_row(cells, _WIDEST)
        yield ""
    yield from textwrap.wrap(
        "GOOD: which values are. COST: for one map of one image. `explain --evaluate` takes those "
        f"that cost a few passes: {', '.join(metric.name for metric in metrics if metric.cheap)}.",
        _WIDTH,
    )
    yield ""
    yield "Options (evaluate --metric-option NAME=VALUE, or METRIC.NAME=VALUE for one only):"
    yield from all_option_lines(metrics)


def _in_full(metric: AnyMetric) -> Iterator[str]:
    """One metric: names, formula, its options, its description."""
    facts = {
        "name": metric.name,
        "group": metric.group,
        "good": _BETTER[metric.direction],
        "paper": metric.paper,
        "formula": metric.formula,
        "cost": metric.cost,
        "needs": "where the objects are: --boxes or --masks" if metric.needs_region else "",
    }
    yield from in_full(metric, metric.title, facts, "evaluate --metric-option NAME=VALUE")
