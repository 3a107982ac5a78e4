"""What the page shows, made of a run's records: numbers and words that it does not make itself."""

from __future__ import annotations

import base64
import json
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np

from cnnviz.attribution import METHODS
from cnnviz.explanation import map_title
from cnnviz.metrics.location import BORDER_AREA, CORNER_AREA, CORNERS, MEAN_IMAGES
from cnnviz.outputs.formats import IMAGE_FORMATS
from cnnviz.rendering.colormaps import color_scale
from cnnviz.rendering.style import COLORMAPS
from cnnviz.report.pairs import Pair, PairLocation
from cnnviz.runs.image_records import ExplanationRecord, ImageRecord, LocationRecord
from cnnviz.runs.run_records import RunRecord
from cnnviz.structure import plain
from cnnviz.text import ClassNames, shortened

#: Factors in words, as far as these are shorter than digits.
_TIMES = (
    *("none", "as much", "twice as much", "three times as much", "four times as much"),
    *("five times as much", "six times as much", "seven times as much", "eight times as much"),
    *("nine times as much", "ten times as much", "eleven times as much", "twelve times as much"),
)

#: The longest option that is shown whole, in characters.
_OPTION = 300

#: What a map of each kind means, in a line.
_MEANINGS = {
    "heat": "Where the network found evidence for the class, from none (left end of the scale) to "
    "most (right end). Coarse: it shows the region, not the exact edge.",
    "signed": "Which details matter: gray is none; colors are the sign and the channel of the "
    "gradient.",
    "magnitude": "How strongly each pixel matters: white is strong, black is not at all.",
    "diverging": "Red: evidence for the class. Blue: evidence against it. White: none.",
    "probability": "The probability of the class when this place is covered.",
    "classes": "The class with the highest score when this place is covered.",
}
_SPECIAL = {
    "occlusion": "How much the probability of the class drops when this place is covered, from "
    "not at all (left end of the scale) to most (right end).",
}
_UNSPECIFIC = " It is the same for every class."


@dataclass(frozen=True)
class Meaning:
    """A line that says what one kind of image shows.

    Attributes:
        title: the method's name.
        text: the line.
        guided: whether the method fails sanity checks.
        colors: whether the run's color scale belongs to it.
    """

    title: str
    text: str
    guided: bool = False
    colors: bool = False


@dataclass(frozen=True)
class PairView:
    """A pair of true and predicted class, in words."""

    number: int  #: among those shown, for the page's data
    truth: int | None
    predicted: int
    title: str
    incorrect: bool
    images: int  #: that belong to it
    maps: int  #: how many of these have a map
    border: str
    border_times: str
    corner: str
    corner_times: str
    corner_name: str
    sentence: str  #: what is suspicious, or nothing

    @property
    def has_mean(self) -> bool:
        """Whether it has so many maps that their mean says more than they do one by one."""
        return self.maps >= MEAN_IMAGES


def url_of(file: str) -> str:
    """The relative URL of a file below the page's folder, whatever bytes its name has."""
    return quote(os.fsencode(file))


def drawn_files(images: Iterable[ImageRecord]) -> Iterator[PurePosixPath]:
    """The images that the cards of the page show, each once: those of explanations."""
    seen = set()
    for image in images:
        for explanation in image.explanations:
            for file in explanation.files.values():
                if file not in seen and PurePosixPath(file).suffix[1:] in IMAGE_FORMATS:
                    seen.add(file)
                    yield PurePosixPath(file)


def shown_options(run: RunRecord) -> list[tuple[str, str]]:
    """The options of a run that were given or have a value: name and value."""
    return [
        (name, shortened(value if isinstance(value, str) else json.dumps(value), _OPTION))
        for name, value in run.parameters.items()
        if value is not None
    ]


def page_data(
    run: RunRecord,
    maps: Collection[str],
    classes: Iterable[int],
    pairs: Sequence[PairLocation],
    names: ClassNames,
) -> dict[str, Any]:
    """What the page's program works on, but the images.

    Heatmaps become those of pairs, in base64 of uint8.

    Args:
        run: the run.
        maps: the keys of what the images' files show.
        classes: those that the images name.
        pairs: those that the page shows.
        names: what classes are called.
    """
    return {
        "scale": color_bytes(run),
        "classes": {str(index): names[index] for index in sorted(classes)},
        "maps": map_titles(run, maps),
        "pairs": [
            {"shape": list(pair.mean.shape), "map": _base64(np.rint(pair.mean * 255))}
            if pair.images >= MEAN_IMAGES
            else None
            for pair in pairs
        ],
    }


def color_bytes(run: RunRecord) -> str:
    """The run's color scale, 256 times red, green and blue, in base64."""
    colors = run.parameters.get("colormap")
    return _base64(color_scale(colors if colors in COLORMAPS else COLORMAPS[0]))


def engines(run: RunRecord, found: Counter[str]) -> list[tuple[str, int]]:
    """What computed the images that were explained, and how many each; else what was to do so."""
    return found.most_common() or [(str(run.engine), 0)]


def meanings(run: RunRecord, *, contrasts: bool) -> list[Meaning]:
    """A line for each kind of image in the run; ``contrasts`` if any image has one."""
    lines = [Meaning("Original", "The image, upright, at the size of the maps.")]
    for method in run.methods:
        for key, kind in method.map_kinds.items():
            text = _SPECIAL.get(key) or _MEANINGS.get(kind, "")
            known = METHODS.get(method.name)
            if known is not None and not known.class_specific:
                text += _UNSPECIFIC
            lines.append(
                Meaning(
                    title=map_title(key, method.key, method.title),
                    text=text,
                    guided=method.guided,
                    colors=kind in ("heat", "probability"),
                )
            )
    if contrasts:
        lines.append(
            Meaning(
                "Contrast",
                "Why one class rather than another: red is evidence for the first, blue for the "
                "second. The two maps beside it share one scale.",
            )
        )
    return lines


def telling_pairs(pairs: Sequence[PairLocation]) -> list[PairLocation]:
    """Those that are worth showing: with enough maps for a mean, or suspicious with fewer."""
    return [one for one in pairs if one.images >= MEAN_IMAGES or one.suspicious]


def pair_views(
    pairs: Sequence[PairLocation], sizes: Mapping[Pair, int], names: ClassNames
) -> list[PairView]:
    """The pairs in words, in their order; ``sizes`` says how many images each has."""
    return [_pair_view(number, one, sizes[one.pair], names) for number, one in enumerate(pairs)]


def times_as_much(factor: float) -> str:
    """A factor of at least 1 in words: ``three times as much``, ``18 times as much``."""
    whole = math.floor(factor + 0.5)
    return _TIMES[whole] if whole < len(_TIMES) else f"{whole} times as much"


def _pair_view(number: int, one: PairLocation, size: int, names: ClassNames) -> PairView:
    truth, predicted = one.pair
    largest = max(range(4), key=lambda corner: one.corners[corner])
    corner, corner_times = one.corners[largest], one.corners[largest] / CORNER_AREA
    border_times = one.border / BORDER_AREA
    sentence = ""
    if one.suspicious:
        in_corner = (corner - CORNER_AREA) / (1 - CORNER_AREA) >= (one.border - BORDER_AREA) / (
            1 - BORDER_AREA
        )
        share, area, place = (
            (corner, CORNER_AREA, f"in the {CORNERS[largest]} corner")
            if in_corner
            else (one.border, BORDER_AREA, "at the border")
        )
        drives = "errors" if truth != predicted and truth is not None else "predictions"
        what = "a watermark or a stamp there" if in_corner else "a frame or the background"
        times = times_as_much(share / area)
        sentence = (
            f"{times[:1].upper()}{times[1:]} evidence {place} as expected: {share:.0%} of it, "
            f"where an even heatmap has {area:.0%}. Perhaps {what} drives these {drives}."
        )
    if truth is None:
        title = f"predicted {names.short(predicted)}"
    elif truth == predicted:
        title = f"{names.short(truth)} (correct)"
    else:
        title = f"{names.short(truth)} predicted as {names.short(predicted)}"
    return PairView(
        number=number,
        truth=truth,
        predicted=predicted,
        title=title,
        incorrect=truth is not None and truth != predicted,
        images=size,
        maps=one.images,
        border=f"{one.border:.0%}",
        border_times=f"{border_times:.1f}",
        corner=f"{corner:.0%}",
        corner_times=f"{corner_times:.1f}",
        corner_name=CORNERS[largest],
        sentence=sentence,
    )


def map_titles(run: RunRecord, there: Collection[str]) -> list[dict[str, str]]:
    """The maps that cards can show, of those there: key and title, in the order of the methods."""
    return [
        {"key": key, "title": map_title(key, method.key, method.title)}
        for method in run.methods
        for key in method.map_kinds
        if key in there
    ]


def image_data(image: ImageRecord) -> dict[str, Any]:
    """Of a record what the page shows, under the same keys; files become URLs."""
    shown: dict[str, Any] = {
        "path": image.path,
        "relative": image.relative,
        "status": image.status,
        "error": image.error,
        "remark": image.remark,
        "sha256": image.sha256,
        "size": image.size,
        "top5": plain(image.top5),
        "ground_truth": plain(image.ground_truth),
        "true_classes": image.true_classes and plain(image.true_classes.positive),
        "predicted_classes": plain(image.predicted_classes),
        "correct": image.correct,
        "loss": image.loss,
        "margin": image.margin,
        "seconds": image.seconds,
        "explanations": [_explanation(one) for one in image.explanations],
        "contrasts": [{**plain(one), "file": url_of(one.file)} for one in image.contrasts],
        "panel": None if image.panel is None else url_of(image.panel),
    }
    return {key: value for key, value in shown.items() if value is not None}


def _explanation(one: ExplanationRecord) -> dict[str, Any]:
    return {
        "target": plain(one.target),
        "files": {key: url_of(file) for key, file in one.files.items()},
        "blank": one.blank,
        "diagnostics": one.diagnostics,
        "ranges": one.ranges,
        "location": None if one.location is None else _without_heatmap(one.location),
    }


def _without_heatmap(location: LocationRecord) -> dict[str, Any]:
    return {"border": location.border, "corners": location.corners, "box": location.box}


def _base64(array: Any) -> str:
    return base64.b64encode(np.asarray(array).astype(np.uint8).tobytes()).decode("ascii")
