"""Modules of PyTorch that a caller has, as they are or as something else was made of them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cnnviz.importers.program_source import InputHint
from cnnviz.importers.torch_module import ModuleSource
from cnnviz.importers.torch_script import open_script


def open_module(module: Any) -> ModuleSource:
    """A module, or an exported program, that a caller has.

    What only runs a module in another way (``torch.compile``, ``DataParallel``) is looked through.

    Raises:
        NetworkError: it is one that PyTorch does not export.
    """
    if isinstance(module, torch.export.ExportedProgram):
        return ModuleSource(module.module(), "exported", _hint(module))
    while (inside := _run_by(module)) is not None:
        module = inside
    if isinstance(module, torch.jit.ScriptModule):
        return _scripted(module)
    return ModuleSource(module)


def _run_by(module: torch.nn.Module) -> torch.nn.Module | None:
    """The module that another runs, compiled or on several devices; None if it is another."""
    if isinstance(module, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        inside = module.module
    else:
        inside = getattr(module, "_orig_mod", None)  # of torch.compile
    return inside if isinstance(inside, torch.nn.Module) else None


def _hint(program: torch.export.ExportedProgram) -> InputHint:
    """Channels and size, where an exported program fixes them."""
    named = program.graph_signature.user_inputs
    (images,) = (node for node in program.graph.nodes if node.name == named[0])
    shape = [side if isinstance(side, int) else None for side in images.meta["val"].shape]
    if len(shape) != 4:
        return InputHint()
    _, channels, height, width = shape
    return InputHint(channels, None if height is None or width is None else (height, width))


def _scripted(module: torch.jit.ScriptModule) -> ModuleSource:
    """A module of TorchScript, as its file is read."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scripted.pt"
        module.save(str(path))
        source = open_script(path)
    source.name, source.file = getattr(module, "original_name", "") or "scripted", None
    return source
