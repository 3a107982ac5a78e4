"""``cnnviz maximize``: images that maximize the score of a class or a channel."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from cnnviz.cli.maximize_files import Ascent, Film, Goal, channel_goal, class_goal, file_names
from cnnviz.cli.option_types import Choice, FilePath
from cnnviz.cli.options import (
    FORMAT,
    JSON,
    QUIET,
    display_channels_option,
    model_to_run,
    output_option,
    packed,
)
from cnnviz.errors import ExitCode, UsageError
from cnnviz.runs.request import ModelOptions

if TYPE_CHECKING:
    from cnnviz.inspection.maximize import MaximizedImage, Progress
    from cnnviz.inspection.objectives import Objective
    from cnnviz.models.source import ModelSource
    from cnnviz.outputs.formats import ImageFormat


@dataclass(frozen=True)
class _Wanted:
    """What is maximized."""

    targets: tuple[str, ...]
    layer: str | None
    maximized: tuple[str, ...]
    place: str

    def __post_init__(self) -> None:
        """Refuse all but classes alone, or channels of a layer."""
        if bool(self.targets) == (self.layer is not None):
            raise UsageError("Say what to maximize: --target CLASS, or --layer NAME --channel K.")
        if bool(self.maximized) != (self.layer is not None):
            raise UsageError("--layer and --channel belong together: give both.")


@dataclass(frozen=True)
class _Files:
    """What is written, and where to."""

    output: Path
    frames: Path | None
    gif: Path | None
    every: int | None
    format: ImageFormat

    def __post_init__(self) -> None:
        """Refuse ``--every`` of nothing."""
        if self.every is not None and self.frames is None and self.gif is None:
            raise UsageError("--every says how often --frames or --gif take an image: give one.")

    @property
    def folders(self) -> list[Path]:
        """All that are written to."""
        others = (self.frames, None if self.gif is None else self.gif.parent)
        return [self.output, *(folder for folder in others if folder is not None)]


@click.command(
    name="maximize",
    cls=SectionedCommand,
    task="maximize",
    examples=(
        ("cnnviz maximize demo --target fish,snail", "two classes"),
        ("cnnviz maximize vgg16 --layer features.21 --channel 7", "a channel of a layer"),
    ),
)
@model_to_run
@display_channels_option
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="CLASS",
    help="Class whose logit is maximized: an index, several separated by commas, or a name "
    "or a unique part of one. Repeatable.",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Maximize channels of this layer instead of classes; `cnnviz layers` lists them.",
)
@click.option(
    "--channel",
    "maximized",
    multiple=True,
    metavar="K",
    help="Channel of the layer, counted from 0, or several separated by commas. Repeatable.",
)
@click.option(
    "--place",
    type=Choice("cnnviz.inspection.objectives:PLACES", "PLACE"),
    default="mean",
    show_default=True,
    help="What is maximized of a channel: its mean over all places, or the value in the middle.",
)
@output_option("maximized")
@FORMAT
@click.option("--steps", type=int, metavar="N", help="Number of gradient steps; 96 by default.")
@click.option("--rate", type=float, metavar="R", help="Step size; 0.07 by default.")
@click.option(
    "--jitter",
    type=float,
    metavar="PART",
    help="Largest random shift of the image in each step, as a fraction of its side; 0.07 by "
    "default.",
)
@click.option(
    "--zoom",
    type=float,
    metavar="Z",
    help="In each step the network sees the image at a random size down to 1/Z, so that "
    "shapes grow larger; 2.6 by default, 1 for none.",
)
@click.option(
    "--views",
    type=int,
    metavar="N",
    help="Random shifts and sizes per step, each a pass through the network; 2 by default.",
)
@click.option(
    "--window",
    type=float,
    metavar="PART",
    help="Distance from the middle at which the image begins to fade into the mean color, as "
    "a fraction of its side, so that one object appears and not a pattern; 0.42 by "
    "default, 0 for none.",
)
@click.option(
    "--blur",
    type=float,
    metavar="B",
    help="Damping of fine detail: steps at frequency f are scaled by 1/f^B; 1.15 by default, 0 for "
    "none.",
)
@click.option("--tv", type=float, metavar="W", help="Weight of total variation; 0.9 by default.")
@click.option(
    "--l2",
    type=float,
    metavar="W",
    help="Weight of the squared distance from the mean color; 0.25 by default.",
)
@click.option("--seed", type=int, metavar="N", help="Random seed; 0 by default.")
@click.option(
    "--frames",
    type=FilePath(path_type=Path),
    metavar="DIR",
    help="Also write the image every few steps into this folder.",
)
@click.option(
    "--gif",
    type=FilePath(path_type=Path),
    metavar="FILE",
    help="Also write these steps as an animated GIF.",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Steps between frames; by default a sixteenth of all.",
)
@JSON
@QUIET
@packed(model=ModelOptions, printing=Printing, wanted=_Wanted, files=_Files)
def command(
    model: ModelOptions,
    printing: Printing,
    wanted: _Wanted,
    files: _Files,
    **ascent: float | None,
) -> int:
    """Synthesize an image that maximizes the score of a class or a channel.

    It starts from noise and follows the gradient of the logit (activation maximization). For
    `maximize demo --target fish --target snail` this writes demo_1_fish_maximized.png and
    demo_4_snail_maximized.png, at the network's input size, and demo_maximized.png with both and
    their predictions. MODEL is what `explain --model` takes.
    """
    options = {name: value for name, value in ascent.items() if value is not None}
    return _maximize(model, wanted, files, options, printing)


def _maximize(
    model: ModelOptions,
    wanted: _Wanted,
    files: _Files,
    ascent_options: dict[str, Any],
    printing: Printing,
) -> int:
    # Mistakes are reported before anything slow is done: the cheapest checks first, weights last.
    from cnnviz.engines.base import parse_device
    from cnnviz.engines.registry import choose_engine
    from cnnviz.inspection.maximize import AscentOptions, maximize
    from cnnviz.machine import keep_freed_memory
    from cnnviz.models.resolve import find_model
    from cnnviz.outputs.provenance import Origin

    found = find_model(model.config(), notify=printing.notify)
    device = parse_device(model.device)
    options = AscentOptions(**ascent_options)
    _check_folders(files)
    doubt_threads(model.threads, quiet=printing.quiet)
    keep_freed_memory()
    found.digest_ahead()
    objective, goals = _goals(found, wanted)
    for remark in (found.architecture.end.remark, found.spec.display_note):
        if remark is not None and not printing.quiet:
            say(remark)
    _check_files(files, found.name, goals)
    choice = choose_engine(device, found.architecture.graph, model.engine, model.precision)
    network, weights = found.load(choice, progress=not printing.quiet)
    if not printing.quiet:
        name_engine(network)
        name_weights(weights)
    ascent = Ascent(Origin.of(found.name, weights), found.labels, goals, options, files.format)
    film = Film(ascent, files.frames, files.gif, files.every)
    began = time.monotonic()
    with progress(options.steps, "step", hidden=printing.quiet) as bar, Interrupt() as interrupt:

        def observe(state: Progress) -> None:
            bar.update(state.step and 1)
            film.take(state)
            interrupt.heed()

        results = maximize(network, found.spec, objective, options, observe)
    seconds = time.monotonic() - began
    written = ascent.write(files.output, results)
    film.end()
    for goal, path, result in zip(goals, written, results, strict=True):
        _print(ascent, goal, path, result, printing)
    if not printing.quiet:
        say(f"{len(results)} maximized, in {seconds:.1f} s; written to {files.output}")
    return ExitCode.OK


def _print(
    ascent: Ascent, goal: Goal, path: Path, result: MaximizedImage, printing: Printing
) -> None:
    """What became of one goal."""
    if not result.has_gradient and not printing.quiet:
        say(
            f"{goal.name}: its gradient was zero in every step, so its image is still noise. "
            "Try another --seed."
        )
    if printing.as_json:
        put(json_line(ascent.record(goal, path, result)))
    elif not printing.quiet:
        put(f"{path}: {goal.name}, {ascent.line(goal, result)}")


def _check_folders(files: _Files) -> None:
    from cnnviz.outputs.files import check_output_folder

    for folder in files.folders:
        check_output_folder(folder)


def _check_files(files: _Files, model: str, goals: list[Goal]) -> None:
    """Refuse to replace what cnnviz did not write, before minutes are spent on it."""
    from cnnviz.outputs.files import check_replaceable

    for name in file_names(model, goals, files.format):
        check_replaceable(files.output / name)
    if files.gif is not None:
        check_replaceable(files.gif)


def _goals(found: ModelSource, wanted: _Wanted) -> tuple[Objective, list[Goal]]:
    """What is maximized, and how each part of it is called."""
    from cnnviz.inspection.objectives import ChannelObjective, ClassObjective
    from cnnviz.labels.targets import Target, resolve_targets

    if wanted.layer is None:
        targets = resolve_targets(wanted.targets, found.labels, found.classes)
        found_classes = [one.index for one in targets if isinstance(one, Target)]
        indices = tuple(index for index in found_classes if index is not None)
        if len(indices) < len(targets):
            raise UsageError(
                "predicted, second, truth, topN, above and similarity are about an image, and "
                "there is none yet: give an index or a name."
            )
        return ClassObjective(indices), [class_goal(index, found.labels) for index in indices]
    layer = found.architecture.find(wanted.layer)
    parts = [part.strip() for given in wanted.maximized for part in given.split(",")]
    for part in parts:
        if not part.isdecimal():
            raise UsageError(f"A channel is a number from 0 on; got '{part}'.")
    channels = tuple(dict.fromkeys(map(int, parts)))
    objective = ChannelObjective(layer, channels, wanted.place)
    return objective, [channel_goal(layer.name, channel, wanted.place) for channel in channels]
