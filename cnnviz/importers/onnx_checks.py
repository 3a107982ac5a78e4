"""ONNX files as messages, after a look at what they would cost: anybody may have sent them.

A file of some bytes can ask for millions of nodes, for functions that call each other without end,
or for weights from anywhere on the disk. What is refused here is refused before it is done.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from cnnviz.errors import NetworkError, WeightsError
from cnnviz.text import counted, listed, printable, shortened
from cnnviz.types import Array

INSTALL = 'pip install "cnnviz[onnx]"'
#: Of the standard operators; opset 7 brought NumPy's rules for stretching shapes.
OLDEST_OPSET = 7
STANDARD = ("", "ai.onnx")
#: A protocol buffer has at most so many bytes.
_LARGEST = 2**31 - 1
#: Messages in a file, nodes and their attributes among them: a large transformer has a tenth.
_MOST_MESSAGES = 2_000_000
_MOST_NODES = 100_000
_LONGEST_NAME = 80  # of what is shown


def import_onnx() -> Any:
    """The ``onnx`` package.

    Raises:
        NetworkError: it is not installed, or cannot be imported.
    """
    try:
        import onnx
    except ImportError as error:
        what = "is not installed" if error.name == "onnx" else f"cannot be imported ({error})"
        raise NetworkError(
            f"ONNX files are read with the package onnx, which {what}: `{INSTALL}` installs it."
        ) from error
    return onnx


def read_model(path: Path) -> Any:
    """The file's ``ModelProto``, without weights that lie beside it; local functions are inlined.

    Raises:
        NetworkError: it cannot be read, is no ONNX file, or asks for too much.
    """
    onnx = import_onnx()
    data = _read(path)
    if not _is_sane(data, onnx.ModelProto.DESCRIPTOR):
        raise NetworkError(f"{path} is damaged, or no ONNX file.")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, RecursionError) as error:
        raise NetworkError(f"{path} is damaged, or no ONNX file.") from error
    if not model.HasField("graph") or not model.graph.node:
        raise NetworkError(f"{path} is no ONNX file, or one without a network in it.")
    _check_opset(model, path)
    if model.functions:
        _check_functions(model, path)
        from onnx.inliner import inline_local_functions

        try:
            model = inline_local_functions(model)
        except Exception as error:
            raise NetworkError(
                f"{path}: its local functions cannot be inlined: {first_line(error)}."
            ) from error
    return model


def opset_of(model: Any) -> int:
    """The version of the standard operators that a model uses; 0 if it does not say."""
    versions = [one.version for one in model.opset_import if one.domain in STANDARD]
    return max(versions, default=0)


def shown(name: Any) -> str:
    """A name from a file, fit for a sentence."""
    return shortened(printable(str(name)), _LONGEST_NAME)


def first_line(error: BaseException) -> str:
    """What an error says, in short, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shortened(printable(lines[0]), 200).rstrip(".")


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise NetworkError(f"{path} is no file.")
        if status.st_size > _LARGEST:
            raise NetworkError(
                f"{path} has {status.st_size / 1e9:.1f} GB, and an ONNX file has at most 2: larger "
                "weights are saved beside it (onnx.save with save_as_external_data=True)."
            )
        return path.read_bytes()
    except OSError as error:
        raise NetworkError(f"{path} cannot be read: {error.strerror}.") from error


def _is_sane(data: bytes, descriptor: Any) -> bool:
    """Whether the bytes are messages as a descriptor says, and not too many of them.

    A message takes two bytes in a file, and a hundred times as many in memory.
    """
    messages = 0
    waiting = [(0, len(data), descriptor)]
    while waiting:
        begin, end, kind = waiting.pop()
        messages += 1
        room = _MOST_MESSAGES - messages - len(waiting)
        if room < 0:
            return False
        try:
            parts = _parts(data, begin, end, kind.fields_by_number)
            waiting.extend(itertools.islice(parts, room + 1))
        except (IndexError, ValueError):
            return False
    return True


def _parts(data: bytes, begin: int, end: int, fields: Any) -> Iterator[tuple[int, int, Any]]:
    """Where the messages inside a message begin and end, and their descriptors."""
    place = begin
    while place < end:
        key, place = _number(data, place)
        kind = key & 7
        if kind == 0:
            _, place = _number(data, place)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        elif kind == 2:
            size, place = _number(data, place)
            field = fields.get(key >> 3)
            if field is not None and field.message_type is not None:
                yield place, place + size, field.message_type
            place += size
        else:
            raise ValueError(kind)
    if place != end:
        raise ValueError(place)


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place behind it."""
    found = shift = 0
    while True:
        byte = data[place]
        place += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, place
        shift += 7
        if shift > 63:
            raise ValueError(place)


def _check_opset(model: Any, path: Path) -> None:
    opset = opset_of(model)
    if opset == 0:
        raise NetworkError(f"{path} does not say which version of ONNX's operators it uses.")
    if opset < OLDEST_OPSET:
        raise NetworkError(
            f"{path} uses opset {opset} of 2017, and cnnviz reads {OLDEST_OPSET} and newer: save "
            "what onnx.version_converter.convert_version(model, 13) returns."
        )


def _check_functions(model: Any, path: Path) -> None:
    """Refuse functions that call themselves, or unfold to more nodes than any network has."""
    calls = {
        (one.domain, one.name): Counter(
            (node.domain, node.op_type) for node in _all_nodes(one.node)
        )
        for one in model.functions
    }
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        names = listed([shown(name) for _, name in error.args[1]])
        raise NetworkError(f"{path}: its functions call themselves ({names}).") from error
    sizes: dict[tuple[str, str], int] = {}
    for key in order:  # those that are called before those that call them
        inner = calls.get(key)
        sizes[key] = sum(sizes[one] * count for one, count in inner.items()) if inner else 1
    nodes = _all_nodes(model.graph.node)
    count = sum(sizes.get((node.domain, node.op_type), 1) for node in nodes)
    if count > _MOST_NODES:
        raise NetworkError(f"{path} unfolds to {counted(count, 'operator')}, which no network has.")


def _all_nodes(nodes: Any) -> Iterator[Any]:
    """Nodes, and those of the branches inside them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)


def check_nodes(model: Any, path: Path) -> None:
    """Refuse more nodes than any network has, operators of unknown domains, names of bytes."""
    nodes = list(_all_nodes(model.graph.node))
    values = (*model.graph.initializer, *model.graph.input, *model.graph.output)
    texts = itertools.chain(
        (one.name for one in values),
        *((node.name, node.op_type, node.domain, *node.input, *node.output) for node in nodes),
        (attribute.name for node in nodes for attribute in node.attribute),
    )
    if not all(isinstance(name, str) for name in texts):
        raise NetworkError(f"{path} is damaged: it has names that are no text.")
    if len(nodes) > _MOST_NODES:
        raise NetworkError(f"{path} has {counted(len(nodes), 'operator')}, which no network has.")
    foreign = {node.domain: shown(node.op_type) for node in nodes if node.domain not in STANDARD}
    foreign.pop("com.microsoft", None)
    if foreign:
        names = listed([f"{name} ({shown(domain)})" for domain, name in foreign.items()])
        raise NetworkError(
            f"{path} has operators that are not ONNX's own, {names}: cnnviz cannot know what they "
            "compute. Export the network without them."
        )


def array_of(tensor: Any, model: Path) -> Array:
    """The numbers of a ``TensorProto``, which may lie in a file beside the network's.

    Raises:
        WeightsError: they are not there, or not as many as its shape says.
    """
    onnx = import_onnx()
    name = shown(tensor.name)
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise WeightsError(f"The weights {name} are damaged: their shape is {shape}.")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _beside(tensor, model, name, shape)
    return array_in(tensor)


def array_in(tensor: Any) -> Array:
    """The numbers of a ``TensorProto`` that has them.

    Raises:
        WeightsError: they are not as many as its shape says, or in another file.
    """
    onnx = import_onnx()
    name = shown(tensor.name) or "of a constant"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise WeightsError(f"The numbers {name} are in another file, where only weights may be.")
    try:
        array: Array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise WeightsError(f"The numbers {name} are damaged: {first_line(error)}.") from error
    return array


def path_beside(tensor: Any, model: Path) -> Path:
    """The file that has the numbers of a ``TensorProto``, beside the network's or below.

    Raises:
        WeightsError: it is said to be elsewhere, or is missing.
    """
    location = next((each.value for each in tensor.external_data if each.key == "location"), "")
    folder = model.absolute().parent
    path = Path(os.path.normpath(folder / location))
    # Hugging Face's cache has links to files that lie together elsewhere.
    homes = {folder.resolve(), model.resolve().parent}
    inside = folder in path.parents and "\0" not in location
    if not inside or homes.isdisjoint(path.resolve().parents):
        raise WeightsError(
            f"The weights {shown(tensor.name)} are said to be in '{shown(location)}', which is "
            "outside of the network's own folder; it is not opened."
        )
    if not path.is_file():
        raise WeightsError(
            f"{path} is missing: the network's weights are in it. Copy it to the network's folder."
        )
    return path


def _beside(tensor: Any, model: Path, name: str, shape: tuple[int, ...]) -> Array:
    """Weights from a file beside the network's: mapped, so that only what is used is read."""
    onnx = import_onnx()
    path = path_beside(tensor, model)
    said = {entry.key: entry.value for entry in tensor.external_data}
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        offset = int(said.get("offset", 0))
        wanted = int(np.prod([int(size) for size in shape], dtype=object)) * dtype.itemsize
        length = int(said.get("length", wanted))
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"The weights {name} are damaged: {first_line(error)}.") from error
    there = path.stat().st_size - offset
    if length != wanted or offset < 0 or there < wanted:
        raise WeightsError(
            f"{path} does not fit the network: the weights {name} take {counted(wanted, 'byte')}, "
            f"and {max(0, min(length, there))} are there."
        )
    if wanted == 0:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape)
