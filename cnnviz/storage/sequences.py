"""Sequences whose values are made, or read, when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")
S = TypeVar("S")


class LazySequence(Sequence[T]):
    """A sequence that does not hold its values."""

    @abstractmethod
    def at(self, place: int) -> T:
        """A value by its place, from 0 to one less than the length."""

    def choose(self, places: range) -> Sequence[T]:
        """What a slice comes to."""
        return Chosen(self, places)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return self.choose(range(len(self))[index])
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"place {index} of {len(self)}")
        return self.at(place)

    def __iter__(self) -> Iterator[T]:
        return map(self.at, range(len(self)))


class Chosen(LazySequence[T]):
    """Some values of a sequence, by their places."""

    def __init__(self, values: Sequence[T], places: Sequence[int]) -> None:
        self._values = values
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def at(self, place: int) -> T:
        """The value at the place that is chosen there."""
        return self._values[self._places[place]]


class Mapped(LazySequence[T], Generic[S, T]):
    """What a function makes of each value of a sequence, each time anew."""

    def __init__(self, function: Callable[[S], T], values: Sequence[S]) -> None:
        self._function = function
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def at(self, place: int) -> T:
        """What becomes of the value there."""
        return self._function(self._values[place])

    def __iter__(self) -> Iterator[T]:
        return map(self._function, self._values)


class Same(LazySequence[T]):
    """One value, many times."""

    def __init__(self, value: T, length: int) -> None:
        self._value = value
        self._length = length

    def __len__(self) -> int:
        return self._length

    def at(self, place: int) -> T:
        """The value."""
        return self._value


def chosen(values: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    """Some values of a sequence: as a tuple, unless it does not hold its values itself."""
    if isinstance(values, LazySequence):
        return Chosen(values, places)
    return tuple(values[place] for place in places)
