"""A run without a command line: images into a folder."""

from __future__ import annotations

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
