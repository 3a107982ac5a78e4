"""The one door to MXNet: import shim, threads and devices.

MXNet 1.9.1 is retired upstream and has to be helped into a current Python (see
:func:`import_mxnet`). Everything else in cnnviz gets the module from here, so that no other place
can import it too early or with the wrong number of threads.
"""

from __future__ import annotations

import os
from typing import Any


def available_cores() -> int:
    """Cores that this process may really use: CPU affinity, then the cgroup's quota, at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return max(1, min(cores, int(quota)) if quota is not None else cores)


def import_mxnet() -> Any:
    """Import MXNet 1.9.1 and return the module."""
    import numpy

    os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))
    if "bool" not in numpy.__dict__:
        numpy.bool = numpy.bool_  # type: ignore[misc]
    import mxnet

    return mxnet


def _cgroup_quota() -> float | None:
    return None
