"""The manifest of a run, ``manifest.json``: what it holds are the records of its images."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cnnviz.errors import UsageError
from cnnviz.outputs.marks import MANIFEST_START, is_foreign
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.journal import RunFile
from cnnviz.runs.records import VERSION
from cnnviz.storage.paths import AnyPath, opened, size_of
from cnnviz.storage.stored import File, Stored
from cnnviz.structure import plain

MANIFEST = PurePosixPath("manifest.json")
JOURNAL = ".cnnviz-journal.jsonl"
MANIFEST_FILE = RunFile(MANIFEST, JOURNAL, "cnnviz_manifest", VERSION, ImageRecord)

_BLOCK = 1 << 20
_VERSION = re.compile(rb'\{"cnnviz_[a-z_]{1,20}": ?(\d{1,9})[,}]')
_VERSION_WITHIN = 64  # bytes from the start


def file_sha256(path: File) -> str | None:
    """The SHA-256 of a file; None if it is not a regular file or cannot be read."""
    sha = hashlib.sha256()
    try:
        if isinstance(path, Stored):
            return hashlib.sha256(path.read(sys.maxsize)).hexdigest()
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for, and used up
            return None
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(_BLOCK), b""):
                sha.update(block)
    except (OSError, ValueError):  # ValueError: a null character in the name
        return None
    return sha.hexdigest()


def fingerprint(decides: Mapping[str, Any]) -> str:
    """The SHA-256 of all that decides on what is written for an image."""
    return hashlib.sha256(json.dumps(plain(decides), sort_keys=True).encode("ascii")).hexdigest()


def is_run(folder: AnyPath) -> bool:
    """Whether a folder has a manifest that cnnviz wrote."""
    try:
        with opened(folder / MANIFEST) as file:
            return file.read(len(MANIFEST_START)) == MANIFEST_START
    except (OSError, ValueError):  # ValueError: a null character in the name
        return False


def check_run_file(folder: AnyPath, file: RunFile[Any] = MANIFEST_FILE) -> None:
    """Find out, before any work, whether a run's file can be written.

    Raises:
        UsageError: there is a file of its name that cnnviz did not write, or a run in another
            version of the format, which is not overwritten.
    """
    path = folder / file.name
    if is_foreign(path):
        empty = path.is_file() and size_of(path) == 0
        what = "is empty" if empty else "exists and was not written by cnnviz"
        raise UsageError(f"{path} {what}: move it away, or choose another output folder.")
    for path in (folder / file.name, folder / file.journal):
        version = _version_of(path)
        if version not in (None, file.version):
            raise UsageError(
                f"{path} has version {version} of the format, and this cnnviz writes version "
                f"{file.version}: it does not continue or overwrite that run. Choose another "
                "output folder, or move that one away."
            )


def _version_of(path: AnyPath) -> int | None:
    """The version of the format of a manifest or a journal, if there is one that says so."""
    try:
        with opened(path) as file:
            found = _VERSION.match(file.read(_VERSION_WITHIN))
    except OSError:
        return None
    return None if found is None else int(found[1])
