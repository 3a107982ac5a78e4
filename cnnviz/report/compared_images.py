"""The images of a comparison as its page's program works on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from cnnviz.comparison.comparison import Comparison, Pair, Side
from cnnviz.comparison.records import SideImageRecord
from cnnviz.images.placing import seen_part
from cnnviz.labels.scores import Score, Similarity
from cnnviz.outputs.formats import IMAGE_FORMATS
from cnnviz.report.page import Meaning, map_titles, meanings, url_of
from cnnviz.runs.image_records import ExplanationRecord, HeatmapRecord, ImageRecord
from cnnviz.structure import plain

HEAT = "heat"
"""What the heatmaps of the manifests are called among the maps to choose from."""

_Box = tuple[float, float, float, float]


def images_data(comparison: Comparison) -> list[dict[str, Any]]:
    """Every image, in A's order."""
    shared = {one["key"] for one in shared_maps(comparison)}
    return [_image(comparison, pair, shared) for pair in comparison.pairs]


def shared_maps(comparison: Comparison) -> list[dict[str, str]]:
    """The kinds of map that both runs wrote as images: key and title, in A's order."""
    there = {key for pair in comparison.pairs for key in _common_files(pair)}
    return map_titles(comparison.a.manifest.run, there)


def shared_meanings(comparison: Comparison) -> list[Meaning]:
    """What these show, in a line each."""
    titles = {one["title"] for one in shared_maps(comparison)}
    lines = meanings(comparison.a.manifest.run, contrasts=False)
    return [one for one in lines if one.title in titles]


def shown_files(comparison: Comparison) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    """The images of A and of B that the page shows, below the runs' folders, each once."""
    shared = {one["key"] for one in shared_maps(comparison)}
    found: tuple[dict[PurePosixPath, None], dict[PurePosixPath, None]] = ({}, {})
    for pair in comparison.pairs:
        ground = _ground(comparison, pair)
        if ground is not None:
            found[ground[0]][PurePosixPath(ground[1])] = None
        for files, explanation in zip(found, (pair.explanation_a, pair.explanation_b), strict=True):
            for file in _shown(explanation, shared).values():
                files[PurePosixPath(file)] = None
    return list(found[0]), list(found[1])


def shown_classes(images: Sequence[Mapping[str, Any]]) -> set[int]:
    """The numbers of all classes that images name."""
    found = {number for image in images for number in image["truths"]}
    for image in images:
        for side in (image["a"], image["b"]):
            found.add(side["number"])
            scores = (side.get(key) for key in ("prediction", "truth", "target"))
            for score in (*scores, *side.get("several", ())):
                if score is not None and "index" in score:
                    found.add(score["index"])
    return found


def _image(comparison: Comparison, pair: Pair, shared: set[str]) -> dict[str, Any]:
    record = pair.record
    ground = _ground(comparison, pair)
    base = _shown_part(comparison, pair, ground)
    shown = {
        "path": record.path,
        "relative": pair.a.relative,
        "path_b": record.path_b if record.path_b != record.path else None,
        "sha256": record.sha256,
        "size": pair.a.size,
        "outcome": record.outcome,
        "changed": record.changed,
        "truth": record.ground_truth,
        "truths": pair.truths,
        "agreement": plain(record.agreement),
        "why": record.no_agreement,
        # How broad the shown image is for its height, and whose file it is.
        "ratio": round((base[3] - base[1]) / (base[2] - base[0]), 5),
        "ground": None if ground is None else [ground[0], url_of(ground[1])],
        "a": _side(comparison, pair, 0, base, shared),
        "b": _side(comparison, pair, 1, base, shared),
    }
    return {key: value for key, value in shown.items() if value is not None}


def _side(
    comparison: Comparison, pair: Pair, side: int, base: _Box, shared: set[str]
) -> dict[str, Any]:
    """What one of the two runs says of an image."""
    record: SideImageRecord = (pair.record.a, pair.record.b)[side]
    image = (pair.a, pair.b)[side]
    explanation = (pair.explanation_a, pair.explanation_b)[side]
    numbers = (comparison.classes.of_a, comparison.classes.of_b)[side]
    several = record.predicted_classes
    shown = {
        "number": (pair.class_a, pair.class_b)[side],
        "prediction": _score(record.prediction, numbers),
        "several": None if several is None else [_score(one, numbers) for one in several],
        "correct": record.correct,
        "truth": None if record.truth is None else _score(record.truth, numbers),
        "loss": record.loss,
        "target": None if record.target is None else _score(record.target, numbers),
        "border": record.border,
        "corners": record.corners,
        "files": {key: url_of(file) for key, file in _shown(explanation, shared).items()},
        "heat": _heat(_run(comparison, side), image, explanation, base),
    }
    return {key: value for key, value in shown.items() if value is not None}


def _score(score: Score | Similarity, numbers: Sequence[int]) -> Any:
    """A score whose index is the class's number among those of the comparison."""
    shown = plain(score)
    if isinstance(score, Score):
        shown["index"] = numbers[score.index]
    return shown


def _run(comparison: Comparison, side: int) -> Side:
    return (comparison.a, comparison.b)[side]


def _common_files(pair: Pair) -> Iterator[str]:
    """The keys of the maps that both runs wrote of an image."""
    if pair.explanation_a is not None and pair.explanation_b is not None:
        for key in pair.explanation_a.files:
            if key in pair.explanation_b.files and key != "original":
                yield key


def _shown(explanation: ExplanationRecord | None, shared: set[str]) -> dict[str, str]:
    """The maps of an explanation that the other run has, too, as images."""
    if explanation is None:
        return {}
    return {
        key: file
        for key, file in explanation.files.items()
        if key in shared and PurePosixPath(file).suffix[1:] in IMAGE_FORMATS
    }


def _ground(comparison: Comparison, pair: Pair) -> tuple[int, str] | None:
    """The image that both maps are drawn on: whose (0 for A, 1 for B), and its file.

    One that shows all of the image comes first, for a network may have seen less than the other.
    """
    found = [
        (_run(comparison, side).manifest.run.parameters.get("size") == "model", side, file)
        for side, image in enumerate((pair.a, pair.b))
        for one in image.explanations[:1]
        if (file := one.files.get("original")) is not None
    ]
    return min(found)[1:] if found else None


def _shown_part(comparison: Comparison, pair: Pair, ground: tuple[int, str] | None) -> _Box:
    """(y0, x0, y1, x1), the part of the original image that the shown one shows."""
    if ground is not None:
        side = _run(comparison, ground[0])
        if side.manifest.run.parameters.get("size") == "model":
            return _seen(side, pair.a)
    height, width = pair.a.size or (1, 1)
    return (0.0, 0.0, float(height), float(width))


def _seen(side: Side, image: ImageRecord) -> _Box:
    """The part of the original image that a network saw."""
    return seen_part(image.size or (1, 1), side.manifest.run.network.input.spec).box


def _heat(
    side: Side, image: ImageRecord, explanation: ExplanationRecord | None, base: _Box
) -> dict[str, Any] | None:
    """A heatmap, where it lies on the shown image, and how high it is.

    ``box`` has left, top, width and height as parts of the shown image, and ``top`` is the largest
    byte. ``peak`` is how many times as much evidence lies at the map's maximum as if it lay evenly
    over the whole original image: it has no unit, so that maps of different networks, resolutions
    and parts of the image can be drawn on one scale.
    """
    if explanation is None or explanation.location is None:
        return None
    heatmap = explanation.location.heatmap
    y0, x0, y1, x1 = _seen(side, image)
    height, width = image.size or (1, 1)
    top, left, bottom, right = base
    box = (
        (x0 - left) / (right - left),
        (y0 - top) / (bottom - top),
        (x1 - x0) / (right - left),
        (y1 - y0) / (bottom - top),
    )
    values = heatmap.values().astype(np.float64) * 255
    covered = (y1 - y0) * (x1 - x0) / (height * width)
    return {
        **heat_data(heatmap),
        "box": [round(part, 5) for part in box],
        "top": round(values.max()),
        "peak": float(f"{values.max() / values.mean() / covered:.6g}"),
    }


def heat_data(heatmap: HeatmapRecord) -> dict[str, Any]:
    """A heatmap for the program: its bytes in base64, 255 where a map alone has its maximum."""
    return {"shape": heatmap.shape, "map": heatmap.data}
