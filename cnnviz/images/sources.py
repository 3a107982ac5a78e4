"""Find images: from the arguments of a command to the files that they mean, each once, in order."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import BinaryIO

from cnnviz.errors import UsageError
from cnnviz.images.kinds import READ
from cnnviz.images.leftovers import NO_IMAGES, Leftovers, kind_of_file
from cnnviz.images.names import ARRAY_SUFFIX, IMAGE_SUFFIXES, is_archive, natural_key
from cnnviz.images.stored_files import StoredImage, images_below_url, images_in_archive
from cnnviz.storage.paths import AnyPath
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.stored import File
from cnnviz.storage.urls import is_remote
from cnnviz.text import counted, joined, printable_path

_MOST_FETCHED = 1 << 31
"""Bytes of a file that are fetched; what an image may have is known when it is decoded."""


@dataclass(frozen=True, slots=True)
class Source:
    """One image to explain.

    Attributes:
        path: where to read it.
        shown: how to name it to the user: the path as given, printable in every encoding that has
            the name's own letters (stray bytes and control characters stand as ``\\xNN``).
        relative: its path below the folder that was given, which decides the sub-folder of what is
            written; of a file that was given, its name alone.
    """

    path: File
    shown: str
    relative: PurePath

    def fetched(self) -> Source:
        """The same with the file's contents in hand, if it is none of this machine's."""
        if isinstance(self.path, Path):
            return self
        return replace(self, path=self.path.fetched(_MOST_FETCHED))


@dataclass(frozen=True)
class Found:
    """What the arguments of a command came to.

    Attributes:
        sources: the images, each file once, in order.
        own: how many images in the folders were left out because cnnviz had written them.
        notes: sentences about what was left out.
    """

    sources: tuple[Source, ...]
    own: int
    notes: tuple[str, ...] = ()


def find_sources(
    arguments: Sequence[str],
    stdin: BinaryIO | None = None,
    *,
    exclude: AnyPath | None = None,
    is_own: Callable[[AnyPath], bool] | None = None,
) -> Found:
    """Turn the arguments of a command into images, each file once, in a fixed order.

    A folder is searched with everything below it, following links to folders, skipping hidden
    names, sorted as people sort (``2.jpg`` before ``10.jpg``). Files without an image's suffix are
    taken if they begin like an image, and NumPy's arrays (.npy) in a folder without any other
    image, and so are tar archives, which are folders; what is left out is counted. A folder that
    cannot be entered stays in the list, so that reading it reports it; so does a dead link, a pipe
    or device with an image's name, and a line of standard input that names nothing or a folder
    without images: one bad entry must not stop the others. Behind a URL images are known by their
    suffixes (:func:`cnnviz.images.stored_files.images_below_url`).

    Args:
        arguments: images, folders, archives, URLs of these, and ``-`` for such on standard input:
            one a line, in the file system's encoding or in UTF-8 or UTF-16 with a byte-order mark,
            or each ended by a null character, as ``find -print0`` writes them.
        stdin: where ``-`` reads bytes from; ``sys.stdin.buffer`` when left out.
        exclude: a folder to leave out of every search, meant for the output folder.
        is_own: asked of each image in a folder whether cnnviz wrote it, for what earlier runs
            left there is no input (:func:`cnnviz.outputs.marks.written_by_cnnviz`). Files that
            are named one by one are taken whatever they are.

    Raises:
        UsageError: an argument does not exist, a folder holds no image, ``exclude`` is itself one
            of the folders, or nothing was named at all.
    """
    search = _Search(exclude, is_own)
    found: list[tuple[str, Source]] = []  # with the real path of each
    for argument in arguments:
        if argument == "-":
            try:
                listed = (sys.stdin.buffer if stdin is None else stdin).read()
            except OSError as error:
                raise UsageError(f"Standard input cannot be read: {error.strerror}.") from error
            for line in _lines(listed):
                found.extend(search.expand(line, listed=True))
        else:
            found.extend(search.expand(argument, listed=False))
    if not found:
        raise UsageError(
            "No input was given: give images, folders, or - with paths on standard input."
        )
    sources: dict[str, Source] = {}
    for real, source in found:
        sources.setdefault(real, source)
    return Found(tuple(sources.values()), search.left_out, search.notes())


def _lines(listed: bytes) -> Iterator[str]:
    """The paths in a list, as programs of all systems write them."""
    if listed.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with suppress(UnicodeDecodeError):
            listed = os.fsencode(listed.decode("utf-16"))
    if listed.startswith(codecs.BOM_UTF8):
        listed = listed[len(codecs.BOM_UTF8) :]
    if listed.endswith(b"\0"):
        yield from (os.fsdecode(path) for path in listed.split(b"\0") if path)
        return
    for line in listed.split(b"\n"):
        path = line.rstrip(b"\r")
        if path.strip():
            yield _without_dressing(os.fsdecode(path))


def _without_dressing(line: str) -> str:
    """A line as it is, if there is such a file; or without what is around the path in it."""
    bare = line.strip()
    unquoted = bare[1:-1] if len(bare) > 2 and bare[0] == bare[-1] in "\"'" else bare
    return next((path for path in (line, bare, unquoted) if os.path.lexists(path)), line)


class _Search:
    """What is left out of all folders, and which of cnnviz's own files were."""

    def __init__(self, exclude: AnyPath | None, is_own: Callable[[AnyPath], bool] | None) -> None:
        self._excluded = os.path.realpath(exclude) if isinstance(exclude, Path) else None
        self._excluded_url = exclude if isinstance(exclude, RemotePath) else None
        self._is_own = is_own
        self.own: set[str] = set()  # by real path
        self._own_behind_urls = 0
        self._leftovers = Leftovers()

    @property
    def left_out(self) -> int:
        """How many images cnnviz wrote."""
        return len(self.own) + self._own_behind_urls

    def notes(self) -> tuple[str, ...]:
        """What to tell the user of what was left out."""
        own = None
        if self.left_out:
            were = "was" if self.left_out == 1 else "were"
            own = f"{counted(self.left_out, 'image')} written by cnnviz {were} skipped"
        self._leftovers.forget({os.path.dirname(path) for path in self.own})
        return tuple(note for note in (own, self._leftovers.note) if note is not None)

    def expand(self, argument: str, *, listed: bool) -> list[tuple[str, Source]]:
        """Sources of one argument, or of one line of standard input if ``listed``."""
        if not argument:
            raise UsageError("One of the inputs is an empty name; give an image or a folder.")
        if is_remote(argument):
            return self._behind_url(RemotePath.of(argument), listed=listed)
        path = Path(argument)
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except (OSError, ValueError) as error:  # ... a name too long, or with a null character
            is_folder = False
            if not listed:
                raise _not_there(argument, error) from error
        if not is_folder:
            if is_archive(path.name):
                return self._in_archive(path, listed=listed)
            return [(_real(path), Source(path, printable_path(argument), PurePath(path.name)))]
        real = os.path.realpath(path)
        if real == self._excluded:
            raise UsageError(
                f"The output folder is the input folder {printable_path(argument)} itself, so that "
                "the next run would explain what this one writes; choose another, for example "
                f"{printable_path(path / 'explanations')}."
            )
        before = len(self.own)
        images = self._below(path)
        if images:
            return images
        if listed:  # reading it will say that it is a folder
            return [(real, Source(path, printable_path(argument), PurePath(path.name)))]
        if len(self.own) > before:
            raise UsageError(
                f"The folder {printable_path(argument)} holds no images but those that cnnviz "
                f"wrote ({len(self.own) - before}); give the folder of the originals."
            )
        held = self._leftovers.below(real)
        raise UsageError(
            f"The folder {printable_path(argument)} holds no images"
            f"{f' that cnnviz can read, but {held}' if held else ''}; it reads "
            f"{joined(READ, 'and')}."
        )

    def _below(self, root: Path) -> list[tuple[str, Source]]:
        """Images below a folder in natural order, by real path: a file has one name."""
        by_real_path: dict[str, PurePath] = {}
        links: list[PurePath] = []
        visited: set[str] = set()
        # Linked folders and files come after everything real, so that a file goes by its own name.
        waiting = [PurePath()]
        linked_folders: list[PurePath] = []
        while waiting or linked_folders:
            folder = waiting.pop() if waiting else linked_folders.pop(0)
            real_folder = os.path.realpath(root / folder)
            if real_folder in visited or real_folder == self._excluded:
                continue
            visited.add(real_folder)
            try:
                with os.scandir(root / folder) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                if not folder.parts and error.errno not in (errno.EACCES, errno.EPERM):
                    raise UsageError(
                        f"The folder {printable_path(root)} cannot be read: {error.strerror}."
                    ) from error
                by_real_path[real_folder] = folder
                continue
            files = []
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    (linked_folders if entry.is_symlink() else waiting).append(folder / entry.name)
                else:
                    files.append(entry)
            for entry in self._images(files, real_folder):
                if entry.is_symlink():
                    links.append(folder / entry.name)
                elif not self._owns(real := os.path.join(real_folder, entry.name)):
                    by_real_path.setdefault(real, folder / entry.name)
        for link in sorted(links, key=natural_key):
            real = os.path.realpath(root / link)
            if real not in by_real_path and not self._owns(real):
                by_real_path[real] = link
        found: list[tuple[str, Source]] = []
        for real, relative in sorted(by_real_path.items(), key=lambda item: natural_key(item[1])):
            if is_archive(relative.name) and os.path.isfile(real):
                found += _sources(images_in_archive(root / relative, relative))
            else:
                source = Source(root / relative, printable_path(root / relative), relative)
                found.append((real, source))
        return found

    def _in_archive(self, path: Path | RemotePath, *, listed: bool) -> list[tuple[str, Source]]:
        """Sources of an archive that was given."""
        images = images_in_archive(path, PurePath())
        if not images:
            shown = printable_path(path) if isinstance(path, Path) else str(path)
            if listed:
                return [(shown, Source(path, shown, PurePath(path.name)))]
            raise UsageError(f"The archive {shown} holds no images: none has an image's suffix.")
        return _sources(images)

    def _behind_url(self, path: RemotePath, *, listed: bool) -> list[tuple[str, Source]]:
        """Sources of what is behind a URL."""
        shown = str(path)
        itself = [(shown, Source(path, shown, PurePath(path.name or "image")))]
        if listed and path.name.lower().endswith(IMAGE_SUFFIXES):
            return itself  # of a million, none is asked for twice
        try:
            kind = path.kind()
            if kind == "file" and is_archive(path.name):
                return self._in_archive(path, listed=listed)
            if kind == "file" or (kind == "nothing" and listed):  # reading it will say so
                return itself
            if kind == "nothing":
                raise UsageError(f"There is no image or folder {shown}; check the URL.")
            if path == self._excluded_url:
                raise UsageError(
                    f"The output folder is the input folder {shown} itself, so that the next run "
                    "would explain what this one writes; choose another, for example "
                    f"{shown}/explanations."
                )
            is_own = self._is_own or (lambda _path: False)
            found = images_below_url(path, self._excluded_url, is_own)
        except OSError as error:
            if listed:  # reading it will say so, too
                return itself
            raise UsageError(f"{shown} cannot be listed: {error.strerror}.") from error
        self._own_behind_urls += found.own
        if found.images:
            return _sources(found.images)
        if listed:
            return itself
        if found.own:
            raise UsageError(
                f"The folder {shown} holds no images but those that cnnviz wrote ({found.own}); "
                "give the folder of the originals."
            )
        raise UsageError(
            f"The folder {shown} holds no images: behind URLs they are known by their suffixes, "
            f"{joined((IMAGE_SUFFIXES[0], '.png', '.webp'), 'and')} among them."
        )

    def _images(
        self, files: Sequence[os.DirEntry[str]], real_folder: str
    ) -> list[os.DirEntry[str]]:
        """The images among the files of a folder."""
        images: list[os.DirEntry[str]] = []
        others: list[os.DirEntry[str]] = []
        for entry in files:
            named = entry.name.lower().endswith(IMAGE_SUFFIXES)
            (images if named else others).append(entry)
        if not images:  # beside images, arrays are more likely features of theirs
            arrays = [entry for entry in others if entry.name.lower().endswith(ARRAY_SUFFIX)]
            arrays += [entry for entry in others if is_archive(entry.name)]
            images = [entry for entry in arrays if _is_file(entry)]
            others = [entry for entry in others if entry not in images]
        return [*images, *self._images_among(others, images, real_folder)]

    def _images_among(
        self,
        others: Sequence[os.DirEntry[str]],
        images: Sequence[os.DirEntry[str]],
        real_folder: str,
    ) -> Iterator[os.DirEntry[str]]:
        """Those of a folder's other files that are images; the rest is noted.

        What goes with an image by its name, as annotations do, needs no mention.
        """
        names = {entry.name for entry in images}
        names |= {os.path.splitext(name)[0] for name in names}
        for entry in others:
            if not _is_file(entry):
                continue
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() in NO_IMAGES:
                if stem not in names:
                    self._leftovers.add(os.path.join(real_folder, entry.name))
                continue
            kind = kind_of_file(entry.path)
            if isinstance(kind, str):
                yield entry
            else:
                self._leftovers.add(os.path.join(real_folder, entry.name), kind)

    def _owns(self, real: str) -> bool:
        if self._is_own is None:
            return False
        try:
            own = os.path.isfile(real) and self._is_own(Path(real))
        except OSError:  # reading it will say why
            return False
        if own:
            self.own.add(real)
        return own


def _sources(images: Sequence[StoredImage]) -> list[tuple[str, Source]]:
    """Sources of images that are none of this machine's files, by what they are known by."""
    found = (Source(file, str(file), relative) for file, relative in images)
    return [(source.shown, source) for source in found]


def _not_there(argument: str, error: OSError | ValueError) -> UsageError:
    """The error for an argument that leads nowhere."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        hint = (
            "the shell expands a pattern only outside quotes, and only if it matches something"
            if any(letter in argument for letter in "*?[")
            else "check the path"
        )
        return UsageError(f"There is no image or folder {printable_path(argument)}; {hint}.")
    reason = getattr(error, "strerror", None) or error
    return UsageError(f"{printable_path(argument)} cannot be looked up: {reason}.")


def _real(path: Path) -> str:
    """What a path leads to, or the path where nothing can be said."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return os.path.abspath(path)


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
