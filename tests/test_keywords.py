"""Keywords of cnnviz.explain, beside the options of the command."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

import cnnviz
from cnnviz.cli.explain import command
from cnnviz.errors import ImageError, UsageError, in_keywords
from cnnviz.keywords import ELSEWHERE, check_keywords
from cnnviz.results import ImageExplanation

OWN = [name for name in inspect.signature(cnnviz.explain).parameters if name != "network"]
LOADING = [name for name in inspect.signature(cnnviz.load).parameters if name != "methods"]
#: The longest of each option's names, as keywords are written.
OPTIONS = sorted(
    {
        max(parameter.opts, key=len).lstrip("-").replace("-", "_")
        for parameter in command.params
        if parameter.param_type_name == "option"
    }
)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_a_keyword_or_has_a_sentence(option):
    """Not just the list of all keywords."""
    if option in (*OWN, *LOADING):
        check_keywords([option], OWN, LOADING)
        return
    with pytest.raises(UsageError, match=rf"^explain\(\) takes no {option}") as raised:
        check_keywords([option], OWN, LOADING)
    assert "It takes inputs" not in str(raised.value)


@pytest.mark.parametrize(
    "attribute", sorted(set(re.findall(r"(?<= )\.(\w+)", " ".join(ELSEWHERE.values()))))
)
def test_what_the_sentences_speak_of_is_there(attribute):
    fields = {field.name for field in dataclasses.fields(ImageExplanation)}
    assert attribute in fields or hasattr(ImageExplanation, attribute)


def test_options_are_those_of_the_command():
    assert set(OPTIONS) >= {"layer", "batch_size", "device", "report"}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("give them with --weights FILE.", "give them with weights=FILE."),
        ("too long: use --resize crop", "too long: use resize='crop'"),
        ("raise --max-pixels", "raise max_pixels"),
        ("use --ctx cpu, please", "use device='cpu', please"),
        ("--head is for others; --head names it", "head is for others; head names it"),
        ("a--b stays, -- too", "a--b stays, -- too"),
    ],
)
def test_options_in_errors_become_keywords(told, expected):
    with pytest.raises(ImageError) as raised, in_keywords():
        raise ImageError(told)
    assert str(raised.value) == expected
