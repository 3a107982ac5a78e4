"""The targets of a batch, in every form in which they are given, as functions of each image."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex, cast

import numpy as np

from cnnviz.attribution.context import TargetRows
from cnnviz.engines.network import Targets, choose_targets
from cnnviz.engines.target_functions import ClassLogit, CosineSimilarity, TargetFunction
from cnnviz.types import Float32

TargetSpec = SupportsIndex | CosineSimilarity | Callable[[Float32], Any] | None
"""A target: a class index for all images, the cosine to another image's logits, a function from
their logits (N, K) to N indices, or None for each image's highest class."""


class Rows:
    """Each image's targets, once the logits are known; the same one twice counts once.

    Attributes:
        logits: (N, K).
        most: how many targets an image has at most.
    """

    def __init__(self, targets: Sequence[TargetSpec] | TargetRows) -> None:
        self._targets = targets
        self.logits: Float32 = np.empty((0, 0), np.float32)
        self.most = 0

    def __call__(self, logits: Float32) -> list[list[TargetFunction]]:
        """As :data:`cnnviz.attribution.context.TargetRows`."""
        self.logits = logits
        rows = self._targets(logits) if callable(self._targets) else self._given(logits)
        found = [list(dict.fromkeys(row)) for row in rows]
        self.most = max(map(len, found), default=0)
        return found

    def _given(self, logits: Float32) -> list[list[TargetFunction]]:
        assert not callable(self._targets)
        rows: list[list[TargetFunction]] = [[] for _ in logits]
        for target in self._targets:
            if isinstance(target, CosineSimilarity):
                column: list[TargetFunction] = [target] * len(logits)
            else:
                chosen = choose_targets(of_each(target, len(logits)), logits)
                column = [ClassLogit(int(index)) for index in chosen]
            for row, one in zip(rows, column, strict=True):
                row.append(one)
        return rows


def of_each(target: TargetSpec, images: int) -> Targets:
    """A target as that of each image of a batch."""
    if target is None or callable(target):
        return target
    return [operator.index(cast(SupportsIndex, target))] * images
