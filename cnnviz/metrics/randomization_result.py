"""What became of maps when the network's parameters were made random, as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

#: Maps do not change with the parameters if the ranks of their magnitudes still correlate like this
#: once the upper third of the layers with weights is random. Measured with both ways of making them
#: so and three seeds each on SqueezeNet 1.1 (four photos), a CIFAR-10 ResNet-56 (the same) and the
#: demo network (eight scenes), that is 0.62 to 0.93 for guided backpropagation, 0.23 to 0.54 for
#: the gradient, 0.27 to 0.52 for input × gradient, -0.24 to 0.24 for Grad-CAM. Farther down guided
#: backpropagation changes, too: what it shows depends on the filters of the lowest layers.
UNCHANGED = 0.58


@dataclass(frozen=True)
class LevelSimilarity:
    """How alike a method's maps are to those of the trained network, as means over images.

    Attributes:
        layer: the layer that is random; in the cascade with all above it.
        share: the part of the network's parameters that are random, from 0 to 1.
        images: how many images the means are over.
        spearman: the rank correlation of the maps' values, -1 to 1; null without images.
        absolute: of their magnitudes.
        ssim: of the maps, each scaled to [0, 1]; null also if they are too small for it.
    """

    layer: str
    share: float
    images: int
    spearman: float | None
    absolute: float | None
    ssim: float | None


Curve = tuple[LevelSimilarity, ...]


@dataclass(frozen=True)
class RandomizationResult:
    """What became of the maps of each method.

    Attributes:
        how: how parameters were made random: ``permute`` or ``he``.
        seed: of what was drawn.
        levels: how many layers with weights the network has.
        images: how many were explained.
        cascade: by the method's key, from the logits' side down to the input, where all is random;
            empty if it was not asked for.
        independent: likewise, for each level by itself.
    """

    how: str
    seed: int
    levels: int
    images: int
    cascade: Mapping[str, Curve]
    independent: Mapping[str, Curve]

    @property
    def upper(self) -> Mapping[str, LevelSimilarity]:
        """By the method's key, the cascade where the upper third of the layers is random."""
        return {key: curve[math.ceil((len(curve) - 1) / 3)] for key, curve in self.cascade.items()}

    @property
    def unchanged(self) -> tuple[str, ...]:
        """The methods whose maps do not change with the parameters; see :data:`UNCHANGED`."""
        return tuple(
            key
            for key, level in self.upper.items()
            if level.absolute is not None and level.absolute >= UNCHANGED
        )

    def sentence(self, titles: Mapping[str, str]) -> str | None:
        """Which methods did not change.

        Args:
            titles: the methods' names for people, by key.

        Returns:
            None if there was no cascade, or no map that could be compared.
        """
        if not any(level.images for level in self.upper.values()):
            return None
        if not self.unchanged:
            return "All maps change when the network's upper layers are made random."
        kept = ", ".join(titles[key] for key in self.unchanged)
        layer = self.upper[self.unchanged[0]].layer
        return (
            f"Not changed by random parameters: {kept}. From the logits down to {layer} all layers "
            "are random, and the maps are still much the same: they show the image more than "
            "what the network learned."
        )
