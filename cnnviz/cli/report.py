"""``cnnviz report``: a page that shows a run that is over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnviz.cli.console import progress, put, say
from cnnviz.cli.options import FilePath

if TYPE_CHECKING:
    from tqdm import tqdm


@click.command(name="report")
@click.argument("folder", type=FilePath(path_type=Path), metavar="DIR")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors, and show no bar.")
def command(folder: Path, quiet: bool) -> None:
    """Write a page that shows what `cnnviz explain` did: DIR/index.html.

    DIR is the folder that the run wrote to, with its manifest.json. The page opens in any browser
    of the last years, from the disk and without a network: the images with their maps, filters,
    what was taken for what, and where the network looked when it did. Move it together with its
    folder. Thumbnails that are missing are made.
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
