"""PyTorch itself: imported late, on the device that is asked for, exact unless told otherwise."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from cnnviz import machine
from cnnviz.engines.base import Device
from cnnviz.errors import DeviceError, NetworkError
from cnnviz.text import counted

#: The first PyTorch that the tests pass with; pyproject.toml says what those before it do.
_OLDEST = (2, 6)


def import_torch() -> Any:
    """PyTorch.

    Raises:
        DeviceError: it is not installed, cannot be loaded, or is too old.
    """
    if "torch" not in sys.modules:
        # It computes with as many threads as this says while it is imported.
        os.environ["OMP_NUM_THREADS"] = str(machine.threads())
        # Threads that spin while they wait take cores from those that they wait for, wherever
        # others are at work beside them, as this process's own readers and writers are.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch
    except ImportError as error:
        raise DeviceError(
            f"PyTorch cannot be used ({_first_line(error)}): `pip install torch` installs it."
        ) from error
    if _is_too_old(str(torch.__version__)):
        oldest = ".".join(map(str, _OLDEST))
        raise DeviceError(
            f"PyTorch {torch.__version__} is too old, and cnnviz needs {oldest} or later: "
            f"`pip install 'torch>={oldest},<3'` installs it."
        )
    return torch


@cache
def _is_too_old(version: str) -> bool:
    """Whether a version comes before :data:`_OLDEST`; one that is called otherwise does not."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < _OLDEST


def torch_device(device: Device) -> Any:
    """PyTorch's device of that name, after making sure that it can be used.

    Raises:
        DeviceError: see :func:`obstacle`.
    """
    torch = import_torch()
    why = obstacle(device)
    if why is not None:
        raise DeviceError(f"{device} cannot be used: {why}. Use --device cpu.")
    if device.kind == "gpu":
        return torch.device("cuda", device.index)
    return torch.device(device.kind)


def obstacle(device: Device) -> str | None:
    """Why a device cannot be used, in a clause; None if it can."""
    try:
        torch = import_torch()
    except DeviceError as error:
        return str(error).rstrip(".")
    if device.kind == "cpu":
        return None
    if device.kind == "mps":
        if torch.backends.mps.is_available():
            return None
        if torch.backends.mps.is_built():
            return "PyTorch finds no graphics of a Mac that it can use"
        return "this build of PyTorch is not one for Macs"
    if not torch.cuda.is_available():
        if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
            return "this build of PyTorch has no CUDA"
        return "PyTorch finds no GPU that it can use (check `nvidia-smi`)"
    count = torch.cuda.device_count()
    if device.index >= count:
        return f"PyTorch finds only {counted(count, 'GPU')} (numbered from 0)"
    return None


@contextmanager
def arithmetic(device: Device, precision: str) -> Iterator[None]:
    """Convolutions and matrix products of a precision, by algorithms that come out the same again.

    On a GPU PyTorch's default for convolutions is TF32, of which guided gradients are off by 8e-3.
    """
    torch = import_torch()
    kind = "cuda" if device.kind == "gpu" else device.kind
    with ExitStack() as switches:
        if kind == "cuda":
            switches.enter_context(_switched(precision == "tf32"))
        if precision == "bf16":
            # Weights are cast once and for all beforehand: there is nothing to cache.
            switches.enter_context(torch.autocast(kind, torch.bfloat16, cache_enabled=False))
        yield


@contextmanager
def _switched(tf32: bool) -> Iterator[None]:
    """CUDA's libraries, deterministic, with or without TF32."""
    backends = import_torch().backends
    products = backends.cuda.matmul
    before = products.allow_tf32
    with backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
        products.allow_tf32 = tf32
        try:
            yield
        finally:
            products.allow_tf32 = before


@contextmanager
def torch_errors(device: Device) -> Iterator[None]:
    """PyTorch's errors as sentences.

    Raises:
        NetworkError: it failed, for want of memory say.
    """
    torch = import_torch()
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise NetworkError(
            f"{device} has not enough memory for this: try a smaller --batch-size "
            f"({_first_line(error)})."
        ) from error
    except RuntimeError as error:
        raise NetworkError(f"PyTorch failed: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
