"""The one door to MXNet: how it is imported, its devices and its errors.

MXNet 1.9.1 is retired upstream and has to be helped into a current Python. Everything else in
cnnviz gets the module from :func:`import_mxnet`, so that no other place can import it too early,
without the shim, or with the wrong number of threads.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from cnnviz import machine
from cnnviz.engines.base import Device
from cnnviz.engines.cuda import compute_capabilities
from cnnviz.engines.install import how_to_get_mxnet
from cnnviz.engines.mxnet.importing import cheap_import
from cnnviz.errors import DeviceError, NetworkError
from cnnviz.text import counted

#: Variables where MXNet ends the process over what is no number, or true or false.
_NUMBERS = re.compile(
    r"MXNET_(\w+_(NTHREADS|NUM_THREADS|MAX_THREADS|SIZE)|ENGINE_INFO|\w*TUNING\w*"
    r"|(DISABLE_MKLDNN|EXEC|KVSTORE|MKLDNN|PROFILER)_\w+)"
)


#: The highest compute capability that the last builds of MXNet for CUDA (1.9.1) have code for, or
#: that runs such code; they have nothing that a newer GPU could compile for itself.
_NEWEST = (8, 9)

#: Held whenever MXNet computes. It is not made for several threads: operators that two of them call
#: at a time write into each other's memory. It keeps all cores busy by itself.
mxnet_lock = threading.RLock()

_forked = False


def _note_fork() -> None:
    """In a forked child: MXNet's threads stayed with the parent, and are waited for in vain."""
    global _forked
    _forked = "mxnet" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def import_mxnet() -> Any:
    """Import MXNet and return the module; the first call takes half a second.

    See :func:`_imported`, and :data:`mxnet_lock`.

    Raises:
        NetworkError: MXNet cannot be imported in this environment, or its engine not be started; or
            this process was forked from one that had imported it.
        MemoryError: there is not enough.
    """
    if _forked:
        raise NetworkError(
            "This process was forked after MXNet was loaded, and MXNet does not survive a fork. "
            "Start processes with multiprocessing.get_context('spawn'), or load the network in "
            "each child and not before."
        )
    return _imported()


@cache  # it is called for every operator of every pass
def _imported() -> Any:
    """Import MXNet.

    It computes with as many threads as ``OMP_NUM_THREADS`` says at this moment; if the user has
    not set it, with :func:`cnnviz.machine.available_cores` (MXNet would take half of the
    processors). For another number set that variable, or call :func:`cnnviz.machine.set_threads`,
    before the first call. The variable is set to the number itself: MXNet ends the process over
    what OpenMP allows besides.

    ``numpy.bool``, which NumPy 1.24 dropped and MXNet 1.9.1 reads, is put back.

    Raises:
        NetworkError: MXNet cannot be imported in this environment, or its engine not be started.
        MemoryError: there is not enough.
    """
    import numpy

    for name, value in os.environ.items():
        if _NUMBERS.fullmatch(name) and not re.fullmatch(r"-?[0-9.]+|true|false|", value):
            raise NetworkError(
                f"The environment variable {name} is '{value}', and MXNet ends the process over "
                "what is no number there: correct or unset it."
            )
    os.environ["OMP_NUM_THREADS"] = str(machine.threads())
    if "bool" not in numpy.__dict__:
        numpy.bool = bool  # type: ignore[attr-defined, unused-ignore]
    # MXNet makes functions for its thousands of operators; to look for garbage among them again and
    # again takes a tenth of the import.
    collecting = gc.isenabled()
    gc.disable()
    try:
        # Its warnings are old, and not for the user; with PYTHONWARNINGS=error they are errors.
        with warnings.catch_warnings(), cheap_import():
            warnings.simplefilter("ignore")
            import mxnet

            mxnet.nd.waitall()  # starts the engine, which reads the environment
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # SystemExit: as a parameter server, by DMLC_ROLE
        raise NetworkError(_why_not(error, numpy.__version__)) from error
    finally:
        if collecting:
            gc.enable()
    return mxnet


def _why_not(error: BaseException, numpy_version: str) -> str:
    """Why MXNet cannot be imported, and what to do."""
    if isinstance(error, ModuleNotFoundError) and error.name == "mxnet":
        return (
            "Reading a network that MXNet exported takes MXNet, which is not installed. "
            f"{how_to_get_mxnet()}"
        )
    if not numpy_version.startswith("1."):
        return (
            f"MXNet 1.9.1 cannot be used with NumPy {numpy_version}: it needs NumPy below 2. "
            "`pip install 'numpy<2'` brings that back; if other packages want NumPy 2, give cnnviz "
            "an environment of its own."
        )
    if sys.flags.optimize > 1:
        return (
            "MXNet cannot be imported while Python leaves out docstrings (PYTHONOPTIMIZE=2, or "
            "`python -OO`): unset that."
        )
    return (
        f"MXNet cannot be imported: {first_line(error)}. If nothing in the environment (such as a "
        "variable MXNET_...) is to blame: cnnviz needs mxnet 1.9.1 (or a GPU build of it, such as "
        "mxnet-cu112), NumPy below 2 and, from Python 3.12 on, setuptools; "
        "`pip install --force-reinstall cnnviz` puts them in place."
    )


def context(device: Device) -> Any:
    """The MXNet context of a device, after making sure that it can be used.

    Raises:
        NetworkError: MXNet cannot be imported.
        DeviceError: see :func:`obstacle`.
    """
    mx = import_mxnet()
    why = obstacle(device)
    if why is not None:
        raise DeviceError(f"{device} cannot be used: {why}. Use --device cpu.")
    return mx.cpu() if device.kind == "cpu" else mx.gpu(device.index)


def obstacle(device: Device) -> str | None:
    """Why a device cannot be used, in a clause; None if it can."""
    try:
        mx = import_mxnet()
    except NetworkError as error:
        return str(error).rstrip(".")
    if device.kind == "cpu":
        return None
    if device.kind != "gpu":
        return f"MXNet knows no {device.kind}"
    if not mx.runtime.Features().is_enabled("CUDA"):
        return "the MXNet installed here is the CPU build"
    try:
        count = mx.context.num_gpus()
    except mx.base.MXNetError as error:
        return f"MXNet cannot use CUDA here ({first_line(error)}; check `nvidia-smi`)"
    if device.index >= count:
        found = f"only {counted(count, 'GPU')} (numbered from 0)" if count else "no GPU"
        return f"MXNet finds {found}"
    capabilities = compute_capabilities()
    if device.index < len(capabilities) and capabilities[device.index] > _NEWEST:
        return (
            f"MXNet has no code for a GPU as new as {device} (compute capability "
            "{}.{}; its last builds end at {}.{})".format(*capabilities[device.index], *_NEWEST)
        )
    return None


def free_memory(device: Device) -> int:
    """Bytes that a program may still take on a device; 0 if the system does not tell.

    Raises:
        DeviceError: there is no such GPU.
    """
    if device.kind == "cpu":
        return machine.free_memory()
    context(device)
    free, _total = import_mxnet().context.gpu_memory_info(device.index)
    return int(free)


def first_line(error: BaseException) -> str:
    """What an MXNet error says, without C++ stack trace, source position and failed condition."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Traceback", "File", "["))]
    text = (telling or lines or [""])[0] or type(error).__name__
    found = re.fullmatch(
        r"(?:MXNetError: )?(?:Error in operator (?P<operator>\S+): )?"
        r"(?:\[[\d:]+\] \S+:\d+: )?(?:Check failed: .*? ?: )?(?P<what>.+?)[. ]*",
        text,
    )
    if found is None:
        return text
    return found["what"] + (f", in {found['operator']}" if found["operator"] else "")


@contextmanager
def arrays_of(*, numpy: bool) -> Iterator[None]:
    """Have MXNet take arrays and shapes as ``mx.np`` does, or as ``mx.nd`` does, inside the block.

    Which of them it does is a state of the whole thread, that ``npx.set_np()`` changes.
    """
    util = import_mxnet().util
    # Neither may be switched while the other one forbids it.
    first, second = (util.np_shape, util.np_array) if numpy else (util.np_array, util.np_shape)
    with first(numpy), second(numpy):
        yield
