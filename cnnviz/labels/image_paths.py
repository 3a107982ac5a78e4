"""Match the paths in a table with the images of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from cnnviz.images.source import Source
from cnnviz.storage.paths import AnyPath
from cnnviz.storage.stored import File
from cnnviz.text import caseless, is_url, printable


class ImagePaths:
    """The images of a run by all that a file may call them."""

    def __init__(self, sources: Sequence[Source], file: AnyPath) -> None:
        """Of what a file calls them, which lies beside them, above them, or anywhere."""
        self._folder = _folder_of(file)
        self._real_folders: dict[bytes, bytes] = {}
        self._by_place: dict[bytes, list[int]] = {}
        self._by_relative: dict[bytes, list[int]] = {}
        self._by_shown: dict[bytes, list[int]] = {}
        for number, source in enumerate(sources):
            for table, key in (
                (self._by_place, self._place_of(source.path)),
                (self._by_relative, os.fsencode(source.relative)),
                (self._by_shown, _bytes(source.shown)),
            ):
                table.setdefault(key, []).append(number)

    def lookup(self, path: str) -> list[int]:
        """The numbers of the images that a path can mean: one unless it is ambiguous.

        A path that means none as it stands is tried as spreadsheets, Windows, browsers and macOS
        may have left it.
        """
        slashed = path.strip().strip("'\"").replace("\\", "/")
        spellings = dict.fromkeys((path, slashed, as_latin(slashed), unquote(slashed)))
        for spelling in spellings:
            found = self._found(spelling)
            if found:
                return found
        for spelling in spellings:
            found = self._alike(spelling)
            if found:
                return found
        return []

    def _found(self, path: str) -> list[int]:
        name = _bytes(path)
        if not name or b"\0" in name:
            return []
        return (
            self._by_place.get(self._place(os.path.join(self._folder, name)))
            or self._by_place.get(self._place(name))
            or self._by_relative.get(os.path.normpath(name))
            or self._by_shown.get(name)
            or []
        )

    def _alike(self, path: str) -> list[int]:
        """Images whose paths are the same but for case and the like, if no file has this path."""
        name = _bytes(path)
        if not name or b"\0" in name:
            return []
        places = (os.path.join(self._folder, name), name)
        keys = (*map(self._place, places), os.path.normpath(name))
        for table, key in zip(self._alikes, keys, strict=True):
            found = table.get(_caseless(key))
            if found:
                return [] if any(map(os.path.lexists, places)) else found
        return []

    @cached_property
    def _alikes(self) -> tuple[dict[str, list[int]], ...]:
        """By place (from the file's folder, and from here) and by relative path."""
        tables: list[dict[str, list[int]]] = []
        for exact in (self._by_place, self._by_relative):
            table: dict[str, list[int]] = {}
            for key, numbers in exact.items():
                table.setdefault(_caseless(key), []).extend(numbers)
            tables.append(table)
        places, relatives = tables
        return places, places, relatives

    def _place_of(self, file: File) -> bytes:
        """What a file of the run is found by, wherever it is."""
        return self._place(os.fsencode(file)) if isinstance(file, Path) else _bytes(str(file))

    def _place(self, path: bytes) -> bytes:
        """Where a file lies, by whatever links its folder was reached."""
        if is_url(os.fsdecode(path)):
            return path
        folder, name = os.path.split(path)
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        return os.path.join(self._real_folders[folder], name)


def _folder_of(file: AnyPath) -> bytes:
    """What stands in front of paths that are relative to a file."""
    if isinstance(file, Path):
        return os.fsencode(file.parent)
    return _bytes(str(file).rpartition("/")[0])


def _caseless(path: bytes) -> str:
    return caseless(os.fsdecode(path))


def ambiguous_path(
    where: str, shown: str, path: str, meant: Sequence[int], sources: Sequence[Source]
) -> str:
    """What to say of a path in a file that can mean several images."""
    some = " and ".join(sources[number].shown for number in meant[:2])
    return (
        f"{where[0].upper()}{where[1:]} of {shown} ('{printable(path)}'): this path matches "
        f"{some}; write it in full."
    )


def no_match(path: str | None, shown: str, sources: Sequence[Source], expected: str) -> str:
    """What to say of a file that is about none of a run's images.

    Args:
        path: the first in the file; None if it has no rows.
        shown: what the file is called.
        sources: the images.
        expected: what its rows should have been.
    """
    if path is None:
        return f"{shown} has no rows; expected {expected}."
    return (
        f"{shown} matches no image of this run: it has '{printable(path)}', and the run has "
        f"'{printable(str(sources[0].relative))}' ({sources[0].shown}). Write paths relative to "
        "the file's own folder or to the folder of images."
    )


def as_latin(text: str) -> str:
    """What bytes that are no UTF-8 say as Windows' Latin-1; other texts as they are."""
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        return text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return text


def _bytes(path: str) -> bytes:
    """A path out of a UTF-8 file as the file system has it."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which JSON can hold: no file has such a name
        return b""
