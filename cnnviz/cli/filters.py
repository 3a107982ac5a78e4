"""``cnnviz filters``: what a network's convolutions look for."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

import click

from cnnviz.cli.console import Printing, json_line, name_weights, put
from cnnviz.cli.help import SectionedCommand
from cnnviz.cli.option_types import Choice
from cnnviz.cli.options import FORMAT, QUIET, model_argument, output_option, packed
from cnnviz.runs.request import ModelOptions

if TYPE_CHECKING:
    from cnnviz.inspection.filters import Filters
    from cnnviz.outputs.formats import ImageFormat


@click.command(
    name="filters",
    cls=SectionedCommand,
    examples=(
        ("cnnviz filters vgg16", "the first convolution"),
        ("cnnviz filters vgg16 --layer features.5 --top 8", "the heaviest eight of a deeper one"),
    ),
)
@model_argument
@output_option("filters")
@FORMAT
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="A convolution, or its batch norm; `cnnviz layers` lists them. Repeatable: one "
    "image each. By default the first convolution.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of filters shown, those with the largest norm. By default all of a layer "
    "that sees the image itself, 16 of others.",
)
@click.option(
    "--slices",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Number of input channels for which a filter's weights are shown, those with the "
    "largest norm. Filters that see colors are shown whole.",
)
@click.option(
    "--scale",
    type=Choice("cnnviz.inspection.filters:SCALES", "SCALE"),
    default="layer",
    show_default=True,
    help="layer: all filters of an image on one scale; filter: each up to its own largest "
    "weight, which shows faint ones.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per layer.")
@QUIET
@packed(model=ModelOptions, printing=Printing)
def command(**options: Any) -> None:
    """Show a network's filters: the weights of its convolutions.

    Filters that see the image itself are shown in color; of deeper ones the slices with the largest
    norm are shown in gray. For the first convolution of vgg16 this writes
    vgg16_features.0_filters.png. MODEL is what `explain --model` takes.
    """
    _filters(**options)


def _filters(
    *,
    model: ModelOptions,
    output: Path,
    format: ImageFormat,
    layers: tuple[str, ...],
    top: int | None,
    slices: int,
    scale: Literal["layer", "filter"],
    printing: Printing,
) -> None:
    from cnnviz.engines.base import parse_device
    from cnnviz.engines.registry import choose_engine
    from cnnviz.inspection.filters import find_convolution, read_filters
    from cnnviz.models.resolve import find_model
    from cnnviz.outputs.files import OutputFolder, check_output_folder
    from cnnviz.outputs.formats import encode_image
    from cnnviz.outputs.naming import file_parts
    from cnnviz.outputs.provenance import Origin

    found = find_model(model.config(), notify=printing.notify)
    check_output_folder(output)
    architecture = found.architecture
    names = [name for given in layers for name in architecture.split_names(given)]
    wanted = dict.fromkeys(find_convolution(architecture, name) for name in names or (None,))
    choice = choose_engine(
        parse_device(model.device), architecture.graph, model.engine, model.precision
    )
    network, weights = found.load(choice, progress=not printing.quiet)
    if not printing.quiet:
        name_weights(weights)
    folder = OutputFolder(output)
    origin = Origin.of(found.name, weights)
    (name,) = file_parts([found.name])
    for layer, part in zip(wanted, file_parts([layer.name for layer in wanted]), strict=True):
        filters = read_filters(network, layer, top=top, slices=slices, channels=found.spec.channels)
        channels = [one.index for one in filters.shown]
        path = folder.write(
            PurePath(f"{name}_{part}_filters.{format}"),
            encode_image(
                filters.render(scale, found.name),
                format,
                origin.describe("filters", layers=[layer.name], channels=channels),
            ),
        )
        if printing.as_json:
            record = {
                "model": found.name,
                "layer": layer.name,
                "shape": list(filters.shape),
                "scale": scale,
                "file": str(path),
                "filters": filters.record(),
            }
            put(json_line(record))
        elif not printing.quiet:
            put(_line(filters, path))


def _line(filters: Filters, path: Path) -> str:
    """``filters/demo_features.0_filters.png: 16 of 16 filters of features.0, norm 0.4 to 2.1``."""
    norms = [one.norm for one in filters.shown]
    return (
        f"{path}: {len(norms)} of {filters.shape[0]} filters of {filters.layer.name}, "
        f"norm {min(norms):.3g} to {max(norms):.3g}"
    )
