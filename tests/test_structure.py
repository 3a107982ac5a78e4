"""JSON into dataclasses: what is read, and how it is told what cannot be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from cnnviz.structure import ADDED, decode, encode, parse


@dataclass(frozen=True)
class Inner:
    name: str | None
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outer:
    count: int
    kind: Literal["a", "b"]
    pair: tuple[int, bool]
    inner: Inner | None
    each: Mapping[str, Inner]
    rest: Any

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("counts below 0")


VALUE = Outer(3, "b", (1, True), Inner(None, (0.5, 2)), {"x": Inner("é\udc80")}, [None, {"y": 1}])


def changed(**keys):
    return {**parse(encode(VALUE)), **keys}


def test_there_and_back():
    text = encode(VALUE)
    assert text == (
        b'{"count": 3, "kind": "b", "pair": [1, true], '
        b'"inner": {"name": null, "values": [0.5, 2]}, '
        b'"each": {"x": {"name": "\\u00e9\\udc80", "values": []}}, "rest": [null, {"y": 1}]}'
    )
    assert decode(Outer, parse(text), "it") == VALUE


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3, "it is a whole number and not an object"),
        ([], "it is a list and not an object"),
        ({}, "it has no count"),
        (changed(cuont=1), "it has 'cuont', which is unknown"),
        (changed(count="3"), "it.count is text and not a whole number"),
        (changed(count=3.0), "it.count is a number and not a whole number"),
        (changed(count=True), "it.count is a boolean and not a whole number"),
        (changed(count=-1), "it counts below 0"),
        (changed(kind="c"), "it.kind is 'c' and not 'a' or 'b'"),
        (changed(kind=["a"]), "it.kind is ['a'] and not 'a' or 'b'"),
        (changed(pair=[1]), "it.pair has 1 values and not 2"),
        (changed(pair=[1, 1]), "it.pair[1] is a whole number and not a boolean"),
        (changed(pair={}), "it.pair is an object and not a list"),
        (changed(inner={"name": "a"}), "it.inner has no values"),
        (changed(inner={"name": 2, "values": []}), "it.inner.name is a whole number and not text"),
        (
            changed(inner={"name": "a", "values": [1, None]}),
            "it.inner.values[1] is null and not a number",
        ),
        (
            changed(inner={"name": "a", "values": [float("inf")]}),
            "it.inner.values[0] is too large a number",
        ),
        (
            changed(inner={"name": "a", "values": [10**400]}),
            "it.inner.values[0] is too large a number",
        ),
        (changed(each=[]), "it.each is a list and not an object"),
        (changed(each={"k": 1}), "it.each.k is a whole number and not an object"),
    ],
)
def test_what_is_built_otherwise_is_told_in_one_line(value, told):
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        decode(Outer, value, "it")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("NaN", "it has NaN for a number"),
        ("[-Infinity]", "it has -Infinity for a number"),
        ("[" * 100_000, "it is nested too deeply"),
        ("{", "Expecting property name"),
        ("9" * 10_000, "digits"),
    ],
    ids=["NaN", "infinity", "deep", "cut off", "digits"],
)
def test_what_is_no_json(text, told):
    with pytest.raises(ValueError, match=told):
        parse(text)


@dataclass(frozen=True)
class Grown:
    name: str
    size: int | None = None
    etag: str | None = field(default=None, metadata=ADDED)


def test_a_key_that_came_later_may_be_missing():
    assert decode(Grown, {"name": "x", "size": 1}, "it") == Grown("x", 1)
    assert decode(Grown, parse(encode(Grown("x", 1, "y"))), "it") == Grown("x", 1, "y")
    with pytest.raises(ValueError, match="it has no size"):
        decode(Grown, {"name": "x", "etag": "y"}, "it")
    with pytest.raises(ValueError, match=r"it.etag is a whole number and not text"):
        decode(Grown, {"name": "x", "size": None, "etag": 1}, "it")
