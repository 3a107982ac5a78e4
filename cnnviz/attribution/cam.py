"""Class activation maps."""

from __future__ import annotations

import numpy as np

from cnnviz.attribution.methods import Evidence, Float32, Method


def grad_cam(activations: Float32, layer_gradients: Float32) -> Float32:
    """Grad-CAM (Selvaraju et al. 2017): where the target layer's channels speak for the target.

    The weight of channel k is its mean gradient, alpha_k = 1/(h·w) Σ_ij dy/dA_k,ij (eq. 1), with
    y the logit, before any softmax; the map is L = ReLU(Σ_k alpha_k A_k) (eq. 2).

    Args:
        activations: A, (N, C, h, w) float32.
        layer_gradients: dy/dA, the same shape, under the standard ReLU rule.

    Returns:
        (N, h, w) float32, at least 0, at the layer's own resolution and not normalised.
    """
    weights = layer_gradients.mean(axis=(2, 3), dtype=np.float64)
    weighted = np.einsum("nk,nkij->nij", weights, activations.astype(np.float64))
    cam: Float32 = np.maximum(weighted, 0).astype(np.float32)
    return cam


class GradCam(Method):
    """Grad-CAM; see :func:`grad_cam`. (N, h, w), at least 0, at the layer's own resolution."""

    name = "gradcam"
    title = "Grad-CAM"
    paper = "Selvaraju et al. 2017, eq. 1 and 2"
    formula = "ReLU(Σ_k mean(∂y/∂A_k) · A_k)"
    drawing = "heat"

    def attribute(self, evidence: Evidence) -> Float32:
        """Eq. 1 and 2."""
        return grad_cam(evidence.activations, evidence.layer_gradients)
