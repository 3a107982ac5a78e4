"""The Ray cluster that a run is done by: found, connected to, and what its nodes have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from cnnviz.errors import UsageError

_ANSWERS_WITHIN = 10.0  # seconds


def address_of(runner: str | None) -> str | None:
    """The address in ``ray:ADDRESS``; None if there is none."""
    return (runner or "").partition(":")[2] or None


def _check_reachable(address: str) -> None:
    """Find out at once what Ray finds out after minutes.

    Raises:
        UsageError: the address is a host's port, and nothing listens there.
    """
    import socket

    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), _ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"There is no Ray cluster at {address} ({reason}): give the address that "
            "`ray start --head` printed on its first node."
        ) from error


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Ray, as long as it is needed.

    A connection that there is already is used, and left.

    Args:
        address: of a cluster, as ``ray.init`` takes it; None: the one that Ray finds by itself (by
            ``RAY_ADDRESS``, or on this machine), or else a new one of this machine alone.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """
    if find_spec("ray") is None:
        raise UsageError(
            '--runner ray needs Ray, which is not installed: `pip install "cnnviz[ray]"`.'
        )
    if address is not None:
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    # A thread of Ray prints on stdout, among our lines, what happens to workers, whatever is set.
    ray._private.worker._worker_logs_enabled = False
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = "" if address is None else f" at {address}"
        reason = " ".join(str(error).split())
        raise UsageError(f"There is no Ray cluster{where}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def resources() -> list[Mapping[str, float]]:
    """What each of the cluster's nodes has."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def cores_beside_gpu(nodes: Iterable[Mapping[str, float]]) -> int:
    """How many cores a worker with a GPU gets, to read and write what its network takes.

    Args:
        nodes: what each has (``CPU``, ``GPU``). That with the fewest cores for each GPU decides.
    """
    shares = [int(has.get("CPU", 0) // has["GPU"]) for has in nodes if has.get("GPU", 0)]
    return max(1, min(shares, default=1))
