"""MXNet's devices."""

from __future__ import annotations

from cnnviz import machine
from cnnviz.engines.base import Device
from cnnviz.engines.mxnet import runtime
from cnnviz.engines.mxnet.runtime import free_memory
from tests.support.mxnet import import_mxnet

mx = import_mxnet()


def test_free_memory_of_the_cpu_is_the_machines(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 789)
    assert free_memory(Device("cpu")) == 789


def test_free_memory_of_a_gpu(monkeypatch):
    """What the driver says of this GPU; the CPU's memory does not matter."""
    asked = []
    monkeypatch.setattr(runtime, "context", asked.append)
    told = {1: (123, 456)}
    monkeypatch.setattr(mx.context, "gpu_memory_info", told.__getitem__)
    assert free_memory(Device("gpu", 1)) == 123
    assert asked == [Device("gpu", 1)]
