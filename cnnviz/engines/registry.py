"""Which engines there are, and which one runs a network.

A second engine is one line more in ``_ENGINES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, NamedTuple

from cnnviz.engines.base import Device, Engine
from cnnviz.errors import UsageError
from cnnviz.graph.graph import Graph

AUTO = "auto"


class _Entry(NamedTuple):
    framework: str  #: the package that it needs
    module: str
    engine: str  #: its class there


#: First choice first.
_ENGINES: Mapping[str, _Entry] = MappingProxyType(
    {
        "mxnet": _Entry("mxnet", "cnnviz.engines.mxnet.engine", "MxnetEngine"),
        "torch": _Entry("torch", "cnnviz.engines.torch.engine", "TorchEngine"),
    }
)
#: What an engine may be chosen by.
ENGINES = (AUTO, *_ENGINES)


def installed() -> tuple[str, ...]:
    """The engines whose framework is there, first choice first."""
    return tuple(name for name, entry in _ENGINES.items() if find_spec(entry.framework))


def engine_class(name: str = AUTO) -> type[Engine]:
    """An engine by its name; ``auto`` takes the first whose framework is installed.

    Raises:
        UsageError: there is none of this name.
        NetworkError: its framework cannot be imported.
    """
    if name == AUTO:
        name = next(iter((*installed(), *_ENGINES)))
    if name not in _ENGINES:
        raise UsageError(f"There is no engine '{name}': use {', '.join(ENGINES)}.")
    entry = _ENGINES[name]
    found: type[Engine] = getattr(import_module(entry.module), entry.engine)
    return found


def build_engine(
    graph: Graph, parameters: Mapping[str, Any], device: Device, name: str = AUTO
) -> Engine:
    """A graph with its parameters on a device.

    Args:
        graph: in inference form.
        parameters: by name, NumPy's arrays or the engine's own framework's.
        device: where it runs.
        name: one of :data:`ENGINES`.

    Raises:
        UsageError: there is no such engine.
        NetworkError: a parameter is missing, or the engine lacks an operator.
        DeviceError: the device cannot be used.
    """
    return engine_class(name)(graph, parameters, device)
