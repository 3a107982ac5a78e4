"""Options that several commands share, and parameter types whose choices are looked up late."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


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


def _numpy_too(_ctx: click.Context, _parameter: click.Parameter, threads: int | None) -> int | None:
    """Give NumPy's matrix products the same number of threads.

    It is read while NumPy is imported, which other options' types may do: so this comes first.
    """
    if threads is not None:
        os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    return threads


def model_options(function: Function) -> Function:
    """``--model`` and what belongs to it."""
    for option in reversed(
        (
            click.option(
                "--model",
                "-m",
                default="vgg16",
                show_default=True,
                metavar="NAME",
                help="The network; `cnnviz models` lists them. `demo` needs no download.",
            ),
            click.option(
                "--weights",
                type=click.Path(),
                metavar="FILE",
                help="Its weights: .params, .safetensors or .pth. Without it they are looked for "
                "in MXNet's cache and downloaded.",
            ),
            click.option(
                "--labels",
                type=click.Path(),
                metavar="FILE",
                help="The names of its classes, one a line. Without it ImageNet's.",
            ),
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
                callback=_numpy_too,
                help="Processor threads for the network; 1 has reading and writing wait for it "
                "too. Without it what OMP_NUM_THREADS says, else all cores that this process may "
                "use.",
            ),
        )
    ):
        function = option(function)
    return function
