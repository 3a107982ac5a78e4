"""What a network says of an image: scores of classes, similarity to another image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.text import class_name, first_synonym, format_number, format_probability
from cnnviz.types import Float32


@dataclass(frozen=True)
class Score:
    """What a network says of one class of one image.

    Attributes:
        index: the class.
        name: its name; null if the network's classes have none.
        logit: before any softmax.
        probability: null for a network that gives numbers of any range.
    """

    index: int
    name: str | None
    logit: float
    probability: float | None

    @classmethod
    def of(
        cls, index: int, logits: Float32, activation: Activation, labels: Sequence[str]
    ) -> Score:
        """One class's score in the logits (K,) of an image; ``labels`` may be empty."""
        name = labels[index] if labels else None
        outputs = activation.outputs(logits) if activation.is_probability else None
        probability = None if outputs is None else float(outputs[index])
        return cls(index, name, float(logits[index]), probability)

    @property
    def kind(self) -> str:
        """What it is: a ``class``, or an ``output`` of a network that gives numbers."""
        return "output" if self.probability is None else "class"

    @property
    def title(self) -> str:
        """The class for people, ``tabby, tabby cat (281)``; of any number ``output 3``."""
        return class_name(self.index, self.name, kind=self.kind)

    @property
    def short_title(self) -> str:
        """The same with the first synonym alone: ``tabby (281)``."""
        name = None if self.name is None else first_synonym(self.name)
        return class_name(self.index, name, kind=self.kind)

    @property
    def value(self) -> str:
        """The probability for a title, ``0.61``; or the number."""
        if self.probability is None:
            return format_number(self.logit)
        return format_probability(self.probability)

    @property
    def prediction(self) -> str:
        """Both: ``tabby, tabby cat (281) 0.61``, or ``class 281: 0.61``."""
        return f"{self.title}{':' if self.name is None else ''} {self.value}"


@dataclass(frozen=True)
class Similarity:
    """How alike a network finds an image and another one.

    Attributes:
        other: the other image, as it was given.
        sha256: of its file; null if it came from Python as numbers.
        cosine: between what the network outputs for the two, before any activation: -1 to 1.
    """

    other: str
    sha256: str | None
    cosine: float

    @property
    def title(self) -> str:
        """For people: ``similarity to dog.jpg``, without its folder."""
        return f"similarity to {PurePath(self.other).name}"

    @property
    def value(self) -> str:
        """The cosine for a title, ``0.61``."""
        return f"{self.cosine:.2f}"

    @property
    def prediction(self) -> str:
        """Both: ``similarity to dog.jpg 0.61``."""
        return f"{self.title} {self.value}"


@dataclass(frozen=True)
class Scores:
    """What a network says of an image.

    Attributes:
        logits: (K,) float32, before any softmax.
        activation: what makes probabilities of them.
        labels: the classes' names, or none.
    """

    logits: Float32
    activation: Activation = SOFTMAX
    labels: tuple[str, ...] = ()

    def of(self, index: int) -> Score:
        """One class."""
        return Score.of(index, self.logits, self.activation, self.labels)

    def top(self, count: int = 5) -> list[Score]:
        """The highest classes, best first; the lower index first among equals."""
        order = np.argsort(-self.logits, kind="stable")[:count]
        return [self.of(int(index)) for index in order]
