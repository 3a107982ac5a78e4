"""Passes through a network that a method asks for itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from cnnviz.engines.base import STANDARD, GradientRequest, ReluRule
from cnnviz.engines.network import ForwardPass, Network
from cnnviz.engines.target_functions import TargetFunction
from cnnviz.graph.architecture import Layer
from cnnviz.machine import available_cores, helper_threads, threads
from cnnviz.types import Float32

#: Threads that make inputs beside the network's. Python's lock lets more of them gain little.
_MOST_HELPERS = 8
#: Numbers that the two largest layers of a batch may take together.
_LARGEST_BATCH_VALUES = 1 << 26
_LARGEST_BATCH = 64


@dataclass(frozen=True)
class PassCount:
    """Passes through the network for one image, beyond the one that all methods share.

    Forward passes serve all targets; each backward pass serves one.
    """

    forwards: int = 0
    backwards: int = 0  #: each with a forward pass of its own, for each target
    partial: int = 0  #: forward passes from the target layer on

    def __add__(self, other: PassCount) -> PassCount:
        return PassCount(
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.partial + other.partial,
        )

    def times(self, count: int) -> PassCount:
        """As many times as much."""
        return PassCount(count * self.forwards, count * self.backwards, count * self.partial)

    def total(self, targets: int = 1) -> int:
        """All of them, whatever they cost."""
        return self.forwards + self.partial + targets * self.backwards


@dataclass(frozen=True)
class MadeInputs:
    """Inputs that are made by several threads when their turn comes, each in its batch's memory.

    Attributes:
        count: how many there are.
        shape: (C, H, W).
        write: makes the input of a number in the array that it is given, float32 of that shape,
            which holds anything before.
    """

    count: int
    shape: tuple[int, ...]
    write: Callable[[int, Float32], None]


@contextmanager
def helpers() -> Iterator[tuple[Executor, int]]:
    """Threads that make inputs, as many as the network may have; and how many work at once."""
    count = min(threads(), available_cores(), _MOST_HELPERS)
    with helper_threads(0 if count == 1 else count, "make") as executor:
        yield executor, count


class ModelQueries:
    """A network, for methods that need passes of their own.

    Inputs go through the network in batches that fit into a bounded memory, and never together with
    those of another image: so the results for an image do not depend on its neighbors.
    """

    def __init__(
        self,
        network: Network,
        on_progress: Callable[[int], None] | None = None,
        scale: float = 1.0,
    ) -> None:
        """Ask a network.

        Args:
            network: the network.
            on_progress: called with a number of passes whenever that many are done.
            scale: gradients are computed of the target times this and divided by it, see
                :mod:`cnnviz.attribution.rounding`.
        """
        self.network = network
        self.scale = scale
        self._on_progress = on_progress if on_progress is not None else lambda _count: None
        self._cache: dict[Hashable, Float32] = {}

    def logits(self, inputs: Iterable[Float32] | MadeInputs, cache_key: Hashable = None) -> Float32:
        """The logits of M inputs.

        Args:
            inputs: each (C, H, W) float32; or how they are made.
            cache_key: a name for these inputs. They go through the network once: the same
                name, given again for another target, returns the same logits.

        Returns:
            (M, K) float32.
        """
        layers = self.network.layers
        if isinstance(inputs, MadeInputs):
            batches = self._made(inputs, layers)
        else:
            batches = self._batches(inputs, layers)
        passes = (self.network.run(batch) for batch in batches)
        return self._concatenated((one.logits for one in _begun_ahead(passes)), cache_key)

    def logits_from(
        self,
        layer: Layer,
        activations: Iterable[Float32],
        image: Float32,
        cache_key: Hashable = None,
    ) -> Float32:
        """The logits that the network would give if a layer had another output.

        Only what comes after the layer is computed, and branches that lead past it.

        Args:
            layer: the layer.
            activations: M outputs of it, each (C, h, w) float32.
            image: (C, H, W) float32, the network's input, for branches that lead past the layer.
            cache_key: see :meth:`logits`.

        Returns:
            (M, K) float32.
        """
        after = [other for other in self.network.layers if other.index >= layer.index]
        return self._concatenated(
            (
                self.network.logits_from(layer, batch, context=image)
                for batch in self._batches(activations, after)
            ),
            cache_key,
        )

    def gradients(
        self, inputs: Iterable[Float32], target: TargetFunction, rule: ReluRule = STANDARD
    ) -> Iterator[tuple[Float32, Float32, Float32]]:
        """Logits, input gradients and their terms of M inputs, batch by batch.

        Args:
            inputs: each (C, H, W) float32.
            target: what is differentiated.
            rule: how gradients pass ReLUs.

        Yields:
            (m, K) logits, (m, C, H, W) gradients and (m,) terms (see
            :class:`cnnviz.engines.base.GradientResult`), float32, in the order of the inputs.
        """
        for batch in self._batches(inputs, self.network.layers):
            forward = self.network.run(batch, record=True)
            (result,) = forward.gradients(
                [target] * len(batch), [GradientRequest(rule)], scale=self.scale, retain_graph=False
            )
            assert result.input is not None  # it was asked for
            yield (
                forward.logits,
                self.unscaled(result.input),
                self.unscaled(result.terms),
            )
            self._on_progress(len(batch))

    def unscaled(self, gradients: Float32) -> Float32:
        """Gradients of the target itself, from those of the target times :attr:`scale`."""
        return gradients if self.scale == 1 else gradients / np.float32(self.scale)

    def _concatenated(self, parts: Iterable[Float32], cache_key: Hashable = None) -> Float32:
        if cache_key in self._cache:
            return self._cache[cache_key]
        found = []
        for part in parts:
            found.append(part)
            self._on_progress(len(part))
        if not found:
            return np.empty((0, self.network.architecture.classes), np.float32)
        logits = np.concatenate(found)
        if cache_key is not None:
            self._cache[cache_key] = logits
        return logits

    @staticmethod
    def _made(inputs: MadeInputs, layers: Sequence[Layer]) -> Iterator[Float32]:
        size = _batch_size(layers)
        with helpers() as (executor, count):

            def write(start: int, batch: Float32, first: int) -> None:
                for place in range(first, len(batch), count):
                    inputs.write(start + place, batch[place])

            for start in range(0, inputs.count, size):
                batch = np.empty((min(size, inputs.count - start), *inputs.shape), np.float32)
                list(executor.map(partial(write, start, batch), range(count)))
                yield batch

    @staticmethod
    def _batches(arrays: Iterable[Float32], layers: Sequence[Layer]) -> Iterator[Float32]:
        size = _batch_size(layers)
        remaining = iter(arrays)
        for first in remaining:
            batch = np.empty((size, *first.shape), np.float32)
            batch[0] = first
            count = 1
            # Written at once: the next array may then be made where this one was.
            for count, array in enumerate(islice(remaining, size - 1), 2):
                batch[count - 1] = array
            yield batch[:count]


def _batch_size(layers: Sequence[Layer]) -> int:
    """How many inputs go through these layers together."""
    largest = max(math.prod(layer.shape) for layer in layers)
    return min(_LARGEST_BATCH, max(1, _LARGEST_BATCH_VALUES // (2 * largest)))


def _begun_ahead(passes: Iterable[ForwardPass]) -> Iterator[ForwardPass]:
    """The same, each when the next has begun: a GPU then never waits for inputs to be made."""
    under_way = None
    for begun in passes:
        if under_way is not None:
            yield under_way
        under_way = begun
    if under_way is not None:
        yield under_way
