"""Options that all commands have which explain images, in groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from cnnviz.cli.option_types import BatchSize, Choice, FilePath
from cnnviz.cli.options import FORMAT, with_parameters
from cnnviz.errors import UsageError
from cnnviz.runs.request import ExecutionOptions, OutputOptions, TargetOptions
from cnnviz.runs.shards import Shard


def named_values(
    _ctx: click.Context, _parameter: click.Parameter, pairs: Sequence[str]
) -> dict[str, str]:
    """``NAME=VALUE`` as a mapping."""
    options = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not (name.strip() and sign):
            raise UsageError(f"An option is given as NAME=VALUE, samples=50 say; got '{pair}'.")
        options[name.strip()] = value.strip()
    return options


_LAYER = click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Target layer; `cnnviz layers` lists them. Several are shown side by side. "
    "`stages` selects one layer per resolution that the network goes through. Repeatable, or A,B.",
)
_TARGET = click.option(
    "--target",
    "targets",
    multiple=True,
    default=TargetOptions.targets,
    show_default=True,
    metavar="CLASS",
    help="Class to explain: an index, a name or a unique part of one; predicted; truth; topN, "
    "the N highest; or above:P, all whose probability is above P. similarity:FILE explains the "
    "cosine to what the network outputs for another image. Repeatable, or A,B.",
)
_METHODS = (
    click.option(
        "--method",
        "methods",
        multiple=True,
        metavar="NAME",
        help="Method; `cnnviz methods` lists them. Repeatable, or A,B. By default gradcam, "
        "guided-gradcam (only for networks with ReLUs) and saliency.",
    ),
    click.option(
        "--option",
        "-O",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        callback=named_values,
        help="Option of the methods, or METHOD.NAME=VALUE for one of them; `cnnviz methods` "
        "lists them. Repeatable.",
    ),
    click.option(
        "--relu",
        multiple=True,
        type=Choice("cnnviz.engines.base:RELU_RULES", "RULE"),
        help="Which gradients pass a ReLU, in methods that offer a choice: standard, guided or "
        "deconvnet. Repeatable: one image per rule.",
    ),
    click.option(
        "--saliency",
        type=Choice("cnnviz.attribution.gradients:Saliency.SOURCES", "SOURCE"),
        help="Gradient whose magnitude is the saliency map: guided-gradcam (default), gradient "
        "(default for networks without ReLUs), guided or deconvnet.",
    ),
)
_TRUTH = click.option(
    "--truth",
    type=FilePath(path_type=str, remote=True),
    metavar="folders|cls|FILE",
    help="The ground truth: folders, if each image lies in a folder named after its class; "
    "cls, if tar archives have 0001.cls with the class beside 0001.jpg; or a .csv (path,label) "
    "or .json file, or a URL of one, with several labels an image where the network has a sigmoid.",
)
_FILES = (
    click.option(
        "--scale",
        type=click.Choice(["image", "run"], case_sensitive=False),
        default=OutputOptions.scale,
        show_default=True,
        help="Scale of the colors: each map up to its own maximum (image), or all maps of a "
        "method up to their common maximum (run), which makes colors comparable and takes "
        "two passes over the images.",
    ),
    FORMAT,
    click.option("--arrays", is_flag=True, help="Also write the raw maps, one .npz per image."),
    click.option(
        "--panel", is_flag=True, help="Also write one figure per image with all its maps."
    ),
)
EVALUATE = click.option(
    "--evaluate",
    is_flag=True,
    help="Also judge the maps by the metrics that cost little; `cnnviz evaluate` has all.",
)
"""``--evaluate``, of commands that explain images."""

_EXECUTION = (
    click.option(
        "--batch-size",
        type=BatchSize(),
        default=ExecutionOptions.batch_size,
        show_default=True,
        help="Images that go through the network together; auto: up to 8, as memory allows. "
        "Results do not depend on it.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        help="Refuse images with more pixels than this before decoding them; 200 million by "
        "default.",
    ),
    click.option("--fail-fast", is_flag=True, help="Stop at the first image that fails."),
)


def goal_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--layer`` and ``--target``: what is explained."""
    return with_parameters(function, (_LAYER, _TARGET))


def method_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--method`` and what belongs to it: how it is explained."""
    return with_parameters(function, _METHODS)


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--scale``, ``--format``, ``--arrays`` and ``--panel``: what is written for each image."""
    return with_parameters(function, _FILES)


def truth_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--truth``: where the images' true classes stand."""
    return _TRUTH(function)


def limit_option(text: str) -> Callable[..., Any]:
    """``--limit``: how many of the images are wanted; ``text`` says what becomes of the others."""
    return click.option("--limit", type=click.IntRange(min=1), metavar="N", help=text)


def force_option(verb: str) -> Callable[..., Any]:
    """``--force``; ``verb`` is what is done to an image: ``Explain``."""
    return click.option(
        "--force",
        is_flag=True,
        help=f"{verb} every image again, including those finished by an earlier run.",
    )


def _shard(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> Shard | None:
    """The part that is meant."""
    return None if text is None else Shard.parse(text)


shard_option = click.option(
    "--shard",
    metavar="I/N",
    callback=_shard,
    help="Do only the I-th of N parts of the run; all may run at once, on several machines, into "
    "one output folder. The last one that is done merges them, as `cnnviz merge` does.",
)
"""``--shard``: which part of a run is done."""


_RAY = "ray"


def _runner(_ctx: click.Context, _parameter: click.Parameter, text: str) -> str | None:
    """What does the parts of a run; None for this machine."""
    if text == "local":
        return None
    name, colon, address = text.partition(":")
    if name != _RAY or (colon and not address):
        raise UsageError(f"--runner takes local, ray or ray:ADDRESS; got '{text}'.")
    return text


runner_option = click.option(
    "--runner",
    metavar="local|ray[:ADDRESS]",
    default="local",
    show_default=True,
    callback=_runner,
    help="What does the work: this machine, or a Ray cluster (needs cnnviz[ray]), with a worker "
    "for each GPU or, on the CPU, for each core, or for each N cores with --threads N. ADDRESS is "
    "what ray.init takes: auto, local, HOST:PORT; without it, the cluster that Ray finds, or else "
    "this machine.",
)
"""``--runner``: what does the parts of a run."""


def execution_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--batch-size``, ``--max-pixels`` and ``--fail-fast``: how the work is done."""
    return with_parameters(function, _EXECUTION)
