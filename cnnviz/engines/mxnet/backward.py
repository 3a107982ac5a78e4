"""Reverse-mode differentiation over the tape of a forward pass."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from cnnviz.engines.base import GradientRequest, GradientResult
from cnnviz.engines.mxnet.errors import mxnet_errors
from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.engines.mxnet.vjp import MxnetVjp, Vjp
from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Value
from cnnviz.types import Float32

#: Operators whose derivatives subtract: what arrives at them may cancel down to its rounding.
CANCELING = frozenset(
    {
        *("InstanceNorm", "LayerNorm", "GroupNorm", "L2Normalization"),
        *("softmax", "log_softmax", "SoftmaxActivation"),
        *("broadcast_sub", "elemwise_sub", "_npi_subtract"),
        *("broadcast_div", "elemwise_div", "_npi_true_divide"),
    }
)


@dataclass
class TapeEntry:
    """One operator of a forward pass, and the way back through it.

    It was recorded: then there is a leaf for each input that depends on the data. Or there was no
    need to: it is a ReLU, of which the output says all, or ``vjp`` takes all of its inputs (which
    then are the leaves, if it reads them), its outputs and the gradients at these to those at the
    inputs that depend on the data.

    Attributes:
        index: of its node.
        operator: what it is, as MXNet calls it.
        is_relu: whether ReLU rules act on it.
        sources: the inputs that depend on the data.
        leaves: what was recorded, or is read on the way back.
        outputs: all of its outputs.
        vjp: see above.
        replicas: how many times over the batch was recorded, so that as many passes can go back
            together.
    """

    index: int
    operator: str
    is_relu: bool
    sources: list[Value]
    leaves: list[Any]
    outputs: list[Any]
    vjp: MxnetVjp | None = None
    replicas: int = 1


class BackwardPass:
    """One request under way: the gradients that have arrived at values not yet passed."""

    def __init__(
        self, request: GradientRequest, network_input: Value, start: Value, seed: Any
    ) -> None:
        """Begin at a value, where ``seed``, an MXNet array of its shape, arrives."""
        self._rule = request.rule
        self._wanted = frozenset(request.at)
        self._input = network_input if request.to_input else None
        self._lowest = -1 if request.to_input else min(value.node for value in request.at)
        self._arrived: dict[Value, Any] = {start: seed}
        self._found: dict[Value, Float32] = {}
        self._relus_changed = 0
        self._images = len(seed)
        self._terms: list[Any] = []

    def pop(self, entry: TapeEntry) -> list[Any] | None:
        """The gradients that have arrived at an operator's outputs; None if it is not passed."""
        if entry.index < self._lowest:
            return None
        values = [Value(entry.index, output) for output in range(len(entry.outputs))]
        for value, output in zip(values, entry.outputs, strict=True):
            if value in self._wanted:
                # Copied out at once: passes share the leaves' gradient arrays.
                gradient = self._arrived.get(value)
                if gradient is None:
                    gradient = import_mxnet().nd.zeros_like(output)
                self._found[value] = gradient.asnumpy()
        if entry.index == self._lowest:
            return None
        gradients = [self._arrived.pop(value, None) for value in values]
        return None if all(gradient is None for gradient in gradients) else gradients

    def accumulate(self, entry: TapeEntry, passed: Sequence[Any]) -> None:
        """Add what has passed an operator to what has arrived at its inputs."""
        if entry.operator == "FullyConnected" and len(entry.leaves) == 1:
            self._weigh(passed[0], entry.leaves[0][: len(passed[0])])
        for value, gradient in zip(entry.sources, passed, strict=True):
            before = self._arrived.get(value)
            self._arrived[value] = gradient if before is None else before + gradient

    def step(self, entry: TapeEntry, *, retain: bool, copy: bool) -> None:
        """Go back through one operator under the rule.

        Args:
            entry: the highest one not yet passed.
            retain: whether it will be passed once more.
            copy: whether another pass takes it before this one has passed the next.
        """
        gradients = self.pop(entry)
        if gradients is None:
            return
        if entry.operator in CANCELING and gradients[0] is not None:
            self._weigh(gradients[0], entry.outputs[0])
        if entry.vjp is not None:
            passed = entry.vjp(entry.leaves, entry.outputs, gradients)
        elif entry.is_relu:
            passed = [self._through_relu(entry, gradients[0], retain=retain, copy=copy)]
        else:
            passed = _derivative(entry, gradients, retain=retain, copy=copy)
        self._relus_changed += entry.is_relu and not self._rule.is_derivative
        self.accumulate(entry, passed)

    def _through_relu(self, entry: TapeEntry, gradient: Any, *, retain: bool, copy: bool) -> Any:
        gate = _positive if self._rule.gate_by_gradient else _unchanged
        if not self._rule.gate_by_input:
            return gate(gradient)
        if not entry.leaves:
            return _where_positive(gate(gradient), entry.outputs[0])
        (passed,) = _derivative(entry, [gradient], retain=retain, copy=copy)
        return gate(passed)

    def result(self) -> GradientResult:
        """What was found, after the last operator."""
        at_input = None if self._input is None else self._arrived[self._input].asnumpy()
        terms = np.zeros(self._images, np.float32)
        for own in self._terms:
            np.maximum(terms, own.asnumpy(), out=terms)
        return GradientResult(self._found, at_input, self._relus_changed, terms)

    def _weigh(self, gradient: Any, value: Any) -> None:
        """Note how large the terms of each image are at one place."""
        products = import_mxnet().nd.abs(gradient * value)
        self._terms.append(products.reshape((self._images, -1)).sum(axis=1))


class MxnetRecording:
    """A forward pass; see :class:`cnnviz.engines.base.Recording`.

    Attributes:
        output: what the graph output, (N, \\*shape) float32.
    """

    def __init__(
        self,
        network_input: Value,
        values: dict[Value, Any],
        output: Any,
        tape: list[TapeEntry] | None,
    ) -> None:
        """Take what a pass has left.

        Args:
            network_input: of the graph.
            values: MXNet's arrays, those to be kept among them.
            output: the graph's output, likewise.
            tape: the operators, in order; None if they were not recorded.
        """
        self._input = network_input
        self._values = values
        self._context = output.context
        self._tape = tape
        self.output: Float32 = output.asnumpy()

    def activation(self, at: Value) -> Float32:
        """See :meth:`cnnviz.engines.base.Recording.activation`."""
        activation: Float32 = self._values[at].asnumpy()
        return activation

    def release(self) -> None:
        """See :meth:`cnnviz.engines.base.Recording.release`."""
        self._values.clear()
        self._tape = None

    def gradients(
        self,
        start: Value,
        seed: Float32,
        requests: Sequence[GradientRequest],
        *,
        retain_graph: bool = True,
    ) -> list[GradientResult]:
        """See :meth:`cnnviz.engines.base.Recording.gradients`.

        Requests share their way through the dense layers, where all the time goes into reading the
        weights.
        """
        if self._tape is None:
            raise NetworkError("This pass was not recorded, or its memory was given back.")
        tape = self._tape
        mx = import_mxnet()
        if not retain_graph:
            self._values.clear()
        with mxnet_errors():
            first = mx.nd.array(seed, ctx=self._context, dtype="float32")
            passes = [
                BackwardPass(request, self._input, start, first.copy()) for request in requests
            ]
            dense = [place for place, entry in enumerate(tape) if entry.replicas > 1]
            together = dense[0] if dense else len(tape)
            for entry in reversed(tape[together:]):
                if entry.replicas > 1:
                    _step_together(passes, entry, retain=retain_graph)
                else:
                    for one in passes:
                        last = one is passes[-1]
                        one.step(entry, retain=retain_graph or not last, copy=not last)
            results = []
            for one in passes:
                last = not retain_graph and one is passes[-1]
                for entry in reversed(tape[:together]):
                    one.step(entry, retain=not last, copy=False)
                    if last:
                        entry.leaves.clear()
                        entry.outputs.clear()
                # At once: the next pass overwrites the first operator's gradient arrays.
                results.append(one.result())
        if not retain_graph:
            self.release()
        return results


def _step_together(passes: Sequence[BackwardPass], entry: TapeEntry, *, retain: bool) -> None:
    """Go back through an operator that was recorded several times over with several passes."""
    mx = import_mxnet()
    waiting = [
        (one, gradients[0])
        for one, gradients in ((one, one.pop(entry)) for one in passes)
        if gradients is not None
    ]
    for first in range(0, len(waiting), entry.replicas):
        group = waiting[first : first + entry.replicas]
        more = first + entry.replicas < len(waiting)
        filled = [gradient for _, gradient in group]
        filled += filled[:1] * (entry.replicas - len(filled))  # what comes of these is not read
        (passed,) = _derivative(
            entry, [mx.nd.concat(*filled, dim=0)], retain=retain or more, copy=False
        )
        rows = len(passed) // entry.replicas
        for place, (one, _) in enumerate(group):
            own = passed[place * rows : (place + 1) * rows]
            one.accumulate(entry, [own.copy() if more else own])


def _unchanged(gradient: Any) -> Any:
    return gradient


def _positive(gradient: Any) -> Any:
    """What is above zero, 0 elsewhere; in the gradient's own memory and layout.

    Activation and not relu(): oneDNN computes it in whatever layout a convolution left, where
    relu() would first bring 13 million numbers of a VGG into plain order, and the next
    convolution back again.
    """
    return import_mxnet().nd.Activation(gradient, act_type="relu", out=gradient)


@cache
def _relu_backward() -> Callable[..., Any]:
    """MXNet's derivative of a ReLU as a function of its own.

    MXNet has one for every operator, but leaves those out of ``mx.nd``. Called through the tape it
    would need a recorded forward pass, with the ReLU's input kept beside its output.
    """
    mx = import_mxnet()
    handle = ctypes.c_void_p()
    mx.base.check_call(mx.base._LIB.NNGetOpHandle(b"_backward_Activation", ctypes.byref(handle)))
    return partial(mx.nd._internal._imperative_invoke, handle.value)


def _where_positive(gradient: Any, output: Any) -> Any:
    """A gradient where a ReLU's output is above zero, 0 elsewhere."""
    return _relu_backward()([gradient, output], ["act_type"], ["relu"], None, False, False)


def _derivative(
    entry: TapeEntry, gradients: Sequence[Any], *, retain: bool, copy: bool
) -> list[Any]:
    """One operator's backward: from the gradients at its outputs to those at its leaves."""
    mx = import_mxnet()
    mx.autograd.backward(
        entry.outputs,
        [
            mx.nd.zeros_like(output) if gradient is None else gradient
            for output, gradient in zip(entry.outputs, gradients, strict=True)
        ],
        retain_graph=retain,
        train_mode=True,
    )
    return [leaf.grad.copy() if copy else leaf.grad for leaf in entry.leaves]


class _AsNumpy(Sequence[Float32]):
    """MXNet's arrays, of which those that are read are copied out."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, index: Any) -> Any:
        return self._arrays[index].asnumpy()


def through_numpy(vjp: Vjp, wanted: Sequence[int]) -> MxnetVjp:
    """A derivative in NumPy as one in MXNet's arrays.

    Args:
        vjp: what :func:`~cnnviz.engines.mxnet.derivatives.own_derivative` gave.
        wanted: at which of the inputs the gradient is asked for.
    """
    mx = import_mxnet()

    def apply(inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
        passed = vjp(_AsNumpy(inputs), _AsNumpy(outputs), _AsNumpy(gradients))
        return [
            mx.nd.array(passed[place], ctx=inputs[place].context, dtype="float32")
            if place < len(passed)
            else mx.nd.zeros_like(inputs[place])
            for place in wanted
        ]

    return apply


def recorded_anew(record: Callable[[Sequence[Any]], TapeEntry]) -> MxnetVjp:
    """MXNet's derivative, of an operator recorded each time on its inputs."""
    return lambda inputs, _outputs, gradients: _derivative(
        record(inputs), gradients, retain=False, copy=False
    )
