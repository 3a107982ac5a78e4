"""Which classes of an image are explained: from what the user asks for to targets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cnnviz.errors import UsageError
from cnnviz.labels.classes import Classes
from cnnviz.labels.label_sets import LabelSet, Truth
from cnnviz.text import folded, printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cnnviz.graph.ends import Activation

_TOP = re.compile(r"top ?([0-9]{1,6})")
_ABOVE = re.compile(r"\s*above\s*:(.*)", re.IGNORECASE)
_SIMILARITY = re.compile(r"\s*similarity\s*:(.*)", re.IGNORECASE | re.DOTALL)
#: Of so many classes above a probability, the highest, an image's are explained.
MOST_ABOVE = 20
#: What separates the two classes of ``--contrast``.
_AGAINST = ":"


@dataclass(frozen=True)
class Target:
    """Which class of an image is explained: always the same one, one by its rank, or the true one.

    Attributes:
        index: the class, or None.
        rank: if it is None, the class with the ``rank``-th highest logit, 0 being the highest.
        truth: whether it is the image's true class; where that is not known, the one above.
        above: if not None, all classes whose probability is above this one.
    """

    index: int | None = None
    rank: int = 0
    truth: bool = False
    above: float | None = None

    def of_image(
        self, logits: npt.NDArray[np.float32], activation: Activation, truth: Truth = None
    ) -> list[int]:
        """The classes that it means in one image: one, or as many as are true or above.

        Args:
            logits: (K,).
            activation: what makes probabilities of them; for :attr:`above` only.
            truth: the image's true class or classes; for :attr:`truth` only.
        """
        if self.above is not None:
            return self._above(logits, activation)[:MOST_ABOVE]
        if self.truth and isinstance(truth, LabelSet):
            return list(truth.positive)
        return [int(self(logits[None], [truth])[0])]

    def remark(
        self, logits: npt.NDArray[np.float32], activation: Activation, truth: Truth = None
    ) -> str | None:
        """What is to be said of an image where it means no class, or too many; else None.

        For the arguments see :meth:`of_image`.
        """
        if self.above is None:
            nothing = self.truth and isinstance(truth, LabelSet) and not truth.positive
            return "the image has no true class to explain" if nothing else None
        count = len(self._above(logits, activation))
        if count == 0:
            return f"no class has a probability above {self.above:g}"
        if count > MOST_ABOVE:
            return (
                f"{count} classes have a probability above {self.above:g}; only the {MOST_ABOVE} "
                "highest are explained"
            )
        return None

    def _above(self, logits: npt.NDArray[np.float32], activation: Activation) -> list[int]:
        """The classes above, the highest first."""
        import numpy as np

        order = np.argsort(-logits, kind="stable")
        probabilities = activation.outputs(logits)[order]
        least = 1.0 if self.above is None else self.above
        return [int(index) for index in order[probabilities > least]]

    def __call__(
        self, logits: npt.NDArray[np.float32], truths: Sequence[Truth] = ()
    ) -> npt.NDArray[np.int64]:
        """One class of each image, (N,) int64; ties go to the lower index.

        Args:
            logits: (N, K).
            truths: the images' true classes; for :attr:`truth` only. Of several it is the one with
                the lowest logit, which the network is farthest from seeing.
        """
        import numpy as np

        if self.index is not None:
            return np.full(len(logits), self.index, np.int64)
        chosen = np.argsort(-logits, axis=1, kind="stable")[:, self.rank].astype(np.int64)
        if self.truth:
            for row, truth in enumerate(truths):
                true = truth.positive if isinstance(truth, LabelSet) else (truth,)
                known = [index for index in true if index is not None]
                if known:
                    chosen[row] = min(known, key=lambda index: logits[row, index])
        return chosen


@dataclass(frozen=True)
class SimilarityTarget:
    """What is explained is how alike the network finds an image and another one.

    Attributes:
        path: the other image's file.
    """

    path: str


#: What may be explained in each image.
AnyTarget: TypeAlias = Target | SimilarityTarget


def is_default(targets: Sequence[AnyTarget]) -> bool:
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
) -> tuple[AnyTarget, ...]:
    """What ``--target``, given once or several times, means; each once.

    ``topN`` stands for each image's own N highest classes, ``top1`` or ``predicted`` for the
    highest, ``second`` for the runner-up, ``truth`` for the true class or classes, ``above:P`` for
    all whose probability is above P, ``similarity:FILE`` for the similarity to another image.
    Anything else is a class, see :meth:`Classes.find`. Several may be given together, separated by
    commas; a class with commas in its name is looked for first, and a file with commas is given
    alone.

    Args:
        specs: What the user gave.
        labels: Class names by index; may be empty for a network whose classes have no names.
        n_classes: Number of the network's outputs.

    Raises:
        UsageError: An index is out of range, a name fits no class or several, there are fewer than
            N classes; the text lists candidates with their indices. P is no probability.
    """
    classes = Classes(labels, n_classes)
    targets: dict[AnyTarget, None] = {}
    for spec in specs:
        whole = (
            "," not in spec
            or _SIMILARITY.fullmatch(spec) is not None
            or bool(classes.lookup(spec) or classes.search(spec))
        )
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


def _several(spec: str, classes: Classes) -> Iterable[AnyTarget]:
    """What one target without commas means."""
    above, similar = _ABOVE.fullmatch(spec), _SIMILARITY.fullmatch(spec)
    if (above or similar) and not classes.lookup(spec):
        return [_above(above[1]) if above else _similar(similar[1] if similar else "")]
    best = _TOP.fullmatch(folded(spec))
    if best is None:
        return [_one(spec, classes)]
    count = int(best[1])
    if not 1 <= count <= classes.count:
        raise UsageError(
            f"The target {spec!r} asks for {count} classes: the network has {classes.count}."
        )
    return [Target(rank=rank) for rank in range(count)]


def _above(text: str) -> Target:
    """All classes above a probability."""
    try:
        least = float(text)
    except ValueError:
        least = math.nan
    if not 0 <= least < 1:
        raise UsageError(
            f"The target above:P takes a probability, from 0 to below 1, such as above:0.5; got "
            f"'{printable(text.strip())}'."
        )
    return Target(above=least)


def _similar(path: str) -> SimilarityTarget:
    if not path.strip():
        raise UsageError("The target similarity:FILE needs the file of another image.")
    return SimilarityTarget(path.strip())


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
