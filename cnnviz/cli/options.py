"""Options that several commands share, and parameter types whose choices are looked up late."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cnnviz.models.card import Card


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
        if value not in choices:
            self.fail(f"'{value}' is none of {', '.join(choices)}.", param, ctx)
        return str(value)


class PictureSize(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """``default``, ``full``, ``model`` or a number of pixels."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How the value is written in the help."""
        return "N|model|full"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        """A word or a number; its range is checked by :func:`cnnviz.preprocessing.check_size`."""
        text = str(value)
        if text not in ("default", "full", "model") and not text.isdecimal():
            self.fail(
                f"'{text}' is no size: give the long side in pixels, full, or model.", param, ctx
            )
        return int(text) if text.isdecimal() else text


class BatchSize(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """``auto`` or a number of pictures, at least 1."""

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
            self.fail(f"'{text}' is no batch size: give a number from 1 on, or auto.", param, ctx)
        return int(text)


class InputSize(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Height and width of a network's pictures."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How the value is written in the help."""
        return "N|HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """(height, width)."""
        from cnnviz.models.card import parse_size

        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(f"'{value}' is no size: wanted is {error}.", param, ctx)


class Numbers(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number for each channel of a network's input."""

    name = "numbers"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How the value is written in the help."""
        return "N,N,N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """One number or three."""
        from cnnviz.models.card import parse_numbers

        try:
            return parse_numbers(str(value))
        except ValueError as error:
            self.fail(f"'{value}' does not do: wanted are {error}.", param, ctx)


def _use_threads(
    _ctx: click.Context, _parameter: click.Parameter, threads: int | None
) -> int | None:
    """Have MXNet, and NumPy's matrix products, compute with so many threads.

    Each reads its number once, while it is imported, which other options' types or a first look at
    the network may do: so this comes before anything else.
    """
    if threads is not None:
        os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
        from cnnviz.network.runtime import set_threads

        set_threads(threads)
    return threads


@dataclass(frozen=True)
class ModelOptions:
    """What the command line says about the network. None: nothing was said."""

    model: str
    weights: Path | None = None
    labels: Path | None = None
    input_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str | None = None
    head: str | None = None
    activation: str | None = None
    ctx: str = "cpu"
    threads: int | None = None

    def card(self) -> Card:
        """All that is known of the network: what stands here, over the card if there is one.

        Raises:
            UsageError: there is no such network, or a card or the class names cannot be read.
        """
        from cnnviz.models.card import find_card
        from cnnviz.models.label_files import read_labels

        return find_card(self.model).updated(
            weights=self.weights,
            labels=None if self.labels is None else read_labels(self.labels),
            input_size=self.input_size,
            mean=self.mean,
            std=self.std,
            channels=self.channels,
            head=self.head,
            activation=self.activation,
        )


RESIZE = click.option(
    "--resize",
    type=Choice("cnnviz.preprocessing:RESIZE_MODES", "MODE"),
    help="How a picture is brought to the network's size: stretch (by default, if a card says "
    "nothing else), or crop (its short side is resized and the centre cut out).",
)
"""``--resize``, of commands that look at pictures."""


def output_option(default: str) -> Callable[..., Any]:
    """``--output``, of commands that write several files."""
    return click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        default=default,
        show_default=True,
        metavar="DIR",
        help="Where to write; made if it is not there.",
    )


_MODEL = click.option(
    "--model",
    "-m",
    default="vgg16",
    show_default=True,
    metavar="NAME|FILE",
    help="The network: a name that `cnnviz models` lists (`demo` needs no download); an exported "
    "network's net-symbol.json; or a card, cnnviz.yaml, or its folder.",
)
_NETWORK = (
    click.option(
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Its weights: .params, .safetensors or .pth. Without it they are looked for in "
        "MXNet's cache and downloaded; a symbol's lie beside it.",
    ),
    click.option(
        "--labels",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The names of its classes: one a line, with or without an index, or JSON, YAML or "
        "CSV. Without it ImageNet's for networks of the list; an exported network's classes are "
        "then numbers.",
    ),
    click.option(
        "--input-size",
        type=InputSize(),
        help="Pixels of its pictures, height by width, if not its own.",
    ),
    click.option(
        "--mean",
        type=Numbers(),
        help="Mean of pixels from 0 to 1 in its training: of red, green and blue, in the order of "
        "--channels; one number if it takes grey pictures.",
    ),
    click.option(
        "--std", type=Numbers(), help="Their standard deviation, in the order of --channels."
    ),
    click.option(
        "--channels",
        type=Choice("cnnviz.preprocessing:CHANNEL_ORDERS", "rgb|bgr"),
        help="In which order it takes red, green and blue: rgb (by default), or bgr, as OpenCV "
        "reads pictures, and Caffe; then --mean and --std, too, begin with blue.",
    ),
    click.option(
        "--head",
        metavar="NAME",
        help="Which output, or inner node, of an exported network gives its logits.",
    ),
    click.option(
        "--activation",
        type=Choice("cnnviz.network.ends:ACTIVATIONS", "NAME"),
        help="What makes probabilities of its logits, where it does not end with that: softmax, "
        "sigmoid (each class by itself; of one output: yes or no), none (they are numbers).",
    ),
)
_MACHINE = (
    click.option(
        "--ctx",
        default="cpu",
        show_default=True,
        metavar="DEVICE",
        help="Where to compute: cpu, gpu, gpu:N or gpu(N).",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        is_eager=True,
        callback=_use_threads,
        help="Processor threads for the network; 1 has reading and writing wait for it too. "
        "Without it what OMP_NUM_THREADS says, else all cores that this process may use.",
    ),
)


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--model`` and what belongs to it, handed on as ``model``, a :class:`ModelOptions`."""
    return _packed(function, (_MODEL, *_NETWORK, *_MACHINE))


def model_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """A network as an argument, with the options that say more of it, for what runs nothing."""
    return _packed(function, (click.argument("model", metavar="MODEL"), *_NETWORK))


def model_to_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """A network as an argument, with all that :func:`model_options` takes beside its name."""
    return _packed(function, (click.argument("model", metavar="MODEL"), *_NETWORK, *_MACHINE))


def _packed(
    function: Callable[..., Any], parameters: Sequence[Callable[..., Any]]
) -> Callable[..., Any]:
    @functools.wraps(function)  # it takes along the options that stand below
    def call(**given: Any) -> Any:
        names = [field.name for field in fields(ModelOptions) if field.name in given]
        return function(model=ModelOptions(**{name: given.pop(name) for name in names}), **given)

    for parameter in reversed(parameters):
        call = parameter(call)
    return call
