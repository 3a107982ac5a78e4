"""What every kind of network that was found can do, before its weights are loaded and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cnnviz.graph.architecture import Architecture
from cnnviz.images.input_spec import InputSpec
from cnnviz.models.config import ModelConfig
from cnnviz.weights.info import WeightsInfo

if TYPE_CHECKING:
    from cnnviz.engines.network import Network
    from cnnviz.engines.registry import EngineChoice


class ModelSource(Protocol):
    """A network that was found, by name or in files. Each step is done when asked for."""

    config: ModelConfig
    name: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; empty if they have none."""

    @property
    def classes(self) -> int:
        """The number of logits."""

    @property
    def spec(self) -> InputSpec:
        """What the network is fed."""

    @property
    def architecture(self) -> Architecture:
        """The network without its weights."""

    def digest_ahead(self) -> None:
        """Begin in the background with the digest of weights that are on this machine."""

    def load(
        self, choice: EngineChoice, *, progress: bool = True
    ) -> tuple[Network, WeightsInfo | None]:
        """The network with its weights, in an engine that can run it; where these come from."""
