"""ONNX files, which PyTorch, TensorFlow, Keras and others write, as networks to explain.

They are read with the ``onnx`` package (``pip install "cnnviz[onnx]"``); no framework is needed.
Where onnxruntime is installed it can say whether a file was read as it is meant.
"""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cnnviz.errors import CnnvizError, NetworkError
from cnnviz.importers.input_scale import recognize_scale
from cnnviz.importers.onnx_checks import first_line
from cnnviz.importers.onnx_program import OnnxFile, OnnxProgram, read_onnx
from cnnviz.importers.program_source import (
    MOST_APART,
    MOST_APART_HALF,
    MOST_APART_QUANTIZED,
    InputHint,
    in_float32,
)
from cnnviz.importers.tensors import TensorProgram
from cnnviz.types import Array, Float32, Shape

#: For a look at the first operators of a file that leaves height and width open.
_ANY = 32


class OnnxSource:
    """An ONNX file with its weights.

    Attributes:
        name: the file's, without its ending.
        file: where it is.
        origin: how it came to be there.
        onnx: what is in it.
    """

    origin = "the network's own file"

    def __init__(self, onnx: OnnxFile) -> None:
        """Take a file that was read."""
        self.onnx = onnx
        self.file = onnx.path
        self.name = onnx.path.stem
        self._program: tuple[Shape, str | None, OnnxProgram] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and those beside it that have weights."""
        return (self.file, *self.onnx.beside)

    @cached_property
    def hint(self) -> InputHint:
        """What the file says of its images."""
        channels, height, width = self.onnx.input.size
        size = None if height is None or width is None else (height, width)
        known = self._scale(channels or 3, height or _ANY, width or _ANY)
        if known is None:
            return InputHint(channels, size)
        mean, std, reason = known
        return InputHint(channels, size, mean, std, reason)

    def _scale(
        self, channels: int, height: int, width: int
    ) -> tuple[tuple[float, ...], tuple[float, ...], str] | None:
        """Mean and std of what is fed, and by what they are known."""
        if self.takes_bytes:
            reason = f"the file takes {self.onnx.input.dtype}, so it takes pixels from 0 to 255"
            return (0.0,) * channels, (1 / 255,) * channels, reason
        try:
            beginnings = self.onnx.beginning((channels, height, width))
            found = {recognize_scale(one.graph, one.parameters) for one in beginnings}
        except CnnvizError:  # which is said when the whole of it is read
            return None
        (recognized,) = found if len(found) == 1 else (None,)
        if recognized is None or not recognized.mean:
            return None
        return recognized

    def program(self, size: Shape, head: str | None) -> TensorProgram:
        """The whole of it; see :meth:`cnnviz.importers.onnx_program.OnnxFile.program`."""
        return self._read(size, head).program

    def _read(self, size: Shape, head: str | None) -> OnnxProgram:
        if self._program is None or self._program[:2] != (size, head):
            self._program = (size, head, self.onnx.program(size, head))
        return self._program[2]

    @property
    def remarks(self) -> tuple[str, ...]:
        """About what was left out or assumed, or half precision; last after the program."""
        rounded = (f"{in_float32(str(self.file))}.",) if self._is_half else ()
        return rounded if self._program is None else (*self._program[2].remarks, *rounded)

    @property
    def reference(self) -> str | None:
        """``onnxruntime 1.27`` where it is installed, runs the file, and computes the same."""
        if not self._may_be_asked or self._program is None:
            return None
        if self._other_numbers or self._session is None:
            return None
        try:
            return f"onnxruntime {version('onnxruntime')}"
        except PackageNotFoundError:  # a build for GPUs has another name
            return "onnxruntime"

    @property
    def most_apart(self) -> float:
        """More where onnxruntime rounds, which cnnviz does not."""
        if self._program is not None and self._program[2].quantized:
            return MOST_APART_QUANTIZED
        return MOST_APART_HALF if self._is_half else MOST_APART

    @property
    def takes_bytes(self) -> bool:
        """Whether it takes pixels as whole numbers."""
        dtype = self.onnx.input.dtype
        return np.dtype(np.float32 if dtype == "bfloat16" else dtype).kind in "iu"

    @property
    def _is_half(self) -> bool:
        return self.onnx.is_half or self.onnx.input.dtype in ("float16", "bfloat16")

    @property
    def unchecked(self) -> str:
        """Of a file that onnxruntime computes otherwise, or does not run."""
        if not self._may_be_asked or self._program is None:
            return ""
        why = self._other_numbers or ("" if self._session else "onnxruntime does not run it")
        return f"{self.file} was not compared with onnxruntime: {why}." if why else ""

    @property
    def _may_be_asked(self) -> bool:
        return find_spec("onnxruntime") is not None

    @property
    def _other_numbers(self) -> str:
        """Why onnxruntime gives other numbers, by more than rounding to half precision; or ""."""
        if self.onnx.input.dtype == "bfloat16":
            return "it takes bfloat16, which NumPy does not have"
        return ""

    @cached_property
    def _session(self) -> Any:
        """The file in onnxruntime, which gives the value that is explained; None if it cannot."""
        import onnxruntime

        assert self._program is not None  # it was asked for
        whole = self.onnx.giving(self._program[2].output)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            return whole and onnxruntime.InferenceSession(
                whole, options, providers=["CPUExecutionProvider"]
            )
        except Exception:  # noqa: BLE001  its errors have no common class; it may be an older one
            return None

    def reference_output(self, images: Float32, head: str | None) -> Array:
        """What onnxruntime gives for one image, (1, C, H, W), at the output that is explained.

        Raises:
            NetworkError: it does not run the file.
        """
        output = self._read(images.shape[1:], head).output
        declared = self.onnx.input
        fed = images if declared.layout == "NCHW" else images.transpose(0, 2, 3, 1)
        fed = np.repeat(fed, declared.batch, axis=0).astype(declared.dtype)
        session = self._session
        try:
            (found,) = session.run([output], {declared.name: fed})
        except Exception as error:
            raise NetworkError(
                f"onnxruntime does not run {self.file}: {first_line(error)}."
            ) from error
        finally:
            del self._session  # which has a copy of the weights
        rows: Array = np.asarray(found)
        return rows[:1] if declared.batch > 1 else rows


def open_onnx(path: Path) -> OnnxSource:
    """An ONNX file as a network to explain; its weights are read later.

    Raises:
        NetworkError: the ``onnx`` package is missing, or the file is refused.
    """
    return OnnxSource(read_onnx(path))
