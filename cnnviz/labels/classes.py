"""A network's classes by all that they may be called."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from importlib import resources

from cnnviz.errors import UsageError
from cnnviz.text import ClassNames, class_name, folded, listed, printable, similar

WORDNET = re.compile(r"n[0-9]{8}")
"""What WordNet's IDs look like, by which ImageNet calls its classes."""

WORDNET_FIRST = re.compile(rf"{WORDNET.pattern}(?=$|[-_. ])")
"""One alone, or in front of a name."""

_SHOWN = 5
_FEW = 12  # classes that are simply listed


class Labels(tuple[str, ...]):
    """Class names in class order, and what else their file says.

    Attributes:
        ids: WordNet IDs of the classes; empty if the file has none.
        note: what the user should know of how the file was read, or nothing.
    """

    ids: tuple[str, ...]
    note: str

    def __new__(cls, names: Iterable[str], ids: Iterable[str] = (), note: str = "") -> Labels:
        """Of the names; ``ids`` are as many, or none."""
        labels = super().__new__(cls, names)
        labels.ids, labels.note = tuple(ids), note
        return labels


@functools.lru_cache(maxsize=1)
def imagenet_labels() -> Labels:
    """ImageNet's 1,000 class names (ILSVRC 2012) in class order: synonyms, separated by commas.

    With their WordNet IDs.
    """
    text = resources.files("cnnviz.labels").joinpath("imagenet_classes.txt").read_text("utf-8")
    lines = [line.split(" ", 1) for line in text.splitlines()]
    return Labels((name for _, name in lines), (own for own, _ in lines))


class Classes:
    """A network's classes by all that they may be called.

    Names are compared as :func:`cnnviz.text.folded` has them, but one that is written in the very
    same way comes before those that only compare equal.
    """

    def __init__(self, labels: Sequence[str], count: int) -> None:
        """Of the names by index, or of none."""
        self.labels = labels
        self.count = count

    @functools.cached_property
    def _names(self) -> tuple[dict[str, list[int]], ...]:
        """By whole names and by synonyms, each as written and as compared: the first decides."""
        tables: tuple[dict[str, list[int]], ...] = ({}, {}, {}, {})
        ids = self.labels.ids if isinstance(self.labels, Labels) else ()
        for index, label in enumerate(self.labels):
            synonyms = [part.strip() for part in label.split(",")] if "," in label else []
            whole = [label, *ids[index : index + 1]]
            spaced = [label.replace(",", " ")] if synonyms else []
            for table, names in zip(
                tables,
                (
                    whole,
                    map(folded, [*whole, *spaced]),
                    synonyms,
                    map(folded, synonyms),
                ),
                strict=True,
            ):
                for name in dict.fromkeys(names):
                    table.setdefault(name, []).append(index)
        return tables

    def lookup(self, text: str) -> list[int]:
        """The classes with this name, synonym or WordNet ID: one unless it is ambiguous."""
        name, key = " ".join(text.split()), folded(text)
        for table, wanted in zip(self._names, (name, key, name, key), strict=True):
            if wanted in table:
                return table[wanted]
        return []

    def named(self, text: str) -> list[int]:
        """The classes with this index, name, synonym or WordNet ID: one unless it is ambiguous.

        The ID may stand in front of a name, as folders have it.
        """
        number = text.strip()
        found = dict.fromkeys(self.lookup(text))
        # More digits than any index has are not worth the time that int() takes.
        if number.isdecimal() and len(number) < 10 and int(number) < self.count:
            found[int(number)] = None
        wordnet = WORDNET_FIRST.match(number)
        if not found and wordnet:
            found = dict.fromkeys(self.lookup(wordnet[0]))
        return list(found)

    def ambiguous(self, name: str, found: Sequence[int]) -> str:
        """What to say of a name that fits several classes."""
        return (
            f"The name '{printable(name)}' fits {len(found)} classes, {self.listed(found)}: use an "
            "index or another name."
        )

    def search(self, text: str) -> list[int]:
        """The classes with this in their names."""
        wanted = folded(text)
        return [index for index, label in enumerate(self.labels) if wanted in folded(label)]

    def find(self, spec: str) -> int:
        """The class index that a user means.

        Digits are an index. Anything else is a name: the first of these that fits any class
        decides, and has to fit just one: the whole name, or its WordNet ID; one of its synonyms
        (a name separates them by commas); a part of the name.

        Raises:
            UsageError: The index is out of range, or the name fits no class or several; the text
                lists candidates with their indices.
        """
        number = spec.strip()
        if number.lstrip("+-").isdecimal():
            # More digits than any index has are not worth the time that int() takes.
            if number.isdecimal() and len(number) < 10 and int(number) < self.count:
                return int(number)
            raise UsageError(
                f"There is no class {spec}: the network's classes are 0 to {self.count - 1}."
            )
        if not number:
            raise UsageError("An empty target was given; give a class index, a class name or topN.")
        if not self.labels:
            raise UsageError(
                f"The target {spec!r} is a name, but this network's classes have none; give an "
                f"index from 0 to {self.count - 1}, or class names with --labels."
            )
        fitting = self.lookup(spec) or self.search(spec)
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise UsageError(
                f"The target {spec!r} fits {len(fitting)} classes: {self.listed(fitting)}. "
                "Give a longer name or the index."
            )
        raise UsageError(f"No class is called {spec!r}. {self._suggestions(spec)}")

    def listed(self, indices: Iterable[int], most: int = _SHOWN) -> str:
        """``tabby, tabby cat (281), tiger cat (282)``."""
        return listed((class_name(index, self.labels[index]) for index in indices), most)

    def _suggestions(self, wanted: str) -> str:
        parts = {
            part.strip(): index
            for index, label in enumerate(self.labels)
            for part in label.split(",")
        }
        close = similar(wanted, parts, _SHOWN)
        if not close and len(self.labels) <= _FEW:
            names = map(ClassNames(self.labels).__getitem__, range(len(self.labels)))
            return f"The classes are {', '.join(names)}."
        if not close:
            return "Give a class index, a class name or a part of one, or topN."
        return f"Similar: {self.listed(dict.fromkeys(parts[part] for part in close))}."
