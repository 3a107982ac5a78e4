"""Fetching files: by HTTP, resumed where it breaks off, and from Hugging Face.

Only addresses whose answers nobody on the way can exchange are asked: by TLS, or on this machine.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any

from cnnviz.errors import WeightsError
from cnnviz.system import progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm

#: How long a server may take to accept, to answer, and between two pieces of its answer.
TIMEOUT_SECONDS = 10.0
#: Bytes of a piece.
CHUNK = 1 << 20


class UnavailableError(Exception):
    """A source cannot give a file; the text is what it answered."""


def safe_host(url: str, variable: str) -> str:
    """Host and port of an address that is safe to ask: by TLS, or on this machine.

    Args:
        url: the address.
        variable: what set it, for the error's text.

    Raises:
        UnavailableError: it is not safe.
    """
    parts = urllib.parse.urlsplit(url)
    # Without user name and password, which an address may carry.
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnavailableError(f"{variable} (not an https address: {parts.scheme}://{host})")
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        raise UnavailableError(f"{variable} (http://{host} has no TLS: use https)")
    return host


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # some other name
        return False


def download(url: str, file: IO[bytes], label: str, *, progress: bool) -> None:
    """Fetch a URL into an open file; a body that breaks off is resumed once.

    Args:
        url: the address.
        file: is written from its position on.
        label: stands in front of the bar.
        progress: whether there may be a bar (on stderr, and only on a terminal).

    Raises:
        UnavailableError: there is no such file, or no connection.
        WeightsError: the file cannot be written.
    """
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
                    while chunk := response.read1(CHUNK):
                        write(file, chunk)
                        done += len(chunk)
                        bar.update(len(chunk))
                if total is None or done == total:
                    return
                problem = f"the connection ended after {done} of {total} bytes"
            except urllib.error.HTTPError as error:
                error.close()
                raise UnavailableError(f"HTTP {error.code}") from error
            except (OSError, ValueError, http.client.HTTPException) as error:
                problem = _reason(error)
                if not done:
                    break
    raise UnavailableError(problem)


def _bar(label: str, progress: bool) -> tqdm[Any]:
    """A bar for bytes on stderr; ``disable=None`` is tqdm's word for "on a terminal only"."""
    return progress_bar(
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


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    """Follows a redirection, but not to where anybody on the way could exchange the answer."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        safe_host(newurl, "a redirection")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for an answer."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def probe(url: str, token: str | None) -> None:
    """Ask whether a file is there, without fetching it.

    Args:
        url: the address; a redirection counts as an answer.
        token: what the server knows a user by.

    Raises:
        UnavailableError: it is not; the text is the server's answer.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "cnnviz"}, method="HEAD")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        _open(request, urllib.request.build_opener(_NoRedirect)).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 400:
            raise UnavailableError(f"HTTP {error.code}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(_reason(error)) from error


def write(file: IO[bytes], chunk: bytes) -> None:
    """Write, and tell a full disk from a failing network.

    Raises:
        WeightsError: the file cannot be written.
    """
    try:
        file.write(chunk)
    except OSError as error:
        raise WeightsError(f"{file.name} cannot be written: {error.strerror}.") from error
