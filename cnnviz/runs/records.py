"""What ``manifest.json`` holds about a run and its images, as typed records.

The manifest is JSON in ASCII with one image per line, so that it can be read line by line::

    {"cnnviz_manifest": 4,
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

Every record has all its keys, even if the image failed. This is version 4 of the format. Removing a
key, or changing what one means, increases the version; so does adding one, unless files without it
can be read as they are. Images in older files of this version have no ``etag``: it counts as null.
What the network was fed has no ``crop_fraction`` and no ``interpolation`` there: these count as
0.875 where images were cropped, 1 where they were stretched, and ``area``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnnviz.labels.scores import Score, Similarity
from cnnviz.runs.image_records import (
    ContrastRecord,
    ExplanationRecord,
    HeatmapRecord,
    ImageRecord,
    LocationRecord,
    MeasurementRecord,
    TrueClassesRecord,
)
from cnnviz.runs.run_records import (
    CheckRecord,
    EngineRecord,
    GroundTruthRecord,
    InputRecord,
    LayerRecord,
    MethodRecord,
    NetworkRecord,
    RunRecord,
    SymbolRecord,
    WeightsRecord,
)
from cnnviz.storage.paths import AnyPath
from cnnviz.structure import plain

VERSION = 4


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
    MeasurementRecord,
    HeatmapRecord,
    ContrastRecord,
)


def json_record(image: ImageRecord, folder: AnyPath, layers: Sequence[str]) -> dict[str, Any]:
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
