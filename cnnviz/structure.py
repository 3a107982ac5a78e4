"""Whether JSON that somebody else may have written is built as it has to be. Nothing heavy here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NUMBER = (int, float)
TEXT = (str, type(None))


def check(value: Any, shape: Any, where: str) -> None:
    """Compare a value with a shape.

    Args:
        value: as :mod:`json` gives it.
        shape: a type, or a tuple as a choice of types; a list holds things of one shape, ``{str:
            x}`` maps names to x, and other mappings have these keys and may have more.
        where: what the value is called.

    Raises:
        ValueError: they differ; the text says where.
    """
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is {_kind(value)} and not an object")
        if set(shape) == {str}:
            for key, inner in value.items():
                check(inner, shape[str], f"{where}.{key}")
            return
        for key, inner in shape.items():
            if key not in value:
                raise ValueError(f"{where} has no {key}")
            check(value[key], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise ValueError(f"{where} is {_kind(value)} and not a list")
        for number, inner in enumerate(value):
            check(inner, shape[0], f"{where}[{number}]")
    elif not isinstance(value, shape):
        raise ValueError(f"{where} is {_kind(value)}")


def no_constant(name: str) -> None:
    """For ``parse_constant``: NaN and infinities are no JSON."""
    raise ValueError(f"it has {name} for a number")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "a boolean"}
    return names.get(type(value), "a number")
