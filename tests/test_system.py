"""What systems differ in: here as it is, and as it is where something is missing."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import pytest

from cnnviz import system
from cnnviz.images.files import read_bytes
from cnnviz.machine import free_memory
from tests.support.windows import LACKING, Msvcrt, guard_open_files

pytest.importorskip("fcntl")


@pytest.fixture(params=["fcntl", "msvcrt"])
def locks(request, monkeypatch):
    if request.param == "msvcrt":
        monkeypatch.setattr(system, "_fcntl", None)
        monkeypatch.setattr(system, "_msvcrt", Msvcrt())


def test_one_at_a_time_has_a_lock(locks, tmp_path):
    path = tmp_path / "file"
    with open(path, "a+b") as first, open(path, "a+b") as second:
        first.write(b"text")
        first.flush()
        assert system.try_to_lock(first)
        assert not system.try_to_lock(second)
        assert first.tell() == 4
        first.close()
        assert system.try_to_lock(second)


def test_who_waits_gets_the_lock(locks, tmp_path, monkeypatch):
    monkeypatch.setattr(system, "_BETWEEN_TRIES", 0.01)
    with open(tmp_path / "file", "a") as first, open(tmp_path / "file", "a") as second:
        assert system.try_to_lock(first)
        waiting = threading.Thread(target=system.lock, args=[second])
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        first.close()
        waiting.join(10)
        assert not waiting.is_alive()
        with open(tmp_path / "file", "a") as third:
            assert not system.try_to_lock(third)


def test_windows_locks_bytes_that_nobody_reads(tmp_path, monkeypatch):
    msvcrt = Msvcrt()
    monkeypatch.setattr(system, "_fcntl", None)
    monkeypatch.setattr(system, "_msvcrt", msvcrt)
    with open(tmp_path / "file", "a+b") as file:
        assert system.try_to_lock(file)
    assert min(msvcrt.places) >= 1 << 40


def test_without_locks_it_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "_fcntl", None)
    with open(tmp_path / "file", "a") as file, pytest.raises(OSError, match="not supported"):
        system.try_to_lock(file)


@pytest.mark.parametrize("windows", [False, True])
def test_an_open_file_is_removed(tmp_path, monkeypatch, windows):
    path = tmp_path / "file"
    file = open(path, "wb")  # noqa: SIM115 - the function under test closes it
    if windows:
        guard_open_files(monkeypatch)
    system.remove_locked(path, file)
    assert file.closed
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "here", "windows"),
    [
        ("a/cat.png", True, True),
        ("a/..b/c..png", True, True),
        ("../cat.png", False, False),
        ("a/../../cat.png", False, False),
        ("/cat.png", False, False),
        (r"a\..\..\cat.png", True, False),
        (r"\cat.png", True, False),
        ("C:cat.png", True, False),
        ("a/C:cat.png", True, False),
        ("cat.png:hidden.png", True, False),
    ],
)
def test_what_names_lead_to(name, here, windows):
    """Windows' rules: "Naming Files, Paths, and Namespaces" of its documentation."""
    assert system.stays_below(PurePosixPath(name), PurePosixPath) == here
    assert system.stays_below(PurePosixPath(name), PureWindowsPath) == windows


@pytest.fixture(params=["all", "no O_NONBLOCK, pread or memfd"])
def files(request, monkeypatch):
    if request.param != "all":
        for name in LACKING:
            monkeypatch.delattr(os, name, raising=False)


def test_bytes_from_the_middle_of_a_file(files, tmp_path):
    with open(tmp_path / "file", "w+b") as file:
        file.write(b"0123456789")
        file.flush()
        assert system.read_at(file, 3, 4) == b"3456"
        file.write(b"ab")
        file.flush()
        assert system.read_at(file, 8, 9) == b"89ab"


def test_files_are_read_as_bytes(files, tmp_path):
    (tmp_path / "file").write_bytes(b"\r\n\x1a\x00")
    assert read_bytes(tmp_path / "file", 10) == b"\r\n\x1a\x00"


def test_a_scratch_file_keeps_what_is_written(files):
    with system.scratch_file() as file:
        file.write(b"abc")
        file.seek(0)
        assert file.read() == b"abc"


def test_named_bytes(files):
    with system.named(b"abc") as path, open(path, "rb") as file:
        assert file.read() == b"abc"
    assert not os.path.exists(path)


def test_named_bytes_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda _: False)
    with system.named(b"abc") as path, open(path, "rb") as file:
        assert file.read() == b"abc"
        assert not path.startswith("/proc")


def test_windows_tells_its_free_memory(monkeypatch):
    def fill(pointer):
        status = pointer._obj
        assert ctypes.sizeof(status) == status.length == 64  # as <sysinfoapi.h> declares it
        status.physical, status.available = 9 << 30, 5 << 30
        return 1

    windll = SimpleNamespace(kernel32=SimpleNamespace(GlobalMemoryStatusEx=fill))
    monkeypatch.setattr(ctypes, "windll", windll, raising=False)
    assert system.memory_without_proc() == 5 << 30


def test_macos_tells_only_how_much_memory_there_is(monkeypatch):
    known = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 16384}

    def sysconf(name):
        if name not in known:
            raise ValueError("unrecognized configuration name")
        return known[name]

    monkeypatch.setattr(os, "sysconf", sysconf)
    assert system.memory_without_proc() == 250 * 16384
    monkeypatch.delattr(os, "sysconf")
    assert system.memory_without_proc() == 0


def test_two_ways_to_the_free_memory_agree_roughly():
    """Without ``/proc`` the page cache counts as taken."""
    assert 0 < system.memory_without_proc() < 2 * free_memory() + (1 << 30)


def test_processors_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert system.processors() == os.cpu_count()


def test_no_limits_without_the_module(monkeypatch):
    assert system.limit("RLIMIT_NO_SUCH") is None
    monkeypatch.setattr(system, "_resource", None)
    assert system.limit("RLIMIT_AS") is None


# --- processes -----------------------------------------------------------------------------------

PARENT = """
import subprocess, sys
reading, kept_open = __import__("os").pipe()
child = '''
import sys, time
from cnnviz import system
if sys.argv[2] == "macOS":
    system.c_library = lambda: None
system.end_with_parent(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(60)
'''
subprocess.run([sys.executable, "-c", child, str(reading), sys.argv[1]], pass_fds=[reading])
"""


@pytest.mark.subprocess
@pytest.mark.parametrize("like", ["Linux", "macOS"])
def test_a_worker_ends_with_its_parent(like):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, like], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        began = time.monotonic()
        parent.stdout.read()  # until the worker has closed it, too
        assert time.monotonic() - began < 30


SUPERVISING = """
import signal, subprocess, sys
from cnnviz import system
if sys.argv[1] == "macOS":
    del signal.sigwaitinfo
child = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"]
print(system.run_child(lambda begin: subprocess.Popen(child, preexec_fn=begin)))
"""


@pytest.mark.subprocess
@pytest.mark.parametrize("like", ["Linux", "macOS"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_stops_the_parent_stops_its_worker(like, number):
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISING, like],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # no terminal, where Ctrl-C would reach the worker by itself
    ) as parent:
        assert parent.stdout.readline() == "ready\n"
        parent.send_signal(number)
        told = parent.stdout.readline()
    # Python turns SIGINT into an exception, and ends by the signal itself after it.
    assert told == f"{-number}\n"


def test_systems_without_signals(monkeypatch):
    assert system.signals("SIGINT", "SIGNOTHING") == {signal.SIGINT}


def test_a_progress_bar_needs_no_thread_and_no_process(monkeypatch, recwarn):
    from tqdm import tqdm

    def full(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    # What makes a lock for several processes.
    monkeypatch.setattr("tqdm.std.TqdmDefaultWriteLock", None)
    monkeypatch.delattr(tqdm, "_lock", raising=False)
    system._bar_class.cache_clear()
    monkeypatch.setattr(tqdm, "monitor", None)
    drawn = io.StringIO()
    with system.progress_bar(total=3, file=drawn) as bar:
        bar.update(3)
    assert "3/3" in drawn.getvalue()
    assert not recwarn.list
