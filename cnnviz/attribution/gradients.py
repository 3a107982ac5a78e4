"""Methods made of the gradient at the input, alone or together with a class activation map."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from cnnviz.attribution.cam import GradCam
from cnnviz.attribution.methods import Evidence, Float32, Method
from cnnviz.network import ReluRule


class GuidedBackprop(Method):
    """Guided backpropagation (Springenberg et al. 2015): (N, channels, H, W), signed.

    The gradient of the target's logit at the input with R = (z > 0) · (R' > 0) · R' in place of
    each ReLU's derivative. It shows texture that some unit reacts to, and depends little on the
    class (Adebayo et al. 2018): evidence of *what*, not of *why*.
    """

    name = "guided-backprop"
    title = "guided backpropagation"
    paper = "Springenberg et al. 2015, section 3.4"
    formula = "∂y/∂x with R = (z > 0) · (R' > 0) · R' at every ReLU"
    drawing = "signed"
    relu_rules = ("guided",)

    def attribute(self, evidence: Evidence) -> Float32:
        """The input gradient under the guided rule."""
        return evidence.input_gradients["guided"]


class GuidedGradCam(Method):
    """Guided Grad-CAM (Selvaraju et al. 2017, section 3.2): (N, channels, H, W), signed.

    Guided backpropagation, pixel by pixel times Grad-CAM enlarged to the network's input in
    float, bilinear.
    """

    name = "guided-gradcam"
    title = "guided Grad-CAM"
    paper = "Selvaraju et al. 2017, section 3.2"
    formula = "upsample(Grad-CAM) · guided backpropagation"
    drawing = "signed"
    relu_rules = ("guided",)
    parts = (GradCam(), GuidedBackprop())

    def attribute(self, evidence: Evidence) -> Float32:
        """The product of the two parts."""
        cams, guided = (part.attribute(evidence) for part in self.parts)
        height, width = guided.shape[2:]
        enlarged = np.stack(
            [cv2.resize(cam, (width, height), interpolation=cv2.INTER_LINEAR) for cam in cams]
        )
        product: Float32 = guided * enlarged[:, np.newaxis]
        return product


class Saliency(Method):
    """How strongly each pixel counts, whatever the colour: (N, H, W), at least 0.

    Σ_c |G_c| over the colour channels of G, which is guided Grad-CAM unless another source is
    chosen: the plain gradient (Simonyan et al. 2014 take max_c where we take the sum, which does
    not jump between channels), guided backpropagation, or the deconvnet's (Zeiler & Fergus 2014).
    """

    name = "saliency"
    title = "saliency"
    paper = "Simonyan et al. 2014, section 3.1, on guided Grad-CAM"
    formula = "Σ_c |G_c|"
    drawing = "magnitude"

    #: What ``--saliency`` may name, and the ReLU rule that it needs.
    SOURCES: ClassVar[dict[str, ReluRule]] = {
        "guided-gradcam": "guided",
        "gradient": "standard",
        "guided": "guided",
        "deconvnet": "deconvnet",
    }

    def __init__(self, source: str = "guided-gradcam") -> None:
        """Choose what G is, by its name in :attr:`SOURCES`."""
        self.source = source
        self.relu_rules = (self.SOURCES[source],)

    def attribute(self, evidence: Evidence) -> Float32:
        """The sum of the channels' magnitudes."""
        if self.source == "guided-gradcam":
            signed = GuidedGradCam().attribute(evidence)
        else:
            signed = evidence.input_gradients[self.SOURCES[self.source]]
        magnitude: Float32 = np.abs(signed).sum(axis=1)
        return magnitude
