"""An exported network's symbol with its parameters: which variable is the image, and what it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from cnnviz.engines.mxnet.symbol import Entry, for_inference
from cnnviz.engines.mxnet.symbol import Graph as SymbolGraph
from cnnviz.engines.mxnet.symbol import Node as SymbolNode
from cnnviz.errors import NetworkError
from cnnviz.graph.architecture import Architecture
from cnnviz.importers.input_scale import Recognized
from cnnviz.importers.mxnet_checks import DATA, check_operators
from cnnviz.importers.mxnet_input_scale import recognize_scale
from cnnviz.importers.mxnet_symbol import architecture_of
from cnnviz.types import Shape

#: From which input on an operator's inputs are parameters.
_FIRST_PARAMETER = {
    "BatchNorm": 1,
    "BatchNorm_v1": 1,
    "Convolution": 1,
    "Convolution_v1": 1,
    "Deconvolution": 1,
    "Embedding": 1,
    "FullyConnected": 1,
    "GroupNorm": 1,
    "InstanceNorm": 1,
    "LayerNorm": 1,
    "LeakyReLU": 1,
    "_contrib_SyncBatchNorm": 1,
}
#: What may stand before the first convolution without changing the number of channels.
_BEFORE_CONVOLUTION = {
    "Activation",
    "BatchNorm",
    "Cast",
    "LeakyReLU",
    "_copy",
    "_div_scalar",
    "_minus_scalar",
    "_mul_scalar",
    "_plus_scalar",
    "_rdiv_scalar",
    "_rminus_scalar",
    "amp_cast",
    "broadcast_add",
    "broadcast_div",
    "broadcast_mul",
    "broadcast_sub",
    "clip",
}
_SHAPE = "__shape__"


@dataclass(frozen=True)
class SymbolNetwork:
    """A symbol with one output, in inference form, before the size of its images is known.

    Attributes:
        graph: its input is the variable ``data``.
        paths: names of nodes' outputs, first choice first.
        shapes: of variables, where the file or the parameters tell.
        arrays: the parameters, by name; some may be missing.
        declared: the shape that the symbol gives its input, with the batch; None if it gives none.
        channels: how many its first convolution takes; None if that is not known.
        always_dropping: the nodes that drop values at random even in inference; they are left out.
    """

    graph: SymbolGraph
    paths: Mapping[Entry, list[str]]
    shapes: Mapping[str, Shape]
    arrays: Mapping[str, NDArray[Any]]
    declared: Shape | None
    channels: int | None
    always_dropping: tuple[str, ...]

    @classmethod
    def of(
        cls, symbol: Any, arrays: Mapping[str, NDArray[Any]], *, whose: str, source: str | None
    ) -> SymbolNetwork:
        """Find the input among the variables, and what is known of it.

        Args:
            symbol: MXNet's, with one output.
            arrays: the parameters, by name.
            whose: what the network is called in errors.
            source: where the parameters come from; None if there are none.

        Raises:
            NetworkError: it has no input or several, or one that cnnviz cannot feed.
        """
        graph = SymbolGraph.from_symbol(symbol)
        inference = for_inference(graph)
        paths: dict[Entry, list[str]] = {}
        for index, node in enumerate(graph.nodes):
            if Entry(index) in inference.moved:  # a dropout's name leads to what it is fed
                paths.setdefault(inference.moved[Entry(index)], []).append(node.name)
        shapes = {
            node.name: shape for node in graph.nodes if (shape := _shape_of(node)) is not None
        }
        data = _find_input(inference.graph, arrays, whose, source)
        declared = shapes.pop(data, None)
        shapes.update((name, array.shape) for name, array in arrays.items())
        ready = _with_input(inference.graph, data)
        check_operators(ready)
        always = tuple(
            node.name
            for node in graph.nodes
            if node.op == "Dropout" and node.attrs.get("mode") == "always"
        )
        return cls(ready, paths, shapes, arrays, declared, _channels(ready, shapes), always)

    def scale(self, channels: int) -> Recognized | None:
        """What the first operators say about the pixels; None if they say nothing."""
        return recognize_scale(self.graph, DATA, channels, self.arrays.get)

    def architecture(
        self, input_shape: tuple[int, int, int], activation: str | None
    ) -> Architecture:
        """The network for images of a shape (C, H, W).

        Args:
            input_shape: of the images.
            activation: see :func:`cnnviz.importers.mxnet_symbol.architecture_of`.

        Raises:
            NetworkError: it is not a classifier of images, or does not take images of this size.
            UsageError: the activation does not go with it.
        """
        return architecture_of(
            self.graph, input_shape, self.paths, self.shapes, self.arrays.get, activation
        )


def _find_input(
    graph: SymbolGraph, arrays: Mapping[str, NDArray[Any]], whose: str, source: str | None
) -> str:
    """The one variable that is neither a parameter nor at a parameter's place."""
    names = [
        name
        for name in _free_variables(graph)
        if name not in arrays and not (source is None and _is_parameter_name(name))
    ]
    if len(names) == 1:
        return names[0]
    if not names:
        rest = "" if source is None else f", or {source} has values for them"
        raise NetworkError(f"{whose} has no input: all its variables are parameters{rest}.")
    if source is None and DATA in names:
        return DATA
    raise NetworkError(
        f"{whose} has {len(names)} inputs ({', '.join(names)}); cnnviz explains networks with one, "
        f"the image. Parameters among them are not in {source}."
    )


def _shape_of(node: SymbolNode) -> Shape | None:
    """The shape that a variable of the symbol declares."""
    text = node.attrs.get(_SHAPE)
    if not node.is_variable or text is None:
        return None
    try:
        shape = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    if not isinstance(shape, (tuple, list)) or not all(isinstance(size, int) for size in shape):
        return None
    return tuple(shape)


def _free_variables(graph: SymbolGraph) -> list[str]:
    """Names of the variables that stand nowhere at a parameter's place."""
    bound = {
        entry.node
        for node in graph.nodes
        for entry in node.inputs[_FIRST_PARAMETER.get(node.op, len(node.inputs)) :]
    }
    return [
        node.name
        for index, node in enumerate(graph.nodes)
        if node.is_variable and index not in bound
    ]


def _is_parameter_name(name: str) -> bool:
    return (
        re.search(r"_(weight|bias|gamma|beta|alpha|(moving|running)_(mean|var))$", name) is not None
    )


def _with_input(graph: SymbolGraph, data: str) -> SymbolGraph:
    """The graph with its input called ``data``, and no shapes but those that follow from it."""
    nodes = []
    for node in graph.nodes:
        if node.is_variable:
            if node.name == DATA != data:
                raise NetworkError(
                    f"The network's input is '{data}', yet a parameter is called '{DATA}'."
                )
            attrs = {key: value for key, value in node.attrs.items() if key != _SHAPE}
            node = replace(node, name=DATA if node.name == data else node.name, attrs=attrs)
        nodes.append(node)
    return SymbolGraph(tuple(nodes), graph.heads)


def _channels(graph: SymbolGraph, shapes: Mapping[str, Shape]) -> int | None:
    """How many channels the first convolution takes; None if other things come before it."""
    dependent = graph.dependent_on(DATA)
    for index in sorted(dependent):
        node = graph.nodes[index]
        if node.is_variable or node.op in _BEFORE_CONVOLUTION:
            continue
        weight = graph.nodes[node.inputs[1].node] if node.op == "Convolution" else None
        shape = shapes.get(weight.name) if weight is not None else None
        if shape is None or len(shape) != 4 or not shape[1]:  # not known without the weights
            return None
        return shape[1] * int(node.attrs.get("num_group", "1"))
    return None
