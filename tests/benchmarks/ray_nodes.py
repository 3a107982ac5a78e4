"""Several Ray nodes on one machine, each of one core, and a log of all files that are put in place.

The log is written by an audit hook of Python's, which ``sitecustomize`` sets in every process that
is started with :func:`logged`'s environment: the product knows nothing of it. The hook is called
before a file gets its name, so that a process that is killed in between has a line too many, and
never one too few.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOG = "PAST_ONE_MACHINE_LOG"
CORES_OF_NODE = 1
OBJECTS = 100_000_000  # bytes of each node's store; a plan takes a few
PATIENCE = 120.0  # seconds until there is a worker to be killed

HOOK = f'''
import os, sys, time

def set_hook():
    log = os.open(os.environ["{LOG}"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(event, arguments):
        if event == "os.rename":
            name = os.fsdecode(arguments[1])
            line = f"{{time.monotonic()}} {{os.getpid()}} {{name}}\\n"
            os.write(log, os.fsencode(line))  # at once, so that lines of processes do not mix

    sys.addaudithook(note)

if "{LOG}" in os.environ:
    set_hook()
'''


@contextmanager
def logged(folder: Path) -> Iterator[Path]:
    """Processes that are started meanwhile write to the log, whose path this is."""
    site, log = folder / "site", folder / "log"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(HOOK)
    log.unlink(missing_ok=True)
    log.touch()
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", LOG)}
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), before["PYTHONPATH"]]))
    os.environ[LOG] = str(log)
    try:
        yield log
    finally:
        _restore(before)


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@dataclass
class Log:
    """What was put in place, as far as it was read.

    Attributes:
        path: of the log.
        folder: what counts lies below it.
        puts: when, by which process and what, below the folder.
    """

    path: Path
    folder: Path
    puts: list[tuple[float, int, str]] = field(default_factory=list)
    _read: int = 0
    _rest: str = ""

    def look(self) -> None:
        """Read what is new."""
        with open(self.path, "rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        *lines, self._rest = (self._rest + os.fsdecode(new)).split("\n")
        for line in lines:
            at, process, name = line.split(" ", 2)
            path = Path(name)
            if self.folder in path.parents:
                self.puts.append((float(at), int(process), str(path.relative_to(self.folder))))


class Nodes:
    """A cluster: a head without cores, which lives, and nodes that may be killed."""

    def __init__(self, number: int) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self._place = tempfile.mkdtemp(prefix="ray")  # short: sockets lie below it
        head = {
            "num_cpus": 0,
            "object_store_memory": OBJECTS,
            "include_dashboard": False,
            "temp_dir": self._place,
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: list[Any] = []
        for _ in range(number):
            self.add()

    @property
    def address(self) -> str:
        """For ``--runner ray:``."""
        return str(self._cluster.address)

    def add(self) -> None:
        """Another node comes."""
        node = self._cluster.add_node(
            wait=False, num_cpus=CORES_OF_NODE, object_store_memory=OBJECTS
        )
        self._nodes.append(node)

    def stop(self) -> None:
        """End all of it."""
        import shutil

        self._cluster.shutdown()
        shutil.rmtree(self._place, ignore_errors=True)

    def workers(self) -> list[int]:
        """Processes of cnnviz's actors, whether they load the network or do a part."""
        return [child for node in self._nodes for child in _actors_below(_raylet(node))]

    def kill_worker(self, chance: random.Random) -> int:
        """Kill one of them; how many workers that ends."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            workers = self.workers()
            if workers:
                os.kill(chance.choice(workers), signal.SIGKILL)
                return 1
            time.sleep(0.1)
        raise SystemExit("there is no worker to be killed")

    def kill_node(self, chance: random.Random) -> int:
        """Kill a node, and have another one come; how many workers that ends."""
        node = self._nodes.pop(chance.randrange(len(self._nodes)))
        ended = len(_actors_below(_raylet(node)))
        self._cluster.remove_node(node, allow_graceful=False)
        self.add()
        return ended


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def _actors_below(parent: int) -> list[int]:
    """Children of a process that Ray has named after our actor."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            status = Path(f"/proc/{name}/stat").read_text()
            title = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        above = int(status.rpartition(")")[2].split()[1])
        if above == parent and title.startswith(b"ray::_Actor"):
            found.append(int(name))
    return found
