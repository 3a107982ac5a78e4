"""What a run came to, for people and programs that decide on a change by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from time import monotonic

from cnnviz.runs.thresholds import Figure, Threshold, Verdict

WORST = 10
"""How many of the images with the highest loss are named."""


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """What became of one image; ``error`` is None if all went well."""

    path: str
    seconds: float
    error: str | None


@dataclass
class Collector:
    """Takes note of a run for its verdict: since when it runs, and what becomes of the images."""

    started: datetime = field(default_factory=partial(datetime.now, timezone.utc))
    images: list[CheckedImage] = field(default_factory=list)
    _began: float = field(default_factory=monotonic)

    def add(self, path: str, seconds: float, error: str | None) -> None:
        """One image, in order; see :class:`CheckedImage`."""
        self.images.append(CheckedImage(path, seconds, error))

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return monotonic() - self._began

    def stopped(self, command: str, thresholds: Sequence[Threshold], why: str) -> CheckedRun:
        """What is known of a run that was stopped before its end: its images until then.

        Args:
            command: that was run: ``explain``.
            thresholds: what was demanded; nothing of it was measured, so nothing is met.
            why: a sentence.
        """
        images = len(self.images)
        reason = "the run was stopped before its end"
        return CheckedRun(
            command=command,
            started=self.started,
            seconds=self.seconds,
            findings=(why,),
            figures=(),
            verdicts=tuple(
                Verdict(one, Figure(one.name, one.name, None, images, reason=reason))
                for one in thresholds
            ),
            images=tuple(self.images),
        )


@dataclass(frozen=True)
class WorstImage:
    """An image with a high loss: what was predicted, and what is true, for people."""

    path: str
    prediction: str
    truth: str
    loss: float


@dataclass(frozen=True)
class CheckedRun:
    """A run and the verdicts on it.

    Attributes:
        command: that was run: ``explain``.
        started: when, with a time zone.
        seconds: how long it took.
        findings: what it found, in sentences.
        figures: all that it measured.
        verdicts: on those that somebody demands something of.
        images: all of them, in order.
        worst: at most :data:`WORST`, the highest loss first; none if no true class is known.
    """

    command: str
    started: datetime
    seconds: float
    findings: tuple[str, ...]
    figures: tuple[Figure, ...]
    verdicts: tuple[Verdict, ...]
    images: tuple[CheckedImage, ...]
    worst: tuple[WorstImage, ...] = ()

    @property
    def failed(self) -> list[CheckedImage]:
        """The images that failed."""
        return [image for image in self.images if image.error is not None]

    @property
    def unmet(self) -> list[Verdict]:
        """The verdicts that are bad news."""
        return [verdict for verdict in self.verdicts if not verdict.met]
