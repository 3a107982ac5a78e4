"""Frozen dataclasses as JSON and back; what is read is checked. Nothing heavy is imported here.

A dataclass is an object whose keys are its fields, a tuple is a list, a mapping is an object with
keys of its own. What is read has to have every key, but for those of fields that are :data:`ADDED`,
no other one, and values of the right types: files may come from another version, another program,
or an editor.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cnnviz.text import joined

T = TypeVar("T")
_Reader = Callable[[Any], Any]

_LARGEST = sys.float_info.max
#: The metadata of a field that a format did not always have: files without it have its default.
ADDED: Mapping[str, bool] = {"added": True}

_MOST_SHOWN = 40  # characters of a key or a value from elsewhere


class _MismatchError(ValueError):
    """A value is not of its type; ``place`` says where, from the inside out."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.place: list[str] = []


def plain(value: Any) -> Any:
    """A value in what JSON knows: dictionaries, lists, texts, numbers, booleans, None."""
    if is_dataclass(value):
        value = _object(value)
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def encode(value: Any) -> bytes:
    """A value as one line of JSON in ASCII, without the end of the line.

    Raises:
        ValueError: there is a number in it that is not finite.
    """
    return json.dumps(value, allow_nan=False, default=_object).encode("ascii")


def _object(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, whose values are left as they are."""
    if not is_dataclass(value):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return {field.name: getattr(value, field.name) for field in fields(value)}


def parse(text: bytes | str) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is not JSON, or nested too deeply; NaN and infinities are not JSON.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def decode(kind: type[T], value: Any, where: str) -> T:
    """A value of a type, out of what :func:`parse` returns.

    Args:
        kind: a dataclass whose fields have these types: ``int``, ``float``, ``str``, ``bool``,
            ``Any``, ``Literal`` texts, ``tuple[X, ...]``, ``tuple[X, Y]``, ``Mapping[str, X]``,
            ``X | None``, dataclasses, and one of several dataclasses with different fields.
            Its ``__post_init__`` may refuse values by a ValueError.
        value: the value.
        where: what it is called, for errors.

    Raises:
        ValueError: it is built otherwise; the text says where: ``run.network has no name``.
    """
    try:
        found: T = _object_reader(kind)(value)
    except _MismatchError as problem:
        raise ValueError(f"{where}{''.join(reversed(problem.place))} {problem}") from None
    return found


def _reader(kind: Any) -> _Reader:
    """What reads values of a type, and raises :class:`_MismatchError` for others."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if kind is float:
        return _number
    if kind in _NAMES:
        return _plain_reader(kind)
    if is_dataclass(kind):
        return _object_reader(kind)
    if origin in (Union, UnionType) and type(None) in inner:
        rest = tuple(one for one in inner if one is not type(None))
        other = _reader(reduce(or_, rest))
        return lambda value: None if value is None else other(value)
    if origin in (Union, UnionType) and all(map(is_dataclass, inner)):
        return _one_of_reader(inner)
    if origin is Literal:
        return _choice_reader(inner)
    if origin is tuple:
        return _list_reader(inner)
    if isinstance(origin, type) and issubclass(origin, Mapping) and inner[0] is str:
        return _mapping_reader(_reader(inner[1]))
    raise TypeError(f"no JSON is read as {kind}")


def _plain_reader(kind: type) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) is not kind:  # True is an int, but not here
            raise _MismatchError(f"is {_kind(value)} and not {_NAMES[kind]}")
        return value

    return read


def _number(value: Any) -> Any:
    if type(value) not in (int, float):
        raise _MismatchError(f"is {_kind(value)} and not a number")
    if not -_LARGEST <= value <= _LARGEST:  # 1e999, which is read as infinity
        raise _MismatchError("is too large a number")
    return value


def _one_of_reader(kinds: tuple[Any, ...]) -> _Reader:
    """What reads one of several dataclasses, told apart by their fields."""
    keys = {kind: {one.name for one in fields(kind)} for kind in kinds}

    def read(value: Any) -> Any:
        _check_object(value)
        fitting = [kind for kind in kinds if keys[kind] == value.keys()]
        return _object_reader((fitting or kinds)[0])(value)

    return read


def _choice_reader(choices: tuple[Any, ...]) -> _Reader:
    def read(value: Any) -> Any:
        if value not in choices:
            raise _MismatchError(f"is {_shown(value)} and not {joined(map(repr, choices))}")
        return value

    return read


def _list_reader(inner: tuple[Any, ...]) -> _Reader:
    anything = len(inner) == 2 and inner[1] is Ellipsis
    readers = [_reader(one) for one in inner if one is not Ellipsis]

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _MismatchError(f"is {_kind(value)} and not a list")
        if not anything and len(value) != len(readers):
            raise _MismatchError(f"has {len(value)} values and not {len(readers)}")
        each = readers * len(value) if anything else readers
        found: list[Any] = []
        try:
            for reader, one in zip(each, value, strict=True):
                found.append(reader(one))
        except _MismatchError as problem:
            problem.place.append(f"[{len(found)}]")
            raise
        return tuple(found)

    return read


def _mapping_reader(inner: _Reader) -> _Reader:
    def read(value: Any) -> Any:
        _check_object(value)
        found = {}
        try:
            for key, one in value.items():
                found[key] = inner(one)
        except _MismatchError as problem:
            problem.place.append(f".{key:.{_MOST_SHOWN}}")
            raise
        return found

    return read


def _new_object_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    added = {one.name: plain(one.default) for one in fields(kind) if one.metadata == ADDED}

    # Manifests have millions of records: one call for each value, where all is well.
    def read(value: Any) -> Any:
        _check_object(value)
        if value.keys() != readers.keys():
            value = {**added, **value}
            _refuse_keys(value, readers)
        found: dict[str, Any] = {}
        try:
            for name, reader in readers.items():
                found[name] = reader(value[name])
        except _MismatchError as problem:
            problem.place.append(f".{name}")
            raise
        try:
            return kind(**found)
        except ValueError as problem:
            raise _MismatchError(str(problem)) from None

    return read


def _refuse_keys(value: Mapping[str, Any], names: Collection[str]) -> None:
    for name in names:
        if name not in value:
            raise _MismatchError(f"has no {name}")
    for name in value:
        if name not in names:
            raise _MismatchError(f"has {_shown(name)}, which is unknown")


_object_reader: Callable[[Any], _Reader] = cache(_new_object_reader)


def _check_object(value: Any) -> None:
    if not isinstance(value, dict):
        raise _MismatchError(f"is {_kind(value)} and not an object")


_NAMES: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    type(None): "null",
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
}


def _kind(value: Any) -> str:
    return _NAMES[type(value)]


def _shown(value: Any) -> str:
    return f"{value!r:.{_MOST_SHOWN}}"


def _no_constant(name: str) -> None:
    raise ValueError(f"it has {name} for a number")
