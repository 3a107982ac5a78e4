"""Class activation maps.

All are weighted sums of the channels A_k of one layer; they differ in the weights. In the papers
the layer's output has passed a ReLU. The default layer of a VGG lies before its ReLU, where most
values are negative, and methods that presuppose A >= 0 fail there: sums over a channel that come
near zero are divided by (XGrad-CAM), weights that are never negative give a negative map at most
positions (Grad-CAM++, Score-CAM), the first principal component is the background (EigenCAM). These
four read A+ = max(A, 0), which is what the ReLU behind passes on, and is A itself at the papers'
layers; of a layer with no ReLU before or behind it they ignore negative values. The others are
defined for any A and read A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from cnnviz.attribution.base import RELU_HELP, Method
from cnnviz.attribution.context import AttributionContext
from cnnviz.attribution.options import option
from cnnviz.engines.base import RELU_RULES, STANDARD, ReluRule
from cnnviz.types import Float32, Float64, MapKind


def grad_cam(activations: Float32, layer_gradients: Float32) -> Float32:
    """Grad-CAM (Selvaraju et al. 2017): where the target layer's channels support the target.

    The weight of channel k is its mean gradient, alpha_k = 1/(h·w) Σ_ij dy/dA_k,ij (eq. 1), with
    y the logit, before any softmax; the map is L = ReLU(Σ_k alpha_k A_k) (eq. 2).

    Args:
        activations: A, (N, C, h, w) float32.
        layer_gradients: dy/dA, the same shape, under the standard ReLU rule.

    Returns:
        (N, h, w) float32, at least 0, at the layer's own resolution and not normalized.
    """
    cam: Float32 = np.maximum(mean_weighted(layer_gradients, activations), 0).astype(np.float32)
    return cam


def grad_cam_plus_plus(activations: Float32, layer_gradients: Float32) -> Float32:
    """Grad-CAM++ (Chattopadhay et al. 2018): each position that supports the target has its weight.

    With Y = exp(S), S the logit, and layers behind that are piecewise linear, the second and third
    derivatives of Y are exp(S) times powers of the first of S. Writing g = dS/dA_k,ij::

        alpha_k,ij = g² / (2 g² + g³ Σ_ab A+_k,ab)                (eq. 19)
        w_k = Σ_ij alpha_k,ij ReLU(dY/dA_k,ij)
        L = ReLU(Σ_k w_k A+_k)

    Only g > 0 counts, where alpha is 1 / (2 + g Σ A+): there is no division by zero. The common
    factor exp(S) of dY/dA = exp(S) g is left out: it changes nothing in the image, and overflows
    for high logits. After the layer's ReLU, positions that are off count too where g > 0 there;
    before it, g is 0 at them: the two maps differ.

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
    return relu_sum((rising / (2 + rising * sums)).sum(axis=(2, 3)), passed)


def xgrad_cam(activations: Float32, layer_gradients: Float32) -> Float32:
    """XGrad-CAM (Fu et al. 2020): Grad-CAM with weights that conserve the score.

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
    return relu_sum(products / np.where(sums == 0, 1, sums), passed)


def layer_cam(activations: Float32, layer_gradients: Float32) -> Float32:
    """LayerCAM (Jiang et al. 2021): a weight for every position of every channel.

    w_k,ij = ReLU(dy/dA_k,ij), L = ReLU(Σ_k w_k A_k), position by position. It is meant for shallow
    layers as well, where a channel's mean gradient says little. The authors take tanh of shallow
    layers' maps to mix them with deep ones'; here each layer's map stands for itself.

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
    """HiResCAM (Draelos & Carin 2020): Σ_k dy/dA_k · A_k, position by position, with its sign.

    Where a single dense layer follows (after average pooling or not), it sums up to the logit
    without its bias, so that each position's value is what it adds to the score. That is the
    paper's point, and would be lost without negative values; so there is no ReLU, and the map is
    rendered around zero. pytorch-grad-cam applies a ReLU, as to all its maps.

    Args:
        activations: A, (N, C, h, w) float32.
        layer_gradients: dy/dA, the same shape, under the standard ReLU rule.

    Returns:
        (N, h, w) float32, signed, in logits, at the layer's own resolution.
    """
    signed: Float32 = _placewise(layer_gradients, activations).astype(np.float32)
    return signed


def eigen_cam(activations: Float32) -> Float32:
    """EigenCAM (Muhammad & Yeasin 2020): the first principal component, whatever the class.

    O, one row a position and one column a channel of A+, is U Σ V^T; L = O V_1, the projection on
    the first right singular vector. O is not negative, so neither are V_1 (by Perron and Frobenius)
    nor L, once the sign that a singular vector leaves open is chosen so that L's sum is positive.
    The final ReLU removes what rounding leaves below zero.

    pytorch-grad-cam subtracts each channel's mean over the positions first, which is not in the
    paper, and leaves the sign open.

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
        rows = passed.reshape(channels, height * width).T
        left, singular, _ = np.linalg.svd(rows, full_matrices=False)
        projected = left[:, 0] * singular[0]  # = O V_1
        if projected.sum() < 0:
            projected = -projected
        maps[index] = np.maximum(projected, 0).reshape(height, width)
    return maps


def mean_weighted(layer_gradients: Float32, activations: Float32) -> Float64:
    """Σ_k mean(g_k) A_k, (N, h, w)."""
    weights = layer_gradients.mean(axis=(2, 3), dtype=np.float64)
    summed: Float64 = np.einsum("nk,nkij->nij", weights, activations.astype(np.float64))
    return summed


def _positive(values: Float32) -> Float64:
    """max(values, 0) in float64."""
    return np.maximum(values, 0).astype(np.float64)


def _placewise(weights: npt.NDArray[np.floating[Any]], activations: Float32) -> Float64:
    """Σ_k w_k A_k with weights for each position, (N, h, w)."""
    summed: Float64 = np.einsum(
        "nkij,nkij->nij", weights.astype(np.float64), activations.astype(np.float64)
    )
    return summed


def relu_sum(weights: Float64, activations: npt.NDArray[np.floating[Any]]) -> Float32:
    """ReLU(Σ_k w_k A_k) with one weight a channel, (N, C): (N, h, w)."""
    summed = np.einsum("nk,nkij->nij", weights, activations.astype(np.float64))
    heat: Float32 = np.maximum(summed, 0).astype(np.float32)
    return heat


@dataclass(frozen=True)
class LayerMethod(Method):
    """A weighted sum of the target layer's channels: (N, h, w) at the layer's resolution."""

    kind: ClassVar[MapKind] = "heat"

    @property
    def uses_layer(self) -> bool:
        """Always."""
        return True

    def at_layer(self, context: AttributionContext) -> Float32:
        """The layer's activations A, (N, C, h, w)."""
        return cast(Float32, context.activations)  # there, because the method uses the layer


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

    def terms(self, context: AttributionContext) -> Float64:
        """Those that cancel in the mean over a channel and in the sum over channels."""
        return context.layer_terms(RELU_RULES[self.relu])

    def attribute(self, context: AttributionContext) -> Float32:
        """Eq. 1 and 2."""
        gradients = context.layer_gradients[RELU_RULES[self.relu]]
        return grad_cam(self.at_layer(context), gradients)


@dataclass(frozen=True)
class _GradientCam(LayerMethod):
    """A method made of a layer's activations and their gradient."""

    @property
    def layer_rules(self) -> tuple[ReluRule, ...]:
        """Standard: the derivative."""
        return (STANDARD,)

    def gradients(self, context: AttributionContext) -> Float32:
        """dy/dA, (N, C, h, w)."""
        return context.layer_gradients[STANDARD]

    def terms(self, context: AttributionContext) -> Float64 | None:
        """The gradient times the activations."""
        return context.layer_terms()


@dataclass(frozen=True)
class GradCamPlusPlus(_GradientCam):
    """Grad-CAM++; see :func:`grad_cam_plus_plus`. (N, h, w), at least 0."""

    name = "gradcam-plusplus"
    title = "Grad-CAM++"
    paper = "Chattopadhay et al. 2018, eq. 19"
    formula = "ReLU(Σ_k Σ_ij(α_k · ReLU(∂y/∂A_k)) · A⁺_k), α_k = 1 / (2 + ∂y/∂A_k · Σ_ij A⁺_k)"

    def terms(self, context: AttributionContext) -> None:
        """Nothing is negative, nothing cancels."""

    def attribute(self, context: AttributionContext) -> Float32:
        """Eq. 19, then as Grad-CAM."""
        return grad_cam_plus_plus(self.at_layer(context), self.gradients(context))


@dataclass(frozen=True)
class XGradCam(_GradientCam):
    """XGrad-CAM; see :func:`xgrad_cam`. (N, h, w), at least 0."""

    name = "xgradcam"
    title = "XGrad-CAM"
    paper = "Fu et al. 2020, eq. 8"
    formula = "ReLU(Σ_k Σ_ij(A⁺_k · ∂y/∂A_k) / Σ_ij(A⁺_k) · A⁺_k)"

    def attribute(self, context: AttributionContext) -> Float32:
        """Eq. 8, then as Grad-CAM."""
        return xgrad_cam(self.at_layer(context), self.gradients(context))


@dataclass(frozen=True)
class LayerCam(_GradientCam):
    """LayerCAM; see :func:`layer_cam`. (N, h, w), at least 0."""

    name = "layercam"
    title = "LayerCAM"
    paper = "Jiang et al. 2021"
    formula = "ReLU(Σ_k ReLU(∂y/∂A_k) · A_k)"

    def attribute(self, context: AttributionContext) -> Float32:
        """The sum of the positive gradients times the activations."""
        return layer_cam(self.at_layer(context), self.gradients(context))


@dataclass(frozen=True)
class HiResCam(_GradientCam):
    """HiResCAM; see :func:`hires_cam`. (N, h, w), signed."""

    name = "hirescam"
    title = "HiResCAM"
    paper = "Draelos & Carin 2020"
    formula = "Σ_k ∂y/∂A_k · A_k"
    kind = "diverging"

    def attribute(self, context: AttributionContext) -> Float32:
        """The sum of the gradients times the activations."""
        return hires_cam(self.at_layer(context), self.gradients(context))


@dataclass(frozen=True)
class EigenCam(LayerMethod):
    """EigenCAM; see :func:`eigen_cam`. (N, h, w), at least 0, the same for all targets."""

    name = "eigencam"
    title = "EigenCAM"
    paper = "Muhammad & Yeasin 2020"
    formula = "O · V₁ with O = U Σ Vᵀ, the activations A⁺ as positions × channels"
    cost = "a singular value decomposition"
    class_specific = False

    def attribute(self, context: AttributionContext) -> Float32:
        """The first principal component of the activations."""
        return eigen_cam(self.at_layer(context))
