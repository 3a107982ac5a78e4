"""Class names, and from what a user calls a class to its index."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnviz.errors import UsageError

_TOP = re.compile(r"top([0-9]{1,6})")
#: What ``--contrast`` parts two classes with.
_AGAINST = ":"

_LARGEST_FILE = 1 << 24  # bytes; a pipe is read as well, and a device may never end
_SHOWN = 5
_FEW = 12  # classes that are simply listed


@functools.lru_cache(maxsize=1)
def imagenet_labels() -> tuple[str, ...]:
    """ImageNet's 1,000 class names (ILSVRC 2012) in class order: synonyms, parted by commas."""
    text = resources.files("cnnviz.models").joinpath("imagenet_classes.txt").read_text("utf-8")
    return tuple(text.splitlines())


def read_labels(path: Path, *, classes: int | None = None) -> tuple[str, ...]:
    """Class names from a UTF-8 file, a name a line in class order.

    Blank lines at the end do not count; a name may occur twice.

    Args:
        path: The file.
        classes: How many names it must have; ``None`` takes any number.

    Raises:
        UsageError: The file cannot be read, is not text, is empty, has a blank line between
            names, or has another number of names.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        # "utf-8-sig" takes off the mark that some editors put in front.
        text = data[:_LARGEST_FILE].decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"The class names in {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not a UTF-8 text file; wanted is one with a class name a line."
        ) from error
    if len(data) > _LARGEST_FILE:
        raise UsageError(f"{path} has more than {_LARGEST_FILE:,} bytes: that is no list of names.")
    names = [_legible(line.strip()) for line in text.rstrip().split("\n")]
    if names == [""]:
        raise UsageError(f"{path} is empty; wanted is a class name a line, in class order.")
    if "" in names:
        raise UsageError(
            f"Line {names.index('') + 1} of {path} is blank; every line must name a class, or the "
            "names after it would belong to the wrong classes."
        )
    if classes is not None and len(names) != classes:
        raise UsageError(
            f"{path} names {len(names)} classes, but the network has {classes} outputs."
        )
    return tuple(names)


def _legible(name: str) -> str:
    """A name without signs that would work on a terminal instead of being shown."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in name
    )


@dataclass(frozen=True)
class Target:
    """Which class of a picture is explained: always the same one, one by its rank, or the truth.

    Attributes:
        index: the class, or None.
        rank: if it is None, the class with the ``rank``-th highest logit, 0 being the highest.
        truth: whether it is the picture's true class; where that is not known, the one above.
    """

    index: int | None = None
    rank: int = 0
    truth: bool = False

    def __call__(
        self, logits: npt.NDArray[np.float32], truths: Sequence[int | None] = ()
    ) -> npt.NDArray[np.int64]:
        """The class of each picture, (N,) int64; ties go to the lower index.

        Args:
            logits: (N, K).
            truths: the pictures' true classes; for :attr:`truth` only.
        """
        if self.index is not None:
            return np.full(len(logits), self.index, np.int64)
        chosen = np.argsort(-logits, axis=1, kind="stable")[:, self.rank].astype(np.int64)
        if self.truth:
            for row, truth in enumerate(truths):
                chosen[row] = chosen[row] if truth is None else truth
        return chosen


@dataclass(frozen=True)
class Against:
    """Two classes of a picture whose difference is explained: why the one and not the other."""

    a: Target
    b: Target


_WORDS = {"predicted": Target(), "second": Target(rank=1), "truth": Target(truth=True)}


def resolve_targets(
    specs: Iterable[str], labels: Sequence[str], n_classes: int
) -> tuple[Target, ...]:
    """The classes that ``--target``, given once or several times, means; each once.

    ``topN`` stands for each picture's own N highest classes, ``top1`` or ``predicted`` being its
    answer, ``second`` the runner-up, ``truth`` for its true class. Several indices may stand
    together, parted by commas. Anything else is a class, see :func:`resolve_class`.

    Args:
        specs: What the user gave.
        labels: Class names by index; may be empty for a network whose classes have no names.
        n_classes: Number of the network's outputs.

    Raises:
        UsageError: An index is out of range, a name fits no class or several, there are fewer than
            N classes; the text lists candidates with their indices.
    """
    targets: dict[Target, None] = {}
    for spec in specs:
        parts = spec.split(",")
        best = _TOP.fullmatch(spec.strip().lower())
        if best:
            count = int(best[1])
            if not 1 <= count <= n_classes:
                raise UsageError(
                    f"The target {spec!r} asks for {count} classes: the network has {n_classes}."
                )
            targets.update((Target(rank=rank), None) for rank in range(count))
        elif len(parts) > 1 and all(part.strip().isdecimal() for part in parts):
            for part in parts:
                targets[Target(resolve_class(part, labels, n_classes))] = None
        else:
            targets[_one(spec, labels, n_classes)] = None
    return tuple(targets)


def resolve_contrasts(
    specs: Iterable[str], labels: Sequence[str], n_classes: int
) -> tuple[Against, ...]:
    """The pairs of classes that ``--contrast A:B`` means; each once.

    A and B are each ``predicted``, ``second``, ``truth``, an index or a name.

    Raises:
        UsageError: There are not two, or not two different ones; or as :func:`resolve_targets`.
    """
    pairs: dict[Against, None] = {}
    for spec in specs:
        ends = spec.split(_AGAINST)
        if len(ends) != 2:
            raise UsageError(
                f"A contrast is two classes, A{_AGAINST}B, predicted{_AGAINST}truth say; got "
                f"{spec!r}."
            )
        a, b = (_one(end, labels, n_classes) for end in ends)
        if a == b:
            raise UsageError(f"The contrast {spec!r} names one class twice.")
        pairs[Against(a, b)] = None
    return tuple(pairs)


def _one(spec: str, labels: Sequence[str], n_classes: int) -> Target:
    """One class, by a word for its place or by itself."""
    target = _WORDS.get(spec.strip().lower())
    if target is None:
        return Target(resolve_class(spec, labels, n_classes))
    if target.rank >= n_classes:
        raise UsageError(f"There is no {spec.strip()} class: the network has {n_classes}.")
    return target


def resolve_class(spec: str, labels: Sequence[str], n_classes: int) -> int:
    """The class index that a user means.

    Digits are an index. Anything else is a name, upper and lower case alike: the first of these
    that fits any class decides, and has to fit just one: the whole name; one of its synonyms
    (names are parted by commas); a part of the name.

    Args:
        spec: What the user gave.
        labels: Class names by index; may be empty for a network whose classes have no names.
        n_classes: Number of the network's outputs.

    Raises:
        UsageError: The index is out of range, or the name fits no class or several; the text
            lists candidates with their indices.
    """
    wanted = " ".join(spec.split()).lower()
    if wanted.lstrip("+-").isdecimal():
        if wanted.isdecimal() and int(wanted) < n_classes:
            return int(wanted)
        raise UsageError(
            f"There is no class {spec}: the network's classes are 0 to {n_classes - 1}."
        )
    if not wanted:
        raise UsageError("An empty target was given; give a class index, a class name or topN.")
    if not labels:
        raise UsageError(
            f"The target {spec!r} is a name, but the network's classes have none; give an index "
            f"from 0 to {n_classes - 1}, or the names with --labels."
        )
    folded = [label.lower() for label in labels]
    synonyms = [[part.strip() for part in label.split(",")] for label in folded]
    for fitting in (
        [index for index, label in enumerate(folded) if label == wanted],
        [index for index, parts in enumerate(synonyms) if wanted in parts],
        [index for index, label in enumerate(folded) if wanted in label],
    ):
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise UsageError(
                f"The target {spec!r} fits {len(fitting)} classes: {_listed(fitting, labels)}. "
                "Give a longer name or the index."
            )
    raise UsageError(f"No class is called {spec!r}. {_suggestions(wanted, synonyms, labels)}")


def _suggestions(wanted: str, synonyms: list[list[str]], labels: Sequence[str]) -> str:
    classes = {part: index for index, parts in enumerate(synonyms) for part in parts}
    close = difflib.get_close_matches(wanted, classes, n=_SHOWN, cutoff=0.6)
    if not close and len(labels) <= _FEW:
        return f"The classes are {', '.join(labels)}."
    if not close:
        return "Give a class index, a class name or a part of one, or topN."
    return f"Similar: {_listed(dict.fromkeys(classes[part] for part in close), labels)}."


def _listed(indices: Iterable[int], labels: Sequence[str]) -> str:
    indices = list(indices)
    shown = ", ".join(f"{labels[index]} ({index})" for index in indices[:_SHOWN])
    return shown + (", ..." if len(indices) > _SHOWN else "")
