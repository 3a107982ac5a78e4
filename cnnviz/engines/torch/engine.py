"""Runs a graph with PyTorch: NumPy in, NumPy out.

One forward pass is recorded with the input as the only thing to differentiate by; parameters are
frozen. Which rule holds at the ReLUs is chosen when going back: a hook on a ReLU's own node of the
recorded pass changes what leaves it, so that one recording serves every rule. Of values that are
not kept only their places in the recorded pass (gradient edges) are held, not their memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from cnnviz.engines.base import Device, GradientRequest, GradientResult, Recording, ReluRule
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

    def __init__(self, graph: Graph, parameters: Mapping[str, Any], device: Device) -> None:
        """Put the parameters onto the device, and find a function for every operator.

        Args:
            graph: what to run.
            parameters: for each of the graph's parameters an array, of NumPy or PyTorch, by name.
                They are never written to, and shared where they are float32 and on the device.
            device: where to run.

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
        with self._running(record=False):
            self._constants = self._bind(parameters)

    def run(self, batch: Float32, keep: Sequence[Value] = (), *, record: bool) -> Recording:
        """See :meth:`cnnviz.engines.base.Engine.run`."""
        kept = set(keep)
        if record:
            kept.update(self._weighed)
            kept.add(self.graph.input)
        with self._running(record=record):
            images = self._enter(batch)
            if record:
                images.requires_grad_()
            values = {self.graph.input: images}
            tape = Tape() if record else None
            output = self._run(values, self.graph.layers, kept, tape)
            return TorchRecording(self, output, values, tape)

    def run_from(self, at: Value, activations: Float32, *, context: Float32) -> Float32:
        """See :meth:`cnnviz.engines.base.Engine.run_from`."""
        self._check(at, activations)
        order = self._between(at)
        with self._running(record=False):
            values = {at: self._array(activations)}
            if any(self.graph.input in self.graph.nodes[index].inputs for index in order):
                values[self.graph.input] = self._enter(context[None])
            output = self._run(values, order, (), None, len(activations))
            return _numpy(output.expand(len(activations), *output.shape[1:]))

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

    @contextmanager
    def _running(self, *, record: bool) -> Iterator[None]:
        torch = import_torch()
        with torch_errors(self.device), exact(self.device), torch.set_grad_enabled(record):
            yield

    def _run(
        self,
        values: dict[Value, Any],
        order: Sequence[int],
        keep: Sequence[Value] | set[Value],
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


class TorchRecording:
    """See :class:`cnnviz.engines.base.Recording`."""

    def __init__(
        self, engine: TorchEngine, output: Any, values: dict[Value, Any], tape: Tape | None
    ) -> None:
        self._engine = engine
        self._output: Any = output
        self._values = values
        self._tape = tape

    @cached_property
    def output(self) -> Float32:
        """See :attr:`cnnviz.engines.base.Recording.output`."""
        return _numpy(self._output)

    def activation(self, at: Value) -> Float32:
        """See :meth:`cnnviz.engines.base.Recording.activation`."""
        return _numpy(self._values[at])

    def gradients(
        self,
        start: Value,
        seed: Float32,
        requests: Sequence[GradientRequest],
        *,
        retain_graph: bool = True,
    ) -> list[GradientResult]:
        """See :meth:`cnnviz.engines.base.Recording.gradients`."""
        if self._tape is None:
            raise NetworkError("This pass was not recorded.")
        self._engine._check(start, seed)
        with self._engine._running(record=True):
            arrived = self._engine._array(seed)
            results = []
            for place, request in enumerate(requests):
                last = place == len(requests) - 1 and not retain_graph
                results.append(self._gradient(self._tape, start, arrived, request, last))
        if not retain_graph:
            self.release()
        return results

    def release(self) -> None:
        """See :meth:`cnnviz.engines.base.Recording.release`."""
        _ = self.output
        self._values.clear()
        self._tape = self._output = None

    def _gradient(
        self, tape: Tape, start: Value, seed: Any, request: GradientRequest, last: bool
    ) -> GradientResult:
        torch = import_torch()
        lowest = -1 if request.to_input else min(value.node for value in request.at)
        wanted: dict[Value, Any] = {value: tape.edges[value] for value in request.at}
        weighed = [
            value
            for value, index in self._engine._weighed.items()
            if value.node >= max(lowest, 0) and index <= start.node and value in tape.edges
        ]
        wanted.update((value, tape.edges[value]) for value in weighed)
        if request.to_input:
            wanted[self._engine.graph.input] = self._values[self._engine.graph.input]
        with _under(request.rule, tape.relus) as passed:
            found = torch.autograd.grad(
                [tape.edges[start]],
                list(wanted.values()),
                [seed],
                retain_graph=not last,
                allow_unused=True,
            )
        gradients = dict(zip(wanted, found, strict=True))
        terms = torch.zeros(len(seed), device=seed.device)
        for value in weighed:
            if gradients[value] is not None:
                products = (gradients[value] * self._values[value]).abs()
                terms = torch.maximum(terms, products.flatten(1).sum(1).detach())
        return GradientResult(
            {value: self._read(value, gradients[value], len(seed)) for value in request.at},
            self._read(self._engine.graph.input, gradients[self._engine.graph.input], len(seed))
            if request.to_input
            else None,
            len(passed),
            _numpy(terms),
        )

    def _read(self, value: Value, gradient: Any, images: int) -> Float32:
        """A gradient as an array; where nothing leads back to it is zeros."""
        if gradient is None:
            return np.zeros((images, *self._engine.graph.shape(value)), np.float32)
        return _numpy(gradient)


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
    array: Float32 = tensor.detach().to("cpu").numpy()
    return array
