"""What ``manifest.json`` holds about a run and its images, as typed records.

The manifest is JSON in ASCII with one image per line, so that it can be read line by line::

    {"cnnviz_manifest": 3,
    "run": {"fingerprint": ..., "parameters": ..., "versions": ..., "network": ..., ...},
    "summary": {"images": 2, "ok": 2, ...},
    "images": [
    {"stem": "a/cat", "path": "photos/a/cat.jpg", "status": "ok", ...},
    {"stem": "dog", "path": "photos/dog.jpg", "status": "failed", ..., "error": ...}
    ]}

Bytes of names that are not UTF-8 stand as ``\\udc80`` to ``\\udcff``, which ``os.fsencode`` turns
back. Files are named relative to the output folder, with ``/``. A line of ``cnnviz explain --json``
is an image's record without ``stem``, with the files' paths from the current folder, and with
``schema_version`` and the names of the ``layers``.

Every record has all its keys, even if the image failed. This is version 3 of the format; adding or
removing a key, or changing what one means, increases the version.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from cnnviz.engines.base import FP32
from cnnviz.engines.registry import ENGINES, engine_title
from cnnviz.explanation import Score, Similarity
from cnnviz.labels.label_sets import LabelSet
from cnnviz.structure import plain

if TYPE_CHECKING:
    from cnnviz.engines.base import Engine
    from cnnviz.types import Float32

VERSION = 3


@dataclass(frozen=True)
class InputRecord:
    """What the network is fed.

    Attributes:
        height: pixels.
        width: pixels.
        mean: of pixels in [0, 1], in the order of the channels.
        std: likewise.
        channels: ``rgb``, ``bgr``, ``gray``, or ``other`` for two channels or more than three.
        resize: how images are brought to that size, ``stretch`` or ``crop``.
        range: (low, high), the values in images that became 0 and 1, as given; null for the whole
            range of 8 or 16 bits.
        displayed: the indices of the channels displayed, three as red, green and blue, or one.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str
    resize: str
    range: tuple[float, float] | None = None
    displayed: tuple[int, ...] = ()


@dataclass(frozen=True)
class LayerRecord:
    """A target layer.

    Attributes:
        name: as ``cnnviz layers`` lists it.
        kind: of layer.
        shape: of what it outputs for one image: channels, height, width.
    """

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class SymbolRecord:
    """The file that a network's architecture was read from.

    Attributes:
        path: as it was given.
        sha256: of the file; null if it cannot be read any more.
    """

    path: str
    sha256: str | None


@dataclass(frozen=True)
class WeightsRecord:
    """The file that a network's weights were read from.

    Attributes:
        path: where it is.
        source: where it came from, in words.
        sha256: of the file.
    """

    path: str
    source: str
    sha256: str


@dataclass(frozen=True)
class CheckRecord:
    """How the network was compared, when it was loaded, with what else runs it: a random image.

    Attributes:
        reference: that program, with its version.
        difference: the largest between the two's outputs, relative to the largest of these.
    """

    reference: str
    difference: float


@dataclass(frozen=True)
class NetworkRecord:
    """The network.

    Attributes:
        name: as it was given, or its file name.
        classes: how many there are.
        activation: what makes probabilities of its logits: ``softmax``, ``sigmoid``, ``none``, or
            two of these as ``softmax of softmax``.
        labels: the names of the classes; empty if they have none.
        input: what it is fed.
        layers: the target layers, in the network's order.
        symbol: null for a network that is not an exported MXNet symbol.
        weights: null if they are not from a file.
        check: how it was compared with another program that runs it; null if none was there, or
            the network is not read from such a file.
    """

    name: str
    classes: int
    activation: str
    labels: tuple[str, ...]
    input: InputRecord
    layers: tuple[LayerRecord, ...]
    symbol: SymbolRecord | None
    weights: WeightsRecord | None
    check: CheckRecord | None


@dataclass(frozen=True)
class EngineRecord:
    """What computes.

    Attributes:
        name: ``mxnet`` or ``torch``.
        version: of its framework.
        device: where it runs: ``cpu``, ``gpu:0``, ``mps``.
        precision: of convolutions and matrix products: ``fp32``, ``tf32`` or ``bf16``.
    """

    name: str
    version: str
    device: str
    precision: str

    @classmethod
    def of(cls, engine: Engine) -> EngineRecord:
        """Of an engine."""
        return cls(engine.name, engine.version(), str(engine.device), engine.precision)

    def __str__(self) -> str:
        """For people: ``PyTorch 2.13.0 on gpu:0, in tf32``."""
        title = engine_title(self.name) if self.name in ENGINES else self.name
        precision = "" if self.precision == FP32 else f", in {self.precision}"
        return f"{title} {self.version} on {self.device}{precision}"


@dataclass(frozen=True)
class MethodRecord:
    """A method that was used.

    Attributes:
        name: as ``--method`` takes it.
        key: what the names of its maps begin with.
        title: for people, with the ReLU rule if that is not the usual one.
        paper: where it is from.
        map_kinds: by key, how each of its maps is rendered (``heat``, ``signed``, ...).
        options: by name.
        guided: whether it replaces the derivative of ReLUs.
    """

    name: str
    key: str
    title: str
    paper: str
    map_kinds: Mapping[str, str]
    options: Mapping[str, Any]
    guided: bool


@dataclass(frozen=True)
class GroundTruthRecord:
    """Where the true classes come from.

    Attributes:
        source: ``folders``, or a file.
        known: how many images have a true class.
    """

    source: str
    known: int


@dataclass(frozen=True)
class RunRecord:
    """A run.

    Attributes:
        parameters: the options of the run.
        versions: of cnnviz, Python and the libraries.
        network: what was explained.
        engine: what computed it. Images that an earlier run explained may come from another one:
            each image names its own.
        engine_reason: why no other engine did, in words; empty if this one was asked for.
        methods: in the order in which they were given.
        notes: sentences about what was recognized or assumed about the network.
        ground_truth: null if none was given.
        fingerprint: identifies everything that decides what is written for an image; runs with the
            same fingerprint continue each other.
        started: when, in ISO 8601.
        seconds: how long it took.
    """

    parameters: Mapping[str, Any]
    versions: Mapping[str, str]
    network: NetworkRecord
    engine: EngineRecord
    engine_reason: str
    methods: tuple[MethodRecord, ...]
    notes: tuple[str, ...]
    ground_truth: GroundTruthRecord | None
    fingerprint: str = ""
    started: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ConfusionRecord:
    """How often one class was predicted for another.

    Attributes:
        ground_truth: the true class for people, with its index if others have the same name.
        prediction: the predicted class, likewise.
        ground_truth_index: its index.
        prediction_index: its index.
        count: of images.
    """

    ground_truth: str
    prediction: str
    ground_truth_index: int
    prediction_index: int
    count: int


@dataclass(frozen=True)
class AveragePrecisionRecord:
    """How well a network ranks the images by one of its classes.

    Attributes:
        name: the class for people.
        index: its index.
        images: how many images are known to belong to it or not.
        positives: how many of these do.
        average_precision: from 0 to 1; null if no image belongs to it.
    """

    name: str
    index: int
    images: int
    positives: int
    average_precision: float | None


@dataclass(frozen=True)
class ScannedRecord:
    """All images that were looked at, if only some of them were explained.

    Attributes:
        images: how many.
        failed: those that could not be read, or on which the network failed.
        correct: how many were classified correctly.
        incorrect: how many were not.
        accuracy: the share of correct predictions; null if no true class is known, or if an image
            may belong to several.
        mean_average_precision: as in the summary.
    """

    images: int
    failed: int
    correct: int
    incorrect: int
    accuracy: float | None
    mean_average_precision: float | None = None


@dataclass(frozen=True)
class SummaryRecord:
    """How the images fared.

    Attributes:
        images: how many.
        ok: those that were explained.
        failed: those that were not.
        blank: those with a map that has nothing to show (it is zero everywhere).
        correct: how many were classified correctly: the predicted class is the true one or, where
            an image may belong to several, just the true classes are above 0.5.
        incorrect: how many were not.
        accuracy: the share of correct predictions; null if no true class is known, or if an image
            may belong to several.
        confusions: the most frequent first; none where an image may belong to several classes.
        scanned: null if all images that were looked at were explained.
        skipped_own: how many images were left out because cnnviz itself had written them.
        left_behind: files of earlier runs in the folder that belong to no image of this run.
        mean_average_precision: where an image may belong to several classes, the mean over those
            that any image belongs to, from 0 to 1; null otherwise, or if there is none.
        average_precisions: all classes of such a network, in order.
    """

    images: int
    ok: int
    failed: int
    blank: int
    correct: int
    incorrect: int
    accuracy: float | None
    confusions: tuple[ConfusionRecord, ...]
    scanned: ScannedRecord | None
    skipped_own: int
    left_behind: tuple[str, ...]
    mean_average_precision: float | None = None
    average_precisions: tuple[AveragePrecisionRecord, ...] = ()


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
class ExplanationRecord:
    """An image's explanation for one target.

    Attributes:
        target: the explained class, or the explained similarity to another image.
        files: by what they show: ``original``, the keys of the maps, ``arrays``.
        blank: keys of maps with nothing to show.
        diagnostics: further numbers, by method.
        ranges: the lowest and the highest value of each raw map.
        location: null if there is no heatmap, or if it is blank.
    """

    target: Score | Similarity
    files: Mapping[str, str]
    blank: tuple[str, ...]
    diagnostics: Mapping[str, Mapping[str, Any]]
    ranges: Mapping[str, tuple[float, float]]
    location: LocationRecord | None

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


@dataclass(frozen=True)
class Manifest:
    """A manifest.

    Attributes:
        cnnviz_manifest: the version of the format.
        run: the run.
        summary: how its images fared.
        images: one record for each image, in the order of the run.
    """

    cnnviz_manifest: int
    run: RunRecord
    summary: SummaryRecord
    images: tuple[ImageRecord, ...]


#: All of them, from the whole to its parts.
RECORDS = (
    Manifest,
    RunRecord,
    NetworkRecord,
    CheckRecord,
    InputRecord,
    LayerRecord,
    SymbolRecord,
    WeightsRecord,
    EngineRecord,
    MethodRecord,
    GroundTruthRecord,
    SummaryRecord,
    ConfusionRecord,
    AveragePrecisionRecord,
    ScannedRecord,
    ImageRecord,
    TrueClassesRecord,
    Score,
    Similarity,
    ExplanationRecord,
    LocationRecord,
    HeatmapRecord,
    ContrastRecord,
)


def json_record(image: ImageRecord, folder: Path, layers: Sequence[str]) -> dict[str, Any]:
    """An image's line of ``--json``.

    Args:
        image: its record.
        folder: the output folder, as it is reached from the current one.
        layers: the names of the target layers.
    """

    def reached(name: str) -> str:
        return str(folder / name)

    record: dict[str, Any] = plain(image)
    del record["stem"]
    for explanation in record["explanations"]:
        explanation["files"] = {key: reached(name) for key, name in explanation["files"].items()}
    for contrast in record["contrasts"]:
        contrast["file"] = reached(contrast["file"])
    if image.panel is not None:
        record["panel"] = reached(image.panel)
    return {"schema_version": VERSION, **record, "layers": list(layers)}


def _check_file(name: str) -> None:
    """Refuse a name that is none of a file below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.name:
        raise ValueError(f"names {name!r}, which is no file below the folder")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise ValueError(f"names {name!r}, which no file can have") from None
