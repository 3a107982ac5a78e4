"""A graph as functions of tensors on a device: forward, and back under a ReLU rule."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cnnviz.engines.base import FP32, Device, GradientRequest, ReluRule
from cnnviz.engines.torch.lowering import function, stretched
from cnnviz.engines.torch.runtime import arithmetic, import_torch, torch_device, torch_errors
from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import (
    Conv2d,
    ConvTranspose2d,
    Divide,
    GroupNorm,
    Input,
    InstanceNorm,
    LayerNorm,
    Linear,
    MatMul,
    Parameter,
    ReLU,
    Softmax,
    Subtract,
)
from cnnviz.machine import give_back_pages

#: What is computed in the precision that was asked for.
_IN_PRECISION = (Conv2d, ConvTranspose2d, Linear, MatMul)
#: Operators whose derivatives subtract: what arrives at them may cancel down to its rounding.
_CANCELING = (InstanceNorm, LayerNorm, GroupNorm, Softmax, Subtract, Divide)


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


@contextmanager
def under(rule: ReluRule, relus: Sequence[Any]) -> Iterator[list[None]]:
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


class Program:
    """The functions of a graph's operators, and its parameters on a device.

    Attributes:
        graph: what is run.
        device: where.
        precision: what convolutions and matrix products are computed in.
        hidden: values of the graph that are never computed.
        place: the same as PyTorch's device.
        constants: all values that do not depend on the input, as tensors.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, Any],
        device: Device,
        precision: str = FP32,
        hidden: frozenset[Value] = frozenset(),
    ) -> None:
        """Find a function for every operator, and bring the parameters to the device.

        Raises:
            NetworkError: a parameter is missing, or PyTorch cannot run an operator.
            DeviceError: PyTorch or the device cannot be used.
        """
        self.graph = graph
        self.device = device
        self.precision = precision
        self.hidden = hidden
        self.place = torch_device(device)
        self._dependent = {graph.input.node, *graph.layers}
        # What a function needs beside its inputs (indices) is made where it will run, and now:
        # nothing can be brought there while a pass is captured.
        with self.place:
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
        with self.running(record=False):
            self.constants = self._bind(parameters)
            self._weights = self._ready_weights()

    @cached_property
    def _order(self) -> Sequence[int]:
        """What a whole pass runs."""
        skipped = {value.node for value in self.hidden}
        return [index for index in self.graph.layers if index not in skipped]

    @cached_property
    def weighed(self) -> Mapping[Value, int]:
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
        output = self.run(values, self._order, keep, tape)
        return Passed(output, values, tape)

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
            for value, index in self.weighed.items()
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
                    terms = torch.maximum(terms, products.flatten(1).sum(1, dtype=torch.float32))
        return Found({v: g for v, g in gradients.items() if g is not None}, len(changed), terms)

    @contextmanager
    def running(self, *, record: bool) -> Iterator[None]:
        """PyTorch as this engine uses it; its errors become sentences."""
        torch = import_torch()
        with (
            torch_errors(self.device),
            arithmetic(self.device, self.precision),
            torch.set_grad_enabled(record),
        ):
            yield

    def run(
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
                values[value] if value.node in self._dependent else self._weights[index, value]
                for value in node.inputs
            ]
            own = [place for place, v in enumerate(node.inputs) if v.node in self._dependent]
            if batch and len({arguments[place].shape[0] for place in own}) > 1:
                for place in own:
                    arguments[place] = arguments[place].expand(batch, *arguments[place].shape[1:])
            if node.operator.has("stretches"):
                axes = len(self.graph.shapes[index][0])
                for place in own:
                    arguments[place] = stretched(arguments[place], axes)
            found = self._functions[index](*arguments)
            outputs = found if isinstance(found, list) else [found]
            values.update((Value(index, place), output) for place, output in enumerate(outputs))
            if tape is not None:
                tape.note(index, node.operator, outputs)
            for value in set(node.inputs):
                if self._last_use.get(value) == index and value not in keep:
                    values.pop(value, None)
        return values[self.graph.output]

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

    def _ready_weights(self) -> Mapping[tuple[int, Value], Any]:
        """The constants that each operator reads, as it is fastest with them.

        Tensor cores and oneDNN take channels last, and what a convolution puts out follows its
        weights; for bf16 weights are rounded once instead of in every pass.
        """
        torch = import_torch()
        channels_last = self.precision != FP32 or self.place.type == "cpu"
        ready = {}
        for index in self.graph.layers:
            node = self.graph.nodes[index]
            for value in node.inputs:
                if value.node in self._dependent:
                    continue
                weight = self.constants[value]
                if self.precision == "bf16" and isinstance(node.operator, _IN_PRECISION):
                    weight = weight.to(torch.bfloat16)
                if (
                    channels_last
                    and isinstance(node.operator, (Conv2d, ConvTranspose2d))
                    and weight.dim() == 4
                ):
                    weight = weight.contiguous(memory_format=torch.channels_last)
                ready[index, value] = weight
        return ready

    def array(self, values: Any) -> Any:
        """A tensor on the device, float32, that no history is recorded for."""
        torch = import_torch()
        if isinstance(values, torch.Tensor):
            return values.detach().to(self.place, torch.float32)
        array = np.asarray(values, np.float32)
        if not array.flags.writeable:  # which PyTorch warns of; nobody here writes
            given, array = array, array.copy()
            give_back_pages(given)
        tensor = torch.from_numpy(array)
        if self.place.type == "cuda":
            tensor = torch.empty(array.shape, dtype=torch.float32, pin_memory=True).copy_(tensor)
        return tensor.to(self.place, non_blocking=True)
