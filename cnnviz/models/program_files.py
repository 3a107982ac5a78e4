"""Which networks are read as programs of tensors, and by what: by their files' names, or packages'.

A further format is one line more.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnviz.text import expand_home

if TYPE_CHECKING:
    from cnnviz.importers.program_source import ProgramSource


class _Reader(NamedTuple):
    module: str
    function: str


#: By the end of a file's name: a function of the path.
_FILES: Mapping[str, _Reader] = MappingProxyType(
    {".onnx": _Reader("cnnviz.importers.onnx_file", "open_onnx")}
)


def is_program_file(path: Path) -> bool:
    """Whether a file's name says that it is read as a program."""
    return path.suffix.lower() in _FILES


def is_program(model: str) -> bool:
    """Whether ``--model`` means such a network."""
    return is_program_file(Path(model))


def open_program(model: str) -> ProgramSource:
    """The network that is meant, ready to be read.

    Raises:
        UsageError: what reads it is not installed.
        NetworkError: the file cannot be read.
    """
    path = Path(expand_home(model))
    reader = _FILES[path.suffix.lower()]
    function: Any = getattr(import_module(reader.module), reader.function)
    source: ProgramSource = function(path)
    return source
