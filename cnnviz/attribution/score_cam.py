"""Class activation maps whose weights are measured: what the score gains or loses by a channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from cnnviz.attribution import rounding
from cnnviz.attribution.cam import LayerMethod, relu_sum
from cnnviz.attribution.context import AttributionContext
from cnnviz.attribution.options import option
from cnnviz.attribution.queries import MadeInputs, PassCount
from cnnviz.graph.architecture import Layer
from cnnviz.graph.ends import SOFTMAX
from cnnviz.types import Float32, Float64

#: The least that Ablation-CAM divides by, in logits.
_LEAST_SCORE = 1e-6


@dataclass(frozen=True)
class ScoreCam(LayerMethod):
    """Score-CAM (Wang et al. 2020): (N, h, w), at least 0, without any gradient.

    Each channel of the layer, enlarged to the input (bilinear between pixel centers) and scaled to
    0..1, masks the image; the masked image's score above a baseline gives the channel's weight::

        H_k = s(Up(A+_k)), s(x) = (x - min x) / (max x - min x)
        S_k = f(X ∘ H_k) - f(X_b)                                 (definition 2, f the logit)
        L = ReLU(Σ_k alpha_k A+_k)                                (definition 3)

    The paper has two alpha. ``softmax`` is that of its algorithm 1, exp(S_k) / Σ_j exp(S_j): the
    baseline cancels, and a few channels share all the weight where logits lie far apart.
    ``increase`` is that of definition 3, S_k itself, which may be negative.

    X is the network's input, with the mean subtracted. A mask of 0 therefore leaves the mean color,
    not black, and the baseline X_b is the input of zeros. A flat channel, for which s is not
    defined, masks everything. If no mask makes a difference (all S_k = 0, up to rounding) there is
    nothing to explain and the map is zero; algorithm 1 would give the mean of all channels.

    pytorch-grad-cam follows algorithm 1 except that it aligns corners when it enlarges, and takes A
    where A+ stands here.
    """

    name = "scorecam"
    title = "Score-CAM"
    paper = "Wang et al. 2020, algorithm 1"
    formula = "ReLU(Σ_k α_k · A⁺_k), α = softmax_k(f(X ∘ H_k)), H_k = A⁺_k enlarged, from 0 to 1"
    cost = "one forward pass a channel of the layer, and four more"

    weights: str = option(
        "softmax",
        "what a channel's weight is: softmax of the increases of the score over all channels "
        "(algorithm 1), or increase, the increase itself (definition 3)",
        choices=("softmax", "increase"),
    )

    def passes(self, input_shape: tuple[int, int, int], layer: Layer) -> PassCount:
        """One for each channel, one for the baseline, and those that measure rounding."""
        return PassCount(forwards=layer.map_shape[0] + 1 + rounding.TIMES)

    def attribute(self, context: AttributionContext) -> Float32:
        """The weighted sum."""
        passed = np.maximum(self.at_layer(context), 0)
        weights = []
        images = zip(context.inputs, passed, context.targets, strict=True)
        for index, (image, channels, target) in enumerate(images):
            key = (self, context.layer.name, context.place(index))
            made = MadeInputs(1 + len(channels), image.shape, partial(_mask, image, channels))
            logits = context.model.logits(made, key)
            scores = target.score(logits).astype(np.float64)
            bounds = context.logit_rounding(index, (*key, "again"))
            bound = target.score_rounding(context.logits[index], bounds)
            weights.append(self._weights(_beyond(scores[1:] - scores[0], bound)))
        return relu_sum(np.stack(weights), passed)

    def _weights(self, increases: Float64) -> Float64:
        """The channels' weights, (C,)."""
        if self.weights == "increase" or not increases.any():
            return increases
        return SOFTMAX.outputs(increases)


def _mask(image: Float32, channels: Float32, number: int, out: Float32) -> None:
    """Make the baseline, number 0, or the image under a channel as a mask, (C, H, W)."""
    if number == 0:
        out[:] = 0
        return
    size = (image.shape[2], image.shape[1])  # OpenCV's order
    mask = cv2.resize(channels[number - 1], size, interpolation=cv2.INTER_LINEAR)
    low, high = mask.min(), mask.max()
    mask -= low
    mask /= high - low if high != low else np.float32(1)
    np.multiply(image, mask, out=out)


@dataclass(frozen=True)
class AblationCam(LayerMethod):
    """Ablation-CAM (Desai & Ramaswamy 2020): (N, h, w), at least 0, without any gradient.

    A channel's weight is the fraction of the score that is lost without it::

        w_k = (y - y_k) / |y|                                     (eq. 3)
        L = ReLU(Σ_k w_k A_k)                                     (eq. 4)

    y is the logit, y_k the logit with all of A_k set to 0 and everything after the layer computed
    again. The paper divides by y. For a negative logit that would invert the map, hence |y|; and
    for a logit near zero the map's values would explode (the rendered image would not, as it is
    scaled by its maximum), hence |y| counts as at least 1e-6.

    pytorch-grad-cam divides by y. It ablates with 0 only where the lowest activation is exactly 0,
    and otherwise with a value at least ten million below the lowest, which is the same before a
    ReLU, and is not the paper's elsewhere.
    """

    name = "ablationcam"
    title = "Ablation-CAM"
    paper = "Desai & Ramaswamy 2020, eq. 3 and 4"
    formula = "ReLU(Σ_k (y - y_k) / |y| · A_k), y_k without channel k"
    cost = "one pass from the layer on for each of its channels, and four more"

    def passes(self, input_shape: tuple[int, int, int], layer: Layer) -> PassCount:
        """One for each channel, one for all together, and those that measure rounding."""
        return PassCount(partial=layer.map_shape[0] + 1 + rounding.TIMES)

    def attribute(self, context: AttributionContext) -> Float32:
        """The weighted sum."""
        activations = self.at_layer(context)
        weights = []
        images = zip(context.inputs, activations, context.targets, strict=True)
        for index, (image, channels, target) in enumerate(images):
            key = (self, context.layer.name, context.place(index))
            # The full score is computed in the same batches as the ablated ones: rounding that
            # differs between batches would show in their small differences.
            logits = context.model.logits_from(context.layer, _ablated(channels), image, key)
            scores = target.score(logits).astype(np.float64)
            recomputed = context.model.logits_from(
                context.layer,
                rounding.jittered(channels, np.abs(channels).max()),
                image,
                (*key, "again"),
            )
            bounds = rounding.logit_bound(logits[0], recomputed)
            lost = _beyond(scores[0] - scores[1:], target.score_rounding(logits[0], bounds))
            weights.append(lost / np.maximum(abs(scores[0]), _LEAST_SCORE))
        return relu_sum(np.stack(weights), activations)


def _beyond(differences: Float64, bound: float) -> Float64:
    """Differences of scores, or zeros if none is larger than rounding may make it."""
    if np.abs(differences).max(initial=0) <= bound:
        return np.zeros_like(differences)
    return differences


def _ablated(channels: Float32) -> Iterator[Float32]:
    """The activations (C, h, w) as they are, then without each channel."""
    yield channels
    for index in range(len(channels)):
        without = channels.copy()
        without[index] = 0
        yield without
