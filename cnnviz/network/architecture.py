"""A traced network without its weights: what can be known, and checked, before they are loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.errors import NetworkError, UsageError
from cnnviz.network.canonical import Lookup, with_plain_relus
from cnnviz.network.default_layer import default_target, stage_targets
from cnnviz.network.ends import Activation, read_end
from cnnviz.network.graph import (
    Entry,
    Graph,
    for_inference,
    is_spatial,
    normal_layer_name,
    pruned,
)
from cnnviz.network.heads import Head, choose_head
from cnnviz.network.regions import Region, find_regions
from cnnviz.network.runtime import arrays_of, first_line, import_mxnet
from cnnviz.network.shapes import Shaped, shaped
from cnnviz.network.shapes import shape_text as shape_text
from cnnviz.text import matching, similar

DATA = "data"  #: name of the input variable of every traced graph
CHANNELS_LAST = ("NHWC", "NWC", "NDHWC")  #: what MXNet calls such layouts
_SCALING = {
    *("Cast", "_copy", "_div_scalar", "_minus_scalar", "_mul_scalar", "_plus_scalar"),
    *("broadcast_add", "broadcast_div", "broadcast_mul", "broadcast_sub"),
}


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


class Architecture:
    """A traced network without its weights: layers, shapes and the default target layer.

    Attributes:
        graph: the network in inference form, down to what the logits are read from; its input is
            the variable ``data``.
        end: how they are read from that, and what makes probabilities of them.
        input_shape: (C, H, W).
        layers: all operators between input and logits, in order.
        default_layer: the layer that is explained when nobody names one.
        parameter_shapes: by the names of the graph's variables, as they follow from the input.
    """

    def __init__(
        self,
        graph: Graph,
        input_shape: tuple[int, int, int],
        paths: Mapping[Entry, Sequence[str]],
        hints: Mapping[str, tuple[int, ...]] | None = None,
        values: Lookup = lambda _name: None,
        activation: str | None = None,
    ) -> None:
        """Take an inference graph; use :meth:`from_block`.

        Args:
            graph: what :func:`for_inference` returned.
            input_shape: (C, H, W).
            paths: names of nodes' outputs, first choice first; nodes without have their own.
            hints: shapes of parameters, for those that do not follow from the input's shape.
            values: of the graph's variables by name, None where they are not known: for constants
                by which ReLUs are known.
            activation: what makes probabilities of the logits, one of
                :data:`cnnviz.network.ends.ACTIVATIONS`; None for what the graph ends with.
        """
        self.input_shape = input_shape
        if len(graph.heads) != 1:
            raise NetworkError(
                f"The network has {len(graph.heads)} outputs; cnnviz explains networks with one, "
                "the logits."
            )
        if graph.heads[0].node not in graph.dependent_on(DATA):
            raise NetworkError(f"The network's output does not depend on its input '{DATA}'.")
        check_layout(graph)
        known = shaped(graph, DATA, input_shape, hints or {})
        self.takes_batches = known.takes_batches
        head, self.end = read_end(known.graph, known.shapes, DATA, activation)
        self.outputs = math.prod(known.shapes[head])
        kept, shapes_of, paths = _cut(known, head, paths)
        self.graph, moved = with_plain_relus(kept, DATA, shapes_of, values)
        self.dependent = self.graph.dependent_on(DATA)
        variables = {node.name for node in self.graph.nodes if node.is_variable}
        self.parameter_shapes = {
            name: shape for name, shape in known.parameters.items() if name in variables
        }
        names: dict[Entry, list[str]] = {}
        shapes: dict[int, tuple[int, ...]] = {}
        for old, new in sorted(moved.items(), reverse=True):  # what was part of a layer after it
            names.setdefault(Entry(new), []).extend(
                (*paths.get(Entry(old), ()), kept.nodes[old].name)
            )
            if Entry(old) in shapes_of:
                shapes.setdefault(new, shapes_of[Entry(old)][1:])
        for index in sorted(self.dependent, reverse=True):  # what was put before a layer
            if index not in shapes:
                shapes[index] = shapes[index + 1]
        # One number a picture may lack an axis for classes.
        shapes[self.graph.heads[0].node] = shapes[self.graph.heads[0].node] or (1,)
        self.layers = self._name_layers(shapes, names)
        self._by_index = {layer.index: layer for layer in self.layers}
        self._regions = find_regions(self.graph, DATA, shapes)
        self.default_layer = self._by_index[default_target(self.graph, DATA, shapes, self._regions)]
        self._stages = stage_targets(self.graph, DATA, shapes, self._regions)

    @classmethod
    def from_block(
        cls,
        block: Any,
        input_shape: tuple[int, int, int] = (3, 224, 224),
        activation: str | None = None,
        head: Head = None,
    ) -> Architecture:
        """Trace a Gluon HybridBlock, which need not be initialised.

        Args:
            block: takes one (N, C, H, W) array and returns (N, K) scores; a softmax at its end, or
                whatever makes probabilities of them, is looked through. It is left as it was found.
            input_shape: (C, H, W).
            activation: ``softmax``, ``sigmoid`` or ``none``, where the block does not end with what
                makes probabilities of its logits.
            head: which of several outputs gives the scores: its number, or the name of its node.

        Raises:
            NetworkError: the block cannot be traced, or is not a classifier of pictures.
            UsageError: there is no such head, or there are several.
        """
        symbol, outputs = _trace(block)

        def read(chosen: Any) -> Architecture:
            return cls._of_trace(block, chosen, outputs, input_shape, activation)

        return read(choose_head(symbol, head, whose="The network", option="head", attempt=read))

    @classmethod
    def _of_trace(
        cls,
        block: Any,
        symbol: Any,
        outputs: Sequence[tuple[str, str]],
        input_shape: tuple[int, int, int],
        activation: str | None,
    ) -> Architecture:
        """From a block's Symbol with one output and what :func:`_trace` found beside it."""
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
        parameters = dict(block.collect_params().items())

        def value(name: str) -> npt.NDArray[Any] | None:
            parameter = parameters.get(name)
            if parameter is None or parameter._data is None:
                return None
            return np.asarray(parameter.data(parameter.list_ctx()[0]).asnumpy())

        known = {
            name: tuple(parameter.shape)
            for name, parameter in parameters.items()
            if parameter.shape and min(parameter.shape) > 0
        }

        return cls(inference.graph, input_shape, paths, known, value, activation)

    def layer(self, name: str) -> Layer:
        """The layer called ``name``, as :meth:`find` has it, if it still has height and width.

        Raises:
            UsageError: there is none, or it has no height and width any more.
        """
        layer = self.find(name)
        if not layer.is_spatial:
            raise UsageError(
                f"Layer {layer.name} ({layer.kind}) gives {shape_text(layer.shape)}, without "
                "height and width, so it cannot say where the network looked; "
                f"the default is {self.default_layer.name}."
            )
        return layer

    def find(self, name: str) -> Layer:
        """The layer called ``name`` (``features.28``, ``features[28]`` or its node's name).

        A name that is written in the very same way comes before one that only compares equal
        (:func:`cnnviz.text.folded`).

        Raises:
            UsageError: there is none, or there are several.
        """
        wanted, by_name = normal_layer_name(name), self._by_name
        found = {by_name[other].index: other for other in matching(wanted, by_name)}
        if len(found) > 1:
            raise UsageError(
                f"The name '{name}' fits {len(found)} layers, {' and '.join(found.values())}: "
                "write it as `cnnviz layers` does."
            )
        if not found:
            spatial = [name for name, layer in by_name.items() if layer.is_spatial]
            close = similar(wanted, spatial, cutoff=0.5)
            hint = f"Did you mean {' or '.join(close)}? " if close else ""
            raise UsageError(
                f"This network has no layer '{name}'. {hint}`cnnviz layers` lists all of them; "
                f"`explain` takes {self.default_layer.name} by default."
            )
        return by_name[next(iter(found.values()))]

    def parted(self, names: str) -> list[str]:
        """The layers' names in a list parted by commas; a layer may have commas in its name."""
        if "," not in names or matching(normal_layer_name(names), self._by_name):
            return [names]
        return [name.strip() for name in names.split(",")]

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        """Every layer by its name, and by others where these are no layer's name."""
        by_name = {layer.name: layer for layer in self.layers}
        for layer in self.layers:
            for other in (layer.node, *layer.aliases):
                by_name.setdefault(other, layer)
        return by_name

    def stages(self) -> tuple[Layer, ...]:
        """The network's natural stages, in order: the last layer at each resolution.

        Where branches join, the last join at each: ResNet's four stages; elsewhere the last
        convolution: VGG's five blocks. Each with its batch norm, a join also with its activation.
        The last stage is the default layer.
        """
        return tuple(self._by_index[index] for index in self._stages)

    def region(self, layer: Layer) -> Region:
        """The part of the image that a layer's output was computed from."""
        return self._regions[Entry(layer.index)]

    @property
    def relus(self) -> int:
        """The number of ReLUs between input and logits; 0 for a network of tanh, PReLU or swish."""
        return sum(self.graph.nodes[layer.index].is_relu for layer in self.layers)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """What the logits are read from, for one picture: (K,) or (K, 1, 1) for a classifier."""
        return self._by_index[self.graph.heads[0].node].shape

    @property
    def classes(self) -> int:
        """The number of logits."""
        return self.end.classes(self.outputs)

    @property
    def activation(self) -> Activation:
        """What makes probabilities of the logits."""
        return self.end.activation

    def class_names(self, labels: Sequence[str], network: str) -> tuple[str, ...]:
        """The names of the classes; see :meth:`cnnviz.network.ends.End.names`."""
        return self.end.names(labels, self.classes, network)

    def _name_layers(
        self, shapes: Mapping[int, tuple[int, ...]], paths: Mapping[Entry, Sequence[str]]
    ) -> tuple[Layer, ...]:
        layers = []
        taken: set[str] = set()
        for index in sorted(self.dependent):
            node = self.graph.nodes[index]
            if node.is_variable:
                continue
            names = [name for name in paths.get(Entry(index), ()) if name not in taken]
            name = names[0] if names else node.name
            taken.add(name)
            layers.append(Layer(name, node.name, node.kind, shapes[index], tuple(names[1:]), index))
        return tuple(layers)


#: Image operators that take bytes as height x width x channels.
_OF_BYTES = re.compile(r"_(npx__)?image_(crop|resize|to_tensor|random_.*|flip_.*)")


def check_layout(graph: Graph) -> None:
    """Refuse a network that has its channels last.

    Raises:
        NetworkError: it, or a layer of it, does.
    """
    dependent = graph.dependent_on(DATA)
    for index in sorted(dependent):
        node = graph.nodes[index]
        if node.attrs.get("layout") in CHANNELS_LAST:
            raise NetworkError(
                f"The network keeps channels last (layout {node.attrs['layout']} in {node.name}); "
                "cnnviz explains networks that keep them first (NCHW)."
            )
        if _OF_BYTES.fullmatch(node.op):
            raise NetworkError(
                "The network takes images as bytes, height × width × channels, and prepares them "
                f"itself ({node.op} in {node.name}); cnnviz feeds it numbers, channels × height × "
                "width. Export it without its first steps."
            )
        axes = re.sub(r"[^0-9]", "", node.attrs.get("axes", ""))
        if node.op == "transpose" and axes == "0312" and _is_image(graph, node.inputs[0]):
            raise NetworkError(
                "The network takes images as height × width × channels (it transposes its input in "
                f"{node.name}); cnnviz feeds it channels × height × width. Export it without that "
                "step."
            )


def _is_image(graph: Graph, entry: Entry) -> bool:
    """Whether this is the input, be it scaled."""
    node = graph.nodes[entry.node]
    while node.op in _SCALING:
        node = graph.nodes[node.inputs[0].node]
    return node.is_variable and node.name == DATA


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
        # Blocks written with mx.np take only arrays of its kind, and others only of the other.
        now = mx.util.is_np_array()
        try:
            symbol = _called(block, numpy=now)
        except NetworkError as error:
            outputs.clear()
            try:
                symbol = _called(block, numpy=not now)
            except NetworkError:
                raise error from error.__cause__
    finally:
        for handle in handles:
            handle.detach()
    flat = [one.as_nd_ndarray() for one in _flattened(symbol)]
    return flat[0] if len(flat) == 1 else mx.sym.Group(flat), outputs


def _called(block: Any, *, numpy: bool) -> Any:
    """What a block makes of a variable, as arrays of mx.np or of mx.nd are traced."""
    mx = import_mxnet()
    data = mx.sym.var(DATA)
    try:
        # A fresh name manager: node names do not depend on what was traced before.
        with mx.name.NameManager(), arrays_of(numpy=numpy):
            return block(data.as_np_ndarray() if numpy else data)
    except Exception as error:
        raise NetworkError(
            f"The network cannot be traced ({type(error).__name__}: {first_line(error)}). It has "
            "to be hybridisable: one array in, and no Python decisions on its values."
        ) from error


def _flattened(outputs: Any) -> list[Any]:
    """Symbols out of lists in lists."""
    if not isinstance(outputs, (list, tuple)):
        return [outputs]
    return [symbol for several in outputs for symbol in _flattened(several)]


def _cut(
    known: Shaped, head: Entry, paths: Mapping[Entry, Sequence[str]]
) -> tuple[Graph, dict[Entry, tuple[int, ...]], dict[Entry, Sequence[str]]]:
    """What of a graph an entry needs, with the shapes and names in it."""
    kept = pruned(Graph(known.graph.nodes, (head,)))
    shapes = {
        Entry(kept.moved[Entry(entry.node)].node, entry.output): shape
        for entry, shape in known.shapes.items()
        if Entry(entry.node) in kept.moved
    }
    named = {kept.moved[entry]: names for entry, names in paths.items() if entry in kept.moved}
    return kept.graph, shapes, named
