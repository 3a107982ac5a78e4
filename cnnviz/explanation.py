"""What was found out about an image: maps, and where they come from, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnviz.attribution import Method
from cnnviz.attribution.cam import GradCam
from cnnviz.engines.target_functions import CosineSimilarity
from cnnviz.graph.architecture import Layer
from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.graph.graph import shape_text
from cnnviz.images.preprocessing import Canvas, Prepared, canvas
from cnnviz.labels.scores import Score, Scores, Similarity
from cnnviz.outputs.provenance import Origin
from cnnviz.rendering import explanation_images, figures
from cnnviz.rendering.explanation_images import ExplanationMaps, NamedMap, RenderedExplanation
from cnnviz.rendering.figures import Cell, ContrastedClass
from cnnviz.rendering.style import Style
from cnnviz.types import Float32, Float64, RgbImage

if TYPE_CHECKING:
    from cnnviz.metrics.base import Measurement


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a network saw in one image, for one target.

    Attributes:
        prepared: what the network was fed, and where that lies in the image.
        logits: (K,) float32, before any softmax.
        target: the class explained; or the similarity to another image.
        layers: the target layers, in the network's order.
        methods: the methods asked for, in order.
        maps_by_layer: for each of the layers the maps by key (``guided_gradcam``), those of the
            parts that a method is composed of among them: unnormalized float32, see the method.
            Those of channels, (C, H, W), have red first, if these are colors, whatever the
            network's order is.
        diagnostics: by method's key what it reports beside its maps, in values that JSON can hold.
        relus: (N, M), N of M ReLUs guided; None if no method asked for a guided gradient.
        labels: the classes' names, or none.
        activation: what makes probabilities of the logits.
        origin: of which network, and which image, it is: what its files say of themselves.
        measurements: what metrics say of its maps, by map and metric, if it was evaluated.
    """

    prepared: Prepared
    logits: Float32
    target: int | CosineSimilarity
    layers: tuple[Layer, ...]
    methods: tuple[Method, ...]
    maps_by_layer: tuple[Mapping[str, Float32], ...]
    diagnostics: Mapping[str, Mapping[str, Any]]
    relus: tuple[int, int] | None
    labels: tuple[str, ...] = ()
    activation: Activation = SOFTMAX
    origin: Origin = field(default_factory=Origin)
    measurements: Mapping[str, Mapping[str, Measurement]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Explanation: {self.explained.prediction}>"

    @property
    def layer(self) -> Layer:
        """The target layer; of several the last."""
        return self.layers[-1]

    @property
    def maps(self) -> Mapping[str, Float32]:
        """The maps at :attr:`layer`, by key."""
        return self.maps_by_layer[-1]

    @property
    def explained(self) -> Score | Similarity:
        """What the network says of the target."""
        if isinstance(self.target, int):
            return self.score(self.target)
        cosine = float(self.target.score(self.logits))
        return Similarity(self.target.name, self.target.sha256, cosine)

    @property
    def file_part(self) -> int | str:
        """What stands for the target in names of files."""
        return self.target if isinstance(self.target, int) else self.target.file_part

    def score(self, index: int) -> Score:
        """One class."""
        return self.scores.of(index)

    def top(self, count: int = 5) -> list[Score]:
        """The highest classes, best first; the lower index first among equals."""
        return self.scores.top(count)

    @property
    def scores(self) -> Scores:
        """What the network says of the image."""
        return Scores(self.logits, self.activation, self.labels)

    @cached_property
    def probabilities(self) -> Float64:
        """(K,) float64, what the network says of each class; see :meth:`Activation.outputs`."""
        return self.activation.outputs(self.logits)

    def arrays(self) -> dict[str, Any]:
        """Everything raw, by name, as ``--arrays`` writes it.

        With several layers ``layer`` holds all their names, and a map that depends on the layer is
        there once for each, as ``gradcam@features.28``. Of the similarity to another image there is
        no ``target`` but ``similarity``, the cosine, and ``reference``, the other's logits (K,).
        """
        names = [layer.name for layer in self.layers]
        target: dict[str, Any] = (
            {"target": np.int64(self.target)}
            if isinstance(self.target, int)
            else {
                "similarity": np.float64(self.target.score(self.logits)),
                "reference": self.target.reference,
            }
        )
        return {
            "input": self.prepared.input,
            "logits": self.logits,
            **target,
            "layer": np.str_(*names) if len(names) == 1 else np.array(names),
            **self.all_maps(),
        }

    def all_maps(self) -> dict[str, Float32]:
        """The maps of all layers, by the names that they have in :meth:`arrays`."""
        if len(self.layers) == 1:
            return dict(self.maps)
        fixed = {
            key
            for method in self.methods
            for part in (*method.components, method)
            if not part.uses_layer
            for key in part.map_kinds
        }
        return {
            key if key in fixed else f"{key}@{layer.name}": values
            for layer, maps in zip(self.layers, self.maps_by_layer, strict=True)
            for key, values in maps.items()
        }

    @property
    def heatmap(self) -> Float32 | None:
        """The first map that says where the network looked: (h, w), at least 0."""
        for method in self.methods:
            for key, kind in method.map_kinds.items():
                if kind == "heat":
                    return self.maps[key]
        return None

    def scale_limits(self) -> dict[str, float]:
        """How far each map's scale reaches: see :func:`explanation_images.scale_limits`."""
        return explanation_images.scale_limits(self._maps.maps)

    def render(
        self,
        image: RgbImage | Canvas,
        style: Style | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> RenderedExplanation:
        """Render the original and every method's maps.

        Args:
            image: uint8 (H, W, 3) RGB, the image that was explained; or the canvas made of it
                for this style, which is all that a long run has to keep.
            style: size, color map and strength of the overlay.
            limits: by key, for scales that are common to several explanations
                (:meth:`scale_limits`); a map that is not among them has its own.

        Raises:
            MapError: a map is not finite.
        """
        style = Style() if style is None else style
        base = image if isinstance(image, Canvas) else canvas(image, self.prepared, style.size)
        return explanation_images.render(self._maps, base, style, limits)

    def panel_cells(self, rendered: RenderedExplanation) -> list[list[Cell]]:
        """What a figure of it shows: see :func:`explanation_images.panel_cells`."""
        return explanation_images.panel_cells(self._maps, rendered)

    @cached_property
    def _maps(self) -> ExplanationMaps:
        """What there is to be rendered."""
        target = self.explained
        return ExplanationMaps(
            tuple(
                NamedMap(
                    key,
                    map_title(key, method.key, method.full_title),
                    kind,
                    self._values(method, key),
                )
                for method in self.methods
                for key, kind in method.map_kinds.items()
            ),
            tuple((layer.name, shape_text(layer.map_shape)) for layer in self.layers),
            target.title,
            target.prediction,
            lambda index: self.score(index).title,
            self.activation.is_probability and isinstance(self.target, int),
        )

    def _values(self, method: Method, key: str) -> tuple[Float32, ...]:
        """A map at each of the layers, or the only one where they are the same."""
        layers = self.maps_by_layer if method.uses_layer else self.maps_by_layer[-1:]
        values = tuple(maps[key] for maps in layers)
        if method.map_kinds[key] == "signed":  # a color for each channel
            return tuple(one[list(self.prepared.displayed)] for one in values)
        return values


@dataclass(frozen=True)
class Contrast:
    """Where a network saw more of one class than of another in one image, by Grad-CAM.

    Attributes:
        prepared: what the network was fed.
        logits: (K,) float32.
        a: the one class.
        b: the other.
        layer: the layer looked at.
        cam_a: (h, w) float32, Grad-CAM of a, unnormalized.
        cam_b: (h, w) float32, of b.
        difference: (h, w) float32, above 0 what supports a; see
            :func:`cnnviz.attribution.contrast.grad_cam_difference`.
        labels: the classes' names, or none.
        activation: what makes probabilities of the logits.
        origin: of which network it is, and which image.
    """

    prepared: Prepared
    logits: Float32
    a: int
    b: int
    layer: Layer
    cam_a: Float32
    cam_b: Float32
    difference: Float32
    labels: tuple[str, ...] = field(default=(), repr=False)
    activation: Activation = SOFTMAX
    origin: Origin = field(default_factory=Origin)

    @property
    def scores(self) -> tuple[Score, Score]:
        """Those of a and b."""
        a, b = (
            Score.of(index, self.logits, self.activation, self.labels) for index in (self.a, self.b)
        )
        return a, b

    def render(self, image: RgbImage | Canvas, style: Style | None = None) -> RgbImage:
        """Both classes' maps on one scale, and their difference; see :func:`figures.contrast`."""
        style = Style() if style is None else style
        base = image if isinstance(image, Canvas) else canvas(image, self.prepared, style.size)
        a, b = (
            ContrastedClass(cam, score.prediction, score.short_title)
            for cam, score in zip((self.cam_a, self.cam_b), self.scores, strict=True)
        )
        return figures.contrast(base, a, b, self.difference, style)

    def describe(self) -> dict[str, Any]:
        """What a file of it says of itself, see :func:`describe`."""
        return self.origin.describe(
            "contrast",
            layers=[self.layer.name],
            methods=[_method(GradCam())],
            classes=[(score.index, score.name) for score in self.scores],
        )


@dataclass(frozen=True)
class ImageResult:
    """All that was found out about one image.

    Attributes:
        scores: what the network says of it.
        explanations: one for each target that it has.
        contrasts: one for each pair of classes.
        remark: a sentence about targets that it does not have, or None.
    """

    scores: Scores
    explanations: tuple[Explanation, ...]
    contrasts: tuple[Contrast, ...] = ()
    remark: str | None = None


def describe(shows: str, *explanations: Explanation) -> dict[str, Any]:
    """What a file with explanations of one image says of itself (:mod:`cnnviz.outputs.provenance`).

    Args:
        shows: the key of one map, ``original``, or ``arrays`` or ``panel``, which have all.
        explanations: for one target each.
    """
    first = explanations[0]
    whole = shows in ("arrays", "panel")
    methods = [method for method in first.methods if whole or shows in method.map_kinds]
    layers = first.layers if any(method.uses_layer for method in methods) else ()
    targets = [one.explained for one in explanations] if methods else []
    others = [
        {"name": one.other, "sha256": one.sha256} for one in targets if isinstance(one, Similarity)
    ]
    return first.origin.describe(
        shows,
        layers=[layer.name for layer in layers],
        methods=map(_method, methods),
        classes=[(one.index, one.name) for one in targets if isinstance(one, Score)],
        **({"similar_to": others} if others else {}),
    )


def _method(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "key": method.key,
        "title": method.title,
        "options": asdict(method),
        "relu": [rule.name for rule in method.relu_rules],
    }


def map_title(key: str, method_key: str, method_title: str) -> str:
    """What one of a method's maps is called: ``occlusion: probability``."""
    rest = key.removeprefix(method_key).replace("_", " ").strip()
    return f"{method_title}: {rest}" if rest else method_title
