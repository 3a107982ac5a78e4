"""Images behind URLs and in archives: which of what is listed there, in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from cnnviz.images.names import ARRAY_SUFFIX, is_archive, is_image, natural_key
from cnnviz.storage.archives import Archive, ArchiveMember
from cnnviz.storage.remote import RemotePath, names_below
from cnnviz.storage.stored import Stored, Unreadable

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
            elif not is_image(member.name) or _is_hidden(member.name):
                continue
            elif member.problem is not None:
                found[member.name] = broken(member.name, member.problem)
            else:
                file = ArchiveMember(archive, member.name, member.offset, member.size)
                found[member.name] = StoredImage(file, relative / member.name)
    except OSError as error:
        found[""] = broken("", error.strerror or str(error))
    return list(found.values())


class Listing(NamedTuple):
    """What is in a folder behind a URL.

    Attributes:
        images: in order.
        own: how many images were left out because cnnviz had written them.
    """

    images: list[StoredImage]
    own: int


def images_below_url(
    root: RemotePath, exclude: RemotePath | None, is_own: Callable[[RemotePath], bool]
) -> Listing:
    """Images below a folder by their suffixes, in natural order; archives are folders there.

    What has no suffix of an image is not looked into, for each would have to be fetched. Only the
    paths of images are held.

    Args:
        root: the folder.
        exclude: a folder to leave out.
        is_own: whether cnnviz wrote a file; asked of manifests, beside which nothing is an input.

    Raises:
        OSError: it cannot be listed.
    """
    excluded = None if exclude is None else f"{exclude}/"
    images: list[RemotePath] = []
    others: dict[str, list[RemotePath]] = defaultdict(list)  # by folder
    with_images: set[str] = set()
    manifests: list[RemotePath] = []
    for file in root.below():
        path = file.path_from(root)
        if _is_hidden(path) or (excluded is not None and str(file).startswith(excluded)):
            continue
        folder, _, name = path.rpartition("/")
        if is_image(name):
            images.append(file)
            with_images.add(folder)
        elif is_archive(name) or name.lower().endswith(ARRAY_SUFFIX):
            others[folder].append(file)
        elif name in RUN_FILES:
            manifests.append(file)
    for folder, files in others.items():
        if folder not in with_images:
            images += files
    own = tuple(f"{one}".removesuffix(one.name) for one in manifests if is_own(one))
    wanted = [file for file in images if not str(file).startswith(own)] if own else images
    left_out = len(images) - len(wanted)
    found: list[StoredImage] = []
    for file, relative in sorted(_relatives(wanted, root), key=lambda one: natural_key(one[1])):
        if is_archive(file.name):
            found += images_in_archive(file, relative)
        else:
            found.append(StoredImage(file, relative))
    return Listing(found, left_out)


def _relatives(
    files: Iterable[RemotePath], root: RemotePath
) -> Iterable[tuple[RemotePath, PurePosixPath]]:
    return ((file, PurePosixPath(*names_below(file.path_from(root)))) for file in files)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") and part.strip(".") for part in path.split("/"))
