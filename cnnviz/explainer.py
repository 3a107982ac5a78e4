"""From pixels to explanations: a network, its input specification, its class names, the methods.

No files here: arrays in, :class:`Explanation` values out. The pipeline puts a run around this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz import layout, render
from cnnviz.attribution import (
    Drawing,
    Evidence,
    Method,
    Passes,
    choose_methods,
    gather_all,
    softmax,
)
from cnnviz.errors import PictureError, UsageError
from cnnviz.inputs import read_reduced
from cnnviz.models.catalog import WeightsInfo
from cnnviz.network import Architecture, Layer, Network
from cnnviz.network.architecture import shape_text
from cnnviz.network.engine import Targets
from cnnviz.preprocessing import (
    Canvas,
    InputSpec,
    PictureSize,
    Prepared,
    canvas,
    enough,
    output_shape,
    prepare,
    resize_picture,
    to_picture,
)

#: The layer name that stands for a network's natural stages.
STAGES = "stages"

#: Width in pixels of a picture with a column for each layer, where no size is asked for.
_STRIP_WIDTH = 2560

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
    """How maps become pictures.

    Attributes:
        size: of the pictures, see :func:`cnnviz.preprocessing.output_shape`.
        colormap: of the overlays, one of :data:`cnnviz.render.COLORMAPS`.
        alpha: strength of the overlays, from 0 (picture) to 1 (colours).
        overlay: whether heat maps lie over the picture; else their colours stand alone.
    """

    size: PictureSize = "default"
    colormap: str = render.COLORMAPS[0]
    alpha: float = render.DEFAULT_ALPHA
    overlay: bool = True

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
        layers: the target layers, in the network's order.
        methods: the methods asked for, in order.
        found: for each of the layers the maps by key (``guided_gradcam``), those of the parts that
            a method is composed of among them: unnormalised float32, see the method.
        facts: by method's key what else it found out, in values that JSON can hold.
        relus: (N, M), N of M ReLUs guided; None if no method asked for a guided gradient.
        labels: the classes' names, or none.
    """

    prepared: Prepared
    logits: Float32
    target: int
    layers: tuple[Layer, ...]
    methods: tuple[Method, ...]
    found: tuple[Mapping[str, Float32], ...]
    facts: Mapping[str, Mapping[str, Any]]
    relus: tuple[int, int] | None
    labels: tuple[str, ...] = field(default=(), repr=False)

    @property
    def layer(self) -> Layer:
        """The target layer; of several the last."""
        return self.layers[-1]

    @property
    def maps(self) -> Mapping[str, Float32]:
        """The maps at :attr:`layer`, by key."""
        return self.found[-1]

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
        return softmax(self.logits)

    def arrays(self) -> dict[str, Any]:
        """Everything raw, by name, as ``--arrays`` writes it.

        With several layers ``layer`` holds all their names, and a map that depends on the layer is
        there once for each, as ``gradcam@features.28``.
        """
        arrays: dict[str, Any] = {
            "input": self.prepared.input,
            "logits": self.logits,
            "target": np.int64(self.target),
            "layer": np.str_(self.layer.name),
        }
        if len(self.layers) == 1:
            return {**arrays, **self.maps}
        arrays["layer"] = np.array([layer.name for layer in self.layers])
        fixed = {
            key
            for method in self.methods
            for part in (*method.parts, method)
            if not part.uses_layer
            for key in part.drawings
        }
        for layer, maps in zip(self.layers, self.found):
            for key, values in maps.items():
                arrays[key if key in fixed else f"{key}@{layer.name}"] = values
        return arrays

    def reaches(self) -> dict[str, float]:
        """For each map that is drawn on a scale of its own how far that reaches, by key.

        Of several layers the farthest. See :func:`cnnviz.render.reach`.
        """
        return {
            key: max(render.reach(drawing, _as_drawn(drawing, maps[key])) for maps in self.found)
            for method in self.methods
            for key, drawing in method.drawings.items()
            if drawing in render.SCALED
        }

    def draw(
        self,
        picture: Picture | Canvas,
        style: Style,
        reaches: Mapping[str, float] | None = None,
    ) -> Drawn:
        """Draw the original and every method's maps.

        Args:
            picture: uint8 (H, W, 3) RGB, the picture that was explained; or the canvas made of it
                for this style, which is all that a long run has to keep.
            style: size, colour map and strength of the overlay.
            reaches: by key, for scales that are common to several explanations
                (:meth:`reaches`); a map that is not among them is drawn on its own.

        Raises:
            PictureError: a map is not finite.
        """
        base = picture
        if not isinstance(base, Canvas):
            base = canvas(base, self.prepared, style.size)
        pictures = {"original": base.picture}
        blank = []
        for method in self.methods:
            for key, drawing in method.drawings.items():
                full = (reaches or {}).get(key)
                draw = partial(self._draw, key, drawing, base, style, full)
                if method.uses_layer and len(self.layers) > 1:
                    pictures[key], empty = self._strip(draw, style.size)
                else:
                    pictures[key], empty = draw(self.maps)
                if empty:
                    blank.append(key)
        return Drawn(pictures, tuple(blank))

    def _strip(
        self, draw: Callable[[Mapping[str, Float32]], tuple[Picture, bool]], size: PictureSize
    ) -> tuple[Picture, bool]:
        """One column for each layer; blank if all are.

        Where no size was asked for, the columns are made narrower until the whole fits a screen.
        """
        cells, blanks = zip(*map(draw, self.found))
        height, width = cells[0].shape[:2]
        wanted = _STRIP_WIDTH // len(cells)
        if size == "default" and width > wanted:
            shape = (max(1, round(height * wanted / width)), wanted)
            cells = tuple(resize_picture(cell, shape) for cell in cells)
        captions = [f"{layer.name}  {shape_text(layer.shape)}" for layer in self.layers]
        return layout.strip(cells, captions), all(blanks)

    def _draw(
        self,
        key: str,
        drawing: Drawing,
        base: Canvas,
        style: Style,
        full: float | None,
        maps: Mapping[str, Float32],
    ) -> tuple[Picture, bool]:
        """One map's picture, and whether it is blank."""

        def place(values: Float32) -> Float32:
            return to_picture(values, base.geometry, base.shape)[0]

        values = _as_drawn(drawing, maps[key])
        if drawing == "magnitude":
            return render.monochrome(values, place, full)
        if drawing == "signed":
            return render.signed_colour(values, place, full)
        placed, seen = to_picture(values, base.geometry, base.shape)
        if drawing == "diverging":
            return render.diverging(values, place, full, seen)
        if drawing == "classes":
            return self._classes(values, place, seen), False
        if drawing == "probability":
            # Mixed with a picture its colours would not be those of the scale.
            shown = render.colour(render.normalise_by_max(placed, 1.0)[0], style.colormap, seen)
            title = f"probability of {_named(self.score(self.target))}"
            colours = render.colour_scale(style.colormap)
            return layout.with_scale(
                shown, colours, ["0", "0.25", "0.5", "0.75", "1"], title
            ), False
        heat, empty = render.normalise_by_max(placed, full)
        if style.overlay:
            shown = render.colour_overlay(base.picture, heat, style.colormap, style.alpha, seen)
        else:
            shown = render.colour(heat, style.colormap, seen)
        return shown, empty

    def _classes(
        self, values: Float32, place: render.Place, seen: npt.NDArray[np.bool_]
    ) -> Picture:
        """A map of classes, and below it which colour is which, and how many cells each has."""
        classes = values.astype(np.int64)
        palette = render.class_palette(classes)
        entries = [
            (colour, f"{_named(self.score(index))}: {np.count_nonzero(classes == index)}")
            for index, colour in palette.items()
        ]
        others = np.count_nonzero(~np.isin(classes, list(palette)))
        if others:
            entries.append((render.OTHER, f"other classes: {others}"))
        picture = render.class_map(classes, palette, place, seen)
        title = "the highest class, and the number of its cells"
        return layout.with_legend(picture, entries, title)


def _as_drawn(drawing: Drawing, values: Float32) -> Float32:
    """A map in the shape in which it is drawn."""
    if drawing == "signed":  # (C, H, W) to (H, W, C), or (H, W) of a grey input
        return values[0] if len(values) == 1 else np.moveaxis(values, 0, 2)
    if drawing == "diverging" and values.ndim == 3:
        return np.asarray(values.sum(axis=0), np.float32)
    return values


def _named(score: Score) -> str:
    """``tabby, tabby cat (281)``."""
    return f"class {score.index}" if score.name is None else f"{score.name} ({score.index})"


class Explainer:
    """A network with all that is needed to explain pictures with it."""

    def __init__(
        self,
        network: Network,
        spec: InputSpec | None = None,
        labels: Sequence[str] = (),
        *,
        layer: str | Sequence[str] | None = None,
        methods: Sequence[Method] | None = None,
        resize: str = "stretch",
        name: str = "network",
        weights: WeightsInfo | None = None,
    ) -> None:
        """Put the parts together, as :func:`cnnviz.load_explainer` does.

        Args:
            network: the network.
            spec: its input; the default suits ImageNet networks of 224×224.
            labels: the names of its classes, all or none.
            layer: the target layer's name, or several, or ``"stages"`` for the network's natural
                stages (:meth:`cnnviz.network.Architecture.stages`); None for its default layer.
            methods: what to attribute with; Grad-CAM, guided Grad-CAM and saliency by default.
            resize: ``stretch`` or ``crop``, see :func:`cnnviz.preprocessing.prepare`.
            name: for the record, what the network is called.
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
        self.layers = choose_layers(network.architecture, layer)
        self.methods = choose_methods() if methods is None else tuple(methods)
        self.resize = resize
        self.name = name
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

    @property
    def layer(self) -> Layer:
        """The target layer; of several the last."""
        return self.layers[-1]

    def passes(self) -> dict[str, Passes]:
        """For each method that asks for passes of its own, by key: for one picture."""
        shape = self.network.architecture.input_shape
        counts = {
            method.key: sum(
                (
                    method.passes(shape, layer)
                    for layer in (self.layers if method.uses_layer else self.layers[-1:])
                ),
                Passes(),
            )
            for method in self.methods
        }
        return {key: count for key, count in counts.items() if count.total()}

    def explain(
        self, batch: Sequence[Prepared], target: int | Callable[[Float32], Any] | None = None
    ) -> list[Explanation | PictureError]:
        """Explain a batch of prepared pictures with one forward pass, for one target each.

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
        return [
            result if isinstance(result, PictureError) else result[0]
            for result in self.explain_targets(batch, [target])
        ]

    def explain_targets(
        self,
        batch: Sequence[Prepared],
        targets: Sequence[int | Callable[[Float32], Any] | None],
        tick: Callable[[int], None] | None = None,
    ) -> list[tuple[Explanation, ...] | PictureError]:
        """Explain a batch of prepared pictures for several targets, with one forward pass for all.

        Args:
            batch: what :meth:`prepare` returned.
            targets: each as in :meth:`explain`.
            tick: called with a number whenever so many of the passes are done that methods ask for
                themselves (:meth:`passes`).

        Returns:
            For each picture one explanation for each target, in order, or the error. A class that
            several targets come down to is explained once.

        Raises:
            UsageError: a target is out of range.
            NetworkError: MXNet fails.
        """
        inputs = np.stack([prepared.input for prepared in batch])
        columns: list[Targets] = [
            [target] * len(batch) if isinstance(target, int) else target for target in targets
        ]
        rows: list[dict[int, Explanation] | PictureError] = [{} for _ in batch]
        for column in gather_all(
            self.network, inputs, columns, self.layers, self.methods, self.spec, tick
        ):
            for index, result in enumerate(self._explanations(batch, column)):
                row = rows[index]
                if isinstance(row, PictureError):
                    continue
                if isinstance(result, PictureError):
                    rows[index] = result
                else:
                    row.setdefault(result.target, result)
        return [row if isinstance(row, PictureError) else tuple(row.values()) for row in rows]

    def _explanations(
        self, batch: Sequence[Prepared], column: Sequence[Evidence]
    ) -> Iterator[Explanation | PictureError]:
        """For each picture of a batch what all methods found at all layers, for one target."""
        found: list[dict[str, Float32]] = []
        facts: dict[str, Mapping[str, Sequence[Any]]] = {}
        for evidence in column:
            maps = dict(found[-1]) if found else {}
            for method in self.methods:
                if not found or method.uses_layer:
                    attribution = method.explain(evidence)
                    maps.update(attribution.maps)
                    facts[method.key] = attribution.facts
            found.append(maps)
        last = column[-1]
        relus = None
        if last.relus_guided:
            relus = (min(last.relus_guided.values()), last.relus_total)
        for index, prepared in enumerate(batch):
            logits = last.logits[index]
            own = tuple({key: values[index] for key, values in maps.items()} for maps in found)
            broken = [
                name
                for part in ({"logits": logits}, *own)
                for name, values in part.items()
                if not np.isfinite(values).all()
            ]
            if broken:
                yield PictureError(
                    f"the network gave NaN or infinity ({', '.join(dict.fromkeys(broken))}); its "
                    "weights are damaged, or do not belong to this preprocessing"
                )
                continue
            yield Explanation(
                prepared,
                logits,
                int(last.targets[index]),
                self.layers,
                self.methods,
                own,
                {
                    key: {name: values[index] for name, values in known.items()}
                    for key, known in facts.items()
                    if known
                },
                relus,
                self.labels,
            )


def choose_layers(
    architecture: Architecture, wanted: str | Sequence[str] | None
) -> tuple[Layer, ...]:
    """The target layers, each once, in the network's order.

    Args:
        architecture: the network.
        wanted: a name or several; ``"stages"`` stands for the network's natural stages; None or
            nothing for the default layer.

    Raises:
        UsageError: there is no such layer, or it has no height and width any more.
    """
    names = [wanted] if isinstance(wanted, str) else list(wanted or ())
    if not names:
        return (architecture.default_layer,)
    chosen: dict[int, Layer] = {}
    for name in names:
        for layer in architecture.stages() if name == STAGES else (architecture.layer(name),):
            chosen[layer.index] = layer
    return tuple(chosen[index] for index in sorted(chosen))
