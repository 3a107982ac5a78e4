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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from cnnviz.errors import UsageError

if TYPE_CHECKING:
    from cnnviz.images.sources import Source

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

    def places(self, sources: Sequence[Source], together: int) -> tuple[int, ...]:
        """Where its images are among all.

        Args:
            sources: all images, in order.
            together: how many of them share a pass.
        """
        divided = _divided(sources, together, self.count)
        return tuple(
            place for number, places in divided if number == self.number for place in places
        )


def _divided(sources: Sequence[Source], together: int, count: int) -> Iterator[tuple[int, range]]:
    """Places of images that share a pass, in order, each with the number of their part."""
    from cnnviz.outputs.part_names import stable_number

    for start in range(0, len(sources), together):
        end = min(start + together, len(sources))
        yield stable_number(sources[start]) % count + 1, range(start, end)


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
    """

    record: PartRecord
    places: tuple[int, ...]
    everything: tuple[Source, ...]
    truths: tuple[Any, ...]

    @classmethod
    def of(
        cls,
        shard: Shard,
        everything: tuple[Source, ...],
        truths: tuple[Any, ...],
        batch_size: int | Literal["auto"],
    ) -> Part:
        """The part of a run of these images."""
        listing = Listing()
        for source in everything:
            listing.add(source.shown)
        together = images_together(batch_size)
        known = any(truth is not None for truth in truths)
        record = PartRecord(
            number=shard.number,
            count=shard.count,
            images=listing.images,
            together=together,
            listing=listing.sha256,
            truths=hashlib.sha256(repr(truths).encode()).hexdigest() if known else None,
        )
        return cls(record, shard.places(everything, together), everything, truths)

    @classmethod
    def all_of(
        cls,
        count: int,
        everything: tuple[Source, ...],
        truths: tuple[Any, ...],
        batch_size: int | Literal["auto"],
    ) -> tuple[Part, ...]:
        """All parts of such a run, in order, for who does several of them."""
        first = cls.of(Shard(count, 1), everything, truths, batch_size)
        places: list[list[int]] = [[] for _ in range(count)]
        for number, some in _divided(everything, first.record.together, count):
            places[number - 1] += some
        return tuple(
            replace(first, record=replace(first.record, number=number), places=tuple(own))
            for number, own in enumerate(places, 1)
        )

    def own(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Of values of all images those of its own."""
        return tuple(values[place] for place in self.places)

    def placed(self, lines: Iterable[bytes]) -> Iterable[bytes]:
        """Records of its images, each with its place among all."""
        for place, line in zip(self.places, lines, strict=True):
            yield b'{"place": %d, "image": %s}' % (place, line)
