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
from cnnviz.attribution.choice import check_unguided, choose, missing_relus, options_of
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
    "check_unguided",
    "choose_methods",
    "gather",
    "gather_all",
    "missing_relus",
    "options_of",
]


def choose_methods(
    names: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    *,
    relu: Sequence[str] = (),
    has_relu: bool = True,
) -> tuple[Method, ...]:
    """The methods called ``names``, each once.

    Args:
        names: as `cnnviz methods` lists them; none for Grad-CAM, guided Grad-CAM and saliency.
        options: values of their options: ``{"samples": 50}`` for every chosen method that has an
            option of this name, ``{"smoothgrad.samples": 50}`` for this one only, which wins.
            Words are taken for numbers where numbers are wanted.
        relu: ReLU rules; each method that takes one is there once for each.
        has_relu: whether the network has ReLUs. If not, guided Grad-CAM is there only if it is
            named, and saliency is that of the plain gradient if its source is not.

    Raises:
        UsageError: there is no such method, option or value, or none of the methods has the option.
    """
    if not names:
        usual = [METHODS[name] for name in DEFAULT_METHODS]
        names = [
            method.name for method in usual if has_relu or not method(**method.without_relu).guided
        ]
    return choose(METHODS, names, options or {}, relu, has_relu=has_relu)
