"""The maps of an image that are judged: the methods' at each layer, and the baselines'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cnnviz.attribution import Method, ModelQueries, PassCount, collect
from cnnviz.attribution.gradients import Saliency
from cnnviz.engines.target_functions import TargetFunction, as_target_function
from cnnviz.explainer import Explainer
from cnnviz.explanation import Explanation
from cnnviz.graph.architecture import Layer
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.placing import Geometry
from cnnviz.images.preprocessing import to_image
from cnnviz.metrics.base import Subject
from cnnviz.metrics.baselines import baselines
from cnnviz.types import Float32, MapKind

#: Images whose maps are made anew together.
_TOGETHER = 4

#: The baseline that needs the network.
GRADIENT_MAGNITUDE = "gradient_magnitude"


@dataclass(frozen=True)
class MapMaker:
    """What makes a method's map at one layer, of any inputs and target.

    Attributes:
        key: see :class:`Subject`.
        title: likewise.
        method: the method.
        layer: the target layer.
        spec: what the network expects.
        baseline: whether its maps are a baseline.
    """

    key: str
    title: str
    method: Method
    layer: Layer
    spec: InputSpec
    baseline: bool = False

    @property
    def kind(self) -> MapKind:
        """How its map is to be read."""
        return self.method.map_kinds[self.method.key]

    @property
    def cost(self) -> PassCount:
        """Of one map, with all passes."""
        gradients = bool(self.method.layer_rules or self.method.input_rules)
        own = PassCount(backwards=1) if gradients else PassCount(forwards=1)
        return own + self.method.passes(self.spec.shape, self.layer)

    def maps(self, queries: ModelQueries, inputs: Float32, target: TargetFunction) -> Float32:
        """The maps of M inputs (M, C, H, W), as a metric is given them: (M, H, W) float32."""
        return make_maps((self,), queries, inputs, [target] * len(inputs))[self.key]

    def subject(self, queries: ModelQueries, values: Float32) -> Subject:
        """A map of it as one that is judged.

        Args:
            queries: the network, to make maps anew with.
            values: the map as the method made it, with channels in the input's order.
        """

        def attribute(inputs: Float32, target: TargetFunction) -> Float32:
            return self.maps(queries, inputs, target)

        of_channels = values.ndim == 3
        return Subject(
            self.key,
            self.title,
            surface(values, self.kind, self.spec.shape[1:]),
            attribute,
            gradient=values if of_channels and self.kind == "signed" else None,
            contributions=values if of_channels and self.kind != "signed" else None,
            baseline=self.baseline,
            cost=self.cost,
        )


def make_maps(
    makers: Sequence[MapMaker],
    queries: ModelQueries,
    inputs: Float32,
    targets: Sequence[TargetFunction],
) -> dict[str, Float32]:
    """The maps of several methods, with one forward pass an input for all.

    Args:
        makers: what makes them.
        queries: the network.
        inputs: (M, C, H, W) float32.
        targets: one an input.

    Returns:
        By the makers' keys (M, H, W) float32, as a metric is given them.
    """
    layers = tuple(dict.fromkeys(maker.layer for maker in makers))
    methods = [maker.method for maker in makers]
    found: dict[str, list[Float32]] = {maker.key: [] for maker in makers}
    for start in range(0, len(inputs), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        rows = partial(_rows, targets[part])
        spec = makers[0].spec
        (column,) = collect(queries, inputs[part], rows, layers, methods, spec)
        by_layer = dict(zip(layers, column, strict=True))
        for maker in makers:
            maps = maker.method.explain_checked(by_layer[maker.layer]).maps[maker.method.key]
            found[maker.key] += [surface(one, maker.kind, spec.shape[1:]) for one in maps]
    return {key: np.stack(maps) for key, maps in found.items()}


def _rows(targets: Sequence[TargetFunction], _logits: Float32) -> list[list[TargetFunction]]:
    """One target an image, whatever the logits are."""
    return [[target] for target in targets]


def map_makers(explainer: Explainer) -> tuple[MapMaker, ...]:
    """What makes the methods' maps, at each layer that makes a difference."""
    several = len(explainer.layers) > 1
    found = []
    for method in explainer.methods:
        for layer in explainer.layers if method.uses_layer else explainer.layers[-1:]:
            named = several and method.uses_layer
            key, title = method.key, method.full_title
            if named:
                key, title = f"{key}@{layer.name}", f"{title} at {layer.name}"
            found.append(MapMaker(key, title, method, layer, explainer.spec))
    return tuple(found)


def gradient_magnitude(explainer: Explainer) -> MapMaker:
    """The fourth baseline: how much each pixel moves the target's logit, in whatever direction."""
    method = Saliency(source="gradient")
    layer, spec = explainer.layer, explainer.spec
    return MapMaker(GRADIENT_MAGNITUDE, "gradient magnitude", method, layer, spec, baseline=True)


def subjects(
    explainer: Explainer, explanation: Explanation, queries: ModelQueries
) -> Iterator[Subject]:
    """All maps of an image that are judged: those that explain it, and the baselines."""
    yield from method_subjects(explainer, explanation, queries)
    yield from baselines(*explainer.spec.shape[1:])
    maker = gradient_magnitude(explainer)
    target = as_target_function(explanation.target)
    values = maker.maps(queries, explanation.prepared.input[None], target)[0]
    yield maker.subject(queries, values)


def method_subjects(
    explainer: Explainer, explanation: Explanation, queries: ModelQueries
) -> Iterator[Subject]:
    """The maps that explain an image."""
    by_layer = dict(zip(explanation.layers, explanation.maps_by_layer, strict=True))
    for maker in map_makers(explainer):
        values = by_layer[maker.layer][maker.method.key]
        if values.ndim == 3:  # an explanation has red first, whatever the network is fed
            values = explainer.spec.swapped(values)
        yield maker.subject(queries, values)


def surface(values: Float32, kind: MapKind, shape: tuple[int, ...]) -> Float32:
    """A map as metrics read it: one value for each pixel of the network's input, not stretched.

    Maps of a layer are enlarged as they are rendered, bilinear between the centers of their cells
    and constant beyond the outermost ones. Of channels, a gradient's are summed by magnitude, as in
    ``saliency``, and shares of a score are summed.

    Args:
        values: (h, w), or (C, H, W).
        kind: how the map is to be read: ``signed`` ones are gradients.
        shape: (H, W) of the network's input.
    """
    if values.ndim == 3:
        values = (np.abs(values) if kind == "signed" else values).sum(axis=0)
    height, width = shape
    whole = Geometry((height, width), (0, 0, height, width), (height, width))
    enlarged, _ = to_image(values, whole, (height, width))
    return np.ascontiguousarray(enlarged, np.float32)
