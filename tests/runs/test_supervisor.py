"""Workers that crash, and the supervisor that goes on without what they crashed on."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from cnnviz import system
from cnnviz.errors import ExitCode
from cnnviz.runs.supervisor import Supervisor, WorkerState, should_supervise


def supervise(task):
    """The exit status, and what was reported."""
    told = []
    return Supervisor(task, piped=False, report=told.append, warn=None).run(), told


def end(status, state):
    assert (state.kind, state.continues) == ("default", False)
    return status


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_on(paths, state, crash=crash):
    """Do one image after another, as a run does; return how many the worker knows to avoid."""
    crashes = state.crashes()
    for path in ["first", *paths, "last"]:
        if path in crashes:
            continue
        if state.kind == "isolating":
            state.start(path)
        if path in paths:
            crash()
        state.finish()
        if not state.already_reported():
            os.write(2, f"{path}\n".encode())
        state.record_report()
    return len(crashes)


def die(number, _state):
    os.kill(os.getpid(), number)


@pytest.mark.subprocess
def test_the_status_is_the_tasks():
    assert supervise(partial(end, 7)) == (7, [])


@pytest.mark.subprocess
def test_a_worker_without_the_image_that_crashed_goes_on(capfd):
    status, told = supervise(partial(crash_on, ["b", os.fsdecode(b"\xff")]))
    assert status == 2
    assert len(told) == 2
    assert all("crashed (SIGSEGV); going on, one image at a time" in line for line in told)
    assert capfd.readouterr().err.split() == ["first", "last"]  # once each


@pytest.mark.subprocess
def test_a_crash_over_no_image_ends_the_run():
    status, told = supervise(partial(die, signal.SIGBUS))
    assert status == ExitCode.UNUSABLE
    assert "one image at a time" in told[0]
    assert "crashed (SIGBUS), and not over an image" in told[1]


@pytest.mark.subprocess
@pytest.mark.parametrize("status", [0, 1, 255])
def test_a_library_that_ends_the_process_has_crashed(capfd, status):
    """Whatever status it chooses: what is left is done all the same."""
    found, told = supervise(partial(crash_on, ["b"], crash=partial(os._exit, status)))
    assert found == 1
    assert told == [
        f"One of the libraries that cnnviz uses ended the process with exit status {status}; going "
        "on, one image at a time, to find out which one it was."
    ]
    assert capfd.readouterr().err.split() == ["first", "last"]  # once each


@pytest.mark.subprocess
def test_ctrl_c_while_a_worker_starts_ends_the_run(monkeypatch, capfd):
    """Python's start-up would end with status 1, as a library might end the process."""

    def interrupted():
        hold_back()
        os.kill(os.getpid(), signal.SIGINT)

    hold_back = system.hold_back_interrupts
    monkeypatch.setattr(system, "hold_back_interrupts", interrupted)
    assert supervise(partial(crash_on, [])) == (ExitCode.INTERRUPTED, [])
    assert capfd.readouterr() == ("", "")


def end_at_once(_state):
    os._exit(0)


@pytest.mark.subprocess
def test_an_end_over_no_image_is_no_success():
    status, told = supervise(end_at_once)
    assert status == ExitCode.UNUSABLE
    assert "ended the process with exit status 0, and not over an image" in told[1]


def fail(_state):
    raise ValueError("a mistake in cnnviz")


@pytest.mark.subprocess
def test_a_mistake_of_ours_is_no_crash(capfd):
    assert supervise(fail) == (1, [])
    assert capfd.readouterr().err.count("ValueError: a mistake in cnnviz") == 1


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGTERM, 128 + 15), (signal.SIGKILL, ExitCode.UNUSABLE)]
)
def test_a_worker_that_somebody_ends(number, expected):
    status, told = supervise(partial(die, number))
    assert status == expected
    assert ["killed, probably because memory ran out" in line for line in told] == [True] * len(
        told
    )


def test_a_worker_knows_what_those_before_it_did(tmp_path):
    descriptors = [
        os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT)
        for number in range(WorkerState.FILES)
    ]
    first = WorkerState(descriptors)
    for _ in range(3):
        assert not first.already_reported()
        first.record_report()
    first.start("a/long/path")
    first.start("short")
    supervisor = WorkerState(descriptors)
    assert supervisor.record_crash("signal 11")
    assert not supervisor.record_crash("signal 11")  # nothing is in hand any more
    second = WorkerState(descriptors, "isolating")
    assert second.continues
    assert second.crashes() == {"short": "signal 11"}
    for _ in range(3):
        assert second.already_reported()
        second.record_report()
    assert not second.already_reported()
    for descriptor in descriptors:
        os.close(descriptor)


def test_one_image_needs_no_supervisor(tmp_path):
    assert not should_supervise([str(tmp_path / "cat.jpg")])
    assert should_supervise([str(tmp_path)])
    assert should_supervise(["-"])
    assert should_supervise(["a.jpg", "b.jpg"])
