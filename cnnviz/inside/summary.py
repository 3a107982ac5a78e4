"""What a network is made of: each layer's output, parameters and multiply-adds.

All of it follows from the architecture; no weights are needed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cnnviz.errors import NetworkError
from cnnviz.network import Architecture
from cnnviz.network.graph import Graph, Node

#: Operators whose multiply-adds are counted.
COUNTED = {"Convolution", "Convolution_v1", "Deconvolution", "FullyConnected"}
BATCH_NORMS = {"BatchNorm", "BatchNorm_v1", "_contrib_SyncBatchNorm"}
_GAMMA, _FIRST_STATISTIC = 1, 3  # places among batch norm's inputs
_BYTES = 4  # of a float32, which is what cnnviz computes with


@dataclass(frozen=True)
class Window:
    """How a convolution or pooling goes over its input; sizes are height by width."""

    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    def __str__(self) -> str:
        """``3×3/2``: the kernel, and the stride where it is not 1; then dilation and groups."""
        text = "×".join(map(str, self.kernel))
        if any(step != 1 for step in self.stride):
            text += f"/{_short(self.stride)}"
        if any(step != 1 for step in self.dilation):
            text += f" d{_short(self.dilation)}"
        return text + (f" g{self.groups}" if self.groups > 1 else "")


@dataclass(frozen=True)
class LayerSummary:
    """One layer.

    Attributes:
        name: as ``cnnviz layers`` lists it.
        kind: likewise.
        shape: of the output, without the batch.
        window: kernel, stride, dilation and groups of a convolution or pooling; else empty.
        parameters: learned numbers that no earlier layer has.
        fixed: numbers that it stores without learning them: batch norm's running mean and
            variance, and a scale that is held at 1.
        multiply_adds: for one picture; 0 for all but convolutions and dense layers.
        shared: names of the parameters that an earlier layer has too, and that count there.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    window: Window
    parameters: int
    fixed: int
    multiply_adds: int
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """A network's layers in order, and what they add up to."""

    input_shape: tuple[int, int, int]
    layers: tuple[LayerSummary, ...]

    @property
    def parameters(self) -> int:
        """Learned numbers; what several layers share counts once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def fixed(self) -> int:
        """Numbers that are stored and not learned."""
        return sum(layer.fixed for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """For one picture."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Memory of all that is stored, as float32."""
        return _BYTES * (self.parameters + self.fixed)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """The kinds of layers whose work counts as none, in order of appearance."""
        kinds = dict.fromkeys(layer.kind for layer in self.layers)
        counted = {layer.kind for layer in self.layers if layer.multiply_adds}
        return tuple(kind for kind in kinds if kind not in counted)


def summarise(architecture: Architecture) -> Summary:
    """Count a network's parameters and multiply-adds.

    A convolution of C_in channels in g groups to C_out with a kernel of h×w and an output of H×W
    has H·W·C_out·(C_in/g)·h·w multiply-adds, and C_out·(C_in/g)·h·w parameters, C_out more with a
    bias; a dense layer is one with 1×1 for both, a transposed convolution one the other way round,
    where H×W is the input. Biases, and everything else, count no
    multiply-adds.

    Raises:
        NetworkError: a parameter's shape does not follow from the input's and is not known.
    """
    graph = architecture.graph
    shapes = {layer.index: layer.shape for layer in architecture.layers}
    counted: set[str] = set()
    layers = []
    for layer in architecture.layers:
        node = graph.nodes[layer.index]
        learned = fixed = 0
        shared = []
        for name, is_learned in _parameters(architecture, layer.index).items():
            if name in counted:
                shared.append(name)
            elif is_learned:
                learned += _size(architecture, name)
            else:
                fixed += _size(architecture, name)
            counted.add(name)
        layers.append(
            LayerSummary(
                layer.name,
                layer.kind,
                layer.shape,
                window(node),
                learned,
                fixed,
                _multiply_adds(
                    node,
                    shapes.get(node.inputs[0].node, architecture.input_shape),
                    layer.shape,
                ),
                tuple(shared),
            )
        )
    return Summary(architecture.input_shape, tuple(layers))


def window(node: Node) -> Window:
    """A convolution's or pooling's window; an empty one for everything else."""
    if node.op not in COUNTED | {"Pooling", "Pooling_v1"} or node.op == "FullyConnected":
        return Window()
    if node.attrs.get("global_pool", "").lower() in ("true", "1"):
        return Window()
    kernel = numbers(node, "kernel")
    ones = (1,) * len(kernel)
    return Window(
        kernel,
        numbers(node, "stride") or ones,
        numbers(node, "dilate") or ones,
        (numbers(node, "num_group") or (1,))[0],
    )


def numbers(node: Node, attribute: str) -> tuple[int, ...]:
    """An attribute's whole numbers, ``(3, 3)``; none if it is not given."""
    return tuple(map(int, re.findall(r"\d+", node.attrs.get(attribute, ""))))


def _parameters(architecture: Architecture, index: int) -> Mapping[str, bool]:
    """The names of all parameters that a layer reads, and whether they are learned."""
    graph = architecture.graph
    node = graph.nodes[index]
    found: dict[str, bool] = {}
    for place, entry in enumerate(node.inputs):
        if entry.node in architecture.dependent:
            continue
        held = node.op in BATCH_NORMS and (
            place >= _FIRST_STATISTIC or (place == _GAMMA and _holds_scale(node))
        )
        for name in _variables(graph, entry.node):
            found[name] = found.get(name, False) or not held
    return found


def _holds_scale(node: Node) -> bool:
    """Whether a batch norm takes its scale for 1 whatever is stored; MXNet's own default."""
    return node.attrs.get("fix_gamma", "True").lower() in ("true", "1")


def _variables(graph: Graph, index: int) -> Iterator[str]:
    """The variables that a value is made of: the value itself, or what a cast or reshape reads."""
    waiting, seen = [index], set()
    while waiting:
        index = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        node = graph.nodes[index]
        if node.is_variable:
            yield node.name
        waiting.extend(entry.node for entry in node.inputs)


def _size(architecture: Architecture, name: str) -> int:
    shape = architecture.parameter_shapes.get(name) or (0,)
    if 0 in shape:
        raise NetworkError(
            f"The shape of the parameter {name} does not follow from the network's input; give its "
            "weights with --weights."
        )
    return math.prod(shape)


def _multiply_adds(node: Node, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Those of a layer that reads the shape ``before`` and puts out ``after``."""
    if node.op not in COUNTED:
        return 0
    if node.op == "FullyConnected":
        flattens = node.attrs.get("flatten", "True").lower() in ("true", "1")
        return math.prod(after) * (math.prod(before) if flattens else before[-1])
    per_place = math.prod(numbers(node, "kernel"))
    (groups,) = numbers(node, "num_group") or (1,)
    if node.op == "Deconvolution":
        return math.prod(before) * numbers(node, "num_filter")[0] // groups * per_place
    channels = before[-1 if node.attrs.get("layout", "").endswith("C") else 0]
    return math.prod(after) * channels // groups * per_place


def _short(steps: tuple[int, ...]) -> str:
    return str(steps[0]) if len(set(steps)) == 1 else "×".join(map(str, steps))
