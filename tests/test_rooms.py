"""Who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "cnnviz"
#: What the modules of a room may import of cnnviz, besides those of the room itself.
ALLOWED = {
    "graph": {"errors", "text", "types"},
    "models/zoo": {
        "demo",
        "errors",
        "graph",
        "images",
        "labels",
        "models",
        "text",
        "types",
        "weights",
    },
}
FRAMEWORKS = {"mxnet", "torch", "tensorflow", "onnx"}


def imported(path: Path) -> Iterator[str]:
    """The names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        yield from imported_by(node)


def imported_by(node: ast.AST) -> Iterator[str]:
    """The names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_stands_above_it(room):
    modules = sorted((ROOT / room).glob("*.py"))
    assert len(modules) > 5
    for path in modules:
        for name in imported(path):
            top, *rest = name.split(".")
            assert top not in FRAMEWORKS, f"{path.name} imports {name}"
            if top == "cnnviz":
                own = "/".join(rest).startswith(room)
                assert own or rest[0] in ALLOWED[room], f"{path.name} imports {name}"


def test_gluon_is_for_reading_blocks_and_for_training():
    users = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr == "gluon")
        or any(name.startswith("mxnet.gluon") for name in imported_by(node))
    }
    assert users == {"importers/gluon.py", "demo/architecture.py", "demo/train.py"}
