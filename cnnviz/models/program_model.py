"""Networks that are read as programs of tensors: ONNX files, exported PyTorch modules."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from cnnviz.errors import NetworkError
from cnnviz.graph.architecture import Architecture
from cnnviz.images.input_spec import InputSpec
from cnnviz.importers.program_source import (
    LEAST_HALF,
    MOST_APART,
    MOST_APART_HALF,
    MOST_APART_QUANTIZED,
    ProgramSource,
)
from cnnviz.models.config import ModelConfig
from cnnviz.models.input_choice import check_config, check_memory, choose_spec
from cnnviz.types import Float32, Float64, Notify
from cnnviz.weights.info import WeightsInfo

if TYPE_CHECKING:
    import numpy.typing as npt

    from cnnviz.engines.network import Check, Network
    from cnnviz.engines.registry import EngineChoice
    from cnnviz.importers.tail import Headed
    from cnnviz.importers.tensors import TensorProgram

_TINY = 1e-30


class ProgramModel:
    """A network that was found, with its weights in it; reading comes later.

    Attributes:
        config: what was said of it.
        name: what it is called.
    """

    def __init__(
        self, config: ModelConfig, source: ProgramSource, *, notify: Notify | None = None
    ) -> None:
        """Take it.

        Args:
            config: what is known of it.
            source: reads it.
            notify: called with a sentence whenever something is assumed.

        Raises:
            UsageError: mean and std cannot be right.
        """
        check_config(config)
        self.config = config
        self.name = config.name or source.name
        self._source = source
        self._whose = str(source.file or source.name)
        self._notify = notify or (lambda _text: None)

    @cached_property
    def spec(self) -> InputSpec:
        """What is fed: from the configuration, else from the file, else assumed."""
        spec, remarks = choose_spec(self.config, self._source.hint, self.name, self._whose)
        for remark in remarks:
            self._notify(remark)
        return spec

    @cached_property
    def _program(self) -> TensorProgram:
        program = self._source.program(self.spec.shape, self.config.head)
        for remark in self._source.remarks:
            self._notify(remark)
        return program

    @cached_property
    def _headed(self) -> Headed:
        from cnnviz.importers.tail import read_tail

        program = self._program
        return read_tail(program.graph, self.config.activation, outputs=program.outputs)

    @cached_property
    def architecture(self) -> Architecture:
        """The network without its weights.

        Raises:
            UsageError: the size is not known, there is no such head, or there are several.
            NetworkError: it cannot be read, or it is no classifier of images.
        """
        headed = self._headed
        architecture = Architecture(headed.graph, headed.paths(self._program.paths), headed.end)
        # Refuses too few, or too many.
        architecture.class_names(self.config.labels or (), self.name)
        return architecture

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes; empty if they have none."""
        own = self._source.hint.labels
        if self.config.labels is None and len(own) == self.classes:
            return self.architecture.class_names(own, self.name)
        return self.architecture.class_names(self.config.labels or (), self.name)

    @property
    def classes(self) -> int:
        """The number of logits."""
        return self.architecture.classes

    def digest_ahead(self) -> None:
        """Begin in the background with the digests of its files."""
        from cnnviz.weights.digests import digest_ahead

        for file in self._source.files:
            digest_ahead(file, ("sha256",))

    def load(
        self, choice: EngineChoice, *, progress: bool = True
    ) -> tuple[Network, WeightsInfo | None]:
        """The network with its weights, in an engine that can run it.

        Args:
            choice: that engine, and where it runs.
            progress: not used; nothing is downloaded.

        Raises:
            NetworkError: something else that runs it here gives other numbers.
            WeightsError: a weight is NaN.
            DeviceError: there is no such device.
        """
        from cnnviz.engines.network import Network
        from cnnviz.engines.registry import build_engine
        from cnnviz.weights.digests import digest_of_all
        from cnnviz.weights.params_file import check_numbers

        architecture = self.architecture
        check_memory(architecture, choice, self._whose)
        parameters = {
            name: self._program.parameters[name] for name in architecture.parameter_shapes
        }
        for name, array in parameters.items():
            check_numbers(name, array, self._whose)
        engine = build_engine(
            architecture.graph, parameters, choice.device, choice.name, choice.precision
        )
        file = self._source.file
        weights = None
        if file is not None:
            weights = WeightsInfo(file, digest_of_all(self._source.files), self._source.origin)
        network = Network(architecture, engine, choice.reason)
        network.unchecked = self._source.unchecked
        network.check = self._checked(network)
        del self._program  # the engine has its parameters
        return network, weights

    def _checked(self, network: Network) -> Check | None:
        """Run one random image by whatever else runs the network here, and refuse what differs."""
        import numpy as np

        from cnnviz.engines.network import Check

        reference = self._source.reference
        if reference is None:
            return None
        image = self._random_image()
        most_apart = self._source.most_apart
        rounded = most_apart > MOST_APART

        def reference_scores() -> Float64:
            output = self._source.reference_output(image, self.config.head)
            network.unchecked = self._incomparable(output, reference)
            return self._headed.compared_output(output, rounded=rounded)

        with np.errstate(all="ignore"):
            theirs = reference_scores()
            if network.unchecked:
                return None
            ours = self._headed.compared(network.logits(image), rounded=rounded)
            apart = _apart(ours, theirs)
            if not apart <= most_apart and not _apart(reference_scores(), theirs) <= most_apart:
                network.unchecked = (
                    f"{self._whose} gives other numbers each time that {reference} runs it, as "
                    "dropout and noise do; it was not compared with what cnnviz computes, without "
                    "dropout."
                )
                return None
        if not apart <= most_apart:
            place = int(np.abs(ours - theirs).argmax())
            raise NetworkError(
                f"{self._whose} is not read as {reference} runs it: for one random image class "
                f"{place} comes out as {ours[place]:.6g} here and {theirs[place]:.6g} there. This "
                "is a fault of cnnviz: please report it with the file."
            )
        if most_apart == MOST_APART_QUANTIZED:
            network.unchecked = (
                f"For one random image what {self._whose} gives in {reference} differs by "
                f"{apart:.1%} of the largest number from what it gives here."
            )
        return Check(reference, apart)

    def _incomparable(self, output: npt.NDArray[Any], reference: str) -> str:
        """Why what was computed elsewhere cannot be compared, as a sentence; empty if it can."""
        import numpy as np

        most_apart, finite = self._source.most_apart, bool(np.isfinite(output).all())
        if most_apart == MOST_APART_HALF and not LEAST_HALF <= np.abs(output).max() < np.inf:
            what = "loses its small scores" if finite else "overflows"
            return (
                f"{self._whose} {what} in half precision as {reference} runs it, not in float32 "
                "as cnnviz does: the two were not compared."
            )
        if finite:
            return ""
        return (
            f"{self._whose} gives NaN or infinity for a random image in {reference}, with which "
            "cnnviz was not compared therefore."
        )

    def _random_image(self) -> Float32:
        """As the network takes it: whole numbers that a byte holds, signed or not, or any."""
        import numpy as np

        random, shape = np.random.default_rng(0), (1, *self.spec.shape)
        if self._source.takes_bytes:
            return random.integers(0, 128, shape).astype(np.float32)
        return random.standard_normal(shape).astype(np.float32)


def _apart(ours: Float64, theirs: Float64) -> float:
    """By how much the scores of an image differ, relative to the largest."""
    import numpy as np

    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), _TINY))
