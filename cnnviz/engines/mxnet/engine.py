"""Forward and gradients of a network: NumPy in, NumPy out.

MXNet's own tape cannot express a ReLU rule, cannot give the gradient at an intermediate layer
together with the one at the input, and is silently wrong around max pooling when recorded for
inference. So the engine differentiates the graph itself, in reverse mode, and borrows from MXNet
only the derivative of a single operator: in the forward pass every operator is recorded alone,
on leaves of its own that share memory with its inputs. On a CPU some need not even be recorded:
ReLUs, of which the output says all, and convolutions where another convolution leads back
(:mod:`cnnviz.engines.mxnet.adjoint`). The way back
(:mod:`cnnviz.engines.mxnet.backward`) walks the operators from the logits to the input, hands each
the
gradient at its output and adds up what arrives at every value. A ReLU rule is then one line at one
place, values with several consumers need no care, and the walks for Grad-CAM (true gradient, from
the logits to the target layer) and for guided backpropagation (all the way) read the same forward
pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.engines.base import Device, parse_device
from cnnviz.engines.mxnet.adjoint import AdjointConvolution, adjoint_convolution
from cnnviz.engines.mxnet.backward import (
    RELU_RULES,
    ForwardPass,
    MxnetVjp,
    Observation,
    ReluRule,
    SeparateForwardPasses,
    SeparateObservations,
    Step,
    Walk,
    mxnet_errors,
    recorded_anew,
    through_numpy,
)
from cnnviz.engines.mxnet.derivatives import (
    PASSED_ONCE,
    WRITTEN_WHOLE,
    needs_plain_order,
    own_derivative,
)
from cnnviz.engines.mxnet.lowering import lowered_graph
from cnnviz.engines.mxnet.runtime import arrays_of, context, import_mxnet, mxnet_lock
from cnnviz.engines.mxnet.symbol import Entry, Graph, Node
from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.architecture import Architecture, Layer, shape_text
from cnnviz.types import Float32

#: Two seeds are what Grad-CAM and guided backpropagation need.
_WALKS_TOGETHER = 2
#: Operators whose second argument is their weights.
_WEIGHTED = {"Convolution", "Deconvolution", "FullyConnected"}
Targets = Sequence[int] | npt.NDArray[Any] | Callable[[Float32], Any] | None


@dataclass(frozen=True)
class Gradients:
    """What one forward and the backward passes gave for a batch of N images and K classes.

    Attributes:
        logits: (N, K) float32, before any softmax.
        targets: (N,) int64, the class explained in each image.
        layer: the target layer.
        activations: (N, C, h, w) float32, the target layer's output A.
        layer_gradients: (N, C, h, w) float32, the true gradient of the target's logit with
            respect to A, whatever the ReLU rule.
        input_gradients: (N, channels, H, W) float32, the gradient of the target's logit with
            respect to the network's input under ``relu_rule``.
        relu_rule: the rule used for ``input_gradients``.
        relus_total: ReLUs between input and logits.
        relus_guided: how many of them ``relu_rule`` changed: all or, under the standard rule, none.
    """

    logits: Float32
    targets: npt.NDArray[np.int64]
    layer: Layer
    activations: Float32
    layer_gradients: Float32
    input_gradients: Float32
    relu_rule: ReluRule
    relus_total: int
    relus_guided: int


class Network:
    """A network with weights on a device, ready to be explained."""

    def __init__(
        self, architecture: Architecture, parameters: Mapping[str, Any], device: str = "cpu"
    ) -> None:
        """Bind parameters to a traced network.

        Args:
            architecture: the traced network.
            parameters: MXNet arrays by the names of the graph's variables; shared where they are
                float32 and already on the device, never written to.
            device: ``cpu``, ``gpu`` or ``gpu:N``.

        Raises:
            NetworkError: a parameter is missing.
            DeviceError: there is no such device.
        """
        self.architecture = architecture
        self.device: Device = parse_device(device)
        self._context = context(self.device)
        self._graph = lowered_graph(architecture.graph)
        self.head = self._graph.heads[0]
        self.entrance = Entry(architecture.graph.input.node)
        self._order = architecture.graph.layers
        self._dependent = {self.entrance.node, *self._order}
        self.relus = architecture.relus
        self._operators: dict[Any, Any] = {}
        with mxnet_lock, arrays_of(numpy=False):
            self._constants = self._bind(parameters)
        self._adjoints = self._find_adjoints()

    @classmethod
    def from_block(
        cls,
        block: Any,
        input_shape: tuple[int, int, int] = (3, 224, 224),
        ctx: str = "cpu",
        activation: str | None = None,
        head: str | int | None = None,
    ) -> Network:
        """Trace an initialized Gluon HybridBlock and share its parameters.

        Args:
            block: see :func:`cnnviz.importers.gluon.architecture_of_block`.
            input_shape: (C, H, W).
            ctx: ``cpu``, ``gpu``, ``gpu:N`` or ``gpu(N)``.
            activation: likewise.
            head: likewise.

        Raises:
            NetworkError: it cannot be traced, is not a classifier, or is not initialized.
            UsageError: there is no such head, or there are several.
        """
        from cnnviz.importers.gluon import architecture_of_block, parameters_of

        architecture = architecture_of_block(block, input_shape, activation, head)
        return cls(architecture, parameters_of(block, architecture.parameter_shapes), ctx)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers between input and logits, in order."""
        return self.architecture.layers

    @property
    def default_layer(self) -> Layer:
        """The layer that is explained when nobody names one."""
        return self.architecture.default_layer

    def check_rule(self, relu_rule: str) -> None:
        """Make sure that a ReLU rule can be followed; see :class:`Walk`.

        Raises:
            UsageError: there is no such rule.
            NetworkError: it changes what passes the ReLUs, and the network has none.
        """
        if relu_rule not in RELU_RULES:
            raise UsageError(f"There is no ReLU rule '{relu_rule}': use {', '.join(RELU_RULES)}.")
        if relu_rule != "standard" and self.relus == 0:
            raise NetworkError(
                f"0 of 0 ReLUs: this network has no ReLU for the {relu_rule} rule to act on, so "
                "its gradient would be the plain one under another name. Use the standard rule."
            )

    def is_relu(self, index: int) -> bool:
        """Whether the graph's node with this index is a ReLU."""
        return self._graph.nodes[index].is_relu

    def operator(self, index: int) -> str:
        """What the graph's node with this index computes, as MXNet calls it."""
        return self._graph.nodes[index].op

    def layer(self, name: str | None) -> Layer:
        """The target layer called ``name``, or the default one; see :meth:`Architecture.layer`."""
        return self.default_layer if name is None else self.architecture.layer(name)

    def weights(self, layer: Layer) -> Float32:
        """A copy of the weights of a convolution, (O, I / groups, kh, kw), or dense layer, (O, I).

        Raises:
            UsageError: the layer has none, or they are not constant.
        """
        arguments = self._constants[layer.index]
        weighted = self._graph.nodes[layer.index].op in _WEIGHTED
        if not weighted or len(arguments) < 2 or arguments[1] is None:
            raise UsageError(f"Layer {layer.name} ({layer.kind}) has no weights of its own.")
        return np.asarray(arguments[1].asnumpy(), np.float32)

    def logits(self, batch: Float32) -> Float32:
        """The logits (N, K) float32 of a batch (N, C, H, W) float32, without recording anything."""
        return self.observe(batch).logits

    def logits_from(self, layer: Layer, activations: Float32, around: Float32) -> Float32:
        """The logits that the network would give if a layer put out something else.

        Only the operators between the layer and the logits are run; where branches lead past the
        layer (it lies inside a residual branch, say) these are run as well.

        Args:
            layer: the layer.
            activations: (M, C, h, w) float32, M outputs of it to go on from.
            around: (channels, H, W) float32, the network's input, for branches that lead past.

        Returns:
            (M, K) float32.

        Raises:
            NetworkError: the activations are not of the layer's shape, or MXNet fails.
        """
        if activations.shape[1:] != layer.shape:
            raise NetworkError(
                f"Layer {layer.name} puts out {shape_text(layer.shape)} an image; these "
                f"activations have shape {activations.shape}."
            )
        if self._one_by_one(activations):
            parts = [self.logits_from(layer, one[None], around) for one in activations]
            return np.concatenate(parts)
        start = Entry(layer.index)
        order = self._between(start)
        with mxnet_errors():
            values = {start: self._array(activations)}
            if any(self.entrance in self._graph.nodes[index].inputs for index in order):
                values[self.entrance] = self._enter(np.repeat(around[None], len(activations), 0))
            return self.read_logits(self._run(values, order=order)[self.head])

    def read_logits(self, output: Any) -> Float32:
        """The logits (N, K) of what the graph put out, an MXNet array of any shape."""
        return self.architecture.end.logits(self._rows(output))

    def seed(self, targets: npt.NDArray[np.int64], output: Any) -> Float32:
        """The derivative of each image's target logit by what the graph put out, in its shape."""
        rows = self._rows(output)
        return self.architecture.end.seed(targets, rows).reshape(output.shape)

    def _rows(self, output: Any) -> Float32:
        rows: Float32 = output.asnumpy().reshape(-1, self.architecture.outputs)
        return rows

    def observe(self, batch: Float32, layers: Sequence[Layer] = ()) -> Observation:
        """Run a batch without making it possible to go back; see :meth:`forward`."""
        if self._one_by_one(batch):
            return SeparateObservations([self.observe(one[None], layers) for one in batch])
        with mxnet_errors():
            kept = {Entry(layer.index) for layer in layers}
            values = self._run({self.entrance: self._enter(batch)}, kept=kept)
            return Observation(self, values, values[self.head])

    def forward(self, batch: Float32, layers: Sequence[Layer] = ()) -> ForwardPass:
        """Run a batch and record it.

        Args:
            batch: (N, C, H, W) float32, preprocessed as the network wants it.
            layers: whose activations will be asked for.

        Raises:
            NetworkError: its shape or type does not fit, or MXNet fails (out of memory, say).
        """
        if self._one_by_one(batch):
            return SeparateForwardPasses([self.forward(one[None], layers) for one in batch])
        tape: list[Step] = []
        with mxnet_errors():
            kept = {Entry(layer.index) for layer in layers}
            values = self._run({self.entrance: self._enter(batch)}, tape, kept)
            return ForwardPass(self, tape, values, values[self.head])

    def gradients(
        self,
        batch: Float32,
        targets: Targets = None,
        *,
        layer: str | None = None,
        relu_rule: ReluRule = "guided",
    ) -> Gradients:
        """One forward and one backward through the trunk: all that the explanations are made of.

        With y the logit of an image's target and A the target layer's output: A, the true
        gradient dy/dA (Selvaraju et al. 2017, in eq. 1), and dy/dx under a ReLU rule
        (:meth:`ForwardPass.backward`).

        Args:
            batch: (N, C, H, W) float32, preprocessed as the network wants it.
            targets: N class indices, a function that makes them from the logits (N, K), or None
                for each image's highest logit (the lowest index among equals).
            layer: name of the target layer; None for the default.
            relu_rule: ``standard``, ``guided`` or ``deconvnet``.

        Raises:
            UsageError: unknown layer or rule, or a target out of range.
            NetworkError: the batch does not fit, a guided rule is asked of a network without
                ReLUs, or MXNet fails.
        """
        target_layer = self.layer(layer)
        recorded = self.forward(batch, [target_layer])
        chosen = choose_targets(targets, recorded.logits)
        activations = recorded.activations(target_layer)
        if relu_rule == "standard":
            walks = [Walk(layers=(target_layer,))]
        else:
            walks = [Walk(layers=(target_layer,), inputs=False), Walk(relu_rule)]
        walked = recorded.backward(chosen, walks, final=True)
        layer_gradients, trunk = walked[0].layer_gradients, walked[-1]
        assert trunk.input_gradients is not None  # inputs were asked for
        return Gradients(
            logits=recorded.logits,
            targets=chosen,
            layer=target_layer,
            activations=activations,
            layer_gradients=layer_gradients[target_layer.name],
            input_gradients=trunk.input_gradients,
            relu_rule=relu_rule,
            relus_total=self.relus,
            relus_guided=trunk.relus_guided,
        )

    def _one_by_one(self, batch: Float32) -> bool:
        """Whether a batch has to be run one image at a time."""
        return not self.architecture.takes_batches and np.ndim(batch) > 0 and len(batch) > 1

    def _between(self, start: Entry) -> list[int]:
        """What has to be run to get from an entry to the logits, in order."""
        needed: set[int] = set()
        waiting = [self.head]
        while waiting:
            entry = waiting.pop()
            if entry != start and entry.node in self._constants and entry.node not in needed:
                needed.add(entry.node)
                waiting.extend(self._graph.nodes[entry.node].inputs)
        return sorted(needed)

    def _run(
        self,
        values: dict[Entry, Any],
        tape: list[Step] | None = None,
        kept: Collection[Entry] = (),
        order: Sequence[int] | None = None,
    ) -> dict[Entry, Any]:
        """Run every operator in order; with a tape, make it possible to go back.

        From the values of some entries, which are used up, to those of the entries to be kept and
        of what nothing else has used up.
        """
        mx = import_mxnet()
        for index in self._order if order is None else order:
            node = self._graph.nodes[index]
            constants = self._constants[index]
            sources = [
                e for e, constant in zip(node.inputs, constants, strict=True) if constant is None
            ]
            arguments = [
                values[entry] if constant is None else constant
                for entry, constant in zip(node.inputs, constants, strict=True)
            ]
            if needs_plain_order(node):
                arguments = [argument.copy() for argument in arguments]
            vjp = None if tape is None else self._vjp(index, arguments)
            if tape is None or vjp or self._is_plain_relu(index):
                if self._overwrites(index) and sources[0] not in kept:
                    (output,) = arguments
                    outputs = [mx.nd.Activation(output, act_type="relu", out=output)]
                else:
                    outputs = _as_list(self._operator(node)(*arguments))
                reads = vjp is not None and index not in self._adjoints
                step = Step(index, sources, arguments if reads else [], outputs, vjp)
            else:
                step, outputs = self._record(index, arguments)
            if tape is not None:
                tape.append(step)
            values.update((Entry(index, i), output) for i, output in enumerate(outputs))
            for entry in self._last_use.get(index, ()):
                if entry not in kept:
                    del values[entry]
        return values

    def _is_plain_relu(self, index: int) -> bool:
        """Whether this is a ReLU whose derivative can be had from its output, unrecorded."""
        return (
            self.device.kind == "cpu"
            and self._graph.nodes[index].op == "Activation"
            and self.is_relu(index)
        )

    def _overwrites(self, index: int) -> bool:
        """Whether this is such a ReLU and nobody else needs its input's memory."""
        source = self._graph.nodes[index].inputs[0]
        return (
            self._is_plain_relu(index)
            and source.node in self._adjoints
            and self._readers[source] == (index,)
        )

    def _vjp(self, index: int, arguments: Sequence[Any]) -> MxnetVjp | None:
        """What leads back through an operator that need not be recorded, or must not."""
        node = self._graph.nodes[index]
        own = own_derivative(node, arguments)
        if own is not None:
            constants = self._constants[index]
            return through_numpy(own, [i for i, value in enumerate(constants) if value is None])
        if node.op in PASSED_ONCE:
            return recorded_anew(lambda inputs: self._record(index, inputs)[0])
        return self._adjoints.get(index)

    def _record(self, index: int, values: Sequence[Any]) -> tuple[Step, list[Any]]:
        """Run and record one operator, alone; the step, and the outputs for one batch."""
        mx = import_mxnet()
        node = self._graph.nodes[index]
        # detach() shares the memory and has no history. Constants too: recording leaves its mark
        # on what it is given, and going back wipes it off; what passes share would be wiped off by
        # the first of two.
        arguments = [value.detach() for value in values]
        variable = [i for i, constant in enumerate(self._constants[index]) if constant is None]
        sources = [node.inputs[i] for i in variable]
        leaves = [arguments[i] for i in variable]
        copies = 1
        # With one image, reading its weights is all that a dense layer does: two walks back take
        # no longer than one.
        if (
            node.op == "FullyConnected"
            and arguments[0] is leaves[0]
            and len(leaves) == len(leaves[0]) == 1
        ):
            copies = _WALKS_TOGETHER
            leaves = [mx.nd.concat(*leaves * copies, dim=0)]
            arguments[0] = leaves[0]
        # Not every operator writes all of the gradients that it is asked for.
        fresh = mx.nd.empty if node.op in WRITTEN_WHOLE else mx.nd.zeros
        mx.autograd.mark_variables(leaves, [fresh(leaf.shape, ctx=leaf.context) for leaf in leaves])
        with mx.autograd.record(train_mode=True):
            outputs = _as_list(self._operator(node)(*arguments))
        step = Step(index, sources, leaves, outputs, copies=copies)
        return step, [outputs[0][:1]] if copies > 1 else list(outputs)

    def _enter(self, batch: Float32) -> Any:
        batch = np.asarray(batch)
        if batch.ndim != 4 or batch.shape[1:] != self.architecture.input_shape:
            wanted = ", ".join(map(str, self.architecture.input_shape))
            raise NetworkError(
                f"The network takes batches of shape (N, {wanted}); this one is {batch.shape}."
            )
        if batch.dtype != np.float32:
            raise NetworkError(f"The network takes float32; this batch is {batch.dtype}.")
        return self._array(batch)

    def _array(self, values: Float32) -> Any:
        return import_mxnet().nd.array(values, ctx=self._context, dtype="float32")

    def _bind(self, parameters: Mapping[str, Any]) -> dict[int, list[Any]]:
        """For each operator on the way from input to logits its constant arguments, None elsewhere.

        What does not depend on the input (parameters, and whatever is computed from them alone)
        is worked out here, once.
        """
        mx = import_mxnet()
        graph = self._graph
        self._last_use: dict[int, list[Entry]] = {}
        self._readers = graph.consumers()
        for entry, readers in self._readers.items():
            if entry.node in self._dependent and entry not in graph.heads:
                self._last_use.setdefault(readers[-1], []).append(entry)
        constants: dict[Entry, Any] = {}
        bound: dict[int, list[Any]] = {}
        for index, node in enumerate(graph.nodes):
            if node.is_variable:
                if index == self.entrance.node:
                    continue
                if node.name not in parameters:
                    raise NetworkError(f"The network's parameter {node.name} has no value.")
                # detach(): recording must not see the caller's own gradient arrays.
                value = parameters[node.name].detach().as_in_context(self._context)
                constants[Entry(index)] = value.astype("float32", copy=False)
                continue
            arguments = [constants.get(entry) for entry in node.inputs]
            if node.op.startswith("BatchNorm") and _is_fixed_gamma(node):
                # MXNet writes ones into gamma itself when it runs such a batch norm for training.
                arguments[1] = mx.nd.ones_like(arguments[1])
            if index in self._dependent:
                bound[index] = arguments
            elif not node.inputs:  # zeros and the like; a cached operator needs an input
                with self._context:
                    output = getattr(mx.nd._internal, node.op)(**node.attrs)
                constants[Entry(index)] = output.astype("float32", copy=False)
            else:
                outputs = _as_list(self._operator(node)(*arguments))
                constants.update({Entry(index, i): output for i, output in enumerate(outputs)})
        return bound

    def _find_adjoints(self) -> dict[int, MxnetVjp]:
        """For each convolution that need not be recorded what takes a gradient back through it."""
        if self.device.kind != "cpu":  # cuDNN has no order of its own to bring weights into
            return {}
        found = {}
        for index, constants in self._constants.items():
            data, *rest = constants
            # Only its data may depend on the network's input; weights may, in principle, too.
            if data is not None or not rest or any(constant is None for constant in rest):
                continue
            adjoint = adjoint_convolution(self._graph.nodes[index], rest[0].shape)
            if adjoint is not None:
                found[index] = self._turned(adjoint, rest[0])
        return found

    def _turned(self, adjoint: AdjointConvolution, weights: Any) -> MxnetVjp:
        """An adjoint with its weights, which are turned when they are first needed."""
        mx = import_mxnet()
        turned: list[Any] = []

        def apply(
            _inputs: Sequence[Any], _outputs: Sequence[Any], gradients: Sequence[Any]
        ) -> list[Any]:
            if not turned:
                turned.append(mx.nd.array(adjoint.turn(weights.asnumpy()), ctx=self._context))
            passed = self._operator(adjoint.node)(gradients[0], turned[0])
            if passed.shape[1] > adjoint.channels:
                passed = mx.nd.slice_axis(passed, axis=1, begin=0, end=adjoint.channels)
            return [passed]

        return apply

    def _operator(self, node: Node) -> Any:
        """A callable for one node; equal operators share one."""
        mx = import_mxnet()
        key = (node.op, tuple(sorted(node.attrs.items())), len(node.inputs), repr(node.subgraphs))
        if key not in self._operators:
            variables = tuple(Node("null", f"input{i}", {}, ()) for i in range(len(node.inputs)))
            alone = Node(
                node.op,
                "operator",
                node.attrs,
                tuple(Entry(i) for i in range(len(node.inputs))),
                node.subgraphs,
            )
            graph = Graph((*variables, alone), (Entry(len(variables)),))
            symbol = mx.sym.load_json(graph.to_json())
            outputs = len(symbol.get_internals()) - len(variables)
            if outputs > 1:
                heads = tuple(Entry(len(variables), i) for i in range(outputs))
                symbol = mx.sym.load_json(Graph(graph.nodes, heads).to_json())
            self._operators[key] = mx.nd.CachedOp(symbol)
        return self._operators[key]


def _is_fixed_gamma(node: Node) -> bool:
    return node.attrs.get("fix_gamma", "True").lower() in ("true", "1")


def _as_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def choose_targets(targets: Targets, logits: Float32) -> npt.NDArray[np.int64]:
    """The class to explain in each image, (N,) int64, checked against the logits (N, K).

    Raises:
        UsageError: not one integer an image, or out of range.
    """
    images, classes = logits.shape
    if targets is None:
        targets = np.argmax(logits, axis=1)
    chosen = np.asarray(targets(logits) if callable(targets) else targets)
    if chosen.shape != (images,) or not np.issubdtype(chosen.dtype, np.integer):
        raise UsageError(
            f"One class index an image is needed, {images} in all; received an array of shape "
            f"{chosen.shape} and type {chosen.dtype}."
        )
    wrong = chosen[(chosen < 0) | (chosen >= classes)]
    if wrong.size:
        raise UsageError(
            f"There is no class {wrong[0]}: the network has {classes}, "
            f"numbered from 0 to {classes - 1}."
        )
    indices: npt.NDArray[np.int64] = chosen.astype(np.int64)
    return indices
