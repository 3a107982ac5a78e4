"""Class activation maps.

All weigh the channels A_k of one layer and add them up; they differ in the weights. The papers'
layers have passed a ReLU. The default layer of a VGG lies before its ReLU, where most values are
negative, and what presupposes A >= 0 goes wrong there: sums of a channel come near zero and are
divided by (XGrad-CAM), weights that are never negative add up to less than zero at most places
(Grad-CAM++, Score-CAM), the first principal component is the background (EigenCAM). These four see
A+ = max(A, 0), which is what the ReLU behind passes on, and is A itself where the paper would look;
of a layer without a ReLU before or behind it they do not see what is negative. The others are
defined for any A and see A.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.attribution import rounding
from cnnviz.attribution.methods import RELU_HELP, Drawing, Evidence, Method, Passes, option
from cnnviz.engines.base import RELU_RULES, STANDARD, ReluRule
from cnnviz.graph.architecture import Layer
from cnnviz.types import Float32, Float64

#: The least that Ablation-CAM divides by, in logits.
_LEAST_SCORE = 1e-6


def grad_cam(activations: Float32, layer_gradients: Float32) -> Float32:
    """Grad-CAM (Selvaraju et al. 2017): where the target layer's channels speak for the target.

    The weight of channel k is its mean gradient, alpha_k = 1/(h·w) Σ_ij dy/dA_k,ij (eq. 1), with
    y the logit, before any softmax; the map is L = ReLU(Σ_k alpha_k A_k) (eq. 2).

    Args:
        activations: A, (N, C, h, w) float32.
        layer_gradients: dy/dA, the same shape, under the standard ReLU rule.

    Returns:
        (N, h, w) float32, at least 0, at the layer's own resolution and not normalized.
    """
    cam: Float32 = np.maximum(_by_mean(layer_gradients, activations), 0).astype(np.float32)
    return cam


def grad_cam_difference(
    activations: Float32, gradients_a: Float32, gradients_b: Float32
) -> Float32:
    """Where the target layer's channels speak for class a rather than for class b.

    Eq. 1 of Grad-CAM (Selvaraju et al. 2017) for y = y_a - y_b: it is linear in y, so that the
    weights are the differences of the two classes'. Without the ReLU of eq. 2, for both signs mean
    something: it is Σ_k (alpha_k,a - alpha_k,b) A_k.

    Args:
        activations: A, (N, C, h, w) float32.
        gradients_a: dy_a/dA, the same shape, under the standard ReLU rule.
        gradients_b: dy_b/dA, likewise.

    Returns:
        (N, h, w) float32; above 0 what speaks for a, below 0 what speaks for b.
    """
    a, b = (_by_mean(gradients, activations) for gradients in (gradients_a, gradients_b))
    difference: Float32 = (a - b).astype(np.float32)
    return difference


def grad_cam_plus_plus(activations: Float32, layer_gradients: Float32) -> Float32:
    """Grad-CAM++ (Chattopadhay et al. 2018): every place that speaks for the target has its weight.

    With Y = exp(S), S the logit, and layers behind that are piecewise linear, the second and third
    derivatives of Y are exp(S) times powers of the first of S. Writing g = dS/dA_k,ij::

        alpha_k,ij = g² / (2 g² + g³ Σ_ab A+_k,ab)                (eq. 19)
        w_k = Σ_ij alpha_k,ij ReLU(dY/dA_k,ij)
        L = ReLU(Σ_k w_k A+_k)

    Only g > 0 counts, where alpha is 1 / (2 + g Σ A+): there is no division by zero. The common
    factor exp(S) of dY/dA = exp(S) g is left out: it changes nothing in the image, and overflows
    for high logits. After the layer's ReLU, places that are off count too where g > 0 there; before
    it, g is 0 at them: the two maps differ.

    pytorch-grad-cam leaves exp(S) out too. It sums A where A+ stands here, and adds 1e-6 to alpha's
    denominator, which is more than 2 g² where gradients are below 7e-4, as they are in common
    networks: weak gradients then count for less than in the paper.

    Args:
        activations: A, (N, C, h, w) float32.
        layer_gradients: g, the same shape, under the standard ReLU rule.

    Returns:
        (N, h, w) float32, at least 0, at the layer's own resolution and not normalized.
    """
    passed = _positive(activations)
    rising = _positive(layer_gradients)
    sums = passed.sum(axis=(2, 3), keepdims=True)
    return _heat((rising / (2 + rising * sums)).sum(axis=(2, 3)), passed)


def xgrad_cam(activations: Float32, layer_gradients: Float32) -> Float32:
    """XGrad-CAM (Fu et al. 2020): Grad-CAM with weights that keep what the layer says in sum.

    alpha_k = Σ_ij A+_k,ij / (Σ_ab A+_k,ab) · dy/dA_k,ij (eq. 8), L = ReLU(Σ_k alpha_k A+_k). Before
    the ReLU, the sum of the map is Σ A+ dy/dA: the paper's axiom of conservation asks that it be y,
    and where the layers behind are piecewise linear and have no biases it is. A channel without any
    activation has no weight.

    The same layer before and after its ReLU gives the same map: A+ is the same, and so is
    A+ dy/dA. pytorch-grad-cam divides by Σ A, which before a ReLU may be near zero.

    Args:
        activations: A, (N, C, h, w) float32.
        layer_gradients: dy/dA, the same shape, under the standard ReLU rule.

    Returns:
        (N, h, w) float32, at least 0, at the layer's own resolution and not normalized.
    """
    passed = _positive(activations)
    sums = passed.sum(axis=(2, 3))
    products = np.einsum("nkij,nkij->nk", passed, layer_gradients.astype(np.float64))
    return _heat(products / np.where(sums == 0, 1, sums), passed)


def layer_cam(activations: Float32, layer_gradients: Float32) -> Float32:
    """LayerCAM (Jiang et al. 2021): a weight for every place of every channel.

    w_k,ij = ReLU(dy/dA_k,ij), L = ReLU(Σ_k w_k A_k), place by place. It is meant for shallow layers
    as well, where a channel's mean gradient says little. The authors take tanh of shallow layers'
    maps to mix them with deep ones'; here each layer's map stands for itself.

    Args:
        activations: A, (N, C, h, w) float32.
        layer_gradients: dy/dA, the same shape, under the standard ReLU rule.

    Returns:
        (N, h, w) float32, at least 0, at the layer's own resolution and not normalized.
    """
    summed = _placewise(_positive(layer_gradients), activations)
    heat: Float32 = np.maximum(summed, 0).astype(np.float32)
    return heat


def hires_cam(activations: Float32, layer_gradients: Float32) -> Float32:
    """HiResCAM (Draelos & Carin 2020): Σ_k dy/dA_k · A_k, place by place, with its sign.

    Where a single dense layer follows (after average pooling or not), it sums up to the logit
    without its bias, so that each place's value is what it adds to the score. That is the paper's
    point, and would be lost with what is negative; so there is no ReLU, and the map is drawn around
    zero. pytorch-grad-cam applies a ReLU, as to all its maps.

    Args:
        activations: A, (N, C, h, w) float32.
        layer_gradients: dy/dA, the same shape, under the standard ReLU rule.

    Returns:
        (N, h, w) float32, signed, in logits, at the layer's own resolution.
    """
    signed: Float32 = _placewise(layer_gradients, activations).astype(np.float32)
    return signed


def eigen_cam(activations: Float32) -> Float32:
    """EigenCAM (Muhammad & Yeasin 2020): what most channels agree on, whatever the class.

    O, one row a place and one column a channel of A+, is U Σ V^T; L = O V_1, the projection on the
    first right singular vector. O is not negative, so neither are V_1 (by Perron and Frobenius) nor
    L, once the sign that a singular vector leaves open is chosen so that L's sum is positive. The
    final ReLU removes what rounding leaves below zero.

    pytorch-grad-cam subtracts each channel's mean over the places first, which is not in the paper,
    and leaves the sign open.

    Args:
        activations: A, (N, C, h, w) float32.

    Returns:
        (N, h, w) float32, at least 0, at the layer's own resolution and not normalized; NaN for an
        image with activations that are not finite.
    """
    count, channels, height, width = activations.shape
    maps = np.full((count, height, width), np.nan, np.float32)
    for index, passed in enumerate(_positive(activations)):
        if not np.isfinite(passed).all():
            continue  # the decomposition would raise, and stop the images beside it
        places = passed.reshape(channels, height * width).T
        left, singular, _ = np.linalg.svd(places, full_matrices=False)
        projected = left[:, 0] * singular[0]  # = O V_1
        if projected.sum() < 0:
            projected = -projected
        maps[index] = np.maximum(projected, 0).reshape(height, width)
    return maps


def _by_mean(layer_gradients: Float32, activations: Float32) -> Float64:
    """Σ_k mean(g_k) A_k, (N, h, w)."""
    weights = layer_gradients.mean(axis=(2, 3), dtype=np.float64)
    summed: Float64 = np.einsum("nk,nkij->nij", weights, activations.astype(np.float64))
    return summed


def _positive(values: Float32) -> Float64:
    """max(values, 0) in float64."""
    return np.maximum(values, 0).astype(np.float64)


def _placewise(weights: npt.NDArray[np.floating[Any]], activations: Float32) -> Float64:
    """Σ_k w_k A_k with weights for each place, (N, h, w)."""
    summed: Float64 = np.einsum(
        "nkij,nkij->nij", weights.astype(np.float64), activations.astype(np.float64)
    )
    return summed


def _heat(weights: Float64, activations: npt.NDArray[np.floating[Any]]) -> Float32:
    """ReLU(Σ_k w_k A_k) with one weight a channel, (N, C): (N, h, w)."""
    summed = np.einsum("nk,nkij->nij", weights, activations.astype(np.float64))
    heat: Float32 = np.maximum(summed, 0).astype(np.float32)
    return heat


@dataclass(frozen=True)
class LayerMethod(Method):
    """A method that weighs the target layer's channels: (N, h, w) at the layer's resolution."""

    drawing: ClassVar[Drawing] = "heat"

    @property
    def uses_layer(self) -> bool:
        """Always."""
        return True

    def at_layer(self, evidence: Evidence) -> Float32:
        """The layer's activations A, (N, C, h, w)."""
        return cast(Float32, evidence.activations)  # there, because the method uses the layer


@dataclass(frozen=True)
class GradCam(LayerMethod):
    """Grad-CAM; see :func:`grad_cam`. (N, h, w), at least 0, at the layer's own resolution.

    Under another ReLU rule dy/dA is what that rule lets through the ReLUs behind the layer; the
    paper's is the standard one, the derivative.
    """

    name = "gradcam"
    title = "Grad-CAM"
    paper = "Selvaraju et al. 2017, eq. 1 and 2"
    formula = "ReLU(Σ_k mean(∂y/∂A_k) · A_k)"

    relu: str = option(STANDARD.name, RELU_HELP, choices=RELU_RULES)

    @property
    def layer_rules(self) -> tuple[ReluRule, ...]:
        """The one chosen."""
        return (RELU_RULES[self.relu],)

    def terms(self, evidence: Evidence) -> Float64:
        """Those that cancel in the mean over a channel and in the sum over channels."""
        return evidence.layer_terms(RELU_RULES[self.relu])

    def attribute(self, evidence: Evidence) -> Float32:
        """Eq. 1 and 2."""
        gradients = evidence.layer_gradients[RELU_RULES[self.relu]]
        return grad_cam(self.at_layer(evidence), gradients)


def settled_difference(a: Evidence, b: Evidence) -> Float32:
    """:func:`grad_cam_difference`, zero for images in which it is nothing but rounding.

    Args:
        a: for each image its target is the one class, at a layer under the standard rule.
        b: of the same images at the same layer, for the other class.
    """
    found = _difference(a, b)
    again_a, again_b = a.again, b.again
    assert again_a is not None  # only what was gathered first is settled
    assert again_b is not None
    peaks = np.abs(found).max(axis=(1, 2))
    for index in rounding.suspected(peaks, np.maximum(a.layer_terms(), b.layer_terms())):
        if rounding.unsettled(found[index], _difference(again_a(index), again_b(index))):
            found[index] = 0
    return found


def _difference(a: Evidence, b: Evidence) -> Float32:
    assert a.activations is not None  # both were gathered for their layer's sake
    gradients = (evidence.layer_gradients[STANDARD] for evidence in (a, b))
    return grad_cam_difference(a.activations, *gradients)


@dataclass(frozen=True)
class _GradientCam(LayerMethod):
    """A method made of a layer's activations and their gradient."""

    @property
    def layer_rules(self) -> tuple[ReluRule, ...]:
        """Standard: the derivative."""
        return (STANDARD,)

    def gradients(self, evidence: Evidence) -> Float32:
        """dy/dA, (N, C, h, w)."""
        return evidence.layer_gradients[STANDARD]

    def terms(self, evidence: Evidence) -> Float64 | None:
        """The gradient times the activations."""
        return evidence.layer_terms()


@dataclass(frozen=True)
class GradCamPlusPlus(_GradientCam):
    """Grad-CAM++; see :func:`grad_cam_plus_plus`. (N, h, w), at least 0."""

    name = "gradcam-plusplus"
    title = "Grad-CAM++"
    paper = "Chattopadhay et al. 2018, eq. 19"
    formula = "ReLU(Σ_k Σ_ij(α_k · ReLU(∂y/∂A_k)) · A⁺_k), α_k = 1 / (2 + ∂y/∂A_k · Σ_ij A⁺_k)"

    def terms(self, evidence: Evidence) -> None:
        """Nothing is negative, nothing cancels."""

    def attribute(self, evidence: Evidence) -> Float32:
        """Eq. 19, then as Grad-CAM."""
        return grad_cam_plus_plus(self.at_layer(evidence), self.gradients(evidence))


@dataclass(frozen=True)
class XGradCam(_GradientCam):
    """XGrad-CAM; see :func:`xgrad_cam`. (N, h, w), at least 0."""

    name = "xgradcam"
    title = "XGrad-CAM"
    paper = "Fu et al. 2020, eq. 8"
    formula = "ReLU(Σ_k Σ_ij(A⁺_k · ∂y/∂A_k) / Σ_ij(A⁺_k) · A⁺_k)"

    def attribute(self, evidence: Evidence) -> Float32:
        """Eq. 8, then as Grad-CAM."""
        return xgrad_cam(self.at_layer(evidence), self.gradients(evidence))


@dataclass(frozen=True)
class LayerCam(_GradientCam):
    """LayerCAM; see :func:`layer_cam`. (N, h, w), at least 0."""

    name = "layercam"
    title = "LayerCAM"
    paper = "Jiang et al. 2021"
    formula = "ReLU(Σ_k ReLU(∂y/∂A_k) · A_k)"

    def attribute(self, evidence: Evidence) -> Float32:
        """The sum of the positive gradients times the activations."""
        return layer_cam(self.at_layer(evidence), self.gradients(evidence))


@dataclass(frozen=True)
class HiResCam(_GradientCam):
    """HiResCAM; see :func:`hires_cam`. (N, h, w), signed."""

    name = "hirescam"
    title = "HiResCAM"
    paper = "Draelos & Carin 2020"
    formula = "Σ_k ∂y/∂A_k · A_k"
    drawing = "diverging"

    def attribute(self, evidence: Evidence) -> Float32:
        """The sum of the gradients times the activations."""
        return hires_cam(self.at_layer(evidence), self.gradients(evidence))


@dataclass(frozen=True)
class EigenCam(LayerMethod):
    """EigenCAM; see :func:`eigen_cam`. (N, h, w), at least 0, the same for all targets."""

    name = "eigencam"
    title = "EigenCAM"
    paper = "Muhammad & Yeasin 2020"
    formula = "O · V₁ with O = U Σ Vᵀ, the activations A⁺ as places × channels"
    cost = "a singular value decomposition"
    class_specific = False

    def attribute(self, evidence: Evidence) -> Float32:
        """The first principal component of the activations."""
        return eigen_cam(self.at_layer(evidence))


@dataclass(frozen=True)
class ScoreCam(LayerMethod):
    """Score-CAM (Wang et al. 2020): (N, h, w), at least 0, without any gradient.

    Each channel of the layer, enlarged to the input (bilinear between pixel centers) and brought to
    0..1, masks the image; what the masked image scores, above a baseline, is the channel's
    weight::

        H_k = s(Up(A+_k)), s(x) = (x - min x) / (max x - min x)
        S_k = f(X ∘ H_k) - f(X_b)                                 (definition 2, f the logit)
        L = ReLU(Σ_k alpha_k A+_k)                                (definition 3)

    The paper has two alpha. ``softmax`` is that of its algorithm 1, exp(S_k) / Σ_j exp(S_j): the
    baseline cancels, and a few channels share all the weight where logits lie far apart.
    ``increase`` is that of definition 3, S_k itself, which may be negative.

    X is the input as the network is fed, with its mean subtracted. Mask 0 therefore leaves the mean
    color, not black, and the baseline X_b is the input of zeros, which is what a mask of zeros
    leaves. A flat channel, which s does not define, masks all. Where no mask makes a difference
    (all S_k = 0, but for rounding) there is nothing to explain and the map is zero; algorithm 1
    would give the mean of all channels.

    pytorch-grad-cam follows algorithm 1 but for the enlarging, which puts corners on corners, and
    takes A where A+ stands here.
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

    def passes(self, input_shape: tuple[int, int, int], layer: Layer) -> Passes:
        """One for each channel, one for the baseline, and those that tell what rounding does."""
        return Passes(forwards=layer.shape[0] + 1 + rounding.TIMES)

    def attribute(self, evidence: Evidence) -> Float32:
        """The weighted sum."""
        passed = np.maximum(self.at_layer(evidence), 0)
        weights = []
        images = zip(evidence.inputs, passed, evidence.targets, strict=True)
        for index, (image, channels, target) in enumerate(images):
            once = (self, evidence.layer.name, index)
            logits = evidence.ask.logits(_masked(image, channels), once)
            scores = logits[:, target].astype(np.float64)
            bound = evidence.rounding_of_logits(index, (*once, "again"))[target]
            weights.append(self._weights(_beyond(scores[1:] - scores[0], bound)))
        return _heat(np.stack(weights), passed)

    def _weights(self, increases: Float64) -> Float64:
        """The channels' weights, (C,)."""
        if self.weights == "increase" or not increases.any():
            return increases
        powers = np.exp(increases - increases.max())
        softmax: Float64 = powers / powers.sum()
        return softmax


def _masked(image: Float32, channels: Float32) -> Iterator[Float32]:
    """The baseline, then the image under each channel as a mask, all (C, H, W)."""
    yield np.zeros_like(image)
    height, width = image.shape[1:]
    for channel in channels:
        mask = cv2.resize(channel, (width, height), interpolation=cv2.INTER_LINEAR)
        low, high = mask.min(), mask.max()
        span = high - low if high != low else np.float32(1)
        yield image * ((mask - low) / span)


@dataclass(frozen=True)
class AblationCam(LayerMethod):
    """Ablation-CAM (Desai & Ramaswamy 2020): (N, h, w), at least 0, without any gradient.

    A channel's weight is the part of the score that is lost without it::

        w_k = (y - y_k) / |y|                                     (eq. 3)
        L = ReLU(Σ_k w_k A_k)                                     (eq. 4)

    y is the logit, y_k the logit with all of A_k set to 0 and everything behind the layer computed
    anew. The paper divides by y. For a negative logit that would turn the map around, hence |y|;
    and for a logit near zero the map's values explode, though not the image, whose scale is its
    own: so |y| counts as at least 1e-6.

    pytorch-grad-cam divides by y. It ablates with 0 only where the lowest activation is exactly 0,
    and otherwise with a value at least ten million below the lowest, which is the same before a
    ReLU, and is not the paper's elsewhere.
    """

    name = "ablationcam"
    title = "Ablation-CAM"
    paper = "Desai & Ramaswamy 2020, eq. 3 and 4"
    formula = "ReLU(Σ_k (y - y_k) / |y| · A_k), y_k without channel k"
    cost = "one pass from the layer on for each of its channels, and four more"

    def passes(self, input_shape: tuple[int, int, int], layer: Layer) -> Passes:
        """One for each channel, one for all together, and those that tell what rounding does."""
        return Passes(partial=layer.shape[0] + 1 + rounding.TIMES)

    def attribute(self, evidence: Evidence) -> Float32:
        """The weighted sum."""
        activations = self.at_layer(evidence)
        weights = []
        images = zip(evidence.inputs, activations, evidence.targets, strict=True)
        for index, (image, channels, target) in enumerate(images):
            once = (self, evidence.layer.name, index)
            # The whole score is asked for in the same way as the ablated ones: what rounds
            # differently in another batch would show in their small differences.
            logits = evidence.ask.logits_from(evidence.layer, _ablated(channels), image, once)
            scores = logits[:, target].astype(np.float64)
            again = evidence.ask.logits_from(
                evidence.layer,
                rounding.jittered(channels, np.abs(channels).max()),
                image,
                (*once, "again"),
            )
            lost = _beyond(scores[0] - scores[1:], rounding.of_logits(logits[0], again)[target])
            weights.append(lost / np.maximum(abs(scores[0]), _LEAST_SCORE))
        return _heat(np.stack(weights), activations)


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
