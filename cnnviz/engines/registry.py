"""Which engines there are, and which one runs a network.

A further engine is one line more in ``_ENGINES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, NamedTuple

from cnnviz.engines.base import FP32, PRECISIONS, Device, Engine, check_precision
from cnnviz.engines.install import what_helps
from cnnviz.errors import DeviceError, NetworkError, UsageError
from cnnviz.graph.graph import Graph
from cnnviz.text import listed, paragraph

AUTO = "auto"


class _Entry(NamedTuple):
    title: str  #: of the framework
    framework: str  #: the package that it needs
    module: str
    engine: str  #: its class there
    precisions: tuple[str, ...]  #: that it can compute in, on some device


#: First choice first.
_ENGINES: Mapping[str, _Entry] = MappingProxyType(
    {
        "mxnet": _Entry("MXNet", "mxnet", "cnnviz.engines.mxnet.engine", "MxnetEngine", (FP32,)),
        "torch": _Entry(
            "PyTorch", "torch", "cnnviz.engines.torch.engine", "TorchEngine", PRECISIONS
        ),
    }
)
#: What an engine may be chosen by.
ENGINES = (AUTO, *_ENGINES)


@dataclass(frozen=True)
class EngineChoice:
    """An engine that can run a network on a device.

    Attributes:
        name: of the engine.
        device: where it will run.
        reason: why not another one, in a clause; empty if it was asked for by name.
        precision: what it will compute in.
    """

    name: str
    device: Device
    reason: str = ""
    precision: str = FP32

    def free_memory(self) -> int:
        """Bytes that a program may still take there; 0 if the system does not tell."""
        return _engine_class(self.name).free_memory(self.device)


def installed() -> tuple[str, ...]:
    """The engines whose framework is there, first choice first."""
    return tuple(name for name, entry in _ENGINES.items() if find_spec(entry.framework))


def engine_title(name: str) -> str:
    """What an engine's framework is called: ``PyTorch``."""
    return _ENGINES[name].title


def check_engine(name: str, precision: str = FP32) -> None:
    """Make sure that an engine is one of ours, installed or not, and has a precision.

    Raises:
        UsageError: there is none, or it has another.
    """
    if name not in ENGINES:
        raise UsageError(f"There is no engine '{name}': use {', '.join(ENGINES)}.")
    if name != AUTO and precision in PRECISIONS and precision not in _ENGINES[name].precisions:
        raise UsageError(
            f"{_computes_in(name)}; got precision {precision}. Use --engine torch, or leave "
            "--engine out."
        )


def choose_engine(
    device: Device, graph: Graph, asked: str = AUTO, precision: str = FP32
) -> EngineChoice:
    """The engine that runs a network on a device.

    ``auto`` takes the first that is installed, has all of the graph's operators and can use the
    device: MXNet on a CPU, say, and PyTorch on a GPU that MXNet cannot use. Only frameworks that
    come into question are imported, in this order, up to the first that will do.

    Args:
        device: where it is to run.
        graph: what is to be run.
        asked: one of :data:`ENGINES`.
        precision: one of :data:`~cnnviz.engines.base.PRECISIONS`.

    Raises:
        UsageError: there is no such engine, or it or the device does not compute in the precision.
        NetworkError: none can run the network; the text says what to install on this machine.
        DeviceError: none can use the device; likewise.
    """
    check_engine(asked, precision)
    check_precision(precision, device)
    obstacles: dict[str, str] = {}
    for name in _ENGINES if asked == AUTO else (asked,):
        obstacle = _obstacle(name, device, graph, precision)
        if obstacle is None:
            reason = "" if asked != AUTO else _reason(name, graph, precision, obstacles)
            return EngineChoice(name, device, reason, precision)
        obstacles[name] = obstacle
    raise _none_can(device, graph, asked, precision, obstacles)


def _computes_in(name: str) -> str:
    return f"{engine_title(name)} computes in {' and '.join(_ENGINES[name].precisions)} only"


def lack(name: str, graph: Graph, precision: str = FP32) -> str | None:
    """What an engine lacks to run a network, in a clause, as far as that shows without it."""
    title = engine_title(name)
    if name not in installed():
        return f"{title} is not installed"
    if precision not in _ENGINES[name].precisions:
        return _computes_in(name)
    lacking = _engine_class(name).lacks(graph)
    if not lacking:
        return None
    word = "operator" if len(lacking) == 1 else "operators"
    return f"{title} does not run the {word} {listed(lacking)}"


def _obstacle(name: str, device: Device, graph: Graph, precision: str) -> str | None:
    """Why an engine cannot run a network on a device, in a clause; None if it can."""
    return lack(name, graph, precision) or _engine_class(name).obstacle(device)


def _reason(chosen: str, graph: Graph, precision: str, obstacles: Mapping[str, str]) -> str:
    """Why none of the others was chosen; those behind the one chosen are not imported for it."""
    for obstacle in obstacles.values():
        return obstacle.partition(". ")[0]  # without what to do about it
    others = [name for name in _ENGINES if name != chosen]
    return "; ".join(
        lack(name, graph, precision)
        or f"{engine_title(name)} is installed, too: --engine {name} chooses it"
        for name in others
    )


def _none_can(
    device: Device, graph: Graph, asked: str, precision: str, obstacles: Mapping[str, str]
) -> DeviceError | NetworkError:
    """The error that says why, and what helps."""
    have = installed()
    broken = [obstacle for name, obstacle in obstacles.items() if name in have]
    if (
        device.kind == "cpu"
        and asked == AUTO
        and len(broken) == 1
        and not lack(have[0], graph, precision)
    ):
        return NetworkError(f"{broken[0]}.")  # it cannot be imported, and says what helps
    # Last what may bring advice of its own.
    clauses = "; ".join(sorted(obstacles.values(), key=lambda one: "`pip " in one))
    others = [name for name in _ENGINES if name not in obstacles]
    able = [name for name in others if _obstacle(name, device, graph, precision) is None]
    if able:
        advice = f"Leave out --engine, or give --engine {able[0]}: it can."
    else:
        advice = "" if "`pip " in clauses else what_helps(device, tuple(obstacles), have)
    subject = "No engine can" if asked == AUTO else f"{engine_title(asked)} cannot"
    text = paragraph(f"{subject} run this network on {device}: {clauses}.", advice)
    return NetworkError(text) if device.kind == "cpu" else DeviceError(text)


def build_engine(
    graph: Graph,
    parameters: Mapping[str, Any],
    device: Device,
    name: str = AUTO,
    precision: str = FP32,
) -> Engine:
    """A graph with its parameters on a device.

    Args:
        graph: in inference form.
        parameters: by name, NumPy's arrays or the engine's own framework's.
        device: where it runs.
        name: one of :data:`ENGINES`.
        precision: one of :data:`~cnnviz.engines.base.PRECISIONS`.

    Raises:
        UsageError: there is no such engine, or it cannot compute with such a precision there.
        NetworkError: a parameter is missing, or the engine lacks an operator.
        DeviceError: the device cannot be used.
    """
    check_engine(name)
    if name == AUTO:
        name = choose_engine(device, graph, precision=precision).name
    return _engine_class(name)(graph, parameters, device, precision=precision)


def _engine_class(name: str) -> type[Engine]:
    """An engine by its name; its framework is imported when it is needed."""
    entry = _ENGINES[name]
    found: type[Engine] = getattr(import_module(entry.module), entry.engine)
    return found
