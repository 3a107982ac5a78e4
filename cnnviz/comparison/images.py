"""Which image of one run is which of another's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Hashable, Sequence
from dataclasses import dataclass, field

from cnnviz.comparison.records import Unpaired, UnpairedRecord
from cnnviz.runs.image_records import ImageRecord


@dataclass
class Matched:
    """The images of two runs.

    Attributes:
        pairs: those that are the same, and that both explained, in A's order.
        unpaired: the others, in A's order, then those that only B has.
    """

    pairs: list[tuple[ImageRecord, ImageRecord]] = field(default_factory=list)
    unpaired: list[UnpairedRecord] = field(default_factory=list)


def match_images(a: Sequence[ImageRecord], b: Sequence[ImageRecord]) -> Matched:
    """Match images by their paths below what was given and by what is in them.

    An image of the same path and content is the same. Of those left over, images of the same
    content are the same if no other has it: somebody moved it. Those of the same path are another
    image now, or failed.
    """
    partners = _partners(a, b)
    found = Matched()
    for place, image in enumerate(a):
        if place not in partners:
            found.unpaired.append(UnpairedRecord(image.path, "only_a"))
            continue
        other = b[partners[place]]
        why = _why_not(image, other)
        if why is None:
            found.pairs.append((image, other))
        else:
            found.unpaired.append(UnpairedRecord(image.path, why))
    taken = set(partners.values())
    found.unpaired += [
        UnpairedRecord(image.path, "only_b") for place, image in enumerate(b) if place not in taken
    ]
    return found


def _why_not(a: ImageRecord, b: ImageRecord) -> Unpaired | None:
    if not (a.ok or b.ok):
        return "failed_both"
    if not a.ok:
        return "failed_a"
    if not b.ok:
        return "failed_b"
    return "content" if a.sha256 != b.sha256 else None


def _partners(a: Sequence[ImageRecord], b: Sequence[ImageRecord]) -> dict[int, int]:
    """The place in B of each image of A that has a partner there."""
    found: dict[int, int] = {}
    steps: tuple[tuple[Callable[[ImageRecord], Hashable | None], bool], ...] = (
        (lambda image: (image.path, image.sha256), True),
        (lambda image: (image.relative, image.sha256), True),
        (lambda image: image.sha256, False),
        (lambda image: image.path, True),
        (lambda image: image.relative, True),
    )
    for key, any_number in steps:
        taken = set(found.values())
        left_a = _places(a, key, found.keys())
        left_b = _places(b, key, taken)
        for name, here in left_a.items():
            there = left_b.get(name, [])
            if any_number or len(here) == len(there) == 1:
                found.update(zip(here, there, strict=False))
    return found


def _places(
    images: Sequence[ImageRecord],
    key: Callable[[ImageRecord], Hashable | None],
    taken: Container[int],
) -> dict[Hashable, list[int]]:
    """Where the images stand that are not taken, by what they are matched by."""
    found: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        name = key(image)
        if place not in taken and name is not None:
            found[name].append(place)
    return found
