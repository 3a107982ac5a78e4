"""Images behind URLs and in archives: which of what is listed there, in which order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from cnnviz.images.names import ARRAY_SUFFIX, is_archive, is_image, natural_key
from cnnviz.storage.archives import Archive, ArchiveMember, sample_of
from cnnviz.storage.remote import RemotePath, names_below
from cnnviz.storage.stored import Stored, Unreadable
from cnnviz.storage.stores import Entry
from cnnviz.storage.tables import Sorter

#: By which a folder behind a URL is known for what cnnviz wrote, without a look at its images.
RUN_FILES = ("manifest.json", "evaluation.json")


class StoredImage(NamedTuple):
    """An image that is none of this machine's files, and its path below what was given."""

    file: Stored
    relative: PurePath


def images_in_archive(path: Path | RemotePath, relative: PurePath) -> list[StoredImage]:
    """Images in an archive by their suffixes, in its order; of two of a name the last counts.

    An archive that cannot be read stands there itself, with the reason.

    Args:
        path: the archive.
        relative: where it stands below what was given; nothing if it was given itself.
    """
    archive = Archive(path)
    found: dict[str, StoredImage] = {}
    labels: dict[str, str] = {}  # by sample

    def broken(name: str, reason: str) -> StoredImage:
        shown, names = str(archive), archive.parts
        if name:
            shown, names = f"{shown}/{name}", (*names, *names_below(name))
        below = relative / (PurePath(*names_below(name)) if name else "")
        return StoredImage(
            Unreadable(shown, names, reason), below if below.parts else PurePath(archive.parts[-1])
        )

    try:
        for member in archive.members():
            if not member.name and member.problem is not None:
                found[""] = broken("", member.problem)
            elif member.label is not None:
                labels[sample_of(member.name)] = member.label
            elif not is_image(member.name) or _is_hidden(member.name):
                continue
            elif member.problem is not None:
                found[member.name] = broken(member.name, member.problem)
            else:
                file = ArchiveMember(archive, member.name, member.offset, member.size)
                found[member.name] = StoredImage(file, relative / member.name)
    except OSError as error:
        found[""] = broken("", error.strerror or str(error))
    return [_labeled(image, labels) for image in found.values()] if labels else [*found.values()]


def _labeled(image: StoredImage, labels: Mapping[str, str]) -> StoredImage:
    """An image with what its archive calls its class."""
    file = image.file
    if not isinstance(file, ArchiveMember):
        return image
    return image._replace(file=replace(file, label=labels.get(sample_of(file.path))))


class Listing:
    """What is in a folder behind a URL; of many images the paths are on the disk.

    Attributes:
        own: how many images were left out because cnnviz had written them.
    """

    def __init__(self, root: RemotePath) -> None:
        """Args: the folder."""
        self._root = root
        self._files = Sorter()
        self._others: set[str] = set()  # folders with archives or arrays ...
        self._with_images: set[str] = set()  # ... that have images, too
        self._own_folders: tuple[str, ...] = ()
        self.own = 0

    def add(self, file: RemotePath, path: str, *, image: bool) -> None:
        """Take note of an image, or of what counts where there is none, by its path from there."""
        if not image:
            self._others.add(path.rpartition("/")[0])
        entry = json.dumps([image, *file.below_root]).encode("ascii")
        self._files.add(natural_key(PurePosixPath(*names_below(path))), entry)

    def conclude(self, own: tuple[str, ...]) -> None:
        """All are there; ``own`` are folders of cnnviz's, as they are shown."""
        if self._others:
            found = (file.path_from(self._root) for image, file in self._entries() if image)
            self._with_images = {path.rpartition("/")[0] for path in found} & self._others
        if own:
            before = sum(1 for _ in self._wanted())
            self._own_folders = own
            self.own = before - sum(1 for _ in self._wanted())

    def images(self) -> Iterator[StoredImage]:
        """Those in order; archives are read for it."""
        for file in self._wanted():
            relative = PurePosixPath(*names_below(file.path_from(self._root)))
            if is_archive(file.name):
                yield from images_in_archive(file, relative)
            else:
                yield StoredImage(file, relative)

    def _wanted(self) -> Iterator[RemotePath]:
        own = self._own_folders
        for image, file in self._entries():
            if own and str(file).startswith(own):
                continue
            folder = "" if image else file.path_from(self._root).rpartition("/")[0]
            if image or folder not in self._with_images:
                yield file

    def _entries(self) -> Iterator[tuple[bool, RemotePath]]:
        for entry in self._files:
            image, *known = json.loads(entry)
            yield image, self._root.listed(Entry(*known))


def images_below_url(
    root: RemotePath, exclude: RemotePath | None, is_own: Callable[[RemotePath], bool]
) -> Listing:
    """Images below a folder by their suffixes, in natural order; archives are folders there.

    What has no suffix of an image is not looked into, for each would have to be fetched. Only the
    paths of images are kept.

    Args:
        root: the folder.
        exclude: a folder to leave out.
        is_own: whether cnnviz wrote a file; asked of manifests, beside which nothing is an input.

    Raises:
        OSError: it cannot be listed.
    """
    excluded = None if exclude is None else f"{exclude}/"
    found = Listing(root)
    manifests: list[RemotePath] = []
    for file in root.below():
        path = file.path_from(root)
        if _is_hidden(path) or (excluded is not None and str(file).startswith(excluded)):
            continue
        name = path.rpartition("/")[2]
        if is_image(name) or is_archive(name) or name.lower().endswith(ARRAY_SUFFIX):
            found.add(file, path, image=is_image(name))
        elif name in RUN_FILES:
            manifests.append(file)
    found.conclude(tuple(f"{one}".removesuffix(one.name) for one in manifests if is_own(one)))
    return found


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") and part.strip(".") for part in path.split("/"))
