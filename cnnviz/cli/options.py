"""Options that several commands share, and parameter types whose choices are looked up late."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click

from cnnviz.cli.limits import few_threads
from cnnviz.runs.request import ModelOptions, OutputOptions
from cnnviz.text import did_you_mean, expand_home, is_url, matching, paragraph


class Choice(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """One of the names that a module lists, without importing that module for nothing."""

    name = "name"

    def __init__(self, where: str, metavar: str) -> None:
        """``where`` is ``module:attribute``, an iterable of names."""
        self._where = where
        self._metavar = metavar

    @property
    def choices(self) -> tuple[str, ...]:
        """The names."""
        module, _, path = self._where.partition(":")
        value: Any = importlib.import_module(module)
        for attribute in path.split("."):
            value = getattr(value, attribute)
        return tuple(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How the value is written in the help."""
        return self._metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the name."""
        choices = self.choices
        found = matching(value, choices)
        if len(found) != 1:
            hint = did_you_mean(value, choices)
            self.fail(paragraph(f"'{value}' is not one of {', '.join(choices)}.", hint), param, ctx)
        return found[0]


class FilePath(click.Path):
    """A file or folder. ``~`` in front is the home folder, where no shell has seen to it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        return super().convert(_path(self, os.fspath(value), param, ctx), param, ctx)


class Input(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """An image, a folder, or ``-``."""

    name = "input"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The path."""
        path = _path(self, str(value), param, ctx)
        if not os.path.lexists(path):
            from cnnviz.models import zoo

            if matching(path, zoo.names()):
                self.fail(
                    f"There is no image or folder '{path}'; for the network give --model {path}.",
                    param,
                    ctx,
                )
        return path


def _path(
    kind: click.ParamType,  # type: ignore[type-arg, unused-ignore]
    text: str,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> str:
    """The path with its home folder expanded; URLs and unknown home folders are refused."""
    if is_url(text) and not os.path.lexists(text):
        kind.fail(f"'{text}' is a URL, which cnnviz does not read: download it first.", param, ctx)
    path = expand_home(text)
    if path == text and (text == "~" or (text.startswith("~") and "/" in text)):
        kind.fail(
            f"There is no home folder for '{text}'; if a file really has that name, write "
            f"'./{text}'.",
            param,
            ctx,
        )
    return path


class ImageSize(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """``default``, ``full``, ``model`` or a number of pixels."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How the value is written in the help."""
        return "N|model|full"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        """A word or a number; ``preprocessing.output_shape`` checks its range."""
        text = str(value)
        if text not in ("default", "full", "model") and not text.isdecimal():
            self.fail(
                f"'{text}' is not a size: give the long side in pixels, full, or model.", param, ctx
            )
        return int(text) if text.isdecimal() else text


class BatchSize(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """``auto`` or a number of images, at least 1."""

    name = "batch"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How the value is written in the help."""
        return "N|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        """The word or the number."""
        text = str(value)
        if text == "auto":
            return text
        if not text.isdecimal() or int(text) < 1:
            self.fail(
                f"'{text}' is not a batch size: give a number of at least 1, or auto.", param, ctx
            )
        return int(text)


class Parsed(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """What a function of :mod:`cnnviz.models.config_values` makes of a text."""

    name = "value"

    def __init__(self, parser: str, metavar: str, noun: str) -> None:
        """``parser`` is the function's name; ``noun`` is what a wrong value is not."""
        self._parser = parser
        self._metavar = metavar
        self._noun = noun

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How the value is written in the help."""
        return self._metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value."""
        from cnnviz.models import config_values

        try:
            return getattr(config_values, self._parser)(str(value))
        except ValueError as error:
            self.fail(f"'{value}' is not {self._noun}: expected {error}.", param, ctx)


def _use_threads(
    _ctx: click.Context, _parameter: click.Parameter, threads: int | None
) -> int | None:
    """Set the number of threads for the network and NumPy's matrix products.

    Each reads its number once, while it is imported, which other options' types or a first look at
    the network may do: so this comes before anything else.
    """
    if threads is not None and not few_threads():
        os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
        from cnnviz.machine import set_threads

        set_threads(threads)
    return threads


display_channels_option = click.option(
    "--display-channels",
    type=Parsed("parse_display", "N,N,N", "valid"),
    help="Which three channels of an image are displayed as red, green and blue, by their "
    "indices from 0, or which one in gray. By default the first three, or the first of two.",
)
"""``--display-channels``, of commands that show images; it goes into the same
:class:`ModelOptions`."""

_IMAGES = (
    click.option(
        "--resize",
        type=Choice("cnnviz.images.input_spec:RESIZE_MODES", "MODE"),
        help="How an image is brought to the network's size: stretch (default, unless a "
        "configuration file says otherwise), or crop (resize its short side and cut out the "
        "center).",
    ),
    click.option(
        "--range",
        type=Parsed("parse_range", "LOW:HIGH", "a range"),
        help="The values in the images that become 0 and 1 before --mean and --std are applied, "
        "such as 0:4095; values beyond them are kept. By default 0 and 255 for 8 bits, 0 and "
        "65535 for 16; images of floats or signed numbers need it.",
    ),
    display_channels_option,
)


def image_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How images are read, of commands that look at some; options of :class:`ModelOptions`, too."""
    return with_parameters(function, _IMAGES)


FORMAT = click.option(
    "--format",
    type=Choice("cnnviz.outputs.formats:IMAGE_FORMATS", "png|jpg|webp"),
    default=OutputOptions.format,
    show_default=True,
    help="Format of the images. png keeps every pixel as rendered. jpg (quality 95) is smaller and "
    "faster, webp (quality 90) smallest and slower; both change pixels slightly, so they are for "
    "looking, not for measuring.",
)
"""``--format``, of commands that write images."""


def output_option(default: str) -> Callable[..., Any]:
    """``--output``, of commands that write several files."""
    return click.option(
        "--output",
        "-o",
        type=FilePath(path_type=Path),
        default=default,
        show_default=True,
        metavar="DIR",
        help="Output folder; created if it does not exist.",
    )


_MODEL = click.option(
    "--model",
    "-m",
    default=ModelOptions.model,
    show_default=True,
    metavar="NAME|FILE",
    help="The network: a name that `cnnviz models` lists (`demo` needs no download), or one of "
    "torchvision or timm (timm:resnet50); the file of an exported network (net-symbol.json, "
    "net.onnx, net.pt2, TorchScript's net.pt); or a configuration file, cnnviz.yaml, or its "
    "folder.",
)
_NETWORK = (
    click.option(
        "--weights",
        type=FilePath(path_type=Path),
        metavar="FILE",
        help="File with its weights: .params, .safetensors or .pth. By default those of a named "
        "network come from MXNet's cache, or are downloaded; those of an exported one are in "
        "its file, or beside its symbol.",
    ),
    click.option(
        "--labels",
        type=FilePath(path_type=Path),
        metavar="FILE",
        help="File with its class names: one per line, with or without an index, or JSON, YAML "
        "or CSV. By default ImageNet's for named networks, and numbers for exported ones.",
    ),
    click.option(
        "--input-size",
        type=Parsed("parse_size", "N|HxW", "a size"),
        help="Size of its input in pixels, height by width, if not its own.",
    ),
    click.option(
        "--mean",
        type=Parsed("parse_numbers", "N,N,N", "valid"),
        help="Mean of the pixel values (from 0 to 1) in training: one number per channel, in the "
        "order of --channels; a single one if the network takes grayscale images.",
    ),
    click.option(
        "--std",
        type=Parsed("parse_numbers", "N,N,N", "valid"),
        help="Standard deviation of the pixel values, in the same form.",
    ),
    click.option(
        "--channels",
        type=Choice("cnnviz.images.input_spec:CHANNEL_ORDERS", "rgb|bgr"),
        help="Channel order of its input: rgb (default), or bgr, as in OpenCV and Caffe. --mean "
        "and --std follow the same order.",
    ),
    click.option(
        "--head",
        metavar="NAME",
        help="Output, or inner node, of an exported network that gives its logits.",
    ),
    click.option(
        "--activation",
        type=Choice("cnnviz.graph.ends:ACTIVATIONS", "NAME"),
        help="What turns its logits into probabilities if the network itself does not: softmax, "
        "sigmoid (each class independently; with one output, yes or no) or none (the "
        "outputs are numbers).",
    ),
)
_MACHINE = (
    click.option(
        "--device",
        "--ctx",
        "device",
        default=ModelOptions.device,
        show_default=True,
        metavar="DEVICE",
        help="Where to compute: cpu, gpu or gpu:N (cuda is another word for gpu), or mps, the "
        "graphics of a Mac.",
    ),
    click.option(
        "--engine",
        type=Choice("cnnviz.engines.registry:ENGINES", "NAME"),
        default=ModelOptions.engine,
        show_default=True,
        help="What computes: mxnet, torch (PyTorch), or auto, the first of these that is installed "
        "and can run the network there.",
    ),
    click.option(
        "--precision",
        type=Choice("cnnviz.engines.base:PRECISIONS", "NAME"),
        default=ModelOptions.precision,
        show_default=True,
        help="What convolutions and matrix products are computed in: fp32, or, with PyTorch, tf32 "
        "(GPUs only) or bf16, which are faster on GPUs and less exact.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        is_eager=True,
        callback=_use_threads,
        help="Threads for the network; with 1, images are read and written in that thread, too. "
        "By default OMP_NUM_THREADS, or else every core that this process may use.",
    ),
)


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--model`` and what belongs to it: the options of :class:`ModelOptions`."""
    return with_parameters(function, (_MODEL, *_NETWORK, *_MACHINE))


_ARGUMENT = (
    click.argument("model", metavar="MODEL", required=False),
    click.option("--model", "-m", "named", metavar="NAME|FILE", help="Another way to give MODEL."),
)


def model_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """A network as an argument, with the options that say more of it, for what runs nothing."""
    return with_parameters(function, (*_ARGUMENT, *_NETWORK))


def model_to_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """A network as an argument, with all that :func:`model_options` takes beside its name."""
    return with_parameters(function, (*_ARGUMENT, *_NETWORK, *_MACHINE))


def _one_model(argument: str | None, option: str | None) -> str:
    """The network, given in one of two ways."""
    if argument is not None and option is not None and argument != option:
        raise click.UsageError(f"Two networks were given, {argument} and {option}; give one.")
    model = option if argument is None else argument
    if model is None:
        raise click.UsageError("Missing argument 'MODEL'; `cnnviz models` lists networks.")
    return model


def with_parameters(
    function: Callable[..., Any], parameters: Sequence[Callable[..., Any]]
) -> Callable[..., Any]:
    """A command with these parameters, in this order, before those that it has."""
    for parameter in reversed(parameters):
        function = parameter(function)
    return function


def packed(**groups: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Hand the options that stand above it to the function in groups.

    Args:
        groups: by the parameter's name a dataclass whose fields are called as the options are. A
            field may have such a class itself, as its ``default_factory``.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)  # which keeps the options declared below it
        def call(**given: Any) -> Any:
            if "named" in given:
                given["model"] = _one_model(given["model"], given.pop("named"))
            values = {name: _pack(group, given) for name, group in groups.items()}
            return function(**values, **given)

        return call

    return decorate


def _pack(group: Any, given: dict[str, Any]) -> Any:
    """A group of options, which are taken out of ``given``."""
    values = {}
    for field in fields(group):
        if is_dataclass(field.default_factory):
            values[field.name] = _pack(field.default_factory, given)
        elif field.name in given:
            values[field.name] = given.pop(field.name)
    return group(**values)
