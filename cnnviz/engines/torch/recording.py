"""What a pass of PyTorch's engine left on the device, and the ways back through it."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from cnnviz.engines.base import GradientRequest, GradientResult
from cnnviz.engines.torch.captured import Replay
from cnnviz.engines.torch.program import Found, Passed, Program
from cnnviz.engines.torch.runtime import import_torch
from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Value
from cnnviz.types import Float32


class TorchRecording:
    """See :class:`cnnviz.engines.base.Recording`."""

    def __init__(
        self, program: Program, passed: Passed, keep: Sequence[Value], whole: Program
    ) -> None:
        """Take what a pass left.

        Args:
            program: what was run.
            passed: what it left on the device.
            keep: values that may be read.
            whole: the same with no value hidden, for requests about one that ``program`` hides.
        """
        self._program = program
        self._whole = whole
        self._passed_whole: Passed | None = None
        self._passed: Passed | None = passed
        self._output = Fetch(passed.output)
        self._kept = {value: Fetch(passed.values[value]) for value in keep}

    @property
    def output(self) -> Float32:
        """See :attr:`cnnviz.engines.base.Recording.output`."""
        return self._output.array

    def activation(self, at: Value) -> Float32:
        """See :meth:`cnnviz.engines.base.Recording.activation`."""
        return self._kept[at].array

    def gradients(
        self,
        start: Value,
        seed: Float32,
        requests: Sequence[GradientRequest],
        *,
        retain_graph: bool = True,
    ) -> list[GradientResult]:
        """See :meth:`cnnviz.engines.base.Recording.gradients`."""
        program = self._program
        with program.running(record=True):
            arrived = program.array(seed)
            under_way = []
            for place, request in enumerate(requests):
                last = place == len(requests) - 1
                found = self._gradient(start, arrived, request, retain_graph or not last)
                under_way.append(self._fetched(request, found))
            results = [
                self._result(request, found, len(seed))
                for request, found in zip(requests, under_way, strict=True)
            ]
        if not retain_graph:
            self.release()
        return results

    def release(self) -> None:
        """See :meth:`cnnviz.engines.base.Recording.release`."""
        self._passed = None
        self._passed_whole = None

    @property
    def _at_hand(self) -> Passed:
        if self._passed is None:
            raise NetworkError("The memory of this pass was given back.")
        return self._passed

    def _gradient(self, start: Value, seed: Any, request: GradientRequest, retain: bool) -> Found:
        if self._program.hidden.isdisjoint((start, *request.at)):
            return self._way_back(start, seed, request, retain)
        if self._passed_whole is None:
            images = self._at_hand.values[self._program.graph.input].detach()
            kept = {*self._whole.weighed, self._program.graph.input}
            self._passed_whole = self._whole.forward(images, kept, record=True)
        return self._whole.gradient(self._passed_whole, start, seed, request, retain=True)

    def _way_back(self, start: Value, seed: Any, request: GradientRequest, retain: bool) -> Found:
        return self._program.gradient(self._at_hand, start, seed, request, retain)

    def _fetched(self, request: GradientRequest, found: Found) -> Found:
        """The same on its way to the host; not what was asked for only to know its terms."""
        wanted = {*request.at, *([self._program.graph.input] if request.to_input else [])}
        gradients = {v: Fetch(g) for v, g in found.gradients.items() if v in wanted}
        return Found(gradients, found.changed, Fetch(found.terms))

    def _result(self, request: GradientRequest, found: Found, images: int) -> GradientResult:
        """As soon as it is there; zeros where nothing leads back to a value."""
        graph = self._program.graph

        def read(value: Value) -> Float32:
            if value in found.gradients:
                array: Float32 = found.gradients[value].array
                return array
            return np.zeros((images, *graph.shape(value)), np.float32)

        return GradientResult(
            {value: read(value) for value in request.at},
            read(graph.input) if request.to_input else None,
            found.changed,
            found.terms.array,
        )


class CapturedPass:
    """A pass over batches of one size as a CUDA graph, and the ways back through it."""

    def __init__(self, program: Program, images: int, keep: frozenset[Value], record: bool) -> None:
        torch = import_torch()
        self.is_lent = False
        self._program = program
        size = (images, *program.graph.input_size)
        given = torch.zeros(size, dtype=torch.float32, device=program.place)
        self._replay = Replay(lambda images: program.forward(images, keep, record), given)
        self._ways_back: dict[Hashable, Replay | None] = {}

    def forward(self, images: Any) -> Passed:
        """Run a batch; what an earlier one left is overwritten."""
        self._wait()
        passed: Passed = self._replay(images)
        return passed

    def gradient(self, start: Value, seed: Any, request: GradientRequest) -> Found:
        """Go back from the last batch; what an earlier call of the same kind left is overwritten.

        Captured when it is asked for a second time.
        """

        def run(seed: Any) -> Found:
            return self._program.gradient(self._replay.outputs, start, seed, request, True)

        key = (start, request)
        if key not in self._ways_back:
            self._ways_back[key] = None
            return run(seed)
        self._wait()
        replay = self._ways_back[key]
        if replay is None:
            replay = Replay(run, seed.clone(), pool=self._replay.pool)
            self._ways_back[key] = replay
        found: Found = replay(seed)
        return found

    def _wait(self) -> None:
        """Let what is still on its way to the host leave first."""
        device = self._program.place
        import_torch().cuda.current_stream(device).wait_stream(_copies(device))


class CapturedRecording(TorchRecording):
    """A recording in the memory of a captured pass, which it gives back when it is released."""

    def __init__(
        self,
        program: Program,
        captured: CapturedPass,
        images: Any,
        keep: Sequence[Value],
        whole: Program,
    ) -> None:
        """Run a batch; see :class:`TorchRecording`."""
        captured.is_lent = True
        self._captured = captured
        self._give_back = weakref.finalize(self, setattr, captured, "is_lent", False)
        super().__init__(program, captured.forward(images), keep, whole)

    def release(self) -> None:
        """See :meth:`cnnviz.engines.base.Recording.release`."""
        super().release()
        self._give_back()

    def _way_back(self, start: Value, seed: Any, request: GradientRequest, retain: bool) -> Found:
        _ = self._at_hand
        return self._captured.gradient(start, seed, request)


class Fetch:
    """A tensor on its way to the host, as float32, while the device goes on with its work."""

    def __init__(self, tensor: Any) -> None:
        """Begin: behind what computes it, and beside what comes after that."""
        torch = import_torch()
        self._tensor = tensor.detach().to(torch.float32).contiguous()
        self._there: Any = None
        if self._tensor.device.type == "cuda":
            # Memory that the GPU writes by itself, several times faster than into any other.
            host = torch.empty(tensor.shape, dtype=torch.float32, pin_memory=True)
            stream = _copies(self._tensor.device)
            stream.wait_stream(torch.cuda.current_stream(self._tensor.device))
            with torch.cuda.stream(stream):
                host.copy_(self._tensor, non_blocking=True)
            self._there = stream.record_event()
            self._tensor.record_stream(stream)
            self._tensor = host

    @cached_property
    def array(self) -> Float32:
        """The array, as soon as it is there."""
        if self._there is not None:
            self._there.synchronize()
        array: Float32 = self._tensor.numpy()
        return array


@cache
def _copies(device: Any) -> Any:
    """The stream on which a device's results leave it."""
    return import_torch().cuda.Stream(device)


def to_host(tensor: Any) -> Float32:
    """A tensor as an array on the host."""
    return Fetch(tensor).array
