"""What is tried again, how often, and what is said in the end."""

from __future__ import annotations

import asyncio
import errno

import pytest

from cnnviz.errors import UsageError
from cnnviz.storage.retries import TRIES, Truncated, retried


class Status(Exception):
    """As HTTP libraries have it."""

    def __init__(self, status):
        super().__init__(f"{status} url='https://x.org/a?token=SECRET'")
        self.status = status


class ClientError(Exception):
    """As botocore has it."""

    def __init__(self, status):
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


def attempts(error):
    """How often an action that always fails is tried, and what is raised."""
    count, waits = 0, []

    def action():
        nonlocal count
        count += 1
        raise error

    with pytest.raises(OSError, match=r"\[Errno") as caught:
        retried(action, "s3://bucket/cat.jpg", waits.append)
    assert len(waits) == count - 1
    return count, caught.value, waits


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Status(503), "the server answered with status 503"),
        (Status(429), "the server answered with status 429"),
        (ClientError(500), "the server answered with status 500"),
        (asyncio.TimeoutError(), "the server did not answer in time"),
        (ConnectionResetError("reset"), "the connection broke (ConnectionResetError)"),
        (OSError(errno.EBUSY, "busy"), "the connection broke (OSError)"),
        (Truncated("only 1 of 2 bytes came"), "only 1 of 2 bytes came"),
    ],
)
def test_what_can_pass_is_tried_again(error, said):
    count, raised, waits = attempts(error)
    assert count == TRIES
    assert raised.strerror == f"{said} ({TRIES} tries)"
    assert raised.filename == "s3://bucket/cat.jpg"
    # Each wait is from half of what it may be up to all of it, and that doubles.
    assert all(0.25 * 2**n <= wait <= 0.5 * 2**n for n, wait in enumerate(waits))


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (Status(404), FileNotFoundError, "there is nothing there"),
        (FileNotFoundError("s3://b/x"), FileNotFoundError, "there is nothing there"),
        (Status(403), PermissionError, "there is no permission (status 403)"),
        (PermissionError("denied"), PermissionError, "there is no permission"),
        # gcsfs drops the status.
        (OSError("Forbidden: o/x\n"), PermissionError, "there is no permission (status 403)"),
        (Status(400), OSError, "the server answered with status 400"),
        (
            ValueError("no https://u:pw@x.org/a?sig=SECRET"),
            OSError,
            "ValueError: no https://x.org/a",
        ),
    ],
)
def test_what_stays_is_said_at_once(error, kind, said):
    count, raised, _ = attempts(error)
    assert count == 1
    assert type(raised) is kind
    assert raised.strerror == said


def test_what_a_library_says_is_not_there_may_be_a_server_in_trouble():
    """fsspec's HTTP calls every failure of a look-up "not found", with the reason as its cause."""
    error = FileNotFoundError("https://x.org/a")
    error.__cause__ = Status(503)
    assert attempts(error)[0] == TRIES


def test_a_success_ends_it():
    answers = [Status(503), ConnectionResetError(), "done"]

    def action():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retried(action, "s3://bucket/cat.jpg", lambda _seconds: None) == "done"


def test_mistakes_are_not_tried_again():
    for error in (TypeError("x"), UsageError("y")):
        calls = []

        def action(error=error, calls=calls):
            calls.append(1)
            raise error

        with pytest.raises(type(error)):
            retried(action, "s3://bucket/cat.jpg")
        assert len(calls) == 1
