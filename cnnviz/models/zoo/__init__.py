"""Every network that ``--model`` takes by name: Gluon's model zoo, and the embedded one.

One module a family writes it down as a graph; no framework is needed. Structure, names and numbers
are those of the zoo of MXNet 1.9.1, so that weights made for it fit.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from cnnviz.errors import UsageError
from cnnviz.models.zoo.table import ZOO
from cnnviz.models.zoo.table import ZooEntry as ZooEntry
from cnnviz.text import matching
from cnnviz.types import Shape

if TYPE_CHECKING:
    from cnnviz.graph.builder import Builder, NamedGraph
    from cnnviz.graph.graph import Value

    _Family = Callable[[Builder, str, int], Value]


def names() -> tuple[str, ...]:
    """All names, in the order in which they are listed."""
    return tuple(ZOO)


def entries() -> tuple[ZooEntry, ...]:
    """All entries, in the order in which they are listed."""
    return tuple(ZOO.values())


def get(name: str) -> ZooEntry:
    """The entry of a name.

    Raises:
        UsageError: there is no such network; the text has similar names.
    """
    found = matching(name, ZOO)
    if len(found) != 1:
        from cnnviz.models.unknown import describe_name

        raise UsageError(describe_name(name, names()))
    return ZOO[found[0]]


def labels(entry: ZooEntry) -> tuple[str, ...]:
    """The class names of a network in the order of its logits."""
    if entry.labels == "demo":
        from cnnviz.demo import CLASSES

        return CLASSES
    from cnnviz.labels.classes import imagenet_labels

    return imagenet_labels()


def build(
    entry: ZooEntry, classes: int | None = None, input_shape: Shape | None = None
) -> NamedGraph:
    """A network as a graph, without its weights.

    Args:
        entry: which network.
        classes: number of logits if not the network's usual one.
        input_shape: (C, H, W) of the images if not the network's usual one.

    Raises:
        UsageError: it does not take images of this size.
    """
    from cnnviz.graph.builder import Builder
    from cnnviz.graph.operators import ShapeError

    write: _Family = import_module(f"{__name__}.{entry.family}").build
    shape = input_shape or entry.input.shape
    builder = Builder(shape)
    try:
        return builder.finish(write(builder, entry.name, classes or len(labels(entry))))
    except ShapeError as error:
        _, height, width = shape
        raise UsageError(
            f"{entry.name} does not take images of {width}x{height}: {error}."
        ) from error


def parameter_shapes(entry: ZooEntry, classes: int | None = None) -> dict[str, Shape]:
    """Shape of every parameter of a network, by structural name and in the network's order.

    Running statistics are among them.

    Args:
        entry: which network.
        classes: number of logits if not the network's usual one.
    """
    return dict(build(entry, classes).graph.parameters)
