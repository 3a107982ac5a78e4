"""Finding a network's weights on this machine, or fetching them.

In this order: MXNet's cache folder; the Gluon model store; where somebody publishes it, the same
network on Hugging Face, whose safetensors are converted and put into the cache folder. Files come
into being under a temporary name and are renamed when they are whole and checked, so that neither
an interruption nor a second process can leave one that is half right. MXNet is imported for the
check of converted weights only.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import ipaddress
import os
import queue
import re
import socket
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from cnnviz.errors import WeightsError
from cnnviz.machine import single_threaded
from cnnviz.models import catalog
from cnnviz.models.catalog import ModelEntry
from cnnviz.weights import converters
from cnnviz.weights import torch_names as foreign
from cnnviz.weights.params_file import publish, write_params

if TYPE_CHECKING:
    from tqdm import tqdm

Notify = Callable[[str], None]

#: SHA-1 of each ``.params`` file in the Gluon model store; its first eight digits are in its name.
SHA1: dict[str, str] = {
    "alexnet": "44335d1f0046b328243b32a26a4fbd62d9057b45",
    "vgg11": "dd221b160977f36a53f464cb54648d227c707a05",
    "vgg11_bn": "ee79a8098a91fbe05b7a973fed2017a6117723a8",
    "vgg13": "6bc5de58a05a5e2e7f493e2d75a580d83efde38c",
    "vgg13_bn": "7d97a06c3c7a1aecc88b6e7385c2b373a249e95e",
    "vgg16": "e660d4569ccb679ec68f1fd3cce07a387252a90a",
    "vgg16_bn": "7f01cf050d357127a73826045c245041b0df7363",
    "vgg19": "ad2f660d101905472b83590b59708b71ea22b2e5",
    "vgg19_bn": "f360b758e856f1074a85abd5fd873ed1d98297c3",
    "resnet18_v1": "a0666292f0a30ff61f857b0b66efc0228eb6a54b",
    "resnet34_v1": "48216ba99a8b1005d75c0f3a0c422301a0473233",
    "resnet50_v1": "0aee57f96768c0a2d5b23a6ec91eb08dfb0a45ce",
    "resnet101_v1": "d988c13d6159779e907140a638c56f229634cb02",
    "resnet152_v1": "671c637a14387ab9e2654eafd0d493d86b1c8579",
    "resnet18_v2": "a81db45fd7b7a2d12ab97cd88ef0a5ac48b8f657",
    "resnet34_v2": "9d6b80bbc35169de6b6edecffdd6047c56fdd322",
    "resnet50_v2": "ecdde35339c1aadbec4f547857078e734a76fb49",
    "resnet101_v2": "18e93e4f48947e002547f50eabbcc9c83e516aa6",
    "resnet152_v2": "f2695542de38cf7e71ed58f02893d82bb409415e",
    "densenet121": "f27dbf2dbd5ce9a80b102d89c7483342cd33cb31",
    "densenet161": "b6c8a95717e3e761bd88d145f4d0a214aaa515dc",
    "densenet169": "2603f878403c6aa5a71a124c4a3307143d6820e9",
    "densenet201": "1cdbc116bc3a1b65832b18cf53e1cb8e7da017eb",
    "squeezenet1.0": "264ba4970a0cc87a4f15c96e25246a1307caf523",
    "squeezenet1.1": "33ba0f93753c83d86e1eb397f38a667eaf2e9376",
    "inceptionv3": "ed47ec45a937b656fcc94dabde85495bbef5ba1f",
    "mobilenet1.0": "6b8c5106c730e8750bcd82ceb75220a3351157cd",
    "mobilenet0.75": "529b2c7f4934e6cb851155b22c96c9ab0a7c4dc2",
    "mobilenet0.5": "8e9d539cc66aa5efa71c4b6af983b936ab8701c3",
    "mobilenet0.25": "9f83e440996887baf91a6aff1cccc1c903a64274",
    "mobilenetv2_1.0": "36da4ff1867abccd32b29592d79fc753bca5a215",
    "mobilenetv2_0.75": "e2be7b72a79fe4a750d1dd415afedf01c3ea818d",
    "mobilenetv2_0.5": "aabd26cd335379fcb72ae6c8fac45a70eab11785",
    "mobilenetv2_0.25": "ae8f9392789b04822cbb1d98c27283fc5f8aa0a7",
}
GLUON_REPO = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/"
HUB = "https://huggingface.co"
HUB_FILE = "model.safetensors"
_SHA256 = re.compile("[0-9a-f]{64}")

#: How long a server may take to accept, to answer, and between two pieces of its answer.
TIMEOUT_SECONDS = 10.0
_CHUNK = 1 << 20
#: A digest needs Python between two pieces, and has to wait for it while another thread imports
#: MXNet; so the pieces are large.
_HASH_CHUNK = 1 << 26
#: Temporary files that have not grown for so long belong to a process that was killed.
_STALE_SECONDS = 3600.0
_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True)
class LocatedWeights:
    """A weights file on this machine."""

    path: Path
    source: str  #: where it came from, in words


class _UnavailableError(Exception):
    """A source cannot give the weights; the text is what it answered."""


def cache_folder() -> Path:
    """Where MXNet keeps weights: ``$MXNET_HOME/models``, by default ``~/.mxnet/models``.

    The ``~`` stays where nobody knows the user's home, as in a container with a user of its own.
    """
    return Path(os.path.expanduser(os.environ.get("MXNET_HOME") or "~/.mxnet")) / "models"


def cached(name: str) -> Path | None:
    """The file that would be used for a network without any download, or ``None``.

    Its contents are not looked at.
    """
    entry = catalog.get(name)
    if entry.download_bytes is None:
        return _embedded(entry).path
    for located in _candidates(entry):
        if os.path.isfile(located.path):  # False, too, in a folder that must not be entered
            return located.path
    return None


def ensure_weights(
    name: str, *, progress: bool = True, notify: Notify | None = None
) -> LocatedWeights:
    """The weights of a network of the catalog, fetched if they are not on this machine.

    Args:
        name: The network.
        progress: Whether a download may show a bar (on stderr, and only on a terminal).
        notify: Called with a sentence if another process is fetching the same file and has to be
            waited for.

    Raises:
        UsageError: There is no such network.
        WeightsError: No source has the weights, or the cache folder is not writable.
    """
    entry = catalog.get(name)
    if entry.download_bytes is None:
        return _embedded(entry)
    answers: list[str] = []
    located = _from_cache(entry, answers)
    if located is not None:
        return located
    folder = cache_folder()
    try:
        if str(folder).startswith("~"):
            raise FileNotFoundError(errno.ENOENT, "there is no such home folder")
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / f".{entry.name}.lock", "a")  # noqa: SIM115
    except OSError as error:
        raise WeightsError(
            f"The weights of {entry.name} are not on this machine, and none can be put into "
            f"{folder} ({error.strerror}): set MXNET_HOME to another folder, or give a file with "
            "--weights."
        ) from error
    with lock, _held(lock, entry, notify):
        # Whoever held the lock before may have fetched what is wanted here.
        answers.clear()
        located = _from_cache(entry, answers)
        if located is not None:
            return located
        _sweep(folder, entry)
        for fetch in (_from_gluon, _from_hub):
            try:
                return fetch(entry, folder, progress)
            except _UnavailableError as error:
                answers.append(str(error))
    raise WeightsError(_no_source(entry, answers))


def _no_source(entry: ModelEntry, answers: list[str]) -> str:
    by_hand = _candidates(entry)[0].path
    converts = entry.hub is not None or entry.family in foreign.TORCHVISION_ONLY
    kinds = ".params, .safetensors or .pth" if converts else ".params"
    return (
        f"The weights of {entry.name} are not on this machine and no source gave them. "
        f"Tried: {'; '.join(answers)}. "
        f"You can put the file from the Gluon model store at {by_hand} by hand, or give any "
        f"{kinds} file of {entry.name} with --weights FILE. "
        "`--model demo` works without network."
    )


def _embedded(entry: ModelEntry) -> LocatedWeights:
    from cnnviz import demo

    return LocatedWeights(demo.weights_path(), "embedded in cnnviz")


def _candidates(entry: ModelEntry) -> tuple[LocatedWeights, ...]:
    """Where the cache may have the weights, best first: as the store names them, and converted."""
    folder = cache_folder()
    gluon = LocatedWeights(folder / f"{_store_name(entry)}.params", "Gluon model store, cached")
    if entry.hub is None:
        return (gluon,)
    converted = folder / _converted_name(entry)
    return gluon, LocatedWeights(converted, f"{entry.hub} on Hugging Face, cached")


def _store_name(entry: ModelEntry) -> str:
    return f"{entry.name}-{SHA1[entry.name][:8]}"


def _converted_name(entry: ModelEntry) -> str:
    """``vgg16-tv_in1k.params``: the network and what the repository says of the training."""
    return f"{entry.name}-{str(entry.hub).rpartition('.')[2]}.params"


# Digests ------------------------------------------------------------------------------------------

#: Digests of a file, by algorithm.
_Digests = dict[str, str]
#: Those that were begun ahead and that nobody has asked for yet, by file.
_ahead: dict[tuple[int, ...], Future[_Digests]] = {}


def digest_ahead(name: str, weights: Path | None = None) -> None:
    """Begin in the background with the digests that loading a network's weights will ask for.

    They take about as long as importing MXNet and need another core. Only weights that are on this
    machine are looked at, nothing is fetched, and what is wrong with them is left to be told by
    whoever loads them.

    Args:
        name: The network.
        weights: A file given by the user; ``None`` for the network's own.
    """
    path = cached(name) if weights is None else weights
    if single_threaded() or path is None or not path.is_file():
        return
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - the thread closes it
    except OSError:  # whoever loads it will say why
        return
    # Weights from the store are checked by their SHA-1 and recorded by their SHA-256.
    algorithms = ("sha256", "sha1") if weights is None else ("sha256",)
    future: Future[_Digests] = Future()
    _ahead[_identity(os.fstat(file.fileno()))] = future

    def work() -> None:
        try:
            with file:
                future.set_result(_digests(file, algorithms))
        except Exception as error:  # noqa: BLE001 - the future carries it to whoever asks
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


# The cache ----------------------------------------------------------------------------------------


def _from_cache(entry: ModelEntry, answers: list[str]) -> LocatedWeights | None:
    gluon, *converted = _candidates(entry)
    if os.path.isfile(gluon.path):
        try:
            if digest(gluon.path, "sha1") == SHA1[entry.name]:
                return gluon
            answers.append(f"{gluon.path} (its checksum differs, so it is damaged)")
        except OSError as error:
            answers.append(f"{gluon.path} (cannot be read: {error.strerror})")
    for located in converted:
        if not os.path.isfile(located.path):
            continue
        try:
            _checked(entry, located.path)
        except WeightsError as error:
            answers.append(str(error).rstrip("."))
        else:
            return located
    if not answers:
        wanted = [gluon.path.name, *(located.path.name for located in converted)]
        has = f"has neither {' nor '.join(wanted)}" if converted else f"has no {wanted[0]}"
        answers.append(f"{gluon.path.parent} ({has})")
    return None


def _checked(entry: ModelEntry, path: Path) -> dict[str, Any]:
    """The file's arrays under their structural names; only names and sizes are looked at."""
    return converters.match(
        converters.read_weights(path),
        catalog.parameter_shapes(entry),
        network=entry.name,
        source=str(path),
        family=entry.family,
    )


@contextmanager
def _held(lock: IO[str], entry: ModelEntry, notify: Notify | None) -> Iterator[None]:
    """Hold a file's lock, so that two processes do not fetch the same file side by side.

    Only a saving: on a file system without locks both fetch, each under its own temporary name.
    """
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if notify is not None:
                notify(f"Another process is fetching the weights of {entry.name}; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if notify is not None:
            notify(f"{lock.name} cannot be locked ({error.strerror}); going on without.")
    yield  # closing the file lets go of the lock


def _sweep(folder: Path, entry: ModelEntry) -> None:
    """Remove what killed processes left of this network's downloads."""
    for path in folder.glob(f".{entry.name}-*.part"):
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


def _write(file: IO[bytes], chunk: bytes) -> None:
    """Write, and tell a full disk from a failing network."""
    try:
        file.write(chunk)
    except OSError as error:
        raise WeightsError(f"{file.name} cannot be written: {error.strerror}.") from error


# The Gluon model store ----------------------------------------------------------------------------


def _from_gluon(entry: ModelEntry, folder: Path, progress: bool) -> LocatedWeights:
    name = _store_name(entry)
    repo = os.environ.get("MXNET_GLUON_REPO") or GLUON_REPO
    url = f"{repo.rstrip('/')}/gluon/models/{name}.zip"
    host = _host(url, "MXNET_GLUON_REPO")
    target = folder / f"{name}.params"
    with (
        _temporary(folder, f"{name}.zip") as (archive, _),
        _temporary(folder, name) as (
            file,
            path,
        ),
    ):
        try:
            _download(url, archive, entry.name, progress)
            digest = _unpack(archive, f"{name}.params", file, entry)
        except _UnavailableError as error:
            raise _UnavailableError(f"the Gluon model store at {host} ({error})") from error
        if digest != SHA1[entry.name]:
            raise _UnavailableError(
                f"the Gluon model store at {host} (the file's checksum differs)"
            )
        _publish(file, path, target)
    return LocatedWeights(target, f"Gluon model store ({host})")


def _unpack(archive: IO[bytes], member: str, file: IO[bytes], entry: ModelEntry) -> str:
    """Copy one member of an archive into an open file; its SHA-1.

    No name from inside the archive is used as a path, and no more is unpacked than the weights can
    have.
    """
    most = int(1.01 * (entry.download_bytes or 0)) + _CHUNK
    digest = hashlib.sha1(usedforsecurity=False)
    size = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if PurePosixPath(name).name == member]
            if not names:
                raise _UnavailableError(f"the archive does not hold {member}")
            with opened.open(names[0]) as source:
                while chunk := source.read(_CHUNK):
                    size += len(chunk)
                    if size > most:
                        raise _UnavailableError(
                            f"{member} has more than the {entry.download_bytes} bytes it should"
                        )
                    digest.update(chunk)
                    _write(file, chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise _UnavailableError(f"what it sent is not a sound zip archive: {error}") from error
    return digest.hexdigest()


def _publish(file: IO[bytes], path: Path, target: Path) -> None:
    try:
        file.flush()
        os.fsync(file.fileno())
        publish(path, target)
    except OSError as error:
        raise WeightsError(f"{target} cannot be written: {error.strerror}.") from error


# Hugging Face -------------------------------------------------------------------------------------


def _from_hub(entry: ModelEntry, folder: Path, progress: bool) -> LocatedWeights:
    repo = entry.hub
    if repo is None:
        raise _UnavailableError("Hugging Face (has no network that is the same)")
    # Read here and not left to huggingface_hub, which looks at its environment on import only.
    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    where = f"{repo} at {_host(endpoint, 'HF_ENDPOINT')}"
    target = folder / _converted_name(entry)
    try:
        path = _hub_file(repo, endpoint, progress)
        _check_hub_digest(path)
        weights = _checked(entry, path)
    except WeightsError as error:
        raise _UnavailableError(f"{where} ({str(error).rstrip('.')})") from error
    except _UnavailableError as error:
        raise _UnavailableError(f"{where} ({error})") from error
    write_params(target, weights)
    return LocatedWeights(target, f"{repo} on Hugging Face")


def _hub_file(repo: str, endpoint: str, progress: bool) -> Path:
    """The repository's safetensors file in Hugging Face's own cache, fetched if need be."""
    import huggingface_hub
    import huggingface_hub.constants
    import huggingface_hub.utils

    hub: Any = huggingface_hub  # its type hints differ from release to release
    cache = hub.constants.HF_HUB_CACHE
    found = hub.try_to_load_from_cache(repo, HUB_FILE, cache_dir=cache)
    if isinstance(found, str):
        return Path(found)
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in _TRUE:
            raise _UnavailableError(f"not asked, because {variable} is set")
    # huggingface_hub tries an unreachable server again for minutes; one question answers sooner.
    _probe(f"{endpoint}/{repo}/resolve/main/{HUB_FILE}", hub.get_token())
    try:
        with _hub_quiet(hub, progress):
            return Path(
                hub.hf_hub_download(
                    repo,
                    HUB_FILE,
                    cache_dir=cache,
                    endpoint=endpoint,
                    etag_timeout=TIMEOUT_SECONDS,
                )
            )
    # Which errors there are depends on the release and on the HTTP library that it uses.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise _UnavailableError(f"{type(error).__name__}: {reason}") from error


def _check_hub_digest(path: Path) -> None:
    """Compare a file with the SHA-256 that Hugging Face told over TLS before it sent it.

    That is the name under which its cache keeps the file, and what the revision leads to.
    """
    stored = path.resolve()
    if not _SHA256.fullmatch(stored.name):
        raise _UnavailableError(
            f"nothing says what the SHA-256 of {path} should be: if you trust it, give it with "
            "--weights"
        )
    if digest(stored, "sha256") != stored.name:
        raise _UnavailableError(f"the SHA-256 of {stored} differs: remove it to fetch it again")


@contextmanager
def _hub_quiet(hub: Any, progress: bool) -> Iterator[None]:
    """Keep huggingface_hub from warnings, and from its bar if none is wanted, for a download."""
    utils = hub.utils
    verbosity = utils.logging.get_verbosity()
    without_bar = not progress and not utils.are_progress_bars_disabled()
    utils.logging.set_verbosity_error()
    if without_bar:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(verbosity)
        if without_bar:
            utils.enable_progress_bars()


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    """Follows a redirection, but not to where anybody on the way could exchange the answer."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        _host(newurl, "a redirection")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for an answer."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def _probe(url: str, token: str | None) -> None:
    """Ask whether a file is there; raises with the server's answer if it is not."""
    request = urllib.request.Request(url, headers={"User-Agent": "cnnviz"}, method="HEAD")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        _open(request, urllib.request.build_opener(_NoRedirect)).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 400:
            raise _UnavailableError(f"HTTP {error.code}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _UnavailableError(_reason(error)) from error


# HTTP ---------------------------------------------------------------------------------------------


def _host(url: str, variable: str) -> str:
    """Host and port of an address that is safe to ask: by TLS, or on this machine."""
    parts = urllib.parse.urlsplit(url)
    # Without user name and password, which an address may carry.
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _UnavailableError(f"{variable} (not an https address: {parts.scheme}://{host})")
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        raise _UnavailableError(f"{variable} (http://{host} has no TLS: use https)")
    return host


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # some other name
        return False


def _download(url: str, file: IO[bytes], label: str, progress: bool) -> None:
    """Fetch a URL into an open file, with one bar; a body that breaks off is resumed once."""
    done = 0
    problem = ""
    bar: tqdm[Any] | None = None
    with ExitStack() as closing:
        for _attempt in range(2):
            request = urllib.request.Request(url, headers={"User-Agent": "cnnviz"})
            if done:
                request.add_header("Range", f"bytes={done}-")
            try:
                with _open(request, urllib.request.build_opener(_SafeRedirect)) as response:
                    if bar is None:
                        # Not before there is an answer: a refusal is no download.
                        bar = closing.enter_context(_bar(label, progress))
                    if done and response.status != HTTPStatus.PARTIAL_CONTENT:
                        done = 0
                        file.seek(0)
                        file.truncate()
                        bar.reset()
                    length = response.headers.get("Content-Length")
                    total = done + int(length) if length else None
                    bar.total = total
                    # read1() gives what there is; read() would lose it if the rest never came.
                    while chunk := response.read1(_CHUNK):
                        _write(file, chunk)
                        done += len(chunk)
                        bar.update(len(chunk))
                if total is None or done == total:
                    return
                problem = f"the connection ended after {done} of {total} bytes"
            except urllib.error.HTTPError as error:
                error.close()
                raise _UnavailableError(f"HTTP {error.code}") from error
            except (OSError, ValueError, http.client.HTTPException) as error:
                problem = _reason(error)
                if not done:
                    break
    raise _UnavailableError(problem)


def _bar(label: str, progress: bool) -> tqdm[Any]:
    """A bar for bytes on stderr; ``disable=None`` is tqdm's word for "on a terminal only"."""
    from tqdm import tqdm

    return tqdm(
        desc=label,
        unit="B",
        unit_scale=True,
        disable=None if progress else True,
    )


def _open(request: urllib.request.Request, opener: urllib.request.OpenerDirector) -> Any:
    """Open a URL within :data:`TIMEOUT_SECONDS`, finding the host's addresses included.

    The socket's own time-out counts for every address of a host anew and not for their look-up, so
    that a machine without network would wait for minutes. A thread that comes too late is left
    behind.
    """
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(opener.open(request, timeout=TIMEOUT_SECONDS))
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        # A little longer than the socket, whose own error says more.
        result = answer.get(timeout=1.1 * TIMEOUT_SECONDS)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result


def _reason(error: Exception) -> str:
    """Why there was no answer, in a few words."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, (TimeoutError, socket.timeout)):
        return f"timed out after {TIMEOUT_SECONDS:g} s"
    if isinstance(error, socket.gaierror):
        return "no connection: host name not resolved"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"no connection: certificate not trusted ({error.verify_message})"
    if isinstance(error, OSError):
        return f"no connection: {error.strerror or error}"
    return f"no proper answer: {error!r}"
