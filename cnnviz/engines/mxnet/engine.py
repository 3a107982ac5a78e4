"""MXNet's engine: forward and gradients of a graph, NumPy in, NumPy out.

MXNet's own tape cannot express a ReLU rule, cannot give the gradient at an intermediate layer
together with the one at the input, and is silently wrong around max pooling when recorded for
inference. So the engine differentiates the graph itself, in reverse mode, and borrows from MXNet
only the derivative of a single operator: in the forward pass every operator is recorded alone,
on leaves of its own that share memory with its inputs. On a CPU some need not even be recorded:
ReLUs, of which the output says all, and convolutions whose input VJP is another convolution
(:mod:`cnnviz.engines.mxnet.conv_vjp`). A backward pass (:mod:`cnnviz.engines.mxnet.backward`) goes
through the operators from the output to the input, hands each the gradient at its output and adds
up what arrives at every value. A ReLU rule is then one line at one place, values with several
consumers need no care, and the passes for Grad-CAM (true gradient, from the logits to the target
layer) and for guided backpropagation (all the way) read the same forward pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

import numpy as np

from cnnviz.engines.base import FP32, Device, check_changed
from cnnviz.engines.mxnet import runtime
from cnnviz.engines.mxnet.backward import (
    MxnetRecording,
    TapeEntry,
    recorded_anew,
    through_numpy,
)
from cnnviz.engines.mxnet.conv_vjp import ConvInputVjp, conv_input_vjp
from cnnviz.engines.mxnet.derivatives import (
    PASSED_ONCE,
    WRITTEN_WHOLE,
    needs_plain_order,
    own_derivative,
)
from cnnviz.engines.mxnet.errors import mxnet_errors
from cnnviz.engines.mxnet.lowering import lowered_graph, unknown_operators
from cnnviz.engines.mxnet.operators import Operators, beside_each_image
from cnnviz.engines.mxnet.runtime import import_mxnet
from cnnviz.engines.mxnet.symbol import is_true
from cnnviz.engines.mxnet.vjp import MxnetVjp
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.architecture import is_relu
from cnnviz.graph.graph import Graph, Value
from cnnviz.machine import give_back_pages
from cnnviz.types import Float32

#: Two seeds are what Grad-CAM and guided backpropagation need.
_REPLICAS = 2

#: Bytes of a parameter below which waiting for its copy takes longer than the copy.
_SMALL = 1 << 18


class MxnetEngine:
    """A graph with its parameters on a device; see :class:`cnnviz.engines.base.Engine`."""

    name: ClassVar[str] = "mxnet"

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, Any],
        device: Device,
        *,
        precision: str = FP32,
    ) -> None:
        """Bring parameters to a device; see :class:`cnnviz.engines.base.Engine`.

        MXNet's arrays are shared where they are float32 and already on the device.
        """
        if precision != FP32:
            raise UsageError(
                f"MXNet's engine computes in fp32 only; got precision '{precision}'. Leave it at "
                "fp32, or use --engine torch."
            )
        self.precision = precision
        self.graph = graph
        self.device = device
        self._context = runtime.context(device)
        self._nodes = lowered_graph(graph).nodes
        self._relus = frozenset(
            index for index in graph.layers if is_relu(graph.nodes[index].operator)
        )
        self._last_use = self._find_last_uses()
        self._operators = Operators()
        with mxnet_errors():
            self._constants = self._fold_constants(parameters)
            self._arguments = {index: self._bound(index, self._constants) for index in graph.layers}
        self._conv_vjps = self._find_conv_vjps()

    @staticmethod
    def version() -> str:
        """MXNet's version."""
        return str(import_mxnet().__version__)

    @staticmethod
    def obstacle(device: Device) -> str | None:
        """See :meth:`cnnviz.engines.base.Engine.obstacle`."""
        return runtime.obstacle(device)

    @staticmethod
    def lacks(graph: Graph) -> tuple[str, ...]:
        """See :meth:`cnnviz.engines.base.Engine.lacks`."""
        return unknown_operators(graph)

    @staticmethod
    def free_memory(device: Device) -> int:
        """See :meth:`cnnviz.engines.base.Engine.free_memory`."""
        return runtime.free_memory(device)

    def run(self, batch: Float32, keep: Sequence[Value] = (), *, record: bool) -> MxnetRecording:
        """See :meth:`cnnviz.engines.base.Engine.run`."""
        tape: list[TapeEntry] | None = [] if record else None
        with mxnet_errors():
            values = self._run({self.graph.input: self._array(batch)}, tape, frozenset(keep))
            return MxnetRecording(self.graph.input, values, values[self.graph.output], tape)

    def run_from(self, at: Value, activations: Float32, *, context: Float32) -> Float32:
        """See :meth:`cnnviz.engines.base.Engine.run_from`."""
        order = self.graph.between(at)
        start = self.graph.input
        with mxnet_errors():
            values = {at: self._array(activations)}
            if any(start in self.graph.nodes[index].inputs for index in order):
                values[start] = self._array(np.repeat(context[None], len(activations), 0))
            found: Float32 = self._run(values, order=order)[self.graph.output].asnumpy()
        return found

    def constant(self, value: Value) -> Float32 | None:
        """See :meth:`cnnviz.engines.base.Engine.constant`."""
        found = self._constants.get(value)
        return None if found is None else np.asarray(found.asnumpy(), np.float32)

    def with_parameters(self, changed: Mapping[str, Float32]) -> MxnetEngine:
        """See :meth:`cnnviz.engines.base.Engine.with_parameters`."""
        check_changed(self.graph, changed)
        own = {
            node.name: self._constants[Value(index)]
            for index, node in enumerate(self._nodes)
            if node.is_variable and Value(index) in self._constants
        }
        return MxnetEngine(self.graph, {**own, **changed}, self.device, precision=self.precision)

    def _find_last_uses(self) -> dict[int, list[Value]]:
        """For each operator the values that nobody reads after it."""
        dependent = {self.graph.input.node, *self.graph.layers}
        found: dict[int, list[Value]] = {}
        for value, readers in self.graph.consumers.items():
            if value.node in dependent and value != self.graph.output:
                found.setdefault(readers[-1], []).append(value)
        return found

    def _run(
        self,
        values: dict[Value, Any],
        tape: list[TapeEntry] | None = None,
        kept: Collection[Value] = (),
        order: Sequence[int] | None = None,
    ) -> dict[Value, Any]:
        """Run every operator in order; with a tape, make it possible to go back.

        From some values, which are used up, to those to be kept and those that nothing else has
        used up.
        """
        for index in self.graph.layers if order is None else order:
            sources, arguments = [], []
            for value, constant in zip(
                self.graph.nodes[index].inputs, self._arguments[index], strict=True
            ):
                if constant is None:
                    sources.append(value)
                arguments.append(values[value] if constant is None else constant)
            if self._nodes[index].op == "Concat":
                arguments = beside_each_image(arguments)
            if needs_plain_order(self._nodes[index]):
                arguments = [argument.copy() for argument in arguments]
            vjp = None if tape is None else self._vjp(index, arguments)
            if tape is None or vjp or self._is_plain_relu(index):
                outputs = self._compute(index, arguments, spare=sources[0] not in kept)
                if tape is not None:
                    reads = vjp is not None and index not in self._conv_vjps
                    leaves = arguments if reads else []
                    tape.append(self._entry(index, sources, leaves, outputs, vjp))
            else:
                entry, outputs = self._record(index, arguments)
                tape.append(entry)
            values.update((Value(index, i), output) for i, output in enumerate(outputs))
            for value in self._last_use.get(index, ()):
                if value not in kept:
                    del values[value]
        return values

    def _compute(self, index: int, arguments: list[Any], *, spare: bool) -> list[Any]:
        """An operator's outputs; in its input's own memory where nobody else needs that.

        Args:
            index: of its node.
            arguments: its inputs.
            spare: whether the caller needs the first input no more.
        """
        (source, *_) = self.graph.nodes[index].inputs
        if (
            spare
            and self._is_plain_relu(index)
            and source.node in self._conv_vjps
            and self.graph.consumers[source] == (index,)
        ):
            (data,) = arguments
            return [import_mxnet().nd.Activation(data, act_type="relu", out=data)]
        return self._operators.run(self._nodes[index], arguments)

    def _is_plain_relu(self, index: int) -> bool:
        """Whether this is a ReLU whose derivative can be had from its output, unrecorded."""
        return (
            self.device.kind == "cpu"
            and index in self._relus
            and self._nodes[index].op == "Activation"
        )

    def _vjp(self, index: int, arguments: Sequence[Any]) -> MxnetVjp | None:
        """What leads back through an operator that need not be recorded, or must not."""
        node = self._nodes[index]
        own = own_derivative(node, arguments)
        if own is not None:
            constants = self._arguments[index]
            return through_numpy(own, [i for i, value in enumerate(constants) if value is None])
        if node.op in PASSED_ONCE:
            return recorded_anew(lambda inputs: self._record(index, inputs)[0])
        return self._conv_vjps.get(index)

    def _record(self, index: int, values: Sequence[Any]) -> tuple[TapeEntry, list[Any]]:
        """Run and record one operator, alone; its entry, and the outputs for one batch."""
        mx = import_mxnet()
        node = self._nodes[index]
        # detach() shares the memory and has no history. Constants too: recording leaves its mark
        # on what it is given, and going back wipes it off; what passes share would be wiped off by
        # the first of two.
        arguments = [value.detach() for value in values]
        variable = [i for i, constant in enumerate(self._arguments[index]) if constant is None]
        sources = [self.graph.nodes[index].inputs[i] for i in variable]
        leaves = [arguments[i] for i in variable]
        replicas = 1
        # With one image, reading its weights is all that a dense layer does: two passes back take
        # no longer than one.
        if (
            node.op == "FullyConnected"
            and arguments[0] is leaves[0]
            and len(leaves) == len(leaves[0]) == 1
        ):
            replicas = _REPLICAS
            leaves = [mx.nd.concat(*leaves * replicas, dim=0)]
            arguments[0] = leaves[0]
        # Not every operator writes all of the gradients that it is asked for.
        fresh = mx.nd.empty if node.op in WRITTEN_WHOLE else mx.nd.zeros
        mx.autograd.mark_variables(leaves, [fresh(leaf.shape, ctx=leaf.context) for leaf in leaves])
        with mx.autograd.record(train_mode=True):
            outputs = self._operators.run(node, arguments)
        entry = self._entry(index, sources, leaves, outputs, replicas=replicas)
        return entry, [outputs[0][:1]] if replicas > 1 else list(outputs)

    def _entry(
        self,
        index: int,
        sources: list[Value],
        leaves: list[Any],
        outputs: list[Any],
        vjp: MxnetVjp | None = None,
        replicas: int = 1,
    ) -> TapeEntry:
        relu = index in self._relus
        operator = self._nodes[index].op
        return TapeEntry(index, operator, relu, sources, leaves, outputs, vjp, replicas)

    def _array(self, values: Float32) -> Any:
        return import_mxnet().nd.array(values, ctx=self._context, dtype="float32")

    def _fold_constants(self, parameters: Mapping[str, Any]) -> dict[Value, Any]:
        """Parameters, and what is computed from them alone as far as layers read it."""
        mx = import_mxnet()
        constants: dict[Value, Any] = {}
        layers = frozenset(self.graph.layers)
        with ExitStack() as copying:
            for index, node in enumerate(self._nodes):
                if index in layers or index == self.graph.input.node:
                    continue
                if node.is_variable:
                    if node.name not in parameters:
                        raise NetworkError(f"The network's parameter {node.name} has no value.")
                    outputs = [self._parameter(parameters[node.name], copying)]
                elif not node.inputs:  # zeros and the like; a cached operator needs an input
                    with self._context:
                        output = getattr(mx.nd._internal, node.op)(**node.attrs)
                    outputs = [output.astype("float32", copy=False)]
                else:
                    outputs = self._operators.run(node, self._bound(index, constants))
                constants.update((Value(index, i), output) for i, output in enumerate(outputs))
        read = {value for index in layers for value in self.graph.nodes[index].inputs}
        return {
            value: array
            for value, array in constants.items()
            if value in read or self._nodes[value.node].is_variable
        }

    def _parameter(self, given: Any, copying: ExitStack) -> Any:
        """A parameter on the device; a small one's copy is only waited for at the end."""
        mx = import_mxnet()
        if not isinstance(given, mx.nd.NDArray):
            # A view, because from_numpy() makes the array it is given read-only.
            values = np.require(given, np.float32, ["C", "A"]).view()
            copied = mx.nd.from_numpy(values).copyto(self._context)
            # MXNet copies in the background; the source must outlive that.
            if values.nbytes < _SMALL:
                copying.callback(_wait, copied, values)
            else:
                copied.wait_to_read()
                give_back_pages(given)
            return copied
        # detach(): recording must not see the caller's own gradient arrays.
        return given.detach().as_in_context(self._context).astype("float32", copy=False)

    def _bound(self, index: int, constants: Mapping[Value, Any]) -> list[Any]:
        """An operator's constant inputs, None at the place of others."""
        node = self._nodes[index]
        arguments = [constants.get(value) for value in self.graph.nodes[index].inputs]
        if node.op.startswith("BatchNorm") and is_true(node.attrs, "fix_gamma", default=True):
            # MXNet writes ones into gamma itself when it runs such a batch norm for training.
            arguments[1] = import_mxnet().nd.ones_like(arguments[1])
        return arguments

    def _find_conv_vjps(self) -> dict[int, MxnetVjp]:
        """For each convolution that need not be recorded its input VJP."""
        if self.device.kind != "cpu":  # cuDNN has no order of its own to bring weights into
            return {}
        found = {}
        for index, (data, *rest) in self._arguments.items():
            # Only its data may depend on the network's input; weights may, in principle, too.
            if data is not None or not rest or any(constant is None for constant in rest):
                continue
            vjp = conv_input_vjp(self._nodes[index], rest[0].shape)
            if vjp is not None:
                found[index] = self._with_weights(vjp, rest[0])
        return found

    def _with_weights(self, vjp: ConvInputVjp, weights: Any) -> MxnetVjp:
        """A convolution's input VJP with its weights, which are flipped when first needed."""
        mx = import_mxnet()
        flipped: list[Any] = []

        def apply(
            _inputs: Sequence[Any], _outputs: Sequence[Any], gradients: Sequence[Any]
        ) -> list[Any]:
            if not flipped:
                flipped.append(mx.nd.array(vjp.flipped(weights.asnumpy()), ctx=self._context))
            (passed,) = self._operators.run(vjp.node, [gradients[0], flipped[0]])
            if passed.shape[1] > vjp.channels:
                passed = mx.nd.slice_axis(passed, axis=1, begin=0, end=vjp.channels)
            return [passed]

        return apply


def _wait(copy: Any, _source: Float32) -> None:
    """Wait until an array is copied, of which the source has to be there until then."""
    copy.wait_to_read()
