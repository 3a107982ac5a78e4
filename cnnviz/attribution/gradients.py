"""Methods made of the gradient at the input, alone or together with a class activation map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from cnnviz.attribution.base import RELU_HELP, Method
from cnnviz.attribution.cam import GradCam
from cnnviz.attribution.context import AttributionContext
from cnnviz.attribution.options import option
from cnnviz.engines.base import DECONVNET, GUIDED, RELU_RULES, STANDARD, ReluRule
from cnnviz.types import Float32, Float64, MapKind


@dataclass(frozen=True)
class InputGradientMethod(Method):
    """A method that reads the gradient at the input under one ReLU rule."""

    kind: ClassVar[MapKind] = "signed"

    @property
    @abstractmethod
    def rule(self) -> ReluRule:
        """The rule."""

    @property
    def input_rules(self) -> tuple[ReluRule, ...]:
        """The one rule."""
        return (self.rule,)

    def attribute(self, context: AttributionContext) -> Float32:
        """The gradient at the input, (N, channels, H, W)."""
        return context.input_gradients[self.rule]


@dataclass(frozen=True)
class Gradient(InputGradientMethod):
    """The gradient (Simonyan et al. 2014, section 3): (N, channels, H, W), signed.

    G = ∂y/∂x, with y the target's logit, before any softmax, and x the network's input, after
    normalization: how much y changes for a small change of each pixel and channel, in logits for
    one unit of normalized input. The paper shows max_c |G_c|; here the signs are kept, and
    ``saliency`` with ``source=gradient`` is the magnitude.

    Under the guided rule it is ``guided-backprop``, under the deconvnet's it is ``deconvnet``.
    """

    name = "gradient"
    title = "gradient"
    paper = "Simonyan et al. 2014, section 3"
    formula = "∂y/∂x"

    relu: str = option(STANDARD.name, RELU_HELP, choices=RELU_RULES)

    @property
    def rule(self) -> ReluRule:
        """The one chosen."""
        return RELU_RULES[self.relu]


@dataclass(frozen=True)
class GuidedBackprop(InputGradientMethod):
    """Guided backpropagation (Springenberg et al. 2015): (N, channels, H, W), signed.

    The gradient of the target's logit at the input with R = (z > 0) · (R' > 0) · R' in place of
    each ReLU's derivative. It shows texture that some unit reacts to, and depends little on the
    class (Adebayo et al. 2018): context of *what*, not of *why*.
    """

    name = "guided-backprop"
    title = "guided backpropagation"
    paper = "Springenberg et al. 2015, section 3.4"
    formula = "∂y/∂x with R = (z > 0) · (R' > 0) · R' at every ReLU"

    @property
    def rule(self) -> ReluRule:
        """Guided."""
        return GUIDED


@dataclass(frozen=True)
class Deconvnet(InputGradientMethod):
    """The deconvnet (Zeiler & Fergus 2014, section 2.1): (N, channels, H, W), signed.

    The gradient of the target's logit at the input with R = (R' > 0) · R' in place of each ReLU's
    derivative; a max pooling passes its gradient to the position of the maximum, which is the
    paper's unpooling by switches. The paper starts from a unit inside the network, with its
    activation; here the start is the target's logit, with 1, as in Springenberg et al. 2015 (figure
    1). It passes ReLUs that were off, and depends little on the class.
    """

    name = "deconvnet"
    title = "deconvnet"
    paper = "Zeiler & Fergus 2014, section 2.1"
    formula = "∂y/∂x with R = (R' > 0) · R' at every ReLU"

    @property
    def rule(self) -> ReluRule:
        """The deconvnet's."""
        return DECONVNET


@dataclass(frozen=True)
class InputXGradient(InputGradientMethod):
    """Input × gradient (Shrikumar et al. 2016): (N, channels, H, W), signed.

    Pixel by pixel and channel by channel x · ∂y/∂x, with x the network's input after
    normalization. So a pixel of the mean color gets 0 whatever it means to the network, and the
    map is that of the first-order change from the mean image. Of a network of convolutions,
    ReLUs, pooling and dense layers without any bias or batch norm it sums to y (Euler's theorem:
    such a y is homogeneous of degree 1); with them the sum says nothing, see
    ``integrated-gradients``.
    """

    name = "input-x-gradient"
    title = "input × gradient"
    paper = "Shrikumar et al. 2016"
    formula = "x · ∂y/∂x"
    kind = "diverging"

    relu: str = option(STANDARD.name, RELU_HELP, choices=RELU_RULES)

    @property
    def rule(self) -> ReluRule:
        """The one chosen."""
        return RELU_RULES[self.relu]

    def terms(self, context: AttributionContext) -> Float64:
        """The gradient times what the input may be: pixels of the mean color are rounded zeros."""
        return context.input_terms(self.rule)

    def attribute(self, context: AttributionContext) -> Float32:
        """The product, (N, channels, H, W)."""
        return context.inputs * super().attribute(context)


@dataclass(frozen=True)
class GuidedGradCam(Method):
    """Guided Grad-CAM (Selvaraju et al. 2017, section 3.2): (N, channels, H, W), signed.

    Guided backpropagation, pixel by pixel times Grad-CAM enlarged to the network's input in
    float, bilinear.
    """

    name = "guided-gradcam"
    title = "guided Grad-CAM"
    paper = "Selvaraju et al. 2017, section 3.2"
    formula = "upsample(Grad-CAM) · guided backpropagation"
    kind = "signed"

    @property
    def components(self) -> tuple[Method, ...]:
        """Grad-CAM and guided backpropagation."""
        return GradCam(), GuidedBackprop()

    @property
    def input_rules(self) -> tuple[ReluRule, ...]:
        """Guided."""
        return (GUIDED,)

    @property
    def layer_rules(self) -> tuple[ReluRule, ...]:
        """Standard, for Grad-CAM."""
        return (STANDARD,)

    def attribute(self, context: AttributionContext) -> Float32:
        """The product of the two parts."""
        cams, guided = (part.explain_checked(context).maps[part.key] for part in self.components)
        height, width = guided.shape[2:]
        enlarged = np.stack(
            [cv2.resize(cam, (width, height), interpolation=cv2.INTER_LINEAR) for cam in cams]
        )
        product: Float32 = guided * enlarged[:, np.newaxis]
        return product


@dataclass(frozen=True)
class Saliency(Method):
    """The magnitude of each pixel's gradient, over all colors: (N, H, W), at least 0.

    Σ_c |G_c| over the color channels of G, which is guided Grad-CAM unless another source is
    chosen: the plain gradient (Simonyan et al. 2014 take max_c instead of the sum, which does not
    jump between channels), guided backpropagation, or the deconvnet's (Zeiler & Fergus 2014).
    Of a network without ReLU, where nothing can be guided, it is the plain gradient's by default.
    """

    name = "saliency"
    title = "saliency"
    paper = "Simonyan et al. 2014, section 3.1, on guided Grad-CAM"
    formula = "Σ_c |G_c|"
    kind = "magnitude"

    without_relu: ClassVar[Mapping[str, Any]] = {"source": "gradient"}

    #: What ``--saliency`` may name, and the ReLU rule that it needs.
    SOURCES: ClassVar[dict[str, ReluRule]] = {
        "guided-gradcam": GUIDED,
        "gradient": STANDARD,
        "guided": GUIDED,
        "deconvnet": DECONVNET,
    }

    source: str = option(
        "guided-gradcam", "what the map is the magnitude of", choices=tuple(SOURCES)
    )

    @property
    def input_rules(self) -> tuple[ReluRule, ...]:
        """That of its source."""
        return (self.SOURCES[self.source],)

    @property
    def layer_rules(self) -> tuple[ReluRule, ...]:
        """That of Grad-CAM, if its source needs that."""
        return (STANDARD,) if self.source == "guided-gradcam" else ()

    def attribute(self, context: AttributionContext) -> Float32:
        """The sum of the channels' magnitudes."""
        if self.source == "guided-gradcam":
            signed = GuidedGradCam().attribute(context)
        else:
            signed = context.input_gradients[self.SOURCES[self.source]]
        magnitude: Float32 = np.abs(signed).sum(axis=1)
        return magnitude
