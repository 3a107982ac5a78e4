"""From pixels to explanations: a network, its input specification, its class names, the methods.

No files here: arrays in, :class:`Explanation` values out. The pipeline puts a run around this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz import render
from cnnviz.attribution import DEFAULT_METHODS, METHODS, Method, Saliency, gather
from cnnviz.errors import PictureError, UsageError
from cnnviz.inputs import read_reduced
from cnnviz.models.catalog import ModelEntry, WeightsInfo
from cnnviz.network import Layer, Network
from cnnviz.preprocessing import (
    Canvas,
    InputSpec,
    PictureSize,
    Prepared,
    canvas,
    enough,
    output_shape,
    prepare,
    to_picture,
)

Float32 = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Score:
    """One class of one picture."""

    index: int
    name: str | None  #: None where the network's classes have no names
    logit: float
    probability: float  #: softmax over all classes


@dataclass(frozen=True)
class Style:
    """How maps become pictures."""

    size: PictureSize = "default"
    colormap: str = render.COLORMAPS[0]
    alpha: float = render.DEFAULT_ALPHA

    def __post_init__(self) -> None:
        """Refuse what could only fail later, at every picture."""
        output_shape((1, 1), self.size)
        render.check_overlay(self.colormap, self.alpha)


@dataclass(frozen=True)
class Drawn:
    """The pictures of one explanation.

    Attributes:
        pictures: uint8 (H, W, 3) or (H, W) by the name's ending: ``original``, ``gradcam``, ...
        blank: which of them have nothing to show (their map is zero, or the same everywhere).
    """

    pictures: Mapping[str, Picture]
    blank: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """What a network saw in one picture, for one target.

    Attributes:
        prepared: what the network was fed, and where that lies in the picture.
        logits: (K,) float32, before any softmax.
        target: the class explained.
        layer: the target layer.
        methods: the methods asked for, in order.
        maps: for each method, and each part that it is composed of, its map by its key
            (``guided_gradcam``), unnormalised float32: see the method.
        relus: (N, M), N of M ReLUs guided; None if no method asked for a guided gradient.
    """

    prepared: Prepared
    logits: Float32
    target: int
    layer: Layer
    methods: tuple[Method, ...]
    maps: Mapping[str, Float32]
    relus: tuple[int, int] | None
    labels: tuple[str, ...] = field(default=(), repr=False)

    def score(self, index: int) -> Score:
        """One class."""
        name = self.labels[index] if self.labels else None
        return Score(index, name, float(self.logits[index]), float(self.probabilities[index]))

    def top(self, count: int = 5) -> list[Score]:
        """The highest classes, best first; the lower index first among equals."""
        order = np.argsort(-self.logits, kind="stable")[:count]
        return [self.score(int(index)) for index in order]

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(K,), the softmax of the logits."""
        logits = self.logits.astype(np.float64)
        powers = np.exp(logits - logits.max())
        probabilities: npt.NDArray[np.float64] = powers / powers.sum()
        return probabilities

    def arrays(self) -> dict[str, Any]:
        """Everything raw, by name, as ``--arrays`` writes it."""
        return {
            "input": self.prepared.input,
            "logits": self.logits,
            "target": np.int64(self.target),
            "layer": np.str_(self.layer.name),
            **self.maps,
        }

    def draw(self, picture: Picture | Canvas, style: Style) -> Drawn:
        """Draw the original and every method's map.

        Args:
            picture: uint8 (H, W, 3) RGB, the picture that was explained; or the canvas made of it
                for this style, which is all that a long run has to keep.
            style: size, colour map and strength of the overlay.

        Raises:
            PictureError: a map is not finite.
        """
        base = picture
        if not isinstance(base, Canvas):
            base = canvas(base, self.prepared, style.size)
        pictures = {"original": base.picture}
        blank = []
        for method in self.methods:
            pictures[method.key], empty = self._draw(method, base, style)
            if empty:
                blank.append(method.key)
        return Drawn(pictures, tuple(blank))

    def _draw(self, method: Method, base: Canvas, style: Style) -> tuple[Picture, bool]:
        """One method's picture, and whether it is blank."""

        def place(values: Float32) -> Float32:
            return to_picture(values, base.geometry, base.shape)[0]

        values = self.maps[method.key]
        if method.drawing == "magnitude":
            return render.monochrome(values, place)
        if method.drawing == "signed":  # (C, H, W) to (H, W, C), or (H, W) of a grey input
            return render.signed_colour(
                values[0] if len(values) == 1 else np.moveaxis(values, 0, 2), place
            )
        placed, seen = to_picture(values, base.geometry, base.shape)
        heat, empty = render.normalise_by_max(placed)
        return render.colour_overlay(base.picture, heat, style.colormap, style.alpha, seen), empty


def choose_methods(
    names: Sequence[str] = DEFAULT_METHODS, saliency: str = "guided-gradcam"
) -> tuple[Method, ...]:
    """The methods called ``names``, each once.

    Raises:
        UsageError: there is no such method, or no such source of saliency.
    """
    for name in names:
        if name not in METHODS:
            raise UsageError(f"There is no method '{name}': use {', '.join(METHODS)}.")
    if saliency not in Saliency.SOURCES:
        raise UsageError(
            f"Saliency cannot be made from '{saliency}': use {', '.join(Saliency.SOURCES)}."
        )
    return tuple(
        Saliency(saliency) if name == Saliency.name else METHODS[name]()
        for name in dict.fromkeys(names)
    )


class Explainer:
    """A network with all that is needed to explain pictures with it."""

    def __init__(
        self,
        network: Network,
        spec: InputSpec | None = None,
        labels: Sequence[str] = (),
        *,
        layer: str | None = None,
        methods: Sequence[Method] | None = None,
        resize: str = "stretch",
        entry: ModelEntry | None = None,
        weights: WeightsInfo | None = None,
    ) -> None:
        """Put the parts together, as :func:`cnnviz.load_explainer` does.

        Args:
            network: the network.
            spec: its input; the default suits ImageNet networks of 224×224.
            labels: the names of its classes, all or none.
            layer: the target layer's name; None for the network's default.
            methods: what to attribute with; Grad-CAM, guided Grad-CAM and saliency by default.
            resize: ``stretch`` or ``crop``, see :func:`cnnviz.preprocessing.prepare`.
            entry: for the record, which network of the catalogue this is.
            weights: for the record, which weights.

        Raises:
            UsageError: no such layer, or another number of names than of classes.
        """
        classes = network.architecture.classes
        if labels and len(labels) != classes:
            raise UsageError(
                f"{len(labels)} class names were given, but the network has {classes} classes."
            )
        self.network = network
        self.spec = InputSpec() if spec is None else spec
        self.labels = tuple(labels)
        self.layer = network.layer(layer)
        self.methods = choose_methods() if methods is None else tuple(methods)
        self.resize = resize
        self.entry = entry
        self.weights = weights

    def prepare(self, picture: Picture, source: tuple[int, int] | None = None) -> Prepared:
        """What the network is fed for a uint8 (H, W, 3) RGB picture.

        ``source`` is the original's (H, W) where the picture was read at a reduced size.
        """
        return prepare(picture, self.spec, self.resize, source)

    def read(self, path: str | os.PathLike[str], size: PictureSize) -> tuple[Prepared, Canvas]:
        """Read a file: what the network is fed, and what is drawn on at the given size.

        Nothing larger is kept, and a JPEG is decoded no larger than these two need.

        Raises:
            PictureError: with the reason, see :func:`cnnviz.inputs.read_picture`.
        """
        reading = read_reduced(path, lambda shape: enough(shape, size, self.spec, self.resize))
        prepared = self.prepare(reading.pixels, reading.source)
        return prepared, canvas(reading.pixels, prepared, size)

    def explain(
        self, batch: Sequence[Prepared], target: int | Callable[[Float32], Any] | None = None
    ) -> list[Explanation | PictureError]:
        """Explain a batch of prepared pictures with one forward pass.

        Args:
            batch: what :meth:`prepare` returned.
            target: a class index for all, a function from the logits (N, K) to N indices, or None
                for each picture's highest class.

        Returns:
            For each picture its explanation or, where the network's numbers overflowed on it, the
            error; one picture's failure leaves the others alone.

        Raises:
            UsageError: the target is out of range.
            NetworkError: MXNet fails.
        """
        inputs = np.stack([prepared.input for prepared in batch])
        targets = [target] * len(batch) if isinstance(target, int) else target
        evidence = gather(self.network, inputs, targets, self.layer, self.methods)
        asked = {part.key: part for method in self.methods for part in (*method.parts, method)}
        maps = {key: method.attribute(evidence) for key, method in asked.items()}
        guided = [
            evidence.relus_guided[rule] for rule in evidence.relus_guided if rule != "standard"
        ]
        relus = (min(guided), evidence.relus_total) if guided else None
        results: list[Explanation | PictureError] = []
        for index, prepared in enumerate(batch):
            logits = evidence.logits[index]
            own = {key: values[index] for key, values in maps.items()}
            broken = [
                name
                for name, values in {"logits": logits, **own}.items()
                if not np.isfinite(values).all()
            ]
            if broken:
                results.append(
                    PictureError(
                        f"the network gave NaN or infinity ({', '.join(broken)}); its weights are "
                        "damaged, or do not belong to this preprocessing"
                    )
                )
                continue
            results.append(
                Explanation(
                    prepared,
                    logits,
                    int(evidence.targets[index]),
                    self.layer,
                    self.methods,
                    own,
                    relus,
                    self.labels,
                )
            )
        return results
