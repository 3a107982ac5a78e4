"""Files of ``torch.export.save`` (``.pt2``), read without running what stands in them.

``torch.export.load`` evaluates formulas for sizes and guards that stand in a file as text, and so
runs whatever else stands there. Here a file is what it is: an archive with a graph in JSON and
tensors as bytes. Operators are PyTorch's own, looked up by name in one library, ``aten``.
"""

from __future__ import annotations

import io
import json
import operator
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.graph import shape_text
from cnnviz.importers.program_source import MOST_APART, InputHint, in_float32
from cnnviz.importers.tensors import Tensor, TensorProgram
from cnnviz.importers.torch_export import pick, written_output_names
from cnnviz.importers.torch_names import Call
from cnnviz.importers.torch_reader import Reader, operation
from cnnviz.types import Float32, Shape

#: What comes of a file in which something is missing, or is not what it should be.
_DAMAGED = (
    *(AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError),
    *(pickle.UnpicklingError, EOFError, RecursionError, RuntimeError),
)
_MOST_JSON = 200_000_000
#: Numbers of PyTorch's schema for files (``torch._export.serde.schema.ScalarType``).
_DTYPES: Mapping[int, torch.dtype] = MappingProxyType(
    {
        1: torch.uint8,
        2: torch.int8,
        3: torch.int16,
        4: torch.int32,
        5: torch.int64,
        6: torch.float16,
        7: torch.float32,
        8: torch.float64,
        12: torch.bool,
        13: torch.bfloat16,
    }
)
_HALF = (torch.float16, torch.bfloat16)
#: Functions of Python that exported programs compute sizes with.
_SIZES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "_operator.getitem": operator.getitem,
        **{
            f"_operator.{name}": getattr(operator, name)
            for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "truediv", "and_", "or_")
        },
        **{
            f"_operator.{name}": getattr(operator, name)
            for name in ("eq", "ne", "lt", "le", "gt", "ge", "not_")
        },
        "torch.sym_max": max,
        "torch.sym_min": min,
        "torch.sym_not": operator.not_,
        "torch.sym_float": float,
        "torch.sym_int": int,
    }
)
#: Operators that only check something, and those that touch files.
_CHECKS = re.compile(r"_assert_\w+|sym_constrain_range\w*|_functional_\w+")
_FILES = frozenset({"from_file", "save", "load"})


@dataclass(frozen=True)
class Pt2Source:
    """A file that was read; see :class:`cnnviz.importers.program_source.ProgramSource`.

    Attributes:
        file: where it is.
        content: its graph, inputs and outputs, as JSON has them.
        weights: its tensors, by name.
    """

    file: Path
    content: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    origin: str = "the network's own file"

    @property
    def name(self) -> str:
        """The file's name."""
        return self.file.stem

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.file,)

    @property
    def hint(self) -> InputHint:
        """Channels and size, where the file fixes them."""
        _, channels, height, width = self._sizes
        size = None if height is None or width is None else (height, width)
        return InputHint(channels=channels, size=size)

    @property
    def remarks(self) -> tuple[str, ...]:
        """About half precision."""
        rounded = any(tensor.dtype in _HALF for tensor in self.weights.values())
        return (f"{in_float32(str(self.file))}.",) if rounded else ()

    @property
    def reference(self) -> str | None:
        """Nothing: PyTorch would run code that stands in the file."""
        return None

    @property
    def most_apart(self) -> float:
        """Not used."""
        return MOST_APART

    @property
    def takes_bytes(self) -> bool:
        """Such files take floats."""
        return False

    @property
    def unchecked(self) -> str:
        """It is as with every such file."""
        return ""

    def reference_output(self, images: Float32, head: str | None) -> Any:
        """See :meth:`reference`."""
        raise NotImplementedError

    @property
    def _graph(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.content["graph_module"]["graph"]
        return found

    @property
    def _images(self) -> str:
        """The name of what takes the images."""
        specs = self.content["graph_module"]["signature"]["input_specs"]
        taken = [spec["user_input"]["arg"] for spec in specs if "user_input" in spec]
        names = [arg["as_tensor"]["name"] for arg in taken if "as_tensor" in arg]
        if len(names) != 1:
            raise NetworkError(
                f"{self.file} takes {len(names)} tensors; cnnviz explains networks of one, a batch "
                "of images."
            )
        return str(names[0])

    @property
    def _sizes(self) -> list[int | None]:
        """(N, C, H, W) of the images, None for what the file leaves open."""
        meta = self._graph["tensor_values"][self._images]
        sizes = [size.get("as_int") for size in meta["sizes"]]
        dtype = _DTYPES.get(meta["dtype"])
        if len(sizes) != 4 or dtype is None or not dtype.is_floating_point:
            raise NetworkError(
                f"{self.file} does not take a batch of images, (N, C, H, W), of floats."
            )
        return sizes

    def check(self) -> None:
        """Make sure that the file takes images.

        Raises:
            NetworkError: it does not.
        """
        assert self._sizes

    def program(self, size: Shape, head: str | None) -> TensorProgram:
        """See :meth:`cnnviz.importers.program_source.ProgramSource.program`."""
        batch, *fixed = self._sizes
        if batch not in (None, 1):
            sample = f"torch.zeros{(1, *size)}"
            raise NetworkError(
                f"{self.file} was exported for batches of {batch}: export it for one image, with "
                f"torch.export.export(model.eval(), ({sample},))."
            )
        if any(mine not in (None, given) for mine, given in zip(fixed, size, strict=True)):
            wanted = "×".join("any" if one is None else str(one) for one in fixed)
            raise UsageError(
                f"{self.file} takes images of {wanted}; {shape_text(size)} was asked for: leave "
                "out --input-size, or export the network for that size."
            )
        try:
            return self._read(size, head)
        except NetworkError as error:
            raise NetworkError(f"{self.file}: {error}") from error
        except _DAMAGED as error:
            raise NetworkError(
                f"{self.file} cannot be read: {type(error).__name__} {error}. Is it damaged?"
            ) from error

    def _read(self, size: Shape, head: str | None) -> TensorProgram:
        reader = Reader(size, {id(tensor): name for name, tensor in self.weights.items()})
        values: dict[str, Any] = {}
        for spec in self.content["graph_module"]["signature"]["input_specs"]:
            ((kind, what),) = spec.items()
            if kind == "user_input":
                continue
            name = what.get("arg", {}).get("name")
            stored = str(next((what[key] for key in what if key.endswith("_name")), None))
            if stored not in self.weights:
                raise NetworkError(f"it has no {kind} {stored}")
            values[name] = self.weights[stored]
        values[self._images] = reader.images
        for node in self._graph["nodes"]:
            results = _run(reader, node, values)
            for name, result in zip(_names(node["outputs"]), _flat(results), strict=True):
                values[name] = result
        outputs = [
            spec["user_output"]["arg"].get("as_tensor", {}).get("name")
            for spec in self.content["graph_module"]["signature"]["output_specs"]
            if "user_output" in spec
        ]
        found = [values.get(name) for name in outputs]
        names = written_output_names(self.content["graph_module"])
        if len(set(names)) != len(found):
            names = [str(number) for number in range(len(found))]
        tensors = [one if isinstance(one, Tensor) else None for one in found]
        return reader.finish(pick(names, tensors, head), len(found))


def open_pt2(path: Path) -> Pt2Source:
    """Read a file of ``torch.export.save``.

    Raises:
        NetworkError: it is none, is damaged, or holds what is not read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise NetworkError(f"{path} claims to hold more than it has bytes.")
            files = {entry.filename: entry for entry in entries}
            source = Pt2Source(path, *_whole(archive, files))
        source.check()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise NetworkError(f"{path} is no file of torch.export.save: {error}.") from error
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise NetworkError(
            f"{path} cannot be read as a file of torch.export.save "
            f"({type(error).__name__}: {reason})."
        ) from error
    return source


def _whole(
    archive: zipfile.ZipFile, files: Mapping[str, zipfile.ZipInfo]
) -> tuple[Mapping[str, Any], Mapping[str, torch.Tensor]]:
    """The graph, and all tensors: of today's archives, and of those before PyTorch 2.8."""
    if "serialized_exported_program.json" in files:
        weights: dict[str, torch.Tensor] = {}
        for part in ("serialized_state_dict.pt", "serialized_constants.pt"):
            weights |= _unpickled(archive.read(part)) if part in files else {}
        return _json(archive, files["serialized_exported_program.json"]), weights
    top = next(name.partition("/")[0] for name in files)
    models = [name for name in files if re.fullmatch(r"[^/]+/models/[^/]+\.json", name)]
    if len(models) != 1:
        raise ValueError(f"it holds {len(models)} programs")
    weights = {}
    for config in files:
        if match := re.fullmatch(r"[^/]+/data/(weights|constants)/\w+_config\.json", config):
            for name, entry in _json(archive, files[config])["config"].items():
                data = archive.read(f"{top}/data/{match[1]}/{entry['path_name']}")
                weights[name] = _tensor(data, entry)
    return _json(archive, files[models[0]]), weights


def _json(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    if entry.file_size > _MOST_JSON:
        raise ValueError(f"{entry.filename} has {entry.file_size:,} bytes")
    return json.loads(archive.read(entry))


def _unpickled(data: bytes) -> dict[str, torch.Tensor]:
    loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {name: value for name, value in loaded.items() if isinstance(value, torch.Tensor)}


def _tensor(data: bytes, entry: Mapping[str, Any]) -> torch.Tensor:
    """A tensor of bytes, as its description lays it out."""
    if entry.get("use_pickle"):
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if not isinstance(found, torch.Tensor):
            raise ValueError(f"{entry['path_name']} is no tensor")
        return found
    meta = entry["tensor_meta"]
    dtype = _DTYPES[meta["dtype"]]
    shape = [size["as_int"] for size in meta["sizes"]]
    strides = [stride["as_int"] for stride in meta["strides"]]
    if not data:
        return torch.zeros(shape, dtype=dtype)
    flat = torch.frombuffer(bytearray(data), dtype=dtype)
    return torch.as_strided(flat, shape, strides, meta["storage_offset"]["as_int"]).clone()


# --- nodes ---------------------------------------------------------------------------------------


def _run(reader: Reader, node: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    target = str(node["target"])
    given = {one["name"]: _argument(one["arg"], values) for one in node["inputs"]}
    if target in _SIZES:
        return _SIZES[target](*given.values())
    match = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    if match is None or match[1] in _FILES or not hasattr(torch.ops.aten, match[1]):
        raise NetworkError(f"it uses {target}, which cnnviz does not run")
    if _CHECKS.fullmatch(match[1]):
        return None
    overload = getattr(getattr(torch.ops.aten, match[1]), match[2])
    args, kwargs = placed(overload._schema, given)
    return reader.apply(operation(overload), args, kwargs, _stack(node))


def placed(schema: Any, given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by name as they are called: by place up to the last one given, the rest by name."""
    places = [one for one in schema.arguments if not one.kwarg_only]
    count = max((i + 1 for i, one in enumerate(places) if one.name in given), default=0)
    args = [given.get(one.name, one.default_value) for one in places[:count]]
    named = {
        one.name: given[one.name]
        for one in schema.arguments
        if one.kwarg_only and one.name in given
    }
    return args, named


def _argument(arg: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """What a node is called with: PyTorch's union of kinds, one key telling which it is."""
    ((kind, value),) = arg.items()
    if kind == "as_none":
        return None
    if kind == "as_tensor":
        return values[value["name"]]
    if kind == "as_tensors":
        return [values[one["name"]] for one in value]
    if kind == "as_optional_tensor":
        return _argument(value, values)
    if kind == "as_optional_tensors":
        return [_argument(one, values) for one in value]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _size(value, values)
    if kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_size(one, values) for one in value]
    if kind == "as_scalar_type":
        return _DTYPES[value]
    if kind == "as_device":
        return torch.device("cpu")
    if kind == "as_layout":
        return torch.strided
    if kind == "as_memory_format":
        return torch.contiguous_format
    if kind == "as_complex":
        raise NetworkError("it computes with complex numbers, which cnnviz does not")
    if kind in ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string"):
        return value
    raise NetworkError(f"it has an argument of the kind {kind[3:]}, which cnnviz does not follow")


def _size(value: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    return values[value["as_name"]] if "as_name" in value else next(iter(value.values()))


def _names(outputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for output in outputs:
        ((kind, value),) = output.items()
        if kind == "as_tensors":
            yield from (one["name"] for one in value)
        elif kind.startswith("as_sym"):
            yield value["as_name"]
        elif kind == "as_none":
            yield ""
        else:
            yield value["name"]


def _flat(results: Any) -> Sequence[Any]:
    return list(results) if isinstance(results, (list, tuple)) else [results]


def _stack(node: Mapping[str, Any]) -> list[Call]:
    """The calls of modules that a node stands in: ``key,path,class`` of each."""
    text = node.get("metadata", {}).get("nn_module_stack", "")
    parts = [part.split(",") for part in text.split(";") if part.count(",") >= 2]
    return [Call(key, path) for key, path, *_ in parts if not key.startswith("_empty")]
