"""Which classes of an image are explained: from what the user asks for to targets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnviz.errors import UsageError
from cnnviz.labels.classes import Classes
from cnnviz.text import folded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_TOP = re.compile(r"top ?([0-9]{1,6})")
#: What separates the two classes of ``--contrast``.
_AGAINST = ":"


@dataclass(frozen=True)
class Target:
    """Which class of an image is explained: always the same one, one by its rank, or the true one.

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


def is_default(targets: Sequence[Target]) -> bool:
    """Whether each image's predicted class is explained, and nothing else.

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

    ``topN`` stands for each image's own N highest classes, ``top1`` or ``predicted`` for the
    highest, ``second`` for the runner-up, ``truth`` for the true class. Anything else is a class,
    see :meth:`Classes.find`. Several may be given together, separated by commas; a class with
    commas in its name is looked for first.

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
        whole = "," not in spec or bool(classes.lookup(spec) or classes.search(spec))
        parts = [spec] if whole else spec.split(",")
        if len(parts) > 1 and not all(part.strip() for part in parts):
            raise UsageError(f"An empty target was given in {spec!r}: a comma separates targets.")
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
            f"A contrast is two classes, A{_AGAINST}B, such as predicted{_AGAINST}truth; got "
            f"{spec!r}."
        )
    return splits[0]


def _is_class(spec: str, classes: Classes) -> bool:
    return folded(spec) in _WORDS or spec.strip().isdecimal() or bool(classes.lookup(spec))
