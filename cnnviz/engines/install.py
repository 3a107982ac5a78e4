"""What to install so that this machine can run networks: one sentence, with one command."""

from __future__ import annotations

import platform
import sys
from collections.abc import Collection

from cnnviz.engines.base import Device
from cnnviz.engines.cuda import compute_capabilities
from cnnviz.text import counted

#: Its build for aarch64 lacks a library of Arm's that pip does not bring.
_MXNET_MACHINE = "x86_64"
_MXNET_BEFORE = (3, 13)  # of Python


def mxnet_has_a_build() -> bool:
    """Whether MXNet can be installed here: on Linux x86-64, and in Python up to 3.12."""
    return (
        sys.platform == "linux"
        and platform.machine() == _MXNET_MACHINE
        and sys.version_info < _MXNET_BEFORE
    )


def how_to_get_mxnet() -> str:
    """A sentence: the command, or that there is none for this machine."""
    if mxnet_has_a_build():
        return "`pip install mxnet==1.9.1 'numpy<2' setuptools` installs MXNet."
    return (
        f"MXNet has no build for Python {platform.python_version()} on {platform.system()} "
        f"({platform.machine()}): it needs Linux ({_MXNET_MACHINE}) and Python below 3.13."
    )


def what_helps(device: Device, wanted: Collection[str], have: Collection[str]) -> str:
    """What gives this machine an engine for a device.

    Args:
        device: where networks are to be run.
        wanted: the engines that would do.
        have: those that are installed, and cannot do it.

    Returns:
        A sentence; empty if there is nothing to install.
    """
    if device.kind == "gpu":
        count = len(compute_capabilities())
        if device.index >= count:
            if count:
                return f"This machine has only {counted(count, 'GPU')}, numbered from 0."
            return "This machine has no NVIDIA GPU, or no driver for it: use --device cpu."
        if "torch" not in have:
            return "`pip install torch` installs PyTorch, which can (with --engine torch or auto)."
        if sys.platform == "linux":
            return "`pip install --force-reinstall torch` brings PyTorch's build for CUDA."
        return "PyTorch's site has its builds for CUDA, with the command that installs each."
    if device.kind == "mps":
        if sys.platform != "darwin" or "torch" in have:
            return "Use --device cpu."
        return "`pip install torch` installs PyTorch, which can."
    missing = [name for name in wanted if name not in have]
    if "torch" in missing and not ("mxnet" in missing and mxnet_has_a_build()):
        return "`pip install torch` installs PyTorch."
    return how_to_get_mxnet() if "mxnet" in missing else ""
