"""``cnnviz activations``: what a network's layers find in an image, channel by channel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from cnnviz.cli.console import (
    Interrupt,
    Printing,
    doubt_threads,
    json_line,
    name_engine,
    name_weights,
    progress,
    put,
    say,
)
from cnnviz.cli.help import SectionedCommand
from cnnviz.cli.option_types import Choice, ImageSize, Input
from cnnviz.cli.options import (
    FORMAT,
    JSON,
    QUIET,
    image_options,
    model_options,
    output_option,
    packed,
)
from cnnviz.cli.workers import in_worker
from cnnviz.errors import ExitCode
from cnnviz.runs.request import ActivationsRequest, ActivationsStyle
from cnnviz.runs.supervisor import WorkerState, reset_signal_handlers
from cnnviz.text import listed

if TYPE_CHECKING:
    from cnnviz.runs.activations import ActivationsOutcome

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
    default=ActivationsRequest.top,
    show_default=True,
    metavar="N",
    help="Number of channels shown, the strongest.",
)
@click.option(
    "--by",
    type=Choice("cnnviz.inspection.activations:RANKINGS", "HOW"),
    default=ActivationsRequest.by,
    show_default=True,
    help="What makes a channel strong: mean, over the image and with negative values as 0, "
    "or max, its highest value.",
)
@image_options
@click.option(
    "--size",
    type=ImageSize(),
    default=ActivationsStyle.size,
    show_default=True,
    help="Long side of each image in the grid, in pixels; full: as the original; model: as "
    "the network's input.",
)
@click.option(
    "--colormap",
    type=Choice("cnnviz.rendering.style:COLORMAPS", "NAME"),
    default=ActivationsStyle.colormap,
    show_default=True,
    help="Colors of the activations: jet, turbo, viridis, inferno, ...",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=ActivationsStyle.alpha,
    show_default=True,
    metavar="PART",
    help="Opacity of the overlay, from 0 (image only) to 1 (colors only).",
)
@click.option(
    "--overlay/--no-overlay",
    default=ActivationsStyle.overlay,
    help="Draw activations over the image, or by themselves (default).",
)
@FORMAT
@click.option(
    "--arrays", is_flag=True, help="Also write the raw activations shown, one .npz per image."
)
@JSON
@QUIET
@packed(request=ActivationsRequest, printing=Printing)
def command(request: ActivationsRequest, printing: Printing) -> int:
    """Show a layer's strongest channels: what the network found in an image, and where.

    INPUT is an image, a folder (searched recursively), a tar archive, a URL of these (s3://,
    https://, ...), or - for paths on standard input. For
    photos/cat.jpg and vgg16's default layer this writes cat_features.28_activations.png. All
    channels of a layer share one color scale, from 0 to their maximum.
    """
    return in_worker(_activations, request, printing)


def _activations(
    request: ActivationsRequest, printing: Printing, worker: WorkerState | None
) -> int:
    # Mistakes are reported before anything slow is done: the cheapest checks first, weights last.
    from cnnviz.machine import keep_freed_memory
    from cnnviz.runs.activations import ActivationsPlan

    quiet = printing.quiet
    planned = ActivationsPlan.check(request, printing.notify)
    doubt_threads(request.model.threads, quiet=quiet)
    keep_freed_memory()
    session = planned.open(progress=not quiet)
    if worker is not None:
        reset_signal_handlers()
    if not quiet:
        name_engine(session.explainer.network)
        name_weights(session.explainer.weights)
    images, failed = len(session.sources), 0
    began = time.monotonic()
    with progress(images, "image", hidden=quiet) as bar, Interrupt() as interrupt:

        def observe(outcome: ActivationsOutcome) -> None:
            nonlocal failed
            failed += outcome.error is not None
            if worker is None or not worker.already_reported():
                with bar.external_write_mode():
                    _tell(outcome, as_json=printing.as_json, quiet=quiet)
            if worker is not None:
                worker.record_report()
            bar.update()
            interrupt.heed()

        session.run(observe, worker)
    if not quiet:
        said = f", {failed} failed" if failed else ""
        say(
            f"{images - failed} shown{said}, in {time.monotonic() - began:.1f} s; written to "
            f"{request.output}"
        )
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


def _tell(outcome: ActivationsOutcome, *, as_json: bool, quiet: bool) -> None:
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
