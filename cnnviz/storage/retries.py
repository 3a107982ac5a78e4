"""What can pass is tried again, a few times, after waits that grow."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from cnnviz.errors import UsageError
from cnnviz.storage.urls import without_secrets

ResultT = TypeVar("ResultT")

TRIES = 5
_FIRST_WAIT = 0.5  # seconds; each is twice the one before, and up to half of it shorter
_PASSING_STATUS = frozenset((408, 429, 500, 502, 503, 504))
_PASSING_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        *("EBUSY", "EAGAIN", "ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED"),
        *("EPIPE", "ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "ENETRESET"),
    )
    if hasattr(errno, name)
)
#: Of libraries, which need not be installed: connections that broke, bodies that ended early.
_PASSING_TYPES = frozenset(
    (
        *("ClientConnectionError", "ClientPayloadError", "ServerDisconnectedError"),
        *("EndpointConnectionError", "ConnectionClosedError", "HTTPClientError", "IncompleteRead"),
        *("ResponseStreamingError", "IncompleteReadError", "ProtocolError", "ConnectionError"),
        *("ChunkedEncodingError", "TransportError", "ServiceRequestError", "ServiceResponseError"),
    )
)
_STATUS_NAMES = ("status", "status_code", "code")
#: Python 3.10 has several of the name.
_TIMEOUTS = frozenset(("TimeoutError", "timeout"))
#: What servers call what is none of a caller's doing.
_PASSING_CODES = frozenset(("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout"))


class Truncated(OSError):
    """Fewer bytes came than there are."""


def retried(
    action: Callable[[], ResultT], shown: str, sleep: Callable[[float], None] | None = None
) -> ResultT:
    """What an action returns, tried again while what goes wrong can pass.

    Args:
        action: asks the storage for something.
        shown: what for, as users are shown it: a URL.
        sleep: waits so many seconds.

    Raises:
        OSError: it went wrong for good, or too often. Its ``strerror`` says how, its ``filename``
            is the URL; it is a FileNotFoundError or PermissionError if it comes to that.
    """
    wait = _FIRST_WAIT
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except Exception as error:
            if not _is_of_storage(error):
                raise
            passing = _verdict(error).passing
            if not passing or attempt == TRIES:
                said = _told(error) + (f" ({attempt} tries)" if passing else "")
                raise OSError(_number(error), said, shown) from error
            (sleep or time.sleep)(wait * (1 - random.random() / 2))
            wait *= 2
    raise AssertionError("unreachable")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it comes from."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


class _Verdict(NamedTuple):
    """What an error comes to: what the server answered, if it did, and whether that can pass."""

    status: int | None
    passing: bool


def _verdict(error: BaseException) -> _Verdict:
    """By the first error, of those that it comes from, that says so."""
    errors = list(_chain(error))
    for one in errors:
        status = _status(one)
        if status is not None:
            return _Verdict(status, status in _PASSING_STATUS)
        if (
            isinstance(one, (Truncated, ConnectionError))
            or (isinstance(one, OSError) and one.errno in _PASSING_ERRORS)
            or _is_one_of(one, _PASSING_TYPES | _TIMEOUTS)
        ):
            answered = (_status(other) for other in errors)
            return _Verdict(next((one for one in answered if one in _PASSING_STATUS), None), True)
        response: Any = getattr(one, "response", None)
        if isinstance(response, dict) and response.get("Error", {}).get("Code") in _PASSING_CODES:
            return _Verdict(None, True)
    return _Verdict(None, False)


def _is_one_of(error: BaseException, names: frozenset[str]) -> bool:
    """Whether it is of such a class, or one that is made of it."""
    return not names.isdisjoint(kind.__name__ for kind in type(error).__mro__)


def _status(error: BaseException) -> int | None:
    """What a server answered, wherever a library keeps that."""
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):
        return 403  # of which gcsfs keeps the word
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        values = [response.get("ResponseMetadata", {}).get("HTTPStatusCode")]
    else:
        values = [getattr(response, "status_code", None)]
    found = (getattr(error, name) for name in _STATUS_NAMES if hasattr(error, name))
    values.append(next(found, None))
    for value in values:
        if str(value).isdecimal() and 400 <= int(value) < 600:
            return int(value)
    return None


def _is_of_storage(error: Exception) -> bool:
    """Whether it is what storage says, and no mistake in a program."""
    return not isinstance(error, (TypeError, AttributeError, NameError, UsageError, MemoryError))


def _number(error: BaseException) -> int:
    status, passing = _verdict(error)
    if status in (401, 403) or (isinstance(error, PermissionError) and not passing):
        return errno.EACCES
    if status in (404, 410) or (isinstance(error, FileNotFoundError) and not passing):
        return errno.ENOENT
    return (isinstance(error, OSError) and error.errno) or errno.EIO


def _told(error: BaseException) -> str:
    """What went wrong, without secrets."""
    (status, passing), number = _verdict(error), _number(error)
    if number == errno.ENOENT:
        return "there is nothing there"
    if number == errno.EACCES:
        return "there is no permission" + (f" (status {status})" if status else "")
    if status is not None:
        return f"the server answered with status {status}"
    if any(_is_one_of(one, _TIMEOUTS) for one in _chain(error)):
        return "the server did not answer in time"
    if isinstance(error, Truncated):
        return str(error)
    if passing:
        return f"the connection broke ({type(error).__name__})"
    if isinstance(error, OSError) and error.strerror:
        return without_secrets(error.strerror)
    return without_secrets(f"{type(error).__name__}: {error}".partition("\n")[0])[:300]
