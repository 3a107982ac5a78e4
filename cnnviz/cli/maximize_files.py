"""What ``cnnviz maximize`` writes and says: the images found, all in one figure, frames, a GIF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from cnnviz.text import class_name

if TYPE_CHECKING:
    from cnnviz.inspection.maximize import AscentOptions, MaximizedImage, Progress
    from cnnviz.outputs.formats import ImageFormat
    from cnnviz.outputs.provenance import Origin
    from cnnviz.types import RgbImage

_LEAST_SIDE = 224  # of an image in a grid; smaller ones are enlarged by a whole factor
_HOLD = 1.5  # seconds that a GIF stays at its end; before that it shows every frame for
_FLASH = 0.12


@dataclass(frozen=True)
class Goal:
    """What one image is made for: a class, or a channel of a layer.

    Attributes:
        name: for people.
        file: part of the file's name.
        measure: what of it is maximized: ``logit``, ``mean`` or ``value in the middle``.
        record: what is printed of it, as JSON can hold it.
        index: of the class; None for a channel.
    """

    name: str
    file: str
    measure: str
    record: dict[str, Any]
    index: int | None = None


def class_goal(index: int, labels: Sequence[str]) -> Goal:
    """The goal of a class."""
    name = labels[index] if labels else None
    short = "" if name is None else "_" + name.partition(",")[0].replace(" ", "_")
    record = {"index": index, "name": name}
    return Goal(class_name(index, name), f"{index}{short}", "logit", record, index)


def channel_goal(layer: str, channel: int, place: str) -> Goal:
    """The goal of a channel; ``place`` is one of :data:`cnnviz.inspection.objectives.PLACES`."""
    in_middle = place == "middle"
    return Goal(
        f"channel {channel}",
        f"{layer}_channel{channel}" + ("_middle" if in_middle else ""),
        "value in the middle" if in_middle else "mean",
        {"layer": layer, "channel": channel, "place": place},
    )


def file_names(model: str, goals: Sequence[Goal], kind: ImageFormat) -> list[PurePath]:
    """The file of each image, and last that of all together, in a format."""
    from cnnviz.outputs.naming import file_parts

    stem, *parts = file_parts([model, *(goal.file for goal in goals)])
    return [PurePath(f"{stem}_{part}maximized.{kind}") for part in [*(f"{p}_" for p in parts), ""]]


@dataclass(frozen=True)
class Ascent:
    """One call of the command, as its files and its lines describe it.

    Attributes:
        origin: the network.
        labels: the names of its classes, or none.
        goals: one for each image.
        options: how images are found.
        format: what they are written as.
    """

    origin: Origin
    labels: Sequence[str]
    goals: Sequence[Goal]
    options: AscentOptions
    format: ImageFormat

    def write(self, output: Path, results: Sequence[MaximizedImage]) -> list[Path]:
        """Write each image, and all in one figure; the paths of the former."""
        from cnnviz.outputs.files import OutputFolder

        folder = OutputFolder(output)
        *names, together = file_names(self.origin.network, self.goals, self.format)
        written = [
            folder.write(name, self.encode(result.image, self.describe("maximized", [goal])))
            for name, goal, result in zip(names, self.goals, results, strict=True)
        ]
        layer = self.goals[0].record.get("layer")
        title = (
            f"What excites {self.origin.network}{f', layer {layer}' if layer else ''} most: images "
            f"made for a high {self.goals[0].measure}, {self.options.steps} steps from noise, seed "
            f"{self.options.seed}"
        )
        captions = [
            f"{goal.name}: {self.line(goal, result)}"
            for goal, result in zip(self.goals, results, strict=True)
        ]
        figure = _grid([result.image for result in results], captions, title)
        folder.write(together, self.encode(figure, self.describe("maximized", self.goals)))
        return written

    def encode(self, image: RgbImage, about: Mapping[str, Any]) -> tuple[bytes, ...]:
        """An image as a file holds it, with what that says of itself."""
        from cnnviz.outputs.formats import encode_image

        return encode_image(image, self.format, about)

    def describe(self, shows: str, goals: Sequence[Goal]) -> dict[str, Any]:
        """What a file says of itself, see :mod:`cnnviz.outputs.provenance`."""
        options = asdict(self.options)
        chosen: dict[str, Any] = {}
        if goals[0].index is not None:
            chosen["classes"] = [(goal.record["index"], goal.record["name"]) for goal in goals]
        else:
            options["place"] = goals[0].record["place"]
            chosen["layers"] = [goals[0].record["layer"]]
            chosen["channels"] = [goal.record["channel"] for goal in goals]
        method = {
            "name": "maximize",
            "key": "maximized",
            "title": "activation maximization",
            "options": options,
            "relu": ["standard"],
        }
        return self.origin.describe(shows, methods=[method], **chosen)

    def line(self, goal: Goal, result: MaximizedImage) -> str:
        """``logit 23.4, probability 1.000``, and what is predicted if that is another class."""
        if goal.index is None:
            return f"{goal.measure} {result.value:.3g} (noise: {result.initial_value:.3g})"
        text = f"{goal.measure} {result.value:.1f}"
        if result.activation.is_probability:
            text += f", probability {result.probabilities[goal.index]:.3f}"
        if result.prediction != goal.index:
            text += f"; the network predicts {class_goal(result.prediction, self.labels).name}"
        return text

    def record(self, goal: Goal, path: Path, result: MaximizedImage) -> dict[str, Any]:
        """One image as ``--json`` prints it."""
        from cnnviz.labels.scores import Score

        def score(index: int) -> dict[str, Any]:
            return asdict(Score.of(index, result.logits, result.activation, self.labels))

        return {
            "model": self.origin.network,
            "target" if goal.index is not None else "channel": (
                score(goal.index) if goal.index is not None else goal.record
            ),
            "value": result.value,
            "value_of_noise": result.initial_value,
            "top": [score(int(index)) for index in (-result.logits).argsort(kind="stable")[:5]],
            "moved": result.has_gradient,
            "file": str(path),
            **asdict(self.options),
        }


class Film:
    """The steps of an ascent, as images and as a GIF, as far as these are asked for."""

    def __init__(
        self, ascent: Ascent, folder: Path | None, gif: Path | None, every: int | None
    ) -> None:
        """Take a frame ``every`` steps, by default a sixteenth of all."""
        from cnnviz.outputs.naming import file_parts

        (self._model,) = file_parts([ascent.origin.network])
        self._ascent = ascent
        self._captions = [goal.name for goal in ascent.goals]
        self._steps = ascent.options.steps
        self._about = ascent.describe("steps", ascent.goals)
        self._folder = folder
        self._gif = gif
        self._every = every or max(1, self._steps // 16)
        self._frames: list[RgbImage] = []

    def take(self, state: Progress) -> None:
        """Take a frame, if it is time for one."""
        from cnnviz.outputs.files import OutputFolder

        if self._folder is None and self._gif is None:
            return
        if state.step % self._every and state.step < self._steps:
            return
        digits = len(str(self._steps))
        frame = _grid(state.pixels(), self._captions, f"step {state.step} of {self._steps}")
        if self._folder is not None:
            name = f"{self._model}_step{state.step:0{digits}}.{self._ascent.format}"
            parts = self._ascent.encode(frame, self._about)
            OutputFolder(self._folder).write(PurePath(name), parts)
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


def _grid(images: Sequence[RgbImage], captions: Sequence[str], title: str) -> RgbImage:
    """Images in a grid; small ones enlarged, every pixel a square."""
    from cnnviz.rendering.grids import grid

    times = max(1, -(-_LEAST_SIDE // min(images[0].shape[:2])))
    return grid([one.repeat(times, 0).repeat(times, 1) for one in images], captions, title)
