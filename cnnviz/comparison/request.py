"""What a comparison is asked to do. Importing this is cheap, as of what a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from cnnviz.runs.request import CheckOptions
from cnnviz.runs.thresholds import Threshold

CHANGES = {
    "broken": "images that only A classifies correctly",
    "changed": "images with another prediction",
    "elsewhere": "images in which B looks elsewhere",
}
"""What may be no larger than a share, by what ``--max-share`` calls it; for people."""


@dataclass(frozen=True)
class ComparisonChecks(CheckOptions):
    """What is demanded of B, beside A; see :class:`cnnviz.runs.request.CheckOptions`."""

    fail_if_worse: tuple[Threshold, ...] = ()

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """All that is demanded."""
        return (*self.fail_if_worse, *super().thresholds)
