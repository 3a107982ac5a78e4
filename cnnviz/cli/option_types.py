"""Types of the command line's parameters; names that they know are looked up late."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnviz.rendering.style import SIZES
from cnnviz.text import did_you_mean, expand_home, matching, paragraph, printable

if TYPE_CHECKING:
    from cnnviz.storage.paths import AnyPath


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
        """Check the name; a default needs no check, and no import for it."""
        if param is not None and value == param.default:
            return str(value)
        choices = self.choices
        found = matching(value, choices)
        if len(found) != 1:
            hint = did_you_mean(value, choices)
            self.fail(paragraph(f"'{value}' is not one of {', '.join(choices)}.", hint), param, ctx)
        return found[0]


class FilePath(click.Path):
    """A file or folder. ``~`` in front is the home folder, where no shell has seen to it."""

    def __init__(self, *, remote: bool = False, **options: Any) -> None:
        """``remote``: whether it may be behind a URL; it is a text then."""
        super().__init__(**options)
        self._remote = remote

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        from cnnviz.storage.urls import is_remote

        if self._remote and is_remote(os.fspath(value)):
            return value
        return super().convert(_path(self, os.fspath(value), param, ctx), param, ctx)


class Folder(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A folder of this machine, or one behind a URL."""

    name = "folder"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> AnyPath:
        """The path."""
        from cnnviz.storage.paths import path_of
        from cnnviz.storage.urls import is_remote

        if isinstance(value, Path):
            return value
        text = str(value)
        return path_of(text if is_remote(text) else _path(self, text, param, ctx))


class Input(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """An image, a folder, a URL of these, or ``-``."""

    name = "input"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The path."""
        from cnnviz.storage.urls import is_remote

        if is_remote(str(value)):
            return str(value)
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
    from cnnviz.storage.urls import is_remote, shown_url

    if is_remote(text):
        kind.fail(
            f"'{printable(shown_url(text))}' is a URL, which cnnviz does not read here: download "
            "it first.",
            param,
            ctx,
        )
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
        if text not in SIZES and not text.isdecimal():
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
