"""Named networks: see :mod:`cnnviz.models.zoo`."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from cnnviz.errors import UsageError
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.ends import End, bare_end
from cnnviz.images.input_spec import InputSpec, check_scale
from cnnviz.models import zoo
from cnnviz.models.config import ModelConfig
from cnnviz.models.zoo_weights import cached_weights, load_weights
from cnnviz.types import Notify, Shape
from cnnviz.weights.info import WeightsInfo

if TYPE_CHECKING:
    from cnnviz.engines.network import Network
    from cnnviz.engines.registry import EngineChoice


class ZooModel:
    """A network that ``--model`` takes by name."""

    def __init__(self, config: ModelConfig, *, notify: Notify | None = None) -> None:
        """Look it up; no framework is needed yet.

        Raises:
            UsageError: there is no such network, or the configuration does not suit it.
        """
        entry = zoo.get(config.model)
        if config.head is not None:
            raise UsageError(
                f"{entry.name} has one output; --head is for exported networks with several."
            )
        check_scale(config.mean, config.std)
        self.config = config
        self.name = config.name or entry.name
        self._labels = zoo.labels(entry) if config.labels is None else config.labels
        own = replace(entry.input, channels=config.channels or entry.input.channels)
        self.spec = InputSpec(
            *(config.input_size or (own.height, own.width)),
            config.mean or own.ordered(own.mean),
            config.std or own.ordered(own.std),
            own.channels,
            config.range,
            config.display_channels or (),
            config.resize or own.resize,
            config.crop_fraction,
            config.interpolation or own.interpolation,
        )
        if len(self.spec.mean) != len(entry.input.mean):
            raise UsageError(
                f"{entry.name} takes color images: give three numbers each for mean and std."
            )
        self._entry = entry
        self._notify = notify

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        # One output is a yes or no; more need not be looked at to be counted.
        if len(self._labels) > 1:
            return self._labels
        return self.architecture.class_names(self._labels, self.name)

    @property
    def classes(self) -> int:
        """The number of logits."""
        return len(self.labels)

    @cached_property
    def architecture(self) -> Architecture:
        """The network without its weights.

        Raises:
            UsageError: it does not take images of the size asked for.
        """
        classes, usual = len(self._labels), self._entry.input.shape
        end = bare_end(classes, self.config.activation)
        architecture = _architecture(self._entry, classes, self.spec.shape, end)
        fits = (
            self.spec.shape == usual
            or _built(self._entry, classes, usual).graph.parameters == architecture.parameter_shapes
        )
        if not fits:
            raise UsageError(
                f"{self._entry.name} takes only images of {usual[1]}x{usual[2]}: its dense "
                "layers are made for these. Leave out --input-size."
            )
        return architecture

    def digest_ahead(self) -> None:
        """Begin in the background with the digests of weights that are on this machine."""
        from cnnviz.weights.digests import digest_ahead

        if self.config.weights is not None:
            digest_ahead(self.config.weights, ("sha256",))
        else:  # weights from the store are checked by their SHA-1, and recorded by their SHA-256
            digest_ahead(cached_weights(self._entry), ("sha256", "sha1"))

    def load(self, choice: EngineChoice, *, progress: bool = True) -> tuple[Network, WeightsInfo]:
        """The network with its weights, which may be downloaded, in an engine that can run it.

        Raises:
            WeightsError: the weights cannot be had or read, or belong to another network.
            DeviceError: there is no such device.
        """
        from cnnviz.engines.network import Network
        from cnnviz.engines.registry import build_engine

        architecture = self.architecture
        parameters, found = load_weights(
            self._entry,
            architecture.graph,
            self.config.weights,
            as_given=self.config.mean is not None or self.config.std is not None,
            progress=progress,
            notify=self._notify,
        )
        engine = build_engine(
            architecture.graph, parameters, choice.device, choice.name, choice.precision
        )
        return Network(architecture, engine, choice.reason), found


_built = lru_cache(maxsize=8)(zoo.build)


@lru_cache(maxsize=8)
def _architecture(entry: zoo.ZooEntry, classes: int, shape: Shape, end: End) -> Architecture:
    """A network without its weights, the same for both sides of a comparison, say."""
    graph, paths = _built(entry, classes, shape)
    return Architecture(graph, paths, end)
