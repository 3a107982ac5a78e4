"""Small transformers and token mixers, written operator by operator, and what PyTorch makes of one.

Images are (3, 12, 16), patches 4×4: 3·4 places, so that rows and columns cannot be mistaken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnnviz.engines.base import parse_device
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import (
    GELU,
    Add,
    Concat,
    Conv2d,
    Input,
    LayerNorm,
    Linear,
    MatMul,
    Mean,
    Multiply,
    Operator,
    Parameter,
    Reshape,
    Slice,
    Softmax,
    Split,
    Take,
    Transpose,
)
from cnnviz.types import Shape
from tests.support.networks import random_parameters

SIZE = (3, 12, 16)
GRID = (3, 4)
PLACES = 12
CHANNELS = 8
HEADS = 2
CLASSES = 5
EPS = 1e-5


@dataclass
class Writer:
    """A graph that is being written; methods add an operator and return what it gives."""

    size: Shape = SIZE
    nodes: list[Node] = field(default_factory=list)
    shapes: list[tuple[Shape, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.input = self.add(Input(self.size), name="image")

    def add(self, operator: Operator, *inputs: Value, name: str = "") -> Value:
        """Any operator."""
        self.shapes.append(operator.shapes(*(self.shape(value) for value in inputs)))
        self.nodes.append(Node(operator, name or f"node{len(self.nodes)}", inputs))
        return Value(len(self.nodes) - 1)

    def shape(self, value: Value) -> Shape:
        """Of what an operator gave."""
        return self.shapes[value.node][value.output]

    def parameter(self, name: str, *shape: int) -> Value:
        """An array."""
        return self.add(Parameter(shape), name=name)

    def patches(self, name: str = "patch") -> Value:
        """The images in patches of 4×4, (C, h, w)."""
        weights = self.parameter(f"{name}.weight", CHANNELS, self.size[0], 4, 4)
        bias = self.parameter(f"{name}.bias", CHANNELS)
        operator = Conv2d(CHANNELS, (4, 4), (4, 4))
        return self.add(operator, self.input, weights, bias, name=name)

    def tokens(self, maps: Value) -> Value:
        """Maps (C, h, w) as (h·w, C)."""
        channels, height, width = self.shape(maps)
        rows = self.add(Reshape((channels, height * width)), maps)
        return self.add(Transpose((1, 0)), rows, name="tokens")

    def linear(self, data: Value, features: int, name: str) -> Value:
        """A dense layer over the last axis."""
        flatten = len(self.shape(data)) == 1
        weights = self.parameter(f"{name}.weight", features, self.shape(data)[-1])
        bias = self.parameter(f"{name}.bias", features)
        return self.add(Linear(features, flatten), data, weights, bias, name=name)

    def norm(self, data: Value, name: str) -> Value:
        """A layer norm over the last axis."""
        stored = [
            self.parameter(f"{name}.{one}", self.shape(data)[-1]) for one in ("gamma", "beta")
        ]
        return self.add(LayerNorm((-1,), EPS), data, *stored, name=name)

    def permuted(self, data: Value, *axes: int) -> Value:
        """Axes in another order."""
        return self.add(Transpose(axes), data)

    def reshaped(self, data: Value, *size: int) -> Value:
        """Another shape."""
        return self.add(Reshape(size), data)

    def attention(self, data: Value, name: str) -> Value:
        """Self-attention over tokens (..., T, C), without what stands around it."""
        *outer, count, channels = self.shape(data)
        size, n = channels // HEADS, len(outer)
        both = self.linear(data, 3 * channels, f"{name}.qkv")
        both = self.reshaped(both, *outer, count, 3, HEADS, size)
        both = self.permuted(both, n + 1, *range(n), n + 2, n, n + 3)
        parts = self.add(Split(0, (1, 2)), both)
        query, key, value = (
            self.reshaped(Value(parts.node, number), *outer, HEADS, count, size)
            for number in range(3)
        )
        last = (*range(n + 1), n + 2, n + 1)
        scores = self.add(MatMul(), query, self.permuted(key, *last))
        scale = self.parameter(f"{name}.scale", *(1,) * (n + 3))
        weights = self.add(Softmax(), self.add(Multiply(), scores, scale))
        mixed = self.permuted(self.add(MatMul(), weights, value), *range(n), n + 1, n, n + 2)
        mixed = self.reshaped(mixed, *outer, count, channels)
        return self.linear(mixed, channels, f"{name}.proj")

    def mlp(self, data: Value, name: str) -> Value:
        """Two dense layers, the same for all tokens."""
        channels = self.shape(data)[-1]
        hidden = self.add(GELU(), self.linear(data, 2 * channels, f"{name}.fc1"))
        return self.linear(hidden, channels, f"{name}.fc2")

    def block(self, data: Value, name: str) -> Value:
        """A block of a vision transformer."""
        data = self.add(Add(), data, self.attention(self.norm(data, f"{name}.norm1"), name))
        mixed = self.mlp(self.norm(data, f"{name}.norm2"), name)
        return self.add(Add(), data, mixed, name=name)

    def finish(self, output: Value) -> Graph:
        """The graph."""
        return Graph(tuple(self.nodes), output)


def vision_transformer(*, pool: str = "token", prefix: int = 1, depth: int = 2) -> Graph:
    """A ViT whose logits are read from the class ``token`` or the ``mean`` of the places.

    Args:
        pool: ``token`` or ``mean``.
        prefix: how many tokens stand before the places; the first is the class token.
        depth: how many blocks: ``block0``, ``block1``.
    """
    w = Writer()
    data = w.tokens(w.patches())
    if prefix:
        data = w.add(Concat(0), w.parameter("prefix", prefix, CHANNELS), data)
    data = w.add(Add(), data, w.parameter("position", prefix + PLACES, CHANNELS))
    for number in range(depth):
        data = w.block(data, f"block{number}")
    data = w.norm(data, "norm")
    if pool == "token":
        data = w.reshaped(w.add(Take(0, (0,)), data), CHANNELS)
    else:
        places = Slice((prefix, 0), (prefix + PLACES, CHANNELS), (1, 1))
        data = w.add(Mean((0,)), w.add(places, data))
    return w.finish(w.linear(data, CLASSES, "head"))


def mixer() -> Graph:
    """An MLP-Mixer of two blocks, which has no attention (Tolstikhin et al. 2021)."""
    w = Writer()
    data = w.tokens(w.patches())
    for number in range(2):
        name = f"block{number}"
        turned = w.permuted(w.norm(data, f"{name}.norm1"), 1, 0)
        mixed = w.permuted(w.mlp(turned, f"{name}.tokens"), 1, 0)
        data = w.add(Add(), data, mixed, name=f"{name}.mixed")
        mixed = w.mlp(w.norm(data, f"{name}.norm2"), f"{name}.channels")
        data = w.add(Add(), data, mixed, name=name)
    return w.finish(w.linear(w.add(Mean((0,)), w.norm(data, "norm")), CLASSES, "head"))


def swin() -> Graph:
    """A Swin transformer of two stages, 6×8 and 3×4 places, channels last (Liu et al. 2021).

    Each has a block with windows of 3×4 and, in the first, one with shifted windows.
    """
    w = Writer((3, 24, 32))
    data = w.permuted(w.patches(), 1, 2, 0)
    for number, shift in enumerate((0, 1)):
        data = _swin_block(w, data, f"stage0.{number}", shift)
    height, width, channels = w.shape(data)
    corners = [
        w.add(Slice((down, across, 0), (height, width, channels), (2, 2, 1)), data)
        for across in (0, 1)
        for down in (0, 1)
    ]
    merged = w.norm(w.add(Concat(2), *corners), "merge.norm")
    data = w.linear(merged, 2 * channels, "merge")
    data = _swin_block(w, data, "stage1.0", 0)
    return w.finish(w.linear(w.add(Mean((0, 1)), w.norm(data, "norm")), CLASSES, "head"))


def _swin_block(w: Writer, data: Value, name: str, shift: int) -> Value:
    height, width, channels = w.shape(data)
    down, across = height // 3, width // 4
    inner = _rolled(w, w.norm(data, f"{name}.norm1"), shift)
    inner = w.permuted(w.reshaped(inner, down, 3, across, 4, channels), 0, 2, 1, 3, 4)
    inner = w.attention(w.reshaped(inner, down * across, PLACES, channels), name)
    inner = w.permuted(w.reshaped(inner, down, across, 3, 4, channels), 0, 2, 1, 3, 4)
    inner = _rolled(w, w.reshaped(inner, height, width, channels), -shift)
    data = w.add(Add(), data, inner, name=f"{name}.attended")
    return w.add(Add(), data, w.mlp(w.norm(data, f"{name}.norm2"), name), name=name)


def _rolled(w: Writer, data: Value, shift: int) -> Value:
    """Rows and columns shifted around; what leaves at one end comes in at the other."""
    if shift == 0:
        return data
    for axis in (0, 1):
        cut = shift % w.shape(data)[axis]
        parts = w.add(Split(axis, (cut,)), data)
        data = w.add(Concat(axis), Value(parts.node, 1), parts)
    return data


def network(graph: Graph, seed: int = 0, engine: str = "auto") -> Network:
    """A network with random weights, on the CPU."""
    architecture = Architecture(graph, {})
    arrays = random_parameters(graph, seed)
    return Network(architecture, build_engine(graph, arrays, parse_device("cpu"), engine))


def images(count: int = 2, size: Shape = SIZE, seed: int = 1) -> np.ndarray[Any, Any]:
    """Noise as the networks take it."""
    return np.random.default_rng(seed).normal(size=(count, *size)).astype(np.float32)


def torch_logits(
    arrays: Mapping[str, Any], batch: Any, prefix: int = 1, pool: str = "token"
) -> Any:
    """What :func:`vision_transformer` computes, written with PyTorch's own functions.

    Args:
        arrays: the parameters, by name, as tensors.
        batch: (N, 3, 12, 16).
        prefix: see there.
        pool: likewise.

    Returns:
        The logits, and what enters each block and the last norm, (N, tokens, C).
    """
    from torch import cat
    from torch.nn import functional as F

    def linear(data: Any, name: str) -> Any:
        return F.linear(data, arrays[f"{name}.weight"], arrays[f"{name}.bias"])

    def norm(data: Any, name: str) -> Any:
        return F.layer_norm(data, (CHANNELS,), arrays[f"{name}.gamma"], arrays[f"{name}.beta"], EPS)

    data = F.conv2d(batch, arrays["patch.weight"], arrays["patch.bias"], stride=4)
    data = data.flatten(2).mT
    if prefix:
        data = cat([arrays["prefix"].expand(len(batch), -1, -1), data], 1)
    data = data + arrays["position"]
    entering = [data]
    for name in sorted({key.split(".")[0] for key in arrays if key.startswith("block")}):
        parts = linear(norm(data, f"{name}.norm1"), f"{name}.qkv").unflatten(2, (3, HEADS, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scale = float(arrays[f"{name}.scale"])
        mixed = F.scaled_dot_product_attention(query, key, value, scale=scale)
        data = data + linear(mixed.transpose(1, 2).flatten(2), f"{name}.proj")
        hidden = F.gelu(linear(norm(data, f"{name}.norm2"), f"{name}.fc1"))
        data = data + linear(hidden, f"{name}.fc2")
        entering.append(data)
    data = norm(data, "norm")
    data = data[:, 0] if pool == "token" else data[:, prefix:].mean(1)
    return linear(data, "head"), entering
