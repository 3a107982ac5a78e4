"""Who may import whom: rooms stand in an order, and every import goes down it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cnnviz"

#: Lowest first. A room imports those of lower rows only, not its neighbors; the ground is one room.
ROWS: tuple[tuple[str, ...], ...] = (
    ("_version", "errors", "machine", "structure", "system", "text", "types"),
    ("storage",),
    ("graph", "images"),
    ("engines", "labels", "rendering"),
    ("attribution", "demo"),
    ("metrics", "weights"),
    ("importers", "outputs"),
    ("explanation",),
    ("explainer",),
    ("models", "inspection"),
    ("runs",),
    ("comparison",),
    ("keywords", "report", "results"),
    ("api",),
    ("cli",),
    ("docs", "__init__", "__main__"),
)
GROUND = ROWS[0]

#: Who may import a framework, as paths within the package.
FRAMEWORKS = {
    "mxnet": r"engines/mxnet/|importers/(gluon|mxnet_\w+)\.py|demo/(architecture|train)\.py",
    # torch.load reads PyTorch's own files of weights where it is installed.
    "torch": r"engines/torch/|importers/torch_\w+\.py|weights/",
    "onnx": r"importers/onnx\w*\.py",
    "tensorflow": r"(?!)",
    "ray": r"runs/ray_(cluster|runner)\.py",
}
#: The function through which MXNet is imported counts as MXNet.
MXNET_IMPORT = "import_mxnet"

#: Where MXNet's names for operators may be listed; here are those that nobody else uses.
OPERATOR_NAMES = r"importers/|engines/mxnet/"
# fmt: off
MXNET_OPERATORS = frozenset(
    {
        "Activation", "Convolution", "Deconvolution", "FullyConnected", "L2Normalization",
        "Pooling", "SliceChannel", "SoftmaxActivation", "SoftmaxOutput", "UpSampling", "_copy",
        "_div_scalar", "_minus_scalar", "_mul_scalar", "_plus_scalar", "broadcast_add",
        "broadcast_div", "broadcast_maximum", "broadcast_minimum", "broadcast_mul",
        "broadcast_sub", "elemwise_add", "elemwise_div", "elemwise_mul", "elemwise_sub",
    }
)
# fmt: on

#: What is not yet as it shall be. This list only gets shorter.
KNOWN: frozenset[str] = frozenset()


@cache
def modules() -> dict[str, str]:
    """Dotted names of the package's modules and their paths within it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[dotted.removesuffix(".__init__")] = path.relative_to(PACKAGE).as_posix()
    return found


@cache
def parts(path: str) -> tuple[ast.AST, ...]:
    """All that a module is made of."""
    return tuple(ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))))


def imported(path: str) -> Iterator[str]:
    """Dotted names that a module imports anywhere: at its top, late, for types only, or by name."""
    for node in parts(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Lazy commands, choices and exports are named "cnnviz.room.module:name".
            name = node.value.partition(":")[0]
            if name in modules() and name != "cnnviz":
                yield name


@cache
def arrows() -> Mapping[str, set[str]]:
    """For each module the modules of the package that it imports, as paths."""
    known = modules()
    found: dict[str, set[str]] = {path: set() for path in known.values()}
    for path, others in found.items():
        for name in imported(path):
            other = known.get(name) or known.get(name.rpartition(".")[0])
            if other and other != path:
                others.add(other)
    return found


def room(path: str) -> str:
    """The room of a module: its folder, or itself where it has none."""
    name = path.partition("/")[0].removesuffix(".py")
    return "ground" if name in GROUND else name


def upward() -> Iterator[str]:
    """Imports that do not go down."""
    order = {room(name): row for row, names in enumerate(ROWS) for name in names}
    for path, others in arrows().items():
        for other in sorted(others):
            if room(path) != room(other) and order[room(other)] >= order[room(path)]:
                yield f"{path} imports {other}"


def reachable(path: str) -> set[str]:
    """All modules that a module needs, itself only if it is in a circle."""
    seen: set[str] = set()
    ahead = [path]
    while ahead:
        new = arrows()[ahead.pop()] - seen
        seen |= new
        ahead.extend(new)
    return seen


def circles() -> Iterator[str]:
    """Modules that need each other."""
    needs = {path: reachable(path) for path in arrows()}
    found = {
        tuple(sorted(other for other in needs[path] if path in needs[other]))
        for path in needs
        if path in needs[path]
    }
    for circle in sorted(found):
        yield f"a circle of {', '.join(circle)}"


def misplaced() -> Iterator[str]:
    """Modules that import a framework and are not among those that may."""
    for path in modules().values():
        names = {
            part for name in imported(path) for part in (name.split(".")[0], name.split(".")[-1])
        }
        if MXNET_IMPORT in names and path != "__init__.py":  # the Python API offers it
            names.add("mxnet")
        for framework in sorted(FRAMEWORKS.keys() & names):
            if not re.match(FRAMEWORKS[framework], path):
                yield f"{path} imports {framework}"


def listed() -> Iterator[str]:
    """Modules with a set, table or comparison of two or more of MXNet's operators."""
    for path in modules().values():
        if re.match(OPERATOR_NAMES, path):
            continue
        for node in parts(path):
            items: list[ast.expr | None] = []
            if isinstance(node, ast.Set | ast.List | ast.Tuple):
                items = [*node.elts]
            elif isinstance(node, ast.Dict):
                items = [*node.keys]
            names = {one.value for one in items if isinstance(one, ast.Constant)}
            if len(names & MXNET_OPERATORS) > 1:
                yield f"{path} lists operators of MXNet"
                break


@pytest.mark.parametrize(
    "check", [upward, circles, misplaced, listed], ids=lambda one: one.__name__
)
def test_rooms_stand_in_order(check):
    assert sorted(set(check()) - KNOWN) == []


def test_every_module_has_a_row():
    rows = {name for names in ROWS for name in names}
    assert {path.partition("/")[0].removesuffix(".py") for path in modules().values()} <= rows


def test_the_drawing_shows_the_same_rows():
    page = (PACKAGE / "docs/contributing.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"<!-- rooms -->\n```\n(.*?)\n```", page, re.DOTALL)
    # Two spaces part the rooms of a row, three or more its rooms from what they are.
    rows = [re.split(r" {3,}", line)[0].split("  ") for line in drawing.splitlines()]
    assert [tuple(row) for row in reversed(rows)] == list(ROWS)


def test_the_checks_see_something():
    """A walk that finds no imports would find no wrong ones either."""
    assert {"graph/graph.py", "types.py"} <= arrows()["graph/architecture.py"]
    assert {"explainer.py", "types.py"} <= reachable("__init__.py")  # which names them in strings
    assert "engines/mxnet/runtime.py" in {
        path for path in modules().values() if "mxnet" in set(imported(path))
    }


def test_gluon_is_for_reading_blocks_and_for_training():
    users = {
        path
        for path in modules().values()
        if any(name.startswith("mxnet.gluon") for name in imported(path))
        or any(getattr(node, "attr", None) == "gluon" for node in parts(path))
    }
    assert users == {"importers/gluon.py", "demo/architecture.py", "demo/train.py"}
