"""``cnnviz activations``: what a network's layers find in an image, channel by channel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cnnviz.cli.console import (
    Interrupt,
    Printing,
    doubt_threads,
    json_line,
    name_weights,
    progress,
    put,
    say,
)
from cnnviz.cli.help import SectionedCommand
from cnnviz.cli.options import (
    RESIZE,
    Choice,
    ImageSize,
    Input,
    model_options,
    output_option,
    packed,
)
from cnnviz.errors import ExitCode, ItemError
from cnnviz.rendering.style import Style
from cnnviz.runs.request import ModelOptions
from cnnviz.text import listed

if TYPE_CHECKING:
    from cnnviz.explainer import Explainer
    from cnnviz.images.sources import Source
    from cnnviz.inspection.activations import TopChannels
    from cnnviz.outputs.files import OutputFolder
    from cnnviz.outputs.naming import OutputStem

_NAMED = 5  # channels named in the line that is printed for a layer


@click.command(
    name="activations",
    cls=SectionedCommand,
    examples=(
        ("cnnviz activations cat.jpg -m squeezenet1.1", "the default layer"),
        ("cnnviz activations cat.jpg --layer stages --top 4", "from edges to objects"),
    ),
)
@click.argument("inputs", nargs=-1, required=True, type=Input(), metavar="INPUT...")
@output_option("activations")
@model_options
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Layer to show; `cnnviz layers` lists them. Repeatable: one image each. `stages` "
    "selects one layer per resolution that the network goes through.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    metavar="N",
    help="Number of channels shown, the strongest.",
)
@click.option(
    "--by",
    type=Choice("cnnviz.inspection.activations:RANKINGS", "HOW"),
    default="mean",
    show_default=True,
    help="What makes a channel strong: mean, over the image and with negative values as 0, "
    "or max, its highest value.",
)
@RESIZE
@click.option(
    "--size",
    type=ImageSize(),
    default="320",
    show_default=True,
    help="Long side of each image in the grid, in pixels; full: as the original; model: as "
    "the network's input.",
)
@click.option(
    "--colormap",
    type=Choice("cnnviz.rendering.style:COLORMAPS", "NAME"),
    default="viridis",
    show_default=True,
    help="Colors of the activations: jet, turbo, viridis, inferno, ...",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    metavar="PART",
    help="Opacity of the overlay, from 0 (image only) to 1 (colors only).",
)
@click.option(
    "--overlay/--no-overlay",
    default=False,
    help="Draw activations over the image, or by themselves (default).",
)
@click.option(
    "--arrays", is_flag=True, help="Also write the raw activations shown, one .npz per image."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
@packed(model=ModelOptions, style=Style, printing=Printing)
def command(**options: Any) -> int:
    """Show a layer's strongest channels: what the network found in an image, and where.

    INPUT is an image, a folder (searched recursively), or - for paths on standard input. For
    photos/cat.jpg and vgg16's default layer this writes cat_features.28_activations.png. All
    channels of a layer share one color scale, from 0 to their maximum.
    """
    return _activations(**options)


def _activations(
    *,
    inputs: tuple[str, ...],
    output: Path,
    model: ModelOptions,
    layers: tuple[str, ...],
    top: int,
    by: Literal["mean", "max"],
    style: Style,
    arrays: bool,
    printing: Printing,
) -> int:
    # What can be known to be wrong is told first, cheapest first, and weights come last.
    from cnnviz.engines.base import parse_device
    from cnnviz.images.sources import find_sources
    from cnnviz.machine import keep_freed_memory
    from cnnviz.models.resolve import find_model, load_model
    from cnnviz.outputs.files import OutputFolder, check_output_folder
    from cnnviz.outputs.formats import written_by_cnnviz
    from cnnviz.outputs.naming import file_parts, plan

    found = find_model(model.config(), notify=printing.notify)
    parse_device(model.device)
    check_output_folder(output)
    inputs_found = find_sources(inputs, exclude=output, is_own=written_by_cnnviz)
    sources = inputs_found.sources
    for note in () if printing.quiet else inputs_found.notes:
        say(note)
    doubt_threads(model.threads, quiet=printing.quiet)
    keep_freed_memory()
    explainer = load_model(found, device=model.device, layer=layers, progress=not printing.quiet)
    if not printing.quiet:
        name_weights(explainer.weights)
    suffixes = [
        f"_{part}_activations.png" for part in file_parts([one.name for one in explainer.layers])
    ]
    stems = plan(sources, [*suffixes, "_activations.npz"][: None if arrays else -1], numbered=False)
    folder = OutputFolder(output, inputs=[source.path for source in sources])
    job = _Job(explainer, style, folder, suffixes, top, by, arrays)
    began, failed = time.monotonic(), 0
    with progress(len(sources), "image", hidden=printing.quiet) as bar, Interrupt() as interrupt:
        for source, stem in zip(sources, stems, strict=True):
            outcome = job.do(source, stem)
            failed += outcome.error is not None
            with bar.external_write_mode():
                _tell(outcome, as_json=printing.as_json, quiet=printing.quiet)
            bar.update()
            interrupt.heed()
    if not printing.quiet:
        said = f", {failed} failed" if failed else ""
        say(
            f"{len(sources) - failed} shown{said}, in {time.monotonic() - began:.1f} s; written to "
            f"{output}"
        )
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


@dataclass(frozen=True)
class _Outcome:
    """What became of one image."""

    source: Source
    found: tuple[TopChannels, ...] = ()
    files: tuple[Path, ...] = ()
    arrays: Path | None = None
    error: str | None = None
    remark: str | None = None
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """The outcome as JSON can hold it."""
        status = "ok" if self.error is None else "failed"
        record: dict[str, Any] = {"path": self.source.shown, "status": status}
        if self.remark is not None:
            record["remark"] = self.remark
        if self.error is not None:
            return {**record, "error": self.error, "seconds": round(self.seconds, 4)}
        record["layers"] = [
            {
                "layer": one.layer.name,
                "kind": one.layer.kind,
                "shape": list(one.layer.shape),
                "by": one.by,
                "file": str(path),
                "blank": one.blank,
                "channels": one.record(),
            }
            for one, path in zip(self.found, self.files, strict=True)
        ]
        if self.arrays is not None:
            record["arrays"] = str(self.arrays)
        return {**record, "seconds": round(self.seconds, 4)}


@dataclass(frozen=True)
class _Job:
    """What is done with each image."""

    explainer: Explainer
    style: Style
    folder: OutputFolder
    suffixes: Sequence[str]  # of the files' names, one a layer
    top: int
    by: Literal["mean", "max"]
    arrays: bool

    def do(self, source: Source, stem: OutputStem) -> _Outcome:
        """Read an image, look at it, draw and write; one that fails stops nothing."""
        began = time.perf_counter()
        try:
            outcome = self._shown(source, stem)
        except ItemError as problem:
            outcome = _Outcome(source, error=str(problem))
        except MemoryError:
            outcome = _Outcome(
                source, error="there is not enough memory for this image; choose a smaller --size"
            )
        return replace(outcome, seconds=time.perf_counter() - began)

    def _shown(self, source: Source, stem: OutputStem) -> _Outcome:
        from cnnviz.images.loading import load_image
        from cnnviz.inspection.activations import channel_arrays, top_channels
        from cnnviz.outputs.files import all_or_none
        from cnnviz.outputs.formats import encode_npz, encode_png
        from cnnviz.runs.manifest import digest

        remarks: list[str] = []
        prepared, canvas = load_image(
            source.path,
            self.explainer.spec,
            self.explainer.resize,
            self.style.size,
            remark=remarks.append,
        )
        found = top_channels(self.explainer, prepared, top=self.top, by=self.by)
        origin = replace(
            self.explainer.origin, image=source.relative.as_posix(), sha256=digest(source.path)
        )
        raw = None
        with all_or_none() as files:
            for one, suffix in zip(found, self.suffixes, strict=True):
                drawn = one.render(canvas, self.style, self.explainer.name, source.path.name)
                told = origin.describe("activations", layers=[one.layer.name], channels=one.indices)
                files.append(self.folder.write(stem.file(suffix), encode_png(drawn, told)))
            if self.arrays:
                told = origin.describe("arrays", layers=[one.layer.name for one in found])
                raw = self.folder.write(
                    stem.file("_activations.npz"), encode_npz(channel_arrays(found), told)
                )
        return _Outcome(source, found, tuple(files), raw, remark=" ".join(remarks) or None)


def _tell(outcome: _Outcome, *, as_json: bool, quiet: bool) -> None:
    shown = outcome.source.shown
    if outcome.error is not None:
        say(f"Error: {shown}: {outcome.error}")
    if quiet:
        return
    if outcome.remark is not None:
        say(f"{shown}: {outcome.remark}")
    for one in outcome.found:
        if one.blank:
            say(f"{shown}: {one.layer.name} blank: no channel shown is anywhere above 0.")
    if as_json:
        put(json_line(outcome.record()))
        return
    for one in outcome.found:
        first = listed((str(channel.index) for channel in one.channels), _NAMED)
        put(f"{shown}: {one.layer.name}: channels {first}")
