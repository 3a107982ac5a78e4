"""Writing the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from cnnviz.errors import MapError, UsageError
from cnnviz.metrics.location import MEAN_IMAGES
from cnnviz.outputs.folders import folder_at
from cnnviz.outputs.formats import encode_markup
from cnnviz.outputs.thumbnails import Wanted, make_missing, thumbnail_path
from cnnviz.report.document import document, script_safe, with_files
from cnnviz.report.evaluation import evaluation_view
from cnnviz.report.finding import finding, worth_a_look
from cnnviz.report.page import (
    class_names,
    drawn_files,
    engines,
    meanings,
    page_data,
    pair_views,
    shown_options,
    telling_pairs,
    url_of,
)
from cnnviz.report.pairs import confusion_matrix, mean_locations
from cnnviz.report.quality import quality
from cnnviz.report.single_file import SINGLE_PAGE, inlined, shown_files
from cnnviz.runs.evaluation_records import Evaluation
from cnnviz.runs.manifest import MANIFEST
from cnnviz.runs.reading import EVALUATION, read_evaluation, read_manifest
from cnnviz.runs.records import Manifest
from cnnviz.storage.paths import AnyPath

PAGE = PurePosixPath("index.html")

#: Parts of the page's program.
_SCRIPTS = (
    *("elements.js", "images.js", "heat.js", "cards.js", "filters.js", "details.js"),
    *("gallery.js", "large.js", "matrix.js", "tables.js", "selection.js", "report.js", "start.js"),
)
#: Those of a page without images.
_SCRIPTS_ALONE = ("elements.js", "tables.js")
#: Pairs that are shown before one asks for more.
_PAIRS_FIRST = 8


def build_report(
    folder: AnyPath,
    *,
    title: str | None = None,
    single_file: bool = False,
    progress: Callable[[int, int], None] | None = None,
    notify: Callable[[str], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> AnyPath:
    """Write ``index.html`` for the run that wrote to a folder, and the thumbnails that it lacks.

    The page holds all that it needs but the images, which lie beside it, and needs no network.

    Args:
        folder: the run's output folder, with its ``manifest.json``, or its ``evaluation.json``, or
            both.
        title: what stands above the page; None for that of the run or, if it has none, one that
            names the network.
        single_file: write ``report.html`` instead, which holds the images, too.
        progress: called with the number of thumbnails made and of those to be made.
        notify: called with each sentence about a thumbnail that could not be made; the page shows
            the image itself in its place.
        announce: called with a sentence that bounds the size of a single file before it is written.

    Returns:
        The page's path.

    Raises:
        UsageError: there is no manifest, it is damaged, or another version's.
        OutputError: there is such a page that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    evaluation = read_evaluation(folder)
    manifest = None if evaluation and not (folder / MANIFEST).exists() else read_manifest(folder)
    images = () if manifest is None else manifest.images
    page = _page(manifest, evaluation, title, record=None if single_file else str(MANIFEST))
    files = tuple(shown_files(images) if single_file else drawn_files(images))
    for problem in make_missing((Wanted(folder, file, folder) for file in files), progress):
        if notify is not None:
            notify(problem)
    if not single_file:
        return folder_at(folder).write(PAGE, encode_markup(page))
    content = inlined(_sources(folder, map(thumbnail_path, files)), _sources(folder, files))
    if announce is not None:
        announce(content.said(len(page.encode("utf-8", "replace"))))
    page = with_files(page, content.data())
    return folder_at(folder).write(SINGLE_PAGE, encode_markup(page))


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
    described = manifest if manifest is not None else evaluation
    assert described is not None
    run = described.run
    if title is None:
        title = run.parameters.get("title")
    return document(
        "template.html.j2",
        ("page.css",),
        _SCRIPTS_ALONE if manifest is None else _SCRIPTS,
        run=run,
        title=title,
        options=shown_options(run),
        record=record if record is None or manifest is not None else EVALUATION,
        evaluation=None if evaluation is None else evaluation_view(evaluation),
        evaluated=None if evaluation is None else evaluation.summary.images,
        manifest=manifest is not None,
        **(
            {"data": script_safe({"images": [], "maps": []}), "engines": [(run.engine, 0)]}
            if manifest is None
            else _parts(manifest)
        ),
    )


def _parts(manifest: Manifest) -> dict[str, Any]:
    """What only a page with images shows."""
    try:
        pairs = telling_pairs(mean_locations(manifest.images))
    except MapError as error:
        raise UsageError(f"The {MANIFEST} is damaged: {error} Run `cnnviz explain` again.") from (
            error
        )
    names = class_names(manifest)
    confusion = confusion_matrix(manifest.images)
    views = pair_views(manifest, pairs, names)
    picks = worth_a_look(manifest.images)
    return {
        "summary": manifest.summary,
        "images": len(manifest.images),
        "finding": finding(manifest, confusion, views, names),
        "picks": picks,
        "confusion": confusion,
        "quality": quality(manifest.images, manifest.run.network.classes),
        "names": names,
        "engines": engines(manifest),
        "meanings": meanings(manifest),
        "pairs": views,
        "mean_images": MEAN_IMAGES,
        "pairs_first": max(_PAIRS_FIRST, sum(bool(view.sentence) for view in views)),
        "data": script_safe(
            {**page_data(manifest, pairs, names), "worth": [asdict(one) for one in picks]}
        ),
    }
