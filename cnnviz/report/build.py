"""Writing the page."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
from markupsafe import Markup

from cnnviz.errors import MapError, UsageError
from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import encode_markup
from cnnviz.outputs.thumbnails import make_missing
from cnnviz.report.page import (
    class_names,
    drawn_files,
    engines,
    meanings,
    page_data,
    pair_views,
)
from cnnviz.report.pairs import confusion_matrix, mean_locations
from cnnviz.report.reading import read_manifest
from cnnviz.runs.manifest import MANIFEST
from cnnviz.runs.records import Manifest

PAGE = PurePosixPath("index.html")

_HERE = Path(__file__).parent
#: Parts of the page's program, in order: they share one scope.
_SCRIPTS = ("elements.js", "cards.js", "gallery.js", "maps.js", "large.js", "start.js")
#: Pairs that are shown before one asks for more.
_PAIRS_FIRST = 8


def build_report(
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Path:
    """Write ``index.html`` for the run that wrote to a folder, and the thumbnails that it lacks.

    The page holds all that it needs but the images, which lie beside it, and needs no network.

    Args:
        folder: the run's output folder, with its ``manifest.json``.
        progress: called with the number of thumbnails made and of those to be made.
        notify: called with each sentence about a thumbnail that could not be made; the page shows
            the image itself in its place.

    Returns:
        The page's path.

    Raises:
        UsageError: there is no manifest, it is damaged, or another version's.
        OutputError: there is an ``index.html`` that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    page = render_page(manifest)
    for problem in make_missing(folder, drawn_files(manifest.images), progress):
        if notify is not None:
            notify(problem)
    return OutputFolder(folder).write(PAGE, encode_markup(page))


def render_page(manifest: Manifest) -> str:
    """The page of a manifest.

    Raises:
        UsageError: its heatmaps cannot be of one run.
    """
    try:
        pairs = mean_locations(manifest.images)
    except MapError as error:
        raise UsageError(f"The {MANIFEST} is damaged: {error} Run `cnnviz explain` again.") from (
            error
        )
    names = class_names(manifest)
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    program = _program()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    environment.filters["percent"] = lambda part: f"{part:.1%}"
    views = pair_views(manifest, pairs, names)
    telling = sum(view.telling for view in views)
    return environment.get_template("template.html.j2").render(
        run=manifest.run,
        summary=manifest.summary,
        images=len(manifest.images),
        confusion=confusion_matrix(manifest.images),
        names=names,
        engines=engines(manifest),
        meanings=meanings(manifest),
        pairs=views if telling else [],
        pairs_first=max(min(telling, _PAIRS_FIRST), sum(bool(view.sentence) for view in views)),
        data=script_safe(page_data(manifest, pairs, names)),
        style=Markup(style),
        program=Markup(program),
        policy=(
            # Images are not named: browsers differ in what a page on the disk calls its own.
            f"script-src '{_hash(program)}'; style-src '{_hash(style)}'; connect-src 'none'; "
            "object-src 'none'; frame-src 'none'; base-uri 'none'; form-action 'none'"
        ),
    )


def _program() -> str:
    """The page's program: its parts in a function of their own, since the page has one scope."""
    parts = [(_HERE / "script" / name).read_text(encoding="utf-8") for name in _SCRIPTS]
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
