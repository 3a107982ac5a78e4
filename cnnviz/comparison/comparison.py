"""Two runs and what comparing them found, in memory: what files and the page are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cnnviz.comparison.classes import Classes
from cnnviz.comparison.records import ComparedImageRecord, ComparisonRecord
from cnnviz.runs.evaluation_records import Evaluation
from cnnviz.runs.image_records import ExplanationRecord, ImageRecord
from cnnviz.runs.records import Manifest


@dataclass(frozen=True)
class Side:
    """One of the two runs.

    Attributes:
        name: for people, what tells it from the other one.
        folder: its output folder, which the manifest's files lie below.
        manifest: of ``cnnviz explain``.
        evaluation: of ``cnnviz evaluate``, if the folder has one.
    """

    name: str
    folder: Path
    manifest: Manifest
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class Pair:
    """An image that both runs explained.

    Attributes:
        a: A's record of it.
        b: B's.
        explanation_a: the one of A's explanations whose heatmap is compared; None if it has none.
        explanation_b: likewise.
        truths: the numbers of its true classes among those of the comparison.
        class_a: the number of A's prediction there.
        class_b: the number of B's.
        record: what was found.
    """

    a: ImageRecord
    b: ImageRecord
    explanation_a: ExplanationRecord | None
    explanation_b: ExplanationRecord | None
    truths: tuple[int, ...]
    class_a: int
    class_b: int
    record: ComparedImageRecord

    @property
    def several(self) -> bool:
        """Whether the image may belong to several classes."""
        return self.a.predicted_classes is not None or self.b.predicted_classes is not None


@dataclass(frozen=True)
class Comparison:
    """Two runs, compared.

    Attributes:
        a: the one.
        b: the other.
        classes: all that either knows, numbered anew.
        pairs: the images that both explained, in A's order.
        summary: what was found over all.
    """

    a: Side
    b: Side
    classes: Classes
    pairs: tuple[Pair, ...]
    summary: ComparisonRecord
