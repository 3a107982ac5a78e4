"""A run in parts: which of its images belong to which part, without anybody to hand them out.

What belongs together are the images that a single run would put through the network together: their
numbers are the same to the last bit only in a batch of the same size, which depends on its other
images (one that cannot be read makes it smaller). A batch goes to a part by a hash of its first
image's name, so that every part finds its own by looking at the list of all images.
"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cnnviz.errors import UsageError
from cnnviz.storage.sequences import chosen

if TYPE_CHECKING:
    from cnnviz.images.source import Source
    from cnnviz.runs.run_index import RunIndex

T = TypeVar("T")

_AUTOMATIC = 8  # images: what `--batch-size auto` goes up to, by powers of two
_WRITTEN = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_NAMED = re.compile(r"\.part-([0-9]{1,9})-of-([0-9]{1,9})(?=\.)")


@dataclass(frozen=True, order=True)
class Shard:
    """A part of a run: the ``number``-th, from 1, of ``count``."""

    count: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Of ``2/16``.

        Raises:
            UsageError: it is no such text, or there is no such part.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard takes I/N, the I-th of N parts, such as 2/16; got '{text}'.")
        return cls(int(found[2]), int(found[1]))

    @classmethod
    def named_in(cls, name: str) -> Shard | None:
        """Whose file this is; None if it is no part's."""
        found = _NAMED.search(name)
        return None if found is None else cls(int(found[2]), int(found[1]))

    def __str__(self) -> str:
        """For people: ``part 2 of 16``."""
        return f"part {self.number} of {self.count}"

    def file(self, name: str) -> str:
        """A file of this part: ``manifest.part-02-of-16.json`` for ``manifest.json``."""
        stem, dot, ending = name.rpartition(".")
        digits = len(str(self.count))
        return f"{stem}.part-{self.number:0{digits}}-of-{self.count}{dot}{ending}"

    def path(self, name: PurePosixPath) -> PurePosixPath:
        """The same of a path."""
        return name.with_name(self.file(name.name))


class Division:
    """Which images belong to which part of a run: half a byte an image, in batches of eight."""

    def __init__(self, sources: Sequence[Source], together: int, count: int) -> None:
        """Args: all images, in order, how many of them share a pass, and how many parts."""
        import numpy as np  # not as long as only the name of a part is read

        from cnnviz.outputs.part_names import stable_number

        self._images = len(sources)
        self._together = together
        firsts = (sources[start] for start in range(0, len(sources), together))
        numbers = (stable_number(source) % count + 1 for source in firsts)
        self._numbers = np.fromiter(numbers, np.uint32)

    def places(self, number: int) -> Sequence[int]:
        """Where a part's images are among all, ascending."""
        import numpy as np

        batches = np.flatnonzero(self._numbers == number)
        places = (batches[:, None] * self._together + np.arange(self._together)).ravel()
        return array("Q", places[places < self._images].astype(np.uint64).tobytes())


def images_together(batch_size: int | Literal["auto"]) -> int:
    """How many images a part gets at a time."""
    return _AUTOMATIC if batch_size == "auto" else batch_size


@dataclass(frozen=True)
class PartRecord:
    """Of which run a part is, and which part.

    Attributes:
        number: of the part, from 1.
        count: of all parts.
        images: how many images the run has in all.
        together: how many neighbors in the list of images are in one part.
        listing: the SHA-256 of their paths, in order.
        truths: that of their true classes; null if none is known.
        unfinished: what a merge has to add, a sentence; null if records are all that it needs.
        interrupted: whether it was stopped once, which may leave temporary files.
    """

    number: int
    count: int
    images: int
    together: int
    listing: str
    truths: str | None
    unfinished: str | None = None
    interrupted: bool = False

    @property
    def shard(self) -> Shard:
        """Which part it is."""
        return Shard(self.count, self.number)

    @property
    def whole(self) -> tuple[Any, ...]:
        """What all parts of a run have in common."""
        return self.count, self.images, self.together, self.listing, self.truths


class Listing:
    """A digest of the images' paths, as they come."""

    def __init__(self) -> None:
        self.images = 0
        self._digest = hashlib.sha256()

    def add(self, shown: str) -> None:
        """The next image."""
        self.images += 1
        self._digest.update(os.fsencode(shown) + b"\0")

    @property
    def sha256(self) -> str:
        """Of those so far."""
        return self._digest.hexdigest()


@dataclass(frozen=True)
class Part:
    """A part of a run, and what it knows of the others.

    Attributes:
        record: what its file says of it.
        places: where its images are among all, ascending.
        everything: all images.
        truths: their true classes.
        whole: what the whole run's files have, if somebody has read them.
    """

    record: PartRecord
    places: Sequence[int]
    everything: Sequence[Source]
    truths: Sequence[Any]
    whole: tuple[RunIndex, ...] | None = None

    @classmethod
    def of(
        cls,
        shard: Shard,
        everything: Sequence[Source],
        truths: Sequence[Any],
        batch_size: int | Literal["auto"],
    ) -> Part:
        """The part of a run of these images."""
        return cls.all_of(shard.count, everything, truths, batch_size)(shard.number)

    @classmethod
    def all_of(
        cls,
        count: int,
        everything: Sequence[Source],
        truths: Sequence[Any],
        batch_size: int | Literal["auto"],
    ) -> Callable[[int], Part]:
        """Any part of such a run by its number, for who does several of them."""
        listing = Listing()
        for source in everything:
            listing.add(source.shown)
        together = images_together(batch_size)
        division = Division(everything, together, count)
        of_all = PartRecord(
            number=0,
            count=count,
            images=listing.images,
            together=together,
            listing=listing.sha256,
            truths=_digest(truths),
        )

        def part(number: int) -> Part:
            record = replace(of_all, number=number)
            return cls(record, division.places(number), everything, truths)

        return part

    def own(self, values: Sequence[T]) -> Sequence[T]:
        """Of values of all images those of its own."""
        return chosen(values, self.places)

    def placed(self, lines: Iterable[bytes]) -> Iterable[bytes]:
        """Records of its images, each with its place among all."""
        for place, line in zip(self.places, lines, strict=True):
            yield b'{"place": %d, "image": %s}' % (place, line)


def _digest(truths: Sequence[Any]) -> str | None:
    """Of true classes; None if none is known."""
    digest = hashlib.sha256(b"(")
    known = False
    for place, truth in enumerate(truths):
        known = known or truth is not None
        digest.update(f"{', ' if place else ''}{truth!r}".encode())
    digest.update(b",)" if len(truths) == 1 else b")")
    return digest.hexdigest() if known else None
