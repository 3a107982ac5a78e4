"""One image's files and its record in the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.explanation import Contrast, Explanation, ImageResult, describe
from cnnviz.images.preprocessing import Canvas
from cnnviz.images.source import Source
from cnnviz.metrics.location import Location, measure_location
from cnnviz.outputs.files import all_or_none
from cnnviz.outputs.folders import Folder
from cnnviz.outputs.formats import ImageFormat, encode_image, encode_jpeg, encode_npz
from cnnviz.outputs.naming import OutputStem, TargetPart
from cnnviz.outputs.provenance import Origin
from cnnviz.outputs.thumbnails import QUALITY as THUMBNAIL_QUALITY
from cnnviz.outputs.thumbnails import thumbnail, thumbnail_path
from cnnviz.rendering import figures
from cnnviz.rendering.style import Style
from cnnviz.runs.image_records import (
    ContrastRecord,
    ExplanationRecord,
    HeatmapRecord,
    LocationRecord,
    MeasurementRecord,
)
from cnnviz.storage.paths import AnyPath
from cnnviz.text import printable_path


@dataclass(frozen=True)
class WrittenImage:
    """What was written of one image.

    Attributes:
        explanations: one for each target.
        contrasts: one for each pair of classes.
        panel: the figure, below the output folder, or None.
    """

    explanations: tuple[ExplanationRecord, ...]
    contrasts: tuple[ContrastRecord, ...]
    panel: str | None


@dataclass(frozen=True)
class ImageWriter:
    """Renders what was found out about images, and writes it; all files of an image, or none.

    Attributes:
        folder: where to.
        style: how maps are rendered.
        format: what images are written as.
        arrays: also write the raw arrays.
        panel: also write all that belongs to an image as one figure.
        thumbnails: also write what a report shows of it in small.
        numbered: whether the class index stands in the files' names.
        limits: scales common to all images, by key; other maps have their own.
    """

    folder: Folder
    style: Style = field(default_factory=Style)
    format: ImageFormat = "png"
    arrays: bool = False
    panel: bool = False
    thumbnails: bool = False
    numbered: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)

    def write(
        self, source: Source, stem: OutputStem, canvas: Canvas, origin: Origin, result: ImageResult
    ) -> WrittenImage:
        """Write an image's files.

        Args:
            source: the image.
            stem: what the files' names begin with.
            canvas: what is drawn on.
            origin: what files say of where they come from.
            result: what was found out.

        Raises:
            ItemError: there is nothing that can be rendered, or a file cannot be written.
            OutputUnavailableError: none can.
        """
        found = [replace(one, origin=origin) for one in result.explanations]
        with all_or_none() as written:
            files = _Files(self.folder, stem, written, self.format, thumbnails=self.thumbnails)
            records = []
            cells: list[list[figures.Cell]] = []
            for explanation in found:
                rendered = explanation.render(canvas, self.style, self.limits)
                names = self._explanation(files, explanation, rendered.images)
                records.append(_explanation_record(explanation, rendered.blank, names))
                if self.panel:
                    cells += explanation.panel_cells(rendered)
            contrasts = tuple(
                self._contrast(files, replace(contrast, origin=origin), canvas)
                for contrast in result.contrasts
            )
            title = printable_path(str(source.relative))
            panel = self._panel(files, title, found, cells) if self.panel and found else None
        return WrittenImage(tuple(records), contrasts, panel)

    def _explanation(
        self, files: _Files, explanation: Explanation, images: Mapping[str, npt.NDArray[np.uint8]]
    ) -> dict[str, str]:
        """Write one target's images and arrays; their paths by what they show."""
        number = explanation.file_part if self.numbered else None
        names = {}
        for key, pixels in images.items():
            own = None if key == "original" else number  # the targets share it
            names[key] = files.image(key, pixels, describe(key, explanation), own)
        if self.arrays:
            about = describe("arrays", explanation)
            names["arrays"] = files.npz(".npz", explanation.arrays(), about, number)
        return names

    def _contrast(self, files: _Files, contrast: Contrast, canvas: Canvas) -> ContrastRecord:
        name = files.image(
            "contrast",
            contrast.render(canvas, self.style),
            contrast.describe(),
            (contrast.a, contrast.b),
            figure=True,
        )
        return ContrastRecord(*contrast.scores, name)

    def _panel(
        self,
        files: _Files,
        title: str,
        found: Sequence[Explanation],
        cells: list[list[figures.Cell]],
    ) -> str:
        figure = figures.panel(title, cells, self.style.max_width)
        targets = tuple(one.file_part for one in found) if self.numbered else None
        return files.image("panel", figure, describe("panel", *found), targets, figure=True)


class _Files:
    """Writes one image's files, and puts their paths into ``written``."""

    def __init__(
        self,
        folder: Folder,
        stem: OutputStem,
        written: list[AnyPath],
        format: ImageFormat,
        *,
        thumbnails: bool,
    ) -> None:
        self._folder = folder
        self._stem = stem
        self._written = written
        self._format = format
        self._thumbnails = thumbnails
        self._done: set[PurePosixPath] = set()

    def image(
        self,
        key: str,
        image: npt.NDArray[np.uint8],
        about: Mapping[str, Any],
        target: TargetPart | tuple[TargetPart, ...] | None = None,
        *,
        figure: bool = False,
    ) -> str:
        """Write an image once, and its thumbnail if it is no figure; its path below the folder."""
        name = self._stem.file(f"_{key}.{self._format}", target)
        if name not in self._done:
            self._done.add(name)
            parts = encode_image(image, self._format, about)
            self._written.append(self._folder.write(name, parts))
            if self._thumbnails and not figure:
                small = self._folder.write(
                    thumbnail_path(name), encode_jpeg(thumbnail(image), THUMBNAIL_QUALITY)
                )
                self._written.append(small)
        return str(name)

    def npz(
        self,
        suffix: str,
        arrays: Mapping[str, Any],
        about: Mapping[str, Any],
        target: TargetPart | None,
    ) -> str:
        """Write arrays; their path below the folder."""
        name = self._stem.file(suffix, target)
        self._written.append(self._folder.write(name, encode_npz(arrays, about)))
        return str(name)


def _explanation_record(
    explanation: Explanation, blank: tuple[str, ...], files: Mapping[str, str]
) -> ExplanationRecord:
    """One target's explanation as the manifest has it."""
    heat = explanation.heatmap
    location = None if heat is None else measure_location(heat, explanation.prepared)
    return ExplanationRecord(
        target=explanation.explained,
        files=files,
        blank=blank,
        diagnostics=explanation.diagnostics,
        ranges={
            name: (float(values.min()), float(values.max()))
            for name, values in explanation.all_maps().items()
        },
        location=None if location is None else location_record(location),
        measurements={
            key: {metric: MeasurementRecord.of(one) for metric, one in by_metric.items()}
            for key, by_metric in explanation.measurements.items()
        },
    )


def location_record(location: Location) -> LocationRecord:
    """Shares to six digits."""
    top_left, top_right, bottom_left, bottom_right = (round(one, 6) for one in location.corners)
    return LocationRecord(
        border=round(location.border, 6),
        corners=(top_left, top_right, bottom_left, bottom_right),
        box=location.box,
        heatmap=HeatmapRecord.of(location.map),
    )
