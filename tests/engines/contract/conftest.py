"""Every test here runs on every engine that is installed."""

from __future__ import annotations

from functools import partial

import pytest

from cnnviz.engines import registry
from cnnviz.engines.base import Device

NAMES = [name for name in registry.ENGINES if name != registry.AUTO]
MARKS = {
    "mxnet": pytest.mark.skipif("mxnet" not in registry.installed(), reason="needs MXNet"),
    "torch": pytest.mark.needs("torch"),
}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS[name]) for name in NAMES])
def build(request):
    """A function of a graph and its parameters that gives an engine on the CPU."""
    return partial(registry.build_engine, device=Device("cpu"), name=request.param)
