"""``cnnviz maximize``: images that maximize the score of a class or a channel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
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
from cnnviz.cli.options import Choice, FilePath, model_to_run, output_option, packed
from cnnviz.errors import ExitCode, UsageError
from cnnviz.runs.request import ModelOptions
from cnnviz.text import class_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cnnviz.inspection.maximize import AscentOptions, MaximizedImage, Progress
    from cnnviz.inspection.objectives import Objective
    from cnnviz.models.source import ModelSource
    from cnnviz.outputs.provenance import Origin


@dataclass(frozen=True)
class _Goal:
    """How one goal is called: a class, or a channel of a layer."""

    name: str
    file: str
    what: str  # of it is maximized
    record: dict[str, Any]
    index: int | None = None  #: of the class


_LEAST_SIDE = 224  # of an image in the grid; smaller ones are enlarged so many whole times
_HOLD = 1.5  # seconds that a GIF stays at its end; before that it shows every frame for
_FLASH = 0.12


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
    help="What of a channel: its mean over all places, or its value in the middle.",
)
@output_option("maximized")
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
@packed(model=ModelOptions, printing=Printing)
def command(**options: Any) -> int:
    """Synthesize an image that maximizes the score of a class or a channel.

    It starts from noise and follows the gradient of the logit (activation maximization). For
    `maximize demo --target fish --target snail` this writes demo_1_fish_maximized.png and
    demo_4_snail_maximized.png, at the network's input size, and demo_maximized.png with both and
    their predictions. MODEL is what `explain --model` takes.
    """
    return _maximize(**options)


def _maximize(
    *,
    model: ModelOptions,
    targets: tuple[str, ...],
    layer: str | None,
    maximized: tuple[str, ...],
    place: str,
    output: Path,
    frames: Path | None,
    gif: Path | None,
    every: int | None,
    printing: Printing,
    **ascent: float | None,
) -> int:
    if every is not None and frames is None and gif is None:
        raise UsageError("--every says how often --frames or --gif take an image: give one.")
    if bool(targets) == (layer is not None):
        raise UsageError("Say what to maximize: --target CLASS, or --layer NAME --channel K.")
    if bool(maximized) != (layer is not None):
        raise UsageError("--layer and --channel belong together: give both.")
    # Mistakes are reported before anything slow is done: the cheapest checks first, weights last.
    from cnnviz.engines.base import parse_device
    from cnnviz.engines.registry import choose_engine
    from cnnviz.inspection.maximize import AscentOptions, maximize
    from cnnviz.machine import keep_freed_memory
    from cnnviz.models.resolve import find_model
    from cnnviz.outputs.files import check_output_folder, check_replaceable
    from cnnviz.outputs.provenance import Origin

    found = find_model(model.config(), notify=printing.notify)
    device = parse_device(model.device)
    chosen: dict[str, Any] = {key: value for key, value in ascent.items() if value is not None}
    how = AscentOptions(**chosen)
    check_output_folder(output)
    for path in (frames, None if gif is None else gif.parent):
        if path is not None:
            check_output_folder(path)
    doubt_threads(model.threads, quiet=printing.quiet)
    keep_freed_memory()
    found.digest_ahead()
    goals, named = _goals(found, targets, layer, maximized, place)
    if found.architecture.end.remark is not None and not printing.quiet:
        say(found.architecture.end.remark)
    for path in [*(output / name for name in _files(found, named)), *([gif] if gif else [])]:
        check_replaceable(path)  # before minutes are spent on it
    choice = choose_engine(device, found.architecture.graph, model.engine)
    network, weights = found.load(choice, progress=not printing.quiet)
    if not printing.quiet:
        name_engine(network)
        name_weights(weights)
    origin = Origin(found.name, weights.sha256)
    film = _Film(origin, named, how, frames, gif, every)
    began = time.monotonic()
    with progress(how.steps, "step", hidden=printing.quiet) as bar, Interrupt() as interrupt:

        def observe(stand: Progress) -> None:
            bar.update(stand.step and 1)
            film.take(stand)
            interrupt.heed()

        results = maximize(network, found.spec, goals, how, observe)
    seconds = time.monotonic() - began
    written = _write(found, origin, output, named, how, results)
    film.end()
    for goal, path, result in zip(named, written, results, strict=True):
        if not result.has_gradient and not printing.quiet:
            say(
                f"{goal.name}: it never answered to any change, so its image says nothing. Try "
                "another --seed."
            )
        if printing.as_json:
            put(json_line(_record(found, goal, how, path, result)))
        elif not printing.quiet:
            put(f"{path}: {goal.name}, {_found(found, goal, result)}")
    if not printing.quiet:
        say(f"{len(results)} maximized, in {seconds:.1f} s; written to {output}")
    return ExitCode.OK


def _goals(
    found: ModelSource,
    targets: tuple[str, ...],
    layer: str | None,
    maximized: tuple[str, ...],
    place: str,
) -> tuple[Objective, list[_Goal]]:
    """What is maximized, and how each is called."""
    from cnnviz.inspection.objectives import ChannelObjective, ClassObjective
    from cnnviz.labels.targets import resolve_targets

    if layer is None:
        wanted = resolve_targets(targets, found.labels, found.classes)
        indices = tuple(target.index for target in wanted if target.index is not None)
        if len(indices) < len(wanted):
            raise UsageError(
                "predicted, second, truth and topN are classes of an image, and there is none "
                "yet: give an index or a name."
            )
        return ClassObjective(indices), [_class_goal(found, index) for index in indices]
    chosen = found.architecture.find(layer)
    parts = [part.strip() for given in maximized for part in given.split(",")]
    for part in parts:
        if not part.isdecimal():
            raise UsageError(f"A channel is a number from 0 on; got '{part}'.")
    numbers = tuple(dict.fromkeys(map(int, parts)))
    goals = ChannelObjective(chosen, numbers, place)
    what = "value in the middle" if place == "middle" else "mean"
    return goals, [
        _Goal(
            f"channel {number}",
            f"{chosen.name}_channel{number}" + ("_middle" if place == "middle" else ""),
            what,
            {"layer": chosen.name, "channel": number, "place": place},
        )
        for number in numbers
    ]


def _class_goal(found: ModelSource, index: int) -> _Goal:
    name = found.labels[index] if found.labels else None
    called = class_name(index, name)
    short = "" if name is None else "_" + name.partition(",")[0].replace(" ", "_")
    record = {"index": index, "name": name}
    return _Goal(called, f"{index}{short}", "logit", record, index)


def _about(
    shows: str, origin: Origin, goals: Sequence[_Goal], how: AscentOptions
) -> dict[str, Any]:
    """What a file says of itself, see :mod:`cnnviz.outputs.provenance`."""
    method = {
        "name": "maximize",
        "key": "maximized",
        "title": "activation maximization",
        "options": asdict(how),
        "relu": ["standard"],
    }
    if goals[0].index is not None:
        classes = [(goal.record["index"], goal.record["name"]) for goal in goals]
        return origin.describe(shows, methods=[method], classes=classes)
    method["options"] = {**asdict(how), "place": goals[0].record["place"]}
    channels = [goal.record["channel"] for goal in goals]
    layers = [goals[0].record["layer"]]
    return origin.describe(shows, methods=[method], layers=layers, channels=channels)


def _write(
    found: ModelSource,
    origin: Origin,
    output: Path,
    goals: Sequence[_Goal],
    how: AscentOptions,
    results: Sequence[MaximizedImage],
) -> list[Path]:
    """Write each image, and all together; the paths of the former."""
    from cnnviz.outputs.files import OutputFolder
    from cnnviz.outputs.formats import encode_png

    folder = OutputFolder(output)
    *names, together = _files(found, goals)
    written = [
        folder.write(name, encode_png(result.image, _about("maximized", origin, [goal], how)))
        for name, goal, result in zip(names, goals, results, strict=True)
    ]
    of = goals[0].record.get("layer")
    title = (
        f"What excites {found.name}{f', layer {of}' if of else ''} most: images made for a high "
        f"{goals[0].what}, {how.steps} steps from noise, seed {how.seed}"
    )
    sheet = _sheet(
        [result.image for result in results],
        [
            f"{goal.name}: {_found(found, goal, result)}"
            for goal, result in zip(goals, results, strict=True)
        ],
        title,
    )
    folder.write(together, encode_png(sheet, _about("maximized", origin, goals, how)))
    return written


def _files(found: ModelSource, goals: Sequence[_Goal]) -> list[PurePath]:
    """The file of each image, and of all together."""
    from cnnviz.outputs.naming import file_parts

    model, *parts = file_parts([found.name, *(goal.file for goal in goals)])
    return [PurePath(f"{model}_{part}maximized.png") for part in [*(f"{p}_" for p in parts), ""]]


def _sheet(
    images: Sequence[npt.NDArray[np.uint8]], captions: Sequence[str], title: str
) -> npt.NDArray[np.uint8]:
    """Images in a grid; small ones enlarged, every pixel a square."""
    from cnnviz.rendering.grids import grid

    times = max(1, -(-_LEAST_SIDE // min(images[0].shape[:2])))
    return grid([one.repeat(times, 0).repeat(times, 1) for one in images], captions, title)


def _found(found: ModelSource, goal: _Goal, result: MaximizedImage) -> str:
    """``logit 23.4, probability 1.000``, and what the network says if that is another class."""
    said = (
        f"{goal.what} {result.value:.1f}"
        if goal.index is not None
        else (f"{goal.what} {result.value:.3g} (noise: {result.initial_value:.3g})")
    )
    if goal.index is None:
        return said
    if result.activation.is_probability:
        said += f", probability {result.probabilities[goal.index]:.3f}"
    if result.prediction != goal.index:
        said += f"; the network says {_class_goal(found, result.prediction).name}"
    return said


def _record(
    found: ModelSource, goal: _Goal, how: AscentOptions, path: Path, result: MaximizedImage
) -> dict[str, Any]:
    """One image as ``--json`` prints it."""
    probabilities = result.probabilities

    def score(index: int) -> dict[str, Any]:
        return {
            "index": index,
            "name": found.labels[index] if found.labels else None,
            "logit": float(result.logits[index]),
            "probability": float(probabilities[index])
            if result.activation.is_probability
            else None,
        }

    return {
        "model": found.name,
        "target" if goal.index is not None else "channel": (
            score(goal.index) if goal.index is not None else goal.record
        ),
        "value": result.value,
        "value_of_noise": result.initial_value,
        "top": [score(int(index)) for index in (-result.logits).argsort(kind="stable")[:5]],
        "moved": result.has_gradient,
        "file": str(path),
        **asdict(how),
    }


class _Film:
    """The way there, as images and as a GIF, of what was asked for."""

    def __init__(
        self,
        origin: Origin,
        goals: Sequence[_Goal],
        how: AscentOptions,
        folder: Path | None,
        gif: Path | None,
        every: int | None,
    ) -> None:
        from cnnviz.outputs.naming import file_parts

        (self._model,) = file_parts([origin.network])
        self._captions = [goal.name for goal in goals]
        self._steps = how.steps
        self._about = _about("steps", origin, goals, how)
        self._folder = folder
        self._gif = gif
        self._every = every or max(1, how.steps // 16)
        self._frames: list[npt.NDArray[np.uint8]] = []

    def take(self, stand: Progress) -> None:
        """Take a frame, if it is time for one."""
        from cnnviz.outputs.files import OutputFolder
        from cnnviz.outputs.formats import encode_png

        if self._folder is None and self._gif is None:
            return
        if stand.step % self._every and stand.step < self._steps:
            return
        digits = len(str(self._steps))
        frame = _sheet(stand.pixels(), self._captions, f"step {stand.step} of {self._steps}")
        if self._folder is not None:
            name = f"{self._model}_step{stand.step:0{digits}}.png"
            OutputFolder(self._folder).write(PurePath(name), encode_png(frame, self._about))
        if self._gif is not None:
            self._frames.append(frame)

    def end(self) -> None:
        """Write the GIF."""
        from cnnviz.outputs.files import OutputFolder
        from cnnviz.outputs.formats import encode_gif

        if self._gif is not None:
            seconds = [_FLASH] * (len(self._frames) - 1) + [_HOLD]
            OutputFolder(self._gif.parent).write(
                PurePath(self._gif.name), encode_gif(self._frames, seconds)
            )
