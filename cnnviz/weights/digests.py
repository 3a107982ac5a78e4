"""Checksums of weights files, which may be begun before anybody asks for them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from cnnviz.machine import single_threaded

#: A digest needs Python between two pieces, and has to wait for it while another thread imports
#: MXNet; so the pieces are large.
_HASH_CHUNK = 1 << 26

#: Digests of a file, by algorithm.
_Digests = dict[str, str]
#: Those that were begun ahead and that nobody has asked for yet, by file.
_ahead: dict[tuple[int, ...], Future[_Digests]] = {}


def digest_ahead(path: Path | None, algorithms: Sequence[str]) -> None:
    """Begin in the background with the digests that loading weights will ask for.

    They take about as long as importing MXNet and need another core. What is wrong with the file is
    reported when it is loaded.

    Args:
        path: the file; with None, or where there is none, nothing is begun.
        algorithms: ``sha256``, ``sha1``.
    """
    if single_threaded() or path is None or not path.is_file():
        return
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - the thread closes it
    except OSError:  # loading it will say why
        return
    future: Future[_Digests] = Future()
    _ahead[_identity(os.fstat(file.fileno()))] = future

    def work() -> None:
        try:
            with file:
                future.set_result(_digests(file, algorithms))
        except Exception as error:  # noqa: BLE001 - the future carries it to the caller
            future.set_exception(error)

    # A daemon: if the digests are not wanted after all, nobody waits for them.
    threading.Thread(target=work, name="digest", daemon=True).start()


def digest(path: Path, algorithm: str) -> str:
    """The digest of a whole file, hexadecimal, by ``sha1`` or ``sha256``.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        future = _ahead.get(_identity(os.fstat(file.fileno())))
        if future is not None and algorithm in (begun := future.result()):
            return begun[algorithm]
        return _digests(file, [algorithm])[algorithm]


def digest_of_all(paths: Sequence[Path]) -> str:
    """The SHA-256 of a file or, of several, that of their digests, one a line.

    The latter is what ``sha256sum net.onnx net.onnx.data | cut -c1-64 | sha256sum`` prints.

    Raises:
        OSError: one of them cannot be read.
    """
    digests = [digest(path, "sha256") for path in paths]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{one}\n" for one in digests).encode("ascii")).hexdigest()


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file from others and from itself after a change."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digests(file: IO[bytes], algorithms: Sequence[str]) -> _Digests:
    """Digests of all that follows in a file, in one pass."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    size = os.fstat(file.fileno()).st_size
    buffer = memoryview(bytearray(max(1, min(size, _HASH_CHUNK))))
    while size := file.readinto(buffer):  # type: ignore[attr-defined]
        for digest in hashes.values():
            digest.update(buffer[:size])
    return {name: digest.hexdigest() for name, digest in hashes.items()}
