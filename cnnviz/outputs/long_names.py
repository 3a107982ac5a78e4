"""Names of the files of very many images, the same as when all are planned in memory.

Most images keep the first name that is thought of. Which do not is found by sorting, on the disk,
what all would be called and what cannot stand beside that; these are planned as a part of a run is
(:mod:`cnnviz.outputs.part_names`), some at a time. Only of those names are held in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice

from cnnviz.images.source import Source
from cnnviz.outputs.naming import NamePlanner, collision_key, first_candidate, folders_above
from cnnviz.outputs.part_names import plan_with_neighbors
from cnnviz.storage.spool import Spooled, SpoolWriter
from cnnviz.storage.tables import Sorter

_TOGETHER = 100_000  # images whose names meet others, planned at a time

# What stands behind a text in the table that is sorted, in this order.
_KEY = "\0000"  # an image would have this key ...
_BESIDE = "\0001"  # ... and another's name cannot stand beside it
_ABOVE = "\0002"  # ... and another's folder cannot


def plan_long_names(
    sources: Sequence[Source], planner: NamePlanner, *, together: int = _TOGETHER
) -> Spooled:
    """What :meth:`NamePlanner.plan` gives to these images, on the disk.

    Args:
        sources: the images, in order; they are gone through several times.
        planner: what plans names.
        together: how many of those whose names meet others are planned at a time.

    Returns:
        One stem a source, as the file system's bytes.
    """
    first = _first_names(sources, planner)
    meeting = _meeting(first, planner)
    longer = Sorter()
    while some := list(islice(meeting, together)):
        for place, stem in plan_with_neighbors(sources, some, planner).items():
            longer.add(_ordered(place), os.fsencode(stem))
    changed = longer.items()
    change = next(changed, None)
    names = SpoolWriter()
    for place, name in enumerate(first):
        here = _ordered(place).encode()
        while change is not None and change[0] == here:  # of two, planned twice, both are the same
            name = change[1]
            change = next(changed, None)
        names.add(name)
    return names.finish()


def _ordered(place: int) -> str:
    return f"{place:016x}"


def _first_names(sources: Iterable[Source], planner: NamePlanner) -> Spooled:
    first = SpoolWriter()
    for source in sources:
        first.add(os.fsencode(planner.fitted(first_candidate(source))))
    return first.finish()


def _meeting(stems: Spooled, planner: NamePlanner) -> Iterator[int]:
    """Places of the stems that cannot stay as they are beside the others, ascending.

    As :meth:`cnnviz.outputs.naming.NamePlanner.plan` finds them at first.
    """
    rules, table = planner.rules, Sorter()
    above = ""
    for place, stem in enumerate(stems):
        key, number = collision_key(os.fsdecode(stem)), b"%d" % place
        table.add(key + _KEY, number)
        for other in rules.shorter(key):
            table.add(other + _BESIDE, number)
        folder = key.rpartition("/")[0]
        if folder != above:
            above = folder
            for each in folders_above(f"{folder}/"):
                for other in rules.blocking(each):
                    table.add(other + _ABOVE, number)
    meets = bytearray(len(stems))
    for _, rows in groupby(table.items(), key=lambda row: row[0][:-1]):
        first: int | None = None
        for text, number in rows:
            place, kind = int(number), text[-1]
            if kind == ord(_KEY[-1]):
                if first is None:
                    first = place
                else:
                    meets[first] = meets[place] = 1
            elif first is None:
                break  # no image has that key
            else:
                meets[first] = 1
                if kind == ord(_BESIDE[-1]):
                    meets[place] = 1
    place = meets.find(1)
    while place >= 0:
        yield place
        place = meets.find(1, place + 1)
