"""Networks within others: what stands in front of the names of a file's weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from cnnviz.errors import WeightsError
from cnnviz.text import listed

_T = TypeVar("_T")
#: Parameters by which the network is looked for; one or two of them may be missing.
_LOOKED_FOR = 3


def unwrapped(
    arrays: Mapping[str, _T], wanted: Collection[str], source: str
) -> tuple[dict[str, _T], list[str]]:
    """What a file has of a network that is an attribute of another, as training classes have it.

    Args:
        arrays: by the file's names: ``model.conv1.weight``, ``criterion.weight``.
        wanted: the network's own: ``conv1.weight``.
        source: the file, for errors.

    Returns:
        The network's by its own names, and the names of all others. Where most of the network is
        not found under any prefix, everything as it is.

    Raises:
        WeightsError: several networks are in it.
    """
    hits: dict[str, int] = {}
    for first in list(wanted)[:_LOOKED_FOR]:
        for name in arrays:
            prefix = name.removesuffix(first)
            if prefix != name and (not prefix or prefix.endswith(".")) and prefix not in hits:
                hits[prefix] = sum(f"{prefix}{one}" in arrays for one in wanted)
    most = max(hits.values(), default=0)
    best = [prefix for prefix, found in hits.items() if found == most]
    if 2 * most < len(wanted) or "" in best:
        return dict(arrays), []
    if len(best) > 1:
        raise WeightsError(
            f"{source} has several networks that fit, {listed(best)}: save the one that is meant "
            "alone."
        )
    (prefix,) = best
    return (
        {name.removeprefix(prefix): one for name, one in arrays.items() if name.startswith(prefix)},
        [name for name in arrays if not name.startswith(prefix)],
    )
