"""Operators of PyTorch, one after the other, as a program of tensors; where they stand, by name.

Exported programs, files of them and TorchScript call the same operators (ATen's). What depends on
the images is read into a graph; everything else is computed as it comes by, by PyTorch itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from cnnviz.errors import NetworkError
from cnnviz.importers.fusing import fused
from cnnviz.importers.tensors import Constant, Tensor, TensorGraph, TensorProgram
from cnnviz.importers.torch_functions import FUNCTIONS
from cnnviz.importers.torch_names import Call, ModuleNames

#: What of an operator's name says how it does it, not what.
_DRESS = ("_native_", "native_", "_unsafe_", "_")


#: What arguments that an operator does not have, or that do not fit, may bring about.
_DAMAGE = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


class Operation(NamedTuple):
    """An operator of PyTorch.

    Attributes:
        name: without its library and overload: ``conv2d``.
        run: it.
        is_view: whether its result shares memory with its first argument.
    """

    name: str
    run: Callable[..., Any]
    is_view: bool = False

    @property
    def in_place(self) -> bool:
        """Whether it changes its first argument."""
        return self.name.endswith("_") and not self.name.endswith("__")


def operation(overload: Any) -> Operation:
    """Of an ``OpOverload``."""
    library, _, name = overload._schema.name.partition("::")
    returns = overload._schema.returns
    is_view = bool(returns) and all(
        one.alias_info is not None and not one.alias_info.is_write for one in returns
    )
    return Operation(name if library == "aten" else f"{library}.{name}", overload, is_view)


class Reader:
    """A program that is being read, for a batch of one.

    Args:
        size: of the images, (C, H, W).
        names: of tensors that are stored, by their ``id``.
    """

    def __init__(self, size: tuple[int, ...], names: Mapping[int, str]) -> None:
        """Begin with the images."""
        self.graph = TensorGraph(size)
        self._names = names
        self._constants: dict[int, tuple[torch.Tensor, Constant]] = {}
        self._modules = ModuleNames(self.graph)
        self._changed: dict[int, tuple[Tensor, Tensor]] = {}
        self._bases: dict[int, tuple[Tensor, Tensor]] = {}
        self._stale: dict[int, tuple[Tensor, str]] = {}

    @property
    def images(self) -> Tensor:
        """The images, a batch of one."""
        return self.graph.images

    def apply(
        self,
        operation: Operation,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        stack: Sequence[Call],
    ) -> Any:
        """Run an operator on constants, or read it.

        Args:
            operation: it.
            args: tensors of the program, of PyTorch (constants), and anything else.
            kwargs: likewise.
            stack: the calls of modules that it stands in, outermost first.

        Raises:
            NetworkError: it is not run.
        """
        place = f"{operation.name} in {stack[-1].path}" if stack and stack[-1].path else ""
        place = place or f"{operation.name} at the top level"
        args = [self._current(one, place) for one in args]
        kwargs = {name: self._current(one, place) for name, one in kwargs.items()}
        used = list(_tensors((args, list(kwargs.values()))))
        if not used:
            return _computed(operation, args, kwargs, place)
        name = operation.name
        function = FUNCTIONS.get(name) or FUNCTIONS.get(name.rstrip("_"))
        if function is None:
            raise NetworkError(
                f"The network uses PyTorch's operator {name} ({place}), which cnnviz does not run. "
                "Write it with others in the module, or, if it stands behind the class scores, "
                "explain an output before it."
            )
        self._modules.use(used, stack)
        given = [self._constant(one) for one in args]
        named = {key: self._constant(one) for key, one in kwargs.items()}
        try:
            with self.graph.scope(".".join(filter(None, (_path(stack), _plain(name))))):
                result = _folded(function(self.graph, *given, **named))
        except (NetworkError, *_DAMAGE) as error:
            reason = str(error).removesuffix(".")
            raise NetworkError(f"{reason} ({place}).") from error
        if operation.in_place:
            self._change(args[0], result, place)
        elif operation.is_view and isinstance(args[0] if args else None, Tensor):
            for one in _tensors(result):
                if one is not args[0]:
                    self._bases[id(one)] = (one, args[0])
        for one in _tensors(result):
            self._modules.make(one, _plain(name), stack)
        return result

    def finish(self, output: Tensor, outputs: int = 1) -> TensorProgram:
        """The program, down to an output, which is one of several perhaps."""
        output = self._current(output, "the output")
        self._modules.use([output], ())
        self._modules.call()
        return fused(self.graph.finish(output, outputs))

    def _current(self, value: Any, place: str) -> Any:
        """What a value has become by operators that changed it in place."""
        if isinstance(value, (list, tuple)):
            return [self._current(one, place) for one in value]
        while id(value) in self._changed:
            value = self._changed[id(value)][1]
        if id(value) in self._stale:
            raise NetworkError(
                f"The network changes a part of a value in place ({self._stale[id(value)][1]}) and "
                f"uses the whole afterwards ({place}), which cnnviz cannot follow."
            )
        return value

    def _change(self, before: Any, after: Tensor, place: str) -> None:
        if not isinstance(before, Tensor):
            raise NetworkError(
                f"The network writes what it computes into a stored value ({place}), which cnnviz "
                "cannot follow."
            )
        base = before
        while id(base) in self._bases:
            base = self._bases[id(base)][1]
            self._stale[id(base)] = (base, place)
        if before is not after:
            self._changed[id(before)] = (before, after)

    def _constant(self, value: Any) -> Any:
        """An argument as the functions take it."""
        if isinstance(value, (list, tuple)):
            return [self._constant(one) for one in value]
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) not in self._constants:
            self._constants[id(value)] = (value, stored(value, self._names.get(id(value), "")))
        return self._constants[id(value)][1]


def stored(tensor: torch.Tensor, name: str = "") -> Constant:
    """A tensor's numbers as they are now; later changes of it do not matter."""
    if tensor.is_complex():
        raise NetworkError("The network computes with complex numbers, which cnnviz does not.")
    with torch.no_grad():
        plain = tensor.detach().to("cpu")
        if plain.is_floating_point():
            plain = plain.to(torch.float32)
        return Constant(np.array(plain.numpy()), name)


def _computed(
    operation: Operation, args: Sequence[Any], kwargs: Mapping[str, Any], place: str
) -> Any:
    """What an operator gives for constants."""
    with torch.no_grad():
        try:
            return operation.run(*args, **kwargs)
        except (RuntimeError, TypeError, ValueError, IndexError, MemoryError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise NetworkError(f"PyTorch cannot compute {place}: {reason}.") from error


def _folded(result: Any) -> Any:
    """A result whose constants are PyTorch's tensors, for its own operators."""
    if isinstance(result, list):
        return [_folded(one) for one in result]
    return torch.from_numpy(result.array) if isinstance(result, Constant) else result


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)


def _path(stack: Sequence[Call]) -> str:
    return stack[-1].path if stack else ""


def _plain(name: str) -> str:
    """``layer_norm`` of ``native_layer_norm``, ``relu`` of ``relu_``."""
    name = name.rpartition(".")[2]
    for dress in _DRESS:
        name = name.removeprefix(dress)
    return name.rstrip("_")
