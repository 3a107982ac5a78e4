"""Runs a graph with PyTorch: NumPy in, NumPy out.

One forward pass is recorded with the input as the only thing to differentiate by; parameters are
frozen. Which rule holds at the ReLUs is chosen when going back: a hook on a ReLU's own node of the
recorded pass changes what leaves it, so that one recording serves every rule. Of values that are
not kept only their places in the recorded pass (gradient edges) are held, not their memory.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cnnviz.engines.base import Device, GradientRequest, GradientResult, Recording, ReluRule
from cnnviz.engines.torch.captured import CapturedPasses, Replay
from cnnviz.engines.torch.lowering import function, stretched
from cnnviz.engines.torch.runtime import exact, import_torch, torch_device, torch_errors
from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import (
    Add,
    Divide,
    GroupNorm,
    Input,
    InstanceNorm,
    LayerNorm,
    Linear,
    Multiply,
    Parameter,
    ReLU,
    Subtract,
)
from cnnviz.types import Float32

_ELEMENTWISE = (Add, Subtract, Multiply, Divide)
#: Operators whose derivatives subtract: what arrives at them may cancel down to its rounding.
_CANCELING = (InstanceNorm, LayerNorm, GroupNorm, Subtract, Divide)


class TorchEngine:
    """A graph with its parameters on a device; see :class:`cnnviz.engines.base.Engine`."""

    name = "torch"

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, Any],
        device: Device,
        *,
        capture: bool = True,
    ) -> None:
        """Put the parameters onto the device, and find a function for every operator.

        Args:
            graph: what to run.
            parameters: for each of the graph's parameters an array, of NumPy or PyTorch, by name.
                They are never written to, and shared where they are float32 and on the device.
            device: where to run.
            capture: whether passes that come again are replayed as CUDA graphs on a GPU, which
                takes memory for each size of batch.

        Raises:
            NetworkError: a parameter is missing, or PyTorch cannot run an operator.
            DeviceError: PyTorch or the device cannot be used.
        """
        self.graph = graph
        self.device = device
        self._device = torch_device(device)
        self._dependent = {graph.input.node, *graph.layers}
        self._functions = {
            index: function(node.operator)
            for index, node in enumerate(graph.nodes)
            if not isinstance(node.operator, (Input, Parameter))
        }
        self._last_use = {
            value: readers[-1]
            for value, readers in graph.consumers.items()
            if value.node in self._dependent and value != graph.output
        }
        # A CPU launches nothing: there a captured pass would only hold its memory.
        captures = capture and device.kind != "cpu"
        self._passes: CapturedPasses[CapturedPass] = CapturedPasses(captures)
        self._replays: CapturedPasses[Replay] = CapturedPasses(captures)
        with self._running(record=False):
            self._constants = self._bind(parameters)

    def run(self, batch: Float32, keep: Sequence[Value] = (), *, record: bool) -> Recording:
        """See :meth:`cnnviz.engines.base.Engine.run`."""
        kept = frozenset((*keep, *self._weighed, self.graph.input) if record else keep)
        with self._running(record=record):
            images = self._enter(batch)
            captured = self._captured_pass(len(batch), kept, record)
            if captured is None:
                return TorchRecording(self, self._forward(images, kept, record))
            return CapturedRecording(self, captured, images)

    def run_from(self, at: Value, activations: Float32, *, context: Float32) -> Float32:
        """See :meth:`cnnviz.engines.base.Engine.run_from`."""
        self._check(at, activations)
        order = self._between(at)
        with self._running(record=False):
            given = self._array(activations)
            image = self._enter(context[None])

            def run(given: Any, image: Any) -> Any:
                values = {at: given, self.graph.input: image}
                output = self._run(values, order, frozenset(), None, len(given))
                return output.expand(len(given), *output.shape[1:])

            replay = self._replays.get(
                (at, len(given)), lambda: Replay(run, given.clone(), image.clone())
            )
            return _numpy(run(given, image) if replay is None else replay(given, image))

    def constant(self, value: Value) -> Float32 | None:
        """See :meth:`cnnviz.engines.base.Engine.constant`."""
        found = self._constants.get(value)
        return None if found is None else _numpy(found).copy()

    @cached_property
    def _weighed(self) -> Mapping[Value, int]:
        """Values that tell how far gradients cancel, and the operators they belong to."""
        found = {}
        for index in self.graph.layers:
            node = self.graph.nodes[index]
            if isinstance(node.operator, Linear) and node.inputs[0].node in self._dependent:
                found[node.inputs[0]] = index
            elif isinstance(node.operator, _CANCELING):
                found[Value(index)] = index
        return found

    def _forward(self, images: Any, keep: Collection[Value], record: bool) -> Passed:
        """One pass over a batch on the device, which stays as it is."""
        if record:
            with import_torch().no_grad():
                # What is differentiated by must not be written to, as a captured pass's input is.
                images = images.clone()
            images.requires_grad_()
        values = {self.graph.input: images}
        tape = Tape() if record else None
        output = self._run(values, self.graph.layers, keep, tape)
        return Passed(output, values, tape)

    def _captured_pass(
        self, images: int, keep: frozenset[Value], record: bool
    ) -> CapturedPass | None:
        """A captured pass that nobody uses at present, if there is one for these."""
        captured = self._passes.get(
            (images, keep, record), lambda: CapturedPass(self, images, keep, record)
        )
        return None if captured is None or captured.is_lent else captured

    def _gradient(
        self, passed: Passed, start: Value, seed: Any, request: GradientRequest, retain: bool
    ) -> Found:
        """Go back through a recorded pass once, on the device."""
        torch = import_torch()
        tape = passed.tape
        assert tape is not None  # it was recorded
        lowest = -1 if request.to_input else min(value.node for value in request.at)
        wanted: dict[Value, Any] = {value: tape.edges[value] for value in request.at}
        weighed = [
            value
            for value, index in self._weighed.items()
            if value.node >= max(lowest, 0) and index <= start.node and value in tape.edges
        ]
        wanted.update((value, tape.edges[value]) for value in weighed)
        if request.to_input:
            wanted[self.graph.input] = passed.values[self.graph.input]
        with _under(request.rule, tape.relus) as changed:
            found = torch.autograd.grad(
                [tape.edges[start]],
                list(wanted.values()),
                [seed],
                retain_graph=retain,
                allow_unused=True,
            )
        gradients = dict(zip(wanted, found, strict=True))
        terms = torch.zeros(len(seed), device=seed.device)
        with torch.no_grad():
            for value in weighed:
                if gradients[value] is not None:
                    products = (gradients[value] * passed.values[value]).abs()
                    terms = torch.maximum(terms, products.flatten(1).sum(1))
        return Found({v: g for v, g in gradients.items() if g is not None}, len(changed), terms)

    @contextmanager
    def _running(self, *, record: bool) -> Iterator[None]:
        torch = import_torch()
        with torch_errors(self.device), exact(self.device), torch.set_grad_enabled(record):
            yield

    def _run(
        self,
        values: dict[Value, Any],
        order: Sequence[int],
        keep: Collection[Value],
        tape: Tape | None,
        batch: int = 0,
    ) -> Any:
        """Run operators in order, from values to the output; others are dropped after their use.

        With ``batch`` some values may be those of a single image, which are repeated where they
        meet others.
        """
        for index in order:
            node = self.graph.nodes[index]
            arguments = [
                values[value] if value.node in self._dependent else self._constants[value]
                for value in node.inputs
            ]
            own = [place for place, v in enumerate(node.inputs) if v.node in self._dependent]
            if batch and len({arguments[place].shape[0] for place in own}) > 1:
                for place in own:
                    arguments[place] = arguments[place].expand(batch, *arguments[place].shape[1:])
            if isinstance(node.operator, _ELEMENTWISE) and len(own) > 1:
                arguments = list(stretched(arguments))
            found = self._functions[index](*arguments)
            outputs = found if isinstance(found, list) else [found]
            values.update((Value(index, place), output) for place, output in enumerate(outputs))
            if tape is not None:
                tape.note(index, node.operator, outputs)
            for value in set(node.inputs):
                if self._last_use.get(value) == index and value not in keep:
                    values.pop(value, None)
        return values[self.graph.output]

    def _between(self, start: Value) -> list[int]:
        """What has to be run to get from a value to the output, in order."""
        needed: set[int] = set()
        waiting = [self.graph.output]
        layers = set(self.graph.layers)
        while waiting:
            value = waiting.pop()
            if value != start and value.node in layers and value.node not in needed:
                needed.add(value.node)
                waiting.extend(self.graph.nodes[value.node].inputs)
        return sorted(needed)

    def _bind(self, parameters: Mapping[str, Any]) -> dict[Value, Any]:
        """All that does not depend on the input: parameters, and what is computed from them."""
        constants: dict[Value, Any] = {}
        for index, node in enumerate(self.graph.nodes):
            if index in self._dependent:
                continue
            if isinstance(node.operator, Parameter):
                if node.name not in parameters:
                    raise NetworkError(f"The network's parameter {node.name} has no value.")
                constants[Value(index)] = self._array(parameters[node.name])
                continue
            found = self._functions[index](*(constants[value] for value in node.inputs))
            outputs = found if isinstance(found, list) else [found]
            constants.update((Value(index, place), each) for place, each in enumerate(outputs))
        return constants

    def _enter(self, batch: Float32) -> Any:
        batch = np.asarray(batch)
        if batch.ndim != 4 or batch.shape[1:] != self.graph.input_size:
            wanted = ", ".join(map(str, self.graph.input_size))
            raise NetworkError(
                f"The network takes batches of shape (N, {wanted}); this one is {batch.shape}."
            )
        if batch.dtype != np.float32:
            raise NetworkError(f"The network takes float32; this batch is {batch.dtype}.")
        return self._array(batch)

    def _check(self, at: Value, values: Float32) -> None:
        shape = self.graph.shape(at)
        if values.shape[1:] != shape:
            name = self.graph.nodes[at.node].name
            raise NetworkError(
                f"{name} gives an array of shape {shape} for an image; these are {values.shape}."
            )

    def _array(self, values: Any) -> Any:
        """A tensor on the device, float32, that no history is recorded for."""
        torch = import_torch()
        if isinstance(values, torch.Tensor):
            return values.detach().to(self._device, torch.float32)
        array = np.asarray(values, np.float32)
        if not array.flags.writeable:  # which PyTorch warns of; nobody here writes
            array = array.copy()
        return torch.from_numpy(array).to(self._device)


class Tape:
    """What going back through a recorded pass needs beside PyTorch's own record of it."""

    def __init__(self) -> None:
        self.edges: dict[Value, Any] = {}
        self.relus: list[Any] = []

    def note(self, index: int, operator: object, outputs: Sequence[Any]) -> None:
        """Note where an operator's outputs stand in the recorded pass."""
        edge_of = import_torch().autograd.graph.get_gradient_edge
        for place, output in enumerate(outputs):
            self.edges[Value(index, place)] = edge_of(output)
        if isinstance(operator, ReLU) and operator.standalone:
            self.relus.append(outputs[0].grad_fn)


class Passed(NamedTuple):
    """What a pass left on the device."""

    output: Any
    values: dict[Value, Any]
    tape: Tape | None


class Found(NamedTuple):
    """What one way back left on the device."""

    gradients: Mapping[Value, Any]
    changed: int
    terms: Any


class TorchRecording:
    """See :class:`cnnviz.engines.base.Recording`."""

    def __init__(self, engine: TorchEngine, passed: Passed) -> None:
        self._engine = engine
        self._passed: Passed | None = passed

    @cached_property
    def output(self) -> Float32:
        """See :attr:`cnnviz.engines.base.Recording.output`."""
        return _numpy(self._at_hand.output)

    def activation(self, at: Value) -> Float32:
        """See :meth:`cnnviz.engines.base.Recording.activation`."""
        return _numpy(self._at_hand.values[at])

    def gradients(
        self,
        start: Value,
        seed: Float32,
        requests: Sequence[GradientRequest],
        *,
        retain_graph: bool = True,
    ) -> list[GradientResult]:
        """See :meth:`cnnviz.engines.base.Recording.gradients`."""
        engine = self._engine
        engine._check(start, seed)
        with engine._running(record=True):
            arrived = engine._array(seed)
            results = []
            for place, request in enumerate(requests):
                last = place == len(requests) - 1
                found = self._gradient(start, arrived, request, retain_graph or not last)
                results.append(self._result(request, found, len(seed)))
        if not retain_graph:
            self.release()
        return results

    def release(self) -> None:
        """See :meth:`cnnviz.engines.base.Recording.release`."""
        if self._passed is not None:
            _ = self.output
            self._passed = None

    @property
    def _at_hand(self) -> Passed:
        if self._passed is None:
            raise NetworkError("The memory of this pass was given back.")
        return self._passed

    def _gradient(self, start: Value, seed: Any, request: GradientRequest, retain: bool) -> Found:
        return self._engine._gradient(self._at_hand, start, seed, request, retain)

    def _result(self, request: GradientRequest, found: Found, images: int) -> GradientResult:
        """On the host; where nothing leads back to a value are zeros."""
        graph = self._engine.graph

        def read(value: Value) -> Float32:
            gradient = found.gradients.get(value)
            if gradient is None:
                return np.zeros((images, *graph.shape(value)), np.float32)
            return _numpy(gradient)

        return GradientResult(
            {value: read(value) for value in request.at},
            read(graph.input) if request.to_input else None,
            found.changed,
            _numpy(found.terms),
        )


class CapturedPass:
    """A pass over batches of one size as a CUDA graph, and the ways back through it."""

    def __init__(
        self, engine: TorchEngine, images: int, keep: frozenset[Value], record: bool
    ) -> None:
        torch = import_torch()
        self.is_lent = False
        self._engine = engine
        size = (images, *engine.graph.input_size)
        given = torch.zeros(size, dtype=torch.float32, device=engine._device)
        self._replay = Replay(lambda images: engine._forward(images, keep, record), given)
        self._ways_back: dict[Hashable, Replay | None] = {}

    def forward(self, images: Any) -> Passed:
        """Run a batch; what an earlier one left is overwritten."""
        passed: Passed = self._replay(images)
        return passed

    def gradient(self, start: Value, seed: Any, request: GradientRequest) -> Found:
        """Go back from the last batch; what an earlier call of the same kind left is overwritten.

        Captured when it is asked for a second time.
        """

        def run(seed: Any) -> Found:
            return self._engine._gradient(self._replay.outputs, start, seed, request, True)

        key = (start, request)
        if key not in self._ways_back:
            self._ways_back[key] = None
            return run(seed)
        replay = self._ways_back[key]
        if replay is None:
            replay = Replay(run, seed.clone(), pool=self._replay.pool)
            self._ways_back[key] = replay
        found: Found = replay(seed)
        return found


class CapturedRecording(TorchRecording):
    """A recording in the memory of a captured pass, which it gives back when it is released."""

    def __init__(self, engine: TorchEngine, captured: CapturedPass, images: Any) -> None:
        captured.is_lent = True
        self._captured = captured
        self._give_back = weakref.finalize(self, setattr, captured, "is_lent", False)
        super().__init__(engine, captured.forward(images))

    def release(self) -> None:
        """See :meth:`cnnviz.engines.base.Recording.release`."""
        super().release()
        self._give_back()

    def _gradient(self, start: Value, seed: Any, request: GradientRequest, retain: bool) -> Found:
        _ = self._at_hand
        return self._captured.gradient(start, seed, request)


@contextmanager
def _under(rule: ReluRule, relus: Sequence[Any]) -> Iterator[list[None]]:
    """Let a rule hold at the ReLUs of a recorded pass; what is yielded counts those passed."""
    passed: list[None] = []
    if rule.is_derivative:
        yield passed
        return

    def hook(left: tuple[Any, ...], arrived: tuple[Any, ...]) -> tuple[Any]:
        passed.append(None)
        # max(0, (z > 0) · R') is (z > 0) · (R' > 0) · R'.
        gradient = left[0] if rule.gate_by_input else arrived[0]
        return (gradient.clamp(min=0) if rule.gate_by_gradient else gradient,)

    handles = [relu.register_hook(hook) for relu in relus]
    try:
        yield passed
    finally:
        for handle in handles:
            handle.remove()


def _numpy(tensor: Any) -> Float32:
    """On the host, once all that was asked for before is there."""
    torch = import_torch()
    tensor = tensor.detach()
    if tensor.device.type == "cuda":
        # Into memory that the GPU writes by itself, several times faster than into any other.
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        torch.cuda.current_stream(tensor.device).synchronize()
        tensor = host
    array: Float32 = tensor.numpy()
    return array
