"""Writing the page of a run.

The records of its images stand in the page or, of a large run, in parts beside it (see
:mod:`cnnviz.report.parts`). Then the manifest is read line by line, and what the page says of all
images together is put together on the way (:class:`cnnviz.report.overview.Overview`), as it is of a
small run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from cnnviz.errors import UsageError
from cnnviz.outputs.folders import folder_at
from cnnviz.outputs.formats import encode_markup
from cnnviz.outputs.thumbnails import Wanted, make_missing, thumbnail_path
from cnnviz.report.document import document, script_safe
from cnnviz.report.evaluation import evaluation_view
from cnnviz.report.overview import Overview
from cnnviz.report.page import drawn_files, image_data, shown_options, url_of
from cnnviz.report.parts import WHOLE, PartsWriter, remove_parts
from cnnviz.report.single_file import MOST_IMAGES, SINGLE_PAGE, as_single_file, shown_files
from cnnviz.runs.evaluation_records import Evaluation
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.manifest import MANIFEST
from cnnviz.runs.reading import (
    EVALUATION,
    RunLines,
    manifest_lines,
    read_evaluation_overview,
    read_manifest,
)
from cnnviz.runs.records import Manifest, SummaryRecord
from cnnviz.runs.run_records import RunRecord
from cnnviz.storage.paths import AnyPath
from cnnviz.structure import encode

PAGE = PurePosixPath("index.html")

#: Parts of the page's program.
_SCRIPTS = (
    *("elements.js", "images.js", "heat.js", "kinds.js", "whole.js", "whole_run.js", "cards.js"),
    *(
        "filters.js",
        "details.js",
        "gallery.js",
        "large.js",
        "matrix.js",
        "tables.js",
        "selection.js",
    ),
    *("report.js", "start.js"),
)
#: Those of a page whose images' records lie beside it.
_SCRIPTS_IN_PARTS = (
    *("elements.js", "images.js", "heat.js", "kinds.js", "parts.js", "columns.js", "cards.js"),
    *("filters.js", "details.js", "gallery.js", "window.js", "large.js", "matrix.js", "tables.js"),
    *("selection.js", "report.js", "start.js"),
)
#: Those of a page without images.
_SCRIPTS_ALONE = ("elements.js", "tables.js")
_Lines = RunLines[SummaryRecord, ImageRecord]

#: How many thumbnails are looked for at a time. Behind a URL all that are there are listed first.
_AT_ONCE, _AT_ONCE_REMOTE = 5_000, 200_000


def build_report(
    folder: AnyPath,
    *,
    title: str | None = None,
    single_file: bool = False,
    whole: int = WHOLE,
    progress: Callable[[int, int], None] | None = None,
    notify: Callable[[str], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> AnyPath:
    """Write ``index.html`` for the run that wrote to a folder, and the thumbnails that it lacks.

    The page holds all that it needs but the images, which lie beside it, and needs no network. Of
    a large run the images' records lie beside it, too.

    Args:
        folder: the run's output folder, with its ``manifest.json``, or its ``evaluation.json``, or
            both.
        title: what stands above the page; None for that of the run or, if it has none, one that
            names the network.
        single_file: write ``report.html`` instead, which holds the images, too.
        whole: the largest number of images whose records stand in the page itself.
        progress: called with the number of thumbnails made and of those to be made.
        notify: called with each sentence about a thumbnail that could not be made; the page shows
            the image itself in its place.
        announce: called with a sentence that bounds the size of a single file before it is written.

    Returns:
        The page's path.

    Raises:
        UsageError: there is no manifest, it is damaged, or another version's, or it has too many
            images for a single file.
        OutputError: there is such a page that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    evaluation = read_evaluation_overview(folder, whole)
    lines = manifest_lines(folder)
    if single_file:
        _check_single_file(lines)
    elif lines is not None and lines.summary.images > whole:
        thumbnails = _Thumbnails(folder, progress, notify)
        return _build_in_parts(folder, lines, evaluation, title, thumbnails)
    manifest = None if evaluation and not (folder / MANIFEST).exists() else read_manifest(folder)
    images = () if manifest is None else manifest.images
    page = _page(manifest, evaluation, title, record=None if single_file else str(MANIFEST))
    files = tuple(shown_files(images) if single_file else drawn_files(images))
    _Thumbnails(folder, progress, notify).make(files)
    if not single_file:
        written = folder_at(folder).write(PAGE, encode_markup(page))
        remove_parts(folder)
        return written
    small = _sources(folder, map(thumbnail_path, files))
    page = as_single_file(page, small, _sources(folder, files), announce)
    return folder_at(folder).write(SINGLE_PAGE, encode_markup(page))


def _check_single_file(lines: _Lines | None) -> None:
    if lines is not None and lines.summary.images > MOST_IMAGES:
        raise UsageError(
            f"A single file holds at most {MOST_IMAGES} images, and this run has "
            f"{lines.summary.images}: leave --single-file out, and send the folder with its "
            f"{PAGE}."
        )


def _build_in_parts(
    folder: AnyPath,
    lines: _Lines,
    evaluation: Evaluation | None,
    title: str | None,
    thumbnails: _Thumbnails,
) -> AnyPath:
    """The page of a run that is too large to be read as a whole, and its parts."""
    run, output = lines.run, folder_at(folder)
    overview = Overview(run)
    # Tells this page from those before it: the summary names files, and the run has its times.
    parts = PartsWriter(output, sha256(encode([run, lines.summary])).hexdigest()[:16])
    files: dict[PurePosixPath, None] = {}
    at_once = _AT_ONCE if isinstance(folder, Path) else _AT_ONCE_REMOTE
    for image in lines.images():
        overview.add(image)
        parts.add(image)
        files.update(dict.fromkeys(drawn_files([image])))
        if len(files) >= at_once:
            thumbnails.make(files)
            files.clear()
    thumbnails.make(files)
    shown, data = overview.shown(lines.summary)
    picks = lines.at({pick.place for pick in overview.picks})
    data = {**data, "images": [], "parts": parts.close(picks)}
    content = _Content(_SCRIPTS_IN_PARTS, data, shown)
    page = _rendered(run, evaluation, title, str(MANIFEST), content)
    return output.write(PAGE, encode_markup(page))


@dataclass(frozen=True)
class _Content:
    """What a page is made of besides its run and its evaluation.

    Attributes:
        scripts: its program.
        data: what that works on.
        shown: what is only shown.
        images: whether it has a place for images.
    """

    scripts: Sequence[str]
    data: Mapping[str, Any]
    shown: Mapping[str, Any]
    images: bool = True


class _Thumbnails:
    """Makes the thumbnails that a page needs, a number of images at a time."""

    def __init__(
        self,
        folder: AnyPath,
        progress: Callable[[int, int], None] | None,
        notify: Callable[[str], None] | None,
    ) -> None:
        self._folder = folder
        self._progress = progress
        self._notify = notify
        self._done = 0

    def make(self, files: Iterable[PurePosixPath]) -> None:
        """Make those of some images that are missing."""
        wanted = (Wanted(self._folder, file, self._folder) for file in files)
        before = self._done
        problems = make_missing(wanted, lambda done, most: self._told(before, done, most))
        for problem in problems:
            if self._notify is not None:
                self._notify(problem)

    def _told(self, before: int, done: int, most: int) -> None:
        self._done = before + done
        if self._progress is not None:
            self._progress(self._done, before + most)


def _sources(folder: AnyPath, files: Iterable[PurePosixPath]) -> list[tuple[str, AnyPath]]:
    return [(url_of(str(file)), folder / file) for file in files]


def render_page(
    manifest: Manifest | None, evaluation: Evaluation | None = None, title: str | None = None
) -> str:
    """The page of a manifest, of an evaluation, or of both; for the title see there.

    Raises:
        UsageError: its heatmaps cannot be of one run.
    """
    return _page(manifest, evaluation, title, record=str(MANIFEST))


def _page(
    manifest: Manifest | None,
    evaluation: Evaluation | None,
    title: str | None,
    *,
    record: str | None,
) -> str:
    if manifest is None:
        assert evaluation is not None
        run = evaluation.run
        content = _Content(
            _SCRIPTS_ALONE, {"images": [], "maps": []}, {"engines": [(run.engine, 0)]}, images=False
        )
        return _rendered(run, evaluation, title, record and EVALUATION, content)
    overview = Overview(manifest.run)
    for image in manifest.images:
        overview.add(image)
    shown, data = overview.shown(manifest.summary)
    data = {**data, "images": [image_data(image) for image in manifest.images]}
    return _rendered(manifest.run, evaluation, title, record, _Content(_SCRIPTS, data, shown))


def _rendered(
    run: RunRecord,
    evaluation: Evaluation | None,
    title: str | None,
    record: str | None,
    content: _Content,
) -> str:
    return document(
        "template.html.j2",
        ("page.css",),
        content.scripts,
        run=run,
        title=run.parameters.get("title") if title is None else title,
        options=shown_options(run),
        record=record,
        evaluation=None if evaluation is None else evaluation_view(evaluation),
        evaluated=None if evaluation is None else evaluation.summary.images,
        manifest=content.images,
        data=script_safe(content.data),
        adds_scripts="parts" in content.data,
        **content.shown,
    )
