"""Names of some images among many, the same as when all are planned together.

Nobody needs the names of all images for that, only of those whose names could meet: ``cat.png``
beside ``cat.jpg``, or, where a class index stands in names, ``cat.jpg`` beside ``cat_281.jpg``.
They are looked for among all images, which are gone through one by one, and again for those that
are found, until there are no more. What is kept in memory is of the few.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence

from cnnviz import system
from cnnviz.images.source import Source
from cnnviz.outputs.naming import (
    NamePlanner,
    OutputStem,
    candidates,
    collision_key,
    first_candidate,
    folders_above,
    output_stem,
    without_folders,
)
from cnnviz.storage.stored import full_path

_NUMBERED = re.compile(r"(.+)[-~][0-9]+$")
_MOST_DIGITS = 7
_BYTES = 8  # of a digest


def stable_number(source: Source) -> int:
    """A number of 64 bits out of the name that an image's files have if nothing else has it.

    The same in every process, on every machine, whatever other images there are.
    """
    name = os.fsencode(collision_key(first_candidate(source)))
    return int.from_bytes(hashlib.sha256(name).digest()[:_BYTES], "big")


def plan_some_names(
    everything: Iterable[Source], places: Sequence[int], planner: NamePlanner
) -> list[OutputStem]:
    """The names that :func:`cnnviz.outputs.naming.plan_names` gives to some images among all.

    Args:
        everything: all images, in order; they are gone through at least twice.
        places: where among them the images are, ascending.
        planner: what plans names.

    Returns:
        One stem a place.
    """
    stems = plan_with_neighbors(everything, places, planner)
    return [output_stem(stems[place]) for place in places]


def plan_with_neighbors(
    everything: Iterable[Source], places: Iterable[int], planner: NamePlanner
) -> dict[int, str]:
    """The same stems by their places, with those of all images that were planned for that."""
    wanted = set(places)
    known = {place: source for place, source in enumerate(everything) if place in wanted}
    while True:
        tried: set[str] = set()
        stems = planner.plan(list(known.values()), tried)
        near = _Neighborhood(planner, tried)
        more = {
            place: source
            for place, source in enumerate(everything)
            if place not in known and near.meets(source)
        }
        if not more:
            return dict(zip(known, stems, strict=True))
        known.update(more)


class _Neighborhood:
    """Stems that were tried for some images, and which others could be thought of for more.

    Names of images outside depend on images further outside. So an image is asked for all stems
    that it could come to have, however unlikely; if none of them would write a file of a stem in
    here, what was planned holds.
    """

    def __init__(self, planner: NamePlanner, tried: Iterable[str]) -> None:
        self._planner = planner
        self._rules = planner.rules
        self._keys = set(map(collision_key, tried))
        #: Keys of stems that would write a file of one in here, or where its folder has to be.
        self._near = self._keys.union(*map(self._shorter, self._keys))
        #: What becomes one of these by a number behind it.
        self._bases = {match[1] for match in map(_NUMBERED.match, self._near) if match is not None}
        self._special: dict[tuple[str, ...], bool] = {}
        self._key_names = _last_parts(self._keys)
        self._near_names = _last_parts(self._near | self._bases)

    def _shorter(self, key: str) -> list[str]:
        """Keys of the stems that a stem cannot stand beside, and that do not depend on it."""
        return self._rules.shorter(key) + self._blocking(key)

    def _blocking(self, key: str) -> list[str]:
        """Keys of the stems that would write a file where a folder of this one has to be."""
        return [other for folder in folders_above(key) for other in self._rules.blocking(folder)]

    def meets(self, source: Source) -> bool:
        """Whether any name that this image may come to have would be in the way of one in here."""
        return self._may_meet(source) and self._does_meet(source)

    def _may_meet(self, source: Source) -> bool:
        """Whether it is worth a closer look: most images differ in the last part of their names."""
        name = source.relative.name
        if self._in_special_folder(source) or name in ("", ".."):
            return True
        if self._planner.fitted(name) != name:
            return True
        stem, whole = collision_key(os.path.splitext(name)[0]), collision_key(name)
        if stem in self._near_names or whole in self._near_names:
            return True
        shorter = map(self._rules.shorter, (stem, whole, f"{whole}-2"))
        return any(not self._key_names.isdisjoint(names) for names in shorter)

    def _in_special_folder(self, source: Source) -> bool:
        """Whether a folder above an image is called like a file that is written."""
        folders = full_path(source.path).parts[:-1]
        found = self._special.get(folders)
        if found is None:
            names = map(collision_key, map(system.writable_name, folders))
            found = any(map(self._rules.blocking, names))
            self._special[folders] = found
        return found

    def _does_meet(self, source: Source) -> bool:
        longer = candidates(source)
        flat = without_folders(longer[1])
        for stem in (*longer, flat):
            key = collision_key(self._planner.fitted(stem))
            if key in self._near or not self._keys.isdisjoint(self._shorter(key)):
                return True
        return any(map(self._does_meet_numbered, dict.fromkeys((longer[1], flat))))

    def _does_meet_numbered(self, base: str) -> bool:
        """Whether this stem is in the way with a number behind it, whichever."""
        front = key = ""
        for digits in range(1, _MOST_DIGITS + 1):
            ending = "-" + "2" * digits
            fitted = self._planner.fitted(base, ending).removesuffix(ending)
            if fitted != front:  # how much of a long name is left depends on the digits
                front, key = fitted, collision_key(fitted)
                if key in self._bases or not self._keys.isdisjoint(self._blocking(key)):
                    return True
            for dash in "-~":
                if not self._keys.isdisjoint(self._rules.shorter(f"{key}{dash}{ending[1:]}")):
                    return True
        return False


def _last_parts(keys: Iterable[str]) -> set[str]:
    return {key.rpartition("/")[2] for key in keys}
