"""Forward and gradients of a network: NumPy in, NumPy out.

The tape
--------
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

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Union

import numpy as np
import numpy.typing as npt

from cnnviz.errors import NetworkError, UsageError
from cnnviz.network.graph import (
    Entry,
    Graph,
    Node,
    default_target,
    for_inference,
    is_spatial,
    normal_layer_name,
)
from cnnviz.network.runtime import Device, context, first_line, import_mxnet, parse_device

Float32 = npt.NDArray[np.float32]
ReluRule = Literal["standard", "guided", "deconvnet"]
RELU_RULES: tuple[ReluRule, ...] = ("standard", "guided", "deconvnet")
Targets = Union[None, Sequence[int], npt.NDArray[np.integer[Any]], Callable[[Float32], Any]]

_DATA = "data"


@dataclass(frozen=True)
class Layer:
    """One operator of a network, as it is listed and asked for.

    ``name`` is the path of the Gluon block that it belongs to (``features.28``), or, where no
    block stands for it, its ``node`` name in the traced graph. ``shape`` is without the batch.
    """

    name: str
    node: str
    kind: str
    shape: tuple[int, ...]
    aliases: tuple[str, ...] = ()
    index: int = field(default=-1, repr=False)

    @property
    def is_spatial(self) -> bool:
        """Whether the layer's output still has height and width, so that it can be explained."""
        return is_spatial(self.shape)


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


class Architecture:
    """A traced network without its weights: layers, shapes and the default target layer."""

    def __init__(
        self, graph: Graph, input_shape: tuple[int, int, int], paths: Mapping[Entry, Sequence[str]]
    ) -> None:
        """Take an inference graph; use :meth:`from_block`."""
        self.graph = graph
        self.input_shape = input_shape
        if len(graph.heads) != 1:
            raise NetworkError(
                f"The network has {len(graph.heads)} outputs; cnnviz explains networks with one, "
                "the logits."
            )
        self._dependent = graph.dependent_on(_DATA)
        if graph.heads[0].node not in self._dependent:
            raise NetworkError(f"The network's output does not depend on its input '{_DATA}'.")
        shapes = _infer_shapes(graph, input_shape)
        self.layers = self._name_layers(shapes, paths)
        self._by_index = {layer.index: layer for layer in self.layers}
        self.default_layer = self._by_index[default_target(graph, _DATA, shapes)]

    @classmethod
    def from_block(
        cls, block: Any, input_shape: tuple[int, int, int] = (3, 224, 224)
    ) -> Architecture:
        """Trace a Gluon HybridBlock, which need not be initialised.

        Args:
            block: takes one (N, C, H, W) array and returns (N, K) scores; a softmax at its end is
                looked through. It is left as it was found.
            input_shape: (C, H, W).

        Raises:
            NetworkError: the block cannot be traced, or is not a classifier of pictures.
        """
        symbol, outputs = _trace(block)
        traced = Graph.from_symbol(symbol)
        inference = for_inference(traced)
        position = {node.name: index for index, node in enumerate(traced.nodes)}
        paths: dict[Entry, list[str]] = {}

        def name(index: int, path: str) -> None:
            entry = inference.moved.get(Entry(index))
            if entry is not None and path and path not in paths.setdefault(entry, []):
                paths[entry].append(path)

        owners = {
            parameter.name: path.rpartition(".")[0]
            for path, parameter in block._collect_params_with_prefix().items()
        }
        for index, node in enumerate(traced.nodes):
            for source in node.inputs:
                if traced.nodes[source.node].name in owners:
                    name(index, owners[traced.nodes[source.node].name])
        for path, node_name in outputs:  # innermost block first
            if node_name in position:
                name(position[node_name], path)
        return cls(inference.graph, input_shape, paths)

    def layer(self, name: str) -> Layer:
        """The layer called ``name`` (``features.28``, ``features[28]`` or its node's name).

        Raises:
            UsageError: there is none, or it has no height and width any more.
        """
        wanted = normal_layer_name(name)
        by_name = {layer.name: layer for layer in self.layers}
        for layer in self.layers:
            for other in (layer.node, *layer.aliases):
                by_name.setdefault(other, layer)
        if wanted not in by_name:
            spatial = [name for name, layer in by_name.items() if layer.is_spatial]
            close = difflib.get_close_matches(wanted, spatial, n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(close)}? " if close else ""
            raise UsageError(
                f"This network has no layer '{name}'. {hint}`cnnviz layers` lists all of them; "
                f"the default is {self.default_layer.name}."
            )
        layer = by_name[wanted]
        if not layer.is_spatial:
            raise UsageError(
                f"Layer {layer.name} ({layer.kind}) gives {_shape_text(layer.shape)}, without "
                "height and width, so it cannot say where the network looked; "
                f"the default is {self.default_layer.name}."
            )
        return layer

    @property
    def classes(self) -> int:
        """The number of logits."""
        return int(np.prod(self._by_index[self.graph.heads[0].node].shape))

    def _name_layers(
        self, shapes: Mapping[int, tuple[int, ...]], paths: Mapping[Entry, Sequence[str]]
    ) -> tuple[Layer, ...]:
        layers = []
        taken: set[str] = set()
        for index in sorted(self._dependent):
            node = self.graph.nodes[index]
            if node.is_variable:
                continue
            names = [name for name in paths.get(Entry(index), ()) if name not in taken]
            name = names[0] if names else node.name
            taken.add(name)
            layers.append(Layer(name, node.name, node.kind, shapes[index], tuple(names[1:]), index))
        return tuple(layers)


def _shape_text(shape: Sequence[int]) -> str:
    return "×".join(str(size) for size in shape) or "a single number"


def _trace(block: Any) -> tuple[Any, list[tuple[str, str]]]:
    """The block's Symbol, and for every block in it its path and its output's node, inner first."""
    mx = import_mxnet()
    if not isinstance(block, mx.gluon.HybridBlock):
        raise NetworkError(
            f"A Gluon HybridBlock is needed, and {type(block).__name__} is none: cnnviz has to "
            "trace the network."
        )
    outputs: list[tuple[str, str]] = []
    handles = []

    def watch(parent: Any, prefix: str) -> None:
        for name, child in parent._children.items():
            path = f"{prefix}{name}"

            def note(_block: Any, _inputs: Any, output: Any, path: str = path) -> None:
                if isinstance(output, mx.sym.Symbol) and len(output.list_outputs()) == 1:
                    outputs.append((path, output.name))

            handles.append(child.register_forward_hook(note))
            watch(child, f"{path}.")

    watch(block, "")
    try:
        # A fresh name manager: node names do not depend on what was traced before.
        with mx.name.NameManager():
            symbol = block(mx.sym.var(_DATA))
    except Exception as error:
        raise NetworkError(
            f"The network cannot be traced ({type(error).__name__}: {first_line(error)}). It has "
            "to be hybridisable: one array in, and no Python decisions on its values."
        ) from error
    finally:
        for handle in handles:
            handle.detach()
    if isinstance(symbol, (list, tuple)):
        symbol = mx.sym.Group(list(symbol))
    return symbol, outputs


def _infer_shapes(graph: Graph, input_shape: tuple[int, int, int]) -> dict[int, tuple[int, ...]]:
    """For each node that depends on the input the shape of its first output, without the batch."""
    mx = import_mxnet()
    dependent = graph.dependent_on(_DATA)
    indices = [i for i in sorted(dependent) if not graph.nodes[i].is_variable]
    every = Graph(graph.nodes, tuple(Entry(index) for index in indices))
    symbol = mx.sym.load_json(every.to_json())
    try:
        _, shapes, _ = symbol.infer_shape(**{_DATA: (1, *input_shape)})
    except mx.base.MXNetError as error:
        raise NetworkError(
            f"The network does not take pictures of shape {_shape_text(input_shape)} "
            f"({first_line(error)})."
        ) from error
    if shapes is None:
        raise NetworkError(
            f"The shapes inside the network do not follow from an input of "
            f"{_shape_text(input_shape)}."
        )
    return {index: tuple(shape[1:]) for index, shape in zip(indices, shapes)}


@dataclass
class _Step:
    """One recorded operator: its leaves (one for each input that depends on the data) and outputs."""

    index: int
    sources: list[Entry]
    leaves: list[Any]
    outputs: list[Any]


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
        self._dependent = self._graph.dependent_on(_DATA)
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
        mx = import_mxnet()
        architecture = Architecture.from_block(block, input_shape)
        if any(not _known(parameter.shape) for parameter in block.collect_params().values()):
            block.infer_shape(mx.nd.zeros((1, *input_shape)))
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

    def logits(self, batch: Float32) -> Float32:
        """The logits (N, K) float32 of a batch (N, C, H, W) float32."""
        with _mxnet_errors():
            values = self._forward(self._enter(batch), None)
            return self._leave_logits(values[self._graph.heads[0]])

    def gradients(
        self,
        batch: Float32,
        targets: Targets = None,
        *,
        layer: str | None = None,
        relu_rule: ReluRule = "guided",
    ) -> Gradients:
        """One forward and one backward through the trunk: all that the explanations are made of.

        With y the logit of a picture's target (before any softmax) and A the target layer's
        output: A, the true gradient dy/dA (Selvaraju et al. 2017, below eq. 1), and dy/dx under a
        ReLU rule, which says what passes a ReLU f = max(0, z) backwards
        (Springenberg et al. 2015, fig. 1):

        - ``standard``: R = (z > 0) · R', the derivative;
        - ``deconvnet``: R = (R' > 0) · R';
        - ``guided``: R = (z > 0) · (R' > 0) · R'.

        The rule holds for every ReLU between input and logits, those in the head included, and
        for clipped ones (ReLU6), where (z > 0) becomes (0 < z < 6).

        Args:
            batch: (N, C, H, W) float32, preprocessed as the network wants it.
            targets: N class indices, a function that makes them from the logits (N, K), or None
                for each picture's highest logit (the lowest index among equals).
            layer: name of the target layer; None for the default.
            relu_rule: ``standard``, ``guided`` or ``deconvnet``.

        Raises:
            UsageError: unknown layer, rule, or a target out of range.
            NetworkError: the shape of the batch does not fit, a guided rule is asked of a network
                without ReLUs, or MXNet fails (out of memory, say).
        """
        if relu_rule not in RELU_RULES:
            raise UsageError(f"There is no ReLU rule '{relu_rule}': use {', '.join(RELU_RULES)}.")
        target_layer = self.default_layer if layer is None else self.architecture.layer(layer)
        relus = sum(self._graph.nodes[index].is_relu for index in self._dependent)
        if relu_rule != "standard" and relus == 0:
            raise NetworkError(
                f"0 of 0 ReLUs: this network has no ReLU for the {relu_rule} rule to act on, so "
                "its gradient would be the plain one under another name. Use the standard rule."
            )
        mx = import_mxnet()
        head = self._graph.heads[0]
        target_entry = Entry(target_layer.index)
        with _mxnet_errors():
            tape: list[_Step] = []
            data = self._enter(batch)
            values = self._forward(data, tape)
            output = values[head]
            logits = self._leave_logits(output)
            chosen = _choose(targets, logits)
            seed = mx.nd.one_hot(
                mx.nd.array(chosen, ctx=self._context, dtype="int32"), logits.shape[1]
            ).reshape(output.shape)
            activations = values[target_entry].asnumpy()
            if relu_rule == "standard":
                both = {target_entry, Entry(self._data_index)}
                gradients = self._backward(tape, seed, "standard", both)
                layer_gradients = gradients[target_entry]
            else:
                after = [step for step in tape if step.index > target_layer.index]
                layer_gradients = self._backward(
                    after, seed, "standard", {target_entry}, keep=True
                )[target_entry]
                gradients = self._backward(tape, seed, relu_rule, {Entry(self._data_index)})
        return Gradients(
            logits=logits,
            targets=chosen,
            layer=target_layer,
            activations=activations,
            layer_gradients=layer_gradients,
            input_gradients=gradients[Entry(self._data_index)],
            relu_rule=relu_rule,
            relus_total=relus,
            relus_guided=0 if relu_rule == "standard" else relus,
        )

    # -- the tape ---------------------------------------------------------------------------------

    def _forward(self, data: Any, tape: list[_Step] | None) -> dict[Entry, Any]:
        """Run every operator in order and return all values; record each alone when asked to."""
        mx = import_mxnet()
        last_use = {} if tape is not None else self._last_use
        values: dict[Entry, Any] = {Entry(self._data_index): data}
        for index in self._order:
            node = self._graph.nodes[index]
            arguments = []
            sources, leaves = [], []
            for entry, constant in zip(node.inputs, self._constants[index]):
                if constant is not None:
                    arguments.append(constant)
                elif tape is None:
                    arguments.append(values[entry])
                else:
                    leaf = values[entry].detach()  # shares the memory, has no history
                    sources.append(entry)
                    leaves.append(leaf)
                    arguments.append(leaf)
            if tape is None:
                outputs = self._operator(node)(*arguments)
            else:
                mx.autograd.mark_variables(
                    leaves, [mx.nd.empty(leaf.shape, ctx=self._context) for leaf in leaves]
                )
                with mx.autograd.record(train_mode=True):
                    outputs = self._operator(node)(*arguments)
            outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
            for position, output in enumerate(outputs):
                values[Entry(index, position)] = output
            if tape is not None:
                tape.append(_Step(index, sources, leaves, outputs))
            for entry in last_use.get(index, ()):
                del values[entry]
        return values

    def _backward(
        self,
        tape: Sequence[_Step],
        seed: Any,
        rule: ReluRule,
        wanted: Iterable[Entry],
        *,
        keep: bool = False,
    ) -> dict[Entry, Float32]:
        """Walk the tape backwards from the logits; return the gradients at the wanted entries.

        ``keep`` leaves the tape usable for another pass; without it each step's memory is given
        back as soon as it is done.
        """
        mx = import_mxnet()
        arrived: dict[Entry, Any] = {self._graph.heads[0]: seed}
        results: dict[Entry, Float32] = {}
        wanted = set(wanted)
        for position in range(len(tape) - 1, -1, -1):
            step = tape[position]
            entries = [Entry(step.index, output) for output in range(len(step.outputs))]
            for entry in wanted.intersection(entries):
                # Copied out now: the passes reuse the leaves' gradient arrays.
                results[entry] = arrived[entry].asnumpy()
            gradients = [arrived.pop(entry, None) for entry in entries]
            if all(gradient is None for gradient in gradients):
                continue
            node = self._graph.nodes[step.index]
            if node.is_relu and rule == "deconvnet":
                passed = [mx.nd.relu(gradients[0])]
            else:
                mx.autograd.backward(
                    step.outputs,
                    [
                        mx.nd.zeros_like(output) if gradient is None else gradient
                        for output, gradient in zip(step.outputs, gradients)
                    ],
                    retain_graph=keep,
                    train_mode=True,
                )
                passed = [leaf.grad for leaf in step.leaves]
                if node.is_relu and rule == "guided":
                    mx.nd.relu(passed[0], out=passed[0])
            for entry, gradient in zip(step.sources, passed):
                if entry in arrived:
                    arrived[entry] = arrived[entry] + gradient
                else:
                    arrived[entry] = gradient
            if not keep:
                tape[position].leaves.clear()
                tape[position].outputs.clear()
        for entry in wanted.difference(results):
            results[entry] = arrived[entry].asnumpy()
        return results

    # -- inside and outside -----------------------------------------------------------------------

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

    def _leave_logits(self, output: Any) -> Float32:
        logits: Float32 = output.asnumpy()
        return logits.reshape(logits.shape[0], -1)

    def _bind(self, parameters: Mapping[str, Any]) -> dict[int, list[Any]]:
        """For each operator on the way from input to logits its constant arguments, None elsewhere.

        What does not depend on the input (parameters, and whatever is computed from them alone)
        is worked out here, once.
        """
        mx = import_mxnet()
        graph = self._graph
        self._data_index = next(
            i for i, node in enumerate(graph.nodes) if node.is_variable and node.name == _DATA
        )
        self._order = [i for i in sorted(self._dependent) if not graph.nodes[i].is_variable]
        self._last_use: dict[int, list[Entry]] = {}
        for entry, readers in graph.consumers().items():
            if entry.node in self._dependent and entry not in graph.heads:
                self._last_use.setdefault(readers[-1], []).append(entry)
        constants: dict[Entry, Any] = {}
        bound: dict[int, list[Any]] = {}
        for index, node in enumerate(graph.nodes):
            if node.is_variable:
                if index == self._data_index:
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
            else:
                outputs = self._operator(node)(*arguments)
                outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
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


def _choose(targets: Targets, logits: Float32) -> npt.NDArray[np.int64]:
    """The class to explain in each picture, checked."""
    pictures, classes = logits.shape
    if targets is None:
        return np.argmax(logits, axis=1).astype(np.int64)
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
    return chosen.astype(np.int64)


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
