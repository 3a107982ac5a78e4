"""PyTorch itself: imported late, on the device that is asked for, exact unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cnnviz.engines.base import Device
from cnnviz.errors import DeviceError, NetworkError
from cnnviz.text import counted


def import_torch() -> Any:
    """PyTorch.

    Raises:
        DeviceError: it is not installed, or cannot be loaded.
    """
    try:
        import torch
    except ImportError as error:
        raise DeviceError(
            f"PyTorch cannot be used ({_first_line(error)}): `pip install torch` installs it."
        ) from error
    return torch


def torch_device(device: Device) -> Any:
    """PyTorch's device of that name, after making sure that it can be used.

    Raises:
        DeviceError: this build of PyTorch has no GPU support, or the machine no such GPU.
    """
    torch = import_torch()
    if device.kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        why = (
            "this build of PyTorch has no CUDA"
            if torch.version.cuda is None and getattr(torch.version, "hip", None) is None
            else "PyTorch finds no GPU that it can use: check `nvidia-smi`"
        )
        raise DeviceError(f"{device} was asked for, but {why}. Or use --device cpu.")
    count = torch.cuda.device_count()
    if device.index >= count:
        raise DeviceError(
            f"{device} was asked for, but this machine has only "
            f"{counted(count, 'GPU')} (numbered from 0). Choose another."
        )
    return torch.device("cuda", device.index)


@contextmanager
def exact(device: Device) -> Iterator[None]:
    """Convolutions and matrix products in IEEE float32, by algorithms that come out the same again.

    On a GPU PyTorch's default for convolutions is TF32, of which guided gradients are off by 8e-3.
    """
    if device.kind == "cpu":
        yield
        return
    torch = import_torch()
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        products.allow_tf32 = False
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
