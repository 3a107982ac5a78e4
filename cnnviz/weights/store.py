"""Finding a network's weights on this machine, or fetching them.

In this order: MXNet's cache folder; the Gluon model store; where somebody publishes it, the same
network on Hugging Face, whose safetensors are converted and put into the cache folder. Files come
into being under a temporary name and are renamed when they are whole and checked, so that neither
an interruption nor a second process can leave one that is half right.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cnnviz import system
from cnnviz.errors import WeightsError
from cnnviz.types import Notify, Shapes
from cnnviz.weights import huggingface, torch_names
from cnnviz.weights.cache import cache_folder, candidates, converted_name, store_name
from cnnviz.weights.digests import digest
from cnnviz.weights.download import CHUNK, UnavailableError, download, safe_host, write
from cnnviz.weights.formats import read_weights
from cnnviz.weights.info import LocatedWeights, PublishedWeights
from cnnviz.weights.matching import Expected, match
from cnnviz.weights.params_file import publish, write_params

GLUON_REPO = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/"
#: Temporary files that have not grown for so long belong to a process that was killed.
_STALE_SECONDS = 3600.0


def ensure_weights(
    published: PublishedWeights,
    shapes: Shapes,
    *,
    progress: bool = True,
    notify: Notify | None = None,
) -> LocatedWeights:
    """A network's published weights, fetched if they are not on this machine.

    Args:
        published: the weights.
        shapes: of the network's parameters, by name and in the network's order, for as many classes
            as the published weights have.
        progress: whether a download may show a bar (on stderr, and only on a terminal).
        notify: called with a sentence if another process is fetching the same file and has to be
            waited for.

    Raises:
        WeightsError: no source has the weights, or the cache folder is not writable.
    """
    damaged: list[str] = []
    located = _from_cache(published, shapes, damaged)
    if located is not None:
        return located
    folder = cache_folder()
    try:
        if str(folder).startswith("~"):
            raise FileNotFoundError(errno.ENOENT, "there is no such home folder")
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / f".{published.network}.lock", "a")  # noqa: SIM115
    except OSError as error:
        raise WeightsError(
            f"The weights of {published.network} are not on this machine, and none can be put into "
            f"{folder} ({error.strerror}): set MXNET_HOME to another folder, or give a file with "
            "--weights."
        ) from error
    with lock, _held(lock, published, notify):
        # Whoever held the lock before may have fetched what is wanted here.
        damaged.clear()
        located = _from_cache(published, shapes, damaged)
        if located is not None:
            return located
        _sweep(folder, published)
        answers = []
        for fetch in (_from_gluon, _from_hub):
            try:
                return fetch(published, shapes, folder, progress)
            except UnavailableError as error:
                answers.append(str(error))
    raise WeightsError(_no_source(published, damaged, answers))


def _no_source(published: PublishedWeights, damaged: list[str], answers: list[str]) -> str:
    by_hand = candidates(published)[0].path
    converts = published.hub is not None or published.family in torch_names.TORCHVISION_ONLY
    kinds = ".params, .safetensors or .pth" if converts else ".params"
    here = f"The cache has no sound file: {'; '.join(damaged)}. " if damaged else ""
    return (
        f"The weights of {published.network} ({published.size / 1e6:.0f} MB) are not on this "
        f"machine and could not be downloaded. Tried: {'; '.join(answers)}. {here}"
        f"Give a {kinds} file with --weights, or put {by_hand.name} into {by_hand.parent}. "
        "`--model demo` needs no download."
    )


def _from_cache(
    published: PublishedWeights, shapes: Shapes, damaged: list[str]
) -> LocatedWeights | None:
    """What the cache has; what cannot be used of it is added to ``damaged``, with the reason."""
    gluon, *converted = candidates(published)
    if os.path.isfile(gluon.path):
        try:
            if digest(gluon.path, "sha1") == published.sha1:
                return gluon
            damaged.append(f"{gluon.path} (its checksum differs, so it is damaged)")
        except OSError as error:
            damaged.append(f"{gluon.path} (cannot be read: {error.strerror})")
    for located in converted:
        if not os.path.isfile(located.path):
            continue
        try:
            _checked(published, shapes, located.path)
        except WeightsError as error:
            damaged.append(str(error).rstrip("."))
        else:
            return located
    return None


def _checked(published: PublishedWeights, shapes: Shapes, path: Path) -> dict[str, Any]:
    """The file's arrays under their structural names; only names and sizes are looked at."""
    return match(
        read_weights(path),
        Expected(shapes, published.network, published.family),
        source=str(path),
    )


@contextmanager
def _held(lock: IO[str], published: PublishedWeights, notify: Notify | None) -> Iterator[None]:
    """Hold a file's lock, so that two processes do not fetch the same file side by side.

    Only a saving: on a file system without locks both fetch, each under its own temporary name.
    """
    try:
        if not system.try_to_lock(lock):
            if notify is not None:
                notify(
                    f"Another process is fetching the weights of {published.network}; waiting "
                    "for it."
                )
            system.lock(lock)
    except OSError as error:
        if notify is not None:
            notify(f"{lock.name} cannot be locked ({error.strerror}); going on without.")
    yield  # closing the file lets go of the lock


def _sweep(folder: Path, published: PublishedWeights) -> None:
    """Remove what killed processes left of this network's downloads."""
    for path in folder.glob(f".{published.network}-*.part"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()
        except OSError:  # another process was faster, or it is another user's
            continue


@contextmanager
def _temporary(folder: Path, name: str) -> Iterator[tuple[IO[bytes], Path]]:
    """An open file of its own for this process, gone afterward unless it was renamed."""
    try:
        handle, path = tempfile.mkstemp(dir=folder, prefix=f".{name}-", suffix=".part")
    except OSError as error:
        raise WeightsError(f"{folder} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file, Path(path)
    finally:
        Path(path).unlink(missing_ok=True)


# --- the Gluon model store


def _from_gluon(
    published: PublishedWeights, _shapes: Shapes, folder: Path, progress: bool
) -> LocatedWeights:
    name = store_name(published)
    repo = os.environ.get("MXNET_GLUON_REPO") or GLUON_REPO
    url = f"{repo.rstrip('/')}/gluon/models/{name}.zip"
    host = safe_host(url, "MXNET_GLUON_REPO")
    target = folder / f"{name}.params"
    with (
        _temporary(folder, f"{name}.zip") as (archive, _),
        _temporary(folder, name) as (file, path),
    ):
        try:
            download(url, archive, published.network, progress=progress)
            found = _unpack(archive, f"{name}.params", file, published)
        except UnavailableError as error:
            raise UnavailableError(f"the Gluon model store at {host} ({error})") from error
        if found != published.sha1:
            raise UnavailableError(f"the Gluon model store at {host} (the file's checksum differs)")
        _publish(file, path, target)
    return LocatedWeights(target, f"Gluon model store ({host})")


def _unpack(archive: IO[bytes], member: str, file: IO[bytes], published: PublishedWeights) -> str:
    """Copy one member of an archive into an open file; its SHA-1.

    No name from inside the archive is used as a path, and no more is unpacked than the weights can
    have.
    """
    most = int(1.01 * (published.size)) + CHUNK
    digest = hashlib.sha1(usedforsecurity=False)
    size = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if PurePosixPath(name).name == member]
            if not names:
                raise UnavailableError(f"the archive does not hold {member}")
            with opened.open(names[0]) as source:
                while chunk := source.read(CHUNK):
                    size += len(chunk)
                    if size > most:
                        raise UnavailableError(
                            f"{member} has more than the {published.size} bytes it should"
                        )
                    digest.update(chunk)
                    write(file, chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UnavailableError(f"what it sent is not a sound zip archive: {error}") from error
    return digest.hexdigest()


def _publish(file: IO[bytes], path: Path, target: Path) -> None:
    try:
        file.flush()
        os.fsync(file.fileno())
        publish(path, target)
    except OSError as error:
        raise WeightsError(f"{target} cannot be written: {error.strerror}.") from error


# --- Hugging Face


def _from_hub(
    published: PublishedWeights, shapes: Shapes, folder: Path, progress: bool
) -> LocatedWeights:
    repo = published.hub
    if repo is None:
        raise UnavailableError("Hugging Face (has no identical network)")
    # Read here and not left to huggingface_hub, which looks at its environment on import only.
    endpoint = (os.environ.get("HF_ENDPOINT") or huggingface.HUB).rstrip("/")
    where = f"{repo} at {safe_host(endpoint, 'HF_ENDPOINT')}"
    target = folder / converted_name(published)
    try:
        path = huggingface.fetch(repo, endpoint, progress=progress)
        weights = _checked(published, shapes, path)
    except WeightsError as error:
        raise UnavailableError(f"{where} ({str(error).rstrip('.')})") from error
    except UnavailableError as error:
        raise UnavailableError(f"{where} ({error})") from error
    write_params(target, weights)
    return LocatedWeights(target, f"{repo} on Hugging Face")
