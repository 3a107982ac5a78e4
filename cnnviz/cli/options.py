"""Options that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click

from cnnviz.cli.limits import few_threads
from cnnviz.cli.option_types import Choice, FilePath, Folder, ImageSize, Parsed
from cnnviz.rendering.style import Style
from cnnviz.runs.request import ModelOptions, OutputOptions


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
        "configuration file or the network says otherwise), or crop (resize its short side and cut "
        "out the center).",
    ),
    click.option(
        "--crop-fraction",
        type=Parsed("parse_fraction", "FRACTION", "a crop fraction"),
        help="The part of the resized image's short side that is kept, such as 0.95 (timm's "
        "crop_pct) or 224/232. By default 0.875 (224/256) with --resize crop, and 1, all of it, "
        "with stretch; networks of torchvision and timm have their own.",
    ),
    click.option(
        "--interpolation",
        type=Choice("cnnviz.images.input_spec:INTERPOLATIONS", "NAME"),
        help="How pixels are computed when an image is resized: area (default: averages where it "
        "shrinks, bilinear where it grows); or as Pillow does, and with it torchvision and timm, "
        "whose networks have their own: nearest, box, bilinear, hamming, bicubic or lanczos.",
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


_LOOK = (
    click.option(
        "--size",
        type=ImageSize(),
        default=Style.size,
        help="Long side of the images written, in pixels; full: as the original; model: as the "
        "network's input. By default as the original, but at most 1024.",
    ),
    click.option(
        "--colormap",
        type=Choice("cnnviz.rendering.style:COLORMAPS", "NAME"),
        default=Style.colormap,
        show_default=True,
        help="Colors of the Grad-CAM overlay: jet, turbo, viridis, inferno, ...",
    ),
    click.option(
        "--alpha",
        type=click.FloatRange(0, 1),
        default=Style.alpha,
        show_default=True,
        metavar="PART",
        help="Opacity of the overlay, from 0 (image only) to 1 (colors only).",
    ),
    click.option(
        "--overlay/--no-overlay",
        default=Style.overlay,
        help="Draw heatmaps over the image, or by themselves.",
    ),
)


def look_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How maps are rendered, of commands that write some: the options of :class:`Style`."""
    return with_parameters(function, _LOOK)


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


REPORT = click.option(
    "--report", is_flag=True, help="Also write index.html, a page about all images."
)
"""``--report``, of commands that look at many images."""

TITLE = click.option("--title", metavar="TEXT", help="Title of the report's page.")
"""``--title``, of commands that write one."""

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image.")
"""``--json``, of commands that look at images."""

QUIET = click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
"""``--quiet``, of commands that print more than what they were asked for."""


def output_option(default: str, *, remote: bool = False) -> Callable[..., Any]:
    """``--output``, of commands that write several files; ``remote`` if it may be a URL."""
    return click.option(
        "--output",
        "-o",
        type=Folder() if remote else FilePath(path_type=Path),
        default=default,
        show_default=True,
        metavar="DIR",
        help="Output folder; created if it does not exist."
        + (" May be a URL: s3://, gs:// or az://." if remote else ""),
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
            values = {name: pack(group, given) for name, group in groups.items()}
            return function(**values, **given)

        return call

    return decorate


def pack(group: Any, given: dict[str, Any]) -> Any:
    """A group of options, which are taken out of ``given``."""
    values = {}
    for field in fields(group):
        if is_dataclass(field.default_factory):
            values[field.name] = pack(field.default_factory, given)
        elif field.name in given:
            values[field.name] = given.pop(field.name)
    return group(**values)
