"""MXNet, imported in a quarter of the time.

MXNet writes Python source for each of its 2,500 operators and compiles it while it is imported,
which is more than half of the import; a network is computed with some dozens of them. Here each is
made when it is first used. A sixth goes into setuptools, which puts itself in the place of the
standard library's distutils, of which MXNet needs the comparison of versions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

#: Makes an operator's function, from its handle and names.
_Make = Callable[[Any, str, str], Callable[..., Any]]


@contextmanager
def cheap_import() -> Iterator[None]:
    """Have MXNet, if it is imported inside the block, do only what is needed for it."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if finder.has_distutils:
            # Who imports setuptools later on would be warned of it.
            for name in [name for name in sys.modules if name.partition(".")[0] == "distutils"]:
                del sys.modules[name]


class LateOperator:
    """What stands for an operator of MXNet: a function that is made when it is called or read."""

    def __init__(
        self, make: _Make, handle: Any, name: str, own_name: str, *, doc: str | None = None
    ) -> None:
        """Keep what MXNet would make a function of at once.

        Args:
            make: MXNet's own function for that.
            handle: of the operator in MXNet's library.
            name: by which that knows it.
            own_name: of the function.
            doc: what documents it; by default what MXNet writes.
        """
        self._arguments = make, handle, name, own_name
        self._doc = doc
        self.__name__ = self.__qualname__ = own_name

    @cached_property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function, for which :func:`inspect.signature` looks here."""
        make, *arguments = self._arguments
        return make(*arguments)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Compute."""
        return self.__wrapped__(*arguments, **named)

    def __reduce__(self) -> str:
        """Its name, as of any function: what holds it can be copied."""
        return self.__qualname__

    @property
    def __doc__(self) -> str | None:
        return self.__wrapped__.__doc__ if self._doc is None else self._doc

    @__doc__.setter
    def __doc__(self, text: str | None) -> None:
        self._doc = text


class _Finder(MetaPathFinder):
    """Finds the module that registers operators, for a loader of its own, and distutils.

    Attributes:
        has_distutils: whether it has found the standard library's, which Python 3.12 dropped.
    """

    has_distutils = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "distutils":
            found = PathFinder.find_spec(fullname, path, target)
            self.has_distutils = found is not None
            return found
        if fullname != "mxnet.base":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _BaseLoader(spec.loader.name, spec.loader.path)
        return spec


class _BaseLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        of_arrays, of_numpy = module._init_op_module, module._init_np_op_module

        def register(root: str, name: str, make_op_func: _Make) -> None:
            of_arrays(root, name, partial(LateOperator, make_op_func))

        def register_numpy(*, make_op_func: _Make, **names: str) -> None:
            # MXNet edits the text of each: what is not written by hand documents internals only.
            of_numpy(make_op_func=partial(LateOperator, make_op_func, doc=""), **names)

        module._init_op_module = register  # type: ignore[attr-defined]
        module._init_np_op_module = register_numpy  # type: ignore[attr-defined]
