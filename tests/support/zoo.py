"""The zoo's networks as Gluon builds them, each traced but once in a run of the tests."""

from __future__ import annotations

from functools import cache
from typing import Any

from cnnviz.graph.architecture import Architecture
from cnnviz.importers.gluon import architecture_of_block
from cnnviz.models import catalog


@cache
def traced(name: str) -> tuple[Any, Architecture]:
    """The network with its usual classes, without weights: Gluon's block, and what it traces to."""
    entry = catalog.get(name)
    block = catalog.build_block(entry)
    return block, architecture_of_block(block, entry.input.shape)
