"""Modules of PyTorch, through ``torch.export``, as programs of tensors."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import fx
from torch.export import ExportedProgram

from cnnviz.errors import NetworkError, UsageError
from cnnviz.graph.graph import shape_text
from cnnviz.importers.tensors import Tensor, TensorProgram
from cnnviz.importers.torch_names import Call
from cnnviz.importers.torch_reader import Operation, Reader, operation
from cnnviz.text import did_you_mean, joined, shortened
from cnnviz.types import Shape

#: What several outputs are searched for if none was chosen: Hugging Face's networks have one.
_LOGITS = "logits"
#: Threads export one after the other: what is set for it holds for the whole process.
_ALONE = threading.RLock()


def program_of_module(
    module: torch.nn.Module, size: Shape, head: str | None = None
) -> TensorProgram:
    """Read a module, as it is used: with dropout off, and batch norms by their stored statistics.

    Args:
        module: takes (N, C, H, W) and gives class scores; it is left as it was found.
        size: of the images, (C, H, W).
        head: which of several outputs: its name or number.

    Raises:
        NetworkError: PyTorch cannot export it, or it has operators that are not run.
        UsageError: there is no such output; or there are several, and none was chosen.
    """
    return program_of_exported(export(module, size), size, head)


def export(module: torch.nn.Module, size: Shape) -> ExportedProgram:
    """Export a module for one image.

    Raises:
        NetworkError: PyTorch cannot.
    """
    _check_values(module)
    first = next((p for p in module.parameters() if p.is_floating_point()), None)
    sample = torch.zeros(
        (1, *size),
        dtype=torch.float32 if first is None else first.dtype,
        device="cpu" if first is None else first.device,
    )
    try:
        with _ALONE, evaluating(module), _quiet(), _small_constants_known():
            exported = torch.export.export(module, (sample,), strict=False)
            return exported.run_decompositions({})
    except Exception as error:  # whatever the module's own code raises comes through here
        raise NetworkError(
            f"PyTorch cannot export {type(module).__name__} for images of "
            f"{'×'.join(map(str, size))}: {_reason(module, error)}"
        ) from error


def _check_values(module: torch.nn.Module) -> None:
    """Refuse what has no values yet, or others than PyTorch's own operators read."""
    name = type(module).__name__
    for called, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin):
            raise NetworkError(
                f"{name} has not seen an image yet, and so {called} has no size: call it with one "
                "first."
            )
        if isinstance(tensor, torch.Tensor) and tensor.is_meta:
            raise NetworkError(
                f"{name} has no values yet ({called} is on the device meta): load its weights "
                "first."
            )
    for called, each in module.named_modules():
        if ".quantized" in type(each).__module__:
            raise NetworkError(
                f"{name} computes in whole numbers ({called}, a {type(each).__name__}), which have "
                "no gradient: give the module that it was quantized from."
            )


def _reason(module: torch.nn.Module, error: Exception) -> str:
    """What went wrong, in sentences: the first line of an error, and what to do about it."""
    text = str(error).strip().partition("\n")[0].rstrip(".:")
    if isinstance(error, TypeError) and (found := re.search(r"missing .*argument.*", text)):
        return (
            f"its forward takes more than a batch of images ({found[0]}). Give a module that takes "
            "images alone, and calls this one."
        )
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    told = shortened(told, 300) + "."
    if "ata-dependent" in text:
        return (
            "what is computed next depends on the values of images or other tensors"
            f"{_place(error)}, which torch.export does not follow. Write that without a condition."
        )
    if any(each._forward_hooks or each._forward_pre_hooks for each in module.modules()):
        return f"{told} It has forward hooks: remove those that only look at what it computes."
    return told


def _place(error: Exception) -> str:
    """Where in a module's own code an error came up, in brackets."""
    library = str(Path(torch.__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    own = [one for one in frames if not one.filename.startswith((library, __file__, "<"))]
    return f" (in {own[-1].name}, {own[-1].filename}:{own[-1].lineno})" if own else ""


@contextmanager
def _small_constants_known() -> Iterator[None]:
    """Have PyTorch know the values of small tensors that a module makes, not of scalars only.

    torchvision's ``Normalize`` branches on whether a channel's deviation is zero.
    """
    from torch._subclasses import fake_tensor

    limit = "CONSTANT_NUMEL_LIMIT"
    before = getattr(fake_tensor, limit, None)
    if before is None:  # of a version that has another way
        yield
        return
    setattr(fake_tensor, limit, max(before, 64))
    try:
        yield
    finally:
        setattr(fake_tensor, limit, before)


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """In evaluation mode, each module in it going back to its own mode afterwards."""
    training = [(each, each.training) for each in module.modules()]
    try:
        with suppress(NotImplementedError):  # of what was exported, which has one mode only
            module.eval()
        yield
    finally:
        for each, mode in training:
            each.training = mode


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's warnings, and what it logs and prints of a failing export."""
    handlers = {
        handler
        for name, logger in list(logging.root.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and name.partition(".")[0] == "torch"
        for handler in logger.handlers
    }

    def nothing(_record: logging.LogRecord) -> bool:
        return False

    printed = io.StringIO()
    for handler in handlers:
        handler.addFilter(nothing)
    try:
        with redirect_stderr(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what PyTorch does of its own, not its caller
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(nothing)
    print(printed.getvalue(), end="", file=sys.stderr)


def program_of_exported(
    exported: ExportedProgram, size: Shape, head: str | None = None
) -> TensorProgram:
    """Read an exported program without operators that work in place.

    Raises:
        NetworkError: it has operators that are not run.
        UsageError: there is no such output; or there are several, and none was chosen.
    """
    signature = exported.graph_signature
    stored = {**exported.constants, **exported.state_dict}
    names = {id(tensor): name for name, tensor in stored.items()}
    reader = Reader(size, names)
    values: dict[str, Any] = {}
    images = [spec for spec in signature.input_specs if spec.kind.name == "USER_INPUT"]
    for spec in signature.input_specs:
        name = getattr(spec.arg, "name", "")
        if spec.kind.name == "USER_INPUT":
            values[name] = reader.images if spec is images[0] else getattr(spec.arg, "value", None)
        else:
            values[name] = stored[spec.target]
    for node in exported.graph.nodes:
        if node.op == "call_function":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda one: values[one.name])
            values[node.name] = _run(reader, node, args, kwargs)
        elif node.op not in ("placeholder", "output"):
            raise NetworkError(
                f"The network has a part of its own ({node.name}), which cnnviz does not follow."
            )
    results = [
        values.get(getattr(spec.arg, "name", ""))
        for spec in signature.output_specs
        if spec.kind.name == "USER_OUTPUT"
    ]
    spec = exported.call_spec.out_spec
    outputs = results if spec is None else torch.utils._pytree.tree_unflatten(results, spec)
    called, leaves = output_names(outputs)
    tensors = [leaf if isinstance(leaf, Tensor) else None for leaf in leaves]
    return reader.finish(pick(called, tensors, head), len(leaves))


def _run(reader: Reader, node: fx.Node, args: Any, kwargs: Any) -> Any:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return reader.apply(operation(target), args, kwargs, _stack(node))
    if any(isinstance(one, Tensor) for one in args):
        name = getattr(target, "__name__", str(target))
        return reader.apply(Operation(name, target), args, kwargs, _stack(node))
    return target(*args, **kwargs)  # picks one of several, or computes a size


def _stack(node: fx.Node) -> list[Call]:
    """The calls of modules that a node stands in."""
    stack = node.meta.get("nn_module_stack") or {}
    return [Call(key, path.removeprefix("L['self'].")) for key, (path, _kind) in stack.items()]


def output_names(outputs: Any) -> tuple[list[str], list[Any]]:
    """What a module's outputs are called, keys of its dictionary or numbers; and the outputs."""
    paths, _ = torch.utils._pytree.tree_flatten_with_path(outputs)
    names = [".".join(map(_key, path)) or "0" for path, _leaf in paths]
    return names, [leaf for _path, leaf in paths]


def written_output_names(program: Mapping[str, Any]) -> list[str]:
    """The same, of a program in a file: as its own description of its outputs has them.

    Args:
        program: the file's ``graph_module``.

    Returns:
        The names; none where the description is of another version, or damaged.
    """

    def paths(tree: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
        parts = tree["children_spec"]
        if tree["type"] is None:
            yield ()
            return
        named = tree["type"] == "builtins.dict"
        keys = json.loads(tree["context"]) if named else range(len(parts))
        for key, part in zip(keys, parts, strict=True):
            for path in paths(part):
                yield (str(key), *path)

    try:
        _version, tree = json.loads(program["module_call_graph"][0]["signature"]["out_spec"])
        return [".".join(path) or "0" for path in paths(tree)]
    except (LookupError, TypeError, ValueError, RecursionError):
        return []


def _key(step: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(step, attribute):
            return str(getattr(step, attribute))
    return str(step)


_T = TypeVar("_T", Tensor, torch.Tensor)


def pick(names: Sequence[str], results: Sequence[_T | None], head: str | None) -> _T:
    """The output that is explained.

    Args:
        names: of all.
        results: all; None for those that are no tensors of the images.
        head: a name or number that was asked for.

    Raises:
        NetworkError: none depends on the images.
        UsageError: there is no such output; or there are several, and none was chosen.
    """
    found = {
        name: result for name, result in zip(names, results, strict=True) if result is not None
    }
    if not found:
        raise NetworkError("The network's output does not depend on the images.")
    if head is not None:
        if head not in found:
            raise UsageError(
                f"The network has no output '{head}'. "
                + (did_you_mean(head, found, count=1) or f"It has {joined(list(found))}.")
            )
        return found[head]
    if len(found) == 1:
        return next(iter(found.values()))
    if _LOGITS in found:
        return found[_LOGITS]
    listed = joined([f"{name} ({shape_text(one.shape[1:])})" for name, one in found.items()], "and")
    raise UsageError(f"The network has {len(found)} outputs, {listed}: choose one with --head.")
