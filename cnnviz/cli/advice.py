"""What somebody may have meant who typed what there is not."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

import click

from cnnviz.text import did_you_mean, is_url, printable

#: What other programs, or another command, call what is an option here.
_OTHER_WORDS = {
    "--arch": "--model",
    "--batch": "--batch-size",
    "--class": "--target",
    "--class-names": "--labels",
    "--classes": "--labels",
    "--backend": "--engine",
    "--cmap": "--colormap",
    "--cpu": "--device cpu",
    "--cuda": "--device gpu",
    "--fail-if-worse": "--fail-under",
    "--fail-under": "--fail-if-worse",
    "--framework": "--engine",
    "--gpu": "--device gpu",
    "--gpu-id": "--device gpu:N",
    "--image-size": "--input-size",
    "--img-size": "--input-size",
    "--imgsz": "--input-size",
    "--net": "--model",
    "--network": "--model",
    "--overwrite": "--force",
    "--silent": "--quiet",
    "--target-layer": "--layer",
    "--workers": "--threads",
}
#: Options of a run of `cnnviz explain` that `cnnviz compare` cannot have for two.
_OF_ONE_RUN = {
    "--only": "selects images by what one network predicts",
    "--sort": "orders images by what one network predicts",
    "--contrast": "is about two classes of one network",
    "--shard": "divides one run",
}
_SUFFIX_LENGTH = 5


def for_option(error: click.NoSuchOption) -> click.UsageError:
    """The error with what was probably meant."""
    context, name = error.ctx, error.option_name
    if context is None:
        return error
    meant = _OTHER_WORDS.get(name)
    known = {option for parameter in context.command.params for option in parameter.opts}
    if meant is not None and meant.split()[0] in known:
        return click.UsageError(f"No such option '{name}'. Did you mean {meant}?", context)
    if name in _OF_ONE_RUN and context.command.name == "compare":
        return click.UsageError(
            f"No such option '{name}', which {_OF_ONE_RUN[name]}. Run `cnnviz explain` with it for "
            "A and for B, then `cnnviz compare` with the two output folders.",
            context,
        )
    if context.parent is None and not error.possibilities:
        return click.UsageError(
            f"No such option '{name}'. Options stand behind a command, as in `cnnviz explain INPUT "
            f"{name} ...`.",
            context,
        )
    return error


def for_command(arguments: Sequence[str], commands: Sequence[str]) -> str:
    """What to say to somebody whose first argument is no command."""
    if is_url(arguments[0]):
        from cnnviz.storage.urls import shown_url

        name = printable(shown_url(arguments[0]))
        return f"'{name}' is no command. Did you mean `cnnviz explain {name}`?"
    name = printable(arguments[0])
    stem, suffix = os.path.splitext(name)
    if os.path.lexists(arguments[0]) or "/" in name or (stem and 1 < len(suffix) <= _SUFFIX_LENGTH):
        meant = printable(shlex.join(["cnnviz", "explain", *arguments]))
        return f"'{name}' is no command. Did you mean `{meant}`?"
    hint = did_you_mean(name, commands, count=1, form="`cnnviz {}`")
    hint = hint or "`cnnviz --help` lists them."
    return f"There is no command '{name}'. {hint}"
