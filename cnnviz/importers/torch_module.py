"""Modules of PyTorch, made by somebody in Python or by a package, as sources of programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cnnviz.importers.program_source import MOST_APART, InputHint, in_float32
from cnnviz.importers.tensors import TensorProgram
from cnnviz.importers.torch_export import evaluating, output_names, pick, program_of_module
from cnnviz.types import Float32, Shape


class ModuleSource:
    """A module with its weights; see :class:`cnnviz.importers.program_source.ProgramSource`.

    Attributes:
        name: what it is called.
        file: where its weights come from; None if nobody knows.
        origin: how that file came to be there, in words.
        hint: what is known of its images.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        name: str = "",
        hint: InputHint | None = None,
        file: Path | None = None,
        origin: str = "",
    ) -> None:
        """Take it; it is never changed."""
        self.name = name or type(module).__name__
        self.hint = hint or InputHint(channels=_channels(module))
        self.file = file
        self.origin = origin
        self._module = module

    def program(self, size: Shape, head: str | None) -> TensorProgram:
        """See :meth:`cnnviz.importers.program_source.ProgramSource.program`."""
        return program_of_module(self._module, size, head)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, if there is one."""
        return () if self.file is None else (self.file,)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Nothing is assumed."""
        return ()

    @property
    def reference(self) -> str | None:
        """PyTorch itself, unless the module computes in less than float32."""
        floating = [p.dtype for p in self._module.parameters() if p.is_floating_point()]
        exact = all(dtype in (torch.float32, torch.float64) for dtype in floating)
        return f"PyTorch {torch.__version__}" if exact else None

    @property
    def most_apart(self) -> float:
        """Nothing is rounded: see :attr:`reference`."""
        return MOST_APART

    @property
    def takes_bytes(self) -> bool:
        """Modules take floats."""
        return False

    @property
    def unchecked(self) -> str:
        """Of a module in less than float32."""
        if self.reference is not None:
            return ""
        return f"{in_float32(self.name)}: the two were not compared."

    def reference_output(self, images: Float32, head: str | None) -> npt.NDArray[Any]:
        """What the module itself gives for one image, (1, C, H, W)."""
        first = next((p for p in self._module.parameters() if p.is_floating_point()), None)
        given = torch.tensor(images)  # a copy, which the module may change
        if first is not None:
            given = given.to(first.device, first.dtype)
        with (
            evaluating(self._module),
            torch.no_grad(),
            torch.backends.cudnn.flags(allow_tf32=False),
        ):
            outputs = self._module(given)
        names, leaves = output_names(outputs)
        tensors = [one if isinstance(one, torch.Tensor) else None for one in leaves]
        scores = pick(names, tensors, head)
        return np.asarray(scores.to("cpu", torch.float32).numpy())


def _channels(module: torch.nn.Module) -> int | None:
    """Of the images, as the first convolution of a module says."""
    for each in module.modules():
        if isinstance(each, torch.nn.Conv2d):
            return int(each.in_channels)
    return None
