"""Networks that users exported: a symbol file (JSON) and a parameter file beside it.

As ``HybridBlock.export``, ``Module.save_checkpoint`` and ``mx.model.save_checkpoint`` write them:
``net-symbol.json`` and ``net-0000.params``. Layers go by the names of the symbol's nodes.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz.engines.base import parse_device
from cnnviz.engines.mxnet.runtime import first_line, import_mxnet
from cnnviz.engines.mxnet.symbol import Entry, Graph, Node, for_inference
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine, engine_class
from cnnviz.errors import NetworkError, UsageError, WeightsError
from cnnviz.graph.architecture import Architecture, shape_text
from cnnviz.images.input_spec import CHANNEL_ORDERS, InputSpec, check_scale, option_value
from cnnviz.importers.mxnet_heads import choose_head
from cnnviz.importers.mxnet_symbol import DATA, architecture_of, check_operators
from cnnviz.models.config import ModelConfig
from cnnviz.models.input_scale import recognize_scale
from cnnviz.text import counted, listed
from cnnviz.types import Shape
from cnnviz.weights.info import WeightsInfo
from cnnviz.weights.params_file import check_finite, is_name, shown

Notify = Callable[[str], None] | None


#: Operators that run code of the user's process, follow an address that stands in the file, or read
#: files: a network that somebody sent must not.
_FOREIGN = {
    "Custom",
    "_CachedOp",
    "_CachedOpThreadSafe",
    "_CustomFunction",
    "_NDArray",
    "_Native",
    "_cvimread",
    "_npi_Custom",
    "_npi_cvimread",
}
#: What no network computes its answer with: random numbers, steps of training, gradients, and
#: operators that write into their inputs. Several of these take any input, and crash on most.
_NOT_FOR_ANSWERS = re.compile(
    r"_?(random|sample)_\w+|_image_random_\w+|_npx__image_random_\w+|_npi_random_\w+|_?shuffle"
    r"|normal|uniform|_npi_(bernoulli|choice|exponential|gamma|gumbel|logistic|multinomial|normal"
    r"|pareto|powerd|rayleigh|shuffle|uniform|weibull)(_n)?"
    r"|\w+_update(_\w+)?|_npi_boolean_mask_assign_\w+|_(npi_)?copyto|_set_value|_(npi_)?scatter_set_nd"
    r"|_onehot_encode|reset_arrays|\w*_backward(_\w+)?|_NoGradient|_contrib_(dgl_\w+|edge_id)"
)
#: Attributes that MXNet divides by without a look at them: 0 ends the process.
_DIVISORS = {"block_size", "num_deformable_group", "num_group", "num_groups", "num_outputs"}
#: Operators that make numbers out of their attributes alone.
_FROM_NOTHING = {"_arange", "_eye", "_full", "_linspace", "_ones", "_zeros", "_zeros_without_dtype"}
_QUANTIZED = re.compile(r"_contrib_(quantize|dequantize|requantize)|_sg_mkldnn_")

#: From which input on an operator's inputs are parameters.
_FIRST_PARAMETER = {
    "BatchNorm": 1,
    "BatchNorm_v1": 1,
    "Convolution": 1,
    "Convolution_v1": 1,
    "Deconvolution": 1,
    "Embedding": 1,
    "FullyConnected": 1,
    "GroupNorm": 1,
    "InstanceNorm": 1,
    "LayerNorm": 1,
    "LeakyReLU": 1,
    "_contrib_SyncBatchNorm": 1,
}
#: What may stand before the first convolution without changing the number of channels.
_BEFORE_CONVOLUTION = {
    "Activation",
    "BatchNorm",
    "Cast",
    "LeakyReLU",
    "_copy",
    "_div_scalar",
    "_minus_scalar",
    "_mul_scalar",
    "_plus_scalar",
    "_rdiv_scalar",
    "_rminus_scalar",
    "amp_cast",
    "broadcast_add",
    "broadcast_div",
    "broadcast_mul",
    "broadcast_sub",
    "clip",
}
_SHAPE = "__shape__"


class SymbolModel:
    """An exported network that was found; tracing and loading come later.

    Attributes:
        name: what it is called.
        weights: its parameter file, or None.
    """

    def __init__(
        self, config: ModelConfig, *, needs_weights: bool = True, notify: Notify = None
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
        check_scale(config.mean, config.std)
        if (config.mean is None) != (config.std is None):
            missing = "std" if config.std is None else "mean"
            raise UsageError(f"Mean and std belong together; no {missing} was given.")
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
            _load(self._text, self.symbol),
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
        graph = Graph.from_symbol(symbol)
        inference = for_inference(graph)
        paths: dict[Entry, list[str]] = {}
        for index, node in enumerate(graph.nodes):
            if Entry(index) in inference.moved:  # a dropout's name leads to what it is fed
                paths.setdefault(inference.moved[Entry(index)], []).append(node.name)
        shapes = {
            node.name: shape for node in graph.nodes if (shape := _shape_of(node)) is not None
        }
        data = self._find_input(inference.graph)
        declared = shapes.pop(data, None)
        shapes.update((name, array.shape) for name, array in self._arrays.items())
        ready = _with_input(inference.graph, data)
        check_operators(ready)
        spec, remarks = self._input_spec(declared, _channels(ready, shapes), ready)
        always = [
            node.name
            for node in graph.nodes
            if node.op == "Dropout" and node.attrs.get("mode") == "always"
        ]
        if always:
            remarks.append(
                f"{self.name} drops values at random even when it answers (Dropout with "
                f"mode=always, node {listed(always)}); that is left out, so that the answer is the "
                "same every time."
            )
        architecture = architecture_of(
            ready, spec.shape, paths, shapes, self._arrays.get, self.config.activation
        )
        return architecture, spec, remarks

    def _find_input(self, graph: Graph) -> str:
        """The one variable that is neither a parameter nor at a parameter's place."""
        names = [
            name
            for name in _free_variables(graph)
            if name not in self._arrays and not (self.weights is None and _is_parameter_name(name))
        ]
        if len(names) == 1:
            return names[0]
        if not names:
            raise NetworkError(
                f"{self.symbol} has no input: all its variables are parameters, or "
                f"{self.weights} has values for them."
            )
        if self.weights is None and DATA in names:
            return DATA
        raise NetworkError(
            f"{self.symbol} has {len(names)} inputs ({', '.join(names)}); cnnviz explains networks "
            f"with one, the image. Parameters among them are not in {self.weights}."
        )

    def _input_spec(
        self, declared: Shape | None, channels: int | None, graph: Graph
    ) -> tuple[InputSpec, list[str]]:
        """As configured; else as the symbol says itself; else assumed, with a remark that says so.

        Args:
            declared: the shape that the symbol gives its input.
            channels: that its first convolution takes.
            graph: the network.
        """
        config = self.config
        size = config.input_size
        order = config.channels or CHANNEL_ORDERS[0]
        known = declared is not None and len(declared) == 4
        if size is None:
            if declared is None or not known or min(declared[2:]) < 1:
                raise UsageError(
                    f"{self.symbol} does not say how large its images are: give --input-size, "
                    "such as 224 or 480x640."
                )
            size = declared[2], declared[3]
        if channels is None and declared is not None and known and declared[1] > 0:
            channels = declared[1]
        if channels not in (None, 1, 3):
            raise NetworkError(
                f"{self.symbol} takes {channels} channels; cnnviz feeds it color (3) or gray (1)."
            )
        if config.mean is None or config.std is None:
            known_scale = recognize_scale(graph, DATA, channels or 3, self._arrays.get)
            if known_scale is not None:
                mean, std, reason = known_scale
            elif channels == 1:
                mean, std, reason = (0.0,), (1.0,), "pixels from 0 to 1 are assumed"
            else:
                mean, std, reason = (), (), "ImageNet's are assumed"
            spec = InputSpec(*size, mean, std, order)
            remark = (
                f"No mean and std were given for {self.name}; {reason}: "
                f"--mean {option_value(spec.mean)} --std {option_value(spec.std)}"
                f"{'' if order == CHANNEL_ORDERS[0] else f' --channels {order}'}."
            )
            return spec, [remark]
        if len(config.mean) != len(config.std):
            raise UsageError(
                f"Mean has {counted(len(config.mean), 'number')} and std "
                f"{counted(len(config.std), 'number')}: give as many for each."
            )
        if channels is not None and channels != len(config.mean):
            kind = "a gray image (1 channel)" if channels == 1 else "color (3 channels)"
            raise UsageError(
                f"{self.name} takes {kind}, and mean and std have "
                f"{counted(len(config.mean), 'number')}: give {channels} each."
            )
        return InputSpec(*size, config.mean, config.std, order), []

    def digest_ahead(self) -> None:
        """Begin in the background with the digest of the parameters."""
        from cnnviz.weights.digests import digest_ahead

        digest_ahead(self.weights, ("sha256",))

    def load(self, device: str, *, progress: bool = True) -> tuple[Network, WeightsInfo]:
        """The network with its weights on a device.

        Args:
            device: ``cpu``, ``gpu`` or ``gpu:N``.
            progress: not used; nothing is downloaded.

        Raises:
            WeightsError: parameters are missing or of another shape.
            DeviceError: there is no such device.
        """
        from cnnviz.weights.digests import digest

        if self.weights is None:
            self._find_weights(needed=True)
        assert self.weights is not None  # else an error was raised
        expected = self.architecture.parameter_shapes
        self._check(expected)
        self._check_memory(device)
        parameters = {}
        for name in expected:
            with np.errstate(over="ignore"):  # of doubles too large for singles, which are told
                parameters[name] = self._arrays[name].astype(np.float32, copy=False)
            check_finite(name, parameters[name], str(self.weights))
        engine = build_engine(self.architecture.graph, parameters, parse_device(device))
        del self._arrays  # the engine has them
        sha256 = digest(self.weights, "sha256")
        return Network(self.architecture, engine), WeightsInfo(self.weights, sha256, self._source)

    def _check_memory(self, device: str) -> None:
        """Refuse what would take all memory."""
        shapes = self.architecture.graph.shapes
        needed = 4 * sum(math.prod(shape) for outputs in shapes for shape in outputs)
        free = engine_class().free_memory(parse_device(device))
        if 0 < free < needed:
            raise NetworkError(
                f"What {self.symbol} computes for one image takes {needed / 1e9:,.1f} GB, and "
                f"{free / 1e9:,.1f} GB are free on {device}. Is it damaged, or --input-size wrong?"
            )

    def _check(self, expected: Mapping[str, Shape]) -> None:
        missing = [name for name in expected if name not in self._arrays]
        other = [
            f"{name} {self._arrays[name].shape} instead of {shape}"
            for name, shape in expected.items()
            if name in self._arrays and self._arrays[name].shape != shape
        ]
        no_numbers = [
            f"{name} {self._arrays[name].dtype}"
            for name in expected
            if name in self._arrays and not np.issubdtype(self._arrays[name].dtype, np.floating)
        ]
        parts = []
        if missing:
            parts.append(
                f"{len(missing)} of {len(expected)} parameters are missing ({listed(missing)})"
            )
        if other:
            parts.append(
                f"{len(other)} {'has' if len(other) == 1 else 'have'} another shape "
                f"({listed(other)})"
            )
        if no_numbers:
            parts.append(f"{len(no_numbers)} are not floating point ({listed(no_numbers)})")
        if not parts:
            return
        advice = ""
        if len(missing) == len(expected):
            advice = (
                " They are another network's, or were saved by save_parameters(): use export()."
            )
        elif other and not missing:
            size = shape_text(self.architecture.input_shape[1:])
            advice = f" Perhaps the network was made for another --input-size than {size}."
        raise WeightsError(
            f"{self.weights} does not fit {self.symbol}: {'; '.join(parts)}.{advice}"
        )


def read_symbol(path: Path) -> str:
    """A symbol file's text, after a look at what is in it; MXNet is not needed.

    MXNet trusts such a file and makes its operators while it reads it, so that this comes before.

    Raises:
        NetworkError: it cannot be read, is no symbol, or has operators that are not run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise NetworkError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise NetworkError(f"{path} is not JSON: it is no text file.") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"{path} is not JSON ({error}).") from error
    if not _is_symbol(document):
        raise NetworkError(
            f"{path} is JSON, but no network: wanted is the symbol that HybridBlock.export() or "
            "save_checkpoint() writes."
        )
    for node in _all_nodes(document):
        operator, name = node["op"], node["name"]
        if operator not in ("null", *_FROM_NOTHING) and not node["inputs"]:
            raise NetworkError(f"{path} is damaged: its node {name} ({operator}) reads nothing.")
        if operator in _FOREIGN:
            raise NetworkError(
                f"{path} has the operator {operator} (node {name}), which runs code from outside "
                "the network or reads files; cnnviz does not run it."
            )
        if _NOT_FOR_ANSWERS.fullmatch(operator):
            raise NetworkError(
                f"{path} has the operator {operator} (node {name}), which draws random numbers or "
                "belongs to training; export the network as it answers."
            )
        if _QUANTIZED.match(operator):
            raise NetworkError(
                f"{path} is quantized (operator {operator}) and has no gradients: give the network "
                "that it was made from."
            )
        attributes = node.get("attrs") or node.get("attr") or node.get("param") or {}
        for key in _DIVISORS & attributes.keys():
            if re.fullmatch(r"\s*\+?[0-9]*[1-9][0-9]*\s*", str(attributes[key])) is None:
                raise NetworkError(
                    f"{path} is damaged: {key} of its node {name} ({operator}) is "
                    f"{shown(attributes[key])}."
                )
        if attributes.get("layout") in ("NHWC", "NWC", "NDHWC"):
            raise NetworkError(
                f"{path} keeps channels last (layout NHWC in node {name}); cnnviz explains "
                "networks that keep them first (NCHW)."
            )
    return text


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


def _is_symbol(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    nodes, heads = document.get("nodes"), document.get("heads")
    if not isinstance(nodes, list) or not isinstance(heads, list) or not nodes or not heads:
        return False
    return all(
        isinstance(node, dict)
        and isinstance(node.get("op"), str)
        and is_name(node["op"])
        and isinstance(node.get("name"), str)
        and is_name(node["name"])
        and isinstance(node.get("inputs"), list)
        and all(_is_entry(entry, index) for entry in node["inputs"])
        and all(isinstance(node.get(key, {}), dict) for key in ("attrs", "attr", "param"))
        and isinstance(node.get("subgraphs", []), list)
        and all(map(_is_symbol, node.get("subgraphs", ())))
        for index, node in enumerate(nodes)
    ) and all(_is_entry(head, len(nodes)) for head in heads)


def _is_entry(entry: Any, below: int) -> bool:
    """Whether this is [node, output] or [node, output, version], of a node further above."""
    return (
        isinstance(entry, list)
        and len(entry) in (2, 3)
        and all(isinstance(number, int) and 0 <= number < 1 << 31 for number in entry)
        and entry[0] < below
    )


def _all_nodes(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A symbol's nodes and those of its control flow's inner symbols."""
    found = []
    for node in document["nodes"]:
        found.append(node)
        for inner in node.get("subgraphs", ()):
            found.extend(_all_nodes(inner))
    return found


def _load(text: str, path: Path) -> Any:
    mx = import_mxnet()
    known = set(mx.operator.get_all_registered_operators())
    document = json.loads(text)
    for node in _all_nodes(document):
        if node["op"] != "null" and node["op"] not in known:
            raise NetworkError(
                f"{path} has the operator {node['op']} (node {node['name']}), which MXNet "
                f"{mx.__version__} does not have."
            )
    try:
        _check_outputs(document, path)
        return mx.sym.load_json(text)
    except mx.base.MXNetError as error:
        raise NetworkError(f"MXNet does not take {path} ({shown(first_line(error))}).") from error


def _check_outputs(document: Mapping[str, Any], path: Path) -> None:
    """Refuse a symbol that reads an output which its node does not have: MXNet would crash."""
    nodes = document["nodes"]
    for inner in (inner for node in nodes for inner in node.get("subgraphs", ())):
        _check_outputs(inner, path)
    highest: dict[int, int] = {}
    for entry in [*document["heads"], *(entry for node in nodes for entry in node["inputs"])]:
        highest[entry[0]] = max(entry[1], highest.get(entry[0], 0))
    for index, output in highest.items():
        node = nodes[index]
        if output and output >= _outputs(node, document):
            raise NetworkError(
                f"{path} is damaged: something in it reads output {output} of the node "
                f"{node['name']}, which does not have so many."
            )


def _outputs(node: Mapping[str, Any], document: Mapping[str, Any]) -> int:
    """How many outputs a node has; MXNet is asked about it alone, with variables before it."""
    if node["op"] == "null":
        return 1
    count = len(node["inputs"])
    alone = {
        **{key: document[key] for key in ("attrs",) if key in document},
        "nodes": [
            *({"op": "null", "name": f"input {number}", "inputs": []} for number in range(count)),
            {**node, "inputs": [[number, 0, 0] for number in range(count)]},
        ],
        "arg_nodes": list(range(count)),
        "heads": [[count, 0, 0]],
    }
    symbol = import_mxnet().sym.load_json(json.dumps(alone, ensure_ascii=False))
    return len(symbol.get_internals().list_outputs()) - count


def _shape_of(node: Node) -> Shape | None:
    """The shape that a variable of the symbol declares."""
    text = node.attrs.get(_SHAPE)
    if not node.is_variable or text is None:
        return None
    try:
        shape = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    if not isinstance(shape, (tuple, list)) or not all(isinstance(size, int) for size in shape):
        return None
    return tuple(shape)


def _free_variables(graph: Graph) -> list[str]:
    """Names of the variables that stand nowhere at a parameter's place."""
    bound = {
        entry.node
        for node in graph.nodes
        for entry in node.inputs[_FIRST_PARAMETER.get(node.op, len(node.inputs)) :]
    }
    return [
        node.name
        for index, node in enumerate(graph.nodes)
        if node.is_variable and index not in bound
    ]


def _is_parameter_name(name: str) -> bool:
    return (
        re.search(r"_(weight|bias|gamma|beta|alpha|(moving|running)_(mean|var))$", name) is not None
    )


def _with_input(graph: Graph, data: str) -> Graph:
    """The graph with its input called ``data``, and no shapes but those that follow from it."""
    nodes = []
    for node in graph.nodes:
        if node.is_variable:
            if node.name == DATA != data:
                raise NetworkError(
                    f"The network's input is '{data}', yet a parameter is called '{DATA}'."
                )
            attrs = {key: value for key, value in node.attrs.items() if key != _SHAPE}
            node = replace(node, name=DATA if node.name == data else node.name, attrs=attrs)
        nodes.append(node)
    return Graph(tuple(nodes), graph.heads)


def _channels(graph: Graph, shapes: Mapping[str, Shape]) -> int | None:
    """How many channels the first convolution takes; None if other things come before it."""
    dependent = graph.dependent_on(DATA)
    for index in sorted(dependent):
        node = graph.nodes[index]
        if node.is_variable or node.op in _BEFORE_CONVOLUTION:
            continue
        weight = graph.nodes[node.inputs[1].node] if node.op == "Convolution" else None
        shape = shapes.get(weight.name) if weight is not None else None
        if shape is None or len(shape) != 4 or not shape[1]:  # not known without the weights
            return None
        return shape[1] * int(node.attrs.get("num_group", "1"))
    return None
