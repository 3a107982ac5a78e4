"""Errors say whether one item fails or the run stops, and how the command exits."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cnnviz
from cnnviz import errors
from cnnviz.errors import CnnvizError, ItemError


def family(base):
    for one in base.__subclasses__():
        yield one
        yield from family(one)


def test_what_costs_one_item_and_what_ends_the_run():
    items = {one.__name__ for one in family(ItemError)}
    assert items == {"ImageError", "ExplanationError", "MapError", "OutputError"}
    ends = {one.__name__ for one in family(CnnvizError)} - items - {"ItemError"}
    assert ends >= {"UsageError", "NetworkError", "WeightsError", "DeviceError"}
    assert ends >= {"OutputUnavailableError", "ToolMissingError", "FailFastError"}


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (1, ["ImageError", "OutputError", "OutputUnavailableError", "ToolMissingError"]),
        (2, ["UsageError"]),
        (3, ["NetworkError", "WeightsError", "DeviceError"]),
    ],
)
def test_exit_codes_are_those_of_the_readme(code, names):
    assert [int(getattr(errors, name).exit_code) for name in names] == [code] * len(names)


def test_no_module_raises_the_bases():
    """Who catches them could not tell one failed image from a full disk."""
    package = Path(cnnviz.__file__).parent
    raised = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                raised.setdefault(ast.unparse(node.exc.func), []).append(path.name)
    assert "ImageError" in raised  # so that this looks at something
    assert "CnnvizError" not in raised
    assert "ItemError" not in raised
