"""From pixels to explanations: a network, its input specification, its class names, the methods.

No files here: arrays in, :class:`Explanation` values out. The pipeline puts a run around this.
"""

from __future__ import annotations

import io
import operator
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from numbers import Integral
from pathlib import Path, PurePath
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnviz.attribution import (
    Drawing,
    Evidence,
    Method,
    Passes,
    check_unguided,
    choose_methods,
    gather_all,
    missing_relus,
)
from cnnviz.attribution.cam import GradCam, settled_difference
from cnnviz.engines.mxnet.engine import Network
from cnnviz.errors import ExplanationError, ItemError, UsageError
from cnnviz.graph.architecture import Architecture, Layer, shape_text
from cnnviz.graph.ends import SOFTMAX, Activation
from cnnviz.images.decode import MAX_PIXELS, read_reduced
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import (
    Canvas,
    ImageSize,
    Prepared,
    canvas,
    prepare,
    required_decode_size,
    resize_image,
    to_image,
)
from cnnviz.models.catalog import WeightsInfo
from cnnviz.outputs import OutputFolder
from cnnviz.outputs.provenance import Origin
from cnnviz.rendering import figures, layout, render
from cnnviz.rendering.figures import Cell, answer, share
from cnnviz.rendering.style import Style
from cnnviz.text import class_name, printable_path
from cnnviz.types import Float32, RgbImage

#: The layer name that stands for a network's natural stages.
STAGES = "stages"

#: Images beside each other in a figure.
_MOST_IN_ROW = 4


Wanted = SupportsIndex | Callable[[Float32], Any] | None
"""A target: a class index for all images, a function from their logits (N, K) to N indices, or
None for each image's highest class."""

Wish = Sequence[Method] | Callable[..., Sequence[Method]] | None
"""Methods; or what chooses them when it is told ``has_relu``, whether the network has ReLUs, as
:func:`cnnviz.choose_methods` does; or None for that without any wishes."""


@dataclass(frozen=True)
class Score:
    """One class of one image."""

    index: int
    name: str | None  #: None where the network's classes have no names
    logit: float
    probability: float | None  #: None of a network that gives numbers of any range

    @property
    def called(self) -> str:
        """The class for people; of a network that gives numbers ``output 3``."""
        kind = "output" if self.probability is None else "class"
        return class_name(self.index, self.name, kind=kind)

    @property
    def said(self) -> str:
        """The probability for a title, or the number."""
        return figures.number(self.logit) if self.probability is None else share(self.probability)


@dataclass(frozen=True)
class Drawn:
    """The images of one explanation.

    Attributes:
        images: uint8 (H, W, 3) or (H, W) by the name's ending: ``original``, ``gradcam``, ...
        blank: which of them have nothing to show (their map is zero, or the same everywhere).
        cells: what those consist of that have a column for each layer.
    """

    images: Mapping[str, RgbImage]
    blank: tuple[str, ...]
    cells: Mapping[str, tuple[RgbImage, ...]] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a network saw in one image, for one target. A notebook shows it as an image.

    Attributes:
        prepared: what the network was fed, and where that lies in the image.
        logits: (K,) float32, before any softmax.
        target: the class explained.
        layers: the target layers, in the network's order.
        methods: the methods asked for, in order.
        found: for each of the layers the maps by key (``guided_gradcam``), those of the parts that
            a method is composed of among them: unnormalized float32, see the method. Those of
            colors, (3, H, W), are in the order RGB, whatever the network's is.
        facts: by method's key what else it found out, in values that JSON can hold.
        relus: (N, M), N of M ReLUs guided; None if no method asked for a guided gradient.
        labels: the classes' names, or none.
        activation: what makes probabilities of the logits.
        origin: of which network, and which image, it is: what its files say of themselves.
        name: of the image, as :func:`cnnviz.explain` gives it; files are called after it.
        canvas: what it is drawn on, likewise.
        style: how, likewise.
    """

    prepared: Prepared
    logits: Float32
    target: int
    layers: tuple[Layer, ...]
    methods: tuple[Method, ...]
    found: tuple[Mapping[str, Float32], ...]
    facts: Mapping[str, Mapping[str, Any]]
    relus: tuple[int, int] | None
    labels: tuple[str, ...] = ()
    activation: Activation = SOFTMAX
    origin: Origin = field(default_factory=Origin)
    name: str = "image"
    canvas: Canvas | None = None
    style: Style = field(default_factory=Style)

    def __repr__(self) -> str:
        target = self.score(self.target)
        return f"<Explanation of {self.name}: {target.called} {target.said}>"

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
        return _score(self.logits, self.activation, index, self.labels)

    def top(self, count: int = 5) -> list[Score]:
        """The highest classes, best first; the lower index first among equals."""
        order = np.argsort(-self.logits, kind="stable")[:count]
        return [self.score(int(index)) for index in order]

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(K,), what the network says of each class; see :meth:`Activation.outputs`."""
        return self.activation.outputs(self.logits)

    def arrays(self) -> dict[str, Any]:
        """Everything raw, by name, as ``--arrays`` writes it.

        With several layers ``layer`` holds all their names, and a map that depends on the layer is
        there once for each, as ``gradcam@features.28``.
        """
        names = [layer.name for layer in self.layers]
        return {
            "input": self.prepared.input,
            "logits": self.logits,
            "target": np.int64(self.target),
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
            for part in (*method.parts, method)
            if not part.uses_layer
            for key in part.drawings
        }
        return {
            key if key in fixed else f"{key}@{layer.name}": values
            for layer, maps in zip(self.layers, self.found, strict=True)
            for key, values in maps.items()
        }

    @property
    def heat(self) -> Float32 | None:
        """The first map that says where the network looked: at least 0, one value a place."""
        for method in self.methods:
            for key, drawing in method.drawings.items():
                if drawing == "heat":
                    return self.maps[key]
        return None

    def reaches(self) -> dict[str, float]:
        """For each map that is drawn on a scale of its own how far that reaches, by key.

        Of several layers the farthest. See :func:`cnnviz.rendering.render.reach`.
        """
        return {
            key: max(render.reach(drawing, _as_drawn(drawing, maps[key])) for maps in self.found)
            for method in self.methods
            for key, drawing in method.drawings.items()
            if drawing in render.SCALED
        }

    def draw(
        self,
        image: RgbImage | Canvas,
        style: Style,
        reaches: Mapping[str, float] | None = None,
    ) -> Drawn:
        """Draw the original and every method's maps.

        Args:
            image: uint8 (H, W, 3) RGB, the image that was explained; or the canvas made of it
                for this style, which is all that a long run has to keep.
            style: size, color map and strength of the overlay.
            reaches: by key, for scales that are common to several explanations
                (:meth:`reaches`); a map that is not among them is drawn on its own.

        Raises:
            ExplanationError: a map is not finite.
        """
        base = image
        if not isinstance(base, Canvas):
            base = canvas(base, self.prepared, style.size)
        images = {"original": base.image}
        cells: dict[str, tuple[RgbImage, ...]] = {}
        blank = []
        for method in self.methods:
            for key, drawing in method.drawings.items():
                full = (reaches or {}).get(key)
                draw = partial(self._draw, key, drawing, base, style, full)
                if method.uses_layer and len(self.layers) > 1:
                    cells[key], blanks = zip(*map(draw, self.found), strict=True)
                    images[key] = self._strip(cells[key], style.size)
                    empty = all(blanks)  # a column for each layer is blank if all are
                else:
                    images[key], empty = draw(self.maps)
                if empty:
                    blank.append(key)
        return Drawn(images, tuple(blank), cells)

    @cached_property
    def drawn(self) -> Drawn:
        """The images, as :func:`cnnviz.explain` was asked to draw them.

        Raises:
            UsageError: it is not from there, and does not know what to draw on.
        """
        if self.canvas is None:
            raise UsageError(
                "This explanation does not know its image: use draw(image, style), or "
                "cnnviz.explain()."
            )
        return self.draw(self.canvas, self.style)

    @property
    def images(self) -> Mapping[str, RgbImage]:
        """The original and the maps: uint8 (H, W, 3) or (H, W), by their keys; see :meth:`draw`."""
        return self.drawn.images

    @property
    def panel(self) -> RgbImage:
        """All of them in one figure, uint8 (H, W, 3)."""
        return figures.panel("", self.cells(self.drawn), figures.WIDEST)

    def save(
        self, folder: str | os.PathLike[str], name: str | None = None, *, arrays: bool = False
    ) -> dict[str, Path]:
        """Write the images as PNG, as the command does: ``cat_gradcam.png`` and so on.

        Args:
            folder: where to; it is made.
            name: what the files' names begin with; the image's own by default.
            arrays: whether to write the raw arrays beside them.

        Returns:
            The files, by key.

        Raises:
            OutputError: a file cannot be written.
            OutputUnavailableError: nothing more can be written.
        """
        output = OutputFolder(folder)
        stem = self.name if name is None else name
        files = {
            key: output.write_png(PurePath(f"{stem}_{key}.png"), image, about(key, self))
            for key, image in self.images.items()
        }
        if arrays:
            told = about("arrays", self)
            files["arrays"] = output.write_npz(PurePath(f"{stem}.npz"), self.arrays(), told)
        return files

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        buffer = io.BytesIO()
        Image.fromarray(self.panel).save(buffer, "PNG")
        return buffer.getvalue()

    def cells(self, drawn: Drawn) -> list[list[Cell]]:
        """What a figure of it shows, in rows: see :func:`cnnviz.rendering.figures.panel`.

        The original, called after the target, and the maps stand in one row; with several layers,
        maps that differ from layer to layer have rows of their own.
        """
        target = self.score(self.target)
        plain = [[Cell(drawn.images["original"], answer(target.called, target.said))]]
        layered = []
        for method in self.methods:
            for key in method.drawings:
                title = method.title
                if key != method.key:  # occlusion_probability, of occlusion
                    title += f": {key[len(method.key) :].strip('_').replace('_', ' ')}"
                if key in drawn.cells:
                    captions = [f"{title}, {layer.name}" for layer in self.layers]
                    layered.append(list(map(Cell, drawn.cells[key], captions)))
                    continue
                if len(plain[-1]) == _MOST_IN_ROW:
                    plain.append([])
                plain[-1].append(Cell(drawn.images[key], title))
        return plain + layered

    def _strip(self, cells: tuple[RgbImage, ...], size: ImageSize) -> RgbImage:
        """One column for each layer.

        Where no size was asked for, the columns are made narrower until the whole fits a screen.
        """
        height, width = cells[0].shape[:2]
        wanted = figures.WIDEST // len(cells)
        if size == "default" and width > wanted:
            shape = (max(1, round(height * wanted / width)), wanted)
            cells = tuple(resize_image(cell, shape) for cell in cells)
        captions = [f"{layer.name}  {shape_text(layer.shape)}" for layer in self.layers]
        return layout.strip(cells, captions)

    def _draw(
        self,
        key: str,
        drawing: Drawing,
        base: Canvas,
        style: Style,
        full: float | None,
        maps: Mapping[str, Float32],
    ) -> tuple[RgbImage, bool]:
        """One map's image, and whether it is blank."""

        def place(values: Float32) -> Float32:
            return to_image(values, base.geometry, base.shape)[0]

        values = _as_drawn(drawing, maps[key])
        if drawing == "magnitude":
            return render.monochrome(values, place, full)
        if drawing == "signed":
            return render.signed_color(values, place, full)
        placed, seen = to_image(values, base.geometry, base.shape)
        if drawing == "diverging":
            return render.diverging(values, place, full, seen)
        if drawing == "classes":
            return self._classes(values, place, seen), False
        if drawing == "probability":
            # Mixed with an image its colors would not be those of the scale.
            low, high, ticks = self._scale(values)
            part = (placed - low) / np.float32(high - low)
            shown = render.color(render.normalize_by_max(part, 1.0)[0], style.colormap, seen)
            what = "probability" if self.activation.is_probability else "value"
            title = f"{what} of {self.score(self.target).called}"
            return layout.with_scale(shown, render.color_scale(style.colormap), ticks, title), False
        heat, empty = render.normalize_by_max(placed, full)
        return style.paint(base.image, heat, seen), empty

    def _scale(self, values: Float32) -> tuple[float, float, list[str]]:
        """The ends of the scale for what the network says, and its labels."""
        if self.activation.is_probability:
            return 0.0, 1.0, ["0", "0.25", "0.5", "0.75", "1"]
        low, high = float(values.min()), float(values.max())
        high = high if high > low else low + 1
        return low, high, [figures.number(low), figures.number(high)]

    def _classes(
        self, values: Float32, place: render.Place, seen: npt.NDArray[np.bool_]
    ) -> RgbImage:
        """A map of classes, and below it which color is which, and how many cells each has."""
        classes = values.astype(np.int64)
        palette = render.class_palette(classes)
        entries = [
            (color, f"{self.score(index).called}: {np.count_nonzero(classes == index)}")
            for index, color in palette.items()
        ]
        others = np.count_nonzero(~np.isin(classes, list(palette)))
        if others:
            entries.append((render.OTHER, f"other classes: {others}"))
        image = render.class_map(classes, palette, place, seen)
        title = "the highest class, and the number of its cells"
        return layout.with_legend(image, entries, title)


def about(shows: str, *explanations: Explanation) -> dict[str, Any]:
    """What a file with explanations of one image says of itself (:mod:`cnnviz.outputs.provenance`).

    Args:
        shows: the key of one drawing, ``original``, or ``arrays`` or ``panel``, which have all.
        explanations: for one target each.
    """
    first = explanations[0]
    whole = shows in ("arrays", "panel")
    methods = [method for method in first.methods if whole or shows in method.drawings]
    layers = first.layers if any(method.uses_layer for method in methods) else ()
    targets = [one.score(one.target) for one in explanations] if methods else []
    return first.origin.describe(
        shows,
        layers=[layer.name for layer in layers],
        methods=map(_method, methods),
        classes=[(score.index, score.name) for score in targets],
    )


def _method(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "key": method.key,
        "title": method.title,
        "options": asdict(method),
        "relu": list(method.relu_rules),
    }


def _score(logits: Float32, activation: Activation, index: int, labels: Sequence[str]) -> Score:
    name = labels[index] if labels else None
    said = float(activation.outputs(logits)[index]) if activation.is_probability else None
    return Score(index, name, float(logits[index]), said)


def _broken(*parts: Mapping[str, Float32]) -> ExplanationError | None:
    """The error if a number is not finite."""
    names = [
        name for part in parts for name, values in part.items() if not np.isfinite(values).all()
    ]
    if not names:
        return None
    return ExplanationError(
        f"the network gave NaN or infinity ({', '.join(dict.fromkeys(names))}); its weights are "
        "damaged, or do not belong to this preprocessing"
    )


def _as_drawn(drawing: Drawing, values: Float32) -> Float32:
    """A map in the shape in which it is drawn."""
    if drawing == "signed":  # (C, H, W) to (H, W, C), or (H, W) of a gray input
        return values[0] if len(values) == 1 else np.moveaxis(values, 0, 2)
    if drawing == "diverging" and values.ndim == 3:
        return np.asarray(values.sum(axis=0), np.float32)
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
        difference: (h, w) float32, see :func:`cnnviz.attribution.cam.grad_cam_difference`; above 0
            what speaks for a.
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
    def about(self) -> dict[str, Any]:
        """What a file of it says of itself, see :func:`about`."""
        return self.origin.describe(
            "contrast",
            layers=[self.layer.name],
            methods=[_method(GradCam())],
            classes=[(score.index, score.name) for score in self.scores],
        )

    @property
    def scores(self) -> tuple[Score, Score]:
        """Those of a and b."""
        a, b = (
            _score(self.logits, self.activation, index, self.labels) for index in (self.a, self.b)
        )
        return a, b

    def draw(self, image: RgbImage | Canvas, style: Style) -> RgbImage:
        """Both classes' maps on one scale, and their difference; see :func:`figures.contrast`."""
        base = image
        if not isinstance(base, Canvas):
            base = canvas(base, self.prepared, style.size)
        a, b = self.scores
        return figures.contrast(
            base,
            figures.Ranked(self.cam_a, a.called, a.said),
            figures.Ranked(self.cam_b, b.called, b.said),
            self.difference,
            style.colormap,
            style.alpha,
            overlay=style.overlay,
            widest=style.widest,
        )


@dataclass(frozen=True)
class Findings:
    """All that was found out about one image.

    Attributes:
        explanations: one for each target.
        contrasts: one for each pair of classes.
    """

    explanations: tuple[Explanation, ...]
    contrasts: tuple[Contrast, ...] = ()


class Explainer:
    """A network with all that is needed to explain images with it.

    Attributes:
        methods: what it attributes with.
        notes: sentences about what the network does not allow to be shown as usual.
    """

    def __init__(
        self,
        network: Network,
        spec: InputSpec | None = None,
        labels: Sequence[str] = (),
        *,
        layer: str | Sequence[str] | None = None,
        methods: Wish = None,
        resize: str = "stretch",
        name: str = "network",
        weights: WeightsInfo | None = None,
    ) -> None:
        """Put the parts together, as :func:`cnnviz.load_explainer` does.

        Args:
            network: the network.
            spec: its input; the default suits ImageNet networks of 224×224.
            labels: the names of its classes, all or none; of a network with one output, which says
                yes or no, also one, that of yes.
            layer: the target layer's name, or several, or ``"stages"`` for the network's natural
                stages (:meth:`cnnviz.graph.architecture.Architecture.stages`); None for its
                default layer.
            methods: what to attribute with; Grad-CAM, guided Grad-CAM and saliency by default, or
                what is left of these for a network without ReLU (:func:`choose_methods`).
            resize: ``stretch`` or ``crop``, see :func:`cnnviz.images.preprocessing.prepare`.
            name: for the record, what the network is called.
            weights: for the record, which weights.

        Raises:
            UsageError: no such layer, another number of names than of classes, or a method that
                acts on ReLUs where there are none.
        """
        self.network = network
        self.spec = InputSpec() if spec is None else spec
        self.labels = network.architecture.class_names(labels, "the network")
        self.layers = choose_layers(network.architecture, layer)
        self.methods, note = fit_methods(network.architecture, methods)
        remarks = (network.architecture.end.remark, note)
        self.notes = (*filter(None, remarks), *self._parts_of_the_image())
        self.resize = resize
        self.name = name
        self.weights = weights

    def _parts_of_the_image(self) -> Iterator[str]:
        """A sentence about each layer whose maps are not maps of the image."""
        for layer in self.layers:
            region = self.network.architecture.region(layer)
            if region.stacked:
                yield (
                    f"Layer {layer.name} ({shape_text(layer.shape)}) lays different parts of the "
                    "image on one another, so that no place in its maps is one place in the image."
                )
            elif not region.is_whole:
                down, across = (
                    f"{100 * start:.0f} % to {100 * end:.0f} %"
                    for start, end in ((region.top, region.bottom), (region.left, region.right))
                )
                yield (
                    f"Layer {layer.name} ({shape_text(layer.shape)}) sees only part of the image "
                    f"({down} of its height, {across} of its width); its maps are drawn over all "
                    "of it all the same."
                )

    def using(
        self,
        layer: str | Sequence[str] | None = None,
        methods: Wish = None,
    ) -> Explainer:
        """The same network, which is not loaded again, with other layers or methods.

        Raises:
            UsageError: no such layer, or a method that acts on ReLUs where there are none.
        """
        return Explainer(
            self.network,
            self.spec,
            self.labels,
            layer=[one.name for one in self.layers] if layer is None else layer,
            methods=self.methods if methods is None else methods,
            resize=self.resize,
            name=self.name,
            weights=self.weights,
        )

    def prepare(self, image: RgbImage, source: tuple[int, int] | None = None) -> Prepared:
        """What the network is fed for a uint8 (H, W, 3) RGB image.

        ``source`` is the original's (H, W) where the image was read at a reduced size.
        """
        return prepare(image, self.spec, self.resize, source)

    def read(
        self,
        path: str | os.PathLike[str],
        size: ImageSize,
        max_pixels: int = MAX_PIXELS,
        remark: Callable[[str], None] | None = None,
    ) -> tuple[Prepared, Canvas]:
        """Read a file: what the network is fed, and what is drawn on at the given size.

        Nothing larger is kept, and a JPEG is decoded no larger than these two need. An image of
        more than ``max_pixels`` is refused before it is decoded. What the decoder says of an image
        that it reads all the same is given to ``remark``, or is a warning.

        Raises:
            ImageError: with the reason, see :func:`cnnviz.images.decode.read_image`.
        """
        reading = read_reduced(
            path,
            lambda shape: required_decode_size(shape, size, self.spec, self.resize),
            max_pixels=max_pixels,
        )
        if reading.remark is not None and remark is not None:
            remark(reading.remark)
        elif reading.remark is not None:
            warnings.warn(f"{printable_path(os.fspath(path))}: {reading.remark}", stacklevel=2)
        prepared = self.prepare(reading.pixels, reading.source)
        return prepared, canvas(reading.pixels, prepared, size)

    @property
    def origin(self) -> Origin:
        """What files say of the network that they come from."""
        return Origin(self.name, None if self.weights is None else self.weights.sha256)

    @property
    def layer(self) -> Layer:
        """The target layer; of several the last."""
        return self.layers[-1]

    def passes(self) -> dict[str, Passes]:
        """For each method that asks for passes of its own, by key: for one image."""
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
        self, batch: Sequence[Prepared], target: Wanted = None
    ) -> list[Explanation | ItemError]:
        """Explain a batch of prepared images with one forward pass, for one target each.

        Args:
            batch: what :meth:`prepare` returned.
            target: a class index for all, a function from the logits (N, K) to N indices, or None
                for each image's highest class.

        Returns:
            For each image its explanation or, where the network's numbers overflowed on it, the
            error; one image's failure leaves the others alone.

        Raises:
            UsageError: the target is out of range.
            NetworkError: MXNet fails.
        """
        return [
            result if isinstance(result, ItemError) else result.explanations[0]
            for result in self.explain_targets(batch, [target])
        ]

    def explain_targets(
        self,
        batch: Sequence[Prepared],
        targets: Sequence[Wanted],
        tick: Callable[[int], None] | None = None,
        contrasts: Sequence[tuple[Wanted, Wanted]] = (),
    ) -> list[Findings | ItemError]:
        """Explain a batch of prepared images for several targets, with one forward pass for all.

        Args:
            batch: what :meth:`prepare` returned.
            targets: each as in :meth:`explain`.
            tick: called with a number whenever so many of the passes are done that methods ask for
                themselves (:meth:`passes`).
            contrasts: pairs of targets whose difference is explained too.

        Returns:
            For each image what was found out, or the error. A class that several targets come
            down to is explained once; a pair that comes down to one class is left out.

        Raises:
            UsageError: a target is out of range.
            NetworkError: MXNet fails.
        """
        inputs = np.stack([prepared.input for prepared in batch])
        columns, beside = (
            [
                one if one is None or callable(one) else [operator.index(one)] * len(batch)
                for one in wanted
            ]
            for wanted in (targets, [end for pair in contrasts for end in pair])
        )
        found = gather_all(
            self.network, inputs, columns, self.layers, self.methods, self.spec, tick, beside
        )
        rows: list[dict[int, Explanation] | ItemError] = [{} for _ in batch]
        for column in found[: len(columns)]:
            for index, result in enumerate(self._explanations(batch, column)):
                row = rows[index]
                if isinstance(row, ItemError):
                    continue
                if isinstance(result, ItemError):
                    rows[index] = result
                else:
                    row.setdefault(result.target, result)
        ends = [column[-1] for column in found[len(columns) :]]
        differences: list[dict[tuple[int, int], Contrast]] = [{} for _ in batch]
        for a, b in zip(ends[::2], ends[1::2], strict=True):
            for index, contrast in enumerate(self._contrasts(batch, a, b)):
                if isinstance(contrast, ItemError):
                    rows[index] = contrast
                elif contrast is not None:
                    differences[index].setdefault((contrast.a, contrast.b), contrast)
        return [
            row
            if isinstance(row, ItemError)
            else Findings(tuple(row.values()), tuple(differences[index].values()))
            for index, row in enumerate(rows)
        ]

    def _contrasts(
        self, batch: Sequence[Prepared], a: Evidence, b: Evidence
    ) -> Iterator[Contrast | ItemError | None]:
        """For each image of a batch the difference of two classes, None if they are one."""
        cams = [GradCam().settled(evidence).maps[GradCam.name] for evidence in (a, b)]
        differences = settled_difference(a, b)
        for index, prepared in enumerate(batch):
            ends = int(a.targets[index]), int(b.targets[index])
            if ends[0] == ends[1]:
                yield None
                continue
            broken = _broken({"contrast": differences[index]})
            yield broken or Contrast(
                prepared,
                a.logits[index],
                *ends,
                a.layer,
                cams[0][index],
                cams[1][index],
                differences[index],
                self.labels,
                a.activation,
                self.origin,
            )

    def _in_rgb(self, values: Float32) -> Float32:
        """A map, if it has a value for each color, (C, H, W), with red first."""
        return self.spec.swapped(values) if values.ndim == 3 else values

    def _explanations(
        self, batch: Sequence[Prepared], column: Sequence[Evidence]
    ) -> Iterator[Explanation | ItemError]:
        """For each image of a batch what all methods found at all layers, for one target."""
        found: list[dict[str, Float32]] = []
        facts: dict[str, Mapping[str, Sequence[Any]]] = {}
        for evidence in column:
            maps = dict(found[-1]) if found else {}
            for method in self.methods:
                if not found or method.uses_layer:
                    with np.errstate(over="ignore", invalid="ignore"):  # told below
                        attribution = method.settled(evidence)
                    maps.update(attribution.maps)
                    facts[method.key] = attribution.facts
            found.append(maps)
        last = column[-1]
        relus = None
        if last.relus_guided:
            relus = (min(last.relus_guided.values()), last.relus_total)
        for index, prepared in enumerate(batch):
            logits = last.logits[index]
            own = tuple(
                {key: self._in_rgb(values[index]) for key, values in maps.items()} for maps in found
            )
            broken = _broken({"logits": logits}, *own)
            if broken is not None:
                yield broken
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
                last.activation,
                self.origin,
            )


def fit_methods(architecture: Architecture, wanted: Wish) -> tuple[tuple[Method, ...], str | None]:
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
        methods = _chosen(wanted, has_relu)
    if not has_relu:
        check_unguided(methods)
    return methods, note


def _chosen(wanted: Any, has_relu: bool) -> tuple[Method, ...]:
    """Methods as they are, or by their names."""
    several: list[Any] = [wanted] if isinstance(wanted, (str, Method)) else list(wanted)
    if all(isinstance(one, Method) for one in several):
        return tuple(several)
    if all(isinstance(one, str) for one in several):
        return choose_methods(several, has_relu=has_relu)
    raise UsageError(f"methods are names, or what choose_methods() gives; got {wanted!r}.")


def choose_layers(
    architecture: Architecture, wanted: str | Sequence[str] | None
) -> tuple[Layer, ...]:
    """The target layers, each once, in the network's order.

    Args:
        architecture: the network.
        wanted: a name or several, also parted by commas; ``"stages"`` stands for the network's
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
    for name in (part for given in names for part in architecture.parted(given)):
        for layer in architecture.stages() if name == STAGES else (architecture.layer(name),):
            chosen[layer.index] = layer
    return tuple(chosen[index] for index in sorted(chosen))
