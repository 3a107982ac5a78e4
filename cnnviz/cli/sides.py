"""The same images explained by A and by B: options that may be given once, for both, or twice."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from cnnviz.cli.console import Printing, say
from cnnviz.cli.explain import explain_anywhere
from cnnviz.cli.help import SectionedCommand
from cnnviz.cli.options import pack
from cnnviz.cli.workers import in_worker
from cnnviz.comparison.request import ComparisonChecks
from cnnviz.errors import CnnvizError, ExitCode, UsageError
from cnnviz.runs.request import MethodOptions, ModelOptions, RunRequest, TargetOptions
from cnnviz.runs.supervisor import WorkerState, copy_of_stdin
from cnnviz.storage.urls import is_remote, without_secrets
from cnnviz.text import joined, printable_path

if TYPE_CHECKING:
    from cnnviz.runs.plan import RunPlan

DEFAULT = "default"
"""A value that says that a side goes without the option."""

TWOFOLD: frozenset[str] = frozenset(
    {one.name for group in (ModelOptions, TargetOptions, MethodOptions) for one in fields(group)}
    - {"threads", "contrasts"}
    | {"saliency", "truth"}
)
"""What two networks, or two ways to explain, may differ in, by the parameters' names."""

SIDES = ("A", "B")
"""What they are called."""

#: The option whose values have names of their own: each of these may be given twice.
_NAMED = "options"
_REPEATABLE = re.compile(r" Repeatable\b[^.]*\.")


class Twofold(NamedTuple):
    """What an option says for each side; None: nothing."""

    a: Any
    b: Any


class TwofoldCommand(SectionedCommand):
    """A command whose options may be given twice: A's first, then B's.

    That goes for those of :data:`TWOFOLD`; the function is given a :class:`Twofold` for each.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As of other commands."""
        super().__init__(*args, **kwargs)
        for option in self.params:
            if isinstance(option, click.Option) and option.name in TWOFOLD:
                _allow_twice(option)


def _allow_twice(option: click.Option) -> None:
    split: _Split = _by_name if option.name == _NAMED else partial(_in_order, option.multiple)
    option.callback = partial(_give, split, option.callback)
    several = option.multiple and option.type is click.STRING and option.name != _NAMED
    option.help = _REPEATABLE.sub(" Several: A,B." if several else "", option.help or "")
    option.type = _OrDefault(option.type)
    option.multiple = True
    if isinstance(option.default, str):
        option.default = (option.default,)


class _OrDefault(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A value of another type, or the word that stands for none."""

    def __init__(self, own: click.ParamType) -> None:  # type: ignore[type-arg, unused-ignore]
        self._own = own
        self.name = own.name

    def get_metavar(self, *context: Any, **more: Any) -> str | None:
        """As of the type itself."""
        return self._own.get_metavar(*context, **more)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, or the word."""
        return value if value == DEFAULT else self._own(value, param, ctx)


_Split = Callable[[str, Sequence[Any]], tuple[Any, Any]]
_Callback = Callable[[click.Context, click.Parameter, Any], Any]


def _give(
    split: _Split,
    own: _Callback | None,
    ctx: click.Context,
    option: click.Parameter,
    values: Sequence[Any],
) -> Twofold:
    """What an option says for each side, as if it had been given for that one alone."""
    a, b = (
        side if own is None or side is None else own(ctx, option, side)
        for side in split(max(option.opts, key=len), values)
    )
    return Twofold(a, b)


def _in_order(several: bool, name: str, values: Sequence[Any]) -> tuple[Any, Any]:
    """A's value and B's; where an option takes several, a tuple of this one."""
    if len(values) > len(SIDES):
        more = "; several of one side are joined by commas" if several else ""
        raise UsageError(
            f"{name} was given {len(values)} times: give it once for both sides, or twice, A's "
            f"first{more}."
        )
    if not values:
        return None, None
    sides = (None if value == DEFAULT else value for value in (values[0], values[-1]))
    a, b = (value if value is None or not several else (value,) for value in sides)
    return a, b


def _by_name(option: str, pairs: Sequence[str]) -> tuple[Any, Any]:
    """For each side those of ``NAME=VALUE`` that are given once, and its own of the others."""
    values: dict[str, list[str]] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        values.setdefault(name.strip() + sign, []).append(value)
    sides: tuple[list[str], list[str]] = ([], [])
    for name, given in values.items():
        for side, value in zip(sides, _in_order(False, f"{option} {name}", given), strict=True):
            if value is not None:
                side.append(name + value)
    return sides


@dataclass(frozen=True)
class Sides:
    """What is asked for: images, explained twice.

    Attributes:
        a: the one run.
        b: the other, of the same images.
        checks: what is demanded of B beside A.
    """

    a: RunRequest
    b: RunRequest
    checks: ComparisonChecks

    @classmethod
    def of(
        cls,
        inputs: tuple[str, ...],
        output: Path,
        options: Mapping[str, Any],
        checks: ComparisonChecks,
    ) -> Sides:
        """From a command's options; A writes to ``output/a``, B to ``output/b``."""
        a, b = (_side(inputs, output, options, number) for number in range(len(SIDES)))
        return cls(a, b, checks)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The images."""
        return self.a.inputs

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return replace(self.a, output=self.b.output) == self.b


def _side(
    inputs: tuple[str, ...], output: Path, options: Mapping[str, Any], number: int
) -> RunRequest:
    own = {
        name: value[number] if isinstance(value, Twofold) else value
        for name, value in options.items()
    }
    saliency = own.pop("saliency")
    given = {name: value for name, value in own.items() if value is not None}
    folder = side_folder(output, SIDES[number])
    request: RunRequest = pack(RunRequest, {**given, "inputs": inputs, "output": folder})
    execution = replace(request.execution, by_engine=True)
    return replace(request, execution=execution).with_saliency(saliency)


def side_folder(output: Path, name: str) -> Path:
    """Where in the output folder a side writes to."""
    return output / name.lower()


def are_runs(context: click.Context, inputs: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Whether the inputs are two runs' folders; else they are images to explain.

    Args:
        context: of the command.
        inputs: as given.
        options: those of the command that are about explaining images, by name.

    Raises:
        UsageError: they are neither, or the options are not for them.
    """
    from cnnviz.runs.manifest import is_run

    named = joined(map(_shown, inputs), "and")
    given = {
        one.name: max(one.opts, key=len)
        for one in context.command.params
        if one.name in options
        and context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE
    }
    runs = [one for one in inputs if is_run(Path(one))]
    if len(runs) == len(inputs) == len(SIDES):
        if given:
            raise UsageError(
                f"{named} are folders of runs, which are compared as they are: leave out "
                f"{joined(given.values(), 'and')}, or give the images in their place."
            )
        return True
    if runs:
        others = [one for one in inputs if one not in runs]
        for one in others:
            _check_finished(one)
        other = ""
        if len(inputs) == len(SIDES) and not given:
            other = f", and {_shown(others[0])} has no manifest.json of `cnnviz explain`"
        raise UsageError(
            f"{_shown(runs[0])} is the folder of a run{other}: give two of these to compare the "
            "runs, or images, with --model A --model B say, to explain them twice."
        )
    if not TWOFOLD & given.keys():
        for one in inputs:
            _check_finished(one)
        raise UsageError(
            f"There is nothing to compare: {named} {'has' if len(inputs) == 1 else 'have'} no "
            "manifest.json of `cnnviz explain`. Give two runs' folders, or images with --model A "
            "--model B, or two of --weights, --layer, --method and the like."
        )
    return False


def _check_finished(name: str) -> None:
    """Refuse what is not there, and a run that has not come to its end.

    Raises:
        UsageError: it is one of these.
    """
    from cnnviz.runs.manifest import JOURNAL, MANIFEST, is_run

    path = Path(name)
    if name != "-" and not is_remote(name) and not path.exists():
        raise UsageError(f"There is no image or folder {_shown(name)}.")
    if path.name == MANIFEST.name and is_run(path.parent):
        folder = _shown(str(path.parent))
        raise UsageError(f"{_shown(name)} is a file of a run: give its folder, {folder}.")
    if (path / JOURNAL).exists():
        raise UsageError(
            f"The run in {_shown(name)} was interrupted: finish it first, by the same command."
        )


def _shown(name: str) -> str:
    """An input for people."""
    return printable_path(without_secrets(name))


def explain_both(sides: Sides, output: Path, printing: Printing) -> tuple[int, bool]:
    """Explain the images for A, then for B.

    Args:
        sides: what is asked for.
        output: the folder that theirs lie in.
        printing: what is printed; with ``--json`` nothing is, of the two.

    Returns:
        The exit status, of both the worse; and whether both came to their end.

    Raises:
        CnnvizError: something is wrong with the request, or a network cannot be used.
    """
    _check_output(sides.inputs, output)
    printing = Printing(quiet=printing.quiet or printing.as_json)
    worse: int = ExitCode.OK
    runner = sides.a.execution.runner
    with _reread(sides.inputs) as rewind, ExitStack() as started:
        rewind()
        status = in_worker(_check, sides, printing)
        if status:
            return status, False
        if sides.same and not printing.quiet:
            say("A and B are asked for the same: this compares a network with itself.")
        if runner is not None:
            from cnnviz.runs.ray_cluster import address_of, cluster

            started.enter_context(cluster(address_of(runner)))  # once for both
        for name, request in zip(SIDES, (sides.a, sides.b), strict=True):
            rewind()
            folder = side_folder(output, name)
            if not printing.quiet:
                say(f"{name}, in {printable_path(folder)}:")
            status = explain_anywhere(request, printing)
            worse = max(worse, status)
            if runner is None and not _ended(folder, status):  # else an error would say so
                return status, False
    return worse, True


def _ended(folder: Path, status: int) -> bool:
    """Whether a run came to its end, though images may have failed."""
    from cnnviz.runs.manifest import JOURNAL

    some_failed = status == ExitCode.SOME_FAILED and not (folder / JOURNAL).exists()
    return status == ExitCode.OK or some_failed


def _check_output(inputs: Sequence[str], output: Path) -> None:
    """Refuse to write into a folder of images: ``a`` and ``b`` may be classes.

    Raises:
        UsageError: the output folder is an input.
    """
    for one in inputs:
        if one != "-" and output.resolve() == Path(one).resolve():
            raise UsageError(
                f"The output folder is the input folder {printable_path(one)} itself: choose "
                f"another, for example {printable_path(output / 'comparison')}."
            )


def _check(sides: Sides, printing: Printing, _worker: WorkerState | None) -> int:
    """Find what is wrong with either side before one of them takes its time.

    Raises:
        CnnvizError: something is.
    """
    from cnnviz.comparison.checks import SideData, check_changes

    found: list[RunPlan | CnnvizError] = []
    a, b = sides.a.model, sides.b.model
    # Importing one takes seconds. A's is imported next anyway, and usually it is B's, too.
    engines = (a.engine, a.device, a.precision) != (b.engine, b.device, b.precision)
    engines = engines and sides.a.execution.runner is None  # else they run somewhere else
    for request, engine in ((sides.a, False), (sides.b, engines)):
        if "-" in request.inputs:
            sys.stdin.seek(0)
        found.append(_planned(request, engine=engine))
    if isinstance(found[0], CnnvizError) and str(found[0]) == str(found[1]):
        raise found[0]
    sides_data = []
    for name, one in zip(SIDES, found, strict=True):
        if isinstance(one, CnnvizError):
            raise type(one)(f"{name}: {one}") from one
        sides_data.append(SideData.planned(one))
    check_changes(sides.checks, *sides_data, done=False)
    return ExitCode.OK


def _planned(request: RunRequest, *, engine: bool) -> RunPlan | CnnvizError:
    """The plan of a side, or what is wrong with it."""
    from cnnviz.runs.network_checks import check_network
    from cnnviz.runs.plan import RunPlan

    try:
        plan = RunPlan.check(request)
        check_network(plan, engine=engine)
    except CnnvizError as error:
        return error
    return plan


@contextmanager
def _reread(inputs: Sequence[str]) -> Iterator[Callable[[], object]]:
    """Keep what comes on standard input if paths do; yields what goes back to its beginning."""
    if "-" not in inputs:
        yield lambda: None
        return
    before = sys.stdin
    with copy_of_stdin() as copy:
        sys.stdin = io.TextIOWrapper(copy)
        try:
            yield partial(sys.stdin.seek, 0)
        finally:
            sys.stdin = before
