"""``cnnviz methods``: what ``--method`` and ``--option`` can name."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from cnnviz.cli.console import json_line, put

if TYPE_CHECKING:
    import dataclasses

    from cnnviz.attribution import Method
    from cnnviz.attribution.options import Configurable

_WIDTH = 100
_COLUMNS = ("NAME", "NEEDS", "COST", "PAPER")
_WIDEST = (20, 22, 28, 24)  # of the columns, in characters; with what lies between them a line
_LEGEND = (
    "NEEDS: layer, the output of the target layer (--layer); gradients, there or at the input; "
    "scores, the network's predictions for changed inputs. COST: beyond the one forward and "
    "backward pass that all methods share."
)


@click.command(name="methods")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
def command(name: str | None, as_json: bool) -> None:
    """List the methods: needs, costs, papers, options.

    With a NAME, describe that one: its formula, what its maps mean and where it differs from the
    paper. `explain --method NAME --option NAME=VALUE` takes what is listed here.
    """
    from cnnviz.attribution import METHODS, choose_methods

    methods = choose_methods(list(METHODS) if name is None else [name])
    if as_json:
        records = [record(method) for method in methods]
        put(json_line(records, indent=2))
    elif name is None:
        put("\n".join(_overview(methods)))
    else:
        put("\n".join(_in_full(methods[0])))


def _needs(method: Method) -> tuple[str, ...]:
    """What it looks at, in words; with its options as they are by default."""
    from cnnviz.graph.architecture import Layer

    asked = method.passes((3, 224, 224), Layer("", "", "", (512, 14, 14)))  # as of VGG-16
    needs = {
        "layer": method.uses_layer,
        "layer gradient": bool(method.layer_rules),
        "input gradient": bool(method.input_rules),
        "input gradients": asked.backwards > 0,
        "scores": asked.forwards + asked.partial > 0,
    }
    return tuple(need for need, needed in needs.items() if needed)


def _options(configured: Configurable) -> dict[str, dataclasses.Field[Any]]:
    from cnnviz.attribution import options_of

    return options_of(type(configured))


def record(method: Method) -> dict[str, Any]:
    """All that is known of a method, as JSON holds it."""
    return {
        "name": method.name,
        "title": method.title,
        "paper": method.paper,
        "formula": method.formula,
        "needs": _needs(method),
        "cost": method.cost,
        "class_specific": method.class_specific,
        "maps": dict(method.map_kinds),
        "options": [
            {"name": name, "default": own.default, **own.metadata}
            for name, own in _options(method).items()
        ],
        "description": description_of(method),
    }


def _overview(methods: Sequence[Method]) -> Iterator[str]:
    """A table of all, and the options of those that have some."""
    yield from table_row(_COLUMNS, _WIDEST)
    for method in methods:
        needs, paper = ", ".join(_needs(method)), method.paper.split(",")[0]
        yield from table_row((method.name, needs, method.cost, paper), _WIDEST)
    yield ""
    yield from textwrap.wrap(_LEGEND, _WIDTH)
    yield ""
    yield "Options (explain --option NAME=VALUE, or METHOD.NAME=VALUE for one method only):"
    yield from all_option_lines(methods)


def _in_full(method: Method) -> Iterator[str]:
    """One method: names, formula, what it needs, its options, its description."""
    facts = {
        "name": method.name,
        "paper": method.paper,
        "formula": method.formula,
        "needs": ", ".join(_needs(method)),
        "cost": method.cost,
        "target": "" if method.class_specific else "the same maps for every target",
        "maps": ", ".join(f"{key} ({kind})" for key, kind in method.map_kinds.items()),
    }
    yield from in_full(method, method.title, facts, "explain --option NAME=VALUE")


def in_full(
    configured: Configurable, title: str, facts: Mapping[str, str], how: str
) -> Iterator[str]:
    """A method or a metric: its title, facts by name, options, and its description.

    Args:
        configured: which one.
        title: for people.
        facts: what is known of it; empty ones are left out.
        how: its options are given.
    """
    yield title
    yield ""
    for name, value in facts.items():
        if value:
            yield from textwrap.wrap(
                value, _WIDTH, initial_indent=f"{name:<9}", subsequent_indent=" " * 9
            )
    if _options(configured):
        yield ""
        yield f"Options ({how}):"
        yield from option_lines(configured, in_full=True)
    yield ""
    yield description_of(configured)


def all_option_lines(configured: Iterable[Configurable]) -> Iterator[str]:
    """The options of those that have some, below their names."""
    for one in configured:
        if _options(one):
            yield ""
            yield one.name
            yield from option_lines(one)


def table_row(cells: Sequence[str], widest: Sequence[int]) -> Iterator[str]:
    """One row of a table, in as many lines as its longest cell takes.

    Args:
        cells: what stands in it.
        widest: how wide the columns are, in characters.
    """
    wrapped = [
        textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widest, strict=True)
    ]
    for number in range(max(map(len, wrapped))):
        line = (cell[number] if number < len(cell) else "" for cell in wrapped)
        yield "  ".join(
            part.ljust(width) for part, width in zip(line, widest, strict=True)
        ).rstrip()


def option_lines(configured: Configurable, *, in_full: bool = False) -> Iterator[str]:
    """A method's options, or a metric's, with their defaults, below one another."""
    options = _options(configured)
    names = [f"{name}={own.default}" for name, own in options.items()]
    indent = max(map(len, names)) + 4
    for name, own in zip(names, options.values(), strict=True):
        rules = own.metadata
        text = rules["help"]
        if not all(choice in text for choice in rules["choices"]):
            text += f" ({', '.join(rules['choices'])})"
        ends = [f"at {end} {rules[end]}" for end in ("least", "most") if rules[end] is not None]
        if in_full and ends:
            text += f" ({', '.join(ends)})"
        yield from textwrap.wrap(
            text, _WIDTH, initial_indent=f"  {name}".ljust(indent), subsequent_indent=" " * indent
        )


def description_of(configured: Configurable) -> str:
    """What its docstring says, and what those functions say that it refers to for the formula."""
    text = inspect.getdoc(type(configured)) or ""
    parts = [re.sub(r"see :func:`\w+`", "see below", text)]
    module = sys.modules[type(configured).__module__]
    for name in re.findall(r"see :func:`(\w+)`", text):
        parts.append(inspect.getdoc(getattr(module, name)) or "")
    return "\n\n".join(map(_prose, parts))


def _prose(docstring: str) -> str:
    """Without the sections on arguments, and without Sphinx's marks."""
    text = re.split(r"\n\n(?:Args|Returns|Raises|Yields):\n", docstring)[0]
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", text)
    return text.replace("``", "`")
