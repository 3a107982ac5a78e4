"""Count the files in folders that are not read as images, by format, for a note to the user."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from cnnviz import system
from cnnviz.images.kinds import HEAD, Kind, kind_read, kind_unread
from cnnviz.text import counted

#: Files that are never opened to see whether they are images: next to a hundred thousand
#: images there may lie as many of these.
# fmt: off
NO_IMAGES = frozenset((
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".toml",
    ".ini", ".cfg", ".md", ".rst", ".log", ".html", ".htm", ".css", ".js", ".py", ".ipynb",
    ".sh", ".bat", ".m", ".c", ".cc", ".cpp", ".h", ".tex", ".npy", ".npz", ".mat", ".h5",
    ".hdf5", ".pkl", ".pickle", ".parquet", ".arrow", ".db", ".sqlite", ".lst", ".rec", ".idx",
    ".params", ".pt", ".pth", ".ckpt", ".onnx", ".pb", ".safetensors", ".zip", ".tar", ".tgz",
    ".gz", ".bz2", ".xz", ".7z", ".rar", ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg",
    ".mpeg", ".wmv", ".flv", ".mp3", ".wav", ".ogg", ".flac", ".doc", ".docx", ".xls", ".xlsx",
    ".ppt", ".pptx", ".exe", ".dll", ".so", ".tmp", ".part", ".lnk", ".xmp",
))
# fmt: on
#: What operating systems leave in folders; not worth a mention.
_LITTER = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_MOST_NAMED = 5
_LONGEST_SUFFIX = 10


def kind_of_file(path: str) -> str | Kind | None:
    """What a file's first bytes say: one of the kinds that are read, or what else, if they do."""
    try:
        file = system.open_without_waiting(path)
        try:
            head = os.read(file, HEAD)
        finally:
            os.close(file)
    except OSError:
        return None
    return kind_read(head) or kind_unread(head)


class Leftovers:
    """What was left out of folders, by kind; each folder counts once."""

    def __init__(self) -> None:
        self._files: dict[str, Counter[str]] = {}
        self._images: dict[str, Counter[str]] = {}

    def begin(self, folder: str) -> None:
        """Look at a folder, perhaps for another time."""
        self._files[folder], self._images[folder] = Counter(), Counter()

    def add(self, folder: str, name: str, kind: Kind | None = None) -> None:
        """Take note of a file in it, and of its kind if that is known."""
        if kind is not None and kind.image:
            self._images[folder][kind.name.replace(" image", "")] += 1
        elif name.lower() not in _LITTER:
            suffix = os.path.splitext(name)[1].lower()
            known = suffix[1:].isalnum() and len(suffix) <= _LONGEST_SUFFIX
            self._files[folder][suffix if known else "without an extension"] += 1

    def forget(self, folders: Iterable[str]) -> None:
        """Folders whose other files need no mention, for cnnviz wrote these too."""
        for folder in folders:
            self._files.pop(folder, None)

    def below(self, folder: str) -> str:
        """How many of which kinds lie below a folder; nothing if there are none."""
        return _listed(
            sum(
                (
                    count
                    for counts in (self._files, self._images)
                    for path, count in counts.items()
                    if f"{path}{os.sep}".startswith(folder + os.sep)
                ),
                Counter(),
            )
        )

    @property
    def note(self) -> str | None:
        """A line for the user, if anything was left out."""
        parts = []
        files, images = (sum(one.values(), Counter()) for one in (self._files, self._images))
        if count := files.total():
            were = "is not an image and was" if count == 1 else "are not images and were"
            parts.append(f"{counted(count, 'file')} {were} skipped: {_listed(files)}")
        if count := images.total():
            were, them = ("was", "it") if count == 1 else ("were", "them")
            parts.append(
                f"{counted(count, 'image')} of a format that cnnviz does not read {were} skipped: "
                f"{_listed(images)}; convert {them} to JPEG or PNG"
            )
        return "; ".join(parts) or None


def _listed(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count} {name}" for name, count in ordered[:_MOST_NAMED]]
    rest = sum(count for _, count in ordered[_MOST_NAMED:])
    return ", ".join([*named, *([f"{rest} others"] if rest else [])])
