"""What tells two runs apart, as their names for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from itertools import zip_longest
from pathlib import PurePath
from typing import NamedTuple

from cnnviz.engines.registry import ENGINES, engine_title
from cnnviz.runs.run_records import InputRecord, RunRecord
from cnnviz.text import listed, printable

Names = tuple[str, str]

_LETTERS = ("A", "B")
_DIGITS = 8  # of a SHA-256


class _Aspect(NamedTuple):
    """Something that runs of the same network may differ in.

    Attributes:
        said: what the names of the two say of it, or None if it is the same.
        asked: the options that ask for it, if two networks of their own accord would not differ in
            it; none if they may.
    """

    said: Callable[[RunRecord, RunRecord], Names | None]
    asked: tuple[str, ...] = ()


def side_names(a: RunRecord, b: RunRecord) -> Names:
    """Names of two runs for people, never the same: what tells each from the other one.

    Two networks are called as they are: ``vgg16`` and ``vgg19``. The same network with other
    weights is called by their files, and otherwise by what else differs: ``vgg16 at features.28``,
    ``vgg16 by LayerCAM``, ``vgg16 in PyTorch``. Runs of the same options are called by their
    output folders. Of what two networks differ in of their own accord (the layer, the size of the
    input) nothing is said.
    """
    networks = _networks(a, b)
    names = [networks or (a.network.name, b.network.name)]
    names += [
        said
        for aspect in _ASPECTS
        if (networks is None or _asked(a, b, aspect)) and (said := aspect.said(a, b)) is not None
    ]
    joined = [" ".join(filter(None, parts)) for parts in zip(*names, strict=True)]
    if joined[0] == joined[1]:
        where = _tails(*(str(one.parameters.get("output", "")) for one in (a, b))) or _LETTERS
        joined = [f"{name} ({one})" for name, one in zip(joined, where, strict=True)]
    return printable(joined[0]), printable(joined[1])


def _asked(a: RunRecord, b: RunRecord, aspect: _Aspect) -> bool:
    return any(a.parameters.get(name) != b.parameters.get(name) for name in aspect.asked)


def _networks(a: RunRecord, b: RunRecord) -> Names | None:
    """What tells two networks apart: their names, or the files that they are from."""
    if a.network.name != b.network.name:
        return a.network.name, b.network.name
    for first, second in (
        (a.network.weights, b.network.weights),
        (a.network.symbol, b.network.symbol),
    ):
        if first is not None and second is not None and first.sha256 != second.sha256:
            name = PurePath(first.path).name
            return _tails(first.path, second.path) or (
                f"{name} {(first.sha256 or '')[:_DIGITS]}",
                f"{name} {(second.sha256 or '')[:_DIGITS]}",
            )
    return None


def _tails(first: str, second: str) -> Names | None:
    """The shortest ends of two paths that differ; None if all is the same.

    ``before/net.params`` and ``after/net.params`` of ``runs/before/net.params`` and
    ``runs/after/net.params``.
    """
    parts = [PurePath(path).parts for path in (first, second)]
    for count, (one, other) in enumerate(zip_longest(*(reversed(path) for path in parts)), 1):
        if one != other:
            tails = [PurePath(*path[-count:]).as_posix() for path in parts]
            return tails[0], tails[1]
    return None


def _layers(a: RunRecord, b: RunRecord) -> Names | None:
    names = [[layer.name for layer in one.network.layers] for one in (a, b)]
    return _pair("at {}", names[0], names[1])


def _methods(a: RunRecord, b: RunRecord) -> Names | None:
    """The methods that only one has; or the options of those that both have."""
    if a.methods == b.methods:
        return None
    keys = [{method.key for method in one.methods} for one in (a, b)]
    if keys[0] == keys[1]:
        return _options(a, b)
    common = keys[0] & keys[1]
    titles = [
        [method.title for method in one.methods if method.key not in common] for one in (a, b)
    ]
    return _pair("by {}", titles[0], titles[1])


def _options(a: RunRecord, b: RunRecord) -> Names | None:
    options = [
        {
            (method.key, name): value
            for method in one.methods
            for name, value in method.options.items()
        }
        for one in (a, b)
    ]
    differing = [key for key in options[0] if options[0][key] != options[1].get(key)]
    said = [[f"{key[1]}={one.get(key)}" for key in differing] for one in options]
    return _pair("with {}", said[0], said[1])


def _targets(a: RunRecord, b: RunRecord) -> Names | None:
    targets = [[str(name) for name in one.parameters.get("targets", ())] for one in (a, b)]
    return _pair("for {}", targets[0], targets[1])


def _pair(form: str, first: list[str], second: list[str]) -> Names | None:
    """What the names say of two lists; a list with nothing in it is not mentioned."""
    if first == second:
        return None
    said = [form.format(listed(names)) if names else "" for names in (first, second)]
    return said[0], said[1]


def _input(a: RunRecord, b: RunRecord) -> Names | None:
    """The first thing in which the inputs differ."""
    for name, form in _INPUT.items():
        first, second = (_of_input(one.network.input, name) for one in (a, b))
        if first != second:
            return form.format(first), form.format(second)
    return None


def _of_input(record: InputRecord, name: str) -> str:
    if name == "size":
        return f"{record.height}x{record.width}"
    if name == "crop_fraction":
        return f"{record.spec.kept:.4g}"
    if name == "resize":
        return {"stretch": "stretched", "crop": "cropped"}.get(record.resize, record.resize)
    value = asdict(record)[name]
    if name == "range":
        return "own" if value is None else ":".join(f"{number:g}" for number in value)
    if isinstance(value, tuple):
        return ",".join(f"{number:g}" for number in value)
    return str(value)


_INPUT = {
    "size": "on {} pixels",
    "resize": "on {} images",
    "crop_fraction": "with crop fraction {}",
    "interpolation": "with {} interpolation",
    "channels": "fed {}",
    "mean": "with mean {}",
    "std": "with std {}",
    "range": "with range {}",
}


def _activation(a: RunRecord, b: RunRecord) -> Names | None:
    first, second = a.network.activation, b.network.activation
    return None if first == second else (f"with {first}", f"with {second}")


def _engine(a: RunRecord, b: RunRecord) -> Names | None:
    """The engines, or else their versions."""
    titles = [
        engine_title(one.engine.name) if one.engine.name in ENGINES else one.engine.name
        for one in (a, b)
    ]
    if titles[0] == titles[1]:
        if a.engine.version == b.engine.version:
            return None
        titles = [
            f"{title} {one.engine.version}" for title, one in zip(titles, (a, b), strict=True)
        ]
    return f"in {titles[0]}", f"in {titles[1]}"


def _device(a: RunRecord, b: RunRecord) -> Names | None:
    first, second = a.engine.device, b.engine.device
    return None if first == second else (f"on {first}", f"on {second}")


def _precision(a: RunRecord, b: RunRecord) -> Names | None:
    first, second = a.engine.precision, b.engine.precision
    return None if first == second else (f"in {first}", f"in {second}")


#: In the order in which they stand in a name.
_ASPECTS = (
    _Aspect(_input),
    _Aspect(_activation),
    _Aspect(_layers),
    _Aspect(_methods, ("methods", "options", "relu")),
    _Aspect(_targets, ("targets",)),
    _Aspect(_engine, ("engine",)),
    _Aspect(_device, ("device",)),
    _Aspect(_precision, ("precision",)),
)
