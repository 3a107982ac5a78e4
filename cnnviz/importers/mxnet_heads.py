"""Which of a network's outputs is explained."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cnnviz.errors import NetworkError, UsageError
from cnnviz.text import did_you_mean, listed

Head = str | int | None
#: How many outputs a sentence names.
_NAMED = 4


def choose_head(
    symbol: Any, head: Head, *, whose: str, option: str, attempt: Callable[[Any], object]
) -> Any:
    """The symbol with one output: the only one, or the one (or inner node) that is asked for.

    Args:
        symbol: with one output or several.
        head: an output's name, with or without ``_output``; its number; an inner node's name; or
            None for the only output.
        whose: what the network is called in errors.
        option: how one says which output is meant.
        attempt: makes of a symbol with one output what is explained, or raises.

    Raises:
        UsageError: there is no such output or node, or several could be explained.
        NetworkError: there are several, of which none could be explained.
    """
    outputs = symbol.list_outputs()
    if head is None:
        if len(outputs) > 1:
            raise _several(symbol, whose, option, attempt)
        return symbol
    if isinstance(head, int):
        if not 0 <= head < len(outputs):
            raise UsageError(
                f"{whose} has no output {head}: it has {len(outputs)}, numbered from 0."
            )
        return symbol[head]
    internals = symbol.get_internals()
    names = internals.list_outputs()
    variables = {*symbol.list_arguments(), *symbol.list_auxiliary_states()}
    for name in (head, f"{head}_output", f"{head}_output0"):
        if name in names and name not in variables:
            return internals[names.index(name)]
    nodes = [re.sub(r"_output0?$", "", name) for name in names if name not in variables]
    advice = did_you_mean(head, [*outputs, *nodes]) or f"Its outputs are {', '.join(outputs)}."
    raise UsageError(f"{whose} has no output or node '{head}'. {advice}")


def _several(
    symbol: Any, whose: str, option: str, attempt: Callable[[Any], object]
) -> UsageError | NetworkError:
    """What to say of a network with several outputs: which of them can be explained, if any."""
    outputs = symbol.list_outputs()
    usable = []
    reasons = []
    for place, name in enumerate(outputs):
        try:
            attempt(symbol[place])
        except NetworkError as error:
            reasons.append(f"{name}: {str(error).partition('; cnnviz explains')[0].rstrip('.')}")
        except UsageError:  # something else has to be said first, such as the image's size
            return UsageError(
                f"{whose} has {len(outputs)} outputs: choose one with {option} "
                f"({', '.join(outputs)})."
            )
        else:
            usable.append(name)
    if usable:
        others = len(reasons)
        rest = f"; the other{'s are' if others > 1 else ' is'} not scores of classes"
        return UsageError(
            f"{whose} has {len(outputs)} outputs: choose one with {option} "
            f"({', '.join(usable)}{rest if others else ''})."
        )
    named = listed(outputs, _NAMED)
    return NetworkError(
        f"{whose} is not an image classifier that can be explained: none of its {len(outputs)} "
        f"outputs will do ({named}). {reasons[0]}."
    )
