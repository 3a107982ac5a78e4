"""One operator of an ONNX file with what it reads, as the rules that convert it see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnviz.errors import NetworkError
from cnnviz.importers.tensors import Constant, Operand, Tensor, TensorGraph

#: What an operator gives: its output, or all of them.
Given = Operand | Sequence[Operand]


@dataclass(frozen=True)
class Step:
    """An operator in its place.

    Attributes:
        graph: what is added to.
        kind: the operator's name.
        inputs: what it reads; None for what is left out.
        attributes: by name, as Python values.
        outputs: how many of its outputs have a name.
        opset: the version of the file's operators.
        batch: for how many images the file was made; 1 if for any number.
    """

    graph: TensorGraph
    kind: str
    inputs: tuple[Operand | None, ...]
    attributes: Mapping[str, Any]
    outputs: int
    opset: int
    batch: int = 1

    def optional(self, place: int) -> Operand | None:
        """An input that may be left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def operand(self, place: int) -> Operand:
        """An input that has to be there."""
        found = self.optional(place)
        if found is None:
            raise NetworkError(f"its input {place} is missing")
        return found

    def tensor(self, place: int = 0) -> Tensor:
        """An input that depends on the images."""
        found = self.operand(place)
        if not isinstance(found, Tensor):
            raise NetworkError(
                "it works on stored numbers where cnnviz expects what is computed of the images"
            )
        return found

    def constant(self, place: int, what: str) -> Constant:
        """An input that does not depend on the images."""
        found = self.operand(place)
        if not isinstance(found, Constant):
            raise NetworkError(
                f"its {what} is computed from the images, which cnnviz cannot follow"
            )
        return found

    def integer(self, name: str, usual: int) -> int:
        """An attribute."""
        return int(self.attributes.get(name, usual))

    def number(self, name: str, usual: float) -> float:
        """An attribute."""
        return float(self.attributes.get(name, usual))

    def text(self, name: str, usual: str) -> str:
        """An attribute."""
        return str(self.attributes.get(name, usual))

    def integers(self, name: str, place: int | None = None) -> tuple[int, ...] | None:
        """A list that is an attribute, or, in later versions of the operator, an input."""
        if name in self.attributes:
            return tuple(int(each) for each in self.attributes[name])
        if place is None or self.optional(place) is None:
            return None
        array = np.asarray(self.constant(place, name).array)
        return tuple(int(each) for each in array.reshape(-1))

    def needed(self, name: str, place: int | None = None) -> tuple[int, ...]:
        """The same, of a list that has to be there."""
        found = self.integers(name, place)
        if found is None:
            raise NetworkError(f"its {name} is missing")
        return found

    def bound(self, name: str, place: int, usual: float) -> float:
        """A number that is an attribute, or, in later versions of the operator, an input."""
        if name in self.attributes:
            return float(self.attributes[name])
        if self.optional(place) is None:
            return usual
        number = self.constant(place, name).number
        if number is None:
            raise NetworkError(f"its {name} is not one number")
        return number


Rule = Callable[[Step], Given]


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values; tensors and graphs stay messages."""
    from onnx import helper

    found = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode("utf-8", "replace") if type(value) is bytes else value
    return found
