"""Target layers, from the names that a user gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral

from cnnviz.errors import UsageError
from cnnviz.graph.architecture import Architecture, Layer

#: The name that stands for a network's natural stages.
STAGES = "stages"


def choose_layers(
    architecture: Architecture, wanted: str | Sequence[str] | None
) -> tuple[Layer, ...]:
    """The target layers, each once, in the network's order.

    Args:
        architecture: the network.
        wanted: a name or several, also separated by commas; ``"stages"`` stands for the network's
            natural stages; None or nothing for the default layer.

    Raises:
        UsageError: there is no such layer, or it has no height and width any more.
    """
    if wanted is None:
        wanted = ()
    alone = isinstance(wanted, (str, Integral)) or not isinstance(wanted, Iterable)
    several: Sequence[object] = [wanted] if alone else list(wanted)
    for one in several:
        if not isinstance(one, (str, Integral)):
            raise UsageError(f"A layer is given by its name; got a {type(one).__name__}.")
    names = list(map(str, several))
    if not names:
        return (architecture.default_layer,)
    chosen: dict[int, Layer] = {}
    for name in (part for given in names for part in architecture.split_names(given)):
        for layer in architecture.stages() if name == STAGES else (architecture.layer(name),):
            chosen[layer.index] = layer
    return tuple(chosen[index] for index in sorted(chosen))
