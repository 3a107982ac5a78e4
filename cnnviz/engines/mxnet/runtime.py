"""The one door to MXNet: import shim, threads and devices.

MXNet 1.9.1 is retired upstream and has to be helped into a current Python. Everything else in
cnnviz gets the module from :func:`import_mxnet`, so that no other place can import it too early,
without the shim, or with the wrong number of threads.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cnnviz.errors import DeviceError, NetworkError, UsageError

_CGROUP_ROOT = Path("/sys/fs/cgroup")
#: More threads than that were never meant.
MOST_THREADS = 1024
#: Variables where MXNet ends the process over what is no number, or true or false.
_NUMBERS = re.compile(
    r"MXNET_(\w+_(NTHREADS|NUM_THREADS|MAX_THREADS|SIZE)|ENGINE_INFO|\w*TUNING\w*"
    r"|(DISABLE_MKLDNN|EXEC|KVSTORE|MKLDNN|PROFILER)_\w+)"
)


def available_cores() -> int:
    """Cores that this process may really use: its CPU affinity, cut by a cgroup's CPU quota.

    A quota of two and a half cores counts as two: an OpenMP team larger than the quota is
    throttled as a whole, which costs more than the half core brings. At least 1.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quotas = [_quota_v2(folder) for folder in _cgroup_folders()] + [_quota_v1()]
    return max(1, min([cores, *(int(quota) for quota in quotas if quota is not None)]))


def _cgroup_folders() -> list[Path]:
    """This process's folder in the unified cgroup tree and all above it (any may set a quota)."""
    folders = [_CGROUP_ROOT]
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::"):
            folder = _CGROUP_ROOT
            for part in Path(line[3:]).parts[1:]:
                folder = folder / part
                folders.append(folder)
    return folders


def _quota_v2(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _quota_v1() -> float | None:
    quota = _read(_CGROUP_ROOT / "cpu" / "cpu.cfs_quota_us").strip()
    period = _read(_CGROUP_ROOT / "cpu" / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:  # no such cgroup version here: no quota from it
        return ""


def threads() -> int:
    """Threads that MXNet computes with: what ``OMP_NUM_THREADS`` says, else available_cores().

    What is no number from 1 to :data:`MOST_THREADS` says nothing.
    """
    # For nested teams there may be several numbers; the first is the outermost team's.
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    wanted = int(first) if first.isdecimal() else 0
    return wanted if 1 <= wanted <= MOST_THREADS else available_cores()


def set_threads(count: int) -> None:
    """Have MXNet compute with so many threads, whatever the user's ``OMP_NUM_THREADS`` says.

    That variable is read once, while MXNet is imported, so this has to come before.

    Raises:
        UsageError: MXNet was imported with another number, or it is beyond all reason.
    """
    if count > MOST_THREADS:
        raise UsageError(f"MXNet computes with at most {MOST_THREADS} threads here; got {count}.")
    if "mxnet" in sys.modules and count != threads():
        raise UsageError(
            f"MXNet cannot be given {count} threads any more: this process has imported it with "
            f"{threads()}. Set the number before."
        )
    os.environ["OMP_NUM_THREADS"] = str(count)


def alone() -> bool:
    """Whether nothing is to be done beside the network, since MXNet's engine has no threads.

    That is so where only few threads can be started, and where a user has chosen that engine.
    """
    return os.environ.get("MXNET_ENGINE_TYPE") == "NaiveEngine"


def helper_threads(count: int, name: str, begin: Callable[[], None] | None = None) -> Executor:
    """Threads that work beside the network; where there can be none, what does it all in turn.

    Args:
        count: how many threads; 0 has everything done in turn.
        name: what they are called.
        begin: called by each before its first work.
    """
    if count == 0 or alone():
        return _InTurn()
    return ThreadPoolExecutor(count, name, begin)


class _InTurn(Executor):
    """Does at once what it is given."""

    def submit(  # type: ignore[override]
        self, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        """Call the function; the future is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - the future carries it, as an executor does
            future.set_exception(error)
        return future


def free_memory(device: Device) -> int:
    """Bytes that a program may still take on a device; 0 if the system does not tell.

    On the CPU what the machine can give without swapping, or less where a cgroup of this process
    has a limit: its page cache that can be dropped counts as free.

    Raises:
        DeviceError: there is no such GPU.
    """
    if device.kind != "cpu":
        context(device)
        free, _total = import_mxnet().context.gpu_memory_info(device.index)
        return int(free)
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _read(Path("/proc/meminfo")), re.MULTILINE)
    rooms = [_room(folder, "max", "current", "inactive_file") for folder in _cgroup_folders()]
    rooms.append(
        _room(_CGROUP_ROOT / "memory", "limit_in_bytes", "usage_in_bytes", "total_inactive_file")
    )
    machine = int(found[1]) * 1024 if found else 0
    return max(0, min([machine, *(room for room in rooms if room is not None)]))


def _room(folder: Path, limit: str, used: str, droppable: str) -> int | None:
    """What a cgroup's limit leaves, by the names that its version gives to files and fields."""
    most, now = (_read(folder / f"memory.{name}").strip() for name in (limit, used))
    if not (most.isdigit() and now.isdigit()):  # no such cgroup, or no limit: "max"
        return None
    cache = re.search(rf"^{droppable} (\d+)", _read(folder / "memory.stat"), re.MULTILINE)
    return int(most) - int(now) + (int(cache[1]) if cache else 0)


# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next image; before MXNet is used.

    MXNet takes the memory of every intermediate result from malloc and frees it after use. glibc
    gets pieces of that size from the kernel and gives them back each time, so that every pass
    begins by having the same tens of megabytes zeroed again, a page at a time: a third of the time
    of a batch. The process then stays as large as its largest moment. It is meant for a process
    that does nothing but explain, and so is left to the command line. Elsewhere than on glibc it
    does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_ARENA_MAX, 1)  # one thread's pieces fit another's


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
    """Import MXNet and return the module; the first call takes about a second.

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
    not set it, with :func:`available_cores` (MXNet would take half of the processors). For another
    number set that variable, or call :func:`set_threads`, before the first call. The variable is
    set to the number itself: MXNet ends the process over what OpenMP allows besides.

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
    os.environ["OMP_NUM_THREADS"] = str(threads())
    if "bool" not in numpy.__dict__:
        numpy.bool = bool  # type: ignore[attr-defined, unused-ignore]
    # MXNet makes functions for its thousands of operators; to look for garbage among them again and
    # again takes a tenth of the import.
    collecting = gc.isenabled()
    gc.disable()
    try:
        # Its warnings are old, and not for the user; with PYTHONWARNINGS=error they are errors.
        with warnings.catch_warnings():
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


@dataclass(frozen=True)
class Device:
    """A device by name: ``cpu`` or the ``index``-th GPU. Says nothing about whether it exists."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


def parse_device(spec: str) -> Device:
    """Read ``cpu``, ``gpu``, ``gpu:N``, ``gpu(N)`` or these with ``cuda``; does not import MXNet.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"(cpu|gpu|cuda)(?::?(\d{1,4})|\((\d{1,4})\))?", spec.strip().lower())
    if match is None:
        raise UsageError(f"There is no device '{spec}'. Try cpu, gpu, gpu:1 or gpu(1).")
    return Device("cpu") if match[1] == "cpu" else Device("gpu", int(match[2] or match[3] or 0))


def context(device: Device) -> Any:
    """The MXNet context of a device, after making sure that it can be used.

    Raises:
        DeviceError: this build of MXNet has no GPU support, or the machine no such GPU.
    """
    mx = import_mxnet()
    if device.kind == "cpu":
        return mx.cpu()
    if not mx.runtime.Features().is_enabled("CUDA"):
        raise DeviceError(
            f"{device} was asked for, but the MXNet installed here is the CPU build. "
            "Replace it by the build for your CUDA: `pip uninstall mxnet` and then, for CUDA 11.2, "
            "`pip install mxnet-cu112==1.9.1`. Or use --device cpu."
        )
    try:
        count = mx.context.num_gpus()
    except mx.base.MXNetError as error:
        raise DeviceError(
            f"{device} was asked for, but CUDA cannot be used on this machine "
            f"({first_line(error)}). Check `nvidia-smi`, or use --device cpu."
        ) from error
    if device.index >= count:
        raise DeviceError(
            f"{device} was asked for, but this machine has "
            + (
                f"only {count} GPU{'s' if count > 1 else ''} (numbered from 0)"
                if count
                else "no GPU"
            )
            + ". Choose another, or use --device cpu."
        )
    return mx.gpu(device.index)


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
