"""Gluon blocks as graphs: traced into a symbol, with the paths of the blocks in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.engines.base import parse_device
from cnnviz.engines.mxnet.runtime import arrays_of, first_line, import_mxnet
from cnnviz.engines.mxnet.symbol import Entry, Graph, for_inference
from cnnviz.engines.network import Network
from cnnviz.engines.registry import build_engine
from cnnviz.errors import NetworkError
from cnnviz.graph.architecture import Architecture
from cnnviz.importers.mxnet_checks import DATA
from cnnviz.importers.mxnet_heads import Head, choose_head
from cnnviz.importers.mxnet_symbol import architecture_of
from cnnviz.types import Shape


def architecture_of_block(
    block: Any,
    input_shape: tuple[int, int, int] = (3, 224, 224),
    activation: str | None = None,
    head: Head = None,
) -> Architecture:
    """Trace a Gluon HybridBlock, which need not be initialized.

    Args:
        block: takes one (N, C, H, W) array and returns (N, K) scores; a softmax at its end, or
            whatever makes probabilities of them, is looked through. It is left as it was found.
        input_shape: (C, H, W).
        activation: ``softmax``, ``sigmoid`` or ``none``, where the block does not end with what
            makes probabilities of its logits.
        head: which of several outputs gives the scores: its number, or the name of its node.

    Raises:
        NetworkError: the block cannot be traced, or is not a classifier of images.
        UsageError: there is no such head, or there are several.
    """
    symbol, outputs = _trace(block)

    def read(chosen: Any) -> Architecture:
        return _of_trace(block, chosen, outputs, input_shape, activation)

    return read(choose_head(symbol, head, whose="The network", option="head", attempt=read))


def from_gluon(
    block: Any,
    input_shape: tuple[int, int, int] = (3, 224, 224),
    *,
    device: str = "cpu",
    activation: str | None = None,
    head: Head = None,
) -> Network:
    """Trace an initialized Gluon HybridBlock, and share its parameters.

    Args:
        block: see :func:`architecture_of_block`.
        input_shape: (C, H, W).
        device: ``cpu``, ``gpu``, ``gpu:N`` or ``gpu(N)``.
        activation: see :func:`architecture_of_block`.
        head: likewise.

    Raises:
        NetworkError: it cannot be traced, is not a classifier, or is not initialized.
        UsageError: there is no such head, or there are several.
        DeviceError: there is no such device.
    """
    architecture = architecture_of_block(block, input_shape, activation, head)
    parameters = parameters_of(block, architecture.parameter_shapes)
    engine = build_engine(architecture.graph, parameters, parse_device(device), "mxnet")
    return Network(architecture, engine)


def parameters_of(block: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The MXNet arrays of an initialized block, shared with it.

    Args:
        block: what :func:`architecture_of_block` traced.
        shapes: of the parameters that are wanted, by name.

    Raises:
        NetworkError: one has no value.
    """
    mx = import_mxnet()
    owned = dict(block.collect_params())
    parameters = {}
    for name, shape in shapes.items():
        parameter = owned.get(name)
        if parameter is None:  # what binds them says so
            continue
        try:
            if parameter._deferred_init:
                parameter.shape = shape
                parameter._finish_deferred_init()
            parameters[name] = parameter.data(parameter.list_ctx()[0]).as_nd_ndarray()
        except (RuntimeError, mx.base.MXNetError) as error:
            raise NetworkError(
                f"Parameter {name} has no value: load weights, or call initialize() first."
            ) from error
    return parameters


def _of_trace(
    block: Any,
    symbol: Any,
    outputs: Sequence[tuple[str, str]],
    input_shape: tuple[int, int, int],
    activation: str | None,
) -> Architecture:
    """From a block's Symbol with one output and what :func:`_trace` found beside it."""
    traced = Graph.from_symbol(symbol)
    inference = for_inference(traced)
    position = {node.name: index for index, node in enumerate(traced.nodes)}
    paths: dict[Entry, list[str]] = {}

    def name(index: int, path: str) -> None:
        entry = inference.moved.get(Entry(index))
        if entry is not None and path and path not in paths.setdefault(entry, []):
            paths[entry].append(path)

    owners = {
        parameter.name: path.rpartition(".")[0]
        for path, parameter in block._collect_params_with_prefix().items()
    }
    for index, node in enumerate(traced.nodes):
        for source in node.inputs:
            if traced.nodes[source.node].name in owners:
                name(index, owners[traced.nodes[source.node].name])
    for path, node_name in outputs:  # innermost block first
        if node_name in position:
            name(position[node_name], path)
    parameters = dict(block.collect_params().items())

    def value(name: str) -> npt.NDArray[Any] | None:
        parameter = parameters.get(name)
        if parameter is None or parameter._data is None:
            return None
        return np.asarray(parameter.data(parameter.list_ctx()[0]).asnumpy())

    known = {
        name: tuple(parameter.shape)
        for name, parameter in parameters.items()
        if parameter.shape and min(parameter.shape) > 0
    }

    return architecture_of(inference.graph, input_shape, paths, known, value, activation)


def _trace(block: Any) -> tuple[Any, list[tuple[str, str]]]:
    """The block's Symbol, and for every block in it its path and its output's node, inner first."""
    mx = import_mxnet()
    if not isinstance(block, mx.gluon.HybridBlock):
        raise NetworkError(
            f"A Gluon HybridBlock is needed, and {type(block).__name__} is not one: cnnviz has to "
            "trace the network."
        )
    outputs: list[tuple[str, str]] = []
    handles = []

    def watch(parent: Any, prefix: str) -> None:
        for name, child in parent._children.items():
            path = f"{prefix}{name}"

            def note(_block: Any, _inputs: Any, output: Any, path: str = path) -> None:
                if isinstance(output, mx.sym.Symbol) and len(output.list_outputs()) == 1:
                    outputs.append((path, output.name))

            handles.append(child.register_forward_hook(note))
            watch(child, f"{path}.")

    watch(block, "")
    try:
        # Blocks written with mx.np take only arrays of its kind, and others only of the other.
        now = mx.util.is_np_array()
        try:
            symbol = _called(block, numpy=now)
        except NetworkError as error:
            outputs.clear()
            try:
                symbol = _called(block, numpy=not now)
            except NetworkError:
                raise error from error.__cause__
    finally:
        for handle in handles:
            handle.detach()
    flat = [one.as_nd_ndarray() for one in _flattened(symbol)]
    return flat[0] if len(flat) == 1 else mx.sym.Group(flat), outputs


def _called(block: Any, *, numpy: bool) -> Any:
    """What a block makes of a variable, as arrays of mx.np or of mx.nd are traced."""
    mx = import_mxnet()
    data = mx.sym.var(DATA)
    try:
        # A fresh name manager: node names do not depend on what was traced before.
        with mx.name.NameManager(), arrays_of(numpy=numpy):
            return block(data.as_np_ndarray() if numpy else data)
    except Exception as error:
        raise NetworkError(
            f"The network cannot be traced ({type(error).__name__}: {first_line(error)}). It has "
            "to be hybridizable: one array in, and no Python decisions on its values."
        ) from error


def _flattened(outputs: Any) -> list[Any]:
    """Symbols out of lists in lists."""
    if not isinstance(outputs, (list, tuple)):
        return [outputs]
    return [symbol for several in outputs for symbol in _flattened(several)]
