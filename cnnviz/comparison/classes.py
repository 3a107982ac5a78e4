"""Which class of one network is which of another's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cnnviz.errors import UsageError
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.records import Manifest
from cnnviz.text import ClassNames, first_synonym, folded, joined


@dataclass(frozen=True)
class Classes:
    """All classes that either of two networks knows, numbered anew.

    Attributes:
        of_a: by A's index, its number here, which is the same.
        of_b: by B's index, its number here.
        names: by number, for people.
        only_a: the numbers of those that B does not know.
        only_b: of those that A does not know.
        note: what was assumed, in a sentence; or nothing.
    """

    of_a: tuple[int, ...]
    of_b: tuple[int, ...]
    names: ClassNames
    only_a: tuple[int, ...] = ()
    only_b: tuple[int, ...] = ()
    note: str = ""

    def predicted_by_a(self, image: ImageRecord) -> frozenset[int]:
        """The numbers of the classes that A predicts for an image."""
        return frozenset(self.of_a[score.index] for score in image.predicted)

    def predicted_by_b(self, image: ImageRecord) -> frozenset[int]:
        """Likewise for B."""
        return frozenset(self.of_b[score.index] for score in image.predicted)

    @property
    def shared(self) -> int:
        """How many both know."""
        return len(self.of_a) - len(self.only_a)


def match_classes(a: Manifest, b: Manifest) -> Classes:
    """Match the classes of two networks by their names; A's keep their indices as numbers.

    Case, hyphens and the like do not count (:func:`cnnviz.text.folded`); a name that is left over
    is matched by its first synonym, if only one on each side has it. Of classes of the same name
    the first is the first. Without names the indices count.

    Raises:
        UsageError: one of them has no names, and they differ in the number of classes.
    """
    count_a, count_b = a.run.network.classes, b.run.network.classes
    labels_a, labels_b = a.run.network.labels, b.run.network.labels
    kind = _kind((*a.images[:1], *b.images[:1]))
    if not (labels_a and labels_b):
        if count_a != count_b:
            raise UsageError(
                f"The classes cannot be matched: {_nameless(a, b)}, and A has {count_a} of them "
                f"and B {count_b}. Give --labels to the run that lacks them."
            )
        note = "" if not (labels_a or labels_b) else f"{_nameless(a, b)}: classes match by index."
        same = tuple(range(count_a))
        return Classes(same, same, ClassNames(labels_a or labels_b, kind=kind), note=note)
    by_b = _matched(labels_a, labels_b)
    names = list(labels_a)
    of_b = []
    for index, name in enumerate(labels_b):
        if index not in by_b:
            by_b[index] = len(names)
            names.append(name)
        of_b.append(by_b[index])
    known = set(of_b)
    return Classes(
        tuple(range(count_a)),
        tuple(of_b),
        ClassNames(names, kind=kind),
        tuple(number for number in range(count_a) if number not in known),
        tuple(range(count_a, len(names))),
    )


def _matched(labels_a: Sequence[str], labels_b: Sequence[str]) -> dict[int, int]:
    """A's index for each of B's classes that A knows."""
    found: dict[int, int] = {}
    for key in (folded, _short):
        left_a, left_b = _places(labels_a, key), _places(labels_b, key)
        taken = set(found.values())
        for name, places in left_b.items():
            here = [place for place in places if place not in found]
            there = [place for place in left_a.get(name, ()) if place not in taken]
            if key is folded or (len(here) == len(there) == 1):
                found.update(zip(here, there, strict=False))
    return found


def _short(name: str) -> str:
    return folded(first_synonym(name))


def _places(labels: Sequence[str], key: Callable[[str], str]) -> Mapping[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(labels):
        found[key(name)].append(place)
    return found


def _nameless(a: Manifest, b: Manifest) -> str:
    without = [name for name, one in (("A", a), ("B", b)) if not one.run.network.labels]
    return f"{joined(without, 'and')} {'have' if len(without) > 1 else 'has'} no class names"


def _kind(images: Sequence[ImageRecord]) -> str:
    """What classes without a name are called."""
    scores = (score for image in images for score in image.scores)
    return next((score.kind for score in scores), "class")
