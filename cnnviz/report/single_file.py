"""A page that is one file: its images stand in it as data URLs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from cnnviz.outputs.formats import IMAGE_FORMATS
from cnnviz.report.document import with_files
from cnnviz.runs.image_records import ImageRecord
from cnnviz.storage.paths import AnyPath, size_of

SINGLE_PAGE = PurePosixPath("report.html")

LARGEST = 50 * 10**6
"""Bytes. A page that would be larger has its images at the size of thumbnails only."""

MOST_IMAGES = 20_000
"""The largest number of images that a single file holds."""

Source = tuple[str, AnyPath]
"""A file, and its URL as seen from the page."""

_MEDIA = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class Inlined:
    """Files to put into a page.

    Attributes:
        files: each by its URL as seen from the page.
        size: bytes that they take in the page.
        whole: whether the images themselves are among them, or thumbnails alone.
    """

    files: tuple[Source, ...]
    size: int
    whole: bool

    def said(self, rest: int) -> str:
        """A bound on the size of the page, of which ``rest`` bytes are not files, in words."""
        size = f"at most {(self.size + rest) / 1e6 + 0.05:.1f} MB"
        if self.whole:
            return f"{SINGLE_PAGE} will have {size}, with all images and their thumbnails."
        return (
            f"{SINGLE_PAGE} will have {size}: images at the size of thumbnails only, for in full "
            f"it would exceed {LARGEST / 1e6:.0f} MB."
        )

    def data(self) -> dict[str, str]:
        """The files as data URLs, by their own URL; what cannot be read is left out."""
        found = {}
        for url, file in self.files:
            try:
                content = file.read_bytes()
            except OSError:
                continue  # the page says that it is missing, as it does of files beside it
            kind = _MEDIA[file.suffix[1:]]
            found[url] = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        return found


def as_single_file(
    page: str,
    thumbnails: Iterable[Source],
    images: Iterable[Source],
    announce: Callable[[str], None] | None = None,
) -> str:
    """A page with its images in it.

    Args:
        page: made for images beside it.
        thumbnails: they are made.
        images: in full, which stand in it, too, if it does not grow too large by that.
        announce: called with a sentence that bounds its size, before the images are read.
    """
    content = inlined(thumbnails, images)
    if announce is not None:
        announce(content.said(len(page.encode("utf-8", "replace"))))
    return with_files(page, content.data())


def shown_files(images: Sequence[ImageRecord]) -> Iterator[PurePosixPath]:
    """All images that a page shows, each once: those of its cards, contrasts and panels."""
    for file in dict.fromkeys(file for image in images for file in image.files):
        if PurePosixPath(file).suffix[1:] in IMAGE_FORMATS:
            yield PurePosixPath(file)


def inlined(thumbnails: Iterable[Source], images: Iterable[Source]) -> Inlined:
    """What to put into a page whose thumbnails are made."""
    small = tuple(thumbnails)
    whole = (*small, *images)
    in_full = sum(map(_size, whole))
    if in_full <= LARGEST:
        return Inlined(whole, in_full, whole=True)
    return Inlined(small, sum(map(_size, small)), whole=False)


def _size(source: Source) -> int:
    """Bytes of a file in base64, with its name and what stands around the two in JSON."""
    url, file = source
    try:
        size = size_of(file)
    except OSError:
        return 0
    return (size + 2) // 3 * 4 + len(url) + 40
