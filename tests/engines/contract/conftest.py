"""Every test here runs on every engine that is installed."""

from __future__ import annotations

from functools import partial

import pytest

from cnnviz.engines import registry
from cnnviz.engines.base import Device

ENGINES = [
    pytest.param(name, marks=pytest.mark.needs(name))
    for name in registry.ENGINES
    if name != registry.AUTO
]


@pytest.fixture(scope="module", params=ENGINES)
def build(request):
    """A function of a graph and its parameters that gives an engine on the CPU."""
    return partial(registry.build_engine, device=Device("cpu"), name=request.param)
