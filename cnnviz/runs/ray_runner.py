"""The parts of a run on a Ray cluster: an actor a GPU, or a number of cores, takes one at a time.

Each actor loads the network once. It is sent the list of images when it starts, and then numbers of
parts; what comes back are counts. Files are written by the actors, into a folder that all nodes
have. Nothing of Ray's own fault tolerance is used: a part whose actor is gone is given to another
one, and goes on from its journal there.

Ray is imported when a run asks for it. This module imports nothing heavy at its top: an actor reads
it before it is told how many threads it may have.
"""

from __future__ import annotations

import os
import pickle
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnviz.errors import CnnvizError, NetworkError, UsageError
from cnnviz.runs.journal_files import OccupiedError
from cnnviz.runs.ray_cluster import Head, cores_beside_gpu, no_room, resources
from cnnviz.text import counted

if TYPE_CHECKING:
    from cnnviz.runs.parts import (
        AnyPlan,
        Opened,
        PartEnd,
        PartProgress,
        PartTask,
        RandomizationEnd,
        RandomizationProgress,
    )

_TICK = 0.5  # seconds between two looks at the journals
_LOOK = 5.0  # seconds between two looks at what the cluster has
_SEEN_WITHIN = 30.0  # seconds until a file that another machine wrote is there, on slow storage
_PATIENCE = 10.0  # seconds without a worker
_LOADS = 6  # workers that may be ended while they load the network, if none does anything meanwhile


class _Actor:
    """Runs in a process of its own, on any node."""

    def __init__(self, threads: int, folder: str) -> None:
        """Args: how many threads it may have, and where relative paths begin."""
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
        self._folder = folder
        self._worker: Any = None

    def open(self, plan: bytes, count: int, probe: Path) -> Opened | CnnvizError:
        """Load the network; leave a file to show that the output folder is the same one."""
        try:
            os.chdir(self._folder)
            probe.write_bytes(b"")
        except OSError as error:
            return UsageError(
                f"{_host()} cannot write to {probe.parent} below {self._folder} "
                f"({error.strerror}): all nodes need the images and the output folder under the "
                "same paths."
            )
        from cnnviz.runs.parts import PartWorker

        try:
            self._worker = PartWorker(pickle.loads(plan), count)
            opened: Opened = self._worker.open()
        except CnnvizError as error:
            return error
        return opened

    def do(self, task: PartTask | None) -> PartEnd | RandomizationEnd | CnnvizError:
        """Do a part, or the test with random parameters."""
        end: PartEnd | RandomizationEnd
        try:
            end = self._worker.randomize() if task is None else self._worker.do(task)
        except CnnvizError as error:
            return error
        return end


def _host() -> str:
    import socket

    return f"The node {socket.gethostname()}"


@dataclass(frozen=True)
class Watch:
    """Who is told how a run goes.

    Attributes:
        opened: called once, when the first worker is ready.
        done: called with each part that is done.
        images: called every now and then with how many images are done.
        say: called with a sentence about what happens.
    """

    opened: Callable[[Opened], None]
    done: Callable[[PartProgress, PartEnd], None]
    images: Callable[[int], None]
    say: Callable[[str], None]


class RayRun:
    """A run whose parts are done by Ray's actors."""

    def __init__(self, plan: AnyPlan, parts: Sequence[PartProgress], watch: Watch) -> None:
        """Args: the run, its parts, and who is told how it goes."""
        from cnnviz.runs.parts import PROBE

        self._plan = plan
        self._parts = parts
        self._watch = watch
        self._waiting: deque[PartProgress | RandomizationProgress] = deque(parts)
        #: By what is waited for, actors and what they do; None: they load the network.
        self._busy: dict[Any, tuple[Any, PartProgress | RandomizationProgress | None]] = {}
        self._idle: list[Any] = []
        self._probes: dict[Any, Path] = {}  # of those that load the network
        self._started = 0
        self._images = 0
        self._fingerprint: str | None = None
        self._randomized: RandomizationEnd | None = None
        self._failed_loads = 0
        self._last_seen = time.monotonic()  # a worker that has started
        self._looked: float | None = None
        self._told: set[str] = set()
        self._probe = parts[0].folder / f"{PROBE}{secrets.token_hex(8)}"

    @cached_property
    def _head(self) -> Head:
        return Head.of_cluster()

    @cached_property
    def _cores(self) -> int:
        threads = self._plan.request.model.threads
        return threads or (cores_beside_gpu(resources()) if self._on_gpu else 1)

    def run(self) -> None:
        """Do all parts, in any order.

        Raises:
            CnnvizError: the run cannot go on.
        """
        with self._workers():
            self._work()

    def run_and_randomize(self) -> RandomizationEnd:
        """Do all parts, then the test with random parameters, as a worker has the network.

        Raises:
            CnnvizError: the run cannot go on.
        """
        from cnnviz.runs.parts import RandomizationProgress

        with self._workers():
            self._work()
            self._waiting.append(RandomizationProgress())
            self._work()
        assert self._randomized is not None  # or else there was an error
        return self._randomized

    @contextmanager
    def _workers(self) -> Iterator[None]:
        """Workers can be started, and are ended after that."""
        import ray

        from cnnviz.runs.parts import remove_notes

        folder = self._probe.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot be made: {error.strerror}.") from error
        remove_notes(folder)  # of a run whose process was killed
        self._sent = ray.put(pickle.dumps(self._plan.telling(None)))
        self._make = ray.remote(_Actor).options(
            num_cpus=self._cores,
            num_gpus=1 if self._on_gpu else 0,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        try:
            yield
        finally:
            for actor in (*self._idle, *(actor for actor, _ in self._busy.values())):
                ray.kill(actor)
            remove_notes(folder)

    def _work(self) -> None:
        """Until there is nothing left to do."""
        import ray

        while self._waiting or any(part for _, part in self._busy.values()):
            self._hire()
            self._give()
            if self._busy:
                ended, _ = ray.wait([*self._busy], num_returns=1, timeout=_TICK)
                for one in ended:
                    self._settle(one)
            else:  # no node has room at the moment
                time.sleep(_TICK)
            self._doubt()
            self._watch.images(self._images + self._under_way())

    @property
    def _on_gpu(self) -> bool:
        from cnnviz.engines.base import parse_device

        return parse_device(self._plan.request.model.device).kind == "gpu"

    def _hire(self) -> None:
        """Start workers where there is room; nodes that have come are found."""
        now = time.monotonic()
        if self._looked is not None and now - self._looked < _LOOK:
            return
        if not self._head.answers():
            self._looked = now
            return
        room = self._room()
        if not room and self._looked is None and not self._busy:
            raise no_room(self._needed, before=self._started > 0)
        self._looked = now
        parts = len(self._waiting) + sum(part is not None for _, part in self._busy.values())
        for _ in range(min(room, parts) - len(self._busy) - len(self._idle)):
            actor = self._make.remote(self._cores, os.getcwd())
            self._started += 1
            probe = self._probe.with_name(f"{self._probe.name}-{self._started}")
            opening = actor.open.remote(self._sent, self._parts[0].shard.count, probe)
            self._busy[opening] = actor, None
            self._probes[opening] = probe

    def _doubt(self) -> None:
        """Say, once, that no worker has started for some time, if others have all that there is."""
        import ray

        working = self._idle or any(part for _, part in self._busy.values())
        if working or any(probe.exists() for probe in self._probes.values()):
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > _PATIENCE:
            free = ray.available_resources()
            if free.get("CPU", 0) < self._cores or (self._on_gpu and free.get("GPU", 0) < 1):
                self._tell(
                    [
                        f"The Ray cluster does not have {self._needed} free at the moment; "
                        "the run goes on as soon as it does."
                    ]
                )

    @property
    def _needed(self) -> str:
        """What a worker takes."""
        cores = counted(self._cores, "core")
        return f"a GPU and {cores}" if self._on_gpu else cores

    def _room(self) -> int:
        """How many workers the cluster's nodes could have."""
        room = 0
        for has in resources():
            of_node = int(has.get("CPU", 0) // self._cores)
            room += min(of_node, int(has.get("GPU", 0))) if self._on_gpu else of_node
        return room

    def _settle(self, one: Any) -> None:
        """Take what a worker has sent, and give it a part."""
        import ray

        from cnnviz.runs.parts import PartProgress

        actor, part = self._busy[one]
        probe = self._probes.pop(one, None)
        try:
            value = ray.get(one)
        except ray.exceptions.RayTaskError:  # a mistake in cnnviz, with a traceback
            raise
        except ray.exceptions.RayError as error:
            del self._busy[one]
            ray.kill(actor)  # it may only be out of reach
            self._looked = None
            self._lost(part, error)
            return
        if isinstance(value, OccupiedError) and part is not None and part.lately():
            self._waiting.append(part)  # who had it before does not yet know that it is lost
            time.sleep(_TICK)
        elif isinstance(value, CnnvizError):
            raise value
        elif part is None:
            assert probe is not None  # it has loaded the network
            self._ready(value, probe)
        elif isinstance(part, PartProgress):
            self._done(part, value)
        else:
            self._randomized = value
        del self._busy[one]
        self._idle.append(actor)

    def _give(self) -> None:
        """Give parts to those who have none."""
        while self._idle and self._waiting:
            actor, part = self._idle.pop(), self._waiting.popleft()
            self._busy[actor.do.remote(part.task())] = actor, part

    def _ready(self, opened: Opened, probe: Path) -> None:
        """A worker can do parts, if it does the same as others."""
        self._failed_loads = 0
        end = time.monotonic() + _SEEN_WITHIN
        while not probe.exists():
            if time.monotonic() > end:
                raise UsageError(
                    f"What a worker writes to {probe.parent} is not there on this machine: the "
                    "output folder has to be one that all nodes share."
                )
            time.sleep(_TICK)
        probe.unlink()
        if self._fingerprint is None:
            self._fingerprint = opened.fingerprint
            self._watch.opened(opened)
        elif self._fingerprint != opened.fingerprint:
            raise UsageError(
                "Nodes of the Ray cluster would not write the same: install the same versions of "
                "cnnviz, NumPy and OpenCV on all of them, and give them the same weights."
            )
        self._tell(opened.notes)

    def _done(self, part: PartProgress, end: PartEnd) -> None:
        self._failed_loads = 0
        self._images += end.images
        self._tell(end.notes)
        self._watch.done(part, end)

    def _lost(self, part: PartProgress | RandomizationProgress | None, error: Exception) -> None:
        """A worker is gone; its part goes to another one."""
        if part is None:
            self._failed_loads += 1
            if self._failed_loads >= _LOADS:
                reason = str(error).strip().splitlines()[-1].partition(" Some common causes")[0]
                raise NetworkError(
                    f"{_LOADS} workers in a row ended while they loaded the network; they may have "
                    f"too little memory, or lack a package. Ray says: {reason}"
                ) from error
            return
        said = part.died()
        if said is not None:
            self._tell([said])
        self._waiting.appendleft(part)

    def _tell(self, notes: Iterable[str]) -> None:
        """Say what was not said before."""
        for note in notes:
            if note not in self._told:
                self._watch.say(note)
            self._told.add(note)

    def _under_way(self) -> int:
        """How many images are done of parts that are not."""
        parts = (*self._waiting, *(part for _, part in self._busy.values() if part is not None))
        return sum(part.look() if part.started else 0 for part in parts)
