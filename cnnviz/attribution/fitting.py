"""Which methods suit a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cnnviz.attribution import Method, check_unguided, choose_methods, missing_relus
from cnnviz.errors import UsageError
from cnnviz.graph.architecture import Architecture

MethodSpec = Sequence[Method] | Sequence[str] | str | Callable[..., Sequence[Method]] | None
"""Methods, or their names; or a function that chooses them, given ``has_relu``, whether the network
has ReLUs, as :func:`cnnviz.choose_methods` does; or None for the usual ones."""


def fit_methods(
    architecture: Architecture, wanted: MethodSpec
) -> tuple[tuple[Method, ...], str | None]:
    """The methods for a network, and a sentence about what it cannot show for want of ReLUs.

    Raises:
        UsageError: a method acts on ReLUs, and the network has none.
    """
    has_relu = architecture.relus > 0
    note = None
    wanted = choose_methods if wanted is None else wanted
    if callable(wanted):
        methods = tuple(wanted(has_relu=has_relu))
        note = missing_relus(wanted(has_relu=True), methods)
    else:
        methods = _named(wanted, has_relu)
    if not has_relu:
        check_unguided(methods)
    return methods, note


def _named(wanted: Any, has_relu: bool) -> tuple[Method, ...]:
    """Methods as they are, or by their names."""
    several: list[Any] = [wanted] if isinstance(wanted, (str, Method)) else list(wanted)
    if all(isinstance(one, Method) for one in several):
        return tuple(several)
    if all(isinstance(one, str) for one in several):
        return choose_methods(several, has_relu=has_relu)
    raise UsageError(f"methods are names, or what choose_methods() gives; got {wanted!r}.")
