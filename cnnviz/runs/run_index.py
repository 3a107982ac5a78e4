"""Where the records of images stand in a run's file, so that each is found by its stem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from cnnviz.errors import UsageError
from cnnviz.storage.paths import AnyPath, opened_whole
from cnnviz.storage.tables import Register
from cnnviz.structure import parse

Place = tuple[int, int, int]
"""Of a record: the number of the file, where it begins there, and its length."""

Places = Register[Place]
"""Of records, by their stems."""

_NOWHERE = (0, 0, 0)
_PLACE = b'{"place":'  # what the line of an image begins with in a part's file
_MOST_BEFORE = 64  # bytes in front of the record there
_JOURNAL = b'{"cnnviz_journal":'  # what a journal begins with
_IMAGE = b'{"stem":'  # what the line of an image begins with, and no other


@dataclass(frozen=True)
class RunIndex:
    """What a run's file has, or the journal of one that was stopped.

    Attributes:
        file: itself, open.
        places: where its records stand, with a number that stands for it.
        run: what it says of the run, a journal its fingerprint alone; None if it is damaged.
        left: files that it says were left behind.
        interrupted: whether it is a journal, or a part's that says that it was stopped once.
    """

    file: BinaryIO
    places: Places
    run: dict[str, Any] | None
    left: list[str]
    interrupted: bool = False

    @classmethod
    def read(
        cls, path: AnyPath, stems: Iterable[str] | None = None, *, number: int = 0
    ) -> RunIndex | None:
        """Read it.

        Args:
            path: of the file.
            stems: of the images that are wanted; None: all.
            number: that stands for the file.

        Returns:
            None if it is not there: the run before did not come to its end, or there was none.

        Raises:
            UsageError: it is there and cannot be read, which does not make it worth nothing.
        """
        try:
            file = opened_whole(path)  # whoever reads it closes it
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
        places = Places()
        wanted = None if stems is None else all_of(stems)
        place = 0
        run: dict[str, Any] | None = None
        left: list[str] = []
        interrupted = False
        for line in file:
            record = image_in_line(line)
            if record is not None and run is not None:
                start, text = record
                stem = stem_in(text)
                if stem is not None and (wanted is None or stem in wanted):
                    places[stem] = (number, place + start, len(text))
            elif line.startswith(b'"part":'):
                interrupted = (_value_of(line) or {}).get("interrupted") is True
            elif line.startswith(b'"run":'):
                run = _value_of(line)
            elif place == 0 and line.startswith(_JOURNAL):
                run, interrupted = _object_in(line), True
            elif line.startswith(b'"summary":') and run is not None:
                named = (_value_of(line) or {}).get("left_behind")
                left = _texts(named) if isinstance(named, list) else []
            place += len(line)
        return cls(file, places, run, left, interrupted)

    def of(self, stems: Iterable[str], *, number: int) -> RunIndex:
        """The same of some images, with another number."""
        places = Places()
        for stem in stems:
            found = self.places.get(stem)
            if found is not None:
                places[stem] = (number, *found[1:])
        return replace(self, places=places)


def all_of(stems: Iterable[str]) -> Places:
    """A set of these."""
    found = Places()
    for stem in stems:
        found[stem] = _NOWHERE
    return found


def image_in_line(line: bytes) -> tuple[int, bytes] | None:
    """The record in a line of a run's file, or of a part's, and where it begins; None if none."""
    if line.startswith(_IMAGE):
        return 0, line.rstrip(b",\n")
    start = line.find(_IMAGE, 0, _MOST_BEFORE) if line.startswith(_PLACE) else -1
    return None if start < 0 else (start, line.rstrip(b",\n")[start:-1])


def _value_of(line: bytes) -> dict[str, Any] | None:
    """The object that a line of a manifest gives a name to; nothing if it is none."""
    return _object_in(line.rstrip(b",\n").partition(b":")[2])


def _object_in(text: bytes) -> dict[str, Any] | None:
    """The object that a text is; nothing if it is none."""
    try:
        value = parse(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def stem_in(line: bytes) -> str | None:
    """The stem in a line, if it is an image's record."""
    stem = (_object_in(line) or {}).get("stem")
    return stem if isinstance(stem, str) else None
