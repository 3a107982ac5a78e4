"""Layers that go along a sequence and remember."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from cnnviz.graph.operators.base import Operator, ShapeError, Trait
from cnnviz.graph.operators.linear import check_weight
from cnnviz.types import Shape


@dataclass(frozen=True)
class LSTM(Operator):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) along the last axis but one.

    At each step the gates i, f, o and the candidate g, in PyTorch's order (i, f, g, o), are
    σ or, for g, tanh of weight · x + recurrent · h + bias; then c = f · c + i · g and
    h = o · tanh c. Both begin with 0; the output is h at every step.

    Attributes:
        hidden: how many numbers h has.
        reverse: whether it goes from the last step to the first.
    """

    inputs: ClassVar[tuple[str, ...]] = ("data", "weight", "recurrent", "bias")
    TRAITS: ClassVar[frozenset[Trait]] = frozenset({"mixes_channels"})

    hidden: int
    reverse: bool = False

    def shape(self, *inputs: Shape) -> Shape:
        """(..., steps, hidden), of (..., steps, C) and weights of four times hidden rows."""
        data, *weights = inputs
        if len(data) < 2:
            raise ShapeError(f"wanted are steps and channels, and this is {data}")
        check_weight(inputs, (4 * self.hidden, data[-1]))
        if weights[1:] and weights[1:] != [(4 * self.hidden, self.hidden), (4 * self.hidden,)]:
            raise ShapeError(f"weights of {weights[1:]} do not fit {self.hidden} numbers a step")
        return (*data[:-1], self.hidden)

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        """4 · hidden · (C + hidden) a step."""
        return math.prod(output) * 4 * (inputs[0][-1] + self.hidden)
