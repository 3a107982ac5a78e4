"""Small JPEGs of the images that a run wrote, for a page that shows thousands of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from cnnviz.errors import ImageError, OutputError
from cnnviz.images.decode import read_image
from cnnviz.images.resizing import resize_image
from cnnviz.machine import available_cores, helper_threads
from cnnviz.outputs.folders import folder_at
from cnnviz.outputs.formats import IMAGE_FORMATS, encode_jpeg
from cnnviz.storage.paths import AnyPath
from cnnviz.storage.remote import RemotePath

FOLDER = "thumbnails"
"""The folder that they lie in, beside the report."""

LONG_SIDE = 256
"""Pixels. Twice what a card of the page is wide, for screens with two pixels a point."""

QUALITY = 85
"""Of the JPEGs: at this size the eye finds no difference to the image."""


def thumbnail_path(file: PurePosixPath) -> PurePosixPath:
    """Where the thumbnail of an image lies: ``thumbnails/a/cat.jpg`` for ``a/cat.png``.

    No two images share one, and no name gets longer.

    Args:
        file: an image that a run wrote, relative to its output folder.

    Raises:
        ValueError: another kind of file; they have no thumbnails.
    """
    if file.suffix[1:] not in IMAGE_FORMATS:
        raise ValueError(f"Only images have thumbnails; got {file}.")
    return FOLDER / file.with_suffix(".jpg")


def thumbnail(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An image's thumbnail: the long side at most :data:`LONG_SIDE`, area-averaged.

    Args:
        image: uint8 (H, W, 3) or (H, W). What is small already is returned as it is.
    """
    height, width = image.shape[:2]
    scale = LONG_SIDE / max(height, width)
    if scale >= 1:
        return image
    return resize_image(image, (max(1, round(height * scale)), max(1, round(width * scale))))


@dataclass(frozen=True)
class Wanted:
    """A thumbnail that is to be there.

    Attributes:
        folder: a run's output folder.
        file: an image, relative to it.
        into: the folder that holds the folder of thumbnails, as a rule the run's own.
    """

    folder: AnyPath
    file: PurePosixPath
    into: AnyPath


def make_missing(
    wanted: Iterable[Wanted], progress: Callable[[int, int], None] | None = None
) -> list[str]:
    """Make the thumbnails that are not there, or older than their image.

    Args:
        wanted: all that are to be there.
        progress: called with the number of thumbnails made and of those to be made.

    Returns:
        For each thumbnail that could not be made a sentence that says why.
    """
    missing = list(_missing(wanted))
    problems = []
    with helper_threads(available_cores(), "thumbnail") as threads:
        for done, problem in enumerate(threads.map(_make, missing), 1):
            if problem is not None:
                problems.append(problem)
            if progress is not None:
                progress(done, len(missing))
    return problems


def are_made(folder: AnyPath, files: Iterable[PurePosixPath]) -> bool:
    """Whether a run's folder has the thumbnails of all these images, none older than its image."""
    return not any(_missing(Wanted(folder, file, folder) for file in files))


def _missing(wanted: Iterable[Wanted]) -> Iterator[Wanted]:
    """Those that have to be made. What is behind a URL is listed once, and only looked for."""
    listings: dict[RemotePath, set[str]] = {}
    for one in wanted:
        if isinstance(one.into, RemotePath):
            if one.into not in listings:
                below = (one.into / FOLDER).below()
                listings[one.into] = {path.path_from(one.into) for path in below}
            made = str(thumbnail_path(one.file)) in listings[one.into]
        else:
            made = _is_newer(one.into / thumbnail_path(one.file), one.folder / one.file)
        if not made:
            yield one


def _is_newer(thumbnail: AnyPath, image: AnyPath) -> bool:
    """Whether both are files of this machine, and the image is not the newer one."""
    try:
        return os.stat(str(thumbnail)).st_mtime_ns >= os.stat(str(image)).st_mtime_ns
    except OSError:
        return False


def _make(one: Wanted) -> str | None:
    file = one.folder / one.file
    try:
        small = thumbnail(read_image(file))
    except ImageError as error:  # says not which
        return f"{file}: {error}"
    try:
        folder_at(one.into).write(thumbnail_path(one.file), encode_jpeg(small, QUALITY))
    except OutputError as error:
        return str(error)
    return None
