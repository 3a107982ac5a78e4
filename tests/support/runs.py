"""A run without a command line, images into a folder; and what a run has written."""

from __future__ import annotations

import re

from cnnviz.outputs.files import OutputFolder
from cnnviz.runs.image_files import ImageWriter
from cnnviz.runs.items import plan_items
from cnnviz.runs.stages import Explain
from cnnviz.runs.stream import Loader, Stream


def explain_into(explainer, sources, folder, observe=lambda _outcome: None, **options):
    """Explain sources as the command does, with options of the stream; what became of them."""
    stage = Explain(explainer, writer=ImageWriter(OutputFolder(folder)))
    Stream(Loader(explainer), **options).run(stage, plan_items(sources, explainer), observe)
    return stage.report


def contents(folder):
    """All files of a run by name but its page, without times and the name of its folder."""
    return {
        path.relative_to(folder).as_posix(): re.sub(
            rb'"(?:seconds|started|output)": (?:"[^"]*"|[-0-9.e]+)', b"", path.read_bytes()
        )
        for path in folder.rglob("*")
        if path.is_file() and path.name != "index.html"
    }
