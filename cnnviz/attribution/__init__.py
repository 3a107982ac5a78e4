"""Explanation methods, by name.

:data:`METHODS` is the one list of them: the command line, the README check and the contract tests
read it. A new method is a class in this folder and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnviz.attribution.averages import IntegratedGradients, SmoothGrad
from cnnviz.attribution.cam import (
    AblationCam,
    EigenCam,
    GradCam,
    GradCamPlusPlus,
    HiResCam,
    LayerCam,
    ScoreCam,
    XGradCam,
)
from cnnviz.attribution.choice import choose, options_of
from cnnviz.attribution.gradients import (
    Deconvnet,
    Gradient,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    Saliency,
)
from cnnviz.attribution.methods import (
    Ask,
    Attribution,
    Drawing,
    Evidence,
    Method,
    Passes,
    gather,
    gather_all,
    softmax,
)
from cnnviz.attribution.perturbation import Occlusion, Rise

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        GradCam,
        GradCamPlusPlus,
        XGradCam,
        LayerCam,
        HiResCam,
        EigenCam,
        ScoreCam,
        AblationCam,
        GuidedGradCam,
        GuidedBackprop,
        Saliency,
        Gradient,
        Deconvnet,
        InputXGradient,
        SmoothGrad,
        IntegratedGradients,
        Occlusion,
        Rise,
    )
}
DEFAULT_METHODS = ("gradcam", "guided-gradcam", "saliency")

__all__ = [
    "DEFAULT_METHODS",
    "METHODS",
    "Ask",
    "Attribution",
    "Drawing",
    "Evidence",
    "Method",
    "Passes",
    "Saliency",
    "choose_methods",
    "gather",
    "gather_all",
    "options_of",
    "softmax",
]


def choose_methods(
    names: Sequence[str] = DEFAULT_METHODS,
    options: Mapping[str, Any] | None = None,
    *,
    relu: Sequence[str] = (),
) -> tuple[Method, ...]:
    """The methods called ``names``, each once.

    Args:
        names: as `cnnviz methods` lists them.
        options: values of their options: ``{"samples": 50}`` for every chosen method that has an
            option of this name, ``{"smoothgrad.samples": 50}`` for this one only, which wins.
            Words are taken for numbers where numbers are wanted.
        relu: ReLU rules; each method that takes one is there once for each.

    Raises:
        UsageError: there is no such method, option or value, or none of the methods has the option.
    """
    return choose(METHODS, names, options or {}, relu)
