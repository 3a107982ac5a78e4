"""``cnnviz report``: a page that shows a run that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cnnviz.cli.console import put, say, told_progress
from cnnviz.cli.option_types import Folder
from cnnviz.cli.options import TITLE

if TYPE_CHECKING:
    from cnnviz.storage.paths import AnyPath


@click.command(name="report")
@click.argument("folder", type=Folder(), metavar="DIR")
@TITLE
@click.option(
    "--single-file",
    is_flag=True,
    help="Write DIR/report.html instead, one file with its images in it, to send to somebody; in "
    "small if it would exceed 50 MB otherwise.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print errors only, and show no progress bar.")
def command(folder: AnyPath, title: str | None, single_file: bool, quiet: bool) -> None:
    """Write a page about a run of `cnnviz explain` or `cnnviz evaluate`: DIR/index.html.

    DIR is the run's output folder, with its manifest.json, its evaluation.json, or both. The page
    works offline in any recent browser: what was found, all images with their maps, to filter and
    sort, how well the network classifies, and where it looked when it confused two classes. Move it
    together with its folder. Missing thumbnails are made.
    """
    from cnnviz.report.build import build_report

    def announce(text: str) -> None:
        if not quiet:
            say(text)

    with told_progress("thumbnail", hidden=quiet) as show:
        page = build_report(
            folder,
            title=title,
            single_file=single_file,
            progress=show,
            notify=say,
            announce=announce,
        )
    if not quiet:
        put(str(page))
