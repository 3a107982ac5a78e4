"""An engine for tests that run a network and do not care which one does."""

from __future__ import annotations

from cnnviz.engines.base import Device
from cnnviz.engines.registry import EngineChoice, installed

CPU = Device("cpu")
#: The first engine that is installed, on the CPU.
ON_CPU = EngineChoice(installed()[0], CPU)
