"""What layers of a PyTorch module are called: by the modules that they stand in.

A module that does one thing gives its own path to it (``layer1.0.conv1``). What a module does by
itself, beside the modules in it, is called after it and the operator (``layer1.0.relu``); and what
leaves a module goes by that module's path, too (``layer1``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cnnviz.graph.graph import Value
from cnnviz.importers.tensors import Tensor, TensorGraph


class Call(NamedTuple):
    """A module that is called.

    Attributes:
        key: of the call; a module that is called twice has two.
        path: of the module: ``layer1.0``; empty for the whole.
    """

    key: str
    path: str


@dataclass
class ModuleNames:
    """Which values are made where, and which leave the modules that they are made in.

    Args:
        graph: that they stand in.
    """

    graph: TensorGraph
    _made: dict[Value, tuple[Sequence[Call], str]] = field(default_factory=dict, init=False)
    _leave: dict[Call, list[Value]] = field(default_factory=dict, init=False)
    _outer: set[Call] = field(default_factory=set, init=False)

    def make(self, tensor: Tensor, operator: str, stack: Sequence[Call]) -> None:
        """An operator gives a tensor, in the modules of a stack."""
        self._outer.update(stack[:-1])
        self._made.setdefault(tensor.value, (tuple(stack), operator))

    def use(self, tensors: Sequence[Tensor], stack: Sequence[Call]) -> None:
        """What stands in a stack reads tensors."""
        for tensor in tensors:
            made, _operator = self._made.get(tensor.value, ((), ""))
            for call in made:
                if call not in stack:
                    left = self._leave.setdefault(call, [])
                    if tensor.value not in left:
                        left.append(tensor.value)

    def call(self) -> None:
        """Name all values that were made."""
        taken: set[str] = set()
        for value, (stack, operator) in self._made.items():
            left = [call for call in reversed(stack) if self._leave.get(call) == [value]]
            own = stack[-1] if stack else Call("", "")
            name = ".".join(filter(None, (own.path, operator)))
            if own.path and own not in self._outer and own in left:
                name = own.path
            number, unique = 0, name
            while unique in taken:
                number += 1
                unique = f"{name}.{number}"
            taken.add(unique)
            others = [call.path for call in left if call.path and call.path != unique]
            self.graph.call(Tensor(value, (), None), unique, *others)
