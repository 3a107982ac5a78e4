"""What ``manifest.json`` holds about an image, as typed records."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from cnnviz import system
from cnnviz.labels.label_sets import LabelSet
from cnnviz.labels.scores import Score, Similarity
from cnnviz.runs.run_records import EngineRecord
from cnnviz.structure import ADDED

if TYPE_CHECKING:
    from cnnviz.metrics.base import Measurement
    from cnnviz.types import Float32


@dataclass(frozen=True)
class HeatmapRecord:
    """A heatmap, scaled by its maximum.

    Attributes:
        shape: rows and columns.
        data: one byte per value (255 is 1), row by row, in base64.
    """

    shape: tuple[int, int]
    data: str

    def __post_init__(self) -> None:
        """Refuse data of another size."""
        height, width = self.shape
        try:
            count = len(base64.b64decode(self.data, validate=True))
        except ValueError:
            raise ValueError("is not in base64") from None
        if height < 1 or width < 1 or height * width != count:
            raise ValueError(f"has the shape {height} by {width}, and {count} values")

    @classmethod
    def of(cls, values: Float32) -> HeatmapRecord:
        """Of values (h, w) from 0 to 1."""
        import numpy as np

        height, width = values.shape
        coded = np.rint(values * 255).astype(np.uint8)
        return cls((height, width), base64.b64encode(coded.tobytes()).decode("ascii"))

    def values(self) -> Float32:
        """The heatmap, float32 (h, w), from 0 to 1 in steps of 1/255."""
        import numpy as np

        coded = np.frombuffer(base64.b64decode(self.data), np.uint8).reshape(self.shape)
        return coded.astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class LocationRecord:
    """Where a heatmap is, on the image as the network saw it.

    Attributes:
        border: its share in the outer tenth of the image; an even heatmap has 0.36.
        corners: its shares in the corners, each a fifth of both sides: top left, top right, bottom
            left, bottom right; an even heatmap has 0.04 in each.
        box: around its peak, down to half its height: left, top, right, bottom in pixels of the
            original image; right and bottom are exclusive.
        heatmap: the heatmap itself.
    """

    border: float
    corners: tuple[float, float, float, float]
    box: tuple[int, int, int, int]
    heatmap: HeatmapRecord


@dataclass(frozen=True)
class MeasurementRecord:
    """What a metric says of one map of one image.

    Attributes:
        value: the number; null where there is none.
        reason: then why.
        curve: for metrics that are areas or means of a curve, its values at equal steps.
        group: the class it counts for, in metrics that are means over classes; else null.
        details: more, by name.
    """

    value: float | None
    reason: str | None
    curve: tuple[float, ...]
    group: int | None
    details: Mapping[str, Any]

    @classmethod
    def of(cls, one: Measurement) -> MeasurementRecord:
        """A measurement as it is written."""
        return cls(one.value, one.reason, one.curve, one.group, one.details)

    @classmethod
    def mean(cls, several: Sequence[MeasurementRecord | None]) -> MeasurementRecord | None:
        """What stands for an image whose maps were measured for several classes.

        That is the mean of the values that there are, and of their curves; None if there are none.
        """
        there = [one for one in several if one is not None and one.value is not None]
        if len(several) == 1 or not there:
            return several[0] if several else None
        value = fmean(one.value for one in there if one.value is not None)
        curve = tuple(fmean(places) for places in zip(*(one.curve for one in there), strict=True))
        return cls(value, None, curve, None, {})


@dataclass(frozen=True)
class ExplanationRecord:
    """An image's explanation for one target.

    Attributes:
        target: the explained class, or the explained similarity to another image.
        files: by what they show: ``original``, the keys of the maps, ``arrays``.
        blank: keys of maps with nothing to show.
        diagnostics: further numbers, by method.
        ranges: the lowest and the highest value of each raw map.
        location: null if there is no heatmap, or if it is blank.
        measurements: by map and metric; empty without ``--evaluate``.
    """

    target: Score | Similarity
    files: Mapping[str, str]
    blank: tuple[str, ...]
    diagnostics: Mapping[str, Mapping[str, Any]]
    ranges: Mapping[str, tuple[float, float]]
    location: LocationRecord | None
    measurements: Mapping[str, Mapping[str, MeasurementRecord]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse files that are not below the folder."""
        for name in self.files.values():
            _check_file(name)


@dataclass(frozen=True)
class ContrastRecord:
    """Why one class rather than another.

    Attributes:
        positive: the class whose evidence is red.
        negative: the class whose evidence is blue.
        file: the image of it.
    """

    positive: Score
    negative: Score
    file: str

    def __post_init__(self) -> None:
        """Refuse a file that is not below the folder."""
        _check_file(self.file)


@dataclass(frozen=True)
class TrueClassesRecord:
    """What an image belongs to, of classes that do not exclude one another.

    Attributes:
        positive: the classes that it belongs to.
        unknown: indices of classes of which that is not known; it does not belong to the others.
        logits: of all classes, in order: average precision takes all images' together.
    """

    positive: tuple[Score, ...]
    unknown: tuple[int, ...]
    logits: tuple[float, ...]

    @property
    def label_set(self) -> LabelSet:
        """Without scores."""
        return LabelSet(tuple(score.index for score in self.positive), self.unknown)


@dataclass(frozen=True)
class ImageRecord:
    """An image.

    Attributes:
        stem: what the names of its files begin with.
        path: as it was printed.
        relative: its path below the folder that was given.
        sha256: of the file; null if it cannot be read.
        size: height and width in pixels; null if it cannot be read.
        status: ``ok`` or ``failed``.
        error: a sentence that says why it failed, or null.
        crashed: whether a library crashed on it.
        remark: what the decoder says of a damaged image, or why there is no explanation; or null.
        top5: the classes with the highest logits, highest first; empty if it failed.
        ground_truth: its true class; null if that is unknown, or if it failed, or if it may belong
            to several.
        correct: whether the prediction, the first of the five, is the true class or, if it may
            belong to several, whether the predicted classes are the true ones; null if unknown.
        loss: the cross entropy in nats (over several classes the mean of the binary ones); null if
            the true class is unknown.
        margin: between the two highest probabilities; null if it failed.
        engine: what computed it; null if it failed.
        relus_guided: how many ReLUs were guided, and of how many; null if no method guides any.
        explanations: one for each target; none if no class is above the probability asked for.
        contrasts: one for each pair of different classes.
        panel: the file with everything in one figure, or null.
        seconds: how long it took.
        true_classes: its true classes, if it may belong to several; else null.
        predicted_classes: those whose probability is above 0.5, the highest first, if it may belong
            to several; else null.
        etag: what the storage that the path leads to called the file's contents; null if it is on
            a disk, or the storage has no word for them.
    """

    stem: str
    path: str
    relative: str
    sha256: str | None
    size: tuple[int, int] | None
    status: Literal["ok", "failed"]
    error: str | None = None
    crashed: bool = False
    remark: str | None = None
    top5: tuple[Score, ...] = ()
    ground_truth: Score | None = None
    correct: bool | None = None
    loss: float | None = None
    margin: float | None = None
    engine: EngineRecord | None = None
    relus_guided: tuple[int, int] | None = None
    explanations: tuple[ExplanationRecord, ...] = ()
    contrasts: tuple[ContrastRecord, ...] = ()
    panel: str | None = None
    seconds: float = 0.0
    true_classes: TrueClassesRecord | None = None
    predicted_classes: tuple[Score, ...] | None = None
    etag: str | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, and a file that is not below the folder."""
        if self.ok and not (self.top5 and self.error is None):
            raise ValueError("is ok, but has an error or no prediction")
        if self.ok and not self.explanations and self.remark is None:
            raise ValueError("is ok, but has no explanation, and no remark that says why")
        if not self.ok and self.error is None:
            raise ValueError("has failed, but has no error")
        if self.panel is not None:
            _check_file(self.panel)

    @property
    def ok(self) -> bool:
        """Whether it was explained."""
        return self.status == "ok"

    @property
    def prediction(self) -> Score:
        """The class with the highest logit, of an image that was explained."""
        return self.top5[0]

    @property
    def predicted(self) -> tuple[Score, ...]:
        """The classes that the network takes it to belong to: one, or all that are above 0.5."""
        return (self.prediction,) if self.predicted_classes is None else self.predicted_classes

    @property
    def blank(self) -> bool:
        """Whether any map has nothing to show."""
        return any(one.blank for one in self.explanations)

    @property
    def files(self) -> list[str]:
        """All that was written for it, each once, below the output folder."""
        names = [name for one in self.explanations for name in one.files.values()]
        names += [one.file for one in self.contrasts]
        names += [] if self.panel is None else [self.panel]
        return list(dict.fromkeys(names))

    @property
    def scores(self) -> Iterator[Score]:
        """All classes that it names."""
        yield from self.top5
        if self.ground_truth is not None:
            yield self.ground_truth
        if self.true_classes is not None:
            yield from self.true_classes.positive
        yield from self.predicted_classes or ()
        for one in self.explanations:
            if isinstance(one.target, Score):
                yield one.target
        for contrast in self.contrasts:
            yield from (contrast.positive, contrast.negative)


def _check_file(name: str) -> None:
    """Refuse a name that is none of a file below the folder."""
    path = PurePosixPath(name)
    if not system.stays_below(path) or "\0" in name or not path.name:
        raise ValueError(f"names {name!r}, which is no file below the folder")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise ValueError(f"names {name!r}, which no file can have") from None
