"""Which networks are read as programs of tensors, and by what: by their files' names, or packages'.

A further format is one line more.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnviz.errors import NetworkError, UsageError
from cnnviz.text import expand_home

if TYPE_CHECKING:
    from cnnviz.importers.program_source import ProgramSource


class _Reader(NamedTuple):
    module: str
    function: str
    needs_torch: bool = True

    def load(self) -> Any:
        """The function.

        Raises:
            DeviceError: PyTorch, which it needs, is not installed, or too old.
        """
        if self.needs_torch:
            from cnnviz.engines.torch.runtime import import_torch

            import_torch()
        return getattr(import_module(self.module), self.function)


#: By the end of a file's name: a function of the path.
_FILES: Mapping[str, _Reader] = MappingProxyType(
    {
        ".onnx": _Reader("cnnviz.importers.onnx_file", "open_onnx", needs_torch=False),
        ".pt2": _Reader("cnnviz.importers.torch_pt2", "open_pt2"),
    }
)

#: What PyTorch's archives are called, whatever is in them.
_ARCHIVES = frozenset({".pt", ".pth", ".ts", ".jit", ".torchscript"})
#: How such files' names end.
SUFFIXES = (*_FILES, *sorted(_ARCHIVES))
#: Packages whose networks are called by their names, with the package's in front.
_PACKAGES = frozenset({"torchvision", "timm"})
_PACKAGE_READER = _Reader("cnnviz.importers.torch_packages", "open_package")
_MODULES = frozenset(
    {
        ("torch.nn.modules.module", "Module"),
        ("torch.export.exported_program", "ExportedProgram"),
    }
)
_MODULE_READER = _Reader("cnnviz.importers.torch_given", "open_module")


def is_package_name(model: str) -> bool:
    """Whether a name is one of another package's: ``timm:resnet50``."""
    package, colon, name = model.partition(":")
    return bool(colon and name) and "," not in name and package in _PACKAGES


def is_module(model: object) -> bool:
    """Whether something is a module of PyTorch, or was exported from one.

    PyTorch need not be imported for that.
    """
    return any((kind.__module__, kind.__qualname__) in _MODULES for kind in type(model).__mro__)


def open_module(module: object) -> ProgramSource:
    """A module of PyTorch, ready to be read.

    Raises:
        NetworkError: it cannot be exported.
        DeviceError: PyTorch is too old.
    """
    source: ProgramSource = _MODULE_READER.load()(module)
    return source


def is_program_file(path: Path) -> bool:
    """Whether a file is read as a program, as its name says, or what PyTorch's archive holds."""
    return _reader(path) is not None


def _reader(path: Path) -> _Reader | None:
    suffix = path.suffix.lower()
    if suffix in _FILES:
        return _FILES[suffix]
    if suffix not in _ARCHIVES:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return None
    # Beside these there are archives with weights alone, or with what Python pickled.
    if any(re.match(r"[^/]+/code/", name) for name in names):
        return _Reader("cnnviz.importers.torch_script", "open_script")
    exported = any(re.match(r"[^/]+/models/|serialized_exported", name) for name in names)
    return _FILES[".pt2"] if exported else None


def came_instead(path: Path) -> str:
    """What a file is that stands in for one that was not fetched, as a clause; or empty."""
    from cnnviz.weights import formats

    try:
        with path.open("rb") as file:
            return formats.came_instead(file.read(512))
    except OSError:  # which reading it says
        return ""


def is_program(model: str) -> bool:
    """Whether ``--model`` means such a network."""
    return is_package_name(model) or is_program_file(Path(model))


def open_program(
    model: str, weights: Path | None = None, *, needs_weights: bool = True
) -> ProgramSource:
    """The network that is meant, ready to be read.

    Args:
        model: a file, or a name of another package's.
        weights: for such a name: a file of weights; None for what the package downloads.
        needs_weights: whether random ones will not do for such a name.

    Raises:
        UsageError: the package of such a name has no such network; weights are given for a file,
            which has its own.
        NetworkError: the package is not installed, or the file cannot be read.
        DeviceError: PyTorch, which reads it, is not installed, or too old.
        WeightsError: the weights cannot be had, or belong to another network.
    """
    if is_package_name(model):
        if weights is not None:
            from cnnviz.weights.formats import check_weights

            check_weights(weights)  # before packages are imported, which takes seconds
        open_package: Any = _PACKAGE_READER.load()
        packaged: ProgramSource = open_package(model, weights, needs_weights=needs_weights)
        return packaged
    if weights is not None:
        raise UsageError(f"{model} has its weights in it: leave out --weights {weights}.")
    path = Path(expand_home(model))
    reader = _reader(path)
    assert reader is not None
    if told := came_instead(path):
        raise NetworkError(f"{path} is no network: {told}.")
    source: ProgramSource = reader.load()(path)
    return source
