"""What people call the operators of an ONNX file: the paths of the modules that they come from.

PyTorch's exporters leave these in a node's metadata (the newer one) or in its name, such as
``/layer1/layer1.0/conv1/Conv`` (the older one); Keras's layers are parts of names such as
``model/block1_conv1/BiasAdd``. A module that computes in several operators lends its path to the
last of them, which gives its output.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

_SCOPES = "pkg.torch.onnx.name_scopes"
#: Of layers that have a weight, whose name says where it is.
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization"}
#: These change no number, and seldom are what a module is there for.
_LAYOUT = {
    *("Cast", "Constant", "Flatten", "Identity", "Reshape", "Shape", "Squeeze"),
    *("Transpose", "Unsqueeze"),
}


@dataclass(frozen=True)
class _Place:
    """Where an operator comes from.

    Attributes:
        path: of its module; empty for the whole network.
        call: what tells a module's calls apart.
        operation: what it does there.
    """

    path: str
    call: str
    operation: str


def names_of(nodes: Sequence[Any], stored: Collection[str]) -> list[tuple[str, ...]]:
    """For each node the names that its output goes by, first choice first.

    Args:
        nodes: the file's, in order.
        stored: names of the file's weights.
    """
    common = _common_start([node.name for node in nodes])
    places = [_place(node, stored, common) for node in nodes]
    paths = {place.path for place in places if place is not None}
    containers = {""} | {
        path[:end] for path in paths for end, sign in enumerate(path) if sign == "."
    }
    last: dict[tuple[str, str], int] = {}
    for index, (node, place) in enumerate(zip(nodes, places, strict=True)):
        if place is not None:
            before = last.get((place.path, place.call))
            if before is None or node.op_type not in _LAYOUT or nodes[before].op_type in _LAYOUT:
                last[place.path, place.call] = index
    found = []
    numbers: dict[str, int] = {}
    for index, (node, place) in enumerate(zip(nodes, places, strict=True)):
        first = node.name or next(iter(node.output), "")
        if place is not None:
            first = place.path
            if first in containers:
                first = ".".join(filter(None, (first, place.operation)))
            elif last.get((place.path, place.call)) != index:
                first = f"{first}.{node.op_type.lower()}"
        elif re.fullmatch(r"\d*", first):
            first = node.op_type.lower()
        first = _unique(first, numbers)
        found.append(tuple(dict.fromkeys(filter(None, (first, node.name, *node.output[:1])))))
    return found


def _unique(name: str, numbers: dict[str, int]) -> str:
    """A name that is not among those given before, whose last numbers are kept."""
    number, found = numbers.get(name, 0), name
    while found in numbers:
        number += 1
        found = f"{name}_{number}"
    numbers[name] = number
    numbers.setdefault(found, 0)
    return found


def _place(node: Any, stored: Collection[str], common: int) -> _Place | None:
    """Where a node comes from, if something says so."""
    if node.op_type in _WEIGHTED and len(node.input) > 1 and node.input[1] in stored:
        module, _, kind = node.input[1].rpartition(".")
        if module and kind == "weight":
            return _Place(module, node.name, "")
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = _strings(entry.value)
            if len(scopes) > 1:
                return _Place(scopes[-2], scopes[-1], re.sub(r"_\d+$", "", scopes[-1]))
    parts = node.name.split("/")
    if len(parts) > 2 and not parts[0]:
        return _Place(_module_path(parts[1:-1]), "", _operation(parts[-1]))
    if len(parts) == 2 and not parts[0]:
        return _Place("", node.name, _operation(parts[1]))
    if len(parts) > common + 1:
        return _Place(".".join(parts[common:-1]), "", _operation(parts[-1]))
    return None


def _strings(text: Any) -> list[str]:
    """A list of strings as Python writes it; of bytes that are no text, nothing."""
    try:
        found = ast.literal_eval(text) if isinstance(text, str) else []
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


def _module_path(parts: Sequence[str]) -> str:
    """``layer1.0.conv1`` of ``layer1``, ``layer1.0``, ``conv1``: a list's members are whole."""
    path = last = ""
    for part in parts:
        if last and part.startswith(f"{last}."):
            path = path[: len(path) - len(last)] + part
        else:
            path = f"{path}.{part}" if path else part
        last = part
    return path


def _operation(name: str) -> str:
    """``add`` of ``Add_1``."""
    return re.sub(r"_+\d+$", "", name).lower()


def _common_start(names: Sequence[str]) -> int:
    """How many parts all of Keras's names begin with: the network's own name, as a rule."""
    split = [name.split("/") for name in names if "/" in name and not name.startswith("/")]
    if len(split) < 2:
        return 0
    shortest = min(map(len, split)) - 2  # the layer and the operation stay
    common = 0
    while common < shortest and len({parts[common] for parts in split}) == 1:
        common += 1
    return common
