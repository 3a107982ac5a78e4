"""From pixels to explanations: a network, its input specification, its class names, the methods.

Neither files nor drawings here: arrays in, :class:`cnnviz.Explanation` values out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cnnviz.attribution import AttributionContext, ModelQueries, PassCount, collect
from cnnviz.attribution.cam import GradCam
from cnnviz.attribution.context import TargetRows
from cnnviz.attribution.contrast import checked_difference
from cnnviz.attribution.fitting import MethodSpec, fit_methods
from cnnviz.attribution.target_rows import Rows, TargetSpec, of_each
from cnnviz.engines.network import Network
from cnnviz.engines.target_functions import ClassLogit, CosineSimilarity, TargetFunction
from cnnviz.errors import ExplanationError, ItemError, in_keywords
from cnnviz.explanation import Contrast, Explanation, ImageResult
from cnnviz.graph.architecture import Layer
from cnnviz.graph.target_layers import choose_layers
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import Prepared, prepare
from cnnviz.images.samples import Samples
from cnnviz.labels.scores import Scores
from cnnviz.outputs.provenance import Origin
from cnnviz.types import Float32, RgbImage
from cnnviz.weights.info import WeightsInfo


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
        methods: MethodSpec = None,
        name: str = "network",
        weights: WeightsInfo | None = None,
    ) -> None:
        """Put the parts together, as :func:`cnnviz.load` does.

        Args:
            network: the network.
            spec: its input; the default suits ImageNet networks of 224×224.
            labels: the names of its classes, all or none; of a network with one output, which says
                yes or no, also one, that of yes.
            layer: the target layer's name, or several, or ``"stages"`` for the network's natural
                stages (:meth:`cnnviz.graph.architecture.Architecture.stages`); None for its
                default layer.
            methods: what to attribute with; Grad-CAM, guided Grad-CAM and saliency by default, or
                what is left of these for a network without ReLU (:func:`cnnviz.choose_methods`).
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
        remarks = (
            network.architecture.end.remark,
            note,
            self.spec.display_note,
            network.unchecked,
        )
        self.notes = (*filter(None, remarks), *self._parts_of_the_image())
        self.name = name
        self.weights = weights

    def __repr__(self) -> str:
        layers = ", ".join(layer.name for layer in self.layers)
        methods = ", ".join(method.name for method in self.methods)
        outputs = self.network.architecture.classes
        kind = "classes" if self.network.architecture.activation.is_probability else "outputs"
        return f"<Explainer of {self.name}: {outputs} {kind}; at {layers}; {methods}>"

    def _parts_of_the_image(self) -> Iterator[str]:
        """A sentence about each layer whose maps are not maps of the image."""
        for layer in self.layers:
            region = self.network.architecture.region(layer)
            if region.stacked:
                yield (
                    f"Layer {layer.name} ({layer.shape_title}) lays different parts of the "
                    "image on one another, so that no place in its maps is one place in the image."
                )
            elif not region.is_whole:
                down, across = (
                    f"{100 * start:.0f} % to {100 * end:.0f} %"
                    for start, end in ((region.top, region.bottom), (region.left, region.right))
                )
                yield (
                    f"Layer {layer.name} ({layer.shape_title}) sees only part of the image "
                    f"({down} of its height, {across} of its width); its maps are drawn over all "
                    "of it all the same."
                )

    def replace(
        self,
        layer: str | Sequence[str] | None = None,
        methods: MethodSpec = None,
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
            name=self.name,
            weights=self.weights,
        )

    def prepare(self, image: RgbImage | Samples, source: tuple[int, int] | None = None) -> Prepared:
        """What the network is fed for a uint8 (H, W, 3) RGB image, or one at its full depth.

        ``source`` is the original's (H, W) where the image was read at a reduced size.
        """
        with in_keywords():
            return prepare(image, self.spec, source)

    @property
    def origin(self) -> Origin:
        """What files say of the network that they come from."""
        return Origin.of(self.name, self.weights)

    @property
    def layer(self) -> Layer:
        """The target layer; of several the last."""
        return self.layers[-1]

    def passes(self) -> dict[str, PassCount]:
        """For each method that asks for passes of its own, by key: for one image."""
        shape = self.network.architecture.input_shape
        counts = {
            method.key: sum(
                (
                    method.passes(shape, layer)
                    for layer in (self.layers if method.uses_layer else self.layers[-1:])
                ),
                PassCount(),
            )
            for method in self.methods
        }
        return {key: count for key, count in counts.items() if count.total()}

    def explain(
        self, batch: Sequence[Prepared], target: TargetSpec = None
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
            NetworkError: the engine fails (out of memory).
        """
        return [
            result if isinstance(result, ItemError) else result.explanations[0]
            for result in self.explain_targets(batch, [target])
        ]

    def explain_targets(
        self,
        batch: Sequence[Prepared],
        targets: Sequence[TargetSpec] | TargetRows,
        on_progress: Callable[[int], None] | None = None,
        contrasts: Sequence[tuple[TargetSpec, TargetSpec]] = (),
    ) -> list[ImageResult | ItemError]:
        """Explain a batch of prepared images for several targets, with one forward pass for all.

        Args:
            batch: what :meth:`prepare` returned.
            targets: each as in :meth:`explain`; or a function from the logits (N, K) to N sequences
                of target functions, each image's own, which may be empty.
            on_progress: called with a number whenever that many of the passes are done that
                methods ask for themselves (:meth:`passes`).
            contrasts: pairs of targets whose difference is explained too.

        Returns:
            For each image what was found out, or the error. A target that several come down to is
            explained once; a pair that comes down to one class is left out.

        Raises:
            UsageError: a target is out of range.
            NetworkError: the engine fails (out of memory).
        """
        if not batch:
            return []
        inputs = np.stack([prepared.input for prepared in batch])
        rows = Rows(targets)
        found = collect(
            ModelQueries(self.network, on_progress),
            inputs,
            rows,
            self.layers,
            self.methods,
            self.spec,
            [of_each(one, len(batch)) for pair in contrasts for one in pair],
        )
        results: list[list[Explanation] | ItemError] = [
            _broken({"logits": logits}) or [] for logits in rows.logits
        ]
        for column in found[: rows.most]:
            for index, result in _explanations(self, batch, column):
                row = results[index]
                if isinstance(row, ItemError):
                    continue
                if isinstance(result, ItemError):
                    results[index] = result
                else:
                    row.append(result)
        ends = [column[-1] for column in found[rows.most :]]
        differences: list[dict[tuple[int, int], Contrast]] = [{} for _ in batch]
        for a, b in zip(ends[::2], ends[1::2], strict=True):
            for index, contrast in enumerate(_contrasts(self, batch, a, b)):
                if isinstance(contrast, ItemError):
                    results[index] = contrast
                elif contrast is not None:
                    differences[index].setdefault((contrast.a, contrast.b), contrast)
        return [
            row
            if isinstance(row, ItemError)
            else ImageResult(
                self._scores(rows.logits[index]), tuple(row), tuple(differences[index].values())
            )
            for index, row in enumerate(results)
        ]

    def _scores(self, logits: Float32) -> Scores:
        """What is said of one image."""
        return Scores(logits, self.network.architecture.activation, self.labels)


def _contrasts(
    explainer: Explainer, batch: Sequence[Prepared], a: AttributionContext, b: AttributionContext
) -> Iterator[Contrast | ItemError | None]:
    """For each image of a batch the difference of two classes, None if they are one."""
    cams = [GradCam().explain_checked(context).maps[GradCam.name] for context in (a, b)]
    differences = checked_difference(a, b)
    for index, prepared in enumerate(batch):
        ends = _class_of(a.targets[index]), _class_of(b.targets[index])
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
            explainer.labels,
            a.activation,
            explainer.origin,
        )


def _class_of(target: TargetFunction) -> int:
    """The class whose logit a target is."""
    assert isinstance(target, ClassLogit)
    return target.index


def _explanations(
    explainer: Explainer, batch: Sequence[Prepared], column: Sequence[AttributionContext]
) -> Iterator[tuple[int, Explanation | ItemError]]:
    """What all methods found at all layers for one target of each image that has one, by place."""
    found, diagnostics = _attributions(explainer, column)
    last = column[-1]
    relus = None
    if last.relus_guided:
        relus = (min(last.relus_guided.values()), last.relus_total)
    for index, place in enumerate(last.images):
        logits, target = last.logits[index], last.targets[index]
        own = tuple(
            {key: _in_rgb(values[index], explainer.spec) for key, values in maps.items()}
            for maps in found
        )
        broken = _broken({"logits": logits}, *own)
        yield (
            place,
            broken
            or Explanation(
                batch[place],
                logits,
                target if isinstance(target, CosineSimilarity) else _class_of(target),
                explainer.layers,
                explainer.methods,
                own,
                {
                    key: {name: values[index] for name, values in known.items()}
                    for key, known in diagnostics.items()
                    if known
                },
                relus,
                explainer.labels,
                last.activation,
                explainer.origin,
            ),
        )


def _attributions(
    explainer: Explainer, column: Sequence[AttributionContext]
) -> tuple[list[dict[str, Float32]], dict[str, Mapping[str, Sequence[Any]]]]:
    """For each layer the maps of a whole batch by key; by method's key what else was found out."""
    found: list[dict[str, Float32]] = []
    diagnostics: dict[str, Mapping[str, Sequence[Any]]] = {}
    for context in column:
        maps = dict(found[-1]) if found else {}
        for method in explainer.methods:
            if not found or method.uses_layer:
                with np.errstate(over="ignore", invalid="ignore"):  # refused later, image by image
                    attribution = method.explain_checked(context)
                maps.update(attribution.maps)
                diagnostics[method.key] = attribution.diagnostics
        found.append(maps)
    return found, diagnostics


def _in_rgb(values: Float32, spec: InputSpec) -> Float32:
    """A map, if it has a value for each color, (C, H, W), with red first."""
    return spec.swapped(values) if values.ndim == 3 else values


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
