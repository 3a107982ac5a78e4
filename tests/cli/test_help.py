"""Help: every option under a heading, examples that are commands, and room on wide terminals."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from cnnviz.cli import COMMANDS, group
from cnnviz.cli.help import HEADINGS, SectionedCommand

SECTIONED = [
    "explain",
    "evaluate",
    "compare",
    "layers",
    "summary",
    "filters",
    "activations",
    "maximize",
]


def command(name: str) -> click.Command:
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


def written_first(option: click.Option) -> str:
    """The first long name, as the help has it."""
    return next(name for name in option.opts if name.startswith("--"))


def test_commands_with_many_options_have_sections():
    assert [name for name in COMMANDS if isinstance(command(name), SectionedCommand)] == SECTIONED


@pytest.mark.parametrize("name", SECTIONED)
def test_every_option_has_a_heading(name):
    known = {option for names in HEADINGS.values() for option in names}
    options = {one.name for one in command(name).params if isinstance(one, click.Option)}
    assert options <= known


@pytest.mark.parametrize("name", SECTIONED)
def test_help_shows_every_option_once(cnnviz, name):
    status, out, _ = cnnviz(name, "--help")
    assert status == 0
    out = out[out.index(":\n  -") :]  # from the first heading on
    options = [one for one in command(name).params if isinstance(one, click.Option)]
    for option in [*(written_first(one) for one in options if not one.hidden), "--help"]:
        lines = re.findall(rf"^  (?:-\w, |--\w+, )?{option}\b(?!-)", out, re.MULTILINE)
        assert len(lines) == 1, option


@pytest.mark.parametrize("name", SECTIONED)
def test_examples_can_be_typed(name):
    """Nothing is run: options and arguments are read as on a command line."""
    for example, _what in command(name).examples:
        program, called, *arguments = shlex.split(example)
        assert (program, called) == ("cnnviz", name)
        command(name).make_context(name, arguments)


def test_help_of_explain_is_in_the_order_of_the_work(cnnviz):
    _, out, _ = cnnviz("explain", "--help")
    headings = [line[:-1] for line in out.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == [
        *("Input", "Network", "Preprocessing", "What to explain", "Look", "Output"),
        *("Which images", "For scripts", "Run", "Examples"),
    ]


def test_wide_terminals_are_used(cnnviz, monkeypatch):
    widths = {}
    for columns in (80, 100, 300):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, out, _ = cnnviz("explain", "--help")
        widths[columns] = max(map(len, out.splitlines()))
    assert widths[80] <= 80
    assert 90 < widths[100] <= 100
    assert 100 < widths[300] <= 110
