"""Runs a graph with PyTorch: NumPy in, NumPy out.

One forward pass is recorded with the input as the only thing to differentiate by; parameters are
frozen. Which rule holds at the ReLUs is chosen when going back: a hook on a ReLU's own node of the
recorded pass changes what leaves it, so that one recording serves every rule. Of values that are
not kept only their places in the recorded pass (gradient edges) are held, not their memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from cnnviz.engines.base import Device, GradientRequest, Recording
from cnnviz.engines.torch.captured import CapturedPasses, Replay
from cnnviz.engines.torch.lowering import function, stretched
from cnnviz.engines.torch.recording import (
    CapturedPass,
    CapturedRecording,
    Found,
    Passed,
    Tape,
    TorchRecording,
    to_host,
    under,
)
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
        self.place = torch_device(device)
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
        with self.running(record=False):
            self._constants = self._bind(parameters)

    def run(self, batch: Float32, keep: Sequence[Value] = (), *, record: bool) -> Recording:
        """See :meth:`cnnviz.engines.base.Engine.run`."""
        kept = frozenset((*keep, *self._weighed, self.graph.input) if record else keep)
        with self.running(record=record):
            images = self._enter(batch)
            captured = self._captured_pass(len(batch), kept, record)
            if captured is None:
                return TorchRecording(self, self.forward(images, kept, record), keep)
            return CapturedRecording(self, captured, images, keep)

    def run_from(self, at: Value, activations: Float32, *, context: Float32) -> Float32:
        """See :meth:`cnnviz.engines.base.Engine.run_from`."""
        self.check(at, activations)
        order = self._between(at)
        with self.running(record=False):
            given = self.array(activations)
            image = self._enter(context[None])

            def run(given: Any, image: Any) -> Any:
                values = {at: given, self.graph.input: image}
                output = self._run(values, order, frozenset(), None, len(given))
                return output.expand(len(given), *output.shape[1:])

            replay = self._replays.get(
                (at, len(given)), lambda: Replay(run, given.clone(), image.clone())
            )
            return to_host(run(given, image) if replay is None else replay(given, image))

    def constant(self, value: Value) -> Float32 | None:
        """See :meth:`cnnviz.engines.base.Engine.constant`."""
        found = self._constants.get(value)
        return None if found is None else to_host(found).copy()

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

    def forward(self, images: Any, keep: Collection[Value], record: bool) -> Passed:
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

    def gradient(
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
        with under(request.rule, tape.relus) as changed:
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
    def running(self, *, record: bool) -> Iterator[None]:
        """PyTorch as this engine uses it; its errors become sentences."""
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
                constants[Value(index)] = self.array(parameters[node.name])
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
        return self.array(batch)

    def check(self, at: Value, values: Float32) -> None:
        """Make sure that arrays are of a value's shape."""
        shape = self.graph.shape(at)
        if values.shape[1:] != shape:
            name = self.graph.nodes[at.node].name
            raise NetworkError(
                f"{name} gives an array of shape {shape} for an image; these are {values.shape}."
            )

    def array(self, values: Any) -> Any:
        """A tensor on the device, float32, that no history is recorded for."""
        torch = import_torch()
        if isinstance(values, torch.Tensor):
            return values.detach().to(self.place, torch.float32)
        array = np.asarray(values, np.float32)
        if not array.flags.writeable:  # which PyTorch warns of; nobody here writes
            array = array.copy()
        tensor = torch.from_numpy(array)
        if self.place.type == "cuda":
            tensor = torch.empty(array.shape, dtype=torch.float32, pin_memory=True).copy_(tensor)
        return tensor.to(self.place, non_blocking=True)
