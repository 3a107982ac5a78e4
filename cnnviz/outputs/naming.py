"""Names of the files written for each image, no two alike.

``photos/a/cat.jpg`` out of the folder ``photos`` becomes ``a/cat_gradcam.png`` and so on. Images
that would write the same file fall back together, step by step, to longer names:

1. ``a/cat.jpg_gradcam.png``, with the extension,
2. ``photos/a/cat_gradcam.png``, below the name of the folder that holds ``relative``,
3. ``photos/a/cat.jpg_gradcam.png``, and the same below one or two more folders,
4. ``a/cat.jpg-2_gradcam.png``, numbered in the order of their paths, or ``a_cat.jpg_gradcam.png``
   if one of the others has a file where the folder has to be.

The first three steps depend on which images there are, not on their order. Names count as alike
if a file system that ignores case, invisible letters, or dots and spaces at the end of a folder's
name, or stores accents apart from letters, would not keep both. Characters that a system allows in
no name, as Windows does ``: ? *``, are written as ``_`` there.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING

from cnnviz import system
from cnnviz.storage.stored import full_path

if TYPE_CHECKING:
    from cnnviz.images.source import Source

_LONGEST_NAME = 255
"""Bytes that common file systems allow for a name."""

_LONGEST_PART = 80
"""Bytes of a file's name that a network's or a layer's name may take."""

_NUMBER = "_(?:{0})"
_NUMBERS = "_(?:{0})(?:-(?:{0}))+(?:~[0-9a-f]{{8}})?"
_FOLDER_ENDS = re.compile(r"(?<=[^/. ])[. ]+/")  # FAT and Windows drop these dots and spaces
_LONGEST_NUMBER = len("_9999999")
_LONGEST_NUMBERS = 36
_LONGEST_WORD = 40
_HASH = 8  # hexadecimal digits
_FOLDERS_ABOVE = 3


#: A target in names of files: a class index; or a word, see :func:`similarity_words`.
TargetPart = int | str


@dataclass(frozen=True)
class OutputStem:
    """What the names of one image's files begin with.

    Attributes:
        path: sub-folder and beginning of the name, below the output folder (``a/cat``).
    """

    path: PurePosixPath

    def file(
        self, suffix: str, target: TargetPart | tuple[TargetPart, ...] | None = None
    ) -> PurePosixPath:
        """The path of one file below the output folder.

        Args:
            suffix: what follows the name, for example ``"_gradcam.png"``; one of those that
                :func:`plan_names` was given.
            target: class index to put between (``cat_281_gradcam.png``), if the plan was made with
                ``numbered``; or several (``cat_281-282_contrast.png``), if with ``several``; a word
                in place of an index, if it is one of the plan's.
        """
        targets = target if isinstance(target, tuple) else () if target is None else (target,)
        return PurePosixPath(f"{self.path}{_joined(targets)}{suffix}")


def plan_names(
    sources: Sequence[Source],
    suffixes: Sequence[str],
    *,
    numbered: bool = True,
    several: bool = False,
    words: Sequence[str] = (),
) -> list[OutputStem]:
    """Give every image the beginning of its files' names, so that no two files are the same.

    Args:
        sources: the images, each file once (:func:`cnnviz.images.sources.find_sources`).
        suffixes: everything that may follow a name, for example ``("_original.png", ".npz")``.
        numbered: whether a class index may stand between name and suffix. Without it
            ``cat_281.jpg`` beside ``cat.jpg`` is no collision.
        several: whether more than one may stand there.
        words: what may stand in place of an index, see :func:`similarity_words`.

    Returns:
        One stem a source, in their order. Stems lie below the output folder: no part is ``..``,
        none is absolute, and no name is longer than 255 bytes with any suffix.
    """
    planner = NamePlanner(suffixes, numbered=numbered, several=several, words=words)
    return list(map(output_stem, planner.plan(sources)))


def output_stem(stem: str) -> OutputStem:
    """A planned stem as a value."""
    return OutputStem(PurePosixPath(stem))


class NamePlanner:
    """What plans names; for the arguments see :func:`plan_names`.

    Attributes:
        rules: which stems would write the same file.
        room: bytes that a name leaves for what follows.
    """

    def __init__(
        self,
        suffixes: Sequence[str],
        *,
        numbered: bool = True,
        several: bool = False,
        words: Sequence[str] = (),
    ) -> None:
        self.room = max((len(os.fsencode(suffix)) for suffix in suffixes), default=0)
        self.room += _LONGEST_NUMBERS if several else _LONGEST_NUMBER if numbered else 0
        self.room += _LONGEST_WORD if words else 0
        self.rules = _Rules(suffixes, numbered=numbered, several=several, words=words)

    def fitted(self, stem: str, ending: str = "") -> str:
        """A stem that can be written and leaves enough room, with what numbers it."""
        return _fitted(system.writable_name(stem), self.room, ending)

    def plan(self, sources: Sequence[Source], tried: set[str] | None = None) -> list[str]:
        """Their stems, in order; ``tried`` takes all that were thought of on the way."""
        tried = set() if tried is None else tried
        levels = [0] * len(sources)
        stems = [self.fitted(first_candidate(source)) for source in sources]
        tried.update(stems)
        stuck: set[int] = set()
        longer = cache(lambda index: candidates(sources[index]))
        while True:
            colliding = [index for index in self.rules.collisions(stems) if index not in stuck]
            if not colliding:
                break
            for index in colliding:
                levels[index] += 1
                if levels[index] < len(longer(index)):
                    stems[index] = self.fitted(longer(index)[levels[index]])
                    tried.add(stems[index])
                else:
                    stuck.add(index)

        settled = [stem for index, stem in enumerate(stems) if index not in stuck]
        taken = _Taken(self.rules, settled)
        following: Counter[str] = Counter()  # what could not be had once cannot be had later
        for index in sorted(stuck, key=lambda index: str(sources[index].path)):
            base = longer(index)[1]
            tried.add(self.fitted(base))
            if taken.has_file_for_folder_of(self.fitted(base)):  # no number would help
                base = without_folders(base)
            dash = taken.dash(base)
            while True:
                following[base] += 1
                ending = "" if following[base] == 1 else f"{dash}{following[base]}"
                stem = self.fitted(base, ending)
                tried.add(stem)
                if taken.claim(stem):
                    stems[index] = stem
                    break
        return stems


class _Rules:
    """Which stems would write the same file.

    Two different stems do so where one is the other and the beginning of a longer suffix (``cat`` +
    ``_guided_gradcam.png``, ``cat_guided`` + ``_gradcam.png``), a class index (``cat`` + ``_281`` +
    ``_gradcam.png``) or several, or both. Stems are compared by :func:`collision_key`.
    """

    def __init__(
        self, suffixes: Sequence[str], *, numbered: bool, several: bool, words: Sequence[str] = ()
    ) -> None:
        self.suffixes = [collision_key(suffix) for suffix in suffixes]
        part = "|".join(("[0-9]+", *(re.escape(collision_key(word)) for word in words)))
        numbers = [_NUMBER.format(part)] * numbered + [_NUMBERS.format(part)] * several
        self._number = re.compile(f"(?:{'|'.join(numbers)})$") if numbers else None
        self.extras = sorted(
            {
                longer[: -len(shorter)]
                for longer in self.suffixes
                for shorter in self.suffixes
                if longer != shorter and longer.endswith(shorter)
            }
        )

    def shorter(self, key: str) -> list[str]:
        """Keys of the stems that, with an index or a longer suffix, write a file of this one."""
        found = []
        for extra in ["", *self.extras]:
            if not key.endswith(extra):
                continue
            rest = key[: len(key) - len(extra)]
            if extra:
                found.append(rest)
            found += self.without_number(rest)
        return [other for other in found if other and not other.endswith("/")]

    def blocking(self, folder: str) -> list[str]:
        """Keys of the stems that would write a file where this folder has to be."""
        found = []
        for suffix in self.suffixes:
            if folder.endswith(suffix):
                rest = folder[: len(folder) - len(suffix)]
                found += [rest, *self.without_number(rest)]
        return found

    def without_number(self, rest: str) -> list[str]:
        """The key of the stem that a key is with an index, or several, if it looks like that."""
        number = None if self._number is None else self._number.search(rest)
        return [] if number is None else [rest[: number.start()]]

    def collisions(self, stems: Sequence[str]) -> list[int]:
        keys = [collision_key(stem) for stem in stems]
        count = Counter(keys)
        bad = {key for key, times in count.items() if times > 1}
        for key in count:
            for other in self.shorter(key):
                if other in count:
                    bad.update((key, other))
        for folder in {folder for key in count for folder in folders_above(key)}:
            bad.update(other for other in self.blocking(folder) if other in count)
        return [index for index, key in enumerate(keys) if key in bad]


class _Taken:
    """Stems given away already, for handing out numbered ones one after the other."""

    def __init__(self, rules: _Rules, stems: Sequence[str]) -> None:
        self._rules = rules
        self._keys: set[str] = set()
        self._closed: set[str] = set()  # what a taken stem could write, as stems
        self._folders: set[str] = set()
        self._blocking: set[str] = set()  # what would write a file where a folder has to be
        for stem in stems:
            self._add(collision_key(stem))

    def claim(self, stem: str) -> bool:
        """Claim a stem unless one of its files could be written for another one."""
        key = collision_key(stem)
        if (
            key in self._keys
            or key in self._closed
            or any(other in self._keys for other in self._rules.shorter(key))
            or self.has_file_for_folder_of(stem)
            or key in self._blocking
        ):
            return False
        self._add(key)
        return True

    def has_file_for_folder_of(self, stem: str) -> bool:
        """Whether a taken stem would write a file where a folder of this one has to be."""
        return any(
            other in self._keys
            for folder in folders_above(collision_key(stem))
            for other in self._rules.blocking(folder)
        )

    def dash(self, stem: str) -> str:
        """What numbers stand behind: no dash if they would be taken for indices of another one.

        As in ``cat_281-2`` beside ``cat``, whatever the number.
        """
        read = self._rules.without_number(f"{collision_key(stem)}-2")
        return "-" if self._keys.isdisjoint(read) else "~"

    def _add(self, key: str) -> None:
        self._keys.add(key)
        self._closed.update(self._rules.shorter(key))
        for folder in folders_above(key):
            if folder not in self._folders:
                self._folders.add(folder)
                self._blocking.update(self._rules.blocking(folder))


def first_candidate(source: Source) -> str:
    """The shortest of :func:`candidates`, which nearly all images get."""
    *folders, whole = _below(source)
    return "/".join([*folders, os.path.splitext(whole)[0]])


def _below(source: Source) -> list[str]:
    """Its folders below the one that was given, and its name."""
    anchor = source.relative.anchor
    parts = [part for part in source.relative.parts if part not in ("..", anchor)]
    return parts or [full_path(source.path).name or "image"]


def candidates(source: Source) -> list[str]:
    """Stems for an image, from short to long; see the module's text."""
    relative = _below(source)
    path = full_path(source.path)
    above = [part for part in path.parts if part != path.anchor][: -len(relative)]
    whole = relative[-1]
    stem = os.path.splitext(whole)[0]  # unlike pathlib's stem, never "."
    result = []
    for folders in range(_FOLDERS_ABOVE + 1):
        if folders > len(above):
            break
        front = [*above[len(above) - folders :], *relative[:-1]]
        for name in (stem, whole):
            result.append("/".join([*front, name]))
    return result


def without_folders(stem: str) -> str:
    """A stem in no folder, for one whose folders cannot be made."""
    return stem.replace("/", "_")


def _joined(targets: tuple[TargetPart, ...]) -> str:
    """``_281``, ``_281-282``; of more than there is room for the first, and a hash of all."""
    text = "-".join(map(str, targets))
    longest = _LONGEST_NUMBERS
    longest += _LONGEST_WORD if any(isinstance(target, str) for target in targets) else 0
    if len(os.fsencode(text)) >= longest:
        most = longest - len("_~") - _HASH
        first = text[: text.rindex("-", 0, most + 1)]
        text = f"{first}~{hashlib.sha256(os.fsencode(text)).hexdigest()[:_HASH]}"
    return f"_{text}" if targets else ""


def _fitted(stem: str, room: int, ending: str = "") -> str:
    """The stem, its name cut and marked with a hash of the whole if too long with what follows."""
    front, slash, name = stem.rpartition("/")
    allowed = _LONGEST_NAME - room - len(ending)
    if len(os.fsencode(name)) > allowed:
        mark = "~" + hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]
        name = name[: allowed - len(mark)]  # no letter has less than a byte
        while len(os.fsencode(name)) > allowed - len(mark):
            name = name[:-1]
        name += mark
    return front + slash + name + ending


def folders_above(key: str) -> list[str]:
    """Every folder above a stem."""
    return list(accumulate(key.split("/")[:-1], "{}/{}".format))


def collision_key(stem: str) -> str:
    """What a file system may reduce a name to."""
    if "./" in stem or " /" in stem:
        stem = _FOLDER_ENDS.sub("/", stem)
    if stem.isascii():
        return stem.lower()
    seen = "".join(letter for letter in stem if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", seen).casefold())


def similarity_words(paths: Sequence[str]) -> list[str]:
    """What stands in names of files for the similarity to each of these images, no two alike.

    ``similarity_dog`` for ``photos/dog.jpg``; no dash in it, for dashes stand between targets.
    """
    stems = [PurePath(path).stem.replace("-", "_") for path in paths]
    return [f"similarity_{part}" for part in file_parts(stems, _LONGEST_WORD - len("similarity_"))]


def file_parts(names: Sequence[str], longest: int = _LONGEST_PART) -> list[str]:
    """Names of networks or layers as parts of file names, one each, no two alike.

    What is neither letter, digit, dot, dash nor underscore becomes an underscore. A name that is
    too long is cut; that, and one like another before it where case makes no difference, is marked
    with a hash of the whole. None has more than ``longest`` bytes.
    """
    parts: list[str] = []
    taken: set[str] = set()
    for name in names:
        part = re.sub(r"[^\w.-]", "_", name)
        if len(os.fsencode(part)) > longest or part.casefold() in taken:
            mark = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
            while len(os.fsencode(part)) > longest - len(mark):
                part = part[:-1]
            part += mark
        taken.add(part.casefold())
        parts.append(part)
    return parts
