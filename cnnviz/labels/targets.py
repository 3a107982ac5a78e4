"""Class names, and from what a user calls a class to its index."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from cnnviz.errors import UsageError
from cnnviz.labels.label_files import Labels
from cnnviz.text import ClassNames, class_name, folded, listed, similar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_TOP = re.compile(r"top ?([0-9]{1,6})")
#: What ``--contrast`` parts two classes with.
_AGAINST = ":"

_SHOWN = 5
_FEW = 12  # classes that are simply listed


@functools.lru_cache(maxsize=1)
def imagenet_labels() -> Labels:
    """ImageNet's 1,000 class names (ILSVRC 2012) in class order: synonyms, parted by commas.

    With their WordNet numbers.
    """
    text = resources.files("cnnviz.labels").joinpath("imagenet_classes.txt").read_text("utf-8")
    lines = [line.split(" ", 1) for line in text.splitlines()]
    return Labels((name for _, name in lines), (own for own, _ in lines))


@dataclass(frozen=True)
class Target:
    """Which class of an image is explained: always the same one, one by its rank, or the truth.

    Attributes:
        index: the class, or None.
        rank: if it is None, the class with the ``rank``-th highest logit, 0 being the highest.
        truth: whether it is the image's true class; where that is not known, the one above.
    """

    index: int | None = None
    rank: int = 0
    truth: bool = False

    def __call__(
        self, logits: npt.NDArray[np.float32], truths: Sequence[int | None] = ()
    ) -> npt.NDArray[np.int64]:
        """The class of each image, (N,) int64; ties go to the lower index.

        Args:
            logits: (N, K).
            truths: the images' true classes; for :attr:`truth` only.
        """
        import numpy as np

        if self.index is not None:
            return np.full(len(logits), self.index, np.int64)
        chosen = np.argsort(-logits, axis=1, kind="stable")[:, self.rank].astype(np.int64)
        if self.truth:
            for row, truth in enumerate(truths):
                chosen[row] = chosen[row] if truth is None else truth
        return chosen


def is_usual(targets: Sequence[Target]) -> bool:
    """Whether each image's own answer is explained, and nothing else.

    Otherwise files carry the class in their names, so that runs for other targets have their own.
    """
    return tuple(targets) == (Target(),)


@dataclass(frozen=True)
class ClassPair:
    """Two classes of an image whose difference is explained: why the first and not the second."""

    positive: Target
    negative: Target


_WORDS = {"predicted": Target(), "second": Target(rank=1), "truth": Target(truth=True)}


def resolve_targets(
    specs: Iterable[str], labels: Sequence[str], n_classes: int
) -> tuple[Target, ...]:
    """The classes that ``--target``, given once or several times, means; each once.

    ``topN`` stands for each image's own N highest classes, ``top1`` or ``predicted`` being its
    answer, ``second`` the runner-up, ``truth`` for its true class. Anything else is a class, see
    :meth:`Classes.find`. Several may stand together, parted by commas; a class with commas in its
    name is looked for first.

    Args:
        specs: What the user gave.
        labels: Class names by index; may be empty for a network whose classes have no names.
        n_classes: Number of the network's outputs.

    Raises:
        UsageError: An index is out of range, a name fits no class or several, there are fewer than
            N classes; the text lists candidates with their indices.
    """
    classes = Classes(labels, n_classes)
    targets: dict[Target, None] = {}
    for spec in specs:
        whole = "," not in spec or bool(classes.called(spec) or classes.partly_called(spec))
        parts = [spec] if whole else spec.split(",")
        if len(parts) > 1 and not all(part.strip() for part in parts):
            raise UsageError(f"An empty target was given in {spec!r}: a comma parts two targets.")
        for part in parts:
            targets.update(dict.fromkeys(_several(part, classes)))
    return tuple(targets)


def resolve_contrasts(
    specs: Iterable[str], labels: Sequence[str], n_classes: int
) -> tuple[ClassPair, ...]:
    """The pairs of classes that ``--contrast A:B`` means; each once.

    A and B are each ``predicted``, ``second``, ``truth``, an index or a name.

    Raises:
        UsageError: There are not two, or not two different ones; or as :func:`resolve_targets`.
    """
    classes = Classes(labels, n_classes)
    pairs: dict[ClassPair, None] = {}
    for spec in specs:
        pair = ClassPair(*(_one(end, classes) for end in _ends(spec, classes)))
        if pair.positive == pair.negative:
            raise UsageError(f"The contrast {spec!r} names one class twice.")
        pairs[pair] = None
    return tuple(pairs)


def resolve_class(spec: str, labels: Sequence[str], n_classes: int) -> int:
    """The class index that a user means, see :meth:`Classes.find`."""
    return Classes(labels, n_classes).find(spec)


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
                strict=False,
            ):
                for name in dict.fromkeys(names):
                    table.setdefault(name, []).append(index)
        return tables

    def called(self, text: str) -> list[int]:
        """The classes with this name, synonym or WordNet number: one if all is well."""
        name, key = " ".join(text.split()), folded(text)
        for table, wanted in zip(self._names, (name, key, name, key), strict=True):
            if wanted in table:
                return table[wanted]
        return []

    def partly_called(self, text: str) -> list[int]:
        """The classes with this in their names."""
        wanted = folded(text)
        return [index for index, label in enumerate(self.labels) if wanted in folded(label)]

    def find(self, spec: str) -> int:
        """The class index that a user means.

        Digits are an index. Anything else is a name: the first of these that fits any class
        decides, and has to fit just one: the whole name, or its WordNet number; one of its synonyms
        (names are parted by commas); a part of the name.

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
                f"The target {spec!r} is a name, but the network's classes have none; give an "
                f"index from 0 to {self.count - 1}, or the names with --labels."
            )
        fitting = self.called(spec) or self.partly_called(spec)
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


def _several(spec: str, classes: Classes) -> Iterable[Target]:
    """What one target without commas means."""
    best = _TOP.fullmatch(folded(spec))
    if best is None:
        return [_one(spec, classes)]
    count = int(best[1])
    if not 1 <= count <= classes.count:
        raise UsageError(
            f"The target {spec!r} asks for {count} classes: the network has {classes.count}."
        )
    return [Target(rank=rank) for rank in range(count)]


def _one(spec: str, classes: Classes) -> Target:
    """One class, by a word for its place or by itself."""
    target = _WORDS.get(folded(spec))
    if target is None:
        return Target(classes.find(spec))
    if target.rank >= classes.count:
        raise UsageError(f"There is no {spec.strip()} class: the network has {classes.count}.")
    return target


def _ends(spec: str, classes: Classes) -> tuple[str, str]:
    """The two sides of a contrast; a colon may belong to a name."""
    parts = spec.split(_AGAINST)
    splits = [(_AGAINST.join(parts[:at]), _AGAINST.join(parts[at:])) for at in range(1, len(parts))]
    if len(splits) > 1:
        splits = [ends for ends in splits if all(_is_class(end, classes) for end in ends)]
    if len(splits) != 1:
        raise UsageError(
            f"A contrast is two classes, A{_AGAINST}B, predicted{_AGAINST}truth say; got {spec!r}."
        )
    return splits[0]


def _is_class(spec: str, classes: Classes) -> bool:
    return folded(spec) in _WORDS or spec.strip().isdecimal() or bool(classes.called(spec))
