"""Writing the page."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
from markupsafe import Markup

from cnnviz.errors import MapError, UsageError
from cnnviz.metrics.location import MEAN_IMAGES
from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import encode_markup
from cnnviz.outputs.thumbnails import make_missing
from cnnviz.report.evaluation import evaluation_view
from cnnviz.report.finding import finding, worth_a_look
from cnnviz.report.page import (
    class_names,
    drawn_files,
    engines,
    meanings,
    page_data,
    pair_views,
    telling_pairs,
)
from cnnviz.report.pairs import confusion_matrix, mean_locations
from cnnviz.report.quality import quality
from cnnviz.report.single_file import SINGLE_PAGE, inlined, shown_files
from cnnviz.runs.evaluation_records import Evaluation
from cnnviz.runs.manifest import MANIFEST
from cnnviz.runs.reading import EVALUATION, read_evaluation, read_manifest
from cnnviz.runs.records import Manifest
from cnnviz.text import shortened

PAGE = PurePosixPath("index.html")

_HERE = Path(__file__).parent
#: Parts of the page's program, in order: they share one scope.
_SCRIPTS = (
    *("elements.js", "cards.js", "gallery.js", "maps.js", "large.js", "tables.js", "selection.js"),
    "start.js",
)
#: Those of a page without images.
_SCRIPTS_ALONE = ("elements.js", "tables.js")
#: Pairs that are shown before one asks for more.
_PAIRS_FIRST = 8
#: The longest option that is shown whole, in characters.
_OPTION = 300


def build_report(
    folder: Path,
    *,
    title: str | None = None,
    single_file: bool = False,
    progress: Callable[[int, int], None] | None = None,
    notify: Callable[[str], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> Path:
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
    folder = Path(folder)
    evaluation = read_evaluation(folder)
    manifest = None if evaluation and not (folder / MANIFEST).exists() else read_manifest(folder)
    images = () if manifest is None else manifest.images
    page = _page(manifest, evaluation, title, record=None if single_file else str(MANIFEST))
    files = shown_files(images) if single_file else drawn_files(images)
    for problem in make_missing(folder, files, progress):
        if notify is not None:
            notify(problem)
    if not single_file:
        return OutputFolder(folder).write(PAGE, encode_markup(page))
    content = inlined(folder, images)
    if announce is not None:
        announce(content.said(len(page.encode("utf-8", "replace"))))
    page = page.replace(_NO_FILES, _files_element(script_safe(content.data(folder))))
    return OutputFolder(folder).write(SINGLE_PAGE, encode_markup(page))


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
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    program = _program(_SCRIPTS_ALONE if manifest is None else _SCRIPTS)
    described = manifest if manifest is not None else evaluation
    assert described is not None
    run = described.run
    if title is None:
        title = run.parameters.get("title")
    return _template().render(
        run=run,
        title=title,
        options=[
            (name, shortened(value if isinstance(value, str) else json.dumps(value), _OPTION))
            for name, value in run.parameters.items()
            if value is not None
        ],
        record=record if record is None or manifest is not None else EVALUATION,
        evaluation=None if evaluation is None else evaluation_view(evaluation),
        evaluated=None if evaluation is None else evaluation.summary.images,
        manifest=manifest is not None,
        **(
            {"data": script_safe({"images": [], "maps": []}), "engines": [(run.engine, 0)]}
            if manifest is None
            else _parts(manifest)
        ),
        style=Markup(style),
        program=Markup(program),
        policy=(
            # Images are not named: browsers differ in what a page on the disk calls its own.
            f"script-src '{_hash(program)}'; style-src '{_hash(style)}'; connect-src 'none'; "
            "object-src 'none'; frame-src 'none'; base-uri 'none'; form-action 'none'"
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


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    environment.filters["percent"] = lambda part: f"{part:.1%}"
    return environment.get_template("template.html.j2")


def _files_element(data: str) -> str:
    return f'<script type="application/json" id="files">{data}</script>'


#: Stands in every page once, for nothing else in it has an unescaped ``<``.
_NO_FILES = _files_element("{}")


def _program(scripts: Sequence[str]) -> str:
    """The page's program: its parts in a function of their own, since the page has one scope."""
    parts = [(_HERE / "script" / name).read_text(encoding="utf-8") for name in scripts]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def script_safe(data: Any) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element or begins another."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))  # ASCII
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def duration(seconds: float) -> str:
    """Seconds in words: ``0.3 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = math.floor(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _hash(text: str) -> str:
    """What a content security policy knows an inline element by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
