"""Threads and free memory, as far as a process may use them."""

from __future__ import annotations

import sys

import pytest

from cnnviz import machine, system
from cnnviz.errors import UsageError
from cnnviz.machine import free_memory, set_threads, threads

KIB = 1024


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [("3", 3), (" 4,2", 4), ("", 6), ("0", 6), ("many", 6), (None, 6)],
)
def test_threads(monkeypatch, variable, wanted):
    monkeypatch.setattr(machine, "available_cores", lambda: 6)
    if variable is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert threads() == wanted


def test_threads_cannot_be_set_after_the_import(monkeypatch):
    monkeypatch.setitem(sys.modules, "mxnet", object())
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    set_threads(2)
    with pytest.raises(UsageError, match=r"3 threads any more.* imported it with 2"):
        set_threads(3)
    assert threads() == 2
    monkeypatch.delitem(sys.modules, "mxnet")
    set_threads(3)
    assert threads() == 3


MEMINFO = "MemTotal:       9000 kB\nMemFree:         100 kB\nMemAvailable:   8000 kB\n"
GROUP = "/sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 0),
        ({"/proc/meminfo": MEMINFO}, 8000 * KIB),
        # No limit in a cgroup.
        (
            {
                "/proc/meminfo": MEMINFO,
                f"{GROUP}/memory.max": "max\n",
                f"{GROUP}/memory.current": "5\n",
            },
            8000 * KIB,
        ),
        # Version 2: 1000 KiB less 600, of which 50 are a cache that can be dropped.
        (
            {
                "/proc/meminfo": MEMINFO,
                "/proc/self/cgroup": "0::/job/part\n",
                f"{GROUP}/memory.max": f"{5000 * KIB}\n",
                f"{GROUP}/memory.current": "0\n",
                f"{GROUP}/job/memory.max": f"{1000 * KIB}\n",
                f"{GROUP}/job/memory.current": f"{600 * KIB}\n",
                f"{GROUP}/job/memory.stat": f"anon 7\ninactive_file {50 * KIB}\nfile 3\n",
                f"{GROUP}/job/part/memory.max": "max\n",
            },
            450 * KIB,
        ),
        # Version 1, over its limit.
        (
            {
                "/proc/meminfo": MEMINFO,
                f"{GROUP}/memory/memory.limit_in_bytes": "1000\n",
                f"{GROUP}/memory/memory.usage_in_bytes": "1200\n",
                f"{GROUP}/memory/memory.stat": "inactive_file 500\ntotal_inactive_file 100\n",
            },
            0,
        ),
    ],
)
def test_free_memory(monkeypatch, files, free):
    monkeypatch.setattr(machine, "_read", lambda path: files.get(str(path), ""))
    monkeypatch.setattr(system, "memory_without_proc", lambda: 0)
    assert free_memory() == free


def test_free_memory_here():
    assert 0 < free_memory() < 2**50
