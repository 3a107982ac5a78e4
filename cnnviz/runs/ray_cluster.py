"""The Ray cluster that a run is done by: found, connected to, and what its nodes have."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from cnnviz.errors import DeviceError, NetworkError, UsageError

_ANSWERS_WITHIN = 10.0  # seconds
_SILENCE = 30.0  # seconds that the head may be away; Ray itself ends the process after a minute
_RESUMES = "What is done is complete, and the same command resumes the run."


def address_of(runner: str | None) -> str | None:
    """The address in ``ray:ADDRESS``; None if there is none."""
    return (runner or "").partition(":")[2] or None


def _check_reachable(address: str) -> None:
    """Find out at once what Ray finds out after minutes.

    Raises:
        UsageError: the address is a host's port, and nothing listens there.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return
    try:
        _connect(host, int(port))
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


def _connect(host: str, port: int) -> None:
    """Connect to a port, for nothing else.

    Raises:
        OSError: nothing listens there.
        OverflowError: there is no such port.
    """
    import socket

    socket.create_connection((host, port), _ANSWERS_WITHIN).close()


class Head:
    """The head of the cluster: once it is gone, what asks Ray for more ends this process."""

    def __init__(self, address: str | None) -> None:
        """Args: ``HOST:PORT``; None if Ray's client is between, which raises an error then."""
        self._address = address
        self._heard = time.monotonic()

    @classmethod
    def of_cluster(cls) -> Head:
        """That of the cluster that this process is connected to."""
        import ray

        return cls(getattr(ray.get_runtime_context(), "gcs_address", None))

    def answers(self) -> bool:
        """Whether it is there at the moment.

        Raises:
            NetworkError: it has not been for some time.
        """
        if self._address is None:
            return True
        host, _, port = self._address.rpartition(":")
        try:
            _connect(host, int(port))
        except OSError as error:
            if time.monotonic() - self._heard < _SILENCE:
                return False
            raise NetworkError(
                f"The head of the Ray cluster, {self._address}, is gone ({error.strerror or error})"
                f". {_RESUMES}"
            ) from error
        self._heard = time.monotonic()
        return True


def no_room(needed: str, *, before: bool) -> DeviceError:
    """The error for a cluster that cannot have a worker.

    Args:
        needed: what one takes.
        before: whether it had some.
    """
    if before:
        return DeviceError(f"No node that is left in the Ray cluster has {needed}. {_RESUMES}")
    return DeviceError(f"No node of the Ray cluster has {needed} for a worker.")


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
