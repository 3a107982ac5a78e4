"""Limits on processes and threads, and how cnnviz runs within them.

NumPy's and MXNet's libraries start threads when they are loaded, and abort, interrupt or hang the
process if that is refused. So starting threads is tried beforehand.
"""

from __future__ import annotations

import _thread
import os
from pathlib import Path

from cnnviz import system
from cnnviz.machine import is_limited

#: Where a limit of processes (a thread counts as one) is no lower, it is taken for unlimited.
_PLENTY = 1 << 14
_BESIDES = 16  # threads that MXNet has beside those that compute
_PIDS = ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max")
#: OpenMP's and OpenBLAS's teams of one, and MXNet's engine that has no thread of its own: it does
#: everything at once, somewhat more slowly.
_ALONE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MXNET_ENGINE_TYPE": "NaiveEngine",
}


def make_do() -> None:
    """Make all libraries run single-threaded if need be; call it before importing them."""
    if not _limited():
        return
    # Two libraries with OpenBLAS, and OpenMP, take one for each processor.
    wanted = 3 * system.processors() + _BESIDES
    if _startable(wanted) < wanted:
        os.environ.update(_ALONE)


def few_threads() -> bool:
    """Whether that was done."""
    return all(os.environ.get(name) == value for name, value in _ALONE.items())


def _limited() -> bool:
    processes = system.limit("RLIMIT_NPROC")
    if is_limited() or (processes is not None and processes < _PLENTY):
        return True
    for path in _PIDS:
        try:
            most = Path(path).read_text("ascii").strip()
        except (OSError, ValueError):
            continue
        if most.isdigit() and int(most) < _PLENTY:
            return True
    return False


def _startable(wanted: int) -> int:
    """How many threads can be started now, ``wanted`` at most."""
    gate = _thread.allocate_lock()

    def wait() -> None:
        with gate:
            pass

    with gate:
        for count in range(wanted):
            try:
                _thread.start_new_thread(wait, ())
            except RuntimeError:
                return count
    return wanted
