"""Find images: from the arguments of a command to the files that they mean, each once, in order."""

from __future__ import annotations

import codecs
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath
from typing import IO, BinaryIO

from cnnviz.errors import UsageError
from cnnviz.images.kinds import READ
from cnnviz.images.local_folders import LocalFolders
from cnnviz.images.names import IMAGE_SUFFIXES, is_archive
from cnnviz.images.source import Source, SourceWriter
from cnnviz.images.stored_files import StoredImage, images_below_url, images_in_archive
from cnnviz.storage.paths import AnyPath
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.spool import on_the_disk
from cnnviz.storage.tables import Register
from cnnviz.storage.urls import is_remote
from cnnviz.text import counted, joined, printable_path

_IN_MEMORY = 1 << 24  # bytes of a list on standard input; a longer one goes to the disk
_PIECE = 1 << 20  # bytes of it that are read at a time

Sources = Iterable[tuple[str, Source]]
"""Images, each with what it is known by: its real path, or its URL."""


@dataclass(frozen=True)
class Found:
    """What the arguments of a command came to.

    Attributes:
        sources: the images, each file once, in order; many are on the disk, and no tuple.
        own: how many images in the folders were left out because cnnviz had written them.
        notes: sentences about what was left out.
    """

    sources: Sequence[Source]
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
    sources = SourceWriter()
    # What lies in one folder is there once; of others it has to be known what there was.
    seen: Register[tuple[()]] | None = None
    if len(arguments) > 1 or "-" in arguments:
        seen = Register()
    for real, source in _expanded(arguments, stdin, search):
        if seen is None or seen.add(real, ()):
            sources.add(source)
    if not len(sources):
        raise UsageError(
            "No input was given: give images, folders, or - with paths on standard input."
        )
    return Found(sources.finish(), search.left_out, search.notes())


def _expanded(arguments: Sequence[str], stdin: BinaryIO | None, search: _Search) -> Sources:
    """The images of each argument in turn."""
    for argument in arguments:
        if argument != "-":
            yield from search.expand(argument, listed=False)
            continue
        for line in _lines(sys.stdin.buffer if stdin is None else stdin):
            yield from search.expand(line, listed=True)


def _lines(stream: BinaryIO) -> Iterator[str]:
    """The paths in a list, as programs of all systems write them.

    Raises:
        UsageError: it cannot be read.
    """
    with _listed(stream) as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            file.seek(0)
            with suppress(UnicodeDecodeError):
                text = os.fsencode(file.read().decode("utf-16"))
                file.seek(0)
                file.truncate()
                file.write(text)
        file.seek(0)
        begin = len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        nulls = file.read(1) == b"\0"
        file.seek(begin)
        if nulls:
            yield from (os.fsdecode(path) for path in _ended_by_nulls(file) if path)
            return
        for line in file:
            path = line.removesuffix(b"\n").rstrip(b"\r")
            if path.strip():
                yield _without_dressing(os.fsdecode(path))


def _listed(stream: BinaryIO) -> IO[bytes]:
    """What is on a stream, to its end."""
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - it is what is returned
    while True:
        try:
            piece = stream.read(_PIECE)
        except OSError as error:
            raise UsageError(f"Standard input cannot be read: {error.strerror}.") from error
        with on_the_disk():
            file.write(piece)
        if len(piece) < _PIECE:
            file.seek(0)
            return file


def _ended_by_nulls(file: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := file.read(_PIECE):
        *whole, rest = (rest + piece).split(b"\0")
        yield from whole


def _without_dressing(line: str) -> str:
    """A line as it is, if there is such a file; or without what is around the path in it."""
    bare = line.strip()
    unquoted = bare[1:-1] if len(bare) > 2 and bare[0] == bare[-1] in "\"'" else bare
    return next((path for path in (line, bare, unquoted) if os.path.lexists(path)), line)


class _Search:
    """What is left out of all folders, and which of cnnviz's own files were."""

    def __init__(self, exclude: AnyPath | None, is_own: Callable[[AnyPath], bool] | None) -> None:
        excluded = os.path.realpath(exclude) if isinstance(exclude, Path) else None
        self._folders = LocalFolders(excluded, is_own)
        self._excluded_url = exclude if isinstance(exclude, RemotePath) else None
        self._is_own = is_own
        self._own_behind_urls = 0

    @property
    def left_out(self) -> int:
        """How many images cnnviz wrote."""
        return self._folders.own + self._own_behind_urls

    def notes(self) -> tuple[str, ...]:
        """What to tell the user of what was left out."""
        own = None
        if self.left_out:
            were = "was" if self.left_out == 1 else "were"
            own = f"{counted(self.left_out, 'image')} written by cnnviz {were} skipped"
        return tuple(note for note in (own, self._folders.note()) if note is not None)

    def expand(self, argument: str, *, listed: bool) -> Sources:
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
        if real == self._folders.excluded:
            raise UsageError(
                f"The output folder is the input folder {printable_path(argument)} itself, so that "
                "the next run would explain what this one writes; choose another, for example "
                f"{printable_path(path / 'explanations')}."
            )
        before = self._folders.own
        images = _some(self._below(path))
        if images is not None:
            return images
        if listed:  # reading it will say that it is a folder
            return [(real, Source(path, printable_path(argument), PurePath(path.name)))]
        if self._folders.own > before:
            raise UsageError(
                f"The folder {printable_path(argument)} holds no images but those that cnnviz "
                f"wrote ({self._folders.own - before}); give the folder of the originals."
            )
        held = self._folders.leftovers.below(real)
        raise UsageError(
            f"The folder {printable_path(argument)} holds no images"
            f"{f' that cnnviz can read, but {held}' if held else ''}; it reads "
            f"{joined(READ, 'and')}."
        )

    def _below(self, root: Path) -> Iterator[tuple[str, Source]]:
        """Images below a folder in natural order, by real path."""
        for real, relative in self._folders.below(root):
            path = root / relative
            if is_archive(relative.name) and os.path.isfile(real):
                yield from _sources(images_in_archive(path, relative))
            else:
                yield real, Source(path, printable_path(path), relative)

    def _in_archive(self, path: Path | RemotePath, *, listed: bool) -> Sources:
        """Sources of an archive that was given."""
        images = images_in_archive(path, PurePath())
        if not images:
            shown = printable_path(path) if isinstance(path, Path) else str(path)
            if listed:
                return [(shown, Source(path, shown, PurePath(path.name)))]
            raise UsageError(f"The archive {shown} holds no images: none has an image's suffix.")
        return _sources(images)

    def _behind_url(self, path: RemotePath, *, listed: bool) -> Sources:
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
        images = _some(_sources(found.images()))
        if images is not None:
            return images
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


def _sources(images: Iterable[StoredImage]) -> Iterator[tuple[str, Source]]:
    """Sources of images that are none of this machine's files, by what they are known by."""
    for file, relative in images:
        shown = str(file)
        yield shown, Source(file, shown, relative)


def _some(images: Iterator[tuple[str, Source]]) -> Sources | None:
    """The images, or None if there are none."""
    first = next(images, None)
    return None if first is None else chain([first], images)


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
