"""Whether an image is still what a record was made of: by what its storage calls it, or read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from cnnviz.runs.items import Item
from cnnviz.runs.manifest import file_sha256
from cnnviz.runs.stream import LoadedImage
from cnnviz.storage.stored import Stored


class _Record(Protocol):
    """What an earlier run has noted of an image."""

    @property
    def path(self) -> str: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def etag(self) -> str | None: ...


RecordT = TypeVar("RecordT", bound=_Record)


def look_up(
    item: Item, known: RecordT | None, holds: Callable[[RecordT, LoadedImage[Item, Any]], bool]
) -> tuple[LoadedImage[Item, Any], bool]:
    """An image with its digest, and whether a record of it still holds.

    Where the storage calls what is in the same place as it did, nothing is read. On a disk there is
    no such word: a size and a time can be the same of other contents.

    Args:
        item: the image.
        known: its record, if there is one.
        holds: whether the record is of this image, by its digest, and all else that it says is so.
    """
    if known is not None and known.etag is not None and known.path == item.source.shown:
        image: LoadedImage[Item, Any] = LoadedImage(item, known.sha256, known.etag)
        if known.etag == _etag(item) and holds(known, image):
            return image, True
    item = item.fetched()
    sha256 = file_sha256(item.source.path)
    image = LoadedImage(item, sha256, None if sha256 is None else _etag(item))
    return image, known is not None and holds(known, image)


def _etag(item: Item) -> str | None:
    path = item.source.path
    return path.etag() if isinstance(path, Stored) else None
