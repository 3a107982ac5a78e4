"""A network without its weights: what can be known, and checked, before they are loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cnnviz.errors import UsageError
from cnnviz.graph.axes import find_axes
from cnnviz.graph.default_layer import Places, default_target, stage_targets
from cnnviz.graph.ends import Activation, End
from cnnviz.graph.graph import Graph, Value, shape_text
from cnnviz.graph.layout import Layout, find_layouts
from cnnviz.graph.operators import Operator, ReLU
from cnnviz.graph.reach import unread_places
from cnnviz.graph.regions import Region, find_regions
from cnnviz.text import did_you_mean, matching, paragraph
from cnnviz.types import Shape


@dataclass(frozen=True)
class Layer:
    """One operator of a network, as it is listed and asked for.

    ``name`` is the path of the Gluon block that it belongs to (``features.28``), or, where no
    block stands for it, its ``node`` name in the traced graph. ``shape`` is without the batch.
    ``layout`` says how maps of the image stand in it; None if it has no height and width.
    """

    name: str
    node: str
    kind: str
    shape: Shape
    aliases: tuple[str, ...] = ()
    index: int = field(default=-1, repr=False)
    layout: Layout | None = field(default=None, repr=False)

    @property
    def value(self) -> Value:
        """Its output in the graph."""
        return Value(self.index)

    @property
    def is_spatial(self) -> bool:
        """Whether the layer's output still has height and width, so that it can be explained."""
        return self.layout is not None

    @property
    def map_shape(self) -> Shape:
        """(C, h, w), of its output as maps of the image; else its own shape."""
        return self.shape if self.layout is None else self.layout.map_shape

    @property
    def shape_title(self) -> str:
        """Its shape for people, ``512×14×14``; of tokens with their maps' size, too."""
        shape = shape_text(self.shape)
        if self.layout is None or not self.layout.as_tokens:
            return shape
        return f"{shape}, maps of {shape_text(self.map_shape[1:])}"


class Architecture:
    """A network without its weights: layers, shapes and the default target layer.

    Attributes:
        graph: the network in inference form, down to what the logits are read from.
        end: how they are read from that, and what makes probabilities of them.
        input_shape: (C, H, W).
        layouts: how the values that have height and width hold maps of the image.
        layers: all operators between input and logits, in order.
        default_layer: the layer that is explained when nobody names one.
        takes_batches: whether it may be run with several images at a time.
        outputs: how many numbers the logits are read from.
    """

    def __init__(
        self,
        graph: Graph,
        paths: Mapping[Value, Sequence[str]],
        end: End | None = None,
        *,
        takes_batches: bool = True,
    ) -> None:
        """Take a graph that an importer or a builder made.

        Args:
            graph: in inference form, down to what the logits are read from.
            paths: names of its values, first choice first; values without go by their nodes' names.
            end: how the logits are read; None if they are what the graph outputs.
            takes_batches: whether it may be run with several images at a time.

        Raises:
            NetworkError: it does not take images of its size, or has no place to look at.
        """
        self.graph = graph
        self.end = end or End()
        self.takes_batches = takes_batches
        self.outputs = math.prod(graph.shape(graph.output))
        axes = find_axes(graph)
        self.layouts = find_layouts(graph, axes)
        self.layers = self._name_layers(paths)
        self._by_index = {layer.index: layer for layer in self.layers}
        self._regions = find_regions(graph, self.layouts)
        places = Places(graph, self.layouts, self._regions, unread_places(graph, axes))
        self.default_layer = self._by_index[default_target(places)]
        self._stages = stage_targets(places)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.graph.input_size
        return channels, height, width

    @property
    def parameter_shapes(self) -> Mapping[str, Shape]:
        """By the parameters' names."""
        return self.graph.parameters

    def layer(self, name: str) -> Layer:
        """The layer called ``name``, as :meth:`find` has it, if it still has height and width.

        Raises:
            UsageError: there is none, or it has no height and width any more.
        """
        layer = self.find(name)
        if not layer.is_spatial:
            raise UsageError(
                f"Layer {layer.name} ({layer.kind}) gives {shape_text(layer.shape)}, without "
                "height and width, so it cannot say where the network looked; "
                f"the default is {self.default_layer.name}."
            )
        return layer

    def find(self, name: str) -> Layer:
        """The layer called ``name`` (``features.28``, ``features[28]`` or its node's name).

        A name that is written in the very same way comes before one that only compares equal
        (:func:`cnnviz.text.folded`).

        Raises:
            UsageError: there is none, or there are several.
        """
        wanted, by_name = normal_layer_name(name), self._by_name
        found = {by_name[other].index: other for other in matching(wanted, by_name)}
        if len(found) > 1:
            raise UsageError(
                f"The name '{name}' fits {len(found)} layers, {' and '.join(found.values())}: "
                "write it as `cnnviz layers` does."
            )
        if not found:
            spatial = [name for name, layer in by_name.items() if layer.is_spatial]
            hint = did_you_mean(wanted, spatial, cutoff=0.5)
            raise UsageError(
                paragraph(
                    f"This network has no layer '{name}'.",
                    hint,
                    "`cnnviz layers` lists all of them; `explain` takes "
                    f"{self.default_layer.name} by default.",
                )
            )
        return by_name[next(iter(found.values()))]

    def split_names(self, names: str) -> list[str]:
        """The layers' names in a list separated by commas; a layer may have commas in its name."""
        if "," not in names or matching(normal_layer_name(names), self._by_name):
            return [names]
        return [name.strip() for name in names.split(",")]

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        """Every layer by its name, and by others where these are no layer's name."""
        by_name = {layer.name: layer for layer in self.layers}
        for layer in self.layers:
            for other in (layer.node, *layer.aliases):
                by_name.setdefault(other, layer)
        return by_name

    def stages(self) -> tuple[Layer, ...]:
        """The network's natural stages, in order: the last layer at each resolution.

        Where branches join, the last join at each: ResNet's four stages; elsewhere the last
        convolution: VGG's five blocks. Each with its batch norm, a join also with its activation.
        The last stage is the default layer.
        """
        return tuple(self._by_index[index] for index in self._stages)

    def region(self, layer: Layer) -> Region:
        """The part of the image that a layer's output was computed from."""
        return self._regions[Value(layer.index)]

    @property
    def relus(self) -> int:
        """The number of ReLUs between input and logits; 0 for a network of tanh, PReLU or swish."""
        return sum(is_relu(self.graph.nodes[layer.index].operator) for layer in self.layers)

    @property
    def output_shape(self) -> Shape:
        """What the logits are read from, for one image: (K,) or (K, 1, 1) for a classifier."""
        return self._by_index[self.graph.output.node].shape

    @property
    def classes(self) -> int:
        """The number of logits."""
        return self.end.classes(self.outputs)

    @property
    def activation(self) -> Activation:
        """What makes probabilities of the logits."""
        return self.end.activation

    @property
    def multi_label(self) -> bool:
        """Whether an image may belong to several classes, or none."""
        return self.end.multi_label

    def class_names(self, labels: Sequence[str], network: str) -> tuple[str, ...]:
        """The names of the classes; see :meth:`cnnviz.graph.ends.End.names`."""
        return self.end.names(labels, self.classes, network)

    def _name_layers(self, paths: Mapping[Value, Sequence[str]]) -> tuple[Layer, ...]:
        layers = []
        taken: set[str] = set()
        for index in self.graph.layers:
            node, value = self.graph.nodes[index], Value(index)
            names = [name for name in paths.get(value, ()) if name not in taken]
            name = names[0] if names else node.name
            taken.add(name)
            kind, shape = node.operator.kind, self.graph.shape(value)
            aliases, layout = tuple(names[1:]), self.layouts.get(value)
            layers.append(Layer(name, node.name, kind, shape, aliases, index, layout))
        return tuple(layers)


def is_relu(operator: Operator) -> bool:
    """Whether this is a ReLU that is an activation of its own, for ReLU rules to act on."""
    return isinstance(operator, ReLU) and operator.standalone


def normal_layer_name(name: str) -> str:
    """``features[28]``, as one writes it in Python, as the layer is listed: ``features.28``."""
    return re.sub(r"\[(\d+)\]", r".\1", name.strip()).lstrip(".")
