"""Options of methods and metrics: fields of their classes, which their user sets by name."""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cnnviz.errors import UsageError
from cnnviz.text import did_you_mean, paragraph


def option(
    default: Any,
    help: str,
    *,
    choices: Iterable[str] = (),
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A field of a method or a metric that its user may set (``--option NAME=VALUE``).

    Args:
        default: its value otherwise; the type of this is the type of all values.
        help: one line that says what it is, with its unit.
        choices: the words that it may be.
        least: the least number that it may be.
        most: the highest.
    """
    return field(
        default=default,
        metadata={"help": help, "choices": tuple(choices), "least": least, "most": most},
    )


@dataclass(frozen=True)
class Configurable(ABC):
    """What has a name, and options as its fields."""

    #: What it is: ``method`` or ``metric``.
    noun: ClassVar[str]
    #: As on the command line.
    name: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse options that are out of range.

        Raises:
            UsageError: the text names the method or metric, and the option.
        """
        for own in dataclasses.fields(self):
            value, rules = getattr(self, own.name), own.metadata
            if rules["choices"] and value not in rules["choices"]:
                wanted = f"one of {', '.join(rules['choices'])}"
            elif rules["least"] is not None and not value >= rules["least"]:
                wanted = f"at least {rules['least']:g}"
            elif rules["most"] is not None and not value <= rules["most"]:
                wanted = f"at most {rules['most']:g}"
            else:
                continue
            raise UsageError(f"The option {own.name} of {self.name} is {wanted}; got {value!r}.")


def options_of(kind: type[Configurable]) -> dict[str, dataclasses.Field[Any]]:
    """The options of a method or metric, by name; ``metadata`` is what :func:`option` was given."""
    return {own.name: own for own in dataclasses.fields(kind)}


def chosen_options(kind: type[Configurable], given: Mapping[str, Any]) -> dict[str, Any]:
    """Its own options among those given, each in the type of its default.

    Args:
        kind: the method or metric.
        given: values by ``NAME``, or by ``KIND.NAME`` for this one only, which wins.

    Raises:
        UsageError: a value is of another type.
    """
    return {
        name: option_value(kind, name, given[key])
        for name in options_of(kind)
        for key in (name, f"{kind.name}.{name}")  # the second wins
        if key in given
    }


def option_value(kind: type[Configurable], name: str, given: Any) -> Any:
    """An option's value in the type of its default.

    Raises:
        UsageError: it is of another type.
    """
    wanted_type: Any = type(options_of(kind)[name].default)
    wanted = {int: "a whole number", float: "a number"}.get(wanted_type, "a word")
    try:
        value = wanted_type(given)
        exact = not isinstance(given, float) or value == given  # 2.5 is no whole number
    except (TypeError, ValueError):
        exact = False
    if not exact:
        raise UsageError(f"The option {name} of {kind.name} is {wanted}; got {given!r}.")
    return value


def check_options_used(
    given: Iterable[str], kinds: Iterable[type[Configurable]], noun: str
) -> None:
    """Refuse options that none of the chosen methods, or metrics, has.

    Args:
        given: names of options, as in :func:`chosen_options`.
        kinds: what was chosen.
        noun: what these are.

    Raises:
        UsageError: there is such an option.
    """
    having = {
        spelling
        for kind in kinds
        for name in options_of(kind)
        for spelling in (name, f"{kind.name}.{name}")
    }
    for key in given:
        if key in having:
            continue
        short = sorted(name for name in having if "." not in name)
        offered = f"they have {', '.join(short)}" if short else "they have none"
        hint = did_you_mean(key, sorted(having), count=2)
        problem = f"None of the chosen {noun}s has an option '{key}'; {offered}."
        raise UsageError(paragraph(problem, hint, f"`cnnviz {noun}s` lists all."))
