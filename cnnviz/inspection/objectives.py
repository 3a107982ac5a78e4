"""What activation maximization maximizes: logits of classes, or channels of a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cnnviz.engines.base import GradientRequest
from cnnviz.engines.network import ForwardPass, Network
from cnnviz.errors import UsageError
from cnnviz.graph.architecture import Layer
from cnnviz.text import joined
from cnnviz.types import Float32

PLACES = ("mean", "middle")
"""Of a channel: its mean over all positions, or its value in the middle."""


class Objective(Protocol):
    """What is maximized: one value for each image of a batch."""

    def __len__(self) -> int:
        """The number of images."""

    def values(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The value of each image (N,), and the logits (N, K)."""

    def gradients(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The value of each image (N,), and its gradient (N, channels, H, W)."""


@dataclass(frozen=True)
class ClassObjective:
    """An image for each of some classes: its logit, not its probability.

    A probability also grows when other classes are pushed down (Simonyan et al. 2014, section 2).
    """

    indices: tuple[int, ...]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.indices)

    def values(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The classes' logits (N,), and all logits (N, K)."""
        logits = network.logits(batch)
        values: Float32 = logits[np.arange(len(self)), self.indices]
        return values, logits

    def gradients(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The classes' logits (N,), and their gradients (N, channels, H, W)."""
        forward = network.run(batch, record=True)
        (result,) = forward.gradients(
            np.array(self.indices), [GradientRequest()], retain_graph=False
        )
        assert result.input is not None  # it was asked for
        return forward.logits[np.arange(len(self)), self.indices], result.input


@dataclass(frozen=True)
class ChannelObjective:
    """An image for each of some channels of a layer's output.

    Attributes:
        layer: the layer.
        channels: indices, in range.
        place: ``mean`` over all positions, or the single unit in the ``middle``.
    """

    layer: Layer
    channels: tuple[int, ...]
    place: str = "mean"

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise UsageError(f"There is no place '{self.place}': use {joined(PLACES)}.")
        available = self.layer.map_shape[0]
        for channel in self.channels:
            if not 0 <= channel < available:
                raise UsageError(
                    f"Layer {self.layer.name} has no channel {channel}: it has {available}, "
                    f"numbered from 0 to {available - 1}."
                )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.channels)

    @property
    def weights(self) -> Float32:
        """(N, C, h, w): the value is the sum of the layer's outputs times these."""
        weights = np.zeros((len(self), *self.layer.map_shape), np.float32)
        rows = np.arange(len(self))
        sides = self.layer.map_shape[1:]
        if self.place == "middle":
            weights[(rows, self.channels, *(side // 2 for side in sides))] = 1
        else:
            weights[rows, self.channels] = 1 / math.prod(sides)
        return weights

    def values(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The channels' values (N,), and the logits (N, K)."""
        forward = network.run(batch, [self.layer])
        return self._read(forward), forward.logits

    def gradients(self, network: Network, batch: Float32) -> tuple[Float32, Float32]:
        """The channels' values (N,), and their gradients (N, channels, H, W)."""
        forward = network.run(batch, [self.layer], record=True)
        values = self._read(forward)
        return values, forward.input_vjp(self.layer, self.weights, retain_graph=False)

    def _read(self, forward: ForwardPass) -> Float32:
        product: Float32 = forward.activations(self.layer) * self.weights
        values: Float32 = product.reshape(len(self), -1).sum(axis=1)
        return values
