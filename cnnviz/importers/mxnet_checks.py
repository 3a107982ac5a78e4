"""What is refused of a symbol before MXNet sees it, and of a network before it is run.

MXNet trusts a symbol's file: it makes operators while it reads, some of which run code that stands
in the file, and crashes on what does not fit. A network that somebody sent must do neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnviz.engines.mxnet.runtime import first_line, import_mxnet
from cnnviz.engines.mxnet.symbol import Entry
from cnnviz.engines.mxnet.symbol import Graph as SymbolGraph
from cnnviz.errors import NetworkError
from cnnviz.weights.params_file import is_name, shown

DATA = "data"  #: name of the input variable of every traced graph
CHANNELS_LAST = ("NHWC", "NWC", "NDHWC")  #: what MXNet calls such layouts
_SCALING = {
    *("Cast", "_copy", "_div_scalar", "_minus_scalar", "_mul_scalar", "_plus_scalar"),
    *("broadcast_add", "broadcast_div", "broadcast_mul", "broadcast_sub"),
}
#: Operators that run code of the user's process, follow an address that stands in the file, or read
#: files.
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
#: What no network computes its prediction with: random numbers, steps of training, gradients, and
#: operators that write into their inputs. Several of these take any input, and crash on most.
_NOT_FOR_PREDICTIONS = re.compile(
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
        if _NOT_FOR_PREDICTIONS.fullmatch(operator):
            raise NetworkError(
                f"{path} has the operator {operator} (node {name}), which draws random numbers or "
                "belongs to training; export the network for inference."
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
        if attributes.get("layout") in CHANNELS_LAST:
            raise NetworkError(
                f"{path} keeps channels last (layout {attributes['layout']} in node {name}); "
                "cnnviz explains networks that keep them first (NCHW)."
            )
    return text


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


def load_symbol(text: str, path: Path) -> Any:
    """MXNet's symbol of a text that :func:`read_symbol` returned.

    Raises:
        NetworkError: MXNet lacks an operator of it, or does not take it.
    """
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
                f"{node['name']}, which has fewer outputs."
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


#: Image operators that take bytes as height x width x channels.
_OF_BYTES = re.compile(r"_(npx__)?image_(crop|resize|to_tensor|random_.*|flip_.*)")


def check_operators(graph: SymbolGraph) -> None:
    """Refuse a network that has its channels last, or pooling that MXNet does not run.

    Raises:
        NetworkError: it, or a layer of it, does.
    """
    dependent = graph.dependent_on(DATA)
    for index in sorted(dependent):
        node = graph.nodes[index]
        if node.attrs.get("layout") in CHANNELS_LAST:
            raise NetworkError(
                f"The network keeps channels last (layout {node.attrs['layout']} in {node.name}); "
                "cnnviz explains networks that keep them first (NCHW)."
            )
        if node.op == "Pooling" and node.attrs.get("pooling_convention") == "same":
            raise NetworkError(
                f"{node.name} is a Pooling with pooling_convention=same, which MXNet 1.9.1 cannot "
                "run on images. Replace it by an explicit Pad before a Pooling with "
                "pooling_convention=valid, and export the network again."
            )
        if _OF_BYTES.fullmatch(node.op):
            raise NetworkError(
                "The network takes images as bytes, height × width × channels, and prepares them "
                f"itself ({node.op} in {node.name}); cnnviz feeds it numbers, channels × height × "
                "width. Export it without its first steps."
            )
        axes = re.sub(r"[^0-9]", "", node.attrs.get("axes", ""))
        if node.op == "transpose" and axes == "0312" and _is_image(graph, node.inputs[0]):
            raise NetworkError(
                "The network takes images as height × width × channels (it transposes its input in "
                f"{node.name}); cnnviz feeds it channels × height × width. Export it without that "
                "step."
            )


def _is_image(graph: SymbolGraph, entry: Entry) -> bool:
    """Whether this is the input, be it scaled."""
    node = graph.nodes[entry.node]
    while node.op in _SCALING:
        node = graph.nodes[node.inputs[0].node]
    return node.is_variable and node.name == DATA
