"""``cnnviz report``: a page that shows a run that is over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnviz.cli.console import progress, put, say
from cnnviz.cli.option_types import FilePath

if TYPE_CHECKING:
    from tqdm import tqdm


@click.command(name="report")
@click.argument("folder", type=FilePath(path_type=Path), metavar="DIR")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only, and show no progress bar.")
def command(folder: Path, quiet: bool) -> None:
    """Write a page about a run of `cnnviz explain`: DIR/index.html.

    DIR is the run's output folder, with its manifest.json. The page works offline in any recent
    browser: all images with their maps, to filter and sort, the confusion matrix, and where the
    network looked when it confused two classes. Move it together with its folder. Missing
    thumbnails are made.
    """
    from cnnviz.report.build import build_report

    bar: tqdm[Any] | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = progress(total, "thumbnail", hidden=quiet)
        bar.update(done - bar.n)

    try:
        page = build_report(folder, progress=show, notify=say)
    finally:
        if bar is not None:
            bar.close()
    if not quiet:
        put(str(page))
