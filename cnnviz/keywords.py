"""What may be given to :func:`cnnviz.explain`, and what to say to anything else."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from cnnviz.errors import OTHER_NAMES, UsageError
from cnnviz.text import did_you_mean

_STYLE = "give style=cnnviz.Style({}=...)"
_COMMAND = "that is an option of the command `cnnviz explain`"
#: What the command has an option for, and Python something else.
ELSEWHERE = {
    **{word: _STYLE.format(word) for word in ("size", "colormap", "alpha", "overlay")},
    "arrays": "each explanation has .arrays(), and .save(folder, arrays=True) writes them",
    "evaluate": f"{_COMMAND}, and `cnnviz evaluate` judges the maps of a folder",
    "fail_fast": "it raises the first error, unless skip_failed=True",
    "fail_under": _COMMAND,
    "force": _COMMAND,
    "format": "each explanation has .save(folder, format='jpg')",
    "json": "each explanation has .top() and .maps",
    "junit": _COMMAND,
    "limit": "give fewer images",
    "max_share": _COMMAND,
    "only": f"{_COMMAND}; here each explanation has .top()",
    "option": "give options={'samples': 20}, say",
    "output": "each explanation has .save(folder)",
    "panel": "each explanation has .panel",
    "quiet": "it prints nothing but a bar while weights are downloaded (progress=False)",
    "report": _COMMAND,
    "runner": _COMMAND,
    "saliency": "give options={'source': 'gradient'}, say",
    "scale": "each explanation has .scale_limits(), and .render() takes limits",
    "shard": _COMMAND,
    "sort": f"{_COMMAND}; here each explanation has .top()",
    "summary": _COMMAND,
    "threads": "set the environment variable OMP_NUM_THREADS before MXNet or PyTorch is imported",
    "title": _COMMAND,
    "truth": f"{_COMMAND}; here compare .top()[0].index of each explanation with it",
    "verbose": "each explanation has .top() and .diagnostics",
}


def check_keywords(given: Iterable[str], own: Iterable[str], loading: Iterable[str]) -> None:
    """Refuse keywords that :func:`cnnviz.explain` does not take.

    Args:
        given: those that are not its own.
        own: its own.
        loading: those that it hands on to :func:`cnnviz.load`.

    Raises:
        UsageError: naming the nearest keyword, or where else the same is to be had.
    """
    known = list(dict.fromkeys([*own, *loading]))
    listed = ", ".join(known)
    for keyword in given:
        if keyword in known:
            continue
        if keyword in ELSEWHERE:
            raise UsageError(f"explain() takes no {keyword}: {ELSEWHERE[keyword]}.")
        hint = did_you_mean(OTHER_NAMES.get(keyword, keyword), known, count=1)
        raise UsageError(f"explain() takes no {keyword}. {hint or f'It takes {listed}.'}")


def words(keyword: str, value: Any) -> list[str]:
    """One word or whole number, or several, as words.

    Raises:
        UsageError: it is something else.
    """
    try:
        several = [value] if isinstance(value, str) or is_integer(value) else list(value)
        if all(isinstance(one, str) or is_integer(one) for one in several):
            return [one if isinstance(one, str) else str(operator.index(one)) for one in several]
    except TypeError:
        pass
    raise UsageError(f"{keyword} is a word or a whole number, or several in a list; got {value!r}.")


def is_integer(value: Any) -> bool:
    """Whether this is an integer: Python's, NumPy's, or an array of just one."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return True
