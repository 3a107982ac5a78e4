"""Passes captured as CUDA graphs: every kernel of a pass is launched at once.

Small kernels spend their time being launched one by one: of a ResNet-50's pass over one image that
is four fifths. A pass that comes a second time (the same number of images, the same values kept) is
captured then, and from there on replayed into the same memory. What it left there is lent to one
recording at a time; whoever asks meanwhile is served without.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from cnnviz.engines.torch.runtime import import_torch

T = TypeVar("T")
#: Captured passes hold their memory; folders have batches of one size, and a last one of another.
_MOST = 3


class CapturedPasses(Generic[T]):
    """The captured passes of an engine, by what makes them differ; the oldest makes room."""

    def __init__(self, captures: bool) -> None:
        """``captures`` says whether anything is captured at all."""
        self._captures = captures
        self._seen: set[Hashable] = set()
        self._found: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, capture: Callable[[], T]) -> T | None:
        """The pass for a key; captured when it is asked for a second time, None before."""
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        if not self._captures:
            return None
        if key not in self._seen:
            self._seen.add(key)
            return None
        while len(self._found) >= _MOST:
            self._found.popitem(last=False)
        self._found[key] = capture()
        return self._found[key]


class Replay:
    """A function of tensors on the device as a CUDA graph, with memory for its inputs."""

    def __init__(self, run: Callable[..., Any], *inputs: Any, pool: Any = None) -> None:
        """Capture ``run(*inputs)``.

        Args:
            run: what is captured; it must have run before, so that libraries are set up.
            inputs: tensors; they are held, and :meth:`__call__` writes into them.
            pool: the memory pool of a graph that this one is replayed behind.
        """
        torch = import_torch()
        self._inputs = inputs
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self.outputs = run(*inputs)

    @property
    def pool(self) -> Any:
        """For graphs that are replayed behind this one."""
        return self._graph.pool()

    def __call__(self, *inputs: Any) -> Any:
        """The outputs for these inputs; they are overwritten by the next call."""
        torch = import_torch()
        with torch.no_grad():
            for own, given in zip(self._inputs, inputs, strict=True):
                own.copy_(given, non_blocking=True)
        self._graph.replay()
        return self.outputs
