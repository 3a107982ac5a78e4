"""Images in folders of this machine: which of what lies there, in which order."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from cnnviz.errors import UsageError
from cnnviz.images.leftovers import NO_IMAGES, Leftovers, kind_of_file
from cnnviz.images.names import ARRAY_SUFFIX, is_archive, is_image, natural_key
from cnnviz.storage.tables import Register, Sorter
from cnnviz.text import printable_path


class _Files:
    """Files below a folder by what they lead to, in natural order of their paths from there."""

    def __init__(self) -> None:
        self._sorter = Sorter()

    def __len__(self) -> int:
        return len(self._sorter)

    def add(self, relative: PurePath, real: str = "") -> None:
        """One more."""
        entry = json.dumps([real, str(relative)]).encode("ascii")
        self._sorter.add(natural_key(relative), entry)

    def __iter__(self) -> Iterator[tuple[str, PurePath]]:
        for entry in self._sorter:
            real, relative = json.loads(entry)
            yield real, PurePath(relative)


class LocalFolders:
    """Searches folders; knows what is left out of all of them.

    Attributes:
        excluded: the real path of a folder to leave out; None if there is none.
        own: how many images were left out because cnnviz had written them.
        leftovers: what else was left out.
    """

    def __init__(self, excluded: str | None, is_own: Callable[[Path], bool] | None) -> None:
        self.excluded = excluded
        self.own = 0
        self.leftovers = Leftovers()
        self._is_own = is_own
        self._own: Register[tuple[()]] = Register()  # by real path
        self._own_folders: set[str] = set()

    def note(self) -> str | None:
        """What to tell the user of files that are no images."""
        self.leftovers.forget(self._own_folders)
        return self.leftovers.note

    def below(self, root: Path) -> Iterator[tuple[str, PurePath]]:
        """Images and archives below a folder in natural order: their real paths, and from there.

        Each file is there once, by one name. All folders have been searched when this returns.

        Raises:
            UsageError: the folder cannot be read.
        """
        files, links = _Files(), _Files()
        visited: set[str] = set()
        # Linked folders and files come after everything real, so that a file goes by its own name.
        waiting = [PurePath()]
        linked_folders: list[PurePath] = []
        while waiting or linked_folders:
            folder = waiting.pop() if waiting else linked_folders.pop(0)
            real_folder = os.path.realpath(root / folder)
            if real_folder in visited or real_folder == self.excluded:
                continue
            visited.add(real_folder)
            folders: list[tuple[str, bool]] = []
            try:
                for entry in self._images(root / folder, real_folder, folders):
                    if entry.is_symlink():
                        links.add(folder / entry.name)
                    elif not self._owns(real := os.path.join(real_folder, entry.name)):
                        files.add(folder / entry.name, real)
            except OSError as error:
                if not folder.parts and error.errno not in (errno.EACCES, errno.EPERM):
                    raise UsageError(
                        f"The folder {printable_path(root)} cannot be read: {error.strerror}."
                    ) from error
                files.add(folder, real_folder)
                continue
            for name, linked in sorted(folders):
                (linked_folders if linked else waiting).append(folder / name)
        if len(links):
            self._follow(root, links, files)
        return iter(files)

    def _follow(self, root: Path, links: _Files, files: _Files) -> None:
        """Add what is linked and not there by a name of its own."""
        known: Register[tuple[()]] = Register()
        for real, _ in files:
            known[real] = ()
        for _, link in links:
            real = os.path.realpath(root / link)
            if real not in known and not self._owns(real):
                known[real] = ()
                files.add(link, real)

    def _images(
        self, path: Path, real_folder: str, folders: list[tuple[str, bool]]
    ) -> Iterator[os.DirEntry[str]]:
        """The images in a folder; ``folders`` takes the others in it, and which are links."""
        found = more = False
        for entry in _entries(path):
            if _is_folder(entry):
                folders.append((entry.name, entry.is_symlink()))
            elif is_image(entry.name):
                found = True
                yield entry
            else:
                more = True
        if more:
            self.leftovers.begin(real_folder)
            yield from self._others(path, real_folder, arrays=not found)

    def _others(self, path: Path, real_folder: str, *, arrays: bool) -> Iterator[os.DirEntry[str]]:
        """Images among a folder's other files, and its archives; the rest is noted.

        Beside images, arrays are more likely features of theirs. What goes with an image by its
        name, as annotations do, needs no mention.
        """

        def taken(entry: os.DirEntry[str]) -> bool:
            name = entry.name
            return arrays and (name.lower().endswith(ARRAY_SUFFIX) or is_archive(name))

        names: Register[tuple[()]] = Register()
        for entry in _entries(path):
            if not _is_folder(entry) and (
                is_image(entry.name) or (taken(entry) and _is_file(entry))
            ):
                names[entry.name] = names[os.path.splitext(entry.name)[0]] = ()
        for entry in _entries(path):
            if is_image(entry.name) or not _is_file(entry):
                continue
            if taken(entry):
                yield entry
                continue
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() in NO_IMAGES:
                if stem not in names:
                    self.leftovers.add(real_folder, entry.name)
                continue
            kind = kind_of_file(entry.path)
            if isinstance(kind, str):
                yield entry
            else:
                self.leftovers.add(real_folder, entry.name, kind)

    def _owns(self, real: str) -> bool:
        if self._is_own is None:
            return False
        try:
            own = os.path.isfile(real) and self._is_own(Path(real))
        except OSError:  # reading it will say why
            return False
        if own and self._own.add(real, ()):
            self.own += 1
            self._own_folders.add(os.path.dirname(real))
        return own


def _entries(path: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder but for hidden names, in no order."""
    with os.scandir(path) as scan:
        for entry in scan:
            if not entry.name.startswith("."):
                yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
