"""TorchScript archives (``torch.jit.save``), traced or scripted, as programs of tensors.

Their graphs call the operators that exported programs call; lists, sizes and branches between them
are computed as they come, for the size of image that is wanted.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from cnnviz.errors import NetworkError
from cnnviz.importers.program_source import InputHint
from cnnviz.importers.tensors import Tensor, TensorProgram
from cnnviz.importers.torch_export import output_names, pick
from cnnviz.importers.torch_module import ModuleSource
from cnnviz.importers.torch_names import Call
from cnnviz.importers.torch_pt2 import placed
from cnnviz.importers.torch_reader import Reader, operation
from cnnviz.types import Shape

#: Functions of TorchScript that touch files; no network needs them.
_FILES = re.compile(rb"\b(?:torch|aten|ops\.\w+)\.(?:save|load\w*|from_file)\b")
_MOST_PACKED = 200_000_000
_MOST_STEPS = 1_000_000


def _raise(*_why: Any) -> None:
    raise NetworkError("the network raises an error for images of this size")


#: What computes with numbers, lists and tuples, by TorchScript's names.
_PLAIN: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "aten::Bool": bool,
        "aten::Float": float,
        "aten::Int": int,
        "aten::IntImplicit": int,
        "aten::ScalarImplicit": lambda x: x.item(),
        "aten::FloatImplicit": float,
        "aten::__contains__": lambda group, one: one in group,
        "aten::__getitem__": lambda group, place: group[place],
        "aten::__is__": lambda left, right: left is right,
        "aten::__isnot__": lambda left, right: left is not right,
        "aten::__not__": lambda x: not x,
        "aten::append": lambda group, one: group.append(one),
        "aten::format": lambda text, *_more: text,
        "aten::len": len,
        "aten::list": list,
        "aten::warn": lambda *_how: None,
        "prim::ListConstruct": lambda *parts: list(parts),
        "prim::NumToTensor": torch.tensor,
        "prim::Print": lambda *_what: None,
        "prim::RaiseException": _raise,
        "prim::TupleConstruct": lambda *parts: tuple(parts),
        "prim::TupleIndex": lambda group, place: group[place],
        "prim::Uninitialized": lambda: None,
        "prim::device": lambda _x: torch.device("cpu"),
        "prim::dtype": lambda x: x.dtype if isinstance(x, torch.Tensor) else torch.float32,
        "prim::is_cuda": lambda _x: False,
        "prim::is_nested": lambda _x: False,
        # As in training: attention is then written out, and not one operator that has no gradient.
        "prim::requires_grad": lambda _x: True,
        "aten::is_grad_enabled": lambda: True,
        "prim::layout": lambda _x: torch.strided,
        "prim::type": str,
        "prim::unchecked_cast": lambda x: x,
        "prim::unchecked_unwrap_optional": lambda x: x,
        "prim::data": lambda x: x,
    }
)
#: Of those, the ones that images do not go through.
_OF_NUMBERS = ("aten::Bool", "aten::Float", "aten::Int", "aten::IntImplicit")


class ScriptSource(ModuleSource):
    """A TorchScript module; see :class:`cnnviz.importers.program_source.ProgramSource`."""

    def __init__(self, module: torch.nn.Module, functions: Mapping[str, Any], file: Path) -> None:
        """Take what was loaded, and the functions that it calls, by name."""
        kernel = next((p for p in module.parameters() if p.ndim == 4), None)
        hint = InputHint(channels=None if kernel is None else int(kernel.shape[1]))
        self._functions = functions
        super().__init__(module.eval(), file.stem, hint, file, "the network's own file")

    def program(self, size: Shape, head: str | None) -> TensorProgram:
        """See :meth:`cnnviz.importers.program_source.ProgramSource.program`."""
        module: Any = self._module
        stored = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        reader = Reader(size, {id(tensor): name for name, tensor in stored.items()})
        interpreter = _Interpreter(reader, stored, self._functions)
        try:
            (found,) = interpreter.method(_Module("", module), "forward", [reader.images])
            names, leaves = output_names(found)
            tensors = [one if isinstance(one, Tensor) else None for one in leaves]
            return reader.finish(pick(names, tensors, head), len(leaves))
        except NetworkError as error:
            raise NetworkError(f"{self.file or self.name}: {error}") from error


class _Module:
    """A module within the one that is run, and its path."""

    def __init__(self, path: str, module: Any) -> None:
        self.path, self.module = path, module


class _Interpreter:
    """Goes through a graph; values are those of :class:`Reader`, and Python's."""

    def __init__(
        self, reader: Reader, stored: Mapping[str, torch.Tensor], functions: Mapping[str, Any]
    ) -> None:
        self.values: dict[str, Any] = {}
        self._reader = reader
        self._stored = stored
        self._functions = functions
        self._stack: list[Call] = []
        self._steps = 0

    def method(self, owner: _Module, name: str, given: list[Any]) -> list[Any]:
        """Call a module's method."""
        method = owner.module._c._get_method(name)
        own = bool(self._stack) and self._stack[-1].path == owner.path
        calls = [] if own or not owner.path else [Call(f"{owner.path}@{self._steps}", owner.path)]
        before = self._stack
        self._stack = [*before, *calls]
        try:
            return self._call(method.graph, [owner, *given])
        finally:
            self._stack = before

    def _call(self, graph: Any, given: list[Any]) -> list[Any]:
        """Run a graph of its own."""
        names = [one.debugName() for one in graph.inputs()]
        if len(names) != len(given):
            raise NetworkError(f"it takes {len(names) - 1} values, not a batch of images")
        before = self.values
        self.values = dict(zip(names, given, strict=True))
        try:
            return self.block(graph)
        finally:
            self.values = before

    def block(self, block: Any) -> list[Any]:
        """Run a block's nodes; its outputs."""
        for node in block.nodes():
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise NetworkError("it runs for more than a million steps")
            results = self._node(node)
            for output, result in zip(node.outputs(), results, strict=True):
                self.values[output.debugName()] = result
        return [self.values[output.debugName()] for output in block.outputs()]

    def _node(self, node: Any) -> list[Any]:
        kind = node.kind()
        given = [self.values[one.debugName()] for one in node.inputs()]
        if kind == "prim::Constant":
            return [node.output().toIValue() if node.hasAttribute("value") else None]
        if kind == "prim::GetAttr":
            return [self._attribute(given[0], node.s("name"))]
        if kind == "prim::CallMethod":
            return self.method(given[0], node.s("name"), given[1:])
        if kind == "prim::CallFunction":
            name = node.inputsAt(0).node().s("name")
            if name not in self._functions:
                raise NetworkError(f"it calls {name}, which cnnviz does not find in it")
            return self._call(self._functions[name].graph, given[1:])
        if kind == "prim::If":
            (condition,) = given
            if isinstance(condition, Tensor):
                raise NetworkError("it branches on what it computes of the images")
            return self.block(list(node.blocks())[0 if condition else 1])
        if kind == "prim::Loop":
            return self._loop(node, given)
        if kind in ("prim::ListUnpack", "prim::TupleUnpack"):
            return list(given[0])
        if kind in _PLAIN and not (kind in _OF_NUMBERS and isinstance(given[0], Tensor)):
            found = _PLAIN[kind](*given)
            return [found] if node.outputsSize() else []
        if not kind.startswith("aten::"):
            raise NetworkError(f"it uses {kind}, which cnnviz does not run")
        return self._operator(node, kind, given)

    def _attribute(self, owner: _Module, name: str) -> Any:
        path = f"{owner.path}.{name}" if owner.path else name
        if path in self._stored:
            return self._stored[path]
        found = getattr(owner.module, name)
        return _Module(path, found) if isinstance(found, torch.nn.Module) else found

    def _loop(self, node: Any, given: list[Any]) -> list[Any]:
        most, going, *carried = given
        (body,) = node.blocks()
        names = [one.debugName() for one in body.inputs()]
        for turn in range(most):
            if isinstance(going, Tensor):
                raise NetworkError("how often it repeats a step depends on the images")
            if not going:
                break
            self.values.update(zip(names, [turn, *carried], strict=True))
            going, *carried = self.block(body)
        return carried

    def _operator(self, node: Any, kind: str, given: list[Any]) -> list[Any]:
        name = kind.removeprefix("aten::")
        schema = torch._C.parse_schema(node.schema())
        packet = getattr(torch.ops.aten, name, None)
        overload = getattr(packet, schema.overload_name or "default", None)
        if overload is None:
            raise NetworkError(f"it uses {kind}, which cnnviz does not run")
        named = dict(zip((one.name for one in schema.arguments), given, strict=True))
        args, kwargs = placed(overload._schema, named)
        found = self._reader.apply(operation(overload), args, kwargs, self._stack)
        return list(found) if node.outputsSize() > 1 else [found]


def open_script(path: Path) -> ScriptSource:
    """Load an archive of TorchScript.

    TorchScript is no Python, but it can read and write files: an archive that does is refused.

    Raises:
        NetworkError: it cannot be loaded.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = sum(entry.file_size for entry in entries if entry.compress_type)
            if packed > _MOST_PACKED:  # code and its places in source files; weights are not packed
                raise NetworkError(f"{path} claims to hold {packed:,} bytes beside its weights.")
            for entry in entries:
                code = archive.read(entry) if "/code/" in entry.filename else b""
                if found := _FILES.search(code):
                    raise NetworkError(
                        f"{path} calls {found[0].decode()}, which no network needs: it is not "
                        "loaded."
                    )
        unit = torch._C.CompilationUnit()
        loaded = torch._C.import_ir_module(unit, str(path), torch.device("cpu"), {}, False)
        module = torch.jit._recursive.wrap_cpp_module(loaded)
        functions = {
            one.name: one
            for one in unit.get_functions()
            if unit.get_class(one.qualified_name.rpartition(".")[0]) is None
        }
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise NetworkError(f"{path} cannot be loaded as TorchScript: {reason}.") from error
    return ScriptSource(module, functions, path)
