"""Methods that cover parts of the image and measure the target's probability.

They need no gradient, only the network's output, and so measure what large changes do, not what
infinitesimal ones would. What is covered is the network's input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.attribution import rounding
from cnnviz.attribution.base import Attribution, Method
from cnnviz.attribution.context import AttributionContext
from cnnviz.attribution.options import option
from cnnviz.attribution.plain_colors import plain_input
from cnnviz.attribution.queries import MadeInputs, PassCount
from cnnviz.attribution.random_masks import RandomMasks
from cnnviz.engines.target_functions import TargetFunction
from cnnviz.errors import UsageError
from cnnviz.graph.architecture import Layer
from cnnviz.images.input_spec import InputSpec
from cnnviz.types import Float32, MapKind

#: What may cover a place.
FILLS = ("gray", "mean", "black", "white")
_FILL_HELP = "what covers the image: gray (0.5), the network's mean, black or white"


@dataclass(frozen=True)
class Occlusion(Method):
    """Occlusion (Zeiler & Fergus 2014, section 4.2 and fig. 7): three maps, (N, gh, gw).

    A square window is moved over the network's input and covers it; the softmax probability p of
    the target is recorded for each position (fig. 7d), and which class is highest (fig. 7e).

    - ``occlusion``: how far the probability drops when a position is covered, max(0, p(x) -
      p(covered)), from 0 to 1: high where the target is. Zero where the drop is no more than the
      rounding of the logits, which three more passes measure.
    - ``occlusion_probability``: p(covered) itself, from 0 to 1, as the paper shows it: *low* where
      the target is, and above p(x) where something else competed with it.
    - ``occlusion_classes``: the index of the highest class.

    A map has a value for each position of the window. There are ⌈side / stride⌉ positions each way,
    evenly spaced; a window is centered on its value's cell, to half a pixel, and ends where the
    image ends. So a window on the border covers less than one in the middle: at the default stride
    three quarters each way.

    A place that is covered alone says nothing about context that is there twice: with one of two
    cats covered, the other is still a cat. A window is an edge that was not in the image, and no
    network was trained on such images. Several targets share the passes.

    The diagnostics, for each image: ``probability``, p(x); ``largest_drop``, the highest value of
    ``occlusion``; ``window`` and ``stride``, in pixels of the network's input; ``grid``, [gh, gw];
    ``counts``, at how many positions each class was the highest, {index: positions}, most first,
    the index as text.
    """

    name = "occlusion"
    title = "occlusion"
    paper = "Zeiler & Fergus 2014, section 4.2"
    formula = "max(0, p(x) − p(x with the window there))"
    kind = "heat"
    cost = "a forward pass a position of the window, and three more: 199 by default"

    window: int = option(
        0, "its side in pixels of the network's input; 0: a seventh of the shorter side", least=0
    )
    stride: int = option(0, "pixels from one position to the next; 0: half the window", least=0)
    fill: str = option("gray", _FILL_HELP, choices=FILLS)

    @property
    def probability_key(self) -> str:
        """The name of the map of probabilities."""
        return f"{self.key}_probability"

    @property
    def classes_key(self) -> str:
        """The name of the map of classes."""
        return f"{self.key}_classes"

    @property
    def map_kinds(self) -> Mapping[str, MapKind]:
        """All three."""
        return {self.key: "heat", self.probability_key: "probability", self.classes_key: "classes"}

    def passes(self, input_shape: tuple[int, int, int], layer: Layer) -> PassCount:
        """One a position, and those that measure rounding."""
        rows, columns = self.grid(*input_shape[1:])
        return PassCount(forwards=len(rows) * len(columns) + rounding.TIMES)

    def sizes(self, height: int, width: int) -> tuple[int, int]:
        """The window's side and the stride in an input of this size, in pixels.

        Raises:
            UsageError: the window does not fit into the input.
        """
        shorter = min(height, width)
        window = self.window or max(1, round(shorter / 7))
        if window > shorter:
            raise UsageError(
                f"A window of {window} pixels covers all that the network sees, {height}×{width} "
                "pixels. Try --option window=0."
            )
        return window, self.stride or max(1, window // 2)

    def grid(self, height: int, width: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Where windows begin and end in an input of this size: rows and columns."""
        window, stride = self.sizes(height, width)
        return _places(height, window, stride), _places(width, window, stride)

    def attribute(self, context: AttributionContext) -> Float32:
        """How far the probability drops."""
        return self.explain(context).maps[self.key]

    def explain(self, context: AttributionContext) -> Attribution:
        """All three maps, and the diagnostics."""
        height, width = context.inputs.shape[2:]
        window, stride = self.sizes(height, width)
        rows, columns = self.grid(height, width)
        shape = (len(context.inputs), len(rows), len(columns))
        drops, probabilities, classes = (np.empty(shape, np.float32) for _ in range(3))
        diagnostics: list[dict[str, Any]] = []
        for index, target in enumerate(context.targets):
            logits = context.model.logits(
                self._covered(context.inputs[index], context.spec),
                cache_key=(self, context.place(index), "covered"),
            )
            highest = logits.argmax(axis=1)
            activation, whole = context.activation, context.logits[index]
            before = float(target.output(whole, activation))
            after = target.output(logits, activation)
            bounds = context.logit_rounding(index, (self, context.place(index)))
            bound = target.output_rounding(whole, bounds, activation)
            drop = np.where(np.abs(before - after) <= bound, 0.0, before - after)
            drops[index] = np.maximum(drop, 0).reshape(shape[1:])
            probabilities[index] = after.reshape(shape[1:])
            classes[index] = highest.reshape(shape[1:])
            diagnostics.append(
                {
                    "probability": before,
                    "largest_drop": float(drops[index].max()),
                    "window": window,
                    "stride": stride,
                    "grid": list(shape[1:]),
                    "counts": _counts(highest),
                }
            )
        return Attribution(
            {self.key: drops, self.probability_key: probabilities, self.classes_key: classes},
            {name: [own[name] for own in diagnostics] for name in diagnostics[0]}
            if diagnostics
            else {},
        )

    def _covered(self, image: Float32, spec: InputSpec) -> MadeInputs:
        """The image with the window at each position, row by row."""
        rows, columns = self.grid(*image.shape[1:])
        fill = plain_input(self.fill, spec).astype(np.float32)

        def write(number: int, out: Float32) -> None:
            row, column = divmod(number, len(columns))
            out[:] = image
            out[:, slice(*rows[row]), slice(*columns[column])] = fill

        return MadeInputs(len(rows) * len(columns), image.shape, write)


@dataclass(frozen=True)
class Rise(Method):
    """RISE (Petsiuk et al. 2018): (N, H, W), at least 0, at the size of the network's input.

    The image is seen through many random masks, each a coarse grid of open and closed cells,
    enlarged, softened and shifted (section 3.2): M, from 0 to 1. Masks that show the target
    raise its probability. Eq. 6 estimates the target's expected probability f where a pixel λ is
    seen, S(λ) = 1 / (p · N) Σ_i f(x ⊙ M_i) M_i(λ), with p the fraction of open cells.

    - ``rise``: what seeing the pixel adds to the expected probability, max(0, S(λ) - E[f]),
      estimated as 1 / (p · (N - 1)) Σ_i (f_i - mean f) M_i(λ).
    - ``rise_probability``: S(λ) of eq. 6. Not rendered, but among the arrays.

    Differences from the paper: it shows S. The two order pixels alike, up to chance; S is E[f]
    where a pixel does not matter and carries the masks' own unevenness, a few percent of E[f]:
    subtracting the mean removes both. S may come out above 1. The cells are ⌈H / cells⌉ × ⌈W /
    cells⌉ pixels (the paper rounds down, and then masks may end before the image does). The masks
    lie on the normalized input, as in the authors' code, so that closed cells show the mean; choose
    another ``fill`` otherwise.

    The masks come from a generator seeded anew for each image, so that a map does not depend on the
    batch. The diagnostics, for each image: ``mean_probability``, the mean f; ``highest``, of
    ``rise``; ``standard_error`` of its values, as a root mean square over the pixels. Where
    ``highest`` is not many times that, the map shows chance: take more masks. (A quarter of the
    error takes sixteen times as many.) Several targets share the passes.
    """

    name = "rise"
    title = "RISE"
    paper = "Petsiuk et al. 2018, eq. 6"
    formula = "max(0, 1/(p·N) Σ_i (f(x ⊙ M_i) − mean f) · M_i)"
    kind = "heat"
    cost = "a forward pass a mask, 1,000 by default, and three more; the paper: 4,000 for VGG-16"

    masks: int = option(1000, "number of masks", least=2)
    cells: int = option(7, "cells of a mask's grid, each way", least=1)
    open: float = option(0.5, "the probability that a cell is open", least=0.01, most=0.99)
    seed: int = option(0, "of the random masks", least=0, most=2**32 - 1)
    fill: str = option("mean", _FILL_HELP, choices=FILLS)

    def passes(self, input_shape: tuple[int, int, int], layer: Layer) -> PassCount:
        """One a mask, and those that measure rounding."""
        self._check(*input_shape[1:])
        return PassCount(forwards=self.masks + rounding.TIMES)

    def attribute(self, context: AttributionContext) -> Float32:
        """What seeing each pixel adds."""
        return self.explain(context).maps[self.key]

    def explain(self, context: AttributionContext) -> Attribution:
        """Both maps, and the diagnostics."""
        self._check(*context.inputs.shape[2:])
        found = [
            self._of_one(context, index, target) for index, target in enumerate(context.targets)
        ]
        maps, diagnostics = zip(*found, strict=True)
        return Attribution(
            {key: np.stack([own[key] for own in maps]) for key in maps[0]},
            {name: [own[name] for own in diagnostics] for name in diagnostics[0]},
        )

    def _of_one(
        self, context: AttributionContext, index: int, target: TargetFunction
    ) -> tuple[dict[str, Float32], dict[str, float]]:
        """One image's maps and diagnostics."""
        image = context.inputs[index]
        # The masks are made twice rather than kept: a thousand would take 200 MB.
        masks = self.drawn(*image.shape[1:])
        masked = _masked(image, masks, plain_input(self.fill, context.spec).astype(np.float32))
        logits = context.model.logits(masked, cache_key=(self, context.place(index), "masked"))
        activation = context.activation
        scores = target.output(logits, activation)
        mean = float(scores.mean())
        above = scores - mean
        bounds = context.logit_rounding(index, (self, context.place(index)))
        if np.abs(above).max() <= target.output_rounding(logits, bounds, activation).max():
            above[:] = 0
        # Masks without their mean, which changes no sum, for all of `above` sum to zero.
        open_sum, total, squares = masks.sums(above, self.open)
        added = total / (self.masks - 1) / self.open
        variance = (squares - total * total / self.masks) / (self.masks - 1) / self.masks
        error = math.sqrt(float(np.maximum(variance, 0).mean())) / self.open
        seen = (total + mean * open_sum) / self.masks / self.open
        heat = np.maximum(added, 0).astype(np.float32)
        return (
            {self.key: heat, f"{self.key}_probability": seen.astype(np.float32)},
            {
                "mean_probability": mean,
                "highest": float(heat.max()),
                "standard_error": error,
            },
        )

    def drawn(self, height: int, width: int) -> RandomMasks:
        """The masks for an input of this size."""
        return RandomMasks.drawn(self.masks, self.cells, self.open, self.seed, height, width)

    def _check(self, height: int, width: int) -> None:
        """Refuse cells smaller than a pixel."""
        if self.cells > min(height, width):
            raise UsageError(
                f"A grid of {self.cells}×{self.cells} cells is finer than the {height}×{width} "
                "pixels that the network sees; 7 is the paper's."
            )


def _masked(image: Float32, masks: RandomMasks, fill: Float32) -> MadeInputs:
    """The image (C, H, W) under each mask: M · image + (1 - M) · fill."""

    def write(number: int, out: Float32) -> None:
        mask = masks[number]
        np.multiply(mask, image, out=out)
        if fill.any():
            out += (1 - mask) * fill

    return MadeInputs(len(masks), image.shape, write)


def _places(side: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Where windows begin and end along a side, evenly spaced."""
    count = math.ceil(side / stride)
    places = []
    for index in range(count):
        middle = (index + 0.5) * side / count
        first = math.floor(middle - window / 2 + 0.5)
        places.append((max(0, first), min(side, first + window)))
    return places


def _counts(classes: npt.NDArray[np.integer[Any]]) -> dict[str, int]:
    """How often each class is there, most first; of equals the lower class."""
    found, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(found[place]): int(counts[place]) for place in order}  # JSON's keys are text
