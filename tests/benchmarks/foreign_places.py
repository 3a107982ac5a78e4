"""Where a module holds its last map of the image, found by its calls alone, for ``sweep.py``.

What the default layer should be is asked of the module itself, without anything of cnnviz: its
parts are hooked, and of what they give that has height and width, or a token for each place, and
passes a gradient back at most of its places, the last is taken.

- A map after its normalization, activation, or pooling, and the map before it, are the same place.
- In a transformer that reads its scores from a class token no other token passes a gradient back
  behind the last attention: the last block's input is meant, which its first normalization reads.
- A map for each class is the classifier's: what feeds it is meant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_PREFIXES = 5  # tokens that stand for no place, at most
_DENSE = 0.5  # of the places must pass something back
_CLOSE = 1e-3
_CONTAINERS = ("Sequential", "ModuleList", "SequentialCell", "CheckpointSequential")


@dataclass(eq=False)
class Seen:
    """A tensor at a part's entrance or exit.

    ``numbers`` are the same in whatever order its values stand; ``rectified`` are of its ReLU.
    """

    shape: tuple[int, ...]
    numbers: list[float]
    rectified: list[float]
    keep: Any = field(repr=False)  # so that no other tensor gets its identity
    dense: bool = False

    def is_same(self, other: list[float]) -> bool:
        """Whether these are the values of another tensor."""
        return close(self.numbers, other)


@dataclass
class _Call:
    path: str
    part: Any
    entered: list[Seen]
    left: list[Seen]


def moments(values: Any) -> list[float]:
    """What describes a tensor's values without their order."""
    import torch

    flat = torch.as_tensor(values).detach().double().flatten()
    third = flat.sign() * flat.abs() ** 3
    found = [flat.mean(), flat.std(), flat.abs().mean(), third.mean(), flat.max(), flat.min()]
    return [flat.numel(), *(float(one) for one in found)]


def close(one: list[float], other: list[float]) -> bool:
    scale = abs(one[2]) + abs(one[3])
    return one[0] == other[0] and all(
        abs(a - b) <= _CLOSE * max(scale, abs(a)) for a, b in zip(one[1:], other[1:], strict=True)
    )


class Calls:
    """The calls of a module's parts in one pass forward and back."""

    def __init__(self, module: Any, image: Any) -> None:
        """Run it on an image (1, C, H, W), and back from its highest score."""
        self._calls: list[_Call] = []
        self._seen: dict[tuple[int, int], Seen] = {}
        hooks = []
        for path, part in module.named_modules():
            if hasattr(part, "inplace"):
                part.inplace = False
            if path:
                hooks.append(part.register_forward_hook(self._hook(path)))
        scores = module(image.requires_grad_())
        scores = (scores[0] if isinstance(scores, tuple) else scores).reshape(-1)
        self._classes = len(scores)
        self._scores = moments(scores)
        scores.max().backward()
        for hook in hooks:
            hook.remove()

    def last_maps(self) -> list[Seen]:
        """What stands for the last map of the image: the first is meant, others are beside it."""
        last = next((call for call in reversed(self._calls) if _any_dense(call.left)), None)
        if last is None:
            return []
        found = self._outside(last)
        for one in found:  # which grows
            for call in self._calls:
                if any(left.is_same(one.numbers) for left in call.left) and self._is_beside(call):
                    found += [one for one in call.entered if one.dense and one not in found]
        return found

    def _hook(self, path: str) -> Any:
        def note(part: Any, entered: Any, left: Any) -> None:
            ins = [self._see(one) for one in _tensors(entered)]
            outs = [self._see(one) for one in _tensors(left)]
            self._calls.append(_Call(path, part, ins, outs))

        return note

    def _see(self, tensor: Any) -> Seen:
        key = (id(tensor), tensor._version)  # which may be changed in place behind a part
        seen = self._seen.get(key)
        if seen is None:
            rectified = moments(tensor.detach().relu())
            seen = Seen(tuple(tensor.shape), moments(tensor), rectified, tensor)
            self._seen[key] = seen
            if tensor.requires_grad and places(seen.shape):
                tensor.register_hook(lambda gradient: _note_density(seen, gradient))
        return seen

    def _outside(self, call: _Call) -> list[Seen]:
        """What a block reads, if only its inside has places that are read."""
        inside = call
        while True:
            above = inside.path.rpartition(".")[0]
            outer = next((one for one in reversed(self._calls) if one.path == above), None)
            if (
                outer is None
                or type(outer.part).__name__ in _CONTAINERS
                or _any_dense(outer.left)
                or not _any_dense(outer.entered)
                or any(left.is_same(self._scores) for left in outer.left)  # a head
            ):
                break
            inside = outer
        if inside is call:
            return [one for one in call.left if one.dense]
        read = [one for one in inside.entered if one.dense]
        shapes = {one.shape for one in read}
        within = [one for one in self._calls if one.path.startswith(f"{inside.path}.")]
        normed = [one for part in within if self._is_beside(part) for one in part.entered]
        return [*read, *(one for one in normed if one.dense and one.shape in shapes)]

    def _is_beside(self, call: _Call) -> bool:
        """Whether a part leaves a map what it is, or makes class maps of it."""
        shapes = [tuple(p.shape) for p in call.part.parameters() if p.dim() > 1]
        return not shapes or (len(shapes) == 1 and shapes[0][0] == self._classes)


def _any_dense(several: list[Seen]) -> bool:
    return any(one.dense for one in several)


def _tensors(values: Any) -> Iterator[Any]:
    """The floating-point tensors among what a part takes or gives."""
    import torch

    if isinstance(values, torch.Tensor):
        if values.is_floating_point() and values.numel() > 1:
            yield values
    elif isinstance(values, (tuple, list)):
        for one in values:
            yield from _tensors(one)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


def places(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a square map's places: two of a map, one of tokens; none if there are none."""
    axes = [axis for axis, length in enumerate(shape) if length > 1]
    if len(axes) == 3:
        pairs = (axes[1:], axes[:2])
        return next((tuple(pair) for pair in pairs if shape[pair[0]] == shape[pair[1]]), ())
    if len(axes) == 2:
        return next(((axis,) for axis in axes if _is_square(shape[axis])), ())
    return ()


def _is_square(tokens: int) -> bool:
    side = math.isqrt(tokens)
    return side > 1 and tokens - side * side <= _PREFIXES


def _note_density(seen: Seen, gradient: Any) -> None:
    here = places(seen.shape)
    others = [axis for axis in range(gradient.dim()) if axis not in here]
    read = (gradient != 0).permute(*here, *others).flatten(0, len(here) - 1).flatten(1).any(1)
    seen.dense = bool(read.double().mean() >= _DENSE)
