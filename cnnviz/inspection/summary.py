"""What a network is made of: each layer's output, parameters and multiply-adds.

All of it follows from the architecture; no weights are needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnviz.errors import NetworkError
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.operators import AvgPool2d, Conv2d, ConvTranspose2d, MaxPool2d, Operator
from cnnviz.graph.stored import read_by
from cnnviz.types import Shape

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
            variance, and a scale or shift that is not trained.
        multiply_adds: for one image; 0 for all but convolutions, dense layers and products.
        shared: names of the parameters that an earlier layer has too, and that count there.
    """

    name: str
    kind: str
    shape: Shape
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
        """For one image."""
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


def summarize(architecture: Architecture) -> Summary:
    """Count a network's parameters and multiply-adds.

    A convolution of C_in channels in g groups to C_out with a kernel of h×w and an output of H×W
    has H·W·C_out·(C_in/g)·h·w multiply-adds, and C_out·(C_in/g)·h·w parameters, C_out more with a
    bias; a dense layer is one with 1×1 for both; in a transposed convolution H×W is the input.
    A product of matrices of h×k and k×w has h·k·w. Biases and all other layers count none.

    Raises:
        NetworkError: a parameter's shape does not follow from the input's and is not known.
    """
    graph = architecture.graph
    counted: set[str] = set()
    layers = []
    for layer in architecture.layers:
        node = graph.nodes[layer.index]
        learned = fixed = 0
        shared = []
        for name, is_learned in read_by(graph, layer.index).items():
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
                window(node.operator),
                learned,
                fixed,
                node.operator.multiply_adds(layer.shape, *map(graph.shape, node.inputs)),
                tuple(shared),
            )
        )
    return Summary(architecture.input_shape, tuple(layers))


def window(operator: Operator) -> Window:
    """A convolution's or pooling's window; an empty one for everything else."""
    if isinstance(operator, MaxPool2d):
        return Window(operator.kernel, operator.stride, operator.dilation)
    if isinstance(operator, AvgPool2d):
        return Window(operator.kernel, operator.stride, (1, 1))
    if isinstance(operator, (Conv2d, ConvTranspose2d)):
        return Window(operator.kernel, operator.stride, operator.dilation, operator.groups)
    return Window()


def _size(architecture: Architecture, name: str) -> int:
    shape = architecture.parameter_shapes.get(name) or (0,)
    if 0 in shape:
        raise NetworkError(
            f"The shape of the parameter {name} does not follow from the network's input; give its "
            "weights with --weights."
        )
    return math.prod(shape)


def _short(steps: tuple[int, ...]) -> str:
    return str(steps[0]) if len(set(steps)) == 1 else "×".join(map(str, steps))
