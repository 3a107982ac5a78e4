"""The machine: its cores, threads and memory, as far as this process may use them."""

from __future__ import annotations

import mmap
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnviz import system
from cnnviz.errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

_CGROUP_ROOT = Path("/sys/fs/cgroup")
#: More threads than that were never meant.
MOST_THREADS = 1024


def available_cores() -> int:
    """Cores that this process may really use: its CPU affinity, cut by a cgroup's CPU quota.

    A quota of two and a half cores counts as two: an OpenMP team larger than the quota is
    throttled as a whole, which costs more than the half core brings. At least 1.
    """
    quotas = [_quota_v2(folder) for folder in _cgroup_folders()] + [_quota_v1()]
    return max(
        1, min([system.processors(), *(int(quota) for quota in quotas if quota is not None)])
    )


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
    """Threads that networks are computed with: ``OMP_NUM_THREADS``, else available_cores().

    What is no number from 1 to :data:`MOST_THREADS` says nothing.
    """
    # For nested teams there may be several numbers; the first is the outermost team's.
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    wanted = int(first) if first.isdecimal() else 0
    return wanted if 1 <= wanted <= MOST_THREADS else available_cores()


def set_threads(count: int) -> None:
    """Have networks computed with ``count`` threads, whatever the user's ``OMP_NUM_THREADS`` says.

    MXNet reads that variable once, while it is imported, so this has to come before.

    Raises:
        UsageError: MXNet was imported with another number, or it is beyond all reason.
    """
    if count > MOST_THREADS:
        raise UsageError(f"Networks are computed with at most {MOST_THREADS} threads; got {count}.")
    if "mxnet" in sys.modules and count != threads():
        raise UsageError(
            f"MXNet cannot be given {count} threads any more: this process has imported it with "
            f"{threads()}. Set the number before."
        )
    os.environ["OMP_NUM_THREADS"] = str(count)


def single_threaded() -> bool:
    """Whether to start no threads beside the network's.

    That is so where few threads can be started (:mod:`cnnviz.cli.limits`), and where a user has
    chosen MXNet's engine without threads.
    """
    return os.environ.get("MXNET_ENGINE_TYPE") == "NaiveEngine"


def is_limited() -> bool:
    """Whether memory or processor time is limited, so that a library may end the process."""
    kinds = ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_CPU")
    return any(system.limit(kind) is not None for kind in kinds)


def helper_threads(count: int, name: str, begin: Callable[[], None] | None = None) -> Executor:
    """Threads that work beside the network; where there can be none, what does it all in turn.

    Args:
        count: how many threads; 0 has everything done in turn.
        name: what they are called.
        begin: called by each before its first work.
    """
    if count == 0 or single_threaded():
        return _SynchronousExecutor()
    return ThreadPoolExecutor(count, name, begin)


class _SynchronousExecutor(Executor):
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


def free_memory() -> int:
    """Bytes that a program may still take; 0 if the system does not tell.

    What the machine can give without swapping, or less where a cgroup of this process has a limit:
    its page cache that can be dropped counts as free.
    """
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _read(Path("/proc/meminfo")), re.MULTILINE)
    rooms = [_room(folder, "max", "current", "inactive_file") for folder in _cgroup_folders()]
    rooms.append(
        _room(_CGROUP_ROOT / "memory", "limit_in_bytes", "usage_in_bytes", "total_inactive_file")
    )
    machine = int(found[1]) * 1024 if found else system.memory_without_proc()
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
    """Let this process keep the memory that it frees, for the next image; before an engine is used.

    An engine takes the memory of every intermediate result from malloc and frees it after use.
    glibc gets pieces of that size from the kernel and gives them back each time, so that every pass
    begins by having the same tens of megabytes zeroed again, a page at a time: a third of the time
    of a batch. The process then stays as large as its largest moment. It is meant for a process
    that does nothing but explain, and so is left to the command line. Elsewhere than on glibc it
    does nothing.
    """
    mallopt = getattr(system.c_library(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_ARENA_MAX, 1)  # one thread's pieces fit another's


def give_back_pages(array: npt.NDArray[Any]) -> None:
    """Let go of the memory of the mapped file that an array is a view of, if it is one.

    The array stays as it is: what is read once more comes from the file once more.
    """
    import numpy as np

    base: Any = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.obj if isinstance(base, memoryview) else base.base
    if isinstance(base, mmap.mmap):
        system.let_go_of_pages(base)
