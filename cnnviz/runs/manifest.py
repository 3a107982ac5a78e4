"""The manifest of a run, ``manifest.json``, and the journal that it is made of.

While a run goes on, each image's record is added to a journal in the output folder, behind the
image's files. When all are done the manifest is written from it, and the journal goes. A run that
is stopped anywhere leaves its journal; the same run, started again, finds there what is done.

The manifest is JSON in ASCII with one image a line, so that it can be read line by line::

    {"cnnviz_manifest": 1,
    "run": {"fingerprint": ..., "parameters": ..., "versions": ..., "network": ..., ...},
    "summary": {"images": 2, "ok": 2, ...},
    "images": [
    {"stem": "a/cat", "path": "photos/a/cat.jpg", "status": "ok", ...},
    {"stem": "dog", "path": "photos/dog.jpg", "status": "failed", "error": ...}
    ]}

Bytes of names that are not UTF-8 stand as ``\\udc80`` to ``\\udcff``, which ``os.fsencode`` brings
back; files are named below the folder, with ``/``. In version 1:

``run`` has
    ``fingerprint``, the same for runs that write the same for an image; ``parameters``, all that
    was asked for; ``versions``; ``network`` with ``name``, ``device``, ``classes``, ``activation``
    (what makes probabilities of its logits: ``softmax``, ``sigmoid``, ``none``, or two of these as
    ``softmax of softmax``), ``labels``, ``input`` (``height``, ``width``, ``mean`` and
    ``std`` in the order of ``channels``, which are ``rgb``, ``bgr`` or ``gray``; ``resize``),
    ``layers`` (``name``, ``kind``, ``shape``), ``symbol`` (``path``, ``sha256``; null
    for a named network) and ``weights`` (``path``, ``source``, ``sha256``); ``methods``
    (``name``, ``key``, ``title``, ``paper``, ``drawings`` by key, ``options``, ``guided``: whether
    it takes another way through a ReLU than the derivative); ``notes``: sentences about what was
    recognized or assumed of the network, or cannot be shown as usual; ``truth`` (``source``,
    ``known``: of how many
    images) or null; ``started`` (ISO 8601) and ``seconds``.

``summary`` has
    ``images``, ``ok``, ``failed``, ``blank``; of images with a truth ``right``, ``wrong``,
    ``accuracy`` (null if there are none) and ``confusions``, most first (``truth_index`` and
    ``answer_index``; ``truth`` and ``answer``, the same as people call them, with the index behind
    a name that several classes have; ``count``); ``scanned``: the same numbers of all images that
    were looked at, where only some of them were explained, or null; ``own``: how many images were
    left out because cnnviz itself had written them; ``left_behind``: files of earlier runs that lie
    in the folder, and that no image of this run names.

an image has
    ``stem``, what the names of its files begin with; ``path`` as the user was shown it, and
    ``relative`` to the folder that was given; ``sha256`` of the file, null if it cannot be read;
    ``size`` [height, width], null likewise; ``status``, ``ok`` or ``failed``; ``error``, null or a
    sentence; ``crashed``, true if a library crashed on it; ``remark``, what the decoder said of it,
    if anything; ``seconds``.

an image that is ok has also
    ``top5``: scores (``index``, ``name`` or null, ``logit``, ``probability``, null of a network
    that gives numbers), the highest first;
    ``truth``: its score, or null; ``right``, ``loss`` (cross entropy in nats), both null without a
    truth; ``margin`` between the two highest probabilities; ``relus_guided`` [N, of M], or null;
    ``panel``, its file or null; ``contrasts`` (``a`` and ``b``, scores, and ``file``);
    ``explanations``, one a target.

an explanation has
    ``target``, its score; ``files`` by key; ``blank``, keys of
    images with nothing to show; ``facts`` by method; ``ranges``, [lowest, highest] of each raw
    map; ``location``, see :meth:`cnnviz.metrics.location.Location.record`, or null.

A version that takes something away, or changes what it means, has the next number; more keys may
come in this one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import cnnviz
from cnnviz.errors import OutputUnavailableError, UsageError
from cnnviz.outputs.files import written_by_cnnviz

VERSION = 1
MANIFEST = PurePosixPath("manifest.json")
JOURNAL = ".cnnviz-journal.jsonl"

_Place = tuple[BinaryIO, int, int]
"""Of a record: the file, where it begins there, and its length."""

_BLOCK = 1 << 20
_MOST_TRIES = 100  # to open a journal that other runs end with and delete

_PNG_START = b"\x89PNG"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk: its length, name and checksum
_IMAGE = b'{"stem":'  # what the line of an image begins with, and no other


def encode(record: Mapping[str, Any]) -> bytes:
    """A record as one line of JSON, without the end of the line."""
    return json.dumps(record, allow_nan=False).encode("ascii")


def digest(path: Path) -> str | None:
    """The SHA-256 of a file; None if it is no file or cannot be read."""
    sha = hashlib.sha256()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for, and used up
            return None
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(_BLOCK), b""):
                sha.update(block)
    except (OSError, ValueError):  # ValueError: a null character in the name
        return None
    return sha.hexdigest()


def written_files(record: Mapping[str, Any]) -> list[str]:
    """The files that an image's record names, each once, below the output folder."""
    names = [name for one in record.get("explanations", ()) for name in one["files"].values()]
    names += [one["file"] for one in record.get("contrasts", ())]
    names += [record["panel"]] if record.get("panel") else []
    return list(dict.fromkeys(names))


def fingerprint(decides: Mapping[str, Any]) -> str:
    """The SHA-256 of all that decides on what is written for an image."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode("ascii")).hexdigest()


def check_manifest(folder: Path) -> None:
    """Find out, before any work, whether the manifest can be written.

    Raises:
        UsageError: there is a file of its name that cnnviz did not write.
    """
    path = folder / MANIFEST
    if os.path.lexists(path) and not (path.is_file() and written_by_cnnviz(path)):
        raise UsageError(
            f"{path} exists and was not written by cnnviz; move it away, or choose another output "
            "folder."
        )


def is_whole(path: Path) -> bool:
    """Whether a PNG or .npz is there, is this version's, and has its end.

    A power cut may leave a part of it, or zeros.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(len(_PNG_START))
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(_PNG_END)))
            # A .npz ends with our mark.
            end = _PNG_END if start == _PNG_START else cnnviz.__version__.encode("ascii")
            return file.read().endswith(end) and written_by_cnnviz(path)
    except OSError:
        return False


def manifest_lines(
    run: Mapping[str, Any], summary: Mapping[str, Any], images: Iterable[bytes]
) -> Iterator[bytes]:
    """The manifest, piece by piece; ``images`` are records as :func:`encode` has them."""
    yield b'{"cnnviz_manifest": %d,\n"run": %s,\n' % (VERSION, encode(run))
    yield b'"summary": %s,\n"images": [' % encode(summary)
    between = b"\n"
    for line in images:
        yield between + line
        between = b",\n"
    yield b"\n]}\n"


class Journal:
    """The records of a run's images, as they are done, in a file of the output folder.

    A journal of the same fingerprint is continued; so is a manifest, whose run came to its end.
    One run at a time may have it: the file is locked, and the lock goes with the process. On a file
    system without locks nobody can tell whether there is another run.

    Attributes:
        interrupted: whether a run was stopped before its end; which one, does not matter.
        before: what the manifest says of the run before, if that was one of another fingerprint;
            nothing of a run that was stopped. None if there was none.
    """

    interrupted: bool
    before: Mapping[str, Any] | None

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        *,
        force: bool = False,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        """Open it.

        Args:
            folder: the output folder, which is made.
            fingerprint: of the run; what another one wrote is of no use.
            force: whether to forget what is there; a manifest is removed.
            notify: called with a sentence if the file cannot be locked.

        Raises:
            UsageError: another run has it, or it cannot be written.
        """
        self._path = folder / JOURNAL
        self.interrupted = False
        self.before = None
        self._known: dict[str, _Place] = {}
        self._manifest: BinaryIO | None = None
        self._manifested: dict[str, _Place] = {}
        self._dropped: dict[str, list[str]] = {}  # files of another run that was stopped
        self._left: list[str] = []  # files that the runs before had left behind
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._locked(notify)
            self.interrupted = self._file.seek(0, os.SEEK_END) > 0
            self._read_manifest(folder / MANIFEST, fingerprint)
            if force:
                # Who goes on from here, without force, does not go on from there.
                self._known.clear()
                (folder / MANIFEST).unlink(missing_ok=True)
            self._read(_header(fingerprint), force=force)
            if self._file.tell() == 0:
                self._file.write(_header(fingerprint))
                self._file.flush()
        except OSError as error:
            raise UsageError(f"{self._path} cannot be written: {error.strerror}.") from error

    def find(self, stem: str) -> dict[str, Any] | None:
        """The record of an image that is done, by its ``stem``. May be called by any thread."""
        line = self._line(stem)
        return None if line is None else json.loads(line)

    def add(self, record: Mapping[str, Any]) -> None:
        """Take note of an image whose files are written; the record begins with its ``stem``.

        Raises:
            OutputUnavailableError: it cannot be written; the disk is full, say.
        """
        line = encode(record)
        self._known[record["stem"]] = (self._file, self._append(line), len(line))

    def _append(self, line: bytes) -> int:
        """Where the line stands."""
        place = self._file.tell()
        try:
            self._file.write(line + b"\n")
            self._file.flush()
        except OSError as error:
            raise OutputUnavailableError(
                f"{self._path} cannot be written: {error.strerror}."
            ) from error
        return place

    def lines(self, stems: Iterable[str]) -> Iterator[bytes]:
        """Records by their stems, those that there are, as :func:`encode` has them."""
        for stem in stems:
            line = self._line(stem)
            if line is not None:
                yield line

    def meets(self, stems: Iterable[str]) -> bool:
        """Whether the runs before wrote for any of these stems."""
        return any(stem in self._manifested or stem in self._dropped for stem in stems)

    def left_behind(self, stems: Sequence[str]) -> list[str]:
        """Files that the runs before named, that are there, and that no record of these stems has.

        Below the folder, in the order of those runs.
        """
        wanted = set(stems)
        found = dict.fromkeys(self._left)
        found.update(dict.fromkeys(name for names in self._dropped.values() for name in names))
        for stem, place in self._manifested.items():
            if stem not in wanted or self._known.get(stem) != place:
                found.update(dict.fromkeys(_files_in(self._text(place))))
        if found:
            for line in self.lines(stems):
                for name in _files_in(line):
                    found.pop(name, None)
        return [name for name in found if _is_there(self._path.parent, name)]

    def close(self, *, done: bool) -> None:
        """Close it; ``done`` if the manifest holds all that it does."""
        if done:
            self._path.unlink(missing_ok=True)
        self._file.close()
        if self._manifest is not None:
            self._manifest.close()

    def _locked(self, notify: Callable[[str], None] | None) -> BinaryIO:
        reason: str | None = "a file is not the same when it is looked at twice"
        for _ in range(_MOST_TRIES):
            file = open(self._path, "a+b")  # noqa: SIM115 - closed in close()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise UsageError(
                    f"Another run is writing to {self._path.parent}; wait for its end, or choose "
                    "another output folder."
                ) from None
            except OSError as error:  # a file system without locks, as on clusters
                reason = error.strerror
                break
            if self._is(file):
                return file
            # The run that had it has ended, and deleted it, after it was opened here.
            file.close()
        else:
            file = open(self._path, "a+b")  # noqa: SIM115 - closed in close()
        if notify is not None:
            notify(
                f"{self._path.parent} cannot be locked ({reason}): see to it that no other run "
                "writes there meanwhile."
            )
        return file

    def _is(self, file: BinaryIO) -> bool:
        """Whether an open file is what stands under the journal's name now."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _read_manifest(self, path: Path, fingerprint: str) -> None:
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed in close()
        except OSError:  # the run before did not come to its end, or there was none
            return
        self._manifest = file
        place = 0
        run: Mapping[str, Any] | None = None
        for line in file:
            if line.startswith(_IMAGE) and run is not None:
                text = line.rstrip(b",\n")
                stem = _stem_in(text)
                if stem is not None:
                    self._manifested[stem] = (file, place, len(text))
            elif line.startswith(b'"run":'):
                run = _value_of(line)
            elif line.startswith(b'"summary":') and run is not None:
                left = (_value_of(line) or {}).get("left_behind")
                self._left = _texts(left) if isinstance(left, list) else []
            place += len(line)
        if run is not None and run.get("fingerprint") == fingerprint:
            self._known.update(self._manifested)
        else:
            self.before = run

    def _read(self, header: bytes, *, force: bool) -> None:
        """Note what is there behind the right header; what cannot be used is cut off."""
        file = self._file
        file.seek(0)
        place = 0
        for line in file:
            if place == 0:
                if line != header or force:
                    self._drop(differs=line != header)
                    break
            else:
                stem = _stem_in(line) if line.endswith(b"\n") else None
                if stem is None:
                    break  # the line that was being written when the run was stopped
                self._known[stem] = (file, place, len(line) - 1)
            place += len(line)
        file.truncate(place)
        file.seek(place)

    def _drop(self, *, differs: bool) -> None:
        """Keep in mind what the rest of a journal names that is of no use, and is cut off."""
        for line in self._file:
            stem = _stem_in(line)
            if stem is not None:
                self._dropped[stem] = _files_in(line)
        if self._dropped and differs and self.before is None:
            self.before = {}

    def _line(self, stem: str) -> bytes | None:
        return self._text(self._known[stem]) if stem in self._known else None

    @staticmethod
    def _text(where: _Place) -> bytes:
        file, place, length = where
        return os.pread(file.fileno(), length, place)


def _header(fingerprint: str) -> bytes:
    return encode({"cnnviz_journal": VERSION, "fingerprint": fingerprint}) + b"\n"


def _value_of(line: bytes) -> Mapping[str, Any] | None:
    """The object that a line of a manifest gives a name to; nothing if it is none."""
    try:
        value = json.loads(line.rstrip(b",\n").partition(b":")[2])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _stem_in(line: bytes) -> str | None:
    """The stem in a line, if it is an image's record."""
    try:
        stem = json.loads(line)["stem"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return stem if isinstance(stem, str) else None


def _files_in(line: bytes) -> list[str]:
    """The files that an image's record names, as far as it can be read."""
    try:
        names = written_files(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return _texts(names)


def _is_there(folder: Path, name: str) -> bool:
    try:
        return os.path.lexists(folder / name)
    except ValueError:  # a null character in the name
        return False
