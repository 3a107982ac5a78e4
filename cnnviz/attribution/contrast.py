"""Grad-CAM of the difference of two classes' logits."""

from __future__ import annotations

import numpy as np

from cnnviz.attribution import rounding
from cnnviz.attribution.cam import mean_weighted
from cnnviz.attribution.context import AttributionContext
from cnnviz.engines.base import STANDARD
from cnnviz.types import Float32


def grad_cam_difference(
    activations: Float32, gradients_a: Float32, gradients_b: Float32
) -> Float32:
    """Where the target layer's channels support class a rather than class b.

    Eq. 1 of Grad-CAM (Selvaraju et al. 2017) for y = y_a - y_b: it is linear in y, so that the
    weights are the differences of the two classes'. There is no ReLU as in eq. 2, since both signs
    mean something: the map is Σ_k (alpha_k,a - alpha_k,b) A_k.

    Args:
        activations: A, (N, C, h, w) float32.
        gradients_a: dy_a/dA, the same shape, under the standard ReLU rule.
        gradients_b: dy_b/dA, likewise.

    Returns:
        (N, h, w) float32; above 0 what supports a, below 0 what supports b.
    """
    a, b = (mean_weighted(gradients, activations) for gradients in (gradients_a, gradients_b))
    difference: Float32 = (a - b).astype(np.float32)
    return difference


def checked_difference(a: AttributionContext, b: AttributionContext) -> Float32:
    """:func:`grad_cam_difference`, zero for images in which it is nothing but rounding.

    Args:
        a: for each image its target is the one class, at a layer under the standard rule.
        b: of the same images at the same layer, for the other class.
    """
    found = _difference(a, b)
    recompute_a, recompute_b = a.recompute, b.recompute
    assert recompute_a is not None  # what was collected can be recomputed
    assert recompute_b is not None
    peaks = np.abs(found).max(axis=(1, 2))
    for index in rounding.suspected(peaks, np.maximum(a.layer_terms(), b.layer_terms())):
        if rounding.is_noise(found[index], _difference(recompute_a(index), recompute_b(index))):
            found[index] = 0
    return found


def _difference(a: AttributionContext, b: AttributionContext) -> Float32:
    assert a.activations is not None  # both were collected for the sake of their layer
    gradients = (context.layer_gradients[STANDARD] for context in (a, b))
    return grad_cam_difference(a.activations, *gradients)
