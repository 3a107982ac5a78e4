"""The page about a comparison of two runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cnnviz.comparison.comparison import Comparison
from cnnviz.comparison.files import COMPARISON, TABLE
from cnnviz.metrics.location import MEAN_IMAGES
from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import encode_markup
from cnnviz.outputs.thumbnails import Wanted, are_made, make_missing, thumbnail_path
from cnnviz.report.build import PAGE
from cnnviz.report.compared_images import (
    HEAT,
    heat_data,
    images_data,
    shared_maps,
    shared_meanings,
    shown_classes,
    shown_files,
)
from cnnviz.report.compared_view import change, mean, signed, view
from cnnviz.report.document import document, script_safe
from cnnviz.report.page import color_bytes, url_of
from cnnviz.report.single_file import SINGLE_PAGE, Source, as_single_file
from cnnviz.runs.manifest import MANIFEST

#: Parts of the page's program; see :func:`cnnviz.report.document.document`.
_SCRIPTS = (
    *("elements.js", "images.js", "heat.js", "whole.js"),
    *("compared_images.js", "compared_filters.js"),
    *("compared_cards.js", "compared_large.js", "gallery.js", "large.js", "matrix.js", "tables.js"),
    *("selection.js", "compared.js", "start.js"),
)


@dataclass(frozen=True)
class _Files:
    """The images of one of the two runs that the page shows.

    Attributes:
        folder: the run's.
        small: the folder that holds the folder of their thumbnails.
        files: below the run's folder.
        url: what leads from the page to the run's folder.
        small_url: to the folder ``small``.
    """

    folder: Path
    small: Path
    files: Sequence[PurePosixPath]
    url: str
    small_url: str

    @classmethod
    def of(cls, page: Path, letter: str, folder: Path, files: Sequence[PurePosixPath]) -> _Files:
        """Of a run; ``page`` is the folder of the page.

        If the run has thumbnails of all of them, they are used; otherwise they are made beside the
        page, for a run's folder is only read.
        """
        small = folder if are_made(folder, files) else page / letter
        return cls(folder, small, files, _url(folder, page), _url(small, page))

    def sources(self) -> list[Source]:
        """The images, each with its URL."""
        return [(self.url + url_of(str(file)), self.folder / file) for file in self.files]

    def thumbnails(self) -> list[Source]:
        """Their thumbnails."""
        small = list(map(thumbnail_path, self.files))
        return [(self.small_url + url_of(str(file)), self.small / file) for file in small]


def build_comparison_page(
    folder: Path,
    comparison: Comparison,
    *,
    title: str | None = None,
    single_file: bool = False,
    progress: Callable[[int, int], None] | None = None,
    notify: Callable[[str], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> Path:
    """Write ``index.html`` about a comparison, and the thumbnails that it lacks.

    The images stay in the folders of the two runs; the page leads to them by relative URLs.

    Args:
        folder: the comparison's output folder.
        comparison: what was found.
        title: what stands above the page; None for one that names the two.
        single_file: write ``report.html`` instead, which holds the images, too.
        progress: called with the number of thumbnails made and of those to be made.
        notify: called with each sentence about a thumbnail that could not be made; the page shows
            the image itself in its place.
        announce: called with a sentence that bounds the size of a single file before it is written.

    Returns:
        The page's path.

    Raises:
        OutputError: there is such a page that cnnviz did not write.
        OutputUnavailableError: the file system refused (disk full, no permission).
    """
    folder = Path(folder)
    sides = [
        _Files.of(folder, letter, side.folder, files)
        for letter, side, files in zip(
            "ab", (comparison.a, comparison.b), shown_files(comparison), strict=True
        )
    ]
    wanted = (Wanted(side.folder, file, side.small) for side in sides for file in side.files)
    for problem in make_missing(wanted, progress):
        if notify is not None:
            notify(problem)
    page = _page(comparison, sides, title, () if single_file else _links(folder, sides))
    if not single_file:
        return OutputFolder(folder).write(PAGE, encode_markup(page))
    thumbnails = (one for side in sides for one in side.thumbnails())
    images = (one for side in sides for one in side.sources())
    page = as_single_file(page, thumbnails, images, announce)
    return OutputFolder(folder).write(SINGLE_PAGE, encode_markup(page))


def _page(
    comparison: Comparison,
    sides: Sequence[_Files],
    title: str | None,
    links: Sequence[tuple[str, str]],
) -> str:
    return document(
        "comparison.html.j2",
        ("page.css", "comparison.css"),
        _SCRIPTS,
        title=title,
        links=links,
        view=view(comparison),
        mean_images=MEAN_IMAGES,
        meanings=shared_meanings(comparison),
        mean=mean,
        change=change,
        signed=signed,
        data=script_safe(_data(comparison, sides)),
    )


def _links(folder: Path, sides: Sequence[_Files]) -> list[tuple[str, str]]:
    """The files with everything in them: title and URL."""
    beside = [str(name) for name in (COMPARISON, TABLE) if (folder / name).exists()]
    return [
        *((name, name) for name in beside),
        ("manifest of A", f"{sides[0].url}{MANIFEST}"),
        ("manifest of B", f"{sides[1].url}{MANIFEST}"),
    ]


def _data(comparison: Comparison, sides: Sequence[_Files]) -> dict[str, Any]:
    """What the page's program works on."""
    images = images_data(comparison)
    names = comparison.classes.names
    return {
        "mix": _mix(comparison),
        "scale": color_bytes(comparison.a.manifest.run),
        "classes": {str(number): names[number] for number in sorted(shown_classes(images))},
        "names": [comparison.a.name, comparison.b.name],
        "maps": [{"key": HEAT, "title": "heatmap"}, *shared_maps(comparison)],
        "sides": [{"files": side.url, "small": side.small_url} for side in sides],
        "groups": [
            None
            if group.map_a is None or group.map_b is None
            else [heat_data(group.map_a), heat_data(group.map_b)]
            for group in comparison.summary.groups
        ],
        "images": images,
    }


def _mix(comparison: Comparison) -> int:
    """How opaque maps are at first, in percent: as A's run drew them."""
    alpha = comparison.a.manifest.run.parameters.get("alpha")
    return round(100 * alpha) if isinstance(alpha, float) and 0 < alpha <= 1 else 40


def _url(folder: Path, page: Path) -> str:
    """What leads from a page to a folder, up to where its files' names begin."""
    try:
        steps = os.path.relpath(folder, page)
    except ValueError:  # another drive of Windows, to which no relative path leads
        return f"{folder.resolve().as_uri()}/"
    return "" if steps == "." else f"{url_of(steps)}/"
