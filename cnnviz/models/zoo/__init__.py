"""The networks of Gluon's model zoo, and the embedded one, as graphs: no framework is needed.

One module a family. Structure, names and numbers are those of the zoo of MXNet 1.9.1, so that
weights made for it fit.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from cnnviz.graph.builder import Builder, NamedGraph
from cnnviz.graph.graph import Value
from cnnviz.types import Shape

_Family = Callable[[Builder, str, int], Value]


def build(family: str, name: str, size: Shape, classes: int) -> NamedGraph:
    """A network as a graph.

    Args:
        family: ``vgg``, ``resnet_v1``, ...: a module of this package.
        name: the network's, ``vgg16_bn``.
        size: of the images, (C, H, W).
        classes: how many logits.

    Raises:
        ShapeError: it does not take images of this size.
    """
    write: _Family = import_module(f"{__name__}.{family}").build
    builder = Builder(size)
    return builder.finish(write(builder, name, classes))
