"""Forward and gradients of a network: NumPy in, NumPy out.

MXNet's own tape cannot express a ReLU rule, cannot give the gradient at an intermediate layer
together with the one at the input, and is silently wrong around max pooling when recorded for
inference. So the engine differentiates the graph itself, in reverse mode, and borrows from MXNet
only the derivative of a single operator: in the forward pass every operator is recorded alone,
on leaves of its own that share memory with its inputs; the backward pass walks the operators from
the logits to the input, hands each the gradient at its output and adds up what arrives at every
value. A ReLU rule is then one line at one place, values with several consumers need no care, and
the passes for Grad-CAM (true gradient, from the logits to the target layer) and for guided
backpropagation (all the way) read the same forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Union

import numpy as np
import numpy.typing as npt

from cnnviz.errors import NetworkError, UsageError
from cnnviz.network.architecture import DATA, Architecture, Layer
from cnnviz.network.graph import Entry, Graph, Node
from cnnviz.network.runtime import Device, context, first_line, import_mxnet, parse_device

Float32 = npt.NDArray[np.float32]
ReluRule = Literal["standard", "guided", "deconvnet"]
RELU_RULES: tuple[ReluRule, ...] = ("standard", "guided", "deconvnet")
Targets = Union[None, Sequence[int], npt.NDArray[Any], Callable[[Float32], Any]]


@dataclass(frozen=True)
class Gradients:
    """What one forward and the backward passes gave for a batch of N pictures and K classes.

    Attributes:
        logits: (N, K) float32, before any softmax.
        targets: (N,) int64, the class explained in each picture.
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


@dataclass(frozen=True)
class Backward:
    """What one backward pass gave.

    Attributes:
        layer_gradients: for each layer asked for, by name, (N, C, h, w) float32.
        input_gradients: (N, channels, H, W) float32, or None where it was not asked for.
        relus_guided: how many ReLUs were passed under a rule other than the derivative.
    """

    layer_gradients: Mapping[str, Float32]
    input_gradients: Float32 | None
    relus_guided: int


@dataclass
class _Step:
    """One recorded operator: a leaf for each input that depends on the data, and its outputs."""

    index: int
    sources: list[Entry]
    leaves: list[Any]
    outputs: list[Any]


class ForwardPass:
    """One recorded forward pass of a batch, which any number of backward passes can start from.

    Attributes:
        logits: (N, K) float32, before any softmax.
    """

    def __init__(
        self, network: Network, tape: list[_Step], values: dict[Entry, Any], output: Any
    ) -> None:
        self._network = network
        self._tape = tape
        self._values = values
        self._output = output
        self.logits: Float32 = _two_dimensional(output.asnumpy())

    def activations(self, layer: Layer) -> Float32:
        """The layer's output, (N, C, h, w) float32."""
        activations: Float32 = self._values[Entry(layer.index)].asnumpy()
        return activations

    def backward(
        self,
        targets: npt.NDArray[np.int64],
        *,
        layers: Sequence[Layer] = (),
        inputs: bool = True,
        relu_rule: ReluRule = "standard",
        final: bool = False,
    ) -> Backward:
        """Differentiate each picture's target logit, under a ReLU rule.

        The rule says what passes a ReLU f = max(0, z) backwards, R' being what arrives at f
        (Springenberg et al. 2015, fig. 1):

        - ``standard``: R = (z > 0) · R', the derivative;
        - ``deconvnet``: R = (R' > 0) · R';
        - ``guided``: R = (z > 0) · (R' > 0) · R'.

        It holds for every ReLU between input and logits, those in the head included. In clipped
        ones (ReLU6) the derivative takes the place of (z > 0).

        Args:
            targets: (N,) int64, in range.
            layers: where to note the gradient on the way.
            inputs: whether to go on to the input; without it the walk ends at the first layer.
            relu_rule: ``standard``, ``guided`` or ``deconvnet``.
            final: give the pass's memory back along the way; it can answer nothing afterwards.

        Raises:
            UsageError: there is no such rule.
            NetworkError: a rule other than the standard one is asked of a network without ReLUs,
                or MXNet fails (out of memory, say).
        """
        network = self._network
        if relu_rule not in RELU_RULES:
            raise UsageError(f"There is no ReLU rule '{relu_rule}': use {', '.join(RELU_RULES)}.")
        if relu_rule != "standard" and network.relus == 0:
            raise NetworkError(
                f"0 of 0 ReLUs: this network has no ReLU for the {relu_rule} rule to act on, so "
                "its gradient would be the plain one under another name. Use the standard rule."
            )
        mx = import_mxnet()
        if final:
            self._values.clear()
        noted = {Entry(layer.index): layer.name for layer in layers}
        lowest = -1 if inputs else min(entry.node for entry in noted)
        guided = 0
        found: dict[str, Float32] = {}
        with _mxnet_errors():
            classes = mx.nd.array(targets, ctx=self._output.context, dtype="int32")
            seed = mx.nd.one_hot(classes, self.logits.shape[1]).reshape(self._output.shape)
            arrived: dict[Entry, Any] = {network.head: seed}
            for step in reversed(self._tape):
                entries = [Entry(step.index, output) for output in range(len(step.outputs))]
                if entries[0] in noted:
                    # Copied out at once: backward passes share the leaves' gradient arrays.
                    gradient = arrived.get(entries[0])
                    if gradient is None:  # another output of this operator leads to the logits
                        gradient = mx.nd.zeros_like(step.outputs[0])
                    found[noted[entries[0]]] = gradient.asnumpy()
                if step.index <= lowest:
                    break
                gradients = [arrived.pop(entry, None) for entry in entries]
                if all(gradient is None for gradient in gradients):
                    continue
                is_relu = network.is_relu(step.index)
                if is_relu and relu_rule == "deconvnet":
                    passed = [_positive(gradients[0])]
                else:
                    passed = _derivative(step, gradients, keep=not final)
                    if is_relu and relu_rule == "guided":
                        passed = [_positive(passed[0])]
                guided += is_relu and relu_rule != "standard"
                for entry, gradient in zip(step.sources, passed):
                    arrived[entry] = arrived[entry] + gradient if entry in arrived else gradient
                if final:
                    step.leaves.clear()
                    step.outputs.clear()
            reached = arrived[network.entrance].asnumpy() if inputs else None
        return Backward(found, reached, guided)


def _positive(gradient: Any) -> Any:
    """What is above zero, 0 elsewhere; in the gradient's own memory layout.

    Activation and not relu(): oneDNN computes it in whatever layout a convolution left, where
    relu() would first bring 13 million numbers of a VGG into plain order, and the next
    convolution back again.
    """
    return import_mxnet().nd.Activation(gradient, act_type="relu")


def _derivative(step: _Step, gradients: Sequence[Any], *, keep: bool) -> list[Any]:
    """One operator's backward: from the gradients at its outputs to those at its leaves."""
    mx = import_mxnet()
    mx.autograd.backward(
        step.outputs,
        [
            mx.nd.zeros_like(output) if gradient is None else gradient
            for output, gradient in zip(step.outputs, gradients)
        ],
        retain_graph=keep,
        train_mode=True,
    )
    return [leaf.grad for leaf in step.leaves]


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
        self._graph = architecture.graph
        self.head = self._graph.heads[0]
        self.entrance = Entry(next(i for i, node in enumerate(self._graph.nodes) if _is_data(node)))
        self._order = [
            i for i in sorted(architecture.dependent) if not self._graph.nodes[i].is_variable
        ]
        self.relus = sum(self.is_relu(index) for index in self._order)
        self._operators: dict[Any, Any] = {}
        self._constants = self._bind(parameters)

    @classmethod
    def from_block(
        cls, block: Any, input_shape: tuple[int, int, int] = (3, 224, 224), ctx: str = "cpu"
    ) -> Network:
        """Trace an initialised Gluon HybridBlock and share its parameters.

        Args:
            block: see :meth:`Architecture.from_block`.
            input_shape: (C, H, W).
            ctx: ``cpu``, ``gpu``, ``gpu:N`` or ``gpu(N)``.

        Raises:
            NetworkError: it cannot be traced, is not a classifier, or is not initialised.
        """
        return cls.with_parameters_of(block, Architecture.from_block(block, input_shape), ctx)

    @classmethod
    def with_parameters_of(cls, block: Any, architecture: Architecture, ctx: str) -> Network:
        """Share the parameters of the initialised block that an architecture was traced from."""
        mx = import_mxnet()
        if any(not _known(parameter.shape) for parameter in block.collect_params().values()):
            block.infer_shape(mx.nd.zeros((1, *architecture.input_shape)))
        parameters = {}
        for name, parameter in block.collect_params().items():
            try:
                if parameter._deferred_init:
                    parameter._finish_deferred_init()
                parameters[name] = parameter.data(parameter.list_ctx()[0])
            except (RuntimeError, mx.base.MXNetError) as error:
                raise NetworkError(
                    f"Parameter {name} has no value: load weights, or call initialize() first."
                ) from error
        return cls(architecture, parameters, ctx)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers between input and logits, in order."""
        return self.architecture.layers

    @property
    def default_layer(self) -> Layer:
        """The layer that is explained when nobody names one."""
        return self.architecture.default_layer

    def is_relu(self, index: int) -> bool:
        """Whether the graph's node with this index is a ReLU."""
        return self._graph.nodes[index].is_relu

    def layer(self, name: str | None) -> Layer:
        """The target layer called ``name``, or the default one; see :meth:`Architecture.layer`."""
        return self.default_layer if name is None else self.architecture.layer(name)

    def logits(self, batch: Float32) -> Float32:
        """The logits (N, K) float32 of a batch (N, C, H, W) float32, without recording anything."""
        with _mxnet_errors():
            values = self._run(self._enter(batch), None)
            return _two_dimensional(values[self.head].asnumpy())

    def forward(self, batch: Float32) -> ForwardPass:
        """Run a batch and record it.

        Args:
            batch: (N, C, H, W) float32, preprocessed as the network wants it.

        Raises:
            NetworkError: its shape or type does not fit, or MXNet fails (out of memory, say).
        """
        tape: list[_Step] = []
        with _mxnet_errors():
            values = self._run(self._enter(batch), tape)
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

        With y the logit of a picture's target and A the target layer's output: A, the true
        gradient dy/dA (Selvaraju et al. 2017, in eq. 1), and dy/dx under a ReLU rule
        (:meth:`ForwardPass.backward`).

        Args:
            batch: (N, C, H, W) float32, preprocessed as the network wants it.
            targets: N class indices, a function that makes them from the logits (N, K), or None
                for each picture's highest logit (the lowest index among equals).
            layer: name of the target layer; None for the default.
            relu_rule: ``standard``, ``guided`` or ``deconvnet``.

        Raises:
            UsageError: unknown layer or rule, or a target out of range.
            NetworkError: the batch does not fit, a guided rule is asked of a network without
                ReLUs, or MXNet fails.
        """
        target_layer = self.layer(layer)
        recorded = self.forward(batch)
        chosen = choose_targets(targets, recorded.logits)
        activations = recorded.activations(target_layer)
        if relu_rule == "standard":
            trunk = recorded.backward(chosen, layers=[target_layer], final=True)
            layer_gradients = trunk.layer_gradients
        else:
            layer_gradients = recorded.backward(
                chosen, layers=[target_layer], inputs=False
            ).layer_gradients
            trunk = recorded.backward(chosen, relu_rule=relu_rule, final=True)
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

    def _run(self, data: Any, tape: list[_Step] | None) -> dict[Entry, Any]:
        """Run every operator in order; record each alone if a tape is given.

        Returns all values, without a tape only those that nothing else has used up.
        """
        mx = import_mxnet()
        values: dict[Entry, Any] = {self.entrance: data}
        for index in self._order:
            node = self._graph.nodes[index]
            sources, leaves, arguments = [], [], []
            for entry, constant in zip(node.inputs, self._constants[index]):
                if constant is not None:
                    arguments.append(constant)
                    continue
                leaf = values[entry].detach()  # shares the memory, has no history
                sources.append(entry)
                leaves.append(leaf)
                arguments.append(leaf)
            if tape is None:
                outputs = self._operator(node)(*arguments)
            else:
                mx.autograd.mark_variables(
                    leaves, [mx.nd.empty(leaf.shape, ctx=leaf.context) for leaf in leaves]
                )
                with mx.autograd.record(train_mode=True):
                    outputs = self._operator(node)(*arguments)
            outputs = _as_list(outputs)
            values.update((Entry(index, i), output) for i, output in enumerate(outputs))
            if tape is not None:
                tape.append(_Step(index, sources, leaves, outputs))
            else:
                for entry in self._last_use.get(index, ()):
                    del values[entry]
        return values

    def _enter(self, batch: Float32) -> Any:
        mx = import_mxnet()
        batch = np.asarray(batch)
        if batch.ndim != 4 or batch.shape[1:] != self.architecture.input_shape:
            wanted = ", ".join(map(str, self.architecture.input_shape))
            raise NetworkError(
                f"The network takes batches of shape (N, {wanted}); this one is {batch.shape}."
            )
        if batch.dtype != np.float32:
            raise NetworkError(f"The network takes float32; this batch is {batch.dtype}.")
        return mx.nd.array(batch, ctx=self._context, dtype="float32")

    def _bind(self, parameters: Mapping[str, Any]) -> dict[int, list[Any]]:
        """For each operator on the way from input to logits its constant arguments, None elsewhere.

        What does not depend on the input (parameters, and whatever is computed from them alone)
        is worked out here, once.
        """
        mx = import_mxnet()
        graph = self._graph
        self._last_use: dict[int, list[Entry]] = {}
        for entry, readers in graph.consumers().items():
            if entry.node in self.architecture.dependent and entry not in graph.heads:
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
            if index in self.architecture.dependent:
                bound[index] = arguments
            else:
                outputs = _as_list(self._operator(node)(*arguments))
                constants.update({Entry(index, i): output for i, output in enumerate(outputs)})
        return bound

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


def _known(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and all(size > 0 for size in shape)


def _is_fixed_gamma(node: Node) -> bool:
    return node.attrs.get("fix_gamma", "True").lower() in ("true", "1")


def _is_data(node: Node) -> bool:
    return node.is_variable and node.name == DATA


def _as_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _two_dimensional(logits: Float32) -> Float32:
    """(N, K) of the (N, K) or (N, K, 1, 1) that a network puts out."""
    return logits.reshape(logits.shape[0], -1)


def choose_targets(targets: Targets, logits: Float32) -> npt.NDArray[np.int64]:
    """The class to explain in each picture, (N,) int64, checked against the logits (N, K).

    Raises:
        UsageError: not one integer a picture, or out of range.
    """
    pictures, classes = logits.shape
    if targets is None:
        targets = np.argmax(logits, axis=1)
    chosen = np.asarray(targets(logits) if callable(targets) else targets)
    if chosen.shape != (pictures,) or not np.issubdtype(chosen.dtype, np.integer):
        raise UsageError(
            f"One class index a picture is needed, {pictures} in all; received an array of shape "
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


@contextmanager
def _mxnet_errors() -> Iterator[None]:
    """Turn what MXNet raises inside the block into a sentence."""
    try:
        yield
    except import_mxnet().base.MXNetError as error:
        text = first_line(error)
        memory = "out of memory" in text.lower() or "alloc" in text.lower()
        hint = " Use a smaller batch, or smaller pictures." if memory else ""
        raise NetworkError(f"MXNet could not run the network: {text}.{hint}") from error
