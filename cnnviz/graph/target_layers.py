"""Target layers, from the names that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

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
    names = [str(one) for one in ([wanted] if isinstance(wanted, (str, Integral)) else wanted)]
    if not names:
        return (architecture.default_layer,)
    chosen: dict[int, Layer] = {}
    for name in (part for given in names for part in architecture.split_names(given)):
        for layer in architecture.stages() if name == STAGES else (architecture.layer(name),):
            chosen[layer.index] = layer
    return tuple(chosen[index] for index in sorted(chosen))
