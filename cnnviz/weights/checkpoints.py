"""What ``torch.save`` wrote: a state dict, alone or among what else a training script keeps.

No code of a file is run. PyTorch's own reader, which refuses whatever is not its own, is told that
all other classes are :class:`_Inert`: so a checkpoint can be read that has a NumPy number, a
configuration or a whole module in it, and of a module its parameters are there.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnviz.errors import WeightsError
from cnnviz.text import listed
from cnnviz.weights.params_file import shown

if TYPE_CHECKING:
    import torch

    _State = Mapping[str, torch.Tensor]

#: Under which keys training scripts keep the state dict beside optimizer and epoch; the first one
#: that is there is taken, whatever else is.
_USUAL_KEYS = ("state_dict", "model_state_dict", "model")
#: A state dict is this many times larger than what else has tensors, or it is not known which is.
_CLEARLY_LARGER = 10
_DEEPEST = 64


class _Inert:
    """Stands for an object of any class: it keeps its state, and does nothing."""

    state: Any = None

    def __init__(self, *_args: Any, **_more: Any) -> None:
        """Whatever it is made of is dropped."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the state dict in a file of ``torch.save``, by name; on the CPU.

    Args:
        path: the file.

    Raises:
        WeightsError: there is none, or there are several.
        Exception: whatever PyTorch raises of a file that is damaged, or that it refuses.
    """
    import torch

    with torch.serialization.safe_globals([(_Inert, name) for name in _strange(path)]):
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    found = dict(_states(loaded, ""))
    if len(found) > 1:
        sizes = {
            where: sum(tensor.numel() for tensor in state.values())
            for where, state in found.items()
        }
        largest = max(sizes, key=lambda where: sizes[where])
        near = [where for where in sizes if _CLEARLY_LARGER * sizes[where] > sizes[largest]]
        if len(near) > 1:
            names = shown(listed([where or "the file's own" for where in near]))
            raise WeightsError(
                f"{path} holds several sets of weights ({names}): save the one that is "
                "meant alone, with torch.save()."
            )
        return dict(found[largest])
    if not found:
        raise WeightsError(f"{path} is a PyTorch file that holds no parameters{_held(loaded)}.")
    return dict(*found.values())


def _strange(path: Path) -> list[str]:
    """The classes and functions that a file names, and PyTorch does not know as safe."""
    import torch

    if not zipfile.is_zipfile(path):  # an older file; then PyTorch refuses it if there are any
        return []
    return list(torch.serialization.get_unsafe_globals_in_checkpoint(path))


def _states(loaded: Any, where: str, depth: int = 0) -> Iterator[tuple[str, _State]]:
    """The state dicts in what was loaded, and where they are."""
    import torch

    if isinstance(loaded, _Inert):
        if state := dict(_of_module(loaded)):
            yield where, state
        return
    if not isinstance(loaded, Mapping) or "param_groups" in loaded or depth > _DEEPEST:
        return
    for key in _USUAL_KEYS:
        if found := list(_states(loaded.get(key), _inside(where, key), depth + 1)):
            yield from found
            return
    own = {str(name): tensor for name, tensor in loaded.items() if isinstance(tensor, torch.Tensor)}
    if own:
        yield where, own
    for key, value in loaded.items():
        yield from _states(value, _inside(where, key), depth + 1)


def _inside(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _of_module(
    module: _Inert, prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, torch.Tensor]]:
    """The state dict of a module that was pickled whole, as ``Module.state_dict`` makes it."""
    import torch

    state = module.state
    if not isinstance(state, Mapping) or depth > _DEEPEST:
        return
    passing = state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in (state.get(kind) or {}).items():
            if isinstance(tensor, torch.Tensor) and name not in passing:
                yield f"{prefix}{name}", tensor
    for name, inner in (state.get("_modules") or {}).items():
        if isinstance(inner, _Inert):
            yield from _of_module(inner, f"{prefix}{name}.", depth + 1)


def _held(loaded: Any) -> str:
    """What a file holds that has no state dict, as a clause."""
    if isinstance(loaded, Mapping) and "param_groups" in loaded:
        return ", but the state of an optimizer: save the network's state_dict()"
    if isinstance(loaded, Mapping):
        return f", but {shown(listed([str(key) for key in loaded]))}" if loaded else ""
    if isinstance(loaded, (list, tuple)):
        return ", but a list, without names: save the network's state_dict()"
    return ": save the network's state_dict()"
