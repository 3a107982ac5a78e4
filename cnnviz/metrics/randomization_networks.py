"""Networks with random parameters, made of a trained one that stays as it is.

A *level* is a layer with weights (a convolution, a dense layer, a matrix that is multiplied with),
with all parameters from there on to the next one: its bias and batch norm, and where there are any
class tokens, position embeddings, layer scales, layer norms, slopes. So the levels together hold
every parameter of the network. One that several layers read belongs to the last of them.

What a parameter becomes depends on the seed and on its name alone: it is the same whichever levels
are random with it, and whichever engine runs the network.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cnnviz.engines.network import Network
from cnnviz.errors import UsageError
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import (
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
    MatMul,
    Opaque,
    Parameter,
    Where,
)
from cnnviz.graph.stored import constant_inputs, stored
from cnnviz.types import Float32

HOW = ("permute", "he")

_Role = Literal["weight", "zero", "one", "any"]
_WEIGHTED = (Conv2d, ConvTranspose2d, Linear, MatMul)
_NORMS = (BatchNorm, GroupNorm, InstanceNorm, LayerNorm)
#: What stands in a layer before training, by the input's name.
_INITIAL: dict[str, _Role] = {
    "bias": "zero",
    "shift": "zero",
    "mean": "zero",
    "scale": "one",
    "variance": "one",
}


@dataclass(frozen=True)
class Level:
    """A layer with weights, and what belongs to it.

    Attributes:
        layer: its name.
        parameters: the names of the parameters that are made random together.
    """

    layer: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """How parameters become random.

    Attributes:
        how: one of :data:`HOW`, see :func:`randomized`.
        seed: of what is drawn.
    """

    how: str = "permute"
    seed: int = 0


@dataclass(frozen=True)
class RandomNetwork:
    """A network of which something is random.

    Attributes:
        layer: the level that is; in a cascade the lowest.
        share: the part of the network's numbers that belong to random levels, from 0 to 1.
        network: it.
    """

    layer: str
    share: float
    network: Network


@dataclass(frozen=True)
class _Use:
    """What a parameter is to the layer that reads it.

    Attributes:
        layer: the layer's place in the graph.
        role: a ``weight``, which values are multiplied with and added up; what is ``zero`` or
            ``one`` before training; ``any`` other.
        fan_in: of a weight, how many values are added up.
        together: what parameters have in common that are permuted in the same way.
    """

    layer: int
    role: _Role
    fan_in: int
    together: str


def find_levels(architecture: Architecture) -> tuple[Level, ...]:
    """All levels of a network, from its input to its logits.

    Raises:
        UsageError: it has no parameters.
    """
    graph = architecture.graph
    uses = _uses(graph)
    owned: dict[int, list[str]] = {}
    for name, use in uses.items():
        owned.setdefault(use.layer, []).append(name)
    levels: list[tuple[str, list[str]]] = []
    begun = False  # what comes before the first layer with weights belongs to it
    for layer in architecture.layers:
        names = owned.get(layer.index, [])
        if not names:
            continue
        weighted = _is_weighted(graph, layer.index)
        if not levels or (weighted and begun):
            levels.append((layer.name, []))
        elif weighted:
            levels[-1] = (layer.name, levels[-1][1])
        begun = begun or weighted
        levels[-1][1].extend(names)
    if not levels:
        raise UsageError("This network has no parameters that could be made random.")
    return tuple(Level(name, tuple(names)) for name, names in levels)


def spaced(count: int, most: int) -> tuple[int, ...]:
    """At most so many places of ``count`` ones, evenly spaced, the last and the first with them."""
    if most == 1:
        return (count - 1,)
    places = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    return tuple(int(place) for place in places)


def cascade(
    network: Network, levels: Sequence[Level], drawing: Drawing, most: int
) -> Iterator[RandomNetwork]:
    """Networks of which ever more is random, from the logits' side down to the input.

    Whoever is given one should let it go before the next is made: then only one is in memory, and
    what it has in common with the trained one, or with the next, is there once.

    Args:
        network: as it was trained.
        levels: all that it has, as :func:`find_levels` returns them.
        drawing: how parameters become random.
        most: how many networks there are at most; their lowest random levels are evenly spaced.
    """
    downward = levels[::-1]
    sizes = _sizes(network.architecture, downward)
    changed, done = network, 0
    for place in spaced(len(downward), most):
        names = [name for level in downward[done : place + 1] for name in level.parameters]
        done = place + 1
        # What is random already is shared, so that each parameter is made random once.
        changed = changed.with_parameters(randomized(network, names, drawing))
        yield RandomNetwork(downward[place].layer, sum(sizes[:done]) / sum(sizes), changed)


def one_by_one(
    network: Network, levels: Sequence[Level], drawing: Drawing, most: int
) -> Iterator[RandomNetwork]:
    """Networks of which one level is random, the others being as trained; see :func:`cascade`."""
    downward = levels[::-1]
    sizes = _sizes(network.architecture, downward)
    for place in spaced(len(downward), most):
        yield RandomNetwork(
            downward[place].layer,
            sizes[place] / sum(sizes),
            network.with_parameters(randomized(network, downward[place].parameters, drawing)),
        )


def _sizes(architecture: Architecture, levels: Sequence[Level]) -> list[int]:
    """How many numbers each level has."""
    shapes = architecture.parameter_shapes
    return [sum(math.prod(shapes[name]) for name in level.parameters) for level in levels]


def randomized(network: Network, names: Sequence[str], drawing: Drawing) -> dict[str, Float32]:
    """Random values for some parameters of a network.

    ``permute`` brings the values of each array into another order: their distribution stays, and it
    works for whatever a network was stored as. The arrays of a batch norm change places together,
    so that a channel's scale still belongs to a variance (which stays positive) and a shift to a
    mean: a channel that training switched off would otherwise be amplified without bound. An array
    of equal values stays as it is.

    ``he`` makes the network what it was before its training: weights are drawn from a normal
    distribution with variance 2 / fan-in (He et al. 2015, equation 10), biases are 0, norms have
    scale 1 and shift 0, batch norms mean 0 and variance 1. Such weights keep the scale of what goes
    through them, which the statistics of the trained network would not: behind its 55 batch norms
    the logits of a ResNet-56 are of the order of 10³¹. What is no weight, bias or norm (class
    tokens, position embeddings, layer scales, slopes) has no fan-in, and is permuted.

    Args:
        network: as it was trained.
        names: of the parameters.
        drawing: how they become random.

    Returns:
        New arrays by name.
    """
    graph = network.architecture.graph
    initial, seed = drawing.how == "he", drawing.seed
    uses = _uses(graph)
    places = {
        node.name: Value(index)
        for index, node in enumerate(graph.nodes)
        if isinstance(node.operator, Parameter)
    }
    found = {}
    for name in names:
        use = uses[name]
        shape = graph.parameters[name]
        if initial and use.role in ("zero", "one"):
            found[name] = np.full(shape, float(use.role == "one"), np.float32)
        elif initial and use.role == "weight":
            normal = _random(seed, name).standard_normal(shape, np.float32)
            found[name] = normal * np.float32(math.sqrt(2 / use.fan_in))
        else:
            values = network.engine.constant(places[name])
            assert values is not None  # no parameter depends on the input
            order = _random(seed, use.together)
            found[name] = order.permutation(values.ravel()).reshape(values.shape)
    return found


def _random(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(name.encode())))


def _uses(graph: Graph) -> dict[str, _Use]:
    """What the parameters are to the last layer that reads them; without masks, which are none."""
    found = {}
    for index in graph.layers:
        node = graph.nodes[index]
        for place, value in constant_inputs(graph, index).items():
            if isinstance(node.operator, Where) and place == 0:
                continue
            names = list(stored(graph, value))
            for name in names:
                # Of several that make up a weight none has a fan-in of its own.
                role, fan_in = _role(graph, index, place) if len(names) == 1 else ("any", 0)
                norm = isinstance(node.operator, BatchNorm) and role != "any"
                found[name] = _Use(index, role, fan_in, node.name if norm else name)
    return found


def _role(graph: Graph, index: int, place: int) -> tuple[_Role, int]:
    """What a constant input is to a layer, and a weight's fan-in."""
    node = graph.nodes[index]
    operator, shape = node.operator, graph.shape(node.inputs[place])
    if isinstance(operator, MatMul):
        return "weight", shape[-2] if place else shape[-1]
    if not isinstance(operator, (*_WEIGHTED, *_NORMS)):
        return "any", 0
    name = operator.inputs[place]
    if name == "weight":
        if isinstance(operator, ConvTranspose2d):  # (in, out / groups, kh, kw)
            return "weight", shape[0] // operator.groups * math.prod(shape[2:])
        return "weight", math.prod(shape[1:])
    return _INITIAL.get(name, "any"), 0


def _is_weighted(graph: Graph, index: int) -> bool:
    operator = graph.nodes[index].operator
    if isinstance(operator, Opaque):
        return operator.has("convolves") or operator.has("mixes_channels")
    return isinstance(operator, _WEIGHTED)
