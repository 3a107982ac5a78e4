"""How functions that read PyTorch's operators are listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cnnviz.errors import NetworkError
from cnnviz.graph.operators import Pair
from cnnviz.importers.tensors import Constant, Operand, Tensor, number

Function = Callable[..., Any]
"""Takes the graph and the operator's own arguments, by place and by name; tensors are
:class:`~cnnviz.importers.tensors.Tensor` or :class:`~cnnviz.importers.tensors.Constant`."""

_F = TypeVar("_F", bound=Function)


class Table(dict[str, Function]):
    """Functions by the names of operators: ``relu`` also stands for ``relu_``."""

    def named(self, *names: str) -> Callable[[_F], _F]:
        """A decorator for what reads these operators."""

        def register(function: _F) -> _F:
            for name in names:
                assert name not in self, name
                self[name] = function
            return function

        return register


def pair(sizes: int | Sequence[int]) -> Pair:
    """(vertical, horizontal) as PyTorch says it: two numbers, or one for both."""
    if isinstance(sizes, int):
        return sizes, sizes
    if len(sizes) == 1:
        return sizes[0], sizes[0]
    if len(sizes) != 2:
        raise NetworkError("cnnviz runs layers of two dimensions, and of one")
    return sizes[0], sizes[1]


def single(sizes: int | Sequence[int]) -> int:
    """The only number."""
    return sizes if isinstance(sizes, int) else sizes[0]


def images(x: Operand) -> Tensor:
    """What a layer works on, which has to depend on the images."""
    if isinstance(x, Constant):
        raise NetworkError("a layer works on a stored value with weights that depend on the images")
    return x


def operand(value: Any) -> Operand:
    """A tensor, or a number as a constant."""
    return value if isinstance(value, (Tensor, Constant)) else number(value)


def axes_of(x: Tensor, axes: int | Sequence[int] | None) -> list[int]:
    """Axes as a list; all of them if none is given."""
    if axes is None or axes == []:
        return list(range(len(x.shape)))
    return [axes] if isinstance(axes, int) else list(axes)
