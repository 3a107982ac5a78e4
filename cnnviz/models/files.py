"""Networks that users exported: a symbol file (JSON) and a parameter file beside it.

As ``HybridBlock.export``, ``Module.save_checkpoint`` and ``mx.model.save_checkpoint`` write them:
``net-symbol.json`` and ``net-0000.params``. Layers go by the names of the symbol's nodes.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cnnviz.engines.network import Network
from cnnviz.engines.registry import EngineChoice, build_engine
from cnnviz.errors import WeightsError
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.graph import shape_text
from cnnviz.images.input_spec import InputSpec
from cnnviz.importers.mxnet_checks import load_symbol, read_symbol
from cnnviz.importers.mxnet_heads import choose_head
from cnnviz.importers.mxnet_network import SymbolNetwork
from cnnviz.importers.program_source import InputHint
from cnnviz.models.config import ModelConfig
from cnnviz.models.input_choice import check_config, check_memory, choose_spec
from cnnviz.text import listed
from cnnviz.types import Notify
from cnnviz.weights.info import WeightsInfo
from cnnviz.weights.matching import Fit, compare
from cnnviz.weights.params_file import in_float32


class SymbolModel:
    """An exported network that was found; tracing and loading come later.

    Attributes:
        name: what it is called.
        weights: its parameter file, or None.
    """

    def __init__(
        self, config: ModelConfig, *, needs_weights: bool = True, notify: Notify | None = None
    ) -> None:
        """Read the symbol and look for the parameters; MXNet is not needed yet.

        Args:
            config: what is known of it; its ``model`` is a symbol file.
            needs_weights: whether it is an error if there are none.
            notify: called with a sentence whenever something is assumed.

        Raises:
            UsageError: mean and std cannot be right.
            NetworkError: the file is no symbol, or has operators that are not run.
            WeightsError: there are no parameters beside the symbol, and none were given.
        """
        self.config = config
        self.symbol = Path(config.model)
        self.name = config.name or _prefix(self.symbol)
        self._notify = notify or (lambda _text: None)
        self._text = read_symbol(self.symbol)
        check_config(config)
        self.weights, self._source = self._find_weights(needs_weights)

    def _find_weights(self, needed: bool) -> tuple[Path | None, str]:
        if self.config.weights is not None:
            return self.config.weights, "file given by the user"
        found = weights_beside(self.symbol)
        if not found:
            if not needed:
                return None, ""
            raise WeightsError(
                f"There are no parameters beside {self.symbol} "
                f"({_prefix(self.symbol)}-NNNN.params): give them with --weights."
            )
        if len(found) > 1:
            self._notify(
                f"{len(found)} parameter files lie beside {self.symbol}; the last is taken: "
                f"{found[-1].name}. --weights names another."
            )
        return found[-1], "beside the symbol"

    @property
    def spec(self) -> InputSpec:
        """What is fed: from the configuration, else from the symbol, else assumed."""
        return self._traced[1]

    @property
    def architecture(self) -> Architecture:
        """The network without its weights.

        Raises:
            UsageError: the size is not known, there is no such head, or there are several.
            NetworkError: MXNet does not take the symbol, or it is no classifier of images.
            WeightsError: the parameter file cannot be read.
        """
        return self._traced[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes; empty if they have none."""
        return self.architecture.class_names(self.config.labels or (), self.name)

    @property
    def classes(self) -> int:
        """The number of logits."""
        return self.architecture.classes

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        """The parameter file's arrays, ``arg:`` and ``aux:`` taken off; still in the file."""
        if self.weights is None:
            return {}
        from cnnviz.weights.formats import read_weights

        return {
            re.sub(r"^(arg|aux):", "", name): array
            for name, array in read_weights(self.weights).items()
        }

    @cached_property
    def _traced(self) -> tuple[Architecture, InputSpec]:
        symbol = choose_head(
            load_symbol(self._text, self.symbol),
            self.config.head,
            whose=str(self.symbol),
            option="--head",
            attempt=self._read,
        )
        architecture, spec, remarks = self._read(symbol)
        architecture.class_names(
            self.config.labels or (), self.name
        )  # refuses too few, or too many
        for remark in remarks:
            self._notify(remark)
        return architecture, spec

    def _read(self, symbol: Any) -> tuple[Architecture, InputSpec, list[str]]:
        """What is explained of a symbol with one output, what is fed, and what was assumed."""
        network = SymbolNetwork.of(
            symbol,
            self._arrays,
            whose=str(self.symbol),
            source=None if self.weights is None else str(self.weights),
        )
        spec, remarks = choose_spec(self.config, self._hint(network), self.name, str(self.symbol))
        if network.always_dropping:
            remarks.append(
                f"{self.name} drops values at random even in inference (Dropout with "
                f"mode=always, node {listed(network.always_dropping)}); that is left out, so that "
                "the output is the same every time."
            )
        return network.architecture(spec.shape, self.config.activation), spec, remarks

    def _hint(self, network: SymbolNetwork) -> InputHint:
        """What the symbol says of its images."""
        declared = network.declared
        size, channels = None, network.channels
        if declared is not None and len(declared) == 4:
            size = declared[2:] if min(declared[2:]) > 0 else None
            channels = channels or max(declared[1], 0) or None
        if self.config.mean is not None:
            return InputHint(channels, size)
        recognized = network.scale(channels or 3)
        return InputHint(channels, size, *(recognized or (None, None, "")))

    def digest_ahead(self) -> None:
        """Begin in the background with the digest of the parameters."""
        from cnnviz.weights.digests import digest_ahead

        digest_ahead(self.weights, ("sha256",))

    def load(self, choice: EngineChoice, *, progress: bool = True) -> tuple[Network, WeightsInfo]:
        """The network with its weights, in an engine that can run it.

        Args:
            choice: that engine, and where it runs.
            progress: not used; nothing is downloaded.

        Raises:
            WeightsError: parameters are missing or of another shape.
            DeviceError: there is no such device.
        """
        from cnnviz.weights.digests import digest

        if self.weights is None:
            self._find_weights(needed=True)
        assert self.weights is not None  # else an error was raised
        fit = self._fit()
        architecture = self.architecture
        check_memory(architecture, choice, str(self.symbol))
        parameters = in_float32(fit.matched, source=str(self.weights))
        engine = build_engine(
            architecture.graph, parameters, choice.device, choice.name, choice.precision
        )
        del self._arrays  # the engine has them
        sha256 = digest(self.weights, "sha256")
        network = Network(architecture, engine, choice.reason)
        return network, WeightsInfo(self.weights, sha256, self._source)

    def _fit(self) -> Fit:
        """How the parameters fit the network.

        Raises:
            WeightsError: they do not.
        """
        expected = self.architecture.parameter_shapes
        found = {name: (name, self._arrays[name]) for name in expected if name in self._arrays}
        fit = compare(found, expected)
        if fit.good:
            return fit
        advice = ""
        if len(fit.missing) == len(expected):
            advice = (
                " They are another network's, or were saved by save_parameters(): use export()."
            )
        elif fit.misshapen and not fit.missing:
            size = shape_text(self.architecture.input_shape[1:])
            advice = f" Perhaps the network was made for another --input-size than {size}."
        raise WeightsError(f"{self.weights} does not fit {self.symbol}: {fit.problems}.{advice}")


def weights_beside(symbol: Path) -> tuple[Path, ...]:
    """The parameter files ``net-NNNN.params`` beside ``net-symbol.json``, by rising number."""
    pattern = re.compile(re.escape(_prefix(symbol)) + r"-(\d{4,})\.params")
    found = []
    for path in symbol.absolute().parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match and path.is_file():
            found.append((int(match[1]), symbol.parent / path.name))
    return tuple(path for _number, path in sorted(found))


def _prefix(symbol: Path) -> str:
    name = symbol.name[: -len(symbol.suffix)] if symbol.suffix else symbol.name
    return name[: -len("-symbol")] if name.endswith("-symbol") else name
